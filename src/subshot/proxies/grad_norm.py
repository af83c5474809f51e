"""Gradient norm, a baseline of Zero-Cost Proxies for Lightweight NAS (Abdelfattah et al., ICLR 2021, arXiv 2101.08134).

    score = sum over layers of ||dL/dw||_2

A sum of norms, not the norm of all gradients together; weights of convolutions and linear layers only. Cost: one
forward and one backward pass of the loss. A layer that the loss doesn't depend on adds nothing.
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Abdelfattah et al., ICLR 2021, arXiv 2101.08134",
    formula="sum over layers of ||dL/dw||",
    needs=Need.GRADIENT | Need.LABELS,
    scale="grows with depth; compare equal batches and losses",
    labels=True,
    preset=Preset(samples=64),
)
def grad_norm(evidence: "Evidence") -> float:
    """Sum over layers of the norm of the loss's gradient."""
    return sum(float(layer.gradient.double().norm()) for layer in evidence.layers if layer.gradient is not None)
