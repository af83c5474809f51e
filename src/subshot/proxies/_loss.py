"""Outputs and losses that can be differentiated."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from subshot.errors import NetworkError

Loss = Callable[[Any, Tensor], Tensor]


def loss_value(output: Any, labels: Tensor, loss: Loss | None, weights: Sequence[Tensor]) -> Tensor:
    """The loss, with its graph.

    Raises:
        NetworkError: The network has no weights, or the loss is no number or has no graph.
    """
    if not weights:
        raise NetworkError("The network has no convolution or linear layer.")
    value = _as_number((loss or default_loss)(output, labels.clone()))  # a copy, which can be part of a graph
    check_differentiable(value)
    return value


def plain_loss(output: Any, labels: Tensor, loss: Loss | None) -> float:
    """The value of the loss.

    Raises:
        NetworkError: The loss is no number.
    """
    return float(_as_number((loss or default_loss)(output, labels.clone())).detach())


def _as_number(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        kind = f"tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise NetworkError(f"The loss is a {kind}.", "Give one that returns a single number as a tensor.")
    return value


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
