"""NAS-Bench-101: cells of at most seven vertices and nine edges (arXiv 1902.09635).

A cell is a directed graph. Its first vertex is the input, its last the output, and each of the up to five between is
one of three operations on the sum of the vertices that lead to it::

    input ---> conv 3x3 ---> conv 1x1 ---> output    the output concatenates the two operations that lead to it
      |           |                        ^    ^
      |           '------> max pool -------'    |
      '-----------------------------------------'    and adds the input

Vertices that the input doesn't reach or that don't reach the output are no part of the network.
"""

import functools
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from subshot._types import Arch, TaskSpec
from subshot.errors import ArchError, OptionError
from subshot.spaces._model_spec import FORM, OPERATIONS, Edge, read_graph
from subshot.spaces._space import SPACES, Size, resolve_variant

if TYPE_CHECKING:
    from torch import nn

MOST_VERTICES = 7
MOST_EDGES = 9

_NAME = "nasbench101"
_KERNELS = (3, 1, None)
_CIFAR10 = TaskSpec.images(3, 32, 32, classes=10)
_STACKS = 3
_NARROW = 16
# The output may be split between five vertices, and each needs a channel.
_FEWEST_CHANNELS = MOST_VERTICES - 2
_PAIRS = tuple((source, vertex) for vertex in range(1, MOST_VERTICES) for source in range(vertex))


@dataclass(frozen=True)
class _Cell:
    """A checked cell: codes of the vertices between input and output, and its edges in ascending order."""

    edges: tuple[Edge, ...]
    operations: tuple[int, ...]

    @property
    def output(self) -> int:
        return len(self.operations) + 1

    def widths(self, c_out: int) -> list[int]:
        """Channels of the vertices between input and output."""
        ends = [source for source, vertex in self.edges if vertex == self.output and source]
        widths = [0] * (self.output + 1)
        if ends:
            # The output's channels are shared out, what is left over to the first; the others take the widest.
            share, rest = divmod(c_out, len(ends))
            for position, vertex in enumerate(ends):
                widths[vertex] = share + (position < rest)
        for vertex in range(self.output - 1, 0, -1):
            if vertex not in ends:
                widths[vertex] = max(widths[target] for source, target in self.edges if source == vertex)
        return widths[1:-1]


