"""The network of Accel-NASBench: a stem, seven blocks of mobile bottlenecks, a head.

Ahmad, Du, Xie, Zhang: Accel-NASBench (arXiv 2404.08005). The space is that of MnasNet (arXiv 1807.11626) with the
widths of EfficientNet-B0 (arXiv 1905.11946), which is one of its architectures. Parameter counts equal the published
ones. How the benchmark defined its networks isn't public, so SiLU is taken from EfficientNet; batch norm has torch's
own settings, and dropout and stochastic depth, which belong to training, are left out.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from subshot.networks.mobilenet import Gate, bottleneck
from subshot.networks.nasbench_macro import conv_norm


class MobileBottleneck(nn.Module):
    """An inverted bottleneck with SiLU, and a plain shortcut where stride and width allow it.

    Args:
        c_in: Channels of the input.
        c_out: Channels of the output.
        expansion: How many times wider the inside is than the input; at 1 there is no convolution that widens.
        kernel: Size of the depthwise convolution.
        stride: Of the depthwise convolution.
        squeezed: Channels inside squeeze and excite; 0 for a bottleneck without it.
    """

    def __init__(self, c_in: int, c_out: int, *, expansion: int, kernel: int, stride: int, squeezed: int) -> None:
        super().__init__()
        inner = expansion * c_in
        gate = Gate(nn.Conv2d(inner, squeezed, 1), nn.SiLU(), nn.Conv2d(squeezed, inner, 1)) if squeezed else None
        self.branch = bottleneck(
            c_in, inner, c_out, kernel=kernel, stride=stride, activation=nn.SiLU, gate=gate, widens=expansion > 1
        )
        self.has_shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.branch(x)
        return x + y if self.has_shortcut else y


class MnasNetNetwork(nn.Module):
    """Stem that halves the map, bottlenecks, a wide 1x1 convolution, classifier.

    Args:
        layers: ``(c_in, c_out, expansion, kernel, stride, squeezed)`` of each bottleneck; see
            :class:`MobileBottleneck`.
        features: Width of the last convolution.
        image_channels: Channels of the input.
        classes: Width of the classifier.
    """

    def __init__(
        self,
        layers: Sequence[tuple[int, int, int, int, int, int]],
        *,
        features: int,
        image_channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(image_channels, layers[0][0], kernel=3, stride=2), nn.SiLU())
        self.layers = nn.Sequential(
            *(
                MobileBottleneck(c_in, c_out, expansion=expansion, kernel=kernel, stride=stride, squeezed=squeezed)
                for c_in, c_out, expansion, kernel, stride, squeezed in layers
            )
        )
        self.features = nn.Sequential(*conv_norm(layers[-1][1], features), nn.SiLU())
        self.classifier = nn.Linear(features, classes)

    def feature_blocks(self) -> list[nn.Module]:
        """Stem, bottlenecks and the last convolution in the order in which they run."""
        return [self.stem, *self.layers, self.features]

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W) to logits (B, classes)."""
        maps: Tensor = self.features(self.layers(self.stem(images)))
        logits: Tensor = self.classifier(maps.mean(dim=(2, 3)))
        return logits
