"""The transformer for text of the FlexiBERT space in the form of NAS-Bench-BERT.

Tuli, Dedhia, Tuli, Jha: FlexiBERT (arXiv 2205.11656); Serianni, Kalita: Training-free Neural Architecture Search for
RNNs and Transformers (arXiv 2306.00288), whose encoder this is: ELECTRA-Small's embeddings, then layers that mix tokens
in one of six ways and normalise after each part. Tokens are never masked, and all are of the first segment. Without
dropout; weights are drawn by torch's default.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EMBEDDING = 128
POSITIONS = 512
SEGMENTS = 2

_EPSILON = 1e-12


class Embeddings(nn.Module):
    """Word, position and segment of each token, added, normalised and brought to the network's width.

    Args:
        vocabulary: Number of words.
        width: The network's width; there is a projection where it isn't the embeddings' own.
        length: Tokens of a text.
    """

    place: Tensor
    segment: Tensor

    def __init__(self, vocabulary: int, width: int, *, length: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, EMBEDDING)
        self.positions = nn.Embedding(POSITIONS, EMBEDDING)
        self.segments = nn.Embedding(SEGMENTS, EMBEDDING)
        self.norm = nn.LayerNorm(EMBEDDING, eps=_EPSILON)
        self.projection = nn.Linear(EMBEDDING, width) if width != EMBEDDING else nn.Identity()
        self.register_buffer("place", torch.arange(length), persistent=False)
        self.register_buffer("segment", torch.zeros(length, dtype=torch.long), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map whole numbers (B, N) to (B, N, width)."""
        embedded = self.words(tokens) + self.positions(self.place) + self.segments(self.segment)
        output: Tensor = self.projection(self.norm(embedded))
        return output


class SelfAttention(nn.Module):
    """Attention of all tokens to all tokens.

    Args:
        width: Width of the tokens.
        heads: Number of heads.
        weighted: Whether queries pass through one more matrix, without bias.
    """

    def __init__(self, width: int, *, heads: int, weighted: bool) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.weight = nn.Linear(width, width, bias=False) if weighted else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, width) to the same shape."""
        return _attend(self.weight(self.query(x)), self.key(x), self.value(x), self.heads)


class SpanConvolution(nn.Module):
    """Half of the width by attention, half by a convolution whose kernel each token has for itself (ConvBERT).

    Args:
        width: Width of the tokens.
        heads: Number of heads; half of them attend, each has a kernel.
        kernel: Tokens that the convolution sees, an odd number.
    """

    def __init__(self, width: int, *, heads: int, kernel: int) -> None:
        super().__init__()
        self.heads, self.kernel = heads // 2, kernel
        half = width // heads * self.heads
        self.query = nn.Linear(width, half)
        self.key = nn.Linear(width, half)
        self.value = nn.Linear(width, half)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        self.pointwise = nn.Linear(width, half)
        self.kernels = nn.Linear(half, self.heads * kernel)
        self.convolved = nn.Linear(width, half)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, width) to the same shape."""
        query = self.query(x)
        attended = _attend(query, self.key(x), self.value(x), self.heads)
        spans = self.pointwise(self.depthwise(x.mT).mT)
        kernels = self.kernels(spans * query).reshape(*x.shape[:2], self.heads, self.kernel, 1).softmax(dim=3)
        reach = self.kernel // 2
        windows = F.pad(self.convolved(x), (0, 0, reach, reach)).unfold(1, self.kernel, 1)  # (B, N, half, kernel)
        convolved = windows.reshape(*x.shape[:2], self.heads, -1, self.kernel) @ kernels
        return torch.cat([attended, convolved.flatten(2)], dim=-1)


