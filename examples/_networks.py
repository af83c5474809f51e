"""Networks that the examples compare with: one as it is written by hand, and two published ones in narrow."""

from torch import nn

from subshot import TaskSpec
from subshot.networks.stages import StagedNetwork, activation, conv_norm, mbconv_stage, resnet_stage

# MobileNetV2's table (arXiv 1801.04381): expansion, channels, blocks. The last four are one stage of resolution.
_MOBILENETV2 = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


def plain(task: TaskSpec, widths: tuple[int, ...]) -> nn.Module:
    """Convolutions of 3 x 3 with batch norm and ReLU; the second, third and fourth halve the map."""
    channels, layers = task.image_shape[0], list[nn.Module]()
    for number, width in enumerate(widths):
        stride = 2 if number in (1, 2, 3) else 1
        layers += [
            nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.outputs))


def mobilenetv2(task: TaskSpec, strides: tuple[int, ...], width: float) -> nn.Module:
    """MobileNetV2 with ``width`` times its channels; ``strides`` of the stem and of the stages that may halve."""

    def wide(channels: int) -> int:
        return max(4, round(channels * width))

    first, *others = strides
    # Published: stages 2, 3, 4 and 6 halve, and the stem.
    halving = dict(zip((1, 2, 3, 5), others, strict=True))
    c_in = wide(32)
    stem = nn.Sequential(conv_norm(task.image_shape[0], c_in, kernel=3, stride=first), activation("relu"))
    stages = []
    for number, (expansion, channels, depth) in enumerate(_MOBILENETV2):
        c_out, stride = wide(channels), halving.get(number, 1)
        stages.append(
            mbconv_stage(
                c_in, c_out, depth=depth, kernel=3, expansion=expansion, stride=stride, squeeze=False, act="relu"
            )
        )
        c_in = c_out
    last = nn.Sequential(conv_norm(c_in, wide(1280)), activation("relu"))
    return StagedNetwork(stem, stages, last, features=wide(1280), classes=task.outputs)


def resnet20(task: TaskSpec, width: float) -> nn.Module:
    """ResNet-20 for CIFAR-10 (arXiv 1512.03385) with ``width`` times its 16, 32 and 64 channels."""
    c_in = max(2, round(16 * width))
    stem = nn.Sequential(conv_norm(task.image_shape[0], c_in, kernel=3), activation("relu"))
    stages = []
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        c_out = max(2, round(channels * width))
        stages.append(resnet_stage(c_in, c_out, depth=3, stride=stride, bottleneck=False, act="relu"))
        c_in = c_out
    return StagedNetwork(stem, stages, nn.Identity(), features=c_in, classes=task.outputs)
