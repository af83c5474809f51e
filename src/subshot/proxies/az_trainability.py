"""Trainability of AZ-NAS (Lee and Ham, CVPR 2024, arXiv 2403.19232): whether blocks keep the size of gradients.

    A_j = V^T U / rows,   U = random signs as gradients of block j's output,   V = what they become at block j - 1
    score = mean over blocks of 2 - s - 1 / (s + 1e-6),   s = largest singular value of A_j

A term is at most about 0, and that where s = 1. Where the map shrinks, neighbouring positions of V become channels of
one position. No labels. Cost: one forward pass, and backward passes through each block alone, together one.

Blocks are those of ``az_expressivity``. Directions come from the look's seed. A block that hands gradients on unchanged
(a skip connection) makes the score minus infinity; between tokens it is left out, as in the authors' form for vision
transformers. A block that doesn't depend on the one before it has s = 0 and a term of -1e6, if the network named the
two as its blocks; guessed ones make the proxy not applicable. Pairs of blocks without a common grid, such as maps and
tokens, are left out. Departures from the authors' code: weights and inputs are the protocol's (theirs: Kaiming weights,
Gaussian noise); edges of maps that can't be divided are filled with zeros.
"""

import math
from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Lee and Ham, CVPR 2024, arXiv 2403.19232",
    formula="mean over blocks of 2 - s - 1/(s + 1e-6), s the gain of random gradients",
    needs=Need.TRAINABILITY,
    scale="at most about 0; minus infinity where a block is a skip connection",
    preset=Preset(initialisation="kaiming", unreal="gaussian_noise"),
)
def az_trainability(evidence: "Evidence") -> Reading:
    """How near the gain of gradients is to one in every block.

    Args:
        evidence: With the gains of blocks.
    """
    blocks = evidence.features.blocks
    if len(blocks) < 2:
        reason = f"{len(blocks)} blocks were found, and two are needed; name them by a method feature_blocks"
        return Reading(math.nan, not_applicable=reason)
    skips = [block for block in blocks if block.identity and not block.tokens]
    if skips:
        warning = f"block {skips[0].name} hands gradients on unchanged, as do {len(skips)} of {len(blocks)}"
        return Reading(-math.inf, {"blocks": float(len(blocks))}, (warning,))
    gains = [block.gain for block in blocks if block.gain is not None and not block.identity]
    if not gains:
        return Reading(math.nan, not_applicable="no two blocks have a common grid")
    terms = [2 - gain - 1 / (gain + 1e-6) for gain in gains]
    parts = {"blocks": float(len(blocks)), "smallest gain": min(gains), "largest gain": max(gains)}
    return Reading(sum(terms) / len(terms), parts)
