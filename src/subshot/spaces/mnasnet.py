"""The MnasNet space of Accel-NASBench: 104,485,552,128 networks for ImageNet (arXiv 2404.08005, 1807.11626).

Seven blocks of mobile bottlenecks stand between a stem and a head. Widths and strides are fixed; each block chooses
expansion, kernel, number of layers, and whether its layers have squeeze and excite::

    stem 32 -> 16 -> 24 -> 40 -> 80 -> 112 -> 192 -> 320 -> 1280 -> classes
    halves:  x          x     x     x           x

EfficientNet-B0 is one of them. Each text is another network.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from subshot._types import Arch, TaskSpec
from subshot.errors import ArchError
from subshot.spaces._space import SPACES, Size, resolve_variant

if TYPE_CHECKING:
    from torch import nn

# The decisions of a block, in the order of the benchmark's columns: expansion, kernel, layers, squeeze and excite.
LETTERS = ("e", "k", "l", "se")
_BLOCK = ((1, 4, 6), (3, 5), (1, 2, 3), (0, 1))
_DEEP_BLOCK = ((1, 4, 6), (3, 5), (1, 2, 3, 4), (0, 1))
# Input and output channels and the stride of each block's first layer.
SHAPES = ((32, 16, 1), (16, 24, 2), (24, 40, 2), (40, 80, 2), (80, 112, 1), (112, 192, 2), (192, 320, 1))
FEATURES = 1280

# Column of the benchmark to what it may be: 28 decisions.
DECISIONS = {
    f"block{block}_{letter}": choices
    for block in range(len(SHAPES))
    for letter, choices in zip(LETTERS, _DEEP_BLOCK if block == 5 else _BLOCK, strict=True)
}

_NAME = "mnasnet"
_CHOICES = tuple(DECISIONS.values())
_IMAGENET = TaskSpec.images(3, 224, 224, classes=1000)
_FORM = (
    "Write the benchmark's 28 columns joined by commas: expansion (1, 4 or 6), kernel (3 or 5), layers (1 to 3, to 4 "
    "in the sixth block) and squeeze-excite (0 or 1) of seven blocks. EfficientNet-B0: "
    "1,3,1,1,6,3,2,1,6,5,2,1,6,3,3,1,6,5,3,1,6,5,4,1,6,3,1,1"
)


@dataclass(frozen=True)
class MnasNet:
    """The space of Accel-NASBench.

    ``Arch.genes`` holds the value of each of ``DECISIONS``; the canonical text is these 28 numbers joined by commas, as
    they stand in a row of the benchmark.
    """

    @property
    def name(self) -> str:
        """``"mnasnet"``."""
        return _NAME

    @property
    def size(self) -> int:
        """104,485,552,128."""
        return math.prod(map(len, _CHOICES))

    @property
    def variants(self) -> tuple[str, ...]:
        """``official``: the network of the benchmark."""
        return ("official",)

    @property
    def scoring_variant(self) -> str:
        """``"official"``; smaller images make it cheaper."""
        return "official"

    @property
    def task(self) -> TaskSpec:
        """ImageNet at 224 pixels."""
        return _IMAGENET

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw every decision uniformly."""
        return _arch([choices[int(rng.integers(len(choices)))] for choices in _CHOICES])

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Draw another value, uniformly, for one of the 28 decisions, as the benchmark's evolution does."""
        genes = list(_genes(arch))
        place = int(rng.integers(len(genes)))
        others = [value for value in _CHOICES[place] if value != genes[place]]
        genes[place] = others[int(rng.integers(len(others)))]
        return _arch(genes)

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """Take each decision from either parent with equal chance (ours; the benchmark has no crossover)."""
        parents = (_genes(first), _genes(second))
        return _arch([parents[side][place] for place, side in enumerate(rng.integers(2, size=len(_CHOICES)).tolist())])

    def parse(self, text: str) -> Arch:
        """Read 28 numbers joined by commas, or the benchmark's JSON object of 28 decisions.

        Raises:
            ArchError: The text is neither, or a decision has a value that it can't have.
        """
        stripped = text.strip()
        values = _read_object(stripped) if stripped.startswith("{") else stripped.split(",")
        if len(values) != len(_CHOICES):
            raise ArchError(f"{text[:60]!r} is no {_NAME} architecture.", _FORM)
        genes = []
        for (column, choices), value in zip(DECISIONS.items(), values, strict=True):
            digit = value.strip()
            if not re.fullmatch("[0-9]", digit) or int(digit) not in choices:
                raise ArchError(f"{text[:60]!r} has {column} = {value[:20]!r}.", f"It is one of {choices}. {_FORM}")
            genes.append(int(digit))
        return _arch(genes)

    def format(self, arch: Arch) -> str:
        """The 28 numbers of a row of the benchmark.

        Raises:
            ArchError: Not an architecture of this space.
        """
        return ",".join(map(str, _genes(arch)))

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the published network.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        from subshot.networks.mnasnet import MnasNetNetwork

        resolve_variant(self, variant)
        task = task or _IMAGENET
        return MnasNetNetwork(
            list(_layers(arch)), features=FEATURES, image_channels=task.image_shape[0], classes=task.outputs
        )

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Count parameters and MACs by arithmetic.

        The benchmark's ``macs_m`` is larger: it adds four operations for each number that batch norm writes, and the
        poolings.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        resolve_variant(self, variant)
        task = task or _IMAGENET
        image_channels, height, width = task.image_shape
        height, width = (height + 1) // 2, (width + 1) // 2
        stem = SHAPES[0][0]
        parameters, macs = (9 * image_channels + 2) * stem, 9 * image_channels * stem * height * width
        for c_in, c_out, expansion, kernel, stride, squeezed in _layers(arch):
            inner = expansion * c_in
            if expansion > 1:
                parameters += (c_in + 2) * inner
                macs += c_in * inner * height * width
            height, width = -(-height // stride), -(-width // stride)
            weights = inner * (kernel**2 + c_out)
            gate = 2 * inner * squeezed
            parameters += weights + 2 * (inner + c_out) + (gate + inner + squeezed if squeezed else 0)
            macs += weights * height * width + gate
        last, head = SHAPES[-1][1], FEATURES * task.outputs
        parameters += (last + 2) * FEATURES + head + task.outputs
        return Size(parameters, macs + last * FEATURES * height * width + head)

    def encode(self, arch: Arch) -> np.ndarray:
        """One-hot decisions in the order of the columns, shape ``(71,)``, float32."""
        pairs = zip(_genes(arch), _CHOICES, strict=True)
        return np.array([value == gene for gene, choices in pairs for value in choices], dtype=np.float32)

    def decode(self, vector: np.ndarray) -> Arch | None:
        """The inverse of :meth:`encode`; ``None`` if a decision has no value or several."""
        if vector.shape != (sum(map(len, _CHOICES)),):
            return None
        ends = itertools.accumulate(map(len, _CHOICES), initial=0)
        spans = [vector[start:stop] for start, stop in itertools.pairwise(ends)]
        arch = _arch([choices[int(span.argmax())] for choices, span in zip(_CHOICES, spans, strict=True)])
        return arch if np.array_equal(self.encode(arch), vector) else None


SPACES.register(_NAME, MnasNet)


def _arch(genes: Sequence[int]) -> Arch:
    return Arch(_NAME, tuple(genes))


def _genes(arch: Arch) -> tuple[int, ...]:
    genes = arch.genes
    if (
        arch.space != _NAME
        or len(genes) != len(_CHOICES)
        or not all(gene in choices for gene, choices in zip(genes, _CHOICES, strict=True))
    ):
        raise ArchError(f"{arch!s:.200} is no {_NAME} architecture.", "Its genes are the values of 28 decisions.")
    return genes


def _layers(arch: Arch) -> Iterator[tuple[int, int, int, int, int, int]]:
    """``(c_in, c_out, expansion, kernel, stride, squeezed)`` of each layer.

    Squeeze and excite has a quarter of the channels that enter the layer, not of those that it weighs.
    """
    genes = _genes(arch)
    for block, (c_in, c_out, stride) in enumerate(SHAPES):
        expansion, kernel, layers, excites = genes[4 * block : 4 * block + 4]
        for number in range(layers):
            entering = c_out if number else c_in
            yield entering, c_out, expansion, kernel, 1 if number else stride, excites * (entering // 4)


def _read_object(text: str) -> list[str]:
    """The values of the benchmark's JSON object in the order of its columns; none if it is another object."""
    try:
        found: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if set(found) != set(DECISIONS):
        return []
    values = []
    for column in DECISIONS:
        value = found[column]
        values.append(str(int(value)) if column.endswith("_se") and isinstance(value, bool) else str(value))
    return values
