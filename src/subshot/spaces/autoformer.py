"""AutoFormer: vision transformers whose layers choose heads and feed-forward ratio (arXiv 2107.00651).

ViT-Bench-101 (arXiv 2312.09059) took the choices of its smallest space for networks of its own, without relative
positions and with heads that share the network's width::

    image -> patches of 16 -> [attention, feed-forward] x depth -> norm -> mean of patches -> classes
                               3 or 4 heads, inner width 3.5 or 4 times the width
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from subshot._types import Arch, TaskSpec
from subshot.errors import ArchError, OptionError, UnknownNameError
from subshot.spaces._json_text import PROBLEMS, listed, members, read_json, refusal, whole, write_json
from subshot.spaces._space import SPACES, Size, resolve_variant

if TYPE_CHECKING:
    from torch import nn

_NAME = "autoformer"
# Ratios are whole numbers in a gene: twice their value.
_HALVES = 2
_READABLE = frozenset({6, 7, 8})
_ALIASES = {"embed_dim": "hidden_dim", "layer_num": "depth"}
_KEYS = ("hidden_dim", "mlp_ratio", "depth", "num_heads")


@dataclass(frozen=True)
class Edition:
    """One published space and its network.

    Attributes:
        widths: Choices for all layers together.
        depths: Choices of the number of layers.
        ratios: Choices for each layer, twice the ratio.
        heads: Choices for each layer.
        head_width: Width of a head; ``None`` for the network's width shared among the heads.
        reach: Longest distance that attention tells from longer ones; ``None`` for attention without distances.
        epsilon: Added to variances by the norms.
        classes: Of the published task.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    ratios: tuple[int, ...]
    heads: tuple[int, ...]
    head_width: int | None = 64
    reach: int | None = 14
    epsilon: float = 1e-5
    classes: int = 1000


EDITIONS: Mapping[str, Edition] = {
    "vitbench101": Edition(
        (192, 216, 240), (12, 13, 14), (7, 8), (3, 4), head_width=None, reach=None, epsilon=1e-6, classes=100
    ),
    "tiny": Edition((192, 216, 240), (12, 13, 14), (7, 8), (3, 4)),
    "small": Edition((320, 384, 448), (12, 13, 14), (6, 7, 8), (5, 6, 7)),
    "base": Edition((528, 576, 624), (14, 15, 16), (6, 7, 8), (8, 9, 10)),
}


