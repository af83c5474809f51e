"""The DARTS space: a normal and a reduction cell of four nodes with two edges each.

Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search (arXiv 1806.09055). NAS-Bench-301 (arXiv 2008.09777) is a
surrogate for the same space; SWAP (arXiv 2403.04161) scores it on one tiny cell.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from subshot._types import Arch, TaskSpec
from subshot.errors import ArchError, OptionError, UnknownNameError
from subshot.spaces._darts_size import Layout, size_of, stack
from subshot.spaces._genotype import CONCAT, FORM, OPERATIONS, Cell, read_cells
from subshot.spaces._space import SPACES, Size

if TYPE_CHECKING:
    from torch import nn

    from subshot.networks.darts_supernet import DartsSupernet

_NODES = 4
_PAIRS = 2 * _NODES
# Sources that pair i may have: node i // 2 + 2 sees the two cell inputs and the nodes before it.
_SOURCES = tuple(i // 2 + 2 for i in range(_PAIRS))
_FEATURES = tuple(width for sources in _SOURCES for width in (len(OPERATIONS), sources))

_TINY_WIDTH = 3


@dataclass(frozen=True)
class Darts:
    """DARTS: a normal and a reduction cell.

    A cell has two inputs (0: the output of the cell before the last, 1: of the last) and four nodes, 2 to 5. A node
    sums two edges, each an operation on an earlier input or node; the cell's output concatenates the nodes::

        0 --op--.
                +--> node --.             2: from 0, 1         4: from 0, 1, 2, 3
        1 --op--'            +--> output  3: from 0, 1, 2      5: from 0, 1, 2, 3, 4
                three more --'

    ``Arch.genes`` is ``(normal, reduce)``, each eight ``(operation, source)`` pairs with the operation's position in
    :data:`OPERATIONS`; pairs ``2i`` and ``2i + 1`` belong to node ``i + 2``. The canonical text is the published
    ``Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], reduce=[...], reduce_concat=[...])``.
    Also read: ``range(2, 6)`` for ``[2, 3, 4, 5]``, tuples for lists, and NASLib's compact ``(((0, 6), ...), (...))``
    of ``(source, code)`` pairs, whose codes leave out ``none``.

    Size: sampling draws two distinct sources for each node and writes them in order, which gives 1 x 3 x 6 x 10 = 180
    wirings and 7^8 operations per cell (8^8 with ``none``), so 1.04e9 cells and 1.08e18 architectures. Parsing accepts
    more: both edges of a node from the same source, the two in either order, and ``none``.

    Symmetries: the two edges of a node may be swapped; nodes that don't feed each other may be exchanged, which
    reorders channels. Architectures that differ in this way are different values here.

    Variants, all without auxiliary head and drop path:

    - ``cifar``: the published CIFAR network, ``layers`` cells. Reduction cells, which double the width, stand at one
      and two thirds of the depth.
    - ``imagenet``: the published ImageNet network, whose stem shrinks the image to an eighth.
    - ``swap_tiny``: what SWAP's released scorer builds: one reduction cell of width 6 with the image itself as both
      inputs, pooling, classifier. It never sees the normal cell.
    - ``swap_pair``: ours, to see both cells: that reduction cell, then a normal cell of width 6 with the image and the
      reduction cell's output as inputs. It costs less than the other order of cells.

    Attributes:
        channels: Width of the first cells of the CIFAR network.
        layers: Cells of the CIFAR network.
        imagenet_channels: Width of the first cells of the ImageNet network.
        imagenet_layers: Cells of the ImageNet network.
        with_none: Whether sampling and mutation may draw the operation ``none``.
        tied: Whether the reduction cell always equals the normal cell, as in SWAP's table of 1,000 trained networks.

    Raises:
        OptionError: A width or depth is too small.
    """

    channels: int = 36
    layers: int = 20
    imagenet_channels: int = 48
    imagenet_layers: int = 14
    with_none: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        # The ImageNet stem has a layer of half the width.
        for setting, least in (("channels", 1), ("layers", 1), ("imagenet_channels", 2), ("imagenet_layers", 1)):
            value = getattr(self, setting)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise OptionError(
                    f"space darts was given {setting}={value!r}.", f"{setting} is a whole number, {least} or more."
                )

    @property
    def name(self) -> str:
        """The registry's name."""
        return "darts"

    @property
    def size(self) -> int:
        """Number of texts that :meth:`sample` can draw."""
        wirings = math.prod(math.comb(sources, 2) for sources in _SOURCES[::2])
        cell: int = wirings * len(self._drawn) ** _PAIRS
        return cell if self.tied else cell**2

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the networks."""
        return ("cifar", "imagenet", "swap_tiny", "swap_pair")

    @property
    def scoring_variant(self) -> str:
        """The smallest network that shows both cells."""
        return "swap_pair"

    @property
    def task(self) -> TaskSpec:
        """CIFAR-10."""
        return TaskSpec.images(3, 32, 32, classes=10)

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw every node's pair of sources and every operation uniformly."""
        normal = self._sample_cell(rng)
        return Arch(self.name, (normal, normal if self.tied else self._sample_cell(rng)))

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Re-draw the operation or the source of one edge to another value.

        Two distinct sources of a node stay distinct; where there is no third one to choose, the operation changes. A
        node whose source changed is written with its sources in order.

        Raises:
            ArchError: ``arch`` is no architecture of this space.
        """
        cells = list(self._cells(arch))
        kind = 0 if self.tied else int(rng.integers(2))
        cells[kind] = self._mutate_cell(cells[kind], rng)
        return Arch(self.name, (cells[0], cells[0]) if self.tied else tuple(cells))

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """Take each node of each cell, with both of its edges, from either parent.

        Raises:
            ArchError: A parent is no architecture of this space.
        """
        parents = self._cells(first), self._cells(second)
        cells: list[Cell] = []
        for kind in range(1 if self.tied else 2):
            choice = rng.integers(2, size=_NODES).tolist()
            cells.append(tuple(parents[choice[i // 2]][kind][i] for i in range(_PAIRS)))
        return Arch(self.name, (cells[0], cells[-1]))

    def parse(self, text: str) -> Arch:
        """Read a ``Genotype(...)`` text, or NASLib's compact form with or without ``naslib:`` before it.

        Nothing of the text is run.

        Raises:
            ArchError: The text is neither, or its cells are no DARTS cells, or differ in a tied space.
        """
        try:
            cells = read_cells(text)
        except ValueError as problem:
            start = text if len(text) <= 60 else f"{text[:57]}..."
            raise ArchError(f"{start!r} is no DARTS genotype: {problem}.", FORM) from None
        arch = Arch(self.name, cells)
        self._cells(arch)
        return arch

    def format(self, arch: Arch) -> str:
        """The ``Genotype(...)`` text, with pairs in the order of ``arch``.

        Raises:
            ArchError: ``arch`` is no architecture of this space.
        """
        normal, reduce = (
            "[" + ", ".join(f"('{OPERATIONS[op]}', {source})" for op, source in cell) + "]"
            for cell in self._cells(arch)
        )
        concat = list(CONCAT)
        return f"Genotype(normal={normal}, normal_concat={concat}, reduce={reduce}, reduce_concat={concat})"

    def encode(self, arch: Arch) -> np.ndarray:
        """One-hot operation and one-hot source of every edge, normal cell first.

        Returns:
            Shape ``(184,)``, float32: for each edge 8 numbers for the operation, then one for each possible source.

        Raises:
            ArchError: ``arch`` is no architecture of this space.
        """
        values = [value for cell in self._cells(arch) for pair in cell for value in pair]
        widths = _FEATURES * 2
        vector = np.zeros(sum(widths), dtype=np.float32)
        starts = np.cumsum((0, *widths[:-1]))
        vector[starts + np.array(values)] = 1.0
        return vector

    def decode(self, vector: np.ndarray) -> Arch | None:
        """The inverse of :meth:`encode`; ``None`` if the vector is no architecture of this space."""
        widths = _FEATURES * 2
        if vector.shape != (sum(widths),):
            return None
        values: list[int] = []
        for part in np.split(vector, np.cumsum(widths)[:-1]):
            hot = np.flatnonzero(part)
            if len(hot) != 1 or part[hot[0]] != 1:
                return None
            values.append(int(hot[0]))
        pairs = tuple(zip(values[::2], values[1::2], strict=True))
        arch = Arch(self.name, (pairs[:_PAIRS], pairs[_PAIRS:]))
        try:
            self._cells(arch)
        except ArchError:
            return None
        return arch

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Exactly the size of ``build(arch, task, variant=variant)``, by arithmetic.

        Raises:
            ArchError: ``arch`` is no architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        task = task or self.task
        return size_of(self._cells(arch), self._layout(variant), image_shape=task.image_shape, classes=task.outputs)

    def network_settings(self, variant: str) -> dict[str, int]:
        """Width of the first cell and number of cells."""
        cells = self._layout(variant).cells
        return {"channels": cells[0][0], "layers": len(cells)}

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the network with torch's default initialisation.

        Images of any size and number of channels are taken. The swap variants keep their widths of 3 and 6 for any
        number of image channels.

        Raises:
            ArchError: ``arch`` is no architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        from subshot.networks.darts import DartsNetwork

        normal, reduce = ([(OPERATIONS[op], source) for op, source in cell] for cell in self._cells(arch))
        layout = self._layout(variant)
        channels, _, _ = (task or self.task).image_shape
        return DartsNetwork(
            normal,
            reduce,
            cells=layout.cells,
            stem=layout.stem,
            stem_width=layout.stem_width,
            image_channels=channels,
            classes=(task or self.task).outputs,
        )

    def supernet(self, task: TaskSpec | None = None, *, variant: str | None = None) -> "DartsSupernet":
        """All architectures in one network: a slot on every edge that a cell may have, shared by cells of a kind.

        Every edge has all operations but ``none``, which is drawn only if sampling may draw it.

        Raises:
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        from subshot.networks.darts_supernet import DartsSupernet

        layout = self._layout(variant)
        channels, _, _ = (task or self.task).image_shape
        return DartsSupernet(
            OPERATIONS,
            drawn=self._drawn,
            cells=layout.cells,
            stem=layout.stem,
            stem_width=layout.stem_width,
            image_channels=channels,
            classes=(task or self.task).outputs,
        )

    @property
    def _drawn(self) -> tuple[int, ...]:
        return tuple(range(0 if self.with_none else 1, len(OPERATIONS)))

    def _sample_cell(self, rng: np.random.Generator) -> Cell:
        ops = rng.choice(self._drawn, size=_PAIRS).tolist()
        sources = [
            source
            for count in _SOURCES[::2]
            for source in sorted(rng.choice(count, size=2, replace=False, shuffle=False).tolist())
        ]
        return tuple(zip(ops, sources, strict=True))

    def _mutate_cell(self, cell: Cell, rng: np.random.Generator) -> Cell:
        index = int(rng.integers(_PAIRS))
        op, source = cell[index]
        partner = cell[index ^ 1]
        sources = [s for s in range(_SOURCES[index]) if s not in (source, partner[1])]
        pairs = list(cell)
        if sources and rng.integers(2):
            first = index & ~1
            changed = [(op, int(rng.choice(sources))), partner]
            pairs[first : first + 2] = sorted(changed, key=lambda pair: pair[1])
        else:
            pairs[index] = (int(rng.choice([o for o in self._drawn if o != op])), source)
        return tuple(pairs)

    def _layout(self, variant: str | None) -> Layout:
        match self.variants[0] if variant is None else variant:
            case "cifar":
                return Layout("cifar", 3 * self.channels, stack(self.channels, self.layers))
            case "imagenet":
                return Layout("imagenet", self.imagenet_channels, stack(self.imagenet_channels, self.imagenet_layers))
            case "swap_tiny":
                return Layout("none", 0, ((2 * _TINY_WIDTH, True),))
            case "swap_pair":
                return Layout("none", 0, ((2 * _TINY_WIDTH, True), (2 * _TINY_WIDTH, False)))
            case unknown:
                raise UnknownNameError.of("variant of darts", unknown, self.variants)

    def _cells(self, arch: Arch) -> tuple[Cell, Cell]:
        """The two cells of ``arch``, checked."""
        if arch.space != self.name or len(arch.genes) != 2:
            raise ArchError(f"{arch!s:.80} is no architecture of the space darts.", "Get one by sample or parse.")
        for kind, cell in zip(("normal", "reduction"), arch.genes, strict=True):
            edges = len(cell) if isinstance(cell, tuple) else 0
            if edges != _PAIRS:
                raise ArchError(f"The {kind} cell has {edges} edges.", f"A DARTS cell has {_PAIRS}.")
            for index, (op, source) in enumerate(cell):
                if not 0 <= source < _SOURCES[index]:
                    raise ArchError(
                        f"Edge {index} of the {kind} cell comes from {source!s:.20}.",
                        f"It enters node {index // 2 + 2}, so it comes from 0 to {_SOURCES[index] - 1}.",
                    )
                if not 0 <= op < len(OPERATIONS):
                    raise ArchError(
                        f"Edge {index} of the {kind} cell has operation {op}.", f"Codes are 0 to {len(OPERATIONS) - 1}."
                    )
        normal, reduce = arch.genes
        if self.tied and normal != reduce:
            raise ArchError(
                "The normal and the reduction cell differ, and this space is tied.", "Use darts(tied=false) for it."
            )
        return normal, reduce


SPACES.register("darts", Darts)
