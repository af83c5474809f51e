"""Condition number of the neural tangent kernel (TE-NAS; Chen et al., ICLR 2021, arXiv 2102.11535).

    score = -lambda_max / lambda_min of K,   K_ij = <d(sum of outputs of i)/dw, d(sum of outputs of j)/dw>

Low condition numbers are said to train fast. w are the weights of convolutions and linear layers. No labels. Cost: one
forward and one backward pass, shared with the other kernel proxies; ``coupled`` takes one backward pass for each
sample and holds their gradients, up to a gigabyte; where batch size times weights are more, it takes the passes again
for each further gigabyte, and the cost says so.

Departures from the authors' code: batch statistics are held fixed, so that samples have gradients of their own;
``coupled=true`` goes through the statistics, as theirs does. Their kernel also holds the weights of batch norm. The
kernel is summed in double precision and solved by a symmetric solver. Where the smallest eigenvalue is not above
rounding, the condition is infinite and the score says so; theirs can turn negative there, and so best of all.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from torch import Tensor

    from subshot.proxies._evidence import Evidence

# Eigenvalues go with the squares of gradients, which single precision rounds at 1e-7: smaller ones are noise.
_ROUNDING = 1e-12


def kernel_needs(options: Mapping[str, Value]) -> Need:
    """Which of the two kernels."""
    return Need.KERNEL_COUPLED if options["coupled"] else Need.KERNEL


def kernel_of(evidence: "Evidence", *, coupled: bool) -> "Tensor":
    """The kernel that was asked for, (S, S), float64."""
    kernel = evidence.coupled_kernel if coupled else evidence.samplewise.kernel if evidence.samplewise else None
    assert kernel is not None
    return kernel


def spectrum_of(kernel: "Tensor") -> "Tensor":
    """Eigenvalues in ascending order; NaN where the kernel isn't finite."""
    import torch

    if not bool(torch.isfinite(kernel).all()):
        return torch.full((len(kernel),), math.nan, dtype=kernel.dtype)
    eigenvalues: Tensor = torch.linalg.eigvalsh(kernel).cpu()
    return eigenvalues


@proxy(
    paper="Chen et al., ICLR 2021, arXiv 2102.11535",
    formula="-lambda_max / lambda_min of the neural tangent kernel",
    needs=kernel_needs,
    scale="at most -1; compare equal batch sizes only",
    preset=Preset(samples=72, initialisation="kaiming", repeats=3, options={"coupled": True}),
)
def ntk_condition(evidence: "Evidence", *, coupled: bool = False) -> Reading:
    """Negative condition number of the neural tangent kernel.

    Args:
        evidence: With the kernel.
        coupled: Let gradients flow through batch statistics, one backward pass for each sample.
    """
    eigenvalues = spectrum_of(kernel_of(evidence, coupled=coupled))
    low, high = float(eigenvalues[0]), float(eigenvalues[-1])
    parts = {"lambda_min": low, "lambda_max": high}
    if low <= _ROUNDING * high:
        return Reading(-math.inf if high > 0 else math.nan, parts)
    return Reading(-high / low, parts)
