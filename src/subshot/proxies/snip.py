"""SNIP (Lee et al., ICLR 2019, arXiv 1810.02340) as a score of networks (Abdelfattah et al., arXiv 2101.08134).

    score = sum of |w * dL/dw|

The original differentiates for a mask of ones on the weights; that derivative is w * dL/dw, so no mask is needed.
Cost: one forward and one backward pass of the loss.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Lee et al., ICLR 2019, arXiv 1810.02340; as a score: arXiv 2101.08134",
    formula="sum of |w * dL/dw|",
    needs=Need.GRADIENT | Need.LABELS,
    scale="grows with depth; compare equal batches and losses",
    labels=True,
    preset=Preset(samples=64),
)
def snip(evidence: "Evidence") -> float:
    """Sum over weights of the size of weight times gradient."""
    return sum(
        float((layer.weight * layer.gradient).abs().double().sum())
        for layer in evidence.layers
        if layer.gradient is not None
    )
