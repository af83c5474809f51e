"""Pooling transformers (PiT, arXiv 2103.16302) of ViT-Bench-101 (arXiv 2312.09059): 1,600 networks of three stages.

The image is cut into overlapping patches; from stage to stage the map of tokens halves, and the width goes with the
number of heads::

    image -> patches of 16 every 8 -> stage -> pooling -> stage -> pooling -> stage -> norm -> class token -> classes
                                     27 x 27             14 x 14             7 x 7
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from subshot._types import Arch, TaskSpec
from subshot.errors import ArchError, OptionError
from subshot.spaces._json_text import PROBLEMS, listed, members, read_json, refusal, whole, write_json
from subshot.spaces._space import SPACES, Size, resolve_variant

if TYPE_CHECKING:
    from torch import nn

# Choices in the order of the genes: width of a head, feed-forward ratio, layers and heads of the stages.
CHOICES: tuple[tuple[Any, ...], ...] = (
    (16, 24, 32, 40),
    (2, 4, 6, 8),
    (
        (1, 6, 6), (1, 8, 4), (2, 4, 6), (2, 6, 4), (2, 6, 6),
        (2, 8, 2), (2, 8, 4), (3, 4, 6), (3, 6, 4), (3, 8, 2),
    ),
    (
        (2, 2, 2), (2, 2, 4), (2, 2, 8), (2, 4, 4), (2, 4, 8),
        (2, 8, 8), (4, 4, 4), (4, 4, 8), (4, 8, 8), (8, 8, 8),
    ),
)  # fmt: skip

_NAME = "pit"
_KEYS = ("base_dim", "mlp_ratio", "depth", "num_heads")
_EPSILON = 1e-6
_TASK = TaskSpec.images(3, 224, 224, classes=100)
_FORM = (
    'Write {"base_dim": 16, 24, 32 or 40, "mlp_ratio": 2, 4, 6 or 8, "depth": [2, 6, 4], "num_heads": [2, 4, 8]}; '
    f"depth is one of {', '.join('-'.join(map(str, one)) for one in CHOICES[2])}, num_heads one of "
    f"{', '.join('-'.join(map(str, one)) for one in CHOICES[3])}."
)


@dataclass(frozen=True)
class PiT:
    """The space of pooling transformers in ViT-Bench-101.

    ``Arch.genes`` is ``(width of a head, ratio, layers of the stages, heads of the stages)``; the canonical text is the
    benchmark's ``{"base_dim":32,"mlp_ratio":4,"depth":[2,6,4],"num_heads":[2,4,8]}`` without blanks. Other orders are
    read too.

    Attributes:
        patch: Height and width of a patch; smaller ones suit smaller images.
        stride: From one patch to the next.

    Raises:
        OptionError: A setting is below one.
    """

    patch: int = 16
    stride: int = 8

    def __post_init__(self) -> None:
        for key, value in (("patch", self.patch), ("stride", self.stride)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise OptionError(f"space {_NAME} was given {key}={value!r}.", f"{key} is a whole number from 1 on.")

    @property
    def name(self) -> str:
        """``"pit"``."""
        return _NAME

    @property
    def size(self) -> int:
        """1,600."""
        return math.prod(map(len, CHOICES))

    @property
    def variants(self) -> tuple[str, ...]:
        """``official``: the network of the benchmark."""
        return ("official",)

    @property
    def scoring_variant(self) -> str:
        """``"official"``."""
        return "official"

    @property
    def task(self) -> TaskSpec:
        """CIFAR-100 brought to 224 pixels."""
        return _TASK

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw each of the four decisions uniformly."""
        return _arch([choices[int(rng.integers(len(choices)))] for choices in CHOICES])

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Draw uniformly from the 24 networks that differ in one decision.

        Raises:
            ArchError: Not an architecture of this space.
        """
        genes = _genes(arch)
        others = [
            [*genes[:place], choice, *genes[place + 1 :]]
            for place, choices in enumerate(CHOICES)
            for choice in choices
            if choice != genes[place]
        ]
        return _arch(others[int(rng.integers(len(others)))])

    def parse(self, text: str) -> Arch:
        """Read the benchmark's JSON.

        Raises:
            ArchError: The text is anything else, or no architecture of this space.
        """
        try:
            base, ratio, depth, heads = members(read_json(text), _KEYS)
            arch = _arch([whole(base), whole(ratio), listed(depth, whole), listed(heads, whole)])
            _check(arch.genes)
        except PROBLEMS as problem:
            raise refusal(_NAME, text, problem, _FORM) from None
        return arch

    def format(self, arch: Arch) -> str:
        """The benchmark's JSON.

        Raises:
            ArchError: Not an architecture of this space.
        """
        return write_json(_KEYS, _genes(arch))

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the published network.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image, or smaller than a patch.
        """
        from subshot.networks.pit import PoolingTransformer

        resolve_variant(self, variant)
        task = task or _TASK
        base, ratio, depths, heads = _genes(arch)
        return PoolingTransformer(
            list(zip(heads, depths, strict=True)),
            head_width=base,
            ratio=ratio,
            grid=self._grid(task),
            patch=self.patch,
            stride=self.stride,
            epsilon=_EPSILON,
            image_channels=task.image_shape[0],
            classes=task.outputs,
        )

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Count parameters and MACs by arithmetic; the products of attention are MACs.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image, or smaller than a patch.
        """
        resolve_variant(self, variant)
        task = task or _TASK
        base, ratio, depths, heads = _genes(arch)
        rows, columns = self._grid(task)
        width = base * heads[0]
        projection = task.image_shape[0] * self.patch**2 * width
        parameters = projection + width + width + rows * columns * width
        macs = projection * rows * columns
        for stage, depth in enumerate(depths):
            c_in, width = width, base * heads[stage]
            if stage:
                rows, columns = (rows + 1) // 2, (columns + 1) // 2
                parameters += 9 * width + width + c_in * width + width
                macs += 9 * width * rows * columns + c_in * width
            tokens = rows * columns + 1
            weights = (4 + 2 * ratio) * width**2
            parameters += depth * (weights + (4 + ratio + 1) * width + 4 * width)
            macs += depth * (weights * tokens + 2 * tokens**2 * width)
        head = width * task.outputs
        return Size(parameters + 2 * width + head + task.outputs, macs + head)

    def architectures(self) -> Iterator[Arch]:
        """Every architecture, the last decision changing fastest."""
        return map(_arch, itertools.product(*CHOICES))

    def _grid(self, task: TaskSpec) -> tuple[int, int]:
        """Rows and columns of patches; pixels that fill no patch are not seen."""
        _, height, width = task.image_shape
        if min(height, width) < self.patch:
            raise OptionError(
                f"The task has images of {height} x {width} pixels, and {_NAME} cuts patches of {self.patch}.",
                f"Take larger images, or a smaller patch: {_NAME}(patch=4, stride=2).",
            )
        return (height - self.patch) // self.stride + 1, (width - self.patch) // self.stride + 1


SPACES.register(_NAME, PiT)


def _arch(genes: Sequence[Any]) -> Arch:
    return Arch(_NAME, tuple(genes))


def _check(genes: tuple[Any, ...]) -> None:
    """Raise ValueError that says which decision is none of its choices."""
    for key, gene, choices in zip(_KEYS, genes, CHOICES, strict=True):
        if gene not in choices:
            raise ValueError(f"its {key} is {gene}")


def _genes(arch: Arch) -> tuple[int, int, tuple[int, int, int], tuple[int, int, int]]:
    try:
        if arch.space != _NAME:
            raise ValueError(f"it is one of {arch.space}")
        _check(arch.genes)
    except ValueError as problem:
        raise ArchError(f"{arch!s:.200} is no {_NAME} architecture: {problem}.", _FORM) from None
    base, ratio, depths, heads = arch.genes
    return base, ratio, depths, heads
