"""All NAS-Bench-Macro networks in one: a slot for each of the eight layers.

Everything is made by the constructors of the stand-alone network; see ``nasbench201_supernet`` for what that means for
batch norm.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from subshot.networks._slots import Gates, Path, Slot, SlotNetwork
from subshot.networks.nasbench_macro import conv_norm_relu, make_layer


class NasBenchMacroSupernet(SlotNetwork):
    """The network of :class:`subshot.networks.nasbench_macro.NasBenchMacroNetwork` with a slot for each layer.

    Slots are called ``stage_0.layer_0`` and so on. Each must execute something: the identity is an operation.

    Args:
        layers: What a layer may be, in the order of the space's codes: ``(kernel, expansion)``, ``None`` the identity.
        stages: ``(width, number of layers)`` of each stage.
        channels: Width of the stem.
        features: Width of the last convolution.
        image_channels: Channels of the input.
        classes: Width of the classifier.
    """

    def __init__(
        self,
        layers: Sequence[tuple[int, int] | None],
        *,
        stages: Sequence[tuple[int, int]],
        channels: int,
        features: int,
        image_channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        names = ["identity" if layer is None else f"kernel_{layer[0]}_expansion_{layer[1]}" for layer in layers]
        self.stem = conv_norm_relu(image_channels, channels, kernel=3)
        self.stages = nn.ModuleList()
        c_in = channels
        for index, (width, depth) in enumerate(stages):
            stage = nn.ModuleDict()
            for number in range(depth):
                stride = 1 if number else 2
                modules = [make_layer(layer, c_in, width, stride=stride) for layer in layers]
                name = f"layer_{number}"
                stage[name] = Slot(f"stage_{index}.{name}", dict(zip(names, modules, strict=True)), required=True)
                c_in = width
            self.stages.append(stage)
        self.features = conv_norm_relu(c_in, features)
        self.classifier = nn.Linear(features, classes)

    def path(self, genes: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
        """One operation for each layer."""
        return {name: (code,) for name, code in zip(self.slots, genes, strict=True)}

    def forward(self, inputs: Tensor, path: Path, gates: Gates | None = None) -> Tensor:
        """Map images (B, channels, H, W) to logits (B, classes)."""
        x = self.stem(inputs)
        for stage in self.stages:
            for slot in stage.children():
                x = slot(x, path, gates)
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits
