"""The tangent kernel with gradients that flow through batch statistics, one backward pass for each sample.

Every sample's gradient depends on the whole batch there, so none can be had from another's pass. The products of all
pairs need the gradients of all samples at once: they are held for so many weights as fit into :data:`HELD` bytes, and
the passes are taken again for each further lot.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached

from subshot.errors import NetworkError
from subshot.proxies._layers import differentiable, weight_layers, weights_of
from subshot.proxies._loss import as_output, check_differentiable
from subshot.proxies._patterns import sample_axis
from subshot.proxies._unfold import CHUNK, run_on_copy, where_finite

# Bytes of sample gradients held at a time: a gigabyte.
HELD = 1 << 30

# A stretch of one weight: its index, first number and end.
_Stretch = tuple[int, int, int]


def coupled_kernel(network: nn.Module, inputs: Tensor | Mapping[str, Tensor], *, samples: int) -> tuple[Tensor, int]:
    """The kernel (S, S), float64, and the number of backward passes taken.

    Args:
        network: Any module.
        inputs: One tensor or named tensors.
        samples: Batch size S.

    Raises:
        NetworkError: The network has no weights, or its output isn't differentiable or not by sample.
    """
    with torch.inference_mode(False), torch.enable_grad(), cached():
        layers = weight_layers(network)
        with differentiable(weights_of(layers)):
            tensor = as_output(run_on_copy(network, inputs))
            weights = weights_of(layers)
            if not weights:
                raise NetworkError("The network has no convolution or linear layer.")
            check_differentiable(tensor)
            axis = sample_axis(tensor.shape, samples)
            if axis is None:
                raise NetworkError(f"The output {tuple(tensor.shape)} has no axis of {samples} samples.")
            sums = tensor.transpose(0, axis).reshape(samples, -1).sum(dim=1)
            kernel = torch.zeros(samples, samples, dtype=torch.float64, device=tensor.device)
            lots = list(_lots(weights, samples))
            for lot in lots:
                _add(kernel, sums, weights, lot)
    return where_finite(kernel, tensor), samples * len(lots)


def _lots(weights: Sequence[Tensor], samples: int) -> Iterator[list[_Stretch]]:
    """Stretches that make up all weights, in lots of at most :data:`HELD` bytes for all samples."""
    step = max(1, CHUNK // samples)
    lot: list[_Stretch] = []
    held = 0
    for index, weight in enumerate(weights):
        for start in range(0, weight.numel(), step):
            end = min(start + step, weight.numel())
            size = (end - start) * samples * weight.element_size()
            if lot and held + size > HELD:
                yield lot
                lot, held = [], 0
            lot.append((index, start, end))
            held += size
    yield lot


def _add(kernel: Tensor, sums: Tensor, weights: Sequence[Tensor], lot: Sequence[_Stretch]) -> None:
    """Add the products of the samples' gradients for one lot, which aren't held any longer than that."""
    rows = [_gradients(one, weights, lot) for one in sums]
    for several in zip(*rows, strict=True):
        present = [one for one in several if one is not None]
        if present:
            none = torch.zeros_like(present[0])
            wide = torch.stack([none if one is None else one for one in several]).double()
            kernel += wide @ wide.T


def _gradients(value: Tensor, weights: Sequence[Tensor], lot: Sequence[_Stretch]) -> list[Tensor | None]:
    """Gradients for the stretches of a lot; the graph is kept."""
    wanted = sorted({index for index, _, _ in lot})
    found = torch.autograd.grad(value, [weights[index] for index in wanted], retain_graph=True, allow_unused=True)
    by_index = dict(zip(wanted, found, strict=True))
    return [_stretch(by_index[index], start, end) for index, start, end in lot]


def _stretch(gradient: Tensor | None, start: int, end: int) -> Tensor | None:
    """Some numbers of a gradient, which don't keep the rest of it."""
    if gradient is None:
        return None
    flat = gradient.reshape(-1)
    return flat if end - start == len(flat) else flat[start:end].clone()
