"""ZiCo (Li et al., ICLR 2023, arXiv 2301.11300).

    score = sum over layers of log( sum over weights with s > 0 of mean |g_b| / s ),   s = std of g_b over parts b

g_b are the gradients of the loss on equal parts of the batch at the same weights. Every layer adds about the logarithm
of its size, so long networks win. With two parts each weight adds exactly 1 if its gradients differ in sign, and a few
weights with nearly equal gradients decide the sum; four are steadier. Layers without a gradient, or with the same one
for all parts, add nothing. Cost: one forward and one backward pass over the batch in all, part by part.

Departures from the authors' code: four parts of one batch (theirs: two batches of 128; ``parts=2`` takes halves); the
network as it is, residual links included (their search removes them); the sums are in double precision.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.errors import OptionError
from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence
    from subshot.proxies._parts import Parts


def parts_needs(options: Mapping[str, Value]) -> Need:
    """Gradients on halves or quarters of the batch, by the option ``parts``."""
    return (Need.HALVES if options["parts"] == 2 else Need.QUARTERS) | Need.LABELS


def parts_check(options: Mapping[str, Value]) -> None:
    """Refuse other splits.

    Raises:
        OptionError: Neither 2 nor 4 parts.
    """
    if options["parts"] not in (2, 4):
        raise OptionError(f"parts is {options['parts']!r}.", "Use 2 or 4.")


def parts_of(evidence: "Evidence", parts: int) -> "Parts":
    """The gradients of the parts."""
    found = evidence.halves if parts == 2 else evidence.quarters
    assert found is not None
    return found


def consistency(parts: "Parts") -> tuple[float, int]:
    """The sum of logarithms and the number of layers in it."""
    total, layers = 0.0, 0
    for gradients in parts.gradients:
        if gradients is None:
            continue
        wide = gradients.flatten(1).double()
        # Torch's own deviation along the first axis takes ten times as long.
        deviation = (wide - wide.mean(dim=0)).square_().mean(dim=0).sqrt_()
        # Equal gradients have a deviation of exactly zero, which rounding in their mean would hide.
        still = (wide[1:] == wide[:1]).all(dim=0)
        inner = float(wide.abs().mean(dim=0).div_(deviation).masked_fill_(still, 0).sum())
        if inner != 0:
            total += math.log(inner) if inner > 0 else math.nan
            layers += 1
    return total, layers


@proxy(
    paper="Li et al., ICLR 2023, arXiv 2301.11300",
    formula="sum over layers of log sum of mean |g| / std g",
    needs=parts_needs,
    scale="grows with depth and layer size; compare equal batches, parts and losses",
    labels=True,
    check=parts_check,
    preset=Preset(samples=256, options={"parts": 2}),
)
def zico(evidence: "Evidence", *, parts: int = 4) -> Reading:
    """How steady gradients are from one part of the batch to the next.

    Args:
        evidence: With gradients of the parts.
        parts: 2 or 4.
    """
    value, layers = consistency(parts_of(evidence, parts))
    return Reading(value, {"layers": float(layers)})
