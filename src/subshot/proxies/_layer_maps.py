"""Feature maps of single layers: how much their channels are correlated, and their effective rank.

Taken while the network runs, so that no map outlives its layer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import activation

from subshot._seeds import stable_rng
from subshot.proxies._attempt import attempt
from subshot.proxies._axes import NORMS, WEIGHTS, is_map
from subshot.proxies._proxy import Need
from subshot.proxies._recording import Recording
from subshot.proxies._spectra import batched, correlation, effective_ranks, eigenvalues

# Channels that the small form of MeCo draws.
FEW = 8

MAP_NEEDS = Need.CORRELATION | Need.CORRELATION_OF_FEW | Need.EFFECTIVE_RANK

_SPREADING = (activation.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)
_KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "weight": WEIGHTS,
    "norm": NORMS,
    "activation": tuple(
        one
        for one in vars(activation).values()
        if isinstance(one, type) and one.__module__ == activation.__name__ and one not in _SPREADING
    ),
}


@dataclass(frozen=True)
class FeatureMap:
    """What one run of a module put out; what wasn't asked for is ``None``.

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


@dataclass
class _Run:
    """A run of a module whose eigenvalues are still to be taken."""

    name: str
    kind: str
    channels: int
    positions: int
    rows: int
    correlation: Tensor | None = None
    correlation_of_few: Tensor | None = None
    sample: Tensor | None = None


class LayerMaps:
    """Watches the outputs of layers, and with ``EVERY_MODULE`` those of all modules.

    Args:
        recording: What to gather, and how.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._needs = recording.needs
        self._missing = recording.missing
        self._found: list[_Run] = []
        self._runs = {True: 0, False: 0}  # of layers, of other modules

    def hook_for(self, name: str, module: nn.Module) -> Callable[[nn.Module, Any, Any], None] | None:
        """A forward hook that takes what is asked for of a module's output; ``None`` if it isn't watched."""
        kind = next((kind for kind, types in _KINDS.items() if isinstance(module, types)), "other")
        if not self._needs & MAP_NEEDS or (kind == "other" and not self._needs & Need.EVERY_MODULE):
            return None

        def see(module: nn.Module, inputs: Any, output: Any) -> None:
            if not is_map(output):
                return
            axes = self._recording.axes
            maps = axes.by_sample(output.detach(), last=axes.channels_last(module, output))
            if maps is not None:
                self._recording.uncounted(lambda seen: self._take(name, kind, seen))(maps)

        return see

    def _take(self, name: str, kind: str, maps: Tensor) -> None:
        """Take the correlation of channels and random rows, from (S, C, positions)."""
        own = kind != "other"
        index = self._runs[own]
        self._runs[own] += 1
        samples, channels, positions = maps.shape
        layer = _Run(name, kind, channels, positions, samples * positions)
        if self._needs & Need.CORRELATION:
            layer.correlation = attempt(self._missing, Need.CORRELATION, lambda: correlation(maps[0]))
        if self._needs & Need.CORRELATION_OF_FEW:
            few = self._draw("channels" if own else "channels of others", index, channels, FEW).to(maps.device)
            layer.correlation_of_few = attempt(
                self._missing, Need.CORRELATION_OF_FEW, lambda: correlation(maps[0][few])
            )
        if self._needs & Need.EFFECTIVE_RANK and own:
            rows = self._draw("rows", index, samples * positions, channels)
            layer.sample = attempt(self._missing, Need.EFFECTIVE_RANK, lambda: _rows(maps, rows))
        self._found.append(layer)

    def _draw(self, what: str, index: int, population: int, size: int) -> Tensor:
        """Distinct random indices, ascending; all of them where there are no more than asked for."""
        if population <= size:
            return torch.arange(population)
        drawn = stable_rng(self._recording.seed, what, index).choice(population, size, replace=False, shuffle=False)
        return torch.from_numpy(np.sort(drawn))

    def collect(self) -> tuple[FeatureMap, ...]:
        """What was seen, in the order of runs."""
        runs = self._found
        all_of_them = self._values(Need.CORRELATION, lambda: _smallest([run.correlation for run in runs]))
        few = self._values(Need.CORRELATION_OF_FEW, lambda: _smallest([run.correlation_of_few for run in runs]))
        ranks = self._values(Need.EFFECTIVE_RANK, lambda: _ranks([run.sample for run in runs]))
        return tuple(
            FeatureMap(run.name, run.kind, run.channels, run.positions, run.rows, *values)
            for run, *values in zip(runs, all_of_them, few, ranks, strict=True)
        )

    def _values(self, need: Need, take: Callable[[], list[float | None]]) -> list[float | None]:
        """One value for each run, if it is needed and can be had."""
        found = attempt(self._missing, need, take) if self._needs & need else None
        return found or [None] * len(self._found)


def _smallest(matrices: list[Tensor | None]) -> list[float | None]:
    """Smallest eigenvalues of correlation matrices; below zero there is only rounding."""
    # Without a matrix there are no more positions than channels, and a null direction at least.
    return [0.0 if spectrum is None else max(float(spectrum[0]), 0.0) for spectrum in eigenvalues(matrices)]


def _ranks(samples: list[Tensor | None]) -> list[float | None]:
    """Effective ranks of rows; none where there are none."""
    return [None if rank is None else float(rank) for rank in batched(effective_ranks, samples)]


def _rows(maps: Tensor, rows: Tensor) -> Tensor:
    """Rows of (S, C, positions), as (rows, C), float64."""
    rows, positions = rows.to(maps.device), maps.shape[2]
    return maps[rows // positions, :, rows % positions].double()
