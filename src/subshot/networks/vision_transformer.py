"""The transformer for images that AutoFormer and ViT-Bench-101 choose sizes for.

Chen, Peng, Fu, Ling: AutoFormer: Searching Transformers for Visual Recognition (arXiv 2107.00651). Wei, Li, Dong et al:
Auto-Prox (arXiv 2312.09059), which published ViT-Bench-101. Both normalise before each part of a layer, keep a class
token, and yet classify the mean of the other tokens. They differ in the attention: AutoFormer's heads are 64 wide
whatever the width of the network, and know the distance between tokens.

Without dropout and stochastic depth. Learned tables are drawn as published, other weights by torch's default.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Standard deviation of learned tables, in both publications.
_DEVIATION = 0.02


class Table(nn.Module):
    """Learned vectors; a module of its own, so that they can be drawn anew like the weights of other layers.

    Args:
        rows: How many.
        width: Numbers in each.
    """

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw from a normal distribution of deviation 0.02."""
        nn.init.trunc_normal_(self.weight, std=_DEVIATION)

    def forward(self) -> Tensor:
        """All vectors, (rows, width)."""
        return self.weight


class PatchTokens(nn.Module):
    """Cut an image into patches, map each to a token, put the class token before them and add positions.

    Args:
        image_channels: Channels of the image.
        width: Width of a token.
        grid: Rows and columns of patches.
        patch: Height and width of a patch.
        stride: From one patch to the next.
        class_position: Whether the class token has a position too.
    """

    def __init__(
        self, image_channels: int, width: int, *, grid: tuple[int, int], patch: int, stride: int, class_position: bool
    ) -> None:
        super().__init__()
        self.projection = nn.Conv2d(image_channels, width, patch, stride=stride)
        self.class_token = Table(1, width)
        self.positions = Table(grid[0] * grid[1] + int(class_position), width)
        self.class_position = class_position

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, image_channels, H, W) to (B, 1 + patches, width)."""
        patches = self.projection(images).flatten(2).mT
        first = self.class_token().expand(len(images), 1, -1)
        positions: Tensor = self.positions()
        if self.class_position:
            return torch.cat([first, patches], dim=1) + positions
        return torch.cat([first, patches + positions], dim=1)


class RelativePositions(nn.Module):
    """A vector for each pair of tokens: that of their vertical plus that of their horizontal distance.

    Args:
        width: Width of the vectors, that of a head.
        index: Rows of the two tables, (2, N, N); see :func:`distances`.
        reach: Longest distance that is told from longer ones.
    """

    index: Tensor

    def __init__(self, width: int, index: Tensor, *, reach: int) -> None:
        super().__init__()
        self.vertical = Table(2 * reach + 2, width)
        self.horizontal = Table(2 * reach + 2, width)
        self.register_buffer("index", index, persistent=False)

    def forward(self) -> Tensor:
        """The vectors, (N, N, width)."""
        vertical, horizontal = self.index
        return F.embedding(vertical, self.vertical()) + F.embedding(horizontal, self.horizontal())


class Attention(nn.Module):
    """Self-attention with biases.

    Args:
        width: Width of the tokens.
        heads: Number of heads.
        head_width: Width of queries, keys and values of one head.
        distances: Rows of the tables of relative positions, (2, N, N); ``None`` for attention without.
        reach: Longest distance in them.
    """

    def __init__(self, width: int, *, heads: int, head_width: int, distances: Tensor | None = None, reach: int = 0):
        super().__init__()
        self.heads = heads
        self.scale = head_width**-0.5
        self.qkv = nn.Linear(width, 3 * heads * head_width)
        self.projection = nn.Linear(heads * head_width, width)
        self.far_keys = self.far_values = None
        if distances is not None:
            self.far_keys = RelativePositions(head_width, distances, reach=reach)
            self.far_values = RelativePositions(head_width, distances, reach=reach)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, width) to the same shape."""
        # (3, B, heads, N, head width)
        query, key, value = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = query @ key.mT
        if self.far_keys is not None:
            scores = scores + torch.einsum("bhnd,nmd->bhnm", query, self.far_keys())
        weights = (scores * self.scale).softmax(dim=-1)
        mixed = weights @ value
        if self.far_values is not None:
            mixed = mixed + torch.einsum("bhnm,nmd->bhnd", weights, self.far_values())
        output: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))
        return output


class EncoderLayer(nn.Module):
    """Attention and two linear layers, each on normalised tokens and added to what came in.

    Args:
        width: Width of the tokens.
        attention: Maps (B, N, width) to the same shape.
        inner: Width between the two linear layers.
        epsilon: Added to variances by the norms.
    """

    def __init__(self, width: int, attention: nn.Module, *, inner: int, epsilon: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.attention = attention
        self.feed_forward_norm = nn.LayerNorm(width, eps=epsilon)
        self.feed_forward = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, width) to the same shape."""
        x = x + self.attention(self.attention_norm(x))
        y: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return y


class VisionTransformer(nn.Module):
    """Patches, layers of one width, mean over patches, classifier.

    Args:
        layers: Heads, width of a head, and width between the linear layers, for each layer.
        width: Width of the tokens.
        grid: Rows and columns of patches.
        patch: Height and width of a patch.
        epsilon: Added to variances by the norms.
        reach: Longest distance that attention tells from longer ones; ``None`` for attention without distances.
        image_channels: Channels of the input.
        classes: Width of the classifier.
    """

    def __init__(
        self,
        layers: Sequence[tuple[int, int, int]],
        *,
        width: int,
        grid: tuple[int, int],
        patch: int,
        epsilon: float,
        reach: int | None,
        image_channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.patches = PatchTokens(image_channels, width, grid=grid, patch=patch, stride=patch, class_position=True)
        index = None if reach is None else distances(grid, reach)
        self.layers = nn.Sequential()
        for heads, head_width, inner in layers:
            attention = Attention(width, heads=heads, head_width=head_width, distances=index, reach=reach or 0)
            self.layers.append(EncoderLayer(width, attention, inner=inner, epsilon=epsilon))
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.classifier = nn.Linear(width, classes)

    def feature_blocks(self) -> list[nn.Module]:
        """Patches and layers in the order in which they run, for proxies that look at blocks."""
        return [self.patches, *self.layers]

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, image_channels, H, W) to logits (B, classes)."""
        tokens = self.norm(self.layers(self.patches(images)))
        logits: Tensor = self.classifier(tokens[:, 1:].mean(dim=1))
        return logits


def distances(grid: tuple[int, int], reach: int) -> Tensor:
    """Rows in the tables of vertical and horizontal distances for each pair of tokens, (2, N, N), whole numbers.

    Row 0 is for pairs with the class token, row 1 + reach for distance 0.

    Args:
        grid: Rows and columns of patches.
        reach: Distances beyond count as this one.
    """
    places = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1])).T  # (2, patches)
    between = (places[:, None, :] - places[:, :, None]).clamp(-reach, reach) + reach + 1
    return F.pad(between, (1, 0, 1, 0))
