"""TransNAS-Bench-101, macro: 3,256 backbones of four to six modules, for seven tasks (arXiv 2105.11871).

A module is two residual blocks. The first may double the width, halve the map, or both; one to four modules of a
network halve, and one to three double.
"""

import functools
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

# The digits of a module.
PLAIN, WIDER, SMALLER, BOTH = MODULES = (1, 2, 3, 4)
LENGTHS = (4, 5, 6)

_NAME = "transnas_macro"
_LONGEST = max(LENGTHS)
_RULE = "A network has 4 to 6 modules; 1 to 4 of them halve the map (digits 3, 4) and 1 to 3 double the width (2, 4)."
_FORM = f"Write 64-1234-basic, or the digits of the modules as 1-2-3-4. {_RULE}"


@dataclass(frozen=True)
class TransNasMacro(TransNasSpace):
    """The backbones of TransNAS-Bench-101.

    ``Arch.genes`` holds a digit for each module: 1 keeps width and size, 2 doubles the width, 3 halves the map, 4 does
    both. The canonical text is the benchmark's, for example ``64-1234-basic``.

    Attributes:
        channels: Width after the stem.
        head: Name of the benchmark's task whose head the network has: ``class_scene``, ``class_object``,
            ``room_layout``, ``jigsaw``, ``segmentsemantic``, ``autoencoder`` or ``normal``.
    """

    @property
    def name(self) -> str:
        """``"transnas_macro"``."""
        return _NAME

    @property
    def size(self) -> int:
        """3,256."""
        return len(_all())

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw a network uniformly from all 3,256."""
        return _all()[int(rng.integers(len(_all())))]

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Draw uniformly from the networks in which one module is another, is left out or is put in.

        NASLib's mutation shuffles all modules; this one is local.

        Raises:
            ArchError: Not a network of this space.
        """
        neighbours = _neighbours(_genes(arch))
        return _arch(neighbours[int(rng.integers(len(neighbours)))])

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """As long as one of the parents; each module from either of those that have one there, until it is legal.

        Raises:
            ArchError: A parent is no network of this space.
        """
        parents = (_genes(first), _genes(second))
        while True:
            length = len(parents[int(rng.integers(2))])
            sides = rng.integers(2, size=length).tolist()
            child = [
                parents[side if place < len(parents[side]) else 1 - side][place] for place, side in enumerate(sides)
            ]
            if _is_legal(child):
                return _arch(child)

    def parse(self, text: str) -> Arch:
        """Read the benchmark's text, or its digits joined by dashes, which may end in NASLib's zeros.

        Raises:
            ArchError: The text is neither, or the network is none of the benchmark's.
        """
        stripped = text.strip()
        match = re.fullmatch(r"64-([1-4]+)-basic|([1-4](?:-[1-4])*)(?:-0)*", stripped)
        if not match:
            raise ArchError(f"{text[:60]!r} is no {_NAME} architecture.", _FORM)
        genes = [int(digit) for digit in (match[1] or match[2].replace("-", ""))]
        if not _is_legal(genes):
            smaller, wider = _counts(genes)
            raise ArchError(
                f"{text[:60]!r} has {len(genes)} modules, of which {smaller} halve the map and {wider} double the "
                "width.",
                _RULE,
            )
        return _arch(genes)

    def format(self, arch: Arch) -> str:
        """The benchmark's text.

        Raises:
            ArchError: Not a network of this space.
        """
        return f"64-{''.join(map(str, _genes(arch)))}-basic"

    def encode(self, arch: Arch) -> np.ndarray:
        """Four one-hot numbers for each of six modules, zeros where there is none, shape ``(24,)``, float32."""
        genes = _genes(arch)
        rows = np.zeros((_LONGEST, len(MODULES)), dtype=np.float32)
        rows[range(len(genes)), [digit - 1 for digit in genes]] = 1
        return rows.reshape(-1)

    def decode(self, vector: np.ndarray) -> Arch | None:
        """The inverse of :meth:`encode`; ``None`` if the vector is no network of this space."""
        if vector.shape != (_LONGEST * len(MODULES),):
            return None
        rows = vector.reshape(_LONGEST, len(MODULES))
        genes = (rows.argmax(axis=1) + 1)[rows.any(axis=1)].tolist()
        return _arch(genes) if _is_legal(genes) and np.array_equal(self.encode(_arch(genes)), vector) else None

    def architectures(self) -> Iterator[Arch]:
        """Every network, the short ones first, in ascending order of digits."""
        return iter(_all())

    def _modules(self, arch: Arch) -> Sequence[int]:
        return _genes(arch)

    def _weights(self, arch: Arch, shape: Shape) -> tuple[int, int]:
        c_in, c_out, stride = shape
        changes = stride != 1 or c_in != c_out
        return 9 * (c_in + c_out) * c_out + changes * c_in * c_out, (2 + changes) * c_out

    def _cell(self, arch: Arch, shape: Shape) -> "nn.Module":
        from subshot.networks.transnas import BasicBlock

        c_in, c_out, stride = shape
        return BasicBlock(c_in, c_out, stride=stride)


SPACES.register(_NAME, TransNasMacro)


def _arch(genes: Sequence[int]) -> Arch:
    return Arch(_NAME, tuple(genes))


def _genes(arch: Arch) -> tuple[int, ...]:
    if arch.space != _NAME or not _is_legal(arch.genes):
        raise ArchError(f"{arch!s:.200} is no {_NAME} architecture.", _RULE)
    return arch.genes


def _counts(genes: Sequence[int]) -> tuple[int, int]:
    """How many modules halve the map, and how many double the width."""
    return sum(digit in (SMALLER, BOTH) for digit in genes), sum(digit in (WIDER, BOTH) for digit in genes)


def _is_legal(genes: Sequence[int]) -> bool:
    smaller, wider = _counts(genes)
    return len(genes) in LENGTHS and set(MODULES).issuperset(genes) and 1 <= smaller <= 4 and 1 <= wider <= 3


def _neighbours(genes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The legal networks that are one module away, each once, in ascending order."""
    found = set()
    for place in range(len(genes) + 1):
        before, after = genes[:place], genes[place:]
        found.add(before + after[1:])
        for digit in MODULES:
            found |= {(*before, digit, *after[1:]), (*before, digit, *after)}
    return sorted(other for other in found if other != genes and _is_legal(other))


@functools.cache
def _all() -> tuple[Arch, ...]:
    every = (genes for length in LENGTHS for genes in itertools.product(MODULES, repeat=length))
    return tuple(_arch(genes) for genes in every if _is_legal(genes))
