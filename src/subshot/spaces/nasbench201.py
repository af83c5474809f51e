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
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from subshot._types import Arch, TaskSpec
from subshot.errors import ArchError, OptionError, UnknownNameError
from subshot.spaces._space import SPACES, Size, resolve_variant

if TYPE_CHECKING:
    from torch import nn

    from subshot.networks.nasbench201_supernet import NasBench201Supernet

# A gene is an index into OPERATIONS; its position is that of the edge (node, source) in EDGES.
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
NONE, SKIP, CONV_1X1, CONV_3X3 = range(4)

_NARROW = 2

_NAME = "nasbench201"
_CODES = frozenset(range(len(OPERATIONS)))
_CODE_OF = {operation: code for code, operation in enumerate(OPERATIONS)}
_CIFAR10 = TaskSpec.images(3, 32, 32, classes=10)

# NASLib numbers both edges and operations in another order.
_NASLIB_EDGES = ((1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (3, 2))
_NASLIB_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_FORM = "Write |op~0|+|op~0|op~1|+|op~0|op~1|op~2| or naslib:<six digits>."


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
                raise OptionError(f"space {_NAME} was given {key}={value!r}.", f"{key} is a whole number from 1 on.")

    @property
    def name(self) -> str:
        """``"nasbench201"``."""
        return _NAME

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
        return _arch(rng.integers(len(OPERATIONS), size=len(EDGES)).tolist())

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Draw uniformly from the 24 cells that differ in the operation of one edge."""
        genes = list(_genes(arch))
        edge, shift = divmod(int(rng.integers(len(EDGES) * (len(OPERATIONS) - 1))), len(OPERATIONS) - 1)
        genes[edge] = (genes[edge] + 1 + shift) % len(OPERATIONS)
        return _arch(genes)

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """Take each edge's operation from either parent with equal chance."""
        parents = (_genes(first), _genes(second))
        return _arch([parents[side][edge] for edge, side in enumerate(rng.integers(2, size=len(EDGES)).tolist())])

    def parse(self, text: str) -> Arch:
        """Read the benchmark's text, or NASLib's six numbers marked as such: ``naslib:423121``.

        Raises:
            ArchError: The text is neither. Bare digits are refused because each code base means another cell by them.
        """
        dialect, colon, rest = text.strip().partition(":")
        if colon:
            if dialect != "naslib":
                raise ArchError(f"{text!r} begins with {dialect!r}, which is no known dialect.", _FORM)
            return _parse_naslib(rest)
        if re.fullmatch(r"[\d\s,()\[\]]+", text):
            raise ArchError(
                f"{text!r} doesn't say whose digits these are, and NASLib orders edges and operations differently.",
                _FORM,
            )
        return _parse_official(text.strip())

    def format(self, arch: Arch) -> str:
        """The benchmark's own text, for example ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``."""
        a, b, c, d, e, f = (OPERATIONS[code] for code in _genes(arch))
        return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the published network: all operations, also those that can't reach the output.

        Raises:
            ArchError: Not a cell of this space.
            UnknownNameError: There is no such variant.
        """
        from subshot.networks.nasbench201 import NasBench201Network

        task = task or _CIFAR10
        operations = [OPERATIONS[code] for code in _genes(arch)]
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
        genes = _genes(arch)
        fixed, one, three = _parts(self._channels(variant), self.cells, task or _CIFAR10)
        n1, n3 = genes.count(CONV_1X1), genes.count(CONV_3X3)
        return Size(
            fixed.parameters + n1 * one.parameters + n3 * three.parameters,
            fixed.macs + n1 * one.macs + n3 * three.macs,
        )

    def encode(self, arch: Arch) -> np.ndarray:
        """Five one-hot numbers for each edge, shape ``(30,)``, float32."""
        return np.eye(len(OPERATIONS), dtype=np.float32)[list(_genes(arch))].reshape(-1)

    def decode(self, vector: np.ndarray) -> Arch | None:
        """The inverse of :meth:`encode`; ``None`` if an edge has no or several operations."""
        if vector.shape != (len(EDGES) * len(OPERATIONS),):
            return None
        rows = vector.reshape(len(EDGES), len(OPERATIONS))
        codes = rows.argmax(axis=1)
        if not np.array_equal(rows, np.eye(len(OPERATIONS))[codes]):
            return None
        return _arch(codes.tolist())

    def architectures(self) -> Iterator[Arch]:
        """Every cell, in ascending order of genes, which is not the order of the benchmark's index."""
        return iter(_all())

    @property
    def populations(self) -> tuple[str, ...]:
        """``all`` 15,625, ``unique`` 6,466 and ``live`` 9,445 cells."""
        return tuple(_POPULATIONS)

    def population(self, name: str) -> Sequence[Arch]:
        """One of the sets that published figures refer to, in ascending order of genes.

        ``unique`` has the cell with the smallest genes of each published isomorphism class (see
        :func:`published_class`; the benchmark takes the smallest index). ``live`` has the cells of :func:`is_live`.

        Raises:
            UnknownNameError: No subset has that name.
        """
        if name not in _POPULATIONS:
            raise UnknownNameError.of(f"population of {_NAME}", name, _POPULATIONS)
        return _POPULATIONS[name]()

    def network_settings(self, variant: str) -> dict[str, int]:
        """Width of the first stage and cells per stage."""
        return {"channels": self._channels(variant), "cells": self.cells}

    def _channels(self, variant: str | None) -> int:
        """Width of the first stage of a variant's network."""
        return min(_NARROW, self.channels) if resolve_variant(self, variant) == "narrow" else self.channels


SPACES.register(_NAME, NasBench201)


def has_path(arch: Arch) -> bool:
    """Whether any path leads from the input to the output; in 341 cells none does, and their output is constant."""
    return 3 in _reachable(_genes(arch))


def is_live(arch: Arch) -> bool:
    """Whether every edge that isn't ``none`` lies on a path from input to output.

    True of 9,445 cells, for which thirteen zero-cost scores are published; the cell that is ``none`` everywhere is one.
    """
    genes = _genes(arch)
    edges = [edge for edge, code in zip(EDGES, genes, strict=True) if code != NONE]
    reachable = _reachable(genes)
    ends = {3}  # nodes that reach the output
    for node, source in reversed(edges):
        if node in ends:
            ends.add(source)
    return all(source in reachable and node in ends for node, source in edges)


def published_class(arch: Arch) -> str:
    """A text that two cells share if and only if the benchmark counts them as one: 6,466 classes.

    It folds skips and zeros into a nested sum, so it is close to isomorphism, but isn't it, and parameter counts differ
    within a class. By our count the cells compute 5,260 different functions of input and weights:

    - 430 classes hold several. The text writes a node out wherever it is used, so a convolution used twice looks like
      two convolutions.
    - 688 functions are spread over several classes. A skip hands on a node's text as one piece, so the order of a sum
      depends on the way its terms came, and a ``none`` stays a term.

    Use it to name a population, never as a key for scores.
    """
    genes = _genes(arch)
    # "#" is zero. The marks and names sort as in the benchmark's code; any other order gives other classes.
    nodes = ["0"]
    for codes in (genes[:1], genes[1:3], genes[3:]):
        terms = []
        for source, code in zip(nodes, codes, strict=True):
            if code == NONE or source == "#":
                terms.append("#")
            else:
                terms.append(source if code == SKIP else f"({source}){OPERATIONS[code]}")
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def _arch(genes: Sequence[int]) -> Arch:
    return Arch(_NAME, tuple(genes))


def _genes(arch: Arch) -> tuple[int, ...]:
    genes = arch.genes
    if arch.space != _NAME or len(genes) != len(EDGES) or not _CODES.issuperset(genes):
        raise ArchError(f"{arch} is no {_NAME} architecture.", f"Its genes are {len(EDGES)} numbers from 0 to 4.")
    return genes


def _parse_official(text: str) -> Arch:
    groups = text.split("+")
    if len(groups) != 3:
        raise ArchError(f"{text!r} has {len(groups)} groups of edges, a cell has 3, joined by '+'.", _FORM)
    genes: list[int] = []
    for node, group in enumerate(groups, start=1):
        edges = group[1:-1].split("|")
        if not (group.startswith("|") and group.endswith("|") and len(edges) == node):
            raise ArchError(
                f"{group!r} in {text!r} is not the group of node {node}, which has {node} edges between bars.", _FORM
            )
        for source, edge in enumerate(edges):
            operation, _, number = edge.partition("~")
            if operation not in _CODE_OF:
                unknown = UnknownNameError.of("operation", operation, OPERATIONS)
                raise ArchError(f"{unknown.message} It is in {edge!r} of {text!r}.", unknown.hint)
            if number != str(source):
                raise ArchError(
                    f"{edge!r} in {text!r} names source {number!r}, but edge {source + 1} of node {node} comes from "
                    f"node {source}.",
                    f"Write {operation}~{source}.",
                )
            genes.append(_CODE_OF[operation])
    return _arch(genes)


def _parse_naslib(text: str) -> Arch:
    # NASLib prints its key as a tuple; its tables join the digits.
    digits = re.sub(r"[\s,()\[\]]", "", text)
    if not re.fullmatch(f"[0-4]{{{len(EDGES)}}}", digits):
        raise ArchError(
            f"'naslib:{text}' is no cell.", f"Give {len(EDGES)} digits from 0 to 4, for example naslib:423121."
        )
    operation_on = {edge: _NASLIB_OPERATIONS[int(digit)] for edge, digit in zip(_NASLIB_EDGES, digits, strict=True)}
    return _arch([_CODE_OF[operation_on[edge]] for edge in EDGES])


def _reachable(genes: Sequence[int]) -> set[int]:
    nodes = {0}
    for (node, source), code in zip(
        EDGES, genes, strict=True
    ):  # by node, so that a source is settled before it is used
        if code != NONE and source in nodes:
            nodes.add(node)
    return nodes


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


@functools.cache
def _all() -> tuple[Arch, ...]:
    return tuple(map(_arch, itertools.product(range(len(OPERATIONS)), repeat=len(EDGES))))


@functools.cache
def _unique() -> tuple[Arch, ...]:
    first: dict[str, Arch] = {}
    for arch in _all():
        first.setdefault(published_class(arch), arch)
    return tuple(first.values())


@functools.cache
def _live() -> tuple[Arch, ...]:
    return tuple(filter(is_live, _all()))


_POPULATIONS = {"all": _all, "unique": _unique, "live": _live}
