"""NAS-Bench-Macro: 6,561 networks of eight layers (arXiv 2103.11922).

Each layer is the identity, a small or a large block of MobileNetV2. The layers make three stages of two, three and
three, and the first of each stage halves the map::

    stem 32 -> | 64, 64 | 128, 128, 128 | 256, 256, 256 | -> 1280 -> classes

An identity does nothing but in first position, where it is a strided 1x1 convolution. So networks are the same that
differ in the place of later identities within a stage: 3,969 are distinct, and only those were trained.
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

    from subshot.networks.nasbench_macro_supernet import NasBenchMacroSupernet

# A gene is a position here: (kernel, expansion) of the block, None for the identity.
LAYERS = (None, (3, 3), (5, 6))
IDENTITY = 0
STAGES = (2, 3, 3)

_NAME = "nasbench_macro"
_DEPTH = sum(STAGES)
_FIRST = tuple(itertools.accumulate(STAGES, initial=0))
_CODES = frozenset(range(len(LAYERS)))
_CIFAR10 = TaskSpec.images(3, 32, 32, classes=10)
_FORM = f"Write {_DEPTH} digits: 0 identity, 1 block of kernel 3 and expansion 3, 2 of kernel 5 and expansion 6."


@dataclass(frozen=True)
class NasBenchMacro:
    """The space of NAS-Bench-Macro.

    ``Arch.genes`` holds one position in ``LAYERS`` for each of eight layers; the canonical text is the benchmark's
    eight digits, for example ``00001020``.

    Attributes:
        channels: Width of the stem; it doubles in every stage.
        features: Width of the last convolution.
    """

    channels: int = 32
    features: int = 1280

    def __post_init__(self) -> None:
        for key, value in (("channels", self.channels), ("features", self.features)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise OptionError(f"space {_NAME} was given {key}={value!r}.", f"{key} is a whole number from 1 on.")

    @property
    def name(self) -> str:
        """``"nasbench_macro"``."""
        return _NAME

    @property
    def size(self) -> int:
        """6,561."""
        return int(len(LAYERS) ** _DEPTH)

    @property
    def variants(self) -> tuple[str, ...]:
        """``official``: the network of the benchmark."""
        return ("official",)

    @property
    def scoring_variant(self) -> str:
        """``"official"``, which is small."""
        return "official"

    @property
    def task(self) -> TaskSpec:
        """CIFAR-10."""
        return _CIFAR10

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw every layer uniformly."""
        return _arch(rng.integers(len(LAYERS), size=_DEPTH).tolist())

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Draw uniformly from the 16 networks that differ in one layer."""
        genes = list(_genes(arch))
        layer, shift = divmod(int(rng.integers(_DEPTH * (len(LAYERS) - 1))), len(LAYERS) - 1)
        genes[layer] = (genes[layer] + 1 + shift) % len(LAYERS)
        return _arch(genes)

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """Take each layer from either parent with equal chance."""
        parents = (_genes(first), _genes(second))
        return _arch([parents[side][layer] for layer, side in enumerate(rng.integers(2, size=_DEPTH).tolist())])

    def parse(self, text: str) -> Arch:
        """Read the benchmark's eight digits.

        Raises:
            ArchError: The text is anything else.
        """
        digits = text.strip()
        if not re.fullmatch(f"[0-2]{{{_DEPTH}}}", digits):
            raise ArchError(f"{text[:60]!r} is no {_NAME} architecture.", _FORM)
        return _arch([int(digit) for digit in digits])

    def format(self, arch: Arch) -> str:
        """The benchmark's eight digits.

        Raises:
            ArchError: Not an architecture of this space.
        """
        return "".join(map(str, _genes(arch)))

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the published network.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        from subshot.networks.nasbench_macro import NasBenchMacroNetwork

        resolve_variant(self, variant)
        task = task or _CIFAR10
        return NasBenchMacroNetwork(
            [(width, [LAYERS[code] for code in genes]) for width, genes in self._stages(arch)],
            channels=self.channels,
            features=self.features,
            image_channels=task.image_shape[0],
            classes=task.outputs,
        )

    def supernet(self, task: TaskSpec | None = None, *, variant: str | None = None) -> "NasBenchMacroSupernet":
        """All architectures in one network: a slot for each layer.

        Raises:
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        from subshot.networks.nasbench_macro_supernet import NasBenchMacroSupernet

        resolve_variant(self, variant)
        task = task or _CIFAR10
        return NasBenchMacroSupernet(
            LAYERS,
            stages=[(self.channels * 2 ** (stage + 1), depth) for stage, depth in enumerate(STAGES)],
            channels=self.channels,
            features=self.features,
            image_channels=task.image_shape[0],
            classes=task.outputs,
        )

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Count parameters and MACs by arithmetic; the benchmark's ``flops`` are these MACs.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        resolve_variant(self, variant)
        task = task or _CIFAR10
        image_channels, height, width = task.image_shape
        weights = 9 * image_channels * self.channels
        parameters, macs = weights + 2 * self.channels, weights * height * width
        c_in = self.channels
        for c_out, genes in self._stages(arch):
            for number, layer in enumerate(LAYERS[code] for code in genes):
                before = height * width
                if number == 0:
                    height, width = (height + 1) // 2, (width + 1) // 2
                if layer is not None:
                    kernel, expansion = layer
                    inner = expansion * c_in
                    widen, rest = c_in * inner, inner * (kernel**2 + c_out)
                    parameters += widen + rest + 2 * (2 * inner + c_out)
                    macs += widen * before + rest * height * width
                elif number == 0:
                    parameters += c_in * c_out + 2 * c_out
                    macs += c_in * c_out * height * width
                c_in = c_out
        head = self.features * task.outputs
        parameters += (c_in + 2) * self.features + head + task.outputs
        return Size(parameters, macs + c_in * self.features * height * width + head)

    def encode(self, arch: Arch) -> np.ndarray:
        """Three one-hot numbers for each layer, shape ``(24,)``, float32."""
        return np.eye(len(LAYERS), dtype=np.float32)[list(_genes(arch))].reshape(-1)

    def decode(self, vector: np.ndarray) -> Arch | None:
        """The inverse of :meth:`encode`; ``None`` if a layer is none or several."""
        if vector.shape != (_DEPTH * len(LAYERS),):
            return None
        rows = vector.reshape(_DEPTH, len(LAYERS))
        codes = rows.argmax(axis=1)
        return _arch(codes.tolist()) if np.array_equal(rows, np.eye(len(LAYERS))[codes]) else None

    def architectures(self) -> Iterator[Arch]:
        """Every architecture, in the order of its text."""
        return iter(_all())

    @property
    def populations(self) -> tuple[str, ...]:
        """``all`` 6,561 and ``unique`` 3,969 networks."""
        return tuple(_POPULATIONS)

    def population(self, name: str) -> Sequence[Arch]:
        """All texts, or of those that mean the same network the one with its identities last: see :func:`canonical`.

        Raises:
            UnknownNameError: No subset has that name.
        """
        if name not in _POPULATIONS:
            raise UnknownNameError.of(f"population of {_NAME}", name, _POPULATIONS)
        return _POPULATIONS[name]()

    def _stages(self, arch: Arch) -> list[tuple[int, tuple[int, ...]]]:
        """Width and genes of each stage."""
        genes = _genes(arch)
        return [
            (self.channels * 2 ** (stage + 1), genes[start:stop])
            for stage, (start, stop) in enumerate(itertools.pairwise(_FIRST))
        ]


