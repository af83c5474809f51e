"""Test error of kernel regression with the neural tangent kernel (TEG-NAS; Chen et al., arXiv 2108.11939).

    score = -mean over test samples and classes of (K_tr K_rr^-1 Y_r - Y_t)^2

r is the first half of the batch, on which the kernel is fitted, and t the second half, on which it is tested; Y are
one-hot labels minus their mean over the half. It stands for generalisation beside ``ntk_condition`` (trainability) and
``linear_regions`` (expressivity). Cost: that of the kernel, shared with the other kernel proxies; the halves need no
pass of their own.

Departures from the authors' code: theirs takes the weights of cells only and a batch of validation images; batch
statistics are held fixed, as in ``ntk_condition``; a ridge of ``ridge`` times the mean of the diagonal keeps singular
kernels solvable, where theirs marks the architecture as bad; with ``ridge=0`` these are minus infinity here.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Preset, Reading, proxy
from subshot.proxies.ntk_condition import kernel_needs, kernel_of

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


def _check(options: Mapping[str, Value]) -> None:
    ridge = options["ridge"]
    if not isinstance(ridge, (int, float)) or not (math.isfinite(ridge) and ridge >= 0):
        raise OptionError(f"ridge is {ridge!r}.", "It must be a finite number and not negative.")


@proxy(
    paper="Chen et al., arXiv 2108.11939",
    formula="-mean (K_tr K_rr^-1 Y_r - Y_t)^2",
    needs=lambda options: kernel_needs(options) | Need.LABELS,
    scale="a negative mean squared error; compare equal batches only",
    labels=True,
    check=_check,
    preset=Preset(samples=64, initialisation="kaiming", repeats=3, options={"coupled": True}),
)
def ntk_mse(evidence: "Evidence", *, ridge: float = 1e-3, coupled: bool = False) -> Reading:
    """Negative test error of kernel regression on the two halves of the batch.

    Args:
        evidence: With the kernel and labels.
        ridge: Regularisation in units of the kernel's mean diagonal.
        coupled: Let gradients flow through batch statistics, one backward pass for each sample.
    """
    import torch
    import torch.nn.functional as F

    labels = evidence.labels
    assert labels is not None
    kernel = kernel_of(evidence, coupled=coupled)
    if tuple(labels.shape) != (len(kernel),) or labels.is_floating_point():
        return Reading(math.nan, not_applicable="it needs one class for each sample")
    if int(labels.min()) < 0:
        return Reading(math.nan, not_applicable=f"labels reach down to {int(labels.min())}; give classes from 0 on")
    half = len(kernel) // 2
    if half < 1:
        return Reading(math.nan, not_applicable="a batch of one sample has no halves")
    targets = F.one_hot(labels.long()).to(kernel)
    known, wanted = (some - some.mean(dim=0) for some in (targets[:half], targets[half:]))
    if not bool(known.any()):  # every network would predict the mean, and that perfectly if the rest is alike
        return Reading(math.nan, not_applicable="the first half of the batch holds a single class")
    fitted, crossed = kernel[:half, :half], kernel[half:, :half]
    mean = fitted.diagonal().mean()
    if not bool(torch.isfinite(kernel).all()) or not mean > 0:
        return Reading(math.nan)
    solved, singular = torch.linalg.solve_ex(fitted + ridge * mean * torch.eye(half).to(fitted), known)
    if bool(singular):
        return Reading(-math.inf)
    return Reading(-float((crossed @ solved - wanted).square().mean()))
