"""Norm of the weights, a baseline of Zero-Cost Proxies for Lightweight NAS (Abdelfattah et al., arXiv 2101.08134).

    score = sum over layers of ||w||_2

Without data and without a pass. At an initialisation that scales with fan-in it is a function of the layers' shapes
alone: a count of widths and depth. Weights of convolutions and linear layers only.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Abdelfattah et al., ICLR 2021, arXiv 2101.08134, code",
    formula="sum over layers of ||w||",
    needs=Need.WEIGHTS,
    scale="grows with depth and width; compare equal initialisations",
)
def l2_norm(evidence: "Evidence") -> float:
    """Sum over layers of the norm of the weights."""
    return sum(float(layer.weight.double().norm()) for layer in evidence.layers)
