"""The MobileNetV2 space for ImageNet of Zen-NAS, ZiCo and AZ-NAS (arXiv 2102.01063, 2301.11300, 2403.19232).

A network is a stem and a sequence of blocks; the first and three others halve the map. A block repeats a pair of
residual bottlenecks, of which the first leads to the block's inner width and the second to its outer one::

    3 -> stem -> [block] ... [block] -> 2048 -> classes
    block = l x (c_in -> b, expanded e times; b -> c, expanded e times), depthwise kernels k, stride s on the first

Expansion is 1, 2, 4 or 6 and the kernel 3, 5 or 7; widths are multiples of 8. A block is the same network as two that
share its pairs, the second with stride 1, unless b equals c: then the second's first shortcut has a convolution.

Departures from the authors' code. It has no bound on widths, which budgets keep small; here none is above 2048. It
limits depth in the search, here a setting of the space does. Its mutation replaces two blocks once ten networks are
known, here always one; and it draws a block from a list that grows while it is read, which makes the types of small
expansion and kernel up to six times as likely as those of large ones, where here all are equally likely.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from subshot._types import Arch, TaskSpec
from subshot.errors import ArchError, OptionError
from subshot.spaces._plainnet import Block, read_plainnet, write_plainnet
from subshot.spaces._space import SPACES, Size, resolve_variant

if TYPE_CHECKING:
    from torch import nn

EXPANSIONS = (1, 2, 4, 6)
KERNELS = (3, 5, 7)
# Widths are multiples of the first, up to the second.
STEP, WIDEST = 8, 2048
# Pairs of bottlenecks in a block: a block that a mutation makes longer is split, three pairs first.
LONGEST = 5
STRIDED = 4
# Layers that the setting of that name allows: with more, the number of networks would be beyond what a float holds.
DEEPEST = 40

# Where the authors' searches begin.
START: tuple[Any, ...] = (
    8,
    (6, 3, 8, 32, 1, 2),
    (6, 3, 32, 48, 1, 2),
    (6, 3, 48, 96, 1, 2),
    (6, 3, 96, 128, 1, 2),
)

_NAME = "mobilenetv2_imagenet"
_IMAGENET = TaskSpec.images(3, 224, 224, classes=1000)
_WIDTHS = range(STEP, WIDEST + 1, STEP)
_FACTORS = (2.5, 2, 1.5, 1.25, 1, 1 / 1.25, 1 / 1.5, 1 / 2, 1 / 2.5)
# Mutations between START and a random network: each of its five parts changes about three times.
_WALK = 15
_WIDTH = "[1-9][0-9]{0,3}"
_BLOCK = f"e[1246]k[357]b{_WIDTH}c{_WIDTH}l[1-5]s[12]"
_FORM = (
    "Write the stem's width and the blocks: c8-e6k3b8c32l1s2-e6k3b32c48l1s2-e6k3b48c96l1s2-e6k3b96c128l1s2, which "
    "says expansion, kernel, inner and outer width, pairs of bottlenecks, stride; or the authors' text, which begins "
    "with SuperConvK3BNRELU."
)


@dataclass(frozen=True)
class MobileNetV2ImageNet:
    """The space that Zen-NAS, ZiCo and AZ-NAS search for ImageNet.

    ``Arch.genes`` is the stem's width followed by a tuple for each block: expansion, kernel, inner width, outer width,
    pairs of bottlenecks, stride. The canonical text is ours, for example
    ``c8-e6k3b8c32l1s2-e6k3b32c48l1s2-e6k3b48c96l1s2-e6k3b96c128l1s2``; :func:`plainnet` gives the authors'.

    Attributes:
        layers: Most layers as the authors count them: pairs of bottlenecks, stem and last convolution. 14 for their
            budgets of 450 and 600 million operations, 16 for a billion.
        features: Width of the last convolution.
    """

    layers: int = 16
    features: int = 2048

    def __post_init__(self) -> None:
        bounds = (("layers", self.layers, STRIDED + 2, DEEPEST), ("features", self.features, 1, 2**16))
        for key, value, least, most in bounds:
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise OptionError(
                    f"space {_NAME} was given {key}={value!r}.", f"{key} is a whole number from {least} to {most}."
                )

    @property
    def name(self) -> str:
        """``"mobilenetv2_imagenet"``."""
        return _NAME

    @property
    def size(self) -> int:
        """Number of texts: 2.5e87 at 16 layers."""
        return _size(self.layers)

    @property
    def variants(self) -> tuple[str, ...]:
        """``official``, and the same with squeeze and excite, or without shortcuts.

        The authors' budgets and most of the sizes that they publish are of ``official``. ``squeeze_excite`` is what
        they train. ``no_shortcuts`` is what Zen-NAS and ZiCo score; AZ-NAS scores ``official``.
        """
        return ("official", "squeeze_excite", "no_shortcuts")

    @property
    def scoring_variant(self) -> str:
        """``"official"``; smaller images make it cheaper."""
        return "official"

    @property
    def task(self) -> TaskSpec:
        """ImageNet at 224 pixels."""
        return _IMAGENET

    def sample(self, rng: np.random.Generator) -> Arch:
        """Walk by 15 mutations from the authors' start (ours: their searches draw nothing else at random)."""
        arch = Arch(_NAME, START)
        for _ in range(_WALK):
            arch = self.mutate(arch, rng)
        return arch

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Replace the stem or one block by another, drawn uniformly from those that the authors allow.

        A width is scaled by one of nine factors between 0.4 and 2.5 and rounded; pairs change by up to two; type of the
        block is any. A block of six pairs or more is then split in two.
        """
        stem, *blocks = _genes(arch, self.layers)
        place = int(rng.integers(len(blocks) + 1)) - 1
        if place < 0:
            others = [width for width in _widths(stem) if width != stem]
            return Arch(_NAME, (_draw(others, rng), *blocks))
        old = blocks[place]
        _, _, inner, outer, pairs, stride = old
        most = pairs + self.layers - 2 - sum(block[4] for block in blocks)
        lengths = [length for length in range(pairs - 2, pairs + 3) if 1 <= length <= most]
        new = old
        while new == old:
            widths = _draw(_widths(inner), rng), _draw(_widths(outer), rng)
            new = (_draw(EXPANSIONS, rng), _draw(KERNELS, rng), *widths, _draw(lengths, rng), stride)
        return Arch(_NAME, (stem, *blocks[:place], *_split(new), *blocks[place + 1 :]))

    def parse(self, text: str) -> Arch:
        """Read our text or the authors'.

        Raises:
            ArchError: The text is neither, or the network is outside the space.
        """
        stripped = text.strip()
        if stripped.startswith("Super"):
            genes = read_plainnet(stripped, features=self.features)
        elif re.fullmatch(f"c{_WIDTH}(?:-{_BLOCK})+", stripped):
            stem, *blocks = ([int(number) for number in re.findall("[0-9]+", part)] for part in stripped.split("-"))
            genes = (stem[0], *map(tuple, blocks))
        else:
            raise ArchError(f"{text[:60]!r} is no {_NAME} architecture.", _FORM)
        if fault := _fault(genes, self.layers):
            raise ArchError(f"{text[:60]!r} is no {_NAME} architecture: it {fault}.", _FORM)
        return Arch(_NAME, genes)

    def format(self, arch: Arch) -> str:
        """The stem's width and each block's numbers after letters that name them.

        Raises:
            ArchError: Not an architecture of this space.
        """
        stem, *blocks = _genes(arch, self.layers)
        return "-".join([f"c{stem}", *("e{}k{}b{}c{}l{}s{}".format(*block) for block in blocks)])

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the published network.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        from subshot.networks.mobilenet import MobileNetV2Network

        variant, task = resolve_variant(self, variant), task or _IMAGENET
        return MobileNetV2Network(
            list(_bottlenecks(_genes(arch, self.layers), variant)),
            features=self.features,
            gated=variant == "squeeze_excite",
            image_channels=task.image_shape[0],
            classes=task.outputs,
        )

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Count parameters and MACs by arithmetic; for what the authors' budgets count see :func:`published_flops`.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        variant, task = resolve_variant(self, variant), task or _IMAGENET
        genes = _genes(arch, self.layers)
        image_channels, height, width = task.image_shape
        height, width = (height + 1) // 2, (width + 1) // 2
        c_out = genes[0]
        parameters, macs = (9 * image_channels + 2) * c_out, 9 * image_channels * c_out * height * width
        for c_in, inner, c_out, kernel, stride, shortcut in _bottlenecks(genes, variant):
            parameters += c_in * inner + inner * (kernel**2 + c_out) + 2 * (2 * inner + c_out)
            macs += c_in * inner * height * width
            height, width = -(-height // stride), -(-width // stride)
            macs += inner * (kernel**2 + c_out) * height * width
            if shortcut == "projection":
                parameters += (c_in + 3) * c_out
                macs += c_in * c_out * height * width
            if variant == "squeeze_excite":
                squeezed = max(1, round(inner / 4))
                parameters += 2 * (inner * squeezed + inner + squeezed)
                macs += 2 * inner * squeezed
        head = self.features * task.outputs
        parameters += (c_out + 2) * self.features + head + task.outputs
        return Size(parameters, macs + c_out * self.features * height * width + head)

    def network_settings(self, variant: str) -> dict[str, int]:
        """Width of the last convolution."""
        return {"features": self.features}


SPACES.register(_NAME, MobileNetV2ImageNet)


def plainnet(arch: Arch, *, features: int = 2048) -> str:
    """The text that the authors' code reads.

    Args:
        arch: An architecture of the space.
        features: Width of the last convolution.

    Raises:
        ArchError: Not an architecture of this space.
    """
    return write_plainnet(_genes(arch), features=features)


def published_flops(arch: Arch) -> int:
    """What the authors' code counts at 224 pixels and 1000 classes, and what their budgets are about.

    MACs of ``official`` and one operation for each number that batch norm writes; but in the shortcuts' convolutions
    the size of the map is divided by the stride a second time.

    Raises:
        ArchError: Not an architecture of this space.
    """
    genes, size = _genes(arch), 112
    c_out: int = genes[0]
    total = (27 + 1) * c_out * size**2
    for c_in, inner, c_out, kernel, stride, shortcut in _bottlenecks(genes, "official"):
        total += (c_in + 1) * inner * size**2
        size //= stride
        total += (inner * (kernel**2 + 1 + c_out) + c_out) * size**2
        if shortcut == "projection":
            total += (c_in + 1) * c_out * size**2 // stride**2
    return total + (c_out + 1) * 2048 * size**2 + 2048 * 1000


def _genes(arch: Arch, layers: int = DEEPEST) -> tuple[Any, ...]:
    fault = _fault(arch.genes, layers) if arch.space == _NAME else "belongs to another space"
    if fault:
        raise ArchError(f"{arch!s:.200} is no {_NAME} architecture: it {fault}.", _FORM)
    return arch.genes


def _fault(genes: Sequence[Any], layers: int) -> str:
    """What is wrong with genes; empty if nothing is."""
    stem, *blocks = genes or [0]
    if not all(isinstance(block, tuple) and len(block) == 6 for block in blocks):
        return "has no six numbers for every block"
    for width in (stem, *(width for block in blocks for width in block[2:4])):
        if width not in _WIDTHS:
            return f"has a width of {width}, where multiples of {STEP} from {STEP} to {WIDEST} are allowed"
    for expansion, kernel, _, _, pairs, _ in blocks:
        if expansion not in EXPANSIONS or kernel not in KERNELS or pairs not in range(1, LONGEST + 1):
            return f"has a block of expansion {expansion}, kernel {kernel} and {pairs} pairs of bottlenecks"
    strides = [block[5] for block in blocks]
    if strides[:1] != [2] or strides.count(2) != STRIDED or not {1, 2}.issuperset(strides):
        return f"has strides {strides!s:.60}, where the first and three others are 2 and the rest 1"
    depth = sum(block[4] for block in blocks) + 2
    if depth > layers:
        return f"has {depth} layers, stem and last convolution included, and the setting layers is {layers}"
    return ""


def _bottlenecks(genes: tuple[Any, ...], variant: str) -> Iterator[tuple[int, int, int, int, int, str]]:
    """``(c_in, inner, c_out, kernel, stride, shortcut)`` of each residual bottleneck.

    The first of a block has a convolution in its shortcut even where the shape stays the same.
    """
    c_in, *blocks = genes
    for expansion, kernel, inner, outer, pairs, stride in blocks:
        for number in range(pairs):
            first = c_in, inner, stride if number == 0 else 1, number == 0 or c_in != inner
            for start, end, step, projected in (first, (inner, outer, 1, inner != outer)):
                shortcut = "none" if variant == "no_shortcuts" else "projection" if projected else "identity"
                yield start, expansion * end, end, kernel, step, shortcut
            c_in = outer


def _split(block: Block) -> tuple[Block, ...]:
    """A block that is too long as two, of which the second keeps the size of the map."""
    expansion, kernel, inner, outer, pairs, stride = block
    if pairs <= LONGEST:
        return (block,)
    half = (LONGEST + 1) // 2
    return (expansion, kernel, inner, outer, half, stride), (expansion, kernel, inner, outer, pairs - half, 1)


@functools.cache
def _widths(width: int) -> tuple[int, ...]:
    """What a mutation may make of a width; itself is among them."""
    scaled = {STEP * round(max(STEP, width * factor) / STEP) for factor in _FACTORS}
    return tuple(sorted(new for new in scaled if new <= WIDEST))


def _draw(choices: Sequence[int], rng: np.random.Generator) -> int:
    return choices[int(rng.integers(len(choices)))]


@functools.cache
def _size(layers: int) -> int:
    """Texts with at most so many layers."""
    types = len(EXPANSIONS) * len(KERNELS) * len(_WIDTHS) ** 2
    ways = {0: 1}  # to give blocks their pairs, by the sum of these
    total = 0
    for blocks in range(1, layers - 1):
        longer: Counter[int] = Counter()
        for pairs, count in ways.items():
            for more in range(1, LONGEST + 1):
                longer[pairs + more] += count
        ways = {pairs: count for pairs, count in longer.items() if pairs <= layers - 2}
        total += math.comb(blocks - 1, STRIDED - 1) * sum(ways.values()) * types**blocks
    return len(_WIDTHS) * total
