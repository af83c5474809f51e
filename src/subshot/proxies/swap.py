"""SWAP-Score (Peng et al., ICLR 2024, arXiv 2403.04161; extended in IEEE TPAMI 2026, arXiv 2605.07378).

    Psi = number of distinct sample-wise activation patterns                             (definitions 3.2 and 3.3)

The pattern of a unit is the S-bit vector that says on which samples of the batch it is positive; the set is taken over
all V units of all activation layers. Psi is at most min(2^S, V): small batches saturate at 2^S and rank nothing, large
ones at V and merely count units. S = 12 to 16 is a good choice. Real images are needed; Gaussian
noise ranks much worse. Cost: one forward pass.

Departures from the authors' code: functional activations and activations of any rank count too (theirs: ``nn.ReLU``
modules with a 4-D input); dropout is off; each evaluation is seeded. A NaN after an activation counts as not positive
(as zero with ``ternary``), so a network that hides it from its output has a score all the same. Their code takes the
*sign*, which for GELU and SiLU has three values because large negative inputs underflow to zero: ``ternary`` does the
same. For ReLU networks both forms agree.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence

# Shares of the two bounds above which a count says more about the bound than about the network.
SATURATION = 0.9


def _needs(options: Mapping[str, Value]) -> Need:
    return Need.TERNARY if options["ternary"] else Need.PATTERNS


@proxy(
    paper="Peng et al., ICLR 2024, arXiv 2403.04161, definition 3.3",
    formula="|{sample-wise activation patterns}|",
    needs=_needs,
    scale="a count, at most min(2^S, V); compare equal batch sizes only",
    preset=Preset(samples=16, initialisation="normal", repeats=32),
)
def swap(evidence: "Evidence", *, ternary: bool = False) -> Reading:
    """Number of distinct sample-wise activation patterns.

    Args:
        evidence: With pattern counts.
        ternary: Patterns of the sign (negative, zero, positive) in place of positive or not.
    """
    if evidence.units == 0:
        return Reading(float("nan"), not_applicable="no activation function was seen in the forward pass")
    count = evidence.distinct_ternary if ternary else evidence.distinct_patterns
    assert count is not None
    # Beyond 600 samples the bound is out of reach and soon out of the range of a float.
    bound = (3.0 if ternary else 2.0) ** evidence.samples if evidence.samples <= 600 else math.inf
    parts = {"units": float(evidence.units), "bound": bound, "activations": float(evidence.activations)}
    warnings = []
    if count > SATURATION * bound:
        warnings.append(
            f"saturated: over {SATURATION:.0%} of the {bound:.0f} possible patterns at batch size {evidence.samples}; "
            "use a larger batch"
        )
    elif count > SATURATION * evidence.units:
        warnings.append(
            f"saturated: over {SATURATION:.0%} of the {evidence.units} units have a pattern of their own, "
            "the score counts units; use a smaller batch"
        )
    return Reading(float(count), parts, tuple(warnings))
