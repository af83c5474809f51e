"""What feature maps look like in one forward pass: those of single layers, of blocks, of feed-forward hidden layers.

Statistics are taken while the network runs, so that no map outlives its layer; only what goes backward through a block
keeps the block's output. Channels are the second axis after convolutions and their norms, the last one after linear
layers and theirs; other modules follow the layer before them. Rows are what is left: samples times positions.

What a block is, :mod:`subshot.proxies._blocks` says. Guessed blocks that put out vectors, such as a classifier, don't
count beside those with maps, nor those that hand on what they are given, such as a batch norm that is off.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import activation
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from subshot._seeds import stable_rng
from subshot.errors import NetworkError
from subshot.proxies._blocks import find_blocks
from subshot.proxies._capture import activation_functions
from subshot.proxies._gradients import attempt
from subshot.proxies._patterns import sample_axis
from subshot.proxies._proxy import Need
from subshot.proxies._spectra import (
    batched,
    channels_second,
    common_grid,
    correlation,
    covariance,
    effective_ranks,
    eigenvalues,
    largest_singular_value,
    random_signs,
)

FEATURE_NEEDS = Need.CORRELATION | Need.EFFECTIVE_RANK | Need.BLOCKS | Need.TRAINABILITY | Need.HIDDEN

# Channels that the small form of MeCo draws.
FEW = 8

_SPREADING = (activation.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)
_KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "weight": (_ConvNd, nn.Linear),
    "norm": (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm),
    "activation": tuple(
        one
        for one in vars(activation).values()
        if isinstance(one, type) and one.__module__ == activation.__name__ and one not in _SPREADING
    ),
}
_CHANNELS_SECOND = (_ConvNd, _NormBase, nn.GroupNorm)
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class FeatureMap:
    """What one run of a module put out.

    Attributes:
        name: Name of the module.
        kind: ``weight`` (convolution, linear), ``norm``, ``activation``, or ``other`` for any other module.
        channels: Channels C.
        positions: Positions of the first sample: pixels, tokens; 1 for vectors.
        rows: Samples times positions.
        correlation: Smallest eigenvalue of the channels' correlation over the positions of the first sample.
        correlation_of_few: The same for :data:`FEW` channels drawn at random, or all where there are fewer.
        effective_rank: Exponential of the entropy of the singular values of C random rows, or all where there are
            fewer; not of other modules.
    """

    name: str
    kind: str
    channels: int
    positions: int
    rows: int
    correlation: float | None = None
    correlation_of_few: float | None = None
    effective_rank: float | None = None


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


@dataclass(frozen=True)
class Hidden:
    """The hidden layer of a feed-forward network on tokens, before its activation.

    Attributes:
        name: Name of the linear layer.
        width: Features F.
        rows: Samples times tokens.
        spectrum: Eigenvalues of the covariance of features, ascending, the min(rows, F) largest, float64.
    """

    name: str
    width: int
    rows: int
    spectrum: Tensor


@dataclass(frozen=True)
class Features:
    """What was seen of feature maps, in the order of runs.

    Attributes:
        maps: Outputs of layers; of any other module too if correlations were asked for.
        blocks: Outputs of blocks.
        hidden: Hidden layers of feed-forward networks.
        backwards: Backward passes taken; those through single blocks make one together.
    """

    maps: tuple[FeatureMap, ...] = ()
    blocks: tuple[Block, ...] = ()
    hidden: tuple[Hidden, ...] = ()
    backwards: int = 0


@dataclass
class _Run:
    """A run of a module whose eigenvalues are still to be taken."""

    name: str
    kind: str
    channels: int
    positions: int
    rows: int
    correlations: tuple[Tensor | None, Tensor | None] | None = None
    sample: Tensor | None = None


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


class FeatureRecorder:
    """Watches feature maps while a network runs.

    Args:
        network: Any module.
        needs: What to gather.
        samples: Batch size S.
        seed: Seed of random rows, channels and directions.
        uncounted: Wraps what takes matrix products of its own, for a counter of the network's.
    """

    def __init__(
        self,
        network: nn.Module,
        needs: Need,
        *,
        samples: int,
        seed: int,
        uncounted: Callable[[Callable[[Tensor], None]], Callable[[Tensor], None]] | None = None,
    ) -> None:
        self._needs = needs
        self._samples = samples
        self._seed = seed
        self._uncounted = uncounted or (lambda measure: measure)
        self._missing: dict[Need, Exception] = {}
        self._layers: list[_Run] = []
        self._runs = {True: 0, False: 0}  # of layers, of other modules
        self._outputs: list[_Output] = []
        self._hidden: list[tuple[str, int, int, Tensor]] = []
        self._latest: tuple[bool, int] | None = None  # whether the latest layer has channels last, rank of its output
        # Outputs of linear layers, held only as long as the network holds them.
        self._linear: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
        self._linear_names: dict[int, str] = {}
        self._guessed = True
        self._hooks = []
        names = {id(module): name for name, module in network.named_modules()}
        # Blocks first: a layer that is a block itself is seen as what runs on.
        if needs & (Need.BLOCKS | Need.TRAINABILITY):
            blocks, self._guessed = find_blocks(network)
            for block in blocks:
                self._hooks.append(block.register_forward_hook(self._see_block(names.get(id(block), ""))))
        for name, module in network.named_modules():
            kind = next((kind for kind, types in _KINDS.items() if isinstance(module, types)), "other")
            if kind != "other" or needs & Need.CORRELATION:
                self._hooks.append(module.register_forward_hook(self._see_layer(name, kind)))

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While active, sees which linear layer an activation function is given."""
        if not self._needs & Need.HIDDEN:
            yield
            return
        with _InputMode(self._see_hidden):
            yield

    def collect(self, missing: dict[Need, Exception]) -> Features:
        """What was seen. With ``TRAINABILITY`` it goes backward through each block and keeps the graph.

        Args:
            missing: Where to note what could not be had.
        """
        missing.update(self._missing)
        outputs = self._outputs
        if self._guessed and any(output.rank > 2 for output in outputs):
            outputs = [output for output in outputs if output.rank > 2]
        correlations: list[tuple[float | None, float | None]] = [(None, None)] * len(self._layers)
        ranks: list[float | None] = [None] * len(self._layers)
        spectra: list[Tensor | None] = [None] * len(outputs)
        passages: list[tuple[float | None, bool]] = [(None, False)] * len(outputs)
        if self._needs & Need.CORRELATION:
            correlations = attempt(missing, Need.CORRELATION, self._smallest) or correlations
        if self._needs & Need.EFFECTIVE_RANK:
            ranks = attempt(missing, Need.EFFECTIVE_RANK, self._ranks) or ranks
        if self._needs & Need.BLOCKS:
            covariances = [output.covariance for output in outputs]
            spectra = attempt(missing, Need.BLOCKS, lambda: eigenvalues(covariances)) or spectra
        if self._needs & Need.TRAINABILITY:
            passages = attempt(missing, Need.TRAINABILITY, lambda: self._passages(outputs)) or passages
        hidden = attempt(missing, Need.HIDDEN, lambda: eigenvalues([one[3] for one in self._hidden])) or ()
        return Features(
            tuple(
                FeatureMap(one.name, one.kind, one.channels, one.positions, one.rows, all_of_them, few, rank)
                for one, (all_of_them, few), rank in zip(self._layers, correlations, ranks, strict=True)
            ),
            tuple(
                Block(output.name, output.tokens, spectrum, gain, identity)
                for output, spectrum, (gain, identity) in zip(outputs, spectra, passages, strict=True)
            ),
            tuple(
                Hidden(name, width, rows, spectrum)
                for (name, width, rows, _), spectrum in zip(self._hidden, hidden, strict=False)
                if spectrum is not None
            ),
            backwards=int(any(gain is not None for gain, _ in passages)),
        )

    def _see_layer(self, name: str, kind: str) -> Callable[[nn.Module, Any, Any], None]:
        """A hook that takes what is asked for of a module's output."""

        def see(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or not output.is_floating_point() or output.dim() < 2:
                return
            last = self._channels_last(module, output)
            if kind in ("weight", "norm"):
                self._latest = (last, output.dim())
            if isinstance(module, nn.Linear) and output.dim() > 2:
                self._linear[id(output)] = output
                self._linear_names[id(output)] = name
            if not self._needs & (Need.CORRELATION | Need.EFFECTIVE_RANK):
                return
            maps = self._by_sample(output.detach(), last=last)
            if maps is not None:
                self._uncounted(lambda seen: self._take(name, kind, seen))(maps)

        return see

    def _take(self, name: str, kind: str, maps: Tensor) -> None:
        """Take the correlation of channels and random rows, from (S, C, positions)."""
        own = kind != "other"
        index = self._runs[own]
        self._runs[own] += 1
        samples, channels, positions = maps.shape
        layer = _Run(name, kind, channels, positions, samples * positions)
        if self._needs & Need.CORRELATION:
            drawn = self._draw("channels" if own else "channels of others", index, channels, FEW)
            layer.correlations = attempt(self._missing, Need.CORRELATION, lambda: _correlations(maps[0], drawn))
        if self._needs & Need.EFFECTIVE_RANK and own:
            rows = self._draw("rows", index, samples * positions, channels)
            layer.sample = attempt(self._missing, Need.EFFECTIVE_RANK, lambda: _rows(maps, rows))
        self._layers.append(layer)

    def _draw(self, what: str, index: int, population: int, size: int) -> Tensor:
        """Distinct random indices, ascending; all of them where there are no more than asked for."""
        if population <= size:
            return torch.arange(population)
        drawn = stable_rng(self._seed, what, index).choice(population, size, replace=False, shuffle=False)
        return torch.from_numpy(np.sort(drawn))

    def _smallest(self) -> list[tuple[float | None, float | None]]:
        """Smallest eigenvalues of correlation matrices; below zero there is only rounding."""
        pairs = [layer.correlations or (None, None) for layer in self._layers]
        found = []
        for matrices in zip(*pairs, strict=True):
            spectra = eigenvalues(matrices)
            # Without a matrix there are no more positions than channels, and a null direction at least.
            found.append([0.0 if spectrum is None else max(float(spectrum[0]), 0.0) for spectrum in spectra])
        return list(zip(*found, strict=True))

    def _ranks(self) -> list[float | None]:
        found = batched(effective_ranks, [layer.sample for layer in self._layers])
        return [None if rank is None else float(rank) for rank in found]

    def _see_block(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        """A hook that takes the covariance and keeps the output; what runs on is a copy, which may be changed."""

        def see(module: nn.Module, inputs: Any, output: Any) -> Any:
            first = output[0] if type(output) is tuple and output else output
            if not isinstance(first, Tensor) or not first.is_floating_point() or first.dim() < 2:
                return None
            last = self._channels_last(module, first)
            axis = self._sample_axis(first, last=last)
            if axis is None:  # such as positions, the same for all samples
                return None
            if self._guessed and any(first is one for one in inputs):
                return None
            seen = _Output(name, first.dim(), last, axis == 1)
            self._outputs.append(seen)
            if self._needs & Need.BLOCKS:
                maps = seen.maps(first.detach())
                attempt(self._missing, Need.BLOCKS, lambda: self._uncounted(lambda t: _set_covariance(seen, t))(maps))
            if not self._needs & Need.TRAINABILITY:
                return None
            # What has no graph, such as a look-up in a frozen table, gets one that begins here.
            apart = torch.is_grad_enabled() and not first.requires_grad
            seen.tensor = first.detach().clone().requires_grad_() if apart else first
            copy = seen.tensor.clone()
            return (copy, *output[1:]) if isinstance(output, tuple) else copy

        return see

    def _passages(self, outputs: Sequence[_Output]) -> list[tuple[float | None, bool]]:
        """Gain, and whether it is the identity, from each block to the one before it."""
        found: list[tuple[float | None, bool]] = [(None, False)] * min(len(outputs), 1)
        for index, (before, after) in enumerate(pairwise(outputs)):
            assert before.tensor is not None
            assert after.tensor is not None
            signs = random_signs(after.tensor, self._seed, index)
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

    def _see_hidden(self, given: Tensor) -> None:
        """Take the covariance of what an activation function is given, if a linear layer gave it."""
        if self._linear.get(id(given)) is not given:
            return
        del self._linear[id(given)]  # a second activation makes no second network
        name = self._linear_names[id(given)]
        rows = given.detach().reshape(-1, given.shape[-1])
        attempt(self._missing, Need.HIDDEN, lambda: self._uncounted(lambda t: self._take_hidden(name, t))(rows))

    def _take_hidden(self, name: str, rows: Tensor) -> None:
        count, width = rows.shape
        centred = rows.double() - rows.mean(dim=0, dtype=torch.float64)
        # The smaller of the two products has the same eigenvalues, but for zeros.
        product = centred @ centred.T if count < width else centred.T @ centred
        self._hidden.append((name, width, count, product / max(count - 1, 1)))

    def _channels_last(self, module: nn.Module, output: Tensor) -> bool:
        """Whether the last axis is that of channels."""
        if isinstance(module, _CHANNELS_SECOND):
            return False
        if isinstance(module, _CHANNELS_LAST):
            return True
        if self._latest is not None and self._latest[1] == output.dim():
            return self._latest[0]
        return output.dim() < 4

    def _sample_axis(self, output: Tensor, *, last: bool) -> int | None:
        """Which axis holds the samples or a fold of them; channels never do."""
        if last:
            return sample_axis((*output.shape[:-1], 1), self._samples)
        return 0 if output.shape[0] and output.shape[0] % self._samples == 0 else None

    def _by_sample(self, output: Tensor, *, last: bool) -> Tensor | None:
        """View as (S, C, positions), or ``None`` where no axis can be the samples."""
        axis = self._sample_axis(output, last=last)
        if axis is None:
            return None
        maps = channels_second(output.transpose(0, 1) if axis == 1 else output, last=last)
        maps = maps.flatten(2) if maps.dim() > 2 else maps.unsqueeze(2)
        fold = maps.shape[0] // self._samples
        if fold == 1:
            return maps
        return maps.reshape(self._samples, fold, *maps.shape[1:]).transpose(1, 2).flatten(2)


class _InputMode(TorchFunctionMode):
    """While active, hands what activation functions are given to ``see``, before they can change it in place."""

    def __init__(self, see: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._see = see
        self._activations = activation_functions()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run ``func``; note its input if it is an activation."""
        if func in self._activations:
            given = args[0] if args else (kwargs or {}).get("input")
            if isinstance(given, Tensor):
                self._see(given)
        return func(*args, **kwargs) if kwargs else func(*args)


def _correlations(first: Tensor, few: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Of all channels (C, positions), and of a few."""
    return correlation(first), correlation(first[few.to(first.device)])


def _rows(maps: Tensor, rows: Tensor) -> Tensor:
    """Rows of (S, C, positions), as (rows, C), float64."""
    rows, positions = rows.to(maps.device), maps.shape[2]
    return maps[rows // positions, :, rows % positions].double()


def _set_covariance(seen: _Output, maps: Tensor) -> None:
    seen.covariance = covariance(maps)


def _gradient(before: Tensor, after: Tensor, direction: Tensor) -> Tensor | None:
    """What a gradient of ``after`` becomes at ``before``; ``None`` where they are not related."""
    if not (before.requires_grad and after.requires_grad):
        return None
    (found,) = torch.autograd.grad(after, before, direction, retain_graph=True, allow_unused=True)
    return found
