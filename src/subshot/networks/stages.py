"""A small vocabulary of stages: what ready-made spaces are built from, and a build function of one's own may be.

A stage is a ``torch.nn.Sequential`` of blocks that maps (B, c_in, H, W) to (B, c_out, H / stride, W / stride); a ViT
stage maps tokens (B, N, dim) to the same shape.

=================== ================================================================ ==========================
stage               block                                                            paper
=================== ================================================================ ==========================
``mbconv_stage``    widen, depthwise convolution, squeeze-and-excitation, narrow     MobileNetV2, V3
``resnet_stage``    two 3x3 convolutions, or 1x1, 3x3, 1x1 with a quarter inside     ResNet
``convnext_stage``  depthwise convolution, layer norm, widen, GELU, narrow           ConvNeXt
``vit_stage``       layer norm, self-attention; layer norm, two linear layers        ViT
=================== ================================================================ ==========================
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from subshot.errors import OptionError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
}


def activation(name: str) -> nn.Module:
    """An activation by name.

    Raises:
        OptionError: There is none of that name.
    """
    if name not in ACTIVATIONS:
        raise OptionError(f"There is no activation {name!r}.", f"Use one of {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]()


def conv_norm(c_in: int, c_out: int, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias and batch norm; the map keeps its size at stride 1."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class SqueezeExcitation(nn.Module):
    """A gate for each channel, from the means of all.

    Args:
        channels: Of the map.
        squeezed: Width between the two layers.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.ReLU()
        self.excite = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, channels, H, W)."""
        means = x.mean(dim=(2, 3), keepdim=True)  # (B, channels, 1, 1)
        gate: Tensor = self.gate(self.excite(self.activation(self.squeeze(means))))
        return x * gate


class MBConv(nn.Module):
    """Inverted bottleneck (arXiv 1801.04381; squeeze-and-excitation as in 1905.02244): a shortcut where shapes allow.

    Args:
        c_in: Channels of the input.
        c_out: Channels of the output.
        kernel: Of the depthwise convolution.
        expansion: How many times wider the inside is than the input; 1 leaves the first layer out.
        stride: Of the depthwise convolution.
        squeeze: Whether a gate to a quarter of the input's channels stands behind it.
        act: Name of the activation.
    """

    def __init__(
        self, c_in: int, c_out: int, *, kernel: int, expansion: int, stride: int, squeeze: bool, act: str
    ) -> None:
        super().__init__()
        inner = expansion * c_in
        layers: list[nn.Module] = [conv_norm(c_in, inner), activation(act)] if expansion > 1 else []
        layers += [conv_norm(inner, inner, kernel=kernel, stride=stride, groups=inner), activation(act)]
        if squeeze:
            layers.append(SqueezeExcitation(inner, max(1, c_in // 4)))
        self.branch = nn.Sequential(*layers, conv_norm(inner, c_out))
        self.has_shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.branch(x)
        return x + y if self.has_shortcut else y


class ResidualBlock(nn.Module):
    """The basic or the bottleneck block of ResNet (arXiv 1512.03385).

    Args:
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Of the first 3x3 convolution; the shortcut is a 1x1 convolution where shapes differ.
        bottleneck: Three layers with a quarter of the output's channels inside, in place of two.
        act: Name of the activation.
    """

    def __init__(self, c_in: int, c_out: int, *, stride: int, bottleneck: bool, act: str) -> None:
        super().__init__()
        inner = max(1, c_out // 4)
        self.branch = nn.Sequential(
            conv_norm(c_in, inner), activation(act),
            conv_norm(inner, inner, kernel=3, stride=stride), activation(act),
            conv_norm(inner, c_out),
        ) if bottleneck else nn.Sequential(
            conv_norm(c_in, c_out, kernel=3, stride=stride), activation(act), conv_norm(c_out, c_out, kernel=3)
        )  # fmt: skip
        same = stride == 1 and c_in == c_out
        self.shortcut: nn.Module = nn.Identity() if same else conv_norm(c_in, c_out, stride=stride)
        self.activation = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.activation(self.branch(x) + self.shortcut(x))
        return y


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel.

    Args:
        channels: Of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, channels, H, W)."""
        y: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """The block of ConvNeXt (arXiv 2201.03545), without the layer scale, which would silence it before training.

    Args:
        channels: Of input and output.
        kernel: Of the depthwise convolution.
        expansion: How many times wider the inside is.
    """

    def __init__(self, channels: int, *, kernel: int, expansion: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels),
            ChannelNorm(channels),
            nn.Conv2d(channels, expansion * channels, 1),
            nn.GELU(),
            nn.Conv2d(expansion * channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, channels, H, W)."""
        y: Tensor = self.branch(x)
        return x + y


class ViTBlock(nn.Module):
    """The pre-norm encoder block of ViT (arXiv 2010.11929).

    Args:
        dim: Width of a token, a multiple of ``heads``.
        heads: Attention heads.
        mlp_ratio: How many times wider the inside of the second half is.

    Raises:
        OptionError: The heads don't divide the width.
    """

    def __init__(self, dim: int, *, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        if dim % heads:
            raise OptionError(f"A width of {dim} and {heads} heads were given.", "The heads must divide the width.")
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.project = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, mlp_ratio * dim), nn.GELU(), nn.Linear(mlp_ratio * dim, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, N, dim)."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, tokens, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, dim / heads)
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.project(seen.transpose(1, 2).reshape(batch, tokens, dim))
        y: Tensor = self.mlp(x)
        return x + y


def mbconv_stage(
    c_in: int,
    c_out: int,
    *,
    depth: int,
    kernel: int = 3,
    expansion: int = 4,
    stride: int = 1,
    squeeze: bool = False,
    act: str = "relu",
) -> nn.Sequential:
    """``depth`` inverted bottlenecks, the first of which changes width and size; see :class:`MBConv`."""
    return nn.Sequential(
        *(
            MBConv(
                c_in if number == 0 else c_out,
                c_out,
                kernel=kernel,
                expansion=expansion,
                stride=stride if number == 0 else 1,
                squeeze=squeeze,
                act=act,
            )
            for number in range(depth)
        )
    )


def resnet_stage(
    c_in: int, c_out: int, *, depth: int, stride: int = 1, bottleneck: bool = False, act: str = "relu"
) -> nn.Sequential:
    """``depth`` residual blocks, the first of which changes width and size; see :class:`ResidualBlock`."""
    first = ResidualBlock(c_in, c_out, stride=stride, bottleneck=bottleneck, act=act)
    rest = (ResidualBlock(c_out, c_out, stride=1, bottleneck=bottleneck, act=act) for _ in range(depth - 1))
    return nn.Sequential(first, *rest)


def convnext_stage(
    c_in: int, c_out: int, *, depth: int, kernel: int = 7, expansion: int = 4, stride: int = 1
) -> nn.Sequential:
    """``depth`` ConvNeXt blocks behind a norm and a convolution that changes width and size.

    Size of that convolution is its stride, so at stride 1 it mixes channels only.
    """
    change = [ChannelNorm(c_in), nn.Conv2d(c_in, c_out, stride, stride=stride)]
    return nn.Sequential(*change, *(ConvNeXtBlock(c_out, kernel=kernel, expansion=expansion) for _ in range(depth)))


def vit_stage(dim: int, *, depth: int, heads: int, mlp_ratio: int = 4) -> nn.Sequential:
    """``depth`` encoder blocks; see :class:`ViTBlock`."""
    return nn.Sequential(*(ViTBlock(dim, heads=heads, mlp_ratio=mlp_ratio) for _ in range(depth)))


class PatchEmbedding(nn.Module):
    """Tokens of an image's patches, with a learned embedding of their places.

    Args:
        image_channels: Of the image.
        height: Of the image.
        width: Of the image.
        patch: Side of a patch; pixels beyond the last whole patch are left out.
        dim: Width of a token.

    Raises:
        OptionError: The image is smaller than a patch.
    """

    def __init__(self, image_channels: int, height: int, width: int, *, patch: int, dim: int) -> None:
        super().__init__()
        if min(height, width) < patch:
            raise OptionError(
                f"An image of {height} x {width} pixels and patches of {patch} were given.",
                "Use a space for smaller images, or larger images.",
            )
        self.project = nn.Conv2d(image_channels, dim, patch, stride=patch)
        self.places = nn.Parameter(torch.empty(1, (height // patch) * (width // patch), dim))
        nn.init.trunc_normal_(self.places, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, image_channels, H, W) to (B, N, dim)."""
        tokens: Tensor = self.project(images).flatten(2).transpose(1, 2)
        return tokens + self.places


class StagedNetwork(nn.Module):
    """A stem, stages, a last layer and a classifier of the mean over places.

    Args:
        stem: Maps images to maps or tokens.
        stages: One after the other.
        last: In front of the mean.
        features: Channels of the mean.
        classes: Width of the classifier.
        tokens: Whether places are the middle axis (tokens) and not the last two (maps).
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Sequential],
        last: nn.Module,
        *,
        features: int,
        classes: int,
        tokens: bool = False,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.last = last
        self.classifier = nn.Linear(features, classes)
        self._places = (1,) if tokens else (2, 3)

    def feature_blocks(self) -> list[nn.Module]:
        """Stem and blocks in the order in which they run, for proxies that look at blocks."""
        return [self.stem, *(block for stage in self.stages.children() for block in stage.children())]

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, image_channels, H, W) to logits (B, classes)."""
        features: Tensor = self.last(self.stages(self.stem(images)))
        logits: Tensor = self.classifier(features.mean(dim=self._places))
        return logits