@dataclass(frozen=True)
class AutoFormer:
    """The space of AutoFormer, in four editions.

    ``Arch.genes`` is ``(width, layers)``, each layer ``(twice the ratio, heads)``. The canonical text is
    ViT-Bench-101's ``{"hidden_dim":192,"mlp_ratio":[4.0, ...],"depth":12,"num_heads":[3, ...]}`` without blanks. Also
    read: other orders, AutoFormer's ``embed_dim`` and ``layer_num``, and the candidates of its search, ``(depth, ratios
    ..., heads ..., width)``. The ratio 3 is read in every edition, though the two smallest don't draw it: AutoFormer's
    own smallest winner has it.

    Size: 3 widths and the ratios and heads of 12 to 14 layers: 1.1e9 in the smallest editions.

    Attributes:
        edition: ``vitbench101``, or AutoFormer's own ``tiny``, ``small`` and ``base``: what there is to choose and
            what is built of it.
        patch: Height and width of a patch; smaller ones suit smaller images.

    Raises:
        UnknownNameError: There is no such edition.
        OptionError: ``patch`` is below one.
    """

    edition: str = "vitbench101"
    patch: int = 16

    def __post_init__(self) -> None:
        if self.edition not in EDITIONS:
            raise UnknownNameError.of(f"edition of {_NAME}", str(self.edition), EDITIONS)
        if not isinstance(self.patch, int) or isinstance(self.patch, bool) or self.patch < 1:
            raise OptionError(f"space {_NAME} was given patch={self.patch!r}.", "patch is a whole number from 1 on.")

    @property
    def name(self) -> str:
        """``"autoformer"``."""
        return _NAME

    @property
    def size(self) -> int:
        """Number of texts that :meth:`sample` can draw."""
        edition = self._choices
        layer = len(edition.ratios) * len(edition.heads)
        texts: int = len(edition.widths) * sum(layer**depth for depth in edition.depths)
        return texts

    @property
    def variants(self) -> tuple[str, ...]:
        """``official``: the network of the edition."""
        return ("official",)

    @property
    def scoring_variant(self) -> str:
        """``"official"``."""
        return "official"

    @property
    def task(self) -> TaskSpec:
        """Images of 224 pixels: CIFAR-100 brought to that size for ViT-Bench-101, else ImageNet."""
        return TaskSpec.images(3, 224, 224, classes=self._choices.classes)

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw depth, width, and each layer's ratio and heads uniformly."""
        depth = int(rng.choice(self._choices.depths))
        return _arch(int(rng.choice(self._choices.widths)), [self._draw_layer(rng) for _ in range(depth)])

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Draw another width, another depth, or another ratio or number of heads for one layer; each a quarter.

        A new depth cuts the last layers off or adds random ones, as in AutoFormer's mutation, which changes several
        decisions at a time: width and depth with chance 0.4, every ratio and number of heads with 0.2.

        Raises:
            ArchError: Not an architecture of this edition.
        """
        edition = self._choices
        width, layers = self._genes(arch)
        kind = int(rng.integers(4))
        if kind == 0:
            return _arch(_other(edition.widths, width, rng), layers)
        if kind == 1:
            depth = _other(edition.depths, len(layers), rng)
            more = [self._draw_layer(rng) for _ in range(depth - len(layers))]
            return _arch(width, [*layers, *more][:depth])
        place = int(rng.integers(len(layers)))
        ratio, heads = layers[place]
        if kind == 2:
            ratio = _other(edition.ratios, ratio, rng)
        else:
            heads = _other(edition.heads, heads, rng)
        return _arch(width, [*layers[:place], (ratio, heads), *layers[place + 1 :]])

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """Take the width, and each layer's ratio and heads, from either parent with equal chance.

        AutoFormer crosses parents of one depth. Others have a child of either depth, whose last layers may be the
        deeper parent's.

        Raises:
            ArchError: Not architectures of this edition.
        """
        (width, layers), (other_width, other_layers) = parents = [self._genes(first), self._genes(second)]
        depth = len(parents[int(rng.integers(2))][1])
        mixed = []
        for place in range(depth):
            there = [genes[place] for genes in (layers, other_layers) if place < len(genes)]
            (ratio, _), (_, heads) = (there[int(rng.integers(len(there)))] for _ in range(2))
            mixed.append((ratio, heads))
        return _arch((width, other_width)[int(rng.integers(2))], mixed)

    def parse(self, text: str) -> Arch:
        """Read ViT-Bench-101's JSON, or a candidate of AutoFormer's search.

        Raises:
            ArchError: The text is neither, or no architecture of this edition.
        """
        try:
            arch = _arch(*_read(text))
            self._check(arch.genes)
        except PROBLEMS as problem:
            raise refusal(_NAME, text, problem, self._form) from None
        return arch

    def format(self, arch: Arch) -> str:
        """ViT-Bench-101's JSON.

        Raises:
            ArchError: Not an architecture of this edition.
        """
        width, layers = self._genes(arch)
        ratios, heads = zip(*layers, strict=True)
        return write_json(_KEYS, (width, [ratio / _HALVES for ratio in ratios], len(layers), heads))

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the edition's network; linear layers start from torch's default, not from the published deviation 0.02.

        Raises:
            ArchError: Not an architecture of this edition.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image, or smaller than a patch.
        """
        from subshot.networks.vision_transformer import VisionTransformer

        resolve_variant(self, variant)
        task = task or self.task
        width, layers = self._layers(arch)
        return VisionTransformer(
            layers,
            width=width,
            grid=self._grid(task),
            patch=self.patch,
            epsilon=self._choices.epsilon,
            reach=self._choices.reach,
            image_channels=task.image_shape[0],
            classes=task.outputs,
        )

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Count parameters and MACs by arithmetic; products of attention, relative positions included, are MACs.

        Raises:
            ArchError: Not an architecture of this edition.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image, or smaller than a patch.
        """
        resolve_variant(self, variant)
        task = task or self.task
        width, layers = self._layers(arch)
        patches = math.prod(self._grid(task))
        tokens = patches + 1
        reach = self._choices.reach
        projection = task.image_shape[0] * self.patch**2 * width
        parameters = projection + width + (1 + tokens) * width
        macs = projection * patches
        for heads, head_width, inner in layers:
            attended = heads * head_width
            weights = 4 * width * attended + 2 * width * inner
            parameters += weights + 3 * attended + width + inner + width + 4 * width
            macs += weights * tokens + 2 * tokens**2 * attended
            if reach is not None:
                parameters += 4 * (2 * reach + 2) * head_width
                macs += 2 * tokens**2 * attended
        head = width * task.outputs
        return Size(parameters + 2 * width + head + task.outputs, macs + head)

    @property
    def _choices(self) -> Edition:
        return EDITIONS[self.edition]

    def _grid(self, task: TaskSpec) -> tuple[int, int]:
        """Rows and columns of patches; pixels that fill no patch are not seen."""
        _, height, width = task.image_shape
        if min(height, width) < self.patch:
            raise OptionError(
                f"The task has images of {height} x {width} pixels, and {_NAME} cuts patches of {self.patch}.",
                f"Take larger images, or a smaller patch: {_NAME}(patch=4).",
            )
        return height // self.patch, width // self.patch

    def _layers(self, arch: Arch) -> tuple[int, list[tuple[int, int, int]]]:
        """Width, and heads, width of a head, and width between the linear layers, for each layer."""
        width, layers = self._genes(arch)
        own = self._choices.head_width
        return width, [(heads, own or width // heads, ratio * width // _HALVES) for ratio, heads in layers]

    def _draw_layer(self, rng: np.random.Generator) -> tuple[int, int]:
        return int(rng.choice(self._choices.ratios)), int(rng.choice(self._choices.heads))

    def _genes(self, arch: Arch) -> tuple[int, tuple[tuple[int, int], ...]]:
        try:
            if arch.space != _NAME:
                raise ValueError(f"it is one of {arch.space}")
            self._check(arch.genes)
        except (ValueError, TypeError) as problem:
            raise ArchError(f"{arch!s:.200} is no {_NAME} architecture: {problem}.", self._form) from None
        width, layers = arch.genes
        return width, layers

    def _check(self, genes: tuple[Any, ...]) -> None:
        """Raise ValueError or TypeError that says what is wrong with genes."""
        edition = self._choices
        width, layers = genes
        if width not in edition.widths:
            raise ValueError(f"its width is {width}")
        if len(layers) not in edition.depths:
            raise ValueError(f"its depth is {len(layers)}")
        for ratio, heads in layers:
            if ratio not in _READABLE:
                raise ValueError(f"a ratio is {ratio / _HALVES:g}")
            if heads not in edition.heads:
                raise ValueError(f"a layer has {heads} heads")

    @property
    def _form(self) -> str:
        """What to write."""
        edition = self._choices
        widths, depths, heads = (", ".join(map(str, one)) for one in (edition.widths, edition.depths, edition.heads))
        return (
            f'Write {{"hidden_dim": {widths}, "mlp_ratio": [3, 3.5 or 4 for each layer], "depth": {depths}, '
            f'"num_heads": [{heads} for each layer]}}; this is the edition {self.edition}, of {", ".join(EDITIONS)}.'
        )


SPACES.register(_NAME, AutoFormer)


def _arch(width: int, layers: Sequence[tuple[int, int]]) -> Arch:
    return Arch(_NAME, (width, tuple(layers)))


def _other(choices: Sequence[int], current: int, rng: np.random.Generator) -> int:
    """Draw one that isn't the current."""
    others = [choice for choice in choices if choice != current]
    return others[int(rng.integers(len(others)))]


def _read(text: str) -> tuple[int, list[tuple[int, int]]]:
    """Width and layers.

    Raises:
        ValueError: Not of a form that is read.
    """
    candidate = text.strip()
    if candidate.startswith("(") and candidate.endswith(")"):
        candidate = f"[{candidate[1:-1]}]"
    given = read_json(candidate)
    if isinstance(given, list):
        depth = whole(given[0]) if given else 0
        if depth < 1 or len(given) != 2 * depth + 2:
            raise ValueError("it is not depth, ratios, heads, width")
        width, ratios, heads = given[-1], given[1 : depth + 1], given[depth + 1 : -1]
    else:
        width, ratios, depth, heads = members(given, _KEYS, aliases=_ALIASES)
    layers = list(zip(listed(ratios, _doubled), listed(heads, whole), strict=True))
    if len(layers) != whole(depth):
        raise ValueError(f"it has {len(layers)} layers and a depth of {depth}")
    return whole(width), layers


def _doubled(ratio: object) -> int:
    return whole(_HALVES * ratio if isinstance(ratio, float) else _HALVES * whole(ratio))