SPACES.register(_NAME, NasBenchMacro)


def canonical(arch: Arch) -> Arch:
    """The text under which the benchmark trained this network: in each stage, identities after the first layer go last.

    Raises:
        ArchError: Not an architecture of the space.
    """
    genes = _genes(arch)
    moved: list[int] = []
    for start, stop in itertools.pairwise(_FIRST):
        first, *others = genes[start:stop]
        moved += [first, *sorted(others, key=lambda code: code == IDENTITY)]
    return _arch(moved)


def _arch(genes: Sequence[int]) -> Arch:
    return Arch(_NAME, tuple(genes))


def _genes(arch: Arch) -> tuple[int, ...]:
    genes = arch.genes
    if arch.space != _NAME or len(genes) != _DEPTH or not _CODES.issuperset(genes):
        raise ArchError(f"{arch!s:.200} is no {_NAME} architecture.", f"Its genes are {_DEPTH} numbers from 0 to 2.")
    return genes


@functools.cache
def _all() -> tuple[Arch, ...]:
    return tuple(map(_arch, itertools.product(range(len(LAYERS)), repeat=_DEPTH)))


@functools.cache
def _unique() -> tuple[Arch, ...]:
    return tuple(arch for arch in _all() if canonical(arch) == arch)


_POPULATIONS = {"all": _all, "unique": _unique}
