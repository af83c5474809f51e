"""NWOT, the score of Neural Architecture Search without Training (Mellor et al., ICML 2021, arXiv 2006.04647).

    score = log |det K|,   K_ij = U - Hamming(c_i, c_j)

c_i is the 0/1 vector over all U units that says which are positive on sample i; K_ij counts the units on which samples
i and j agree. log det grows about like S log U: never compare different batch sizes. Two samples with equal codes, or
fewer than S - 1 units, make K singular and the score -inf. Cost: one forward pass.

Departures from the authors' code: functional activations and all activation functions count, not only modules whose
class name contains ReLU; units on branches that the output does not depend on count too (their first version drops
what a backward pass does not reach); S is the protocol's (theirs: 128).
"""

import math
from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Mellor et al., ICML 2021, arXiv 2006.04647",
    formula="log |det K|, K_ij = U - Hamming(c_i, c_j)",
    needs=Need.AGREEMENT,
    scale="grows like S log U; compare equal batch sizes only",
    preset=Preset(samples=128),
)
def nwot(evidence: "Evidence") -> Reading:
    """Log-determinant of the agreement kernel of the samples' activation codes."""
    if evidence.units == 0:
        return Reading(float("nan"), not_applicable="no activation function was seen in the forward pass")
    assert evidence.agreement is not None
    import torch

    # Rounding hides that a kernel is singular unless its rank is asked for.
    if torch.linalg.matrix_rank(evidence.agreement, hermitian=True) < evidence.samples:
        return Reading(-math.inf, {"units": float(evidence.units)})
    log_determinant = torch.linalg.slogdet(evidence.agreement).logabsdet.item()
    return Reading(log_determinant, {"units": float(evidence.units)})
