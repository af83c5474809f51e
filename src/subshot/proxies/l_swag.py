"""L-SWAG (Casarin et al., CVPR 2025, arXiv 2505.07300).

    score = Lambda * Psi,   Lambda = sum over layers of log( sum over weights of 1 / std of |g_b| over parts b )

Psi is the SWAP score. g_b are the gradients of the loss on four parts of the batch. Layers may be cut to an interval of
depth, which the paper picks once per benchmark from a plot; by default all count. Cost: one forward pass, and one
forward and one backward pass part by part, shared with ``swap`` and ``zico``.

There is no code of the authors, and the number of parts and what happens to weights whose gradients don't vary are not
said in the paper; four parts, and such weights left out as in ZiCo, are our choices. Psi is over all layers: the paper
sums it from the first layer on. Where Lambda is negative, a product with Psi reverses the order; the score says so.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Preset, Reading, proxy
from subshot.proxies.swap import swap

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


def _check(options: Mapping[str, Value]) -> None:
    low, high = options["first"], options["last"]
    if not (isinstance(low, (int, float)) and isinstance(high, (int, float)) and 0 <= low < high <= 1):
        raise OptionError(f"first is {low!r} and last {high!r}.", "Give shares of the depth, 0 <= first < last <= 1.")


@proxy(
    paper="Casarin et al., CVPR 2025, arXiv 2505.07300",
    formula="swap * sum over layers of log sum of 1 / std |g|",
    needs=Need.PATTERNS | Need.QUARTERS | Need.LABELS,
    scale="grows with depth and width; compare equal batches and losses",
    labels=True,
    check=_check,
    preset=Preset(samples=64, repeats=5),
)
def l_swag(evidence: "Evidence", *, first: float = 0.0, last: float = 1.0) -> Reading:
    """Steadiness of gradients times number of activation patterns.

    Args:
        evidence: With pattern counts and gradients of four parts.
        first: Where the layers of Lambda begin, as a share of the depth.
        last: Where they end.
    """
    found = evidence.quarters
    assert found is not None
    patterns = swap(evidence)
    depth = len(found.gradients)
    total, layers = 0.0, 0
    # A share such as 0.07 of 100 layers is 7.000000000000001.
    start, stop = math.floor(round(first * depth, 6)), math.ceil(round(last * depth, 6))
    for gradients in found.gradients[start:stop]:
        if gradients is None:
            continue
        sizes = gradients.flatten(1).double().abs()
        # Torch's own deviation along the first axis takes ten times as long.
        deviation = (sizes - sizes.mean(dim=0)).square_().mean(dim=0).sqrt_()
        still = (sizes[1:] == sizes[:1]).all(dim=0)
        inner = float((1 / deviation).masked_fill_(still, 0).sum())
        if inner != 0:
            total += math.log(inner) if inner > 0 else math.nan
            layers += 1
    warnings = patterns.warnings
    if total < 0:
        warnings += ("the gradient term is negative, which turns the order of pattern counts around",)
    parts = {"lambda": total, "psi": patterns.value, "layers": float(layers)}
    return Reading(total * patterns.value, parts, warnings, patterns.not_applicable)