class SpectralMixing(nn.Module):
    """A linear layer, then a two-dimensional transform over the tokens and the width of each head.

    Args:
        width: Width of the tokens.
        heads: Number of heads.
        cosine: Whether the transform is the cosine transform (type II, unscaled), else the real part of Fourier's.
    """

    def __init__(self, width: int, *, heads: int, cosine: bool) -> None:
        super().__init__()
        self.heads, self.cosine = heads, cosine
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, width) to the same shape."""
        split = _split(self.linear(x), self.heads)
        mixed = _dct(_dct(split).mT).mT if self.cosine else torch.fft.fft2(split).real
        return mixed.transpose(1, 2).flatten(2)


class AddAndNorm(nn.Module):
    """What a module makes of the tokens through a linear layer, added to them and normalised.

    Args:
        width: Width of the tokens.
        inner: Maps (B, N, width) to (B, N, inner_width).
        inner_width: What the linear layer gets.
    """

    def __init__(self, width: int, inner: nn.Module, *, inner_width: int) -> None:
        super().__init__()
        self.inner = inner
        self.output = nn.Linear(inner_width, width)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, width) to the same shape."""
        y: Tensor = self.norm(x + self.output(self.inner(x)))
        return y


class Encoder(nn.Module):
    """Embeddings and layers.

    Args:
        layers: Kind (``SDP``, ``WMA``, ``DFT``, ``DCT``, or the kernel of a span convolution), heads, width of the
            feed-forward network and number of its hidden layers, for each layer.
        width: Width of the tokens.
        vocabulary: Number of words.
        length: Tokens of a text.
    """

    def __init__(
        self, layers: Sequence[tuple[str | int, int, int, int]], *, width: int, vocabulary: int, length: int
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, width, length=length)
        self.layers = nn.Sequential(*(_layer(width, *layer) for layer in layers))

    def feature_blocks(self) -> list[nn.Module]:
        """Embeddings and layers in the order in which they run, for proxies that look at blocks."""
        return [self.embeddings, *self.layers]

    def forward(self, tokens: Tensor) -> Tensor:
        """Map whole numbers (B, N) to (B, N, width)."""
        output: Tensor = self.layers(self.embeddings(tokens))
        return output


class TextClassifier(nn.Module):
    """An encoder, and ELECTRA's classification head on its first token.

    Args:
        encoder: Maps (B, N) to (B, N, width).
        width: Width of the tokens.
        classes: Width of the classifier.
    """

    def __init__(self, encoder: Encoder, *, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, classes))

    def feature_blocks(self) -> list[nn.Module]:
        """The encoder's."""
        return self.encoder.feature_blocks()

    def forward(self, tokens: Tensor) -> Tensor:
        """Map whole numbers (B, N) to logits (B, classes)."""
        logits: Tensor = self.head(self.encoder(tokens)[:, 0])
        return logits


def _layer(width: int, kind: str | int, heads: int, inner: int, depth: int) -> nn.Module:
    mixing: nn.Module
    if isinstance(kind, int):
        mixing = AddAndNorm(width, SpanConvolution(width, heads=heads, kernel=kind), inner_width=width)
    elif kind in ("DFT", "DCT"):
        mixing = SpectralMixing(width, heads=heads, cosine=kind == "DCT")  # nothing is added, as in the authors' code
    else:
        mixing = AddAndNorm(width, SelfAttention(width, heads=heads, weighted=kind == "WMA"), inner_width=width)
    hidden: list[nn.Module] = []
    for c_in in (width, *[inner] * (depth - 1)):
        hidden += [nn.Linear(c_in, inner), nn.GELU()]
    return nn.Sequential(mixing, AddAndNorm(width, nn.Sequential(*hidden), inner_width=inner))


def _split(x: Tensor, heads: int) -> Tensor:
    """View (B, N, width) as (B, heads, N, head width)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Scaled dot-product attention, (B, N, width) each."""
    q, k, v = (_split(one, heads) for one in (query, key, value))
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def _dct(x: Tensor) -> Tensor:
    """Cosine transform of type II over the last axis, unscaled: 2 sum_n x_n cos(pi k (2n + 1) / 2N).

    It is the first half of a Fourier transform of the sequence with its mirror image, turned by a phase.
    """
    n = x.shape[-1]
    mirrored: Tensor = torch.fft.rfft(torch.cat([x, x.flip(-1)], dim=-1))[..., :n]
    angle = torch.arange(n, dtype=x.dtype, device=x.device) * (math.pi / (2 * n))
    turned: Tensor = mirrored.real * angle.cos() + mirrored.imag * angle.sin()
    return turned
