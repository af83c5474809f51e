"""FlexiBERT in the form of NAS-Bench-BERT: text encoders of two or four layers (arXiv 2205.11656, arXiv 2306.00288).

Each layer mixes tokens in one of six ways and has a feed-forward network of its own width and depth::

    tokens -> embeddings of 128 -> hidden size -> [mixing, feed-forward] x 2 or 4 -> first token -> classes

    SA  attention: SDP scaled dot product, WMA with one more matrix for the queries
    LT  a transform over tokens and width without a residual: DFT Fourier's, DCT cosine
    DSC half attention, half a convolution over 5 or 9 tokens with a kernel for each token
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from subshot._types import Arch, InputSpec, TaskSpec
from subshot.errors import ArchError, OptionError
from subshot.spaces._json_text import PROBLEMS, listed, members, read_json, refusal, whole, write_json
from subshot.spaces._space import SPACES, Size, resolve_variant

if TYPE_CHECKING:
    from torch import nn

WIDTHS = (128, 256)
DEPTHS = (2, 4)
# A layer's gene is a position in each of these.
MIXINGS: tuple[tuple[str, str | int], ...] = (
    ("SA", "SDP"), ("SA", "WMA"), ("LT", "DFT"), ("LT", "DCT"), ("DSC", 5), ("DSC", 9)
)  # fmt: skip
HEADS = (2, 4)
INNER_WIDTHS = (512, 1024)
INNER_DEPTHS = (1, 3)
_LAYER: tuple[tuple[Any, ...], ...] = (MIXINGS, HEADS, INNER_WIDTHS, INNER_DEPTHS)

_NAME = "flexibert"
_VOCABULARY = 30_522
_EMBEDDING, _POSITIONS, _SEGMENTS = 128, 512, 2
_TASK = TaskSpec((InputSpec("tokens", (128,), "int64", _VOCABULARY),), 2)
_TOKENS = ("int64", "int32")
_KEYS = ("hidden_size", "nas_config")
_LAYER_KEYS = (
    "operation_type", "operation_parameter", "num_operation_heads", "feed_forward_dimension", "num_feed_forward"
)  # fmt: skip
_FORM = (
    'Write {"hidden_size": 128 or 256, "nas_config": {"encoder_layers": [two or four of {"operation_type": "SA", '
    '"operation_parameter": "SDP", "num_operation_heads": 2, "feed_forward_dimension": 512, "num_feed_forward": 1}]}}, '
    "with SA SDP or WMA, LT DFT or DCT, DSC 5 or 9; heads 2 or 4; 512 or 1024; 1 or 3. nas_config may stand alone."
)

# What the authors' scorer builds whatever an architecture says.
_SCORED_WIDTH, _SCORED_INNER_WIDTH = 256, 1024


@dataclass(frozen=True)
class FlexiBert:
    """The space of NAS-Bench-BERT.

    ``Arch.genes`` is ``(hidden size, layers)``; a layer is a position in :data:`MIXINGS`, :data:`HEADS`,
    :data:`INNER_WIDTHS` and :data:`INNER_DEPTHS`. The canonical text is what stands in the benchmark's file for each
    network, without blanks: ``{"hidden_size":256,"nas_config":{"encoder_layers":[{"operation_type":"SA",
    "operation_parameter":"SDP","num_operation_heads":2,"feed_forward_dimension":512,"num_feed_forward":1}, ...]}}``.
    The ``nas_config`` alone is read too: it doesn't say the hidden size, which is then that of the space.

    Size: 48 layers, so (48^2 + 48^4) * 2 = 10,621,440.

    Variants:

    - ``official``: the authors' encoder with the hidden size and feed-forward widths that an architecture says, and
      ELECTRA's classification head.
    - ``as_published``: what the authors' scorer built: the encoder alone, always 256 wide and 1,024 inside. The
      published ``number_of_parameters`` and metrics are of these, not of the networks that were trained.

    Both follow the authors' scorer in that transforms add nothing to their input. Their training code is another and
    reads as if every mixing ended in a linear layer, a residual and a norm, as if the first feed-forward layer were
    always four times the hidden size wide, and as if all mixings fell back to attention.

    Attributes:
        hidden_size: Of texts that don't say theirs.

    Raises:
        OptionError: ``hidden_size`` is not 128 or 256.
    """

    hidden_size: int = 256

    def __post_init__(self) -> None:
        if isinstance(self.hidden_size, bool) or self.hidden_size not in WIDTHS:
            raise OptionError(f"space {_NAME} was given hidden_size={self.hidden_size!r}.", "It is 128 or 256.")

    @property
    def name(self) -> str:
        """``"flexibert"``."""
        return _NAME

    @property
    def size(self) -> int:
        """10,621,440."""
        layers = math.prod(map(len, _LAYER))
        sizes: int = len(WIDTHS) * sum(layers**depth for depth in DEPTHS)
        return sizes

    @property
    def variants(self) -> tuple[str, ...]:
        """``official`` and ``as_published``, which ignores what the published scorer ignored."""
        return ("official", "as_published")

    @property
    def scoring_variant(self) -> str:
        """``"official"``."""
        return "official"

    @property
    def task(self) -> TaskSpec:
        """Two classes of texts of 128 tokens, the length of pre-training and fine-tuning, 30,522 words."""
        return _TASK

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw hidden size, number of layers, and every field of every layer uniformly, as the authors did."""
        depth = int(rng.choice(DEPTHS))
        return _arch(int(rng.choice(WIDTHS)), [_draw_layer(rng) for _ in range(depth)])

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Change the hidden size, cut or add two layers at the end, or draw a field of a layer anew; the last half.

        Raises:
            ArchError: Not an architecture of this space.
        """
        width, layers = _genes(arch)
        kind = int(rng.integers(4))
        if kind == 0:
            return _arch(sum(WIDTHS) - width, layers)
        if kind == 1:
            more = [_draw_layer(rng) for _ in range(DEPTHS[1] - len(layers))]
            return _arch(width, [*layers, *more] if more else layers[: DEPTHS[0]])
        place, field = int(rng.integers(len(layers))), int(rng.integers(len(_LAYER)))
        layer = list(layers[place])
        layer[field] = (layer[field] + 1 + int(rng.integers(len(_LAYER[field]) - 1))) % len(_LAYER[field])
        return _arch(width, [*layers[:place], tuple(layer), *layers[place + 1 :]])

    def parse(self, text: str) -> Arch:
        """Read the benchmark's JSON, with or without the hidden size.

        Raises:
            ArchError: The text is anything else, or no architecture of this space.
        """
        try:
            given = read_json(text)
            if isinstance(given, dict) and len(given) == len(_KEYS):
                width, given = members(given, _KEYS)
            else:
                width = self.hidden_size
            (layers,) = members(given, ("encoder_layers",))
            arch = _arch(whole(width), listed(layers, _read_layer))
            _check(arch.genes)
        except PROBLEMS as problem:
            raise refusal(_NAME, text, problem, _FORM) from None
        return arch

    def format(self, arch: Arch) -> str:
        """The benchmark's JSON with the hidden size.

        Raises:
            ArchError: Not an architecture of this space.
        """
        width, layers = _genes(arch)
        written = []
        for layer in layers:
            (kind, parameter), *rest = (choices[gene] for choices, gene in zip(_LAYER, layer, strict=True))
            written.append(dict(zip(_LAYER_KEYS, (kind, parameter, *rest), strict=True)))
        return write_json(_KEYS, (width, {"encoder_layers": written}))

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the network, with torch's default initialisation in place of the authors' deviation of 0.02.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no text, or too long.
        """
        from subshot.networks.bert import Encoder, TextClassifier

        task = task or _TASK
        length, vocabulary = _text(task)
        width, layers, headed = _layout(arch, resolve_variant(self, variant))
        kinds = [(kind, heads, inner, depth) for (_, kind), heads, inner, depth in layers]
        encoder = Encoder(kinds, width=width, vocabulary=vocabulary, length=length)
        return TextClassifier(encoder, width=width, classes=task.outputs) if headed else encoder

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Count parameters and MACs by arithmetic; the products of attention are MACs, transforms are none.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no text, or too long.
        """
        task = task or _TASK
        length, vocabulary = _text(task)
        width, layers, headed = _layout(arch, resolve_variant(self, variant))
        parameters = (vocabulary + _POSITIONS + _SEGMENTS + 2) * _EMBEDDING
        macs = 0
        if width != _EMBEDDING:
            parameters += (_EMBEDDING + 1) * width
            macs += length * _EMBEDDING * width
        for (kind, parameter), heads, inner, depth in layers:
            weights, others, products = _mixing(width, heads, kind, parameter, length)
            weights += 2 * width * inner + (depth - 1) * inner**2
            parameters += weights + others + depth * inner + 3 * width
            macs += weights * length + products
        if headed:
            head = width**2 + width * task.outputs
            parameters += head + width + task.outputs
            macs += head
        return Size(parameters, macs)


SPACES.register(_NAME, FlexiBert)


def _mixing(width: int, heads: int, kind: str, parameter: str | int, length: int) -> tuple[int, int, int]:
    """Weights that every token meets once, other parameters, and products of tokens, of a layer's mixing."""
    if kind == "LT":
        return width**2, width, 0
    norm_and_bias = 3 * width
    if isinstance(parameter, str):
        squares = 5 if parameter == "WMA" else 4
        return squares * width**2, 3 * width + norm_and_bias, 2 * length**2 * width
    half, kernels = width // 2, heads // 2 * parameter
    weights = 5 * width * half + parameter * width + half * kernels + width**2
    return weights, 5 * half + kernels + norm_and_bias, 2 * length**2 * half + length * half * parameter


