"""Gradients of one forward pass, taken once and shared: of the loss, of the summed output, and one Hessian product.

All come from a single graph. Weights are those of convolutions and linear layers, as in the reference code of the
pruning proxies (Abdelfattah et al., arXiv 2101.08134); norms and biases are left out there too.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from subshot.errors import NetworkError

Loss = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer after the passes. Tensors are detached; treat them as read-only.

    Attributes:
        weight: Its weight.
        gradient: Gradient of the loss; ``None`` where the loss doesn't depend on it.
        curvature: Hessian of the loss times that gradient; ``None`` likewise.
        saliency: For each output channel, the mean over samples of (sum over positions of output times its gradient)
            squared; ``None`` likewise.
    """

    weight: Tensor
    gradient: Tensor | None = None
    curvature: Tensor | None = None
    saliency: Tensor | None = None


@dataclass(frozen=True)
class Gradients:
    """What the backward passes gave.

    Attributes:
        layers: Convolutions and linear layers in the order of the module tree.
        jacobian: Gradient of the sum of all outputs for each sample's input, (S, numbers); integer inputs are replaced
            by the embeddings they select.
        loss: Value of the loss.
        backwards: Backward passes taken.
    """

    layers: tuple[Layer, ...]
    jacobian: Tensor | None
    loss: float | None
    backwards: int


def weight_layers(network: nn.Module) -> list[nn.Module]:
    """Convolutions and linear layers that have a weight, in the order of the module tree."""
    return [m for m in network.modules() if isinstance(m, (_ConvNd, nn.Linear)) and m.weight is not None]


class LayerOutputs:
    """Keeps the outputs of layers while a network runs.

    Args:
        layers: Which.
        copy: Keep a copy; needed where what follows changes the output in place.
    """

    def __init__(self, layers: Sequence[nn.Module], *, copy: bool) -> None:
        self.outputs: list[list[Tensor]] = [[] for _ in layers]
        self._versions: list[tuple[Tensor, int]] = []
        self._copy = copy
        self._hooks = [layer.register_forward_hook(self._keep(index)) for index, layer in enumerate(layers)]

    def _keep(self, index: int) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
        def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
            self.outputs[index].append(output)
            self._versions.append((output, output._version))
            # What runs on gets the copy, so that the output itself stays as it is.
            return output.clone() if self._copy else None

        return keep

    @property
    def intact(self) -> bool:
        """Whether nothing has changed a kept output in place."""
        return all(output._version == version for output, version in self._versions)

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()


@contextlib.contextmanager
def differentiable(weights: Sequence[Tensor]) -> Iterator[None]:
    """Let gradients flow to ``weights``, also to frozen ones, and put their flags back."""
    frozen = [weight for weight in weights if not weight.requires_grad]
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


