"""GradSign (Zhang & Jia, ICLR 2022, arXiv 2110.08616).

    score = sum over weights of |sum over samples of sign(dL_i/dw)|

How far the samples' gradients agree: the denser the local optima of single samples lie, the more. Weights are those of
convolutions and linear layers; the sum carries their number, ``mean`` takes it out. Cost: one forward and one backward
pass in which samples don't mix; each sample's gradient is unfolded from it.

Departures from the authors' code: theirs runs each sample alone, so that batch norm normalises it by itself; here
batch statistics are those of the whole batch and held fixed, which with batch-norm mode ``running`` or ``off`` makes no
difference. Their scripts take the sum in two places and the mean in a third.
"""

import math
from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Zhang & Jia, ICLR 2022, arXiv 2110.08616",
    formula="sum over weights of |sum over samples of sign(dL_i/dw)|",
    needs=Need.GRADIENT_SIGNS | Need.LABELS,
    scale="between 0 and batch size times weights; compare equal batches and losses",
    labels=True,
    preset=Preset(samples=128),
)
def grad_sign(evidence: "Evidence", *, mean: bool = False) -> Reading:
    """Agreement in sign of the samples' gradients.

    Args:
        evidence: With the pass in which samples don't mix.
        mean: Divide by the number of weights.
    """
    found = evidence.samplewise
    assert found is not None
    total = math.nan if found.sign_agreement is None else found.sign_agreement
    average = total / found.weights if found.weights else math.nan
    return Reading(average if mean else total, {"sum": total, "weights": float(found.weights), "mean": average})
