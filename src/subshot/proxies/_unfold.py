"""Gradients of each sample by itself from one backward pass ("unfolding").

A layer's input and the gradient at its output give the gradient of its weight for each sample, where samples don't mix
behind it. They are handed out in pieces, used on the spot and never kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from subshot.errors import NetworkError
from subshot.proxies._layers import Sharing, weights_of
from subshot.proxies._patterns import sample_axis
from subshot.proxies._uses import Use, image_columns, is_plain

# Numbers of sample gradients held at a time.
CHUNK = 1 << 24


def run_on_copy(network: nn.Module, inputs: Tensor | Mapping[str, Tensor]) -> Any:
    """A forward pass on a copy of the batch, which the network may change in place."""
    if isinstance(inputs, Mapping):
        return network(**{name: tensor.detach().clone() for name, tensor in inputs.items()})
    return network(inputs.detach().clone())


def where_finite(kernel: Tensor, output: Tensor) -> Tensor:
    """The kernel, or NaN where the output isn't finite, which gradients of sums needn't show."""
    return kernel if bool(torch.isfinite(output).all()) else torch.full_like(kernel, float("nan"))


def by_weight(layers: Sequence[Sharing], uses: Sequence[Use]) -> list[list[Use]]:
    """Runs by the weight that they used."""
    return [[use for use in uses if any(use.module is module for module in modules)] for modules in layers]


def at_outputs(value: Tensor, layers: Sequence[Sharing], groups: Sequence[Sequence[Use]]) -> list[list[Tensor | None]]:
    """Gradients at the outputs of layers; the graph is kept.

    Raises:
        NetworkError: The value depends on the weight of a layer that didn't run itself.
    """
    flat = [use.output for group in groups for use in group]
    unseen = [weight for weight, group in zip(weights_of(layers), groups, strict=True) if not group]
    found = torch.autograd.grad(value, [*flat, *unseen], retain_graph=True, allow_unused=True)
    if any(one is not None for one in found[len(flat) :]):
        raise NetworkError("A weight is used outside its layer, where gradients of single samples aren't known.")
    rest = iter(found)
    return [[next(rest) for _ in group] for group in groups]


# A run of a layer: input columns (S, groups, fan-in, positions) and output gradients (S, groups, rows, positions). The
# gradients of the samples' weights are their products over positions.
Unfolded = tuple[Tensor, Tensor]


def sample_gradients(unfolded: Sequence[Unfolded]) -> Iterator[Tensor]:
    """The samples' gradients of one weight, in pieces (S, numbers) that together make it up."""
    if not unfolded:
        return
    columns, deltas = unfolded[0]
    samples, groups, rows, _ = deltas.shape
    step = max(1, CHUNK // max(1, samples * groups * columns.shape[2]))
    for start in range(0, rows, step):
        pieces = [delta[:, :, start : start + step] @ column.transpose(-1, -2) for column, delta in unfolded]
        yield sum(pieces[1:], pieces[0]).reshape(samples, -1)


def unfolded(group: Sequence[Use], at: Sequence[Tensor | None], samples: int) -> list[Unfolded]:
    """Unfold the runs of the layers that use one weight.

    Args:
        group: The runs.
        at: Gradients at their outputs.
        samples: Batch size S.

    Raises:
        NetworkError: The samples of a layer can't be told apart.
    """
    return [_unfold(use, gradient, samples) for use, gradient in zip(group, at, strict=True) if gradient is not None]


def _unfold(use: Use, gradient: Tensor, samples: int) -> Unfolded:
    module, x, gradient = use.module, use.input, gradient.to(use.input.dtype)  # they differ under autocast
    if isinstance(module, nn.Linear) and is_plain(use):
        axis = sample_axis((*x.shape[:-1], 1), samples)
        if axis is None:
            raise NetworkError(f"A linear layer's input {tuple(x.shape)} has no axis of {samples} samples.")
        if axis == 1:
            x, gradient = x.transpose(0, 1), gradient.transpose(0, 1)
        columns = x.reshape(samples, 1, -1, x.shape[-1]).transpose(-1, -2)
        return columns, gradient.reshape(samples, 1, -1, gradient.shape[-1]).transpose(-1, -2)
    if not isinstance(module, (nn.Conv1d, nn.Conv2d)) or not is_plain(use) or x.shape[0] % samples:
        kind = type(module).__name__
        raise NetworkError(f"Gradients of single samples aren't known for a {kind} with input {tuple(x.shape)}.")
    columns = image_columns(module, x)
    groups, (fold, _, positions) = module.groups, columns.shape
    columns = columns.reshape(fold, groups, -1, positions)
    deltas = gradient.flatten(2).reshape(fold, groups, -1, positions)
    if fold != samples:  # windows folded into the batch are positions too
        columns, deltas = (_fold(one, samples) for one in (columns, deltas))
    return columns, deltas


def _fold(tensor: Tensor, samples: int) -> Tensor:
    """(S * windows, groups, rows, positions) to (S, groups, rows, windows * positions)."""
    windows = tensor.shape[0] // samples
    return tensor.reshape(samples, windows, *tensor.shape[1:]).permute(0, 2, 3, 1, 4).flatten(3)
