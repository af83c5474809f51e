"""Gradients of the loss on equal parts of the batch: for proxies of how gradients vary."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached

from subshot.errors import NetworkError
from subshot.proxies._gradients import first_order
from subshot.proxies._layers import differentiable, weight_layers, weights_of
from subshot.proxies._loss import Loss, loss_value


@dataclass(frozen=True)
class Parts:
    """What each part of the batch gave; tensors are detached.

    Attributes:
        losses: Loss of each part.
        weights: Weights of convolutions and linear layers, in the order of the module tree; not copies, unless they
            have moved: then where they ended.
        gradients: For each of them the parts' gradients, (parts, *shape); ``None`` where the loss doesn't depend on it.
    """

    losses: tuple[float, ...]
    weights: tuple[Tensor, ...]
    gradients: tuple[Tensor | None, ...]


def part_gradients(
    network: nn.Module,
    inputs: Tensor | Mapping[str, Tensor],
    labels: Tensor,
    loss: Loss | None,
    *,
    parts: int,
    rate: float = 0.0,
) -> Parts:
    """One forward and backward pass for each part of the batch; together as much work as one for the whole.

    With batch norm by batch statistics each part has its own. Samples that would make the parts unequal are left out.

    Args:
        network: Any module, run as it stands.
        inputs: One tensor or named tensors.
        labels: Labels of the batch.
        loss: Loss of (output, labels); cross-entropy if not given.
        parts: How many.
        rate: Of a step of plain gradient descent that all parameters take after each part, but for frozen ones; they
            are put back.

    Raises:
        NetworkError: The batch is too small, labels aren't by sample, or the loss can't be differentiated.
    """
    named = dict(inputs) if isinstance(inputs, Mapping) else {"": inputs}
    samples = len(next(iter(named.values())))
    if labels.shape[:1] != (samples,):
        raise NetworkError(f"Labels {tuple(labels.shape)} have no entry for each of {samples} samples.")
    size = samples // parts
    if size < 1:
        raise NetworkError(f"A batch of {samples} can't be split in {parts} parts.", "Use a larger batch.")
    losses: list[float] = []
    with torch.inference_mode(False), torch.enable_grad(), _put_back(network, moving=rate != 0):
        layers = weight_layers(network)
        # Before gradients are let flow to frozen weights too: these have gradients, and stay where they are.
        moving = [one for one in network.parameters() if one.requires_grad] if rate else []
        found: list[list[Tensor | None]] = []
        for part in range(parts):
            cut = slice(part * size, (part + 1) * size)
            own = {name: tensor[cut].detach().clone() for name, tensor in named.items()}
            # Weights that are computed from others are the same tensor all through a part.
            with cached(), differentiable(weights_of(layers)):
                output = network(own[""]) if "" in own else network(**own)
                weights = weights_of(layers)
                value = loss_value(output, labels[cut], loss, weights)
                gradients, _ = first_order(value, [*weights, *moving], [], retain=False)
            found.append(gradients[: len(weights)])
            losses.append(float(value.detach()))
            with torch.no_grad():
                for parameter, gradient in zip(moving, gradients[len(weights) :], strict=True):
                    if gradient is not None:
                        parameter.sub_(gradient, alpha=rate)
        weights = [weight.detach().clone() if rate else weight.detach() for weight in weights_of(layers)]
    stacked = tuple(_stack(several) for several in zip(*found, strict=True))
    return Parts(tuple(losses), tuple(weights), stacked)


def _stack(gradients: tuple[Tensor | None, ...]) -> Tensor | None:
    """Gradients of the parts on a new first axis; a part that doesn't depend on the weight has zeros."""
    present = [one for one in gradients if one is not None]
    if not present:
        return None
    return torch.stack([torch.zeros_like(present[0]) if one is None else one for one in gradients])


@contextmanager
def _put_back(network: nn.Module, *, moving: bool) -> Iterator[None]:
    """Give the parameters the values again that they had, if they are to move."""
    saved = [(one, one.detach().clone()) for one in network.parameters()] if moving else []
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, values in saved:
                parameter.copy_(values)