def _layout(arch: Arch, variant: str) -> tuple[int, list[tuple[tuple[str, str | int], int, int, int]], bool]:
    """Width, the layers' choices, and whether there is a head."""
    width, layers = _genes(arch)
    chosen = [tuple(choices[gene] for choices, gene in zip(_LAYER, layer, strict=True)) for layer in layers]
    if variant == "official":
        return width, [(mixing, heads, inner, depth) for mixing, heads, inner, depth in chosen], True
    return _SCORED_WIDTH, [(mixing, heads, _SCORED_INNER_WIDTH, depth) for mixing, heads, _, depth in chosen], False


def _text(task: TaskSpec) -> tuple[int, int]:
    """Length and vocabulary of a task with one input of tokens."""
    spec = task.inputs[0]
    if len(task.inputs) != 1 or len(spec.shape) != 1 or spec.dtype not in _TOKENS:
        shapes = ", ".join(f"{one.name} {one.shape} of {one.dtype}" for one in task.inputs)
        raise OptionError(f"The task has the inputs {shapes}.", "This space takes one input of tokens (N,) of int64.")
    (length,) = spec.shape
    if not 1 <= length <= _POSITIONS:
        raise OptionError(f"The task has texts of {length} tokens.", f"This space takes 1 to {_POSITIONS}.")
    return length, spec.vocabulary or _VOCABULARY


