"""Ready-made vision transformers: three groups of encoder blocks of one width.

For images of 28-64 or 128-224 pixels and budgets of 50k to 10M parameters: ``vit(image_size=64, budget=500000)``. The
width follows the budget, patches the image: 4 or 8 a side for small images, 7 or 14 for large ones::

    patches + places -> stage1 -> stage2 -> stage3 -> norm -> mean -> classes

Patch and width (five values) are one for all; each stage has its own depth 1-6, heads 2, 4 or 8 (narrow networks: 1, 2
or 4) and MLP ratio 2, 3 or 4: 2 * 5 * (6 * 3 * 3) ** 3, some 1.6e6 architectures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from subshot._choice import Value
from subshot._types import TaskSpec
from subshot.spaces._choices import Domain
from subshot.spaces._space import SPACES
from subshot.spaces._stages import Count, StagedSpace

if TYPE_CHECKING:
    from torch import nn

_STAGES = (1, 2, 3)

# The largest number of heads divides every width; narrow networks have fewer.
_HEADS, _FEW_HEADS = (2, 4, 8), (1, 2, 4)
_WIDE = 48


@final
@dataclass(frozen=True)
class ViT(StagedSpace):
    """The space ``vit``; the text names each choice: ``patch=4 width=64 stage1.depth=3 stage1.heads=2 ...``."""

    _name = "vit"
    _share = 0.6

    def domains(self, scale: float) -> Mapping[str, Domain]:
        """The choices, where the width grows with ``scale``."""
        heads = _HEADS if scale >= _WIDE else _FEW_HEADS
        base = max(3, round(scale / heads[-1]))
        spread = max(1, round(base / 5))
        widths = tuple(heads[-1] * (base + step * spread) for step in (-2, -1, 0, 1, 2))
        patches = tuple(round(self.image_size / side) for side in ((8, 4) if self.is_small else (14, 7)))
        found = {"patch": Domain(patches, ordered=True), "width": Domain(widths, ordered=True)}
        for stage in _STAGES:
            found |= {
                f"stage{stage}.depth": Domain((1, 2, 3, 4, 5, 6), ordered=True),
                f"stage{stage}.heads": Domain(heads, ordered=True),
                f"stage{stage}.mlp_ratio": Domain((2, 3, 4), ordered=True),
            }
        return found

    def network(self, values: Mapping[str, Value], task: TaskSpec) -> "nn.Module":
        """The network of active choices."""
        from torch import nn

        from subshot.networks.stages import PatchEmbedding, StagedNetwork, vit_stage

        v: Mapping[str, Any] = values
        dim = v["width"]
        stages = [
            vit_stage(dim, **{key: v[f"stage{stage}.{key}"] for key in ("depth", "heads", "mlp_ratio")})
            for stage in _STAGES
        ]
        return StagedNetwork(
            PatchEmbedding(*task.image_shape, patch=v["patch"], dim=dim),
            stages,
            nn.LayerNorm(dim),
            features=dim,
            classes=task.outputs,
            tokens=True,
        )

    def count(self, values: Mapping[str, Value], task: TaskSpec) -> Count:
        """Its size without the classifier."""
        v: Mapping[str, Any] = values
        channels, height, width = task.image_shape
        patch, dim = v["patch"], v["width"]
        count = Count(dim, height // patch, width // patch)
        tokens = count.height * count.width
        count.linear(channels * patch**2, dim, times=tokens)
        count.parameters += (tokens + 2) * dim  # embeddings of places, the last norm
        for stage in _STAGES:
            count.vit(depth=v[f"stage{stage}.depth"], mlp_ratio=v[f"stage{stage}.mlp_ratio"])
        return count


SPACES.register("vit", ViT)
