"""Ready-made MobileNet-like networks: four stages of inverted bottlenecks (MobileNetV2 and V3).

For images of 28-64 or 128-224 pixels and budgets of 50k to 10M parameters: ``mobilenet(image_size=64, budget=250000)``.
Widths follow the budget, strides the image::

    stem 3x3 -> stage1 -> stage2 -> stage3 -> stage4 -> 1x1, twice as wide -> classes

Each stage has its own width (three values), depth 1-4, depthwise kernel 3, 5 or 7, expansion 2, 3, 4 or 6, and may have
squeeze-and-excitation; the activation is one for all: 3 * (3 * 4 * 3 * 4 * 2) ** 4, some 2e10 architectures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from subshot._choice import Value
from subshot._types import TaskSpec
from subshot.spaces._choices import Domain
from subshot.spaces._space import SPACES
from subshot.spaces._stages import STAGES, Count, StagedSpace, width_values

if TYPE_CHECKING:
    from torch import nn

# Widths of the stages as multiples of the stem's, and of the last layer as one of the last stage's.
_GROWTH = (1.0, 1.5, 3.0, 6.0)
_LAST = 2


@final
@dataclass(frozen=True)
class MobileNet(StagedSpace):
    """The space ``mobilenet``; the text names each choice: ``act=relu stage1.width=16 stage1.depth=2 ...``."""

    _name = "mobilenet"
    _share = 0.42

    def domains(self, scale: float) -> Mapping[str, Domain]:
        """The choices, where widths grow with ``scale``."""
        found = {"act": Domain(("relu", "silu", "hardswish"))}
        for stage, growth in zip(STAGES, _GROWTH, strict=True):
            found |= {
                f"stage{stage}.width": width_values(scale * growth, multiple=4),
                f"stage{stage}.depth": Domain((1, 2, 3, 4), ordered=True),
                f"stage{stage}.kernel": Domain((3, 5, 7), ordered=True),
                f"stage{stage}.expansion": Domain((2, 3, 4, 6), ordered=True),
                f"stage{stage}.squeeze": Domain((False, True)),
            }
        return found

    def network(self, values: Mapping[str, Value], task: TaskSpec) -> "nn.Module":
        """The network of active choices."""
        from torch import nn

        from subshot.networks.stages import StagedNetwork, activation, conv_norm, mbconv_stage

        v: Mapping[str, Any] = values
        act, c_in = v["act"], v["stage1.width"]
        stem = conv_norm(task.image_shape[0], c_in, kernel=3, stride=self.strides[0])
        stages = []
        for stage, stride in zip(STAGES, self.strides[1:], strict=True):
            options = {key: v[f"stage{stage}.{key}"] for key in ("depth", "kernel", "expansion", "squeeze")}
            stages.append(mbconv_stage(c_in, v[f"stage{stage}.width"], stride=stride, act=act, **options))
            c_in = v[f"stage{stage}.width"]
        last = nn.Sequential(conv_norm(c_in, _LAST * c_in), activation(act))
        return StagedNetwork(
            nn.Sequential(stem, activation(act)), stages, last, features=_LAST * c_in, classes=task.outputs
        )

    def count(self, values: Mapping[str, Value], task: TaskSpec) -> Count:
        """Its size without the classifier."""
        v: Mapping[str, Any] = values
        count = Count(*task.image_shape)
        count.conv(v["stage1.width"], kernel=3, stride=self.strides[0])
        for stage, stride in zip(STAGES, self.strides[1:], strict=True):
            options = {key: v[f"stage{stage}.{key}"] for key in ("kernel", "expansion", "squeeze")}
            for number in range(v[f"stage{stage}.depth"]):
                count.mbconv(v[f"stage{stage}.width"], stride=1 if number else stride, **options)
        count.conv(_LAST * count.channels)
        return count


SPACES.register("mobilenet", MobileNet)
