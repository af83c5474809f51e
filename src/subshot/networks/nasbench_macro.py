"""The network of NAS-Bench-Macro: eight layers in three stages, each an inverted bottleneck or nothing.

Su, Huang, Li, You, Wang, Qian, Zhang, Xu: Prioritized Architecture Sampling with Monto-Carlo Tree Search (arXiv
2103.11922). Parameter and MAC counts equal the published ones.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn


def conv_norm(c_in: int, c_out: int, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution without bias, batch norm; the map keeps its size at stride 1."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(c_out)]


class InvertedBottleneck(nn.Module):
    """MobileNetV2's block with plain ReLU: widen, filter each channel, narrow; a shortcut where shapes allow it.

    Args:
        c_in: Channels of the input.
        c_out: Channels of the output.
        kernel: Size of the depthwise convolution.
        expansion: How many times wider the inside is than the input.
        stride: Of the depthwise convolution.
    """

    def __init__(self, c_in: int, c_out: int, *, kernel: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = expansion * c_in
        self.branch = nn.Sequential(
            *conv_norm(c_in, inner),
            nn.ReLU(),
            *conv_norm(inner, inner, kernel=kernel, stride=stride, groups=inner),
            nn.ReLU(),
            *conv_norm(inner, c_out),
        )
        self.has_shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, c_in, H, W) to (B, c_out, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.branch(x)
        return x + y if self.has_shortcut else y


def make_layer(layer: tuple[int, int] | None, c_in: int, c_out: int, *, stride: int) -> nn.Module:
    """One layer: a block of ``(kernel, expansion)``, or the identity, a 1x1 convolution where the shape changes."""
    if layer is not None:
        kernel, expansion = layer
        return InvertedBottleneck(c_in, c_out, kernel=kernel, expansion=expansion, stride=stride)
    return nn.Identity() if stride == 1 else nn.Sequential(*conv_norm(c_in, c_out, stride=stride))


def conv_norm_relu(c_in: int, c_out: int, *, kernel: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU."""
    return nn.Sequential(*conv_norm(c_in, c_out, kernel=kernel), nn.ReLU())


class NasBenchMacroNetwork(nn.Module):
    """Stem, stages whose first layer halves the map and changes the width, head.

    Args:
        stages: ``(width, layers)`` of each stage; a layer is ``(kernel, expansion)``, or ``None`` for the identity,
            which in the first place of a stage is a 1x1 convolution without activation.
        channels: Width of the stem.
        features: Width of the last convolution.
        image_channels: Channels of the input.
        classes: Width of the classifier.
    """

    def __init__(
        self,
        stages: Sequence[tuple[int, Sequence[tuple[int, int] | None]]],
        *,
        channels: int,
        features: int,
        image_channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.stem = conv_norm_relu(image_channels, channels, kernel=3)
        self.stages = nn.Sequential()
        c_in = channels
        for width, layers in stages:
            stage: OrderedDict[str, nn.Module] = OrderedDict()
            for number, layer in enumerate(layers):
                module = make_layer(layer, c_in, width, stride=1 if number else 2)
                if not isinstance(module, nn.Identity):
                    stage[f"layer_{number}"] = module
                c_in = width
            self.stages.append(nn.Sequential(stage))
        self.features = conv_norm_relu(c_in, features)
        self.classifier = nn.Linear(features, classes)

    def feature_blocks(self) -> list[nn.Module]:
        """Stem, layers and the last convolution in the order in which they run, for proxies that look at blocks."""
        return [self.stem, *(layer for stage in self.stages for layer in stage.children()), self.features]

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W) to logits (B, classes)."""
        maps: Tensor = self.features(self.stages(self.stem(images)))
        logits: Tensor = self.classifier(maps.mean(dim=(2, 3)))
        return logits
