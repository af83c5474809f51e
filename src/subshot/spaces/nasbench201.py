"""NAS-Bench-201, also the topology space of NATS-Bench: 15,625 cells (arXiv 2001.00326, 2009.00437).

A cell has four nodes. Node 0 is its input, node 3 its output, and each node is the sum of one operation on every node
before it. Five operations for each of six edges make 5^6 cells::

    node 1 = a(0)
    node 2 = b(0) + c(1)
    node 3 = d(0) + e(1) + f(2)

Different cells may compute the same function: with ``none`` for c, nodes 1 and 2 can change places, a skip can make two
nodes one, and what can't reach the output doesn't matter.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from subshot._types import Arch, TaskSpec
from subshot.errors import OptionError, UnknownNameError
from subshot.spaces._nasbench201_cell import CONV_1X1, CONV_3X3, NAME, POPULATIONS, all_cells, arch_of, genes_of
from subshot.spaces._nasbench201_cell import EDGES as EDGES
from subshot.spaces._nasbench201_cell import OPERATIONS as OPERATIONS
from subshot.spaces._nasbench201_cell import has_path as has_path
from subshot.spaces._nasbench201_cell import is_live as is_live
from subshot.spaces._nasbench201_cell import published_class as published_class
from subshot.spaces._nasbench201_text import parse_cell
from subshot.spaces._space import SPACES, Size, resolve_variant

if TYPE_CHECKING:
    from torch import nn

    from subshot.networks.nasbench201_supernet import NasBench201Supernet

_NARROW = 2

_CIFAR10 = TaskSpec.images(3, 32, 32, classes=10)


@dataclass(frozen=True)
class NasBench201:
    """The space of NAS-Bench-201 cells.

    ``Arch.genes`` holds one index into ``OPERATIONS`` for each of ``EDGES``; the canonical text is the benchmark's own
    ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``. The published network has 16 channels and 5 cells a stage; the input may
    have any size and number of channels.

    Attributes:
        channels: Width of the first of three stages; it doubles twice.
        cells: Cells per stage.
    """

    channels: int = 16
    cells: int = 5

    def __post_init__(self) -> None:
        for key, value in (("channels", self.channels), ("cells", self.cells)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise OptionError(f"space {NAME} was given {key}={value!r}.", f"{key} is a whole number from 1 on.")

    @property
    def name(self) -> str:
        """``"nasbench201"``."""
        return NAME

    @property
    def size(self) -> int:
        """15,625."""
        return int(len(OPERATIONS) ** len(EDGES))

    @property
    def variants(self) -> tuple[str, ...]:
        """``official``: the network of the benchmark, with nothing pruned. ``narrow``: the same at 2 channels.

        Activation patterns of the narrow network rank cells better than those of the official one, whose patterns come
        near the bound of a small batch, and cost less; see ``experiments/results/swap_nasbench201.md``.
        """
        return ("official", "narrow")

    @property
    def scoring_variant(self) -> str:
        """``"narrow"``."""
        return "narrow"

    @property
    def task(self) -> TaskSpec:
        """CIFAR-10."""
        return _CIFAR10

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw a cell uniformly from all 15,625."""
        return arch_of(rng.integers(len(OPERATIONS), size=len(EDGES)).tolist())

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Draw uniformly from the 24 cells that differ in the operation of one edge."""
        genes = list(genes_of(arch))
        edge, shift = divmod(int(rng.integers(len(EDGES) * (len(OPERATIONS) - 1))), len(OPERATIONS) - 1)
        genes[edge] = (genes[edge] + 1 + shift) % len(OPERATIONS)
        return arch_of(genes)

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """Take each edge's operation from either parent with equal chance."""
        parents = (genes_of(first), genes_of(second))
        return arch_of([parents[side][edge] for edge, side in enumerate(rng.integers(2, size=len(EDGES)).tolist())])

    def parse(self, text: str) -> Arch:
        """Read the benchmark's text, or NASLib's six numbers marked as such: ``naslib:423121``.

        Raises:
            ArchError: The text is neither. Bare digits are refused because each code base means another cell by them.
        """
        return parse_cell(text)

    def format(self, arch: Arch) -> str:
        """The benchmark's own text, for example ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``."""
        a, b, c, d, e, f = (OPERATIONS[code] for code in genes_of(arch))
        return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the published network: all operations, also those that can't reach the output.

        Raises:
            ArchError: Not a cell of this space.
            UnknownNameError: There is no such variant.
        """
        from subshot.networks.nasbench201 import NasBench201Network

        task = task or _CIFAR10
        operations = [OPERATIONS[code] for code in genes_of(arch)]
        return NasBench201Network(
            operations,
            channels=self._channels(variant),
            cells=self.cells,
            image_channels=task.image_shape[0],
            classes=task.outputs,
        )

    def supernet(self, task: TaskSpec | None = None, *, variant: str | None = None) -> "NasBench201Supernet":
        """All cells in one network: a slot on each edge, shared by the cells.

        Raises:
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        from subshot.networks.nasbench201_supernet import NasBench201Supernet

        task = task or _CIFAR10
        return NasBench201Supernet(
            OPERATIONS,
            channels=self._channels(variant),
            cells=self.cells,
            image_channels=task.image_shape[0],
            classes=task.outputs,
        )

    def defect(self, arch: Arch) -> str | None:
        """No path from input to output: the network's output is constant; true of 341 cells."""
        return (
            None if has_path(arch) else "no path leads from the cell's input to its output, so the output is constant"
        )

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Count parameters and MACs from the numbers of convolutions, without building anything.

        The benchmark's own ``flop`` adds the classifier's bias, one for each class.

        Raises:
            ArchError: Not a cell of this space.
            UnknownNameError: There is no such variant.
        """
        genes = genes_of(arch)
        fixed, one, three = _parts(self._channels(variant), self.cells, task or _CIFAR10)
        n1, n3 = genes.count(CONV_1X1), genes.count(CONV_3X3)
        return Size(
            fixed.parameters + n1 * one.parameters + n3 * three.parameters,
            fixed.macs + n1 * one.macs + n3 * three.macs,
        )

    def encode(self, arch: Arch) -> np.ndarray:
        """Five one-hot numbers for each edge, shape ``(30,)``, float32."""
        return np.eye(len(OPERATIONS), dtype=np.float32)[list(genes_of(arch))].reshape(-1)

    def decode(self, vector: np.ndarray) -> Arch | None:
        """The inverse of :meth:`encode`; ``None`` if an edge has no or several operations."""
        if vector.shape != (len(EDGES) * len(OPERATIONS),):
            return None
        rows = vector.reshape(len(EDGES), len(OPERATIONS))
        codes = rows.argmax(axis=1)
        if not np.array_equal(rows, np.eye(len(OPERATIONS))[codes]):
            return None
        return arch_of(codes.tolist())

    def architectures(self) -> Iterator[Arch]:
        """Every cell, in ascending order of genes, which is not the order of the benchmark's index."""
        return iter(all_cells())

    @property
    def populations(self) -> tuple[str, ...]:
        """``all`` 15,625, ``unique`` 6,466 and ``live`` 9,445 cells."""
        return tuple(POPULATIONS)

    def population(self, name: str) -> Sequence[Arch]:
        """One of the sets that published figures refer to, in ascending order of genes.

        ``unique`` has the cell with the smallest genes of each published isomorphism class (see
        :func:`published_class`; the benchmark takes the smallest index). ``live`` has the cells of :func:`is_live`.

        Raises:
            UnknownNameError: No subset has that name.
        """
        if name not in POPULATIONS:
            raise UnknownNameError.of(f"population of {NAME}", name, POPULATIONS)
        return POPULATIONS[name]()

    def network_settings(self, variant: str) -> dict[str, int]:
        """Width of the first stage and cells per stage."""
        return {"channels": self._channels(variant), "cells": self.cells}

    def _channels(self, variant: str | None) -> int:
        """Width of the first stage of a variant's network."""
        return min(_NARROW, self.channels) if resolve_variant(self, variant) == "narrow" else self.channels


SPACES.register(NAME, NasBench201)


@functools.lru_cache(maxsize=64)
def _parts(channels: int, cells: int, task: TaskSpec) -> tuple[Size, Size, Size]:
    """Sizes of the network without operations, of all 1x1 convolutions on one edge, and of all 3x3 convolutions."""
    image_channels, height, width = task.image_shape
    parameters = 9 * image_channels * channels + 2 * channels
    macs = 9 * image_channels * channels * height * width
    edge_macs = 0
    for c in (channels, 2 * channels, 4 * channels):
        if c > channels:
            height, width = (height + 1) // 2, (width + 1) // 2
            reduction = (9 * (c // 2) + 9 * c + c // 2) * c  # two 3x3 convolutions and the 1x1 shortcut
            parameters += reduction + 2 * 2 * c
            macs += reduction * height * width
        edge_macs += cells * c * c * height * width
    head = 4 * channels * task.outputs
    parameters += 2 * 4 * channels + head + task.outputs
    norms, weights = 2 * 7 * channels * cells, 21 * channels * channels * cells  # 1 + 2 + 4 and 1 + 4 + 16
    return (
        Size(parameters, macs + head),
        Size(weights + norms, edge_macs),
        Size(9 * weights + norms, 9 * edge_macs),
    )
