"""Progressivity of AZ-NAS (Lee and Ham, CVPR 2024, arXiv 2403.19232): the smallest gain in expressivity by a block.

    score = min over blocks j of e_j - e_{j-1}

with e_j as in ``az_expressivity``, whose evidence, blocks and departures it shares. No labels. Cost: one forward pass.
The authors leave it out for vision transformers, whose width never changes.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, Reading, proxy
from subshot.proxies.az_expressivity import block_entropies

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Lee and Ham, CVPR 2024, arXiv 2403.19232",
    formula="min over blocks of e_j - e_{j-1}",
    needs=Need.BLOCKS,
    scale="a difference of entropies, mostly below 0",
    preset=Preset(initialisation="kaiming", unreal="gaussian_noise"),
)
def az_progressivity(evidence: "Evidence") -> Reading:
    """Smallest step in the entropy of the spectrum of features.

    Args:
        evidence: With the spectra of blocks.
    """
    entropies = block_entropies(evidence)
    if isinstance(entropies, str):
        return Reading(float("nan"), not_applicable=entropies)
    steps = [after - before for before, after in pairwise(entropies)]
    # Of NaN and numbers, min takes whichever comes first.
    value = sum(steps) if any(step != step for step in steps) else min(steps)
    return Reading(value, {"blocks": float(len(entropies))})
