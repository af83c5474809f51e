"""TransNAS-Bench-101, micro: 4,096 cells on one backbone, for seven tasks (arXiv 2105.11871).

The cell is that of NAS-Bench-201 without pooling: four nodes, each the sum of an operation on every node before it, and
four operations for each of six edges. The backbone has five modules of two cells, of which the first, third and fifth
begin by halving the map and doubling the width.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from subshot._types import Arch
from subshot.errors import ArchError
from subshot.spaces._space import SPACES
from subshot.spaces._transnas import Shape, TransNasSpace

if TYPE_CHECKING:
    from torch import nn

# A gene is an index into OPERATIONS; its position is that of the edge (node, source) in EDGES.
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
NONE, SKIP, CONV_1X1, CONV_3X3 = range(4)

_NAME = "transnas_micro"
_MODULES = (4, 1, 4, 1, 4)
_CODES = frozenset(range(len(OPERATIONS)))
_FORM = "Write 64-41414-a_bc_def with digits 0 none, 1 skip, 2 conv 1x1, 3 conv 3x3, or these digits as a-b-c-d-e-f."

# NASLib's graph for other data sets numbers both edges and operations in another order.
_NASLIB_EDGES = ((1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (3, 2))
_NASLIB_CODES = (SKIP, NONE, CONV_3X3, CONV_1X1)


@dataclass(frozen=True)
class TransNasMicro(TransNasSpace):
    """The cells of TransNAS-Bench-101.

    ``Arch.genes`` holds one index into ``OPERATIONS`` for each of ``EDGES``; the canonical text is the benchmark's
    ``64-41414-a_bc_def``, whose groups are the edges into nodes 1, 2 and 3.

    Attributes:
        channels: Width after the stem; it doubles three times.
        head: Name of the benchmark's task whose head the network has: ``class_scene``, ``class_object``,
            ``room_layout``, ``jigsaw``, ``segmentsemantic``, ``autoencoder`` or ``normal``.
    """

    @property
    def name(self) -> str:
        """``"transnas_micro"``."""
        return _NAME

    @property
    def size(self) -> int:
        """4,096."""
        return int(len(OPERATIONS) ** len(EDGES))

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw a cell uniformly from all 4,096."""
        return _arch(rng.integers(len(OPERATIONS), size=len(EDGES)).tolist())

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Draw uniformly from the 18 cells that differ in the operation of one edge."""
        genes = list(_genes(arch))
        edge, shift = divmod(int(rng.integers(len(EDGES) * (len(OPERATIONS) - 1))), len(OPERATIONS) - 1)
        genes[edge] = (genes[edge] + 1 + shift) % len(OPERATIONS)
        return _arch(genes)

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """Take each edge's operation from either parent with equal chance."""
        parents = (_genes(first), _genes(second))
        return _arch([parents[side][edge] for edge, side in enumerate(rng.integers(2, size=len(EDGES)).tolist())])

    def parse(self, text: str) -> Arch:
        """Read the benchmark's text, its six digits joined by dashes, or ``naslib_graph:`` and six digits.

        NASLib names the networks of the seven tasks by the benchmark's own digits, in parentheses or joined; but for
        other data sets it builds a graph whose edges and operations are numbered differently. ``naslib_graph:`` marks
        the digits of the latter, and bare ones are refused.

        Raises:
            ArchError: The text is none of these.
        """
        stripped = text.strip()
        dialect, colon, rest = stripped.partition(":")
        if colon:
            digits = re.sub(r"[\s,()]", "", rest)
            if dialect != "naslib_graph" or not re.fullmatch("[0-3]{6}", digits):
                raise ArchError(f"{text[:60]!r} is no cell of {_NAME}.", f"{_FORM} Or naslib_graph:<six digits>.")
            code_on = dict(zip(_NASLIB_EDGES, (_NASLIB_CODES[int(digit)] for digit in digits), strict=True))
            return _arch([code_on[edge] for edge in EDGES])
        if re.fullmatch(r"[\d\s,()\[\]]+", text):
            raise ArchError(
                f"{text[:60]!r} doesn't say whose digits these are, and NASLib has two orders of edges and operations.",
                f"{_FORM} Or naslib_graph:<six digits> for those of its own graph.",
            )
        match = re.fullmatch("64-41414-([0-3])_([0-3]{2})_([0-3]{3})|[0-3](?:-[0-3]){5}", stripped)
        if not match:
            raise ArchError(f"{text[:60]!r} is no cell of {_NAME}.", _FORM)
        joined = "".join(match.groups()) if match[1] else stripped.replace("-", "")
        return _arch([int(digit) for digit in joined])

    def format(self, arch: Arch) -> str:
        """The benchmark's text, for example ``64-41414-3_02_113``.

        Raises:
            ArchError: Not a cell of this space.
        """
        a, b, c, d, e, f = _genes(arch)
        return f"64-41414-{a}_{b}{c}_{d}{e}{f}"

    def defect(self, arch: Arch) -> str | None:
        """Cells without a path from input to output give the same answer to every image.

        Raises:
            ArchError: Not a cell of this space.
        """
        reached = {0}
        for (node, source), code in zip(EDGES, _genes(arch), strict=True):
            if code != NONE and source in reached:
                reached.add(node)
        return None if 3 in reached else "no path leads from the cell's input to its output, so the output is constant"

    def encode(self, arch: Arch) -> np.ndarray:
        """Four one-hot numbers for each edge, shape ``(24,)``, float32."""
        return np.eye(len(OPERATIONS), dtype=np.float32)[list(_genes(arch))].reshape(-1)

    def decode(self, vector: np.ndarray) -> Arch | None:
        """The inverse of :meth:`encode`; ``None`` if an edge has no or several operations."""
        if vector.shape != (len(EDGES) * len(OPERATIONS),):
            return None
        rows = vector.reshape(len(EDGES), len(OPERATIONS))
        codes = rows.argmax(axis=1)
        return _arch(codes.tolist()) if np.array_equal(rows, np.eye(len(OPERATIONS))[codes]) else None

    def architectures(self) -> Iterator[Arch]:
        """Every cell, in ascending order of genes."""
        return map(_arch, itertools.product(range(len(OPERATIONS)), repeat=len(EDGES)))

    def _modules(self, arch: Arch) -> Sequence[int]:
        _genes(arch)
        return _MODULES

    def _weights(self, arch: Arch, shape: Shape) -> tuple[int, int]:
        c_in, c_out, stride = shape
        weights = normalised = 0
        for (_, source), code in zip(EDGES, _genes(arch), strict=True):
            inputs = c_out if source else c_in
            # A skip that changes the shape is two 1x1 convolutions of half the width each.
            if code in (CONV_1X1, CONV_3X3) or (code == SKIP and source == 0 and stride == 2):
                weights += (9 if code == CONV_3X3 else 1) * inputs * c_out
                normalised += c_out
        return weights, normalised

    def _cell(self, arch: Arch, shape: Shape) -> "nn.Module":
        from subshot.networks.transnas import MicroCell

        c_in, c_out, stride = shape
        return MicroCell([OPERATIONS[code] for code in _genes(arch)], c_in=c_in, c_out=c_out, stride=stride)


SPACES.register(_NAME, TransNasMicro)


def _arch(genes: Sequence[int]) -> Arch:
    return Arch(_NAME, tuple(genes))


def _genes(arch: Arch) -> tuple[int, ...]:
    genes = arch.genes
    if arch.space != _NAME or len(genes) != len(EDGES) or not _CODES.issuperset(genes):
        raise ArchError(
            f"{arch!s:.200} is no {_NAME} architecture.", f"Its genes are {len(EDGES)} numbers from 0 to 3."
        )
    return genes
