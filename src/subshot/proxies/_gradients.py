"""Gradients of one forward pass, taken once and shared: of the loss, of the summed output, and one Hessian product.

All come from a single graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from subshot.errors import NetworkError
from subshot.proxies._attempt import attempt
from subshot.proxies._hessian import hessian_products
from subshot.proxies._layers import Layer, Sharing, weights_of
from subshot.proxies._loss import Loss, as_output, check_differentiable, loss_value
from subshot.proxies._patterns import sample_axis
from subshot.proxies._proxy import Need

FIRST_ORDER_NEEDS = Need.GRADIENT | Need.SALIENCY
LOSS_NEEDS = FIRST_ORDER_NEEDS | Need.CURVATURE


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


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()