@dataclass(frozen=True)
class NasBench101:
    """The space of NAS-Bench-101 cells.

    ``Arch.genes`` is ``(edges, operations)``: ``(source, vertex)`` pairs in ascending order, and one position in
    ``OPERATIONS`` for each vertex between input and output. Cells are held without their dead vertices, and the limits
    of seven vertices and nine edges are for what remains, as in the benchmark. The canonical text is
    ``ModelSpec(matrix=[[...], ...], ops=['input', ..., 'output'])``.

    There are 1,293,208 such texts, and 423,624 cells by the benchmark's count, which takes graphs that differ in the
    order of their vertices for one; see :func:`published_hash`. The order shows in the network, where the output's
    channels don't divide evenly.

    Attributes:
        channels: Width of the first of three stacks; it doubles twice.
        cells: Cells per stack.
    """

    channels: int = 128
    cells: int = 3

    def __post_init__(self) -> None:
        for key, value, least in (("channels", self.channels, _FEWEST_CHANNELS), ("cells", self.cells, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise OptionError(
                    f"space {_NAME} was given {key}={value!r}.", f"{key} is a whole number from {least} on."
                )

    @property
    def name(self) -> str:
        """``"nasbench101"``."""
        return _NAME

    @property
    def size(self) -> int:
        """1,293,208."""
        return 1_293_208

    @property
    def variants(self) -> tuple[str, ...]:
        """``official``: the network of the benchmark. ``narrow``: the same from 16 channels on, 60 times cheaper."""
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
        """Draw edges and operations of seven vertices uniformly until they make a cell, as the benchmark does."""
        while True:
            edges = [
                pair for pair, there in zip(_PAIRS, rng.integers(2, size=len(_PAIRS)).tolist(), strict=True) if there
            ]
            operations = rng.integers(len(OPERATIONS), size=MOST_VERTICES - 2).tolist()
            cell = _pruned(edges, operations)
            if cell is not None and _fits(cell):
                return _arch(cell)

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Flip each of 21 edges with chance 1/7 and re-draw each of five operations with chance 1/5.

        This is the benchmark's own mutation, repeated until the result is another cell. Vertices that the cell doesn't
        have are first put in at random places, without edges.

        Raises:
            ArchError: Not a cell of this space.
        """
        edges, operations = _spread(_cell(arch), rng)
        while True:
            flips = (rng.random(len(_PAIRS)) < 1 / MOST_VERTICES).tolist()
            shifts = rng.integers(1, len(OPERATIONS), size=len(operations))
            shifts *= rng.random(len(operations)) < 1 / len(operations)
            cell = _pruned(
                [pair for pair, flip in zip(_PAIRS, flips, strict=True) if (pair in edges) != flip],
                ((np.array(operations) + shifts) % len(OPERATIONS)).tolist(),
            )
            if cell is not None and _fits(cell) and _arch(cell) != arch:
                return _arch(cell)

    def parse(self, text: str) -> Arch:
        """Read a ``ModelSpec(...)``, JSON, or NASLib's digits, with or without ``naslib:`` before them.

        The JSON is ``[matrix, labels]`` with the benchmark's numbers or words for labels. The digits are those of the
        matrix, row by row, then one for each vertex: 0 input, 1 output, 2 max pooling, 3 conv 1x1, 4 conv 3x3. Nothing
        of the text is run.

        Raises:
            ArchError: The text is none of these, or no cell of this space.
        """
        try:
            cell = _pruned(*read_graph(text))
            if cell is None:
                raise ValueError("no path leads from its input to its output")
            if not _fits(cell):
                raise ValueError(
                    f"it has {cell.output + 1} vertices and {len(cell.edges)} edges that count, and the space ends at "
                    f"{MOST_VERTICES} and {MOST_EDGES}"
                )
        except ValueError as problem:
            start = text if len(text) <= 60 else f"{text[:57]}..."
            raise ArchError(f"{start!r} is no {_NAME} cell: {problem}.", FORM) from None
        return _arch(cell)

    def format(self, arch: Arch) -> str:
        """The ``ModelSpec(...)`` text without dead vertices.

        Raises:
            ArchError: Not a cell of this space.
        """
        cell = _cell(arch)
        names = ["input", *(OPERATIONS[code] for code in cell.operations), "output"]
        return f"ModelSpec(matrix={_matrix(cell)}, ops={names})"

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the published network, with torch's default initialisation in place of the benchmark's.

        The benchmark drew convolutions from a truncated normal distribution of variance 1/fan-in and the classifier
        from Glorot's uniform one.

        Raises:
            ArchError: Not a cell of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        from subshot.networks.nasbench101 import NasBench101Network

        cell = _cell(arch)
        task = task or _CIFAR10
        return NasBench101Network(
            [OPERATIONS[code] for code in cell.operations],
            cell.edges,
            cells=[[(c_in, c_out, cell.widths(c_out)) for c_in, c_out in stack] for stack in self._stacks(variant)],
            image_channels=task.image_shape[0],
            classes=task.outputs,
        )

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Count parameters and MACs by arithmetic, without building anything.

        Raises:
            ArchError: Not a cell of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        cell, stacks = _cell(arch), self._stacks(variant)
        channels, height, width = (task or _CIFAR10).image_shape
        outputs = (task or _CIFAR10).outputs
        weights = 9 * channels * stacks[0][0][0]
        parameters = weights + 2 * stacks[0][0][0]
        macs = weights * height * width
        for number, stack in enumerate(stacks):
            if number:
                height, width = (height + 1) // 2, (width + 1) // 2
            for c_in, c_out in stack:
                weights, normalised = _cell_weights(cell, c_in, c_out)
                parameters += weights + 2 * normalised
                macs += weights * height * width
        last = stacks[-1][-1][1]
        return Size(parameters + (last + 1) * outputs, macs + last * outputs)

    def encode(self, arch: Arch) -> np.ndarray:
        """The upper triangle of a 7x7 matrix, then three one-hot numbers for each operation, shape ``(36,)``, float32.

        The output is the last of seven vertices; a vertex that isn't there has neither edges nor an operation.

        Raises:
            ArchError: Not a cell of this space.
        """
        cell = _cell(arch)
        last = MOST_VERTICES - 1
        edges = {(source, last if vertex == cell.output else vertex) for source, vertex in cell.edges}
        operations = np.zeros((MOST_VERTICES - 2, len(OPERATIONS)), dtype=np.float32)
        operations[range(len(cell.operations)), cell.operations] = 1
        return np.concatenate([np.array([pair in edges for pair in _PAIRS], dtype=np.float32), operations.reshape(-1)])

    def decode(self, vector: np.ndarray) -> Arch | None:
        """The inverse of :meth:`encode`; ``None`` if the vector is no cell of this space."""
        if vector.shape != (len(_PAIRS) + len(OPERATIONS) * (MOST_VERTICES - 2),):
            return None
        if not np.isin(vector, (0, 1)).all():
            return None
        rows = vector[len(_PAIRS) :].reshape(-1, len(OPERATIONS))
        operations = rows.argmax(axis=1)[rows.any(axis=1)].tolist()
        output = len(operations) + 1
        there = [pair for pair, value in zip(_PAIRS, vector[: len(_PAIRS)].tolist(), strict=True) if value]
        edges = tuple(sorted((s, output if v == MOST_VERTICES - 1 else v) for s, v in there))
        arch = Arch(_NAME, (edges, tuple(operations)))
        try:
            same = np.array_equal(self.encode(arch), vector)
        except ArchError:
            return None
        return arch if same else None

    def network_settings(self, variant: str) -> dict[str, int]:
        """Width of the first stack and cells per stack."""
        return {"channels": self._stacks(variant)[0][0][0], "cells": self.cells}

    def _stacks(self, variant: str | None) -> list[list[Edge]]:
        """``(c_in, c_out)`` of every cell of every stack; the first cell of a stack widens."""
        narrow = resolve_variant(self, variant) == "narrow"
        width = min(_NARROW, self.channels) if narrow else self.channels
        stacks = []
        for number in range(_STACKS):
            c_out = width * 2**number
            stacks.append([(c_out // 2 if number and not index else c_out, c_out) for index in range(self.cells)])
        return stacks


SPACES.register(_NAME, NasBench101)


def published_hash(arch: Arch) -> str:
    """The key of a cell in the benchmark's tables: equal for graphs that differ in the order of vertices only.

    Each vertex starts from its numbers of edges and its label, and takes in those of its neighbours as often as there
    are vertices. Use it to look a cell up, not as a key for scores: the order of vertices decides which of them get
    the channels left over when the output's are shared out.

    Raises:
        ArchError: Not a cell of the space.
    """
    cell = _cell(arch)
    vertices = range(cell.output + 1)
    labels = [-1, *cell.operations, -2]
    before = [[s for s, v in cell.edges if v == vertex] for vertex in vertices]
    after = [[v for s, v in cell.edges if s == vertex] for vertex in vertices]
    hashes = [_md5(str((len(after[v]), len(before[v]), labels[v]))) for v in vertices]
    for _ in vertices:
        hashes = [
            _md5("|".join(["".join(sorted(hashes[w] for w in side[v])) for side in (before, after)] + [hashes[v]]))
            for v in vertices
        ]
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _arch(cell: _Cell) -> Arch:
    return Arch(_NAME, (cell.edges, cell.operations))


def _cell(arch: Arch) -> _Cell:
    cell = _known(arch.genes) if arch.space == _NAME else None
    if cell is None:
        raise ArchError(f"{arch!s:.200} is no {_NAME} architecture.", "Get one by sample or parse.")
    return cell


@functools.lru_cache(maxsize=4096)
def _known(genes: tuple[object, ...]) -> _Cell | None:
    """The cell of these genes, ``None`` if they aren't exactly what pruning leaves."""
    match genes:
        case (tuple() as edges, tuple() as operations):
            codes = set(range(len(OPERATIONS)))
            pairs = set(itertools.combinations(range(min(len(operations), MOST_VERTICES) + 2), 2))
            if codes.issuperset(operations) and pairs.issuperset(edges):
                cell = _pruned(edges, operations)
                if cell is not None and _fits(cell) and (cell.edges, cell.operations) == genes:
                    return cell
    return None


def _fits(cell: _Cell) -> bool:
    return cell.output < MOST_VERTICES and len(cell.edges) <= MOST_EDGES


def _pruned(edges: Iterable[Edge], operations: Sequence[int]) -> _Cell | None:
    """The cell without vertices that lie on no way from input to output; ``None`` if there is no way at all."""
    edges = sorted(set(edges))
    output = len(operations) + 1
    reached, reaching = {0}, {output}
    for source, vertex in edges:  # ascending, so that a source is settled before it is used
        if source in reached:
            reached.add(vertex)
    for source, vertex in sorted(edges, key=lambda edge: edge[1], reverse=True):
        if vertex in reaching:
            reaching.add(source)
    if output not in reached:
        return None
    number = {vertex: position for position, vertex in enumerate(sorted(reached & reaching))}
    return _Cell(
        tuple((number[source], number[vertex]) for source, vertex in edges if source in number and vertex in number),
        tuple(operations[vertex - 1] for vertex in number if 0 < vertex < output),
    )


def _spread(cell: _Cell, rng: np.random.Generator) -> tuple[set[Edge], list[int]]:
    """The cell among seven vertices; those it doesn't have stand at random places and have random operations."""
    inner = MOST_VERTICES - 2
    places = np.sort(rng.choice(inner, size=len(cell.operations), replace=False))
    operations = rng.integers(len(OPERATIONS), size=inner)
    operations[places] = cell.operations
    number = [0, *(places + 1).tolist(), MOST_VERTICES - 1]
    return {(number[source], number[vertex]) for source, vertex in cell.edges}, operations.tolist()


def _matrix(cell: _Cell) -> list[list[int]]:
    vertices = range(cell.output + 1)
    return [[int((row, column) in cell.edges) for column in vertices] for row in vertices]


def _cell_weights(cell: _Cell, c_in: int, c_out: int) -> tuple[int, int]:
    """Weights of a cell's convolutions, and channels that it normalises."""
    widths = [*cell.widths(c_out), c_out]
    weights = normalised = 0
    for width, code in zip(widths, cell.operations, strict=False):
        kernel = _KERNELS[code]
        if kernel is not None:
            weights += (kernel * width) ** 2
            normalised += width
    for source, vertex in cell.edges:
        if source == 0:
            weights += c_in * widths[vertex - 1]
            normalised += widths[vertex - 1]
    return weights, normalised
