"""Fisher (Turner et al., ICLR 2020, arXiv 1906.04113) as a score of networks (Abdelfattah et al., arXiv 2101.08134).

    score = sum over layers, over output channels k of n_k / 2 * mean over samples of (sum over positions of a *
    dL/da)^2

a is the output of a convolution or linear layer, before norm and activation; n_k is the number of weights that feed
channel k, because the reference copies a channel's value to each of its weights: wide kernels count more. L is a mean
over the batch, so the value falls with the square of the batch size. Cost: one forward and one backward pass of the
loss; one more forward pass where the output of a layer is changed in place. Layers that never run, such as the output
projection that torch's attention applies by itself, add nothing.

Departures from the authors' code: tokens of a linear layer are summed over like positions (theirs sums over features
and takes tokens for channels); a layer used several times counts the sum over its uses (theirs keeps the last).
"""

from typing import TYPE_CHECKING

from subshot.proxies._proxy import Need, Preset, proxy

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


@proxy(
    paper="Turner et al., ICLR 2020, arXiv 1906.04113; as a score: arXiv 2101.08134",
    formula="sum over channels of n_k / 2 * E (sum a dL/da)^2",
    needs=Need.SALIENCY | Need.LABELS,
    scale="falls with the square of the batch size; compare equal batches and losses",
    labels=True,
    preset=Preset(samples=64),
)
def fisher(evidence: "Evidence") -> float:
    """Fisher information of output channels, each times the number of weights that feed it."""
    total = 0.0
    for layer in evidence.layers:
        if layer.saliency is not None:
            weights_per_channel = layer.weight.numel() / layer.saliency.numel()
            total += 0.5 * weights_per_channel * float(layer.saliency.sum())
    return total