def take_gradients(
    layers: Sequence[nn.Module],
    output: Tensor,
    roots: Sequence[Tensor],
    *,
    labels: Tensor | None,
    loss: Loss | None,
    outputs: Sequence[Sequence[Tensor]] | None,
    jacobian: bool,
    curvature: bool,
    samples: int,
) -> Gradients:
    """Differentiate one forward pass.

    Args:
        layers: Convolutions and linear layers.
        output: The network's output, with its graph.
        roots: Inputs, or embeddings in their place, for the Jacobian.
        labels: Labels for the loss; without them no gradient of the loss is taken.
        loss: Loss of (output, labels); cross-entropy if not given.
        outputs: Outputs of each layer for the saliency of channels, or ``None``.
        jacobian: Take the gradient of the summed output.
        curvature: Take the Hessian product.
        samples: Batch size S.

    Raises:
        NetworkError: The output doesn't depend on anything that can be differentiated, or the loss can't be computed.
    """
    weights = [layer.weight for layer in layers if isinstance(layer.weight, Tensor)]
    if not output.requires_grad:
        raise NetworkError("The output doesn't depend on weights or inputs through anything differentiable.")
    backwards = 0
    rows = None
    if jacobian:
        found = torch.autograd.grad(output.sum(), roots, retain_graph=labels is not None, allow_unused=True)
        rows = torch.cat(
            [
                (torch.zeros_like(root) if gradient is None else gradient).detach().reshape(samples, -1)
                for root, gradient in zip(roots, found, strict=True)
            ],
            dim=1,
        )
        backwards += 1
    if labels is None:
        return Gradients(tuple(Layer(weight.detach()) for weight in weights), rows, None, backwards)
    value = (loss or default_loss)(output, labels)
    flat = [one for several in outputs or () for one in several]
    found = torch.autograd.grad(value, [*weights, *flat], create_graph=curvature, allow_unused=True)
    backwards += 1
    gradients, at_outputs = found[: len(weights)], iter(found[len(weights) :])
    saliency = [
        _saliency(several, [next(at_outputs) for _ in several], layer, samples)
        for several, layer in zip(outputs or [()] * len(layers), layers, strict=True)
    ]
    products: Sequence[Tensor | None] = [None] * len(weights)
    if curvature:
        # d/dw of <stop(g), g> is H g: the graph of g is differentiated once, in the direction g.
        direction = [gradient for gradient in gradients if gradient is not None and gradient.requires_grad]
        total = sum((gradient.detach() * gradient).sum() for gradient in direction)
        if isinstance(total, Tensor):
            products = torch.autograd.grad(total, weights, allow_unused=True)
        backwards += 1
    made = [
        Layer(weight.detach(), _detached(gradient), _detached(product), one)
        for weight, gradient, product, one in zip(weights, gradients, products, saliency, strict=True)
    ]
    return Gradients(tuple(made), rows, float(value.detach()), backwards)


def default_loss(output: Any, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (S, classes, ...) and integer labels, mean squared error for labels of real numbers.

    Raises:
        NetworkError: The output is no tensor, or output and labels don't fit.
    """
    if not isinstance(output, Tensor):
        raise NetworkError(f"The output is a {type(output).__name__}.", "Give a loss that takes it.")
    if labels.is_floating_point():
        if output.shape != labels.shape:
            raise NetworkError(f"Output {tuple(output.shape)} and labels {tuple(labels.shape)} differ.", "Give a loss.")
        return F.mse_loss(output, labels)
    if output.dim() < 2 or output.shape[:1] + output.shape[2:] != labels.shape:
        raise NetworkError(
            f"Output {tuple(output.shape)} and labels {tuple(labels.shape)} are no classification.", "Give a loss."
        )
    if int(labels.max()) >= output.shape[1] or int(labels.min()) < 0:
        raise NetworkError(
            f"Labels reach from {int(labels.min())} to {int(labels.max())}, the output has {output.shape[1]} classes.",
            "Give labels from 0 to classes - 1, or a wider output.",
        )
    return F.cross_entropy(output, labels)


def _saliency(
    outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], layer: nn.Module, samples: int
) -> Tensor | None:
    """Mean over samples of the squared sum over positions; a layer used several times has the sum over its uses."""
    total: Tensor | None = None
    for output, gradient in zip(outputs, gradients, strict=True):
        if gradient is None or output.shape[0] % samples:
            continue
        product = (output.detach() * gradient.detach()).double()
        if isinstance(layer, nn.Linear):
            summed = product.reshape(samples, -1, product.shape[-1]).sum(dim=1)  # over tokens
        else:
            summed = product.reshape(samples, product.shape[1], -1).sum(dim=2)  # over positions
        total = summed if total is None else total + summed
    return None if total is None else total.square().mean(dim=0)


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def as_output(output: Any) -> Tensor:
    """The tensor to differentiate: the output itself, or the first tensor of what a network returns.

    Raises:
        NetworkError: There is none.
    """
    if isinstance(output, Tensor):
        return output
    values = (
        list(output.values()) if isinstance(output, Mapping) else output if isinstance(output, (list, tuple)) else []
    )
    for value in values:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value
    raise NetworkError(
        f"The output is a {type(output).__name__} without a tensor.", "A proxy with gradients needs one."
    )
