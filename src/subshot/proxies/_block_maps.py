"""Feature maps of blocks: their spectra, and what gradients become on the way from one block to the one before.

What a block is, :mod:`subshot.proxies._blocks` says. Guessed blocks that put out vectors, such as a classifier, don't
count beside those with maps, nor those that hand on what they are given, such as a batch norm that is off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from subshot.errors import NetworkError
from subshot.proxies._attempt import attempt
from subshot.proxies._axes import is_map
from subshot.proxies._blocks import find_blocks
from subshot.proxies._proxy import Need
from subshot.proxies._recording import Recording
from subshot.proxies._spectra import (
    channels_second,
    common_grid,
    covariance,
    eigenvalues,
    largest_singular_value,
    random_signs,
)

BLOCK_NEEDS = Need.BLOCKS | Need.TRAINABILITY


@dataclass(frozen=True)
class Block:
    """What one run of a block put out.

    Attributes:
        name: Name of the module.
        tokens: Whether channels are the last axis of a tensor of three.
        spectrum: Eigenvalues of the covariance of channels over rows, ascending, (C,), float64.
        gain: Largest singular value of the correlation of random signs, as gradients of this output, with what they
            become at the block before; ``None`` for the first block, and where the two have no common grid.
        identity: Whether they come back unchanged.
    """

    name: str
    tokens: bool
    spectrum: Tensor | None = None
    gain: float | None = None
    identity: bool = False


@dataclass
class _Output:
    """A run of a block."""

    name: str
    rank: int
    last: bool  # whether channels are its last axis, not the second
    second: bool  # whether samples are its second axis, not the first
    covariance: Tensor | None = None
    tensor: Tensor | None = None  # with its graph

    @property
    def tokens(self) -> bool:
        return self.last and self.rank == 3

    def maps(self, tensor: Tensor) -> Tensor:
        """View of the output, or of its gradient, as (samples, C, ...)."""
        return channels_second(tensor.transpose(0, 1) if self.second else tensor, last=self.last)


class BlockMaps:
    """Watches the outputs of a network's blocks.

    Args:
        network: Any module.
        recording: What to gather, and how.
    """

    def __init__(self, network: nn.Module, recording: Recording) -> None:
        self._recording = recording
        self._needs = recording.needs
        self._missing = recording.missing
        self._seen: list[_Output] = []
        self.modules: list[nn.Module] = []
        self._guessed = True
        if recording.needs & BLOCK_NEEDS:
            self.modules, self._guessed = find_blocks(network)

    def hook_for(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        """A forward hook that takes the covariance and keeps the output; the network goes on with a copy."""

        def see(module: nn.Module, inputs: Any, output: Any) -> Any:
            first = output[0] if type(output) is tuple and output else output
            if not is_map(first):
                return None
            axes = self._recording.axes
            last = axes.channels_last(module, first)
            axis = axes.sample_axis(first, last=last)
            if axis is None:  # such as positions, the same for all samples
                return None
            if self._guessed and any(first is one for one in inputs):
                return None
            seen = _Output(name, first.dim(), last, axis == 1)
            self._seen.append(seen)
            if self._needs & Need.BLOCKS:
                maps = seen.maps(first.detach())
                measure = self._recording.uncounted(lambda given: _set_covariance(seen, given))
                attempt(self._missing, Need.BLOCKS, lambda: measure(maps))
            if not self._needs & Need.TRAINABILITY:
                return None
            # What has no graph, such as a look-up in a frozen table, gets one that begins here.
            apart = torch.is_grad_enabled() and not first.requires_grad
            seen.tensor = first.detach().clone().requires_grad_() if apart else first
            copy = seen.tensor.clone()
            return (copy, *output[1:]) if isinstance(output, tuple) else copy

        return see

    def collect(self) -> tuple[tuple[Block, ...], int]:
        """What was seen, in the order of runs, and backward passes taken. The graph is kept.

        Backward passes go through single blocks; together they are one.
        """
        outputs = self._seen
        if self._guessed and any(output.rank > 2 for output in outputs):
            outputs = [output for output in outputs if output.rank > 2]
        spectra: list[Tensor | None] = [None] * len(outputs)
        passages: list[tuple[float | None, bool]] = [(None, False)] * len(outputs)
        if self._needs & Need.BLOCKS:
            covariances = [output.covariance for output in outputs]
            spectra = attempt(self._missing, Need.BLOCKS, lambda: eigenvalues(covariances)) or spectra
        if self._needs & Need.TRAINABILITY:
            passages = attempt(self._missing, Need.TRAINABILITY, lambda: self._passages(outputs)) or passages
        blocks = tuple(
            Block(output.name, output.tokens, spectrum, gain, identity)
            for output, spectrum, (gain, identity) in zip(outputs, spectra, passages, strict=True)
        )
        return blocks, int(any(gain is not None for gain, _ in passages))

    def _passages(self, outputs: Sequence[_Output]) -> list[tuple[float | None, bool]]:
        """Gain, and whether it is the identity, from each block to the one before it."""
        found: list[tuple[float | None, bool]] = [(None, False)] * min(len(outputs), 1)
        for index, (before, after) in enumerate(pairwise(outputs)):
            assert before.tensor is not None
            assert after.tensor is not None
            signs = random_signs(after.tensor, self._recording.seed, index)
            gradient = _gradient(before.tensor, after.tensor, signs)
            if gradient is None and self._guessed:
                raise NetworkError(
                    f"{after.name} doesn't depend on {before.name}, which ran before it.",
                    "Name the blocks of the network, each a function of the one before, by a method feature_blocks.",
                )
            gradient = torch.zeros_like(before.tensor) if gradient is None else gradient
            identity = gradient.shape == signs.shape and torch.equal(gradient, signs)
            fold = not (before.tokens or after.tokens)
            pair = common_grid(before.maps(gradient), after.maps(signs), fold=fold)
            found.append((None if pair is None else largest_singular_value(*pair), identity))
        return found


def _set_covariance(seen: _Output, maps: Tensor) -> None:
    seen.covariance = covariance(maps)


def _gradient(before: Tensor, after: Tensor, direction: Tensor) -> Tensor | None:
    """What a gradient of ``after`` becomes at ``before``; ``None`` where they are not related."""
    if not (before.requires_grad and after.requires_grad):
        return None
    (found,) = torch.autograd.grad(after, before, direction, retain_graph=True, allow_unused=True)
    return found
