"""NEAR, Network Expressivity by Activation Rank (Husistein, Reiher and Eckhoff, ICLR 2025, arXiv 2408.08776).

    score = sum over layers of exp(-sum of p log p),   p = singular values over their sum

of C rows of the layer's output, C its channels: the effective rank, at most C. A row is a pixel, a token or a vector;
nothing is centred. Layers are convolutions, linear, norm and activation modules, in the order and as often as they run.
No labels. Cost: one forward pass; singular values of one C x C matrix for each layer.

The value is at most the sum of widths, and mostly tells it. Where a batch has fewer rows than channels all are taken
and the rank is bounded by them, which the score warns of.

Departures from the authors' code: rows are drawn at random with the look's seed (theirs are neighbours of a random
first one, and more alike); only one batch is taken (theirs gathers batches until there are C rows); outputs of tokens
work too. Activations called as functions are seen by neither. Weights are those of the protocol.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Reading, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Husistein et al., ICLR 2025, arXiv 2408.08776",
    formula="sum over layers of exp(entropy of singular values of C rows)",
    needs=Need.EFFECTIVE_RANK,
    scale="grows with width and the number of layers",
)
def near(evidence: "Evidence") -> Reading:
    """Effective rank of what layers put out.

    Args:
        evidence: With effective ranks.
    """
    layers = [one for one in evidence.features.maps if one.effective_rank is not None]
    if not layers:
        return Reading(float("nan"), not_applicable="no convolution, linear, norm or activation module was run")
    total = sum(one.effective_rank for one in layers if one.effective_rank is not None)
    short = sum(one.rows < one.channels for one in layers)
    warnings = (f"{short} of {len(layers)} layers have fewer rows than channels; use a larger batch",) if short else ()
    parts = {"layers": float(len(layers)), "channels": float(sum(one.channels for one in layers))}
    return Reading(total, parts, warnings)
