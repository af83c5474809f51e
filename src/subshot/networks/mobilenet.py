"""Blocks of mobile networks, and the network of the MobileNetV2 space of Zen-NAS, ZiCo and AZ-NAS.

Lin, Wang, Sun, Chen, Sun, Qian, Li, Jin: Zen-NAS (arXiv 2102.01063). Parameter counts equal those that the authors'
code has for its published structures.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from subshot.networks.nasbench_macro import conv_norm

# The authors put it on every batch norm.
_EPSILON = 1e-3


class Gate(nn.Module):
    """Squeeze and excite: scale every channel by a number between 0 and 1 that the means of all channels decide.

    Args:
        layers: From channel means (B, C, 1, 1) to what goes into the sigmoid.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x * torch.sigmoid(self.layers(x.mean(dim=(2, 3), keepdim=True)))


def bottleneck(
    c_in: int,
    inner: int,
    c_out: int,
    *,
    kernel: int,
    stride: int,
    activation: type[nn.Module],
    gate: nn.Module | None = None,
    widens: bool = True,
) -> nn.Sequential:
    """An inverted bottleneck without its shortcut: widen, filter each channel, weigh channels, narrow.

    Args:
        c_in: Channels of the input.
        inner: Channels of the depthwise convolution.
        c_out: Channels of the output.
        kernel: Size of the depthwise convolution.
        stride: Of the depthwise convolution.
        activation: After the first two convolutions.
        gate: What weighs the filtered channels, if anything does.
        widens: Whether there is a first 1x1 convolution; without it ``inner`` is ``c_in``.
    """
    widen = [*conv_norm(c_in, inner), activation()] if widens else []
    depthwise = conv_norm(inner, inner, kernel=kernel, stride=stride, groups=inner)
    weigh = [] if gate is None else [gate]
    return nn.Sequential(*widen, *depthwise, activation(), *weigh, *conv_norm(inner, c_out))


class ResidualBottleneck(nn.Module):
    """A bottleneck with ReLU, a ReLU after the addition too, and a shortcut that has a convolution or is plain.

    Args:
        c_in: Channels of the input.
        inner: Channels of the depthwise convolution.
        c_out: Channels of the output.
        kernel: Size of the depthwise convolution.
        stride: Of the depthwise convolution.
        shortcut: ``none``, ``identity`` or ``projection``: a 1x1 convolution, which unlike others has a bias.
        gated: Whether the channels are weighed, by two 1x1 convolutions with batch norm.
    """

    def __init__(
        self, c_in: int, inner: int, c_out: int, *, kernel: int, stride: int, shortcut: str, gated: bool
    ) -> None:
        super().__init__()
        squeezed = max(1, round(inner / 4))
        gate = Gate(*conv_norm(inner, squeezed), nn.ReLU(), *conv_norm(squeezed, inner)) if gated else None
        self.branch = bottleneck(c_in, inner, c_out, kernel=kernel, stride=stride, activation=nn.ReLU, gate=gate)
        self.shortcut: nn.Module | None = None
        if shortcut == "identity":
            self.shortcut = nn.Identity()
        elif shortcut == "projection":
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride=stride), nn.BatchNorm2d(c_out))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.branch(x)
        out: Tensor = self.relu(y if self.shortcut is None else y + self.shortcut(x))
        return out


class MobileNetV2Network(nn.Module):
    """Stem that halves the map, residual bottlenecks, a wide 1x1 convolution, classifier.

    Args:
        blocks: ``(c_in, inner, c_out, kernel, stride, shortcut)`` of each bottleneck; see
            :class:`ResidualBottleneck`.
        features: Width of the last convolution.
        gated: Whether bottlenecks have squeeze and excite.
        image_channels: Channels of the input.
        classes: Width of the classifier.
    """

    def __init__(
        self,
        blocks: Sequence[tuple[int, int, int, int, int, str]],
        *,
        features: int,
        gated: bool,
        image_channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(image_channels, blocks[0][0], kernel=3, stride=2), nn.ReLU())
        self.blocks = nn.Sequential(
            *(
                ResidualBottleneck(c_in, inner, c_out, kernel=kernel, stride=stride, shortcut=shortcut, gated=gated)
                for c_in, inner, c_out, kernel, stride, shortcut in blocks
            )
        )
        self.features = nn.Sequential(*conv_norm(blocks[-1][2], features), nn.ReLU())
        self.classifier = nn.Linear(features, classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = _EPSILON

    def feature_blocks(self) -> list[nn.Module]:
        """Stem, bottlenecks and the last convolution in the order in which they run, as AZ-NAS looks at them."""
        return [self.stem, *self.blocks, self.features]

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W) to logits (B, classes)."""
        maps: Tensor = self.features(self.blocks(self.stem(images)))
        logits: Tensor = self.classifier(maps.mean(dim=(2, 3)))
        return logits