def _arch(width: int, layers: Sequence[Sequence[int]]) -> Arch:
    return Arch(_NAME, (width, tuple(map(tuple, layers))))


def _draw_layer(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(rng.integers(len(choices))) for choices in _LAYER)


def _read_layer(given: object) -> tuple[int, ...]:
    kind, parameter, *rest = members(given, _LAYER_KEYS)
    values = ((kind, parameter if isinstance(parameter, str) else whole(parameter)), *map(whole, rest))
    for value, choices in zip(values, _LAYER, strict=True):
        if value not in choices:
            raise ValueError(f"{value} in a layer is none of {', '.join(map(str, choices))}")
    return tuple(choices.index(value) for value, choices in zip(values, _LAYER, strict=True))


def _check(genes: tuple[Any, ...]) -> None:
    """Raise ValueError or TypeError that says what is wrong with genes."""
    width, layers = genes
    if width not in WIDTHS:
        raise ValueError(f"its hidden size is {width}")
    if len(layers) not in DEPTHS:
        raise ValueError(f"it has {len(layers)} layers")
    for layer in layers:
        if len(layer) != len(_LAYER) or any(gene not in range(len(c)) for gene, c in zip(layer, _LAYER, strict=True)):
            raise ValueError(f"{layer} is no layer")


def _genes(arch: Arch) -> tuple[int, tuple[tuple[int, ...], ...]]:
    try:
        if arch.space != _NAME:
            raise ValueError(f"it is one of {arch.space}")
        _check(arch.genes)
    except (ValueError, TypeError) as problem:
        raise ArchError(f"{arch!s:.200} is no {_NAME} architecture: {problem}.", _FORM) from None
    width, layers = arch.genes
    return width, layers
