"""Gradients of one forward pass, taken once and shared: of the loss, of the summed output, and one Hessian product.

All come from a single graph. Weights are those of convolutions and linear layers, as in the reference code of the
pruning proxies (Abdelfattah et al., arXiv 2101.08134); norms and biases are left out there too.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from subshot.errors import NetworkError
from subshot.proxies._patterns import sample_axis
from subshot.proxies._proxy import Need

T = TypeVar("T")

Loss = Callable[[Any, Tensor], Tensor]

# The layers that use one weight; nearly always a single one.
Sharing = tuple[nn.Module, ...]

FIRST_ORDER_NEEDS = Need.GRADIENT | Need.SALIENCY
LOSS_NEEDS = FIRST_ORDER_NEEDS | Need.CURVATURE


@dataclass(frozen=True)
class Layer:
    """The weight of a convolution or linear layer after the passes. Tensors are detached; treat them as read-only.

    Attributes:
        weight: The weight itself, not a copy: read it before it is drawn anew.
        gradient: Gradient of the loss; ``None`` where the loss doesn't depend on it.
        curvature: Hessian of the loss times that gradient; ``None`` likewise.
        saliency: For each output channel, the mean over samples of (sum over positions of output times its gradient)
            squared; ``None`` likewise.
    """

    weight: Tensor
    gradient: Tensor | None = None
    curvature: Tensor | None = None
    saliency: Tensor | None = None


def weight_layers(network: nn.Module) -> list[Sharing]:
    """Convolutions and linear layers by the weight they use, in the order of the module tree; a weight stands once."""
    found: dict[int, tuple[Tensor, list[nn.Module]]] = {}
    for module in network.modules():
        if isinstance(module, (_ConvNd, nn.Linear)) and isinstance(weight := module.weight, Tensor):
            found.setdefault(id(weight), (weight, []))[1].append(module)
    return [tuple(modules) for _, modules in found.values()]


def weights_of(layers: Sequence[Sharing]) -> list[Tensor]:
    """The weight of each entry of :func:`weight_layers`."""
    weights: list[Any] = [modules[0].weight for modules in layers]
    return weights


class LayerOutputs:
    """Keeps the outputs of layers while a network runs.

    Args:
        layers: Which.
        copy: Let the network go on with a copy; needed where what follows changes the output in place.
    """

    def __init__(self, layers: Sequence[Sharing], *, copy: bool) -> None:
        self.outputs: list[list[Tensor]] = [[] for _ in layers]
        self._versions: list[tuple[Tensor, int]] = []
        self._copy = copy
        self._hooks = [
            module.register_forward_hook(self._keep(index))
            for index, modules in enumerate(layers)
            for module in modules
        ]

    def _keep(self, index: int) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
            if not isinstance(output, Tensor) or not output.requires_grad:  # run without a graph: part of no gradient
                return None
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
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


@dataclass
class Gradients:
    """What the backward passes gave.

    Attributes:
        layers: Weights of convolutions and linear layers, in the order of the module tree.
        jacobian: Gradient of the summed output for each sample's input, (S, numbers).
        loss: Value of the loss.
        backwards: Backward passes taken.
        missing: Why something that was asked for could not be had.
    """

    layers: list[Layer]
    jacobian: Tensor | None = None
    loss: float | None = None
    backwards: int = 0
    missing: dict[Need, Exception] = field(default_factory=dict)


def attempt(missing: dict[Need, Exception], need: Need, action: Callable[[], T]) -> T | None:
    """What ``action`` gives, or ``None`` and a note in ``missing`` of why it gave nothing."""
    try:
        return action()
    except Exception as error:  # one proxy's trouble is not the others'
        missing[need] = error.with_traceback(None)  # its frames would keep the graph alive
        return None


def differentiate(
    output: Any,
    needs: Need,
    layers: Sequence[Sharing],
    *,
    roots: Sequence[Tensor],
    outputs: Sequence[Sequence[Tensor]],
    labels: Tensor | None,
    loss: Loss | None,
    samples: int,
) -> Gradients:
    """Take the backward passes through one forward pass.

    Args:
        output: What the network returned, with its graph.
        needs: Which.
        layers: Convolutions and linear layers.
        roots: Inputs, and embeddings in place of integer inputs.
        outputs: Outputs of each layer, for the saliency of channels.
        labels: Labels for the loss; without them no gradient of the loss is taken.
        loss: Loss of (output, labels); cross-entropy if not given.
        samples: Batch size S.
    """
    weights = weights_of(layers)  # of this very pass, where they are computed in it
    found = Gradients([Layer(weight.detach()) for weight in weights])
    wants_loss = bool(needs & LOSS_NEEDS) and labels is not None
    if needs & Need.JACOBIAN:
        rows = attempt(found.missing, Need.JACOBIAN, lambda: jacobian_rows(output, roots, samples, retain=wants_loss))
        found.jacobian = rows
        found.backwards += rows is not None
    if wants_loss and labels is not None:
        value = attempt(found.missing, LOSS_NEEDS, lambda: loss_value(output, labels, loss, weights))
        if value is not None:
            _differentiate_loss(found, value, needs, layers, weights, outputs, samples)
    return found


def _differentiate_loss(
    found: Gradients,
    value: Tensor,
    needs: Need,
    layers: Sequence[Sharing],
    weights: Sequence[Tensor],
    outputs: Sequence[Sequence[Tensor]],
    samples: int,
) -> None:
    """Take the backward passes of the loss."""
    found.loss = float(value.detach())
    if needs & FIRST_ORDER_NEEDS:
        retain = bool(needs & Need.CURVATURE)
        first = attempt(found.missing, FIRST_ORDER_NEEDS, lambda: first_order(value, weights, outputs, retain=retain))
        if first is not None:
            found.backwards += 1
            gradients, at_outputs = first
            saliency: Sequence[Tensor | None] = [None for _ in layers]
            if needs & Need.SALIENCY:
                kept = zip(outputs, at_outputs, layers, strict=True)
                saliency = [channel_saliency(several, at, modules[0], samples) for several, at, modules in kept]
            new = zip(found.layers, gradients, saliency, strict=True)
            found.layers = [replace(layer, gradient=one, saliency=two) for layer, one, two in new]
    if needs & Need.CURVATURE:
        products = attempt(found.missing, Need.CURVATURE, lambda: hessian_products(value, weights))
        if products is not None:
            found.backwards += 2
            found.layers = [replace(layer, curvature=one) for layer, one in zip(found.layers, products, strict=True)]


def loss_value(output: Any, labels: Tensor, loss: Loss | None, weights: Sequence[Tensor]) -> Tensor:
    """The loss, with its graph.

    Raises:
        NetworkError: The network has no weights, or the loss is no number or has no graph.
    """
    if not weights:
        raise NetworkError("The network has no convolution or linear layer.")
    value = (loss or default_loss)(output, labels.clone())  # a copy can be part of a graph, whatever the caller's mode
    if not isinstance(value, Tensor) or value.numel() != 1:
        kind = f"tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise NetworkError(f"The loss is a {kind}.", "Give one that returns a single number as a tensor.")
    check_differentiable(value)
    return value


def jacobian_rows(output: Any, roots: Sequence[Tensor], samples: int, *, retain: bool) -> Tensor:
    """Gradient of the summed output for what each sample gave, (S, numbers).

    Args:
        output: What the network returned, with its graph.
        roots: Inputs, and embeddings in place of integer inputs.
        samples: Batch size S.
        retain: Keep the graph for another pass.

    Raises:
        NetworkError: There is nothing that could be differentiated.
    """
    if not roots:
        raise NetworkError("The inputs are whole numbers, and no embedding of them was seen.")
    tensor = as_output(output)
    check_differentiable(tensor)
    found = torch.autograd.grad(tensor.sum(), roots, retain_graph=retain, allow_unused=True)
    rows = []
    for root, gradient in zip(roots, found, strict=True):
        one = torch.zeros_like(root) if gradient is None else gradient.detach()
        if sample_axis(one.shape, samples) == 1:
            one = one.transpose(0, 1)
        rows.append(one.reshape(samples, -1))
    return torch.cat(rows, dim=1)


def first_order(
    value: Tensor, weights: Sequence[Tensor], outputs: Sequence[Sequence[Tensor]], *, retain: bool
) -> tuple[list[Tensor | None], list[list[Tensor | None]]]:
    """Gradients of the loss for the weights and for the outputs of each layer, in one backward pass."""
    flat = [one for several in outputs for one in several]
    found = torch.autograd.grad(value, [*weights, *flat], retain_graph=retain, allow_unused=True)
    rest = iter(found[len(weights) :])
    return [_detached(one) for one in found[: len(weights)]], [[_detached(next(rest)) for _ in one] for one in outputs]


def hessian_products(value: Tensor, weights: Sequence[Tensor]) -> list[Tensor | None]:
    """H g for each weight, Hessian of the loss times its gradient, in two backward passes.

    The gradient is taken apart from that of :func:`first_order`: some functions of torch run other kernels where their
    backward pass has to be differentiable itself, and no value may depend on what else is computed.
    """
    gradients = torch.autograd.grad(value, list(weights), create_graph=True, allow_unused=True)
    # d/dw of <stop(g), g> is H g: the graph of g is differentiated once, in the direction g.
    terms = [(one.detach() * one).sum() for one in gradients if one is not None and one.requires_grad]
    if not terms:  # the loss is linear in the weights
        return [None for _ in weights]
    found = torch.autograd.grad(sum(terms[1:], terms[0]), list(weights), allow_unused=True)
    return [_detached(one) for one in found]


def channel_saliency(
    outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], layer: nn.Module, samples: int
) -> Tensor | None:
    """Mean over samples of the squared sum over positions; a layer used several times has the sum over its uses.

    Args:
        outputs: What the layer gave, each time it ran.
        gradients: Gradients of the loss for them.
        layer: The layer.
        samples: Batch size S.
    """
    total: Tensor | None = None
    for output, gradient in zip(outputs, gradients, strict=True):
        if gradient is None:
            continue
        product = (output.detach() * gradient).double()
        if isinstance(layer, nn.Linear):
            axis = sample_axis((*product.shape[:-1], 1), samples)  # features are never samples
            product = product.transpose(0, 1) if axis == 1 else product
            summed = None if axis is None else product.reshape(samples, -1, product.shape[-1]).sum(dim=1)
        else:  # windows may be folded into the batch
            folded = product.shape[0] % samples == 0
            summed = product.flatten(2).sum(dim=2).reshape(samples, -1, product.shape[1]).sum(dim=1) if folded else None
        if summed is not None:
            total = summed if total is None else total + summed
    return None if total is None else total.square().mean(dim=0)


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
    return F.cross_entropy(output, labels.long())


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


def check_differentiable(output: Tensor) -> None:
    """Check that ``output`` has a graph.

    Raises:
        NetworkError: It has none.
    """
    if not output.requires_grad:
        raise NetworkError("The output doesn't depend on weights or inputs through anything differentiable.")


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()
