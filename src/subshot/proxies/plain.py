"""Plain saliency, a baseline of Zero-Cost Proxies for Lightweight NAS (Abdelfattah et al., arXiv 2101.08134).

    score = sum of w * dL/dw

The signed sibling of SNIP; by Euler's identity the derivative of L(t w) at t = 1. A weight in front of batch norm by
batch statistics adds nothing, so the value is driven by the layers that aren't normalised, chiefly the classifier, and
depends much on the batch: two runs of the reference agree to a rank correlation of 0.19 only. Cost: one forward and one
backward pass of the loss.

Direction: no direction was published; "higher is better" follows the sign of the reference, as everywhere here, but on
NAS-Bench-201 it ranks the wrong way round: our rank correlation with the accuracy on CIFAR-10 is -0.35. A search by it
alone looks for bad networks.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Abdelfattah et al., ICLR 2021, arXiv 2101.08134",
    formula="sum of w * dL/dw",
    needs=Need.GRADIENT | Need.LABELS,
    scale="signed; no direction was published, and on NAS-Bench-201 higher is worse",
    labels=True,
    preset=Preset(samples=64),
)
def plain(evidence: "Evidence") -> float:
    """Sum over weights of weight times gradient."""
    return sum(
        float((layer.weight * layer.gradient).double().sum()) for layer in evidence.layers if layer.gradient is not None
    )
