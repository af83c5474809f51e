"""Ready-made ResNet-like networks: four stages of residual blocks, plain, bottleneck or ConvNeXt's.

For images of 28-64 or 128-224 pixels and budgets of 50k to 10M parameters: ``resnet(image_size=224, budget=5000000)``.
Widths follow the budget, strides the image::

    stem 3x3 -> stage1 -> stage2 -> stage3 -> stage4 -> classes

Each stage has its own width (three values), depth 1-4 and kind of block; a ConvNeXt stage has a kernel of 3, 5 or 7
too. The activation of stem and residual blocks is one for all: 3 * (3 * 4 * (1 + 1 + 3)) ** 4, some 4e7 architectures.
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

# Widths of the stages as multiples of the first's.
_GROWTH = (1.0, 2.0, 4.0, 8.0)


@final
@dataclass(frozen=True)
class ResNet(StagedSpace):
    """The space ``resnet``; the text names each choice: ``act=relu stage1.block=basic stage1.width=16 ...``."""

    _name = "resnet"
    _share = 1.2

    def domains(self, scale: float) -> Mapping[str, Domain]:
        """The choices, where widths grow with ``scale``."""
        found = {"act": Domain(("relu", "gelu", "silu"))}
        for stage, growth in zip(STAGES, _GROWTH, strict=True):
            block = f"stage{stage}.block"
            found |= {
                block: Domain(("bottleneck", "basic", "convnext")),
                f"stage{stage}.width": width_values(scale * growth, multiple=4),
                f"stage{stage}.depth": Domain((1, 2, 3, 4), ordered=True),
                f"stage{stage}.kernel": Domain((3, 5, 7), True, ((block, ("convnext",)),)),
            }
        return found

    def network(self, values: Mapping[str, Value], task: TaskSpec) -> "nn.Module":
        """The network of active choices."""
        from torch import nn

        from subshot.networks.stages import StagedNetwork, activation, conv_norm, convnext_stage, resnet_stage

        v: Mapping[str, Any] = values
        act, c_in = v["act"], v["stage1.width"]
        stem = conv_norm(task.image_shape[0], c_in, kernel=3, stride=self.strides[0])
        stages = []
        for stage, stride in zip(STAGES, self.strides[1:], strict=True):
            block, c_out, depth = (v[f"stage{stage}.{key}"] for key in ("block", "width", "depth"))
            if block == "convnext":
                kernel = v[f"stage{stage}.kernel"]
                stages.append(convnext_stage(c_in, c_out, depth=depth, kernel=kernel, stride=stride))
            else:
                wide = block == "basic"
                stages.append(resnet_stage(c_in, c_out, depth=depth, stride=stride, bottleneck=not wide, act=act))
            c_in = c_out
        return StagedNetwork(
            nn.Sequential(stem, activation(act)), stages, nn.Identity(), features=c_in, classes=task.outputs
        )

    def count(self, values: Mapping[str, Value], task: TaskSpec) -> Count:
        """Its size without the classifier."""
        v: Mapping[str, Any] = values
        count = Count(*task.image_shape)
        count.conv(v["stage1.width"], kernel=3, stride=self.strides[0])
        for stage, stride in zip(STAGES, self.strides[1:], strict=True):
            block, c_out, depth = (v[f"stage{stage}.{key}"] for key in ("block", "width", "depth"))
            if block == "convnext":
                count.convnext(c_out, depth=depth, kernel=v[f"stage{stage}.kernel"], stride=stride)
                continue
            for number in range(depth):
                count.residual(c_out, stride=1 if number else stride, bottleneck=block == "bottleneck")
        return count


SPACES.register("resnet", ResNet)
