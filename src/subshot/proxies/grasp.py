"""GraSP (Wang et al., ICLR 2020, arXiv 2002.07376) as a score of networks (Abdelfattah et al., arXiv 2101.08134).

    score = sum of -w * (H g),   g = dL/dw, H the Hessian of L

The sign is that of the score, which is the opposite of the pruning paper's, as in the authors' code. ReLU and its
kind, hard sigmoid too, have no second derivative: H is that of the linear piece. A network that torch can't
differentiate twice has no score. Temperature 1, one batch. Cost: one forward, one backward pass of the loss
that can be differentiated, and one more through it; the reference takes two forward passes. With a batch split in parts
the reference keeps only the last part's first gradient; here a batch is never split.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Wang et al., ICLR 2020, arXiv 2002.07376; as a score: arXiv 2101.08134",
    formula="sum of -w * (H g)",
    needs=Need.CURVATURE | Need.LABELS,
    scale="signed; compare equal batches and losses",
    labels=True,
    preset=Preset(samples=64),
)
def grasp(evidence: "Evidence") -> float:
    """Negative sum over weights of weight times Hessian-gradient product."""
    return -sum(
        float((layer.weight * layer.curvature).double().sum())
        for layer in evidence.layers
        if layer.curvature is not None
    )
