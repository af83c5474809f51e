"""The pooling transformer for images that ViT-Bench-101 chooses sizes for.

Heo, Yun, Han, Chun, Choe, Oh: Rethinking Spatial Dimensions of Vision Transformers (arXiv 2103.16302), in the form of
Auto-Prox (arXiv 2312.09059): patches overlap, and from stage to stage the map of tokens shrinks while it gets wider.
The class token is classified. Without dropout, stochastic depth and the second token that distillation adds. Learned
tables are drawn as published, other weights by torch's default.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from subshot.networks.vision_transformer import Attention, EncoderLayer, PatchTokens


class TokenPooling(nn.Module):
    """Halve the map of tokens by a strided convolution in which channels don't mix; the class token by a linear layer.

    Args:
        c_in: Width of the tokens.
        c_out: Width after, a multiple of ``c_in``.
        grid: Rows and columns of the map.
    """

    def __init__(self, c_in: int, c_out: int, *, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.conv = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, groups=c_in)
        self.linear = nn.Linear(c_in, c_out)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, 1 + rows * columns, c_in) to (B, 1 + ceil(rows / 2) * ceil(columns / 2), c_out)."""
        first = self.linear(tokens[:, :1])
        maps = tokens[:, 1:].mT.reshape(len(tokens), -1, *self.grid)
        return torch.cat([first, self.conv(maps).flatten(2).mT], dim=1)


class PoolingTransformer(nn.Module):
    """Patches, stages of layers with a pooling between them, the class token's classifier.

    Args:
        stages: Heads and number of layers of each stage.
        head_width: Width of one head; a stage is as wide as its heads together.
        ratio: Width between the two linear layers of a layer, in multiples of the stage's.
        grid: Rows and columns of patches.
        patch: Height and width of a patch.
        stride: From one patch to the next.
        epsilon: Added to variances by the norms.
        image_channels: Channels of the input.
        classes: Width of the classifier.
    """

    def __init__(
        self,
        stages: Sequence[tuple[int, int]],
        *,
        head_width: int,
        ratio: int,
        grid: tuple[int, int],
        patch: int,
        stride: int,
        epsilon: float,
        image_channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        width = head_width * stages[0][0]
        self.patches = PatchTokens(image_channels, width, grid=grid, patch=patch, stride=stride, class_position=False)
        self.blocks = nn.Sequential()
        for number, (heads, depth) in enumerate(stages):
            c_in, width = width, head_width * heads
            if number:
                self.blocks.append(TokenPooling(c_in, width, grid=grid))
                grid = ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
            for _ in range(depth):
                attention = Attention(width, heads=heads, head_width=head_width)
                self.blocks.append(EncoderLayer(width, attention, inner=ratio * width, epsilon=epsilon))
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.classifier = nn.Linear(width, classes)

    def feature_blocks(self) -> list[nn.Module]:
        """Patches, layers and poolings in the order in which they run, for proxies that look at blocks."""
        return [self.patches, *self.blocks]

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, image_channels, H, W) to logits (B, classes)."""
        tokens: Tensor = self.blocks(self.patches(images))
        logits: Tensor = self.classifier(self.norm(tokens[:, 0]))
        return logits
