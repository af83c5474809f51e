"""The pass of Zen: weights N(0, 1), a pair of noise inputs that differ a little, the feature maps before pooling."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from subshot._seeds import stable_seed
from subshot.errors import NetworkError
from subshot.networks.initialisation import Initialiser
from subshot.proxies._pooling import LastMap

# Size of the second input's difference, as in the authors' code.
_GAMMA = 0.01


@dataclass(frozen=True)
class NoisePair:
    """What the two passes gave.

    Attributes:
        difference: Mean over samples of the summed size of the difference of the last feature maps; ``None`` if there
            is none, as :mod:`subshot.proxies._pooling` has it, and there was no second pass.
        variances: For each batch norm over images in the order of the module tree, the mean over channels of the
            unbiased variance of its input, in the first and in the second pass; ``None`` for one that wasn't reached.
    """

    difference: float | None
    variances: tuple[tuple[float, float] | None, ...] = ()


def noise_pass(network: nn.Module, inputs: Tensor | Mapping[str, Tensor], seed: int) -> NoisePair:
    """Run the network on noise in place of ``inputs``; its parameters are put back.

    Args:
        network: Any module whose last feature map can be told.
        inputs: One tensor of images, which gives shape, type and device of the noise.
        seed: Seed of weights and noise.

    Raises:
        NetworkError: Several or integer inputs, or batch norm that isn't set to batch statistics.
    """
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.dim() != 4:
        raise NetworkError("Zen is defined for networks of images.")
    generator = torch.Generator().manual_seed(stable_seed(seed, "noise"))
    # In the memory layout of the batch: convolutions and poolings are fast where the caller has chosen a fast one.
    noise = (torch.randn(inputs.shape, generator=generator) for _ in range(2))
    first, delta = (torch.empty_like(inputs).copy_(one) for one in noise)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not all(module.training for module in network.modules() if isinstance(module, _BatchNorm)):
        raise NetworkError("Zen is defined with batch norm by batch statistics.", "Use batch norm mode 'batch'.")
    saved = [(tensor, tensor.detach().clone()) for tensor in (*network.parameters(), *network.buffers())]
    try:
        Initialiser(network, "normal").draw(stable_seed(seed, "weights"))
        with torch.no_grad():
            features, variances = _run(network, first.clone(), norms)  # which the network may change in place
            if features is None:
                return NoisePair(None)
            moved, moved_variances = _run(network, first + _GAMMA * delta, norms)
    finally:
        with torch.no_grad():
            for tensor, value in saved:
                tensor.copy_(value)
    assert moved is not None
    difference = float((features - moved).abs().flatten(1).sum(dim=1).mean())
    pairs = (None if a is None or b is None else (a, b) for a, b in zip(variances, moved_variances, strict=True))
    return NoisePair(difference, tuple(pairs))


def _run(network: nn.Module, x: Tensor, norms: list[nn.BatchNorm2d]) -> tuple[Tensor | None, list[float | None]]:
    """Features before pooling, if there is one, and the variances that the batch norms saw."""
    last = LastMap(len(x))
    with _recorded(norms, x) as variances, last:
        network(x)
    return last.found, [None if bool((one < 0).any()) else float(one.mean()) for one in variances]


@contextlib.contextmanager
def _recorded(norms: Sequence[nn.BatchNorm2d], x: Tensor) -> Iterator[list[Tensor]]:
    """Let batch norms write the variance of a pass, which they compute anyway; a negative one marks those not reached.

    A running variance with momentum 1 is the variance of the last batch.
    """
    saved = [(norm.track_running_stats, norm.momentum, dict(norm._buffers)) for norm in norms]
    variances = []
    try:
        for norm in norms:
            like = next(iter([*norm.parameters(recurse=False), *norm.buffers(recurse=False)]), x)
            variances.append(torch.full((norm.num_features,), -1.0, device=like.device, dtype=like.dtype))
            norm.track_running_stats, norm.momentum = True, 1.0
            mean = torch.zeros_like(variances[-1])
            norm._buffers.update(running_mean=mean, running_var=variances[-1], num_batches_tracked=None)
        yield variances
    finally:
        for norm, (tracks, momentum, buffers) in zip(norms, saved, strict=True):
            norm.track_running_stats, norm.momentum = tracks, momentum
            norm._buffers.clear()
            norm._buffers.update(buffers)
