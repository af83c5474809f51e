"""Expressivity of AZ-NAS (Lee and Ham, CVPR 2024, arXiv 2403.19232): how evenly blocks use their channels.

    e_j = -sum of p log(p + 1e-8),   p = eigenvalues of the covariance of block j's output over their sum
    score = sum over blocks of e_j

Rows of the covariance are samples times positions; e_j is at most the logarithm of the width. The aggregator ``az_nas``
joins it with ``az_progressivity``, ``az_trainability`` and MACs. No labels. Cost: one forward pass; eigenvalues of one
C x C matrix for each block.

Blocks are those that a network names by its method ``feature_blocks``, else guessed (see ``_blocks.py``); on
NAS-Bench-201 the stem, cells and reductions, as the authors take them. Departures from the authors' code: weights and
inputs are the protocol's (theirs: Kaiming weights, Gaussian noise); eigenvalues are held at zero or above (theirs may
give NaN); a block whose output is constant makes the proxy not applicable (theirs: minus infinity). For transformers
they take the residual stream after attention and again after the feed-forward network; here a layer is one block.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Lee and Ham, CVPR 2024, arXiv 2403.19232",
    formula="sum over blocks of the entropy of the covariance's spectrum",
    needs=Need.BLOCKS,
    scale="at most the sum of log widths; grows with the number of blocks",
    preset=Preset(initialisation="kaiming", unreal="gaussian_noise"),
)
def az_expressivity(evidence: "Evidence") -> Reading:
    """Entropy of the spectrum of features.

    Args:
        evidence: With the spectra of blocks.
    """
    entropies = block_entropies(evidence)
    if isinstance(entropies, str):
        return Reading(float("nan"), not_applicable=entropies)
    return Reading(sum(entropies), {"blocks": float(len(entropies))})


def block_entropies(evidence: "Evidence") -> list[float] | str:
    """e_j of each block, or why there is none."""
    blocks = evidence.features.blocks
    if len(blocks) < 2:
        return f"{len(blocks)} blocks were found, and two are needed; name them by a method feature_blocks"
    found = []
    for block in blocks:
        assert block.spectrum is not None
        spectrum = block.spectrum.clamp(min=0)  # below it there is only rounding
        total = spectrum.sum()
        if total == 0:
            return f"the output of block {block.name} is constant"
        shares = spectrum / total
        found.append(-float((shares * (shares + 1e-8).log()).sum()))
    return found
