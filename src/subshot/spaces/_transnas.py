"""What the two spaces of TransNAS-Bench-101 share: the tasks with their heads, building and measuring."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from subshot._types import Arch, InputSpec, TaskSpec
from subshot.errors import OptionError, UnknownNameError
from subshot.spaces._space import Size

if TYPE_CHECKING:
    from torch import nn

# The published base width, for which the widths of the decoders are given.
BASE = 64
_NARROW = 8

_IMAGE = (InputSpec("images", (3, 256, 256)),)
_TILES = (InputSpec("tiles", (9, 3, 64, 64)),)

# The benchmark's tasks; the name of a task is that of its head.
HEADS: Mapping[str, TaskSpec] = {
    "class_scene": TaskSpec(_IMAGE, 47),
    "class_object": TaskSpec(_IMAGE, 75),
    "room_layout": TaskSpec(_IMAGE, 9, "mse"),
    "jigsaw": TaskSpec(_TILES, 1000),
    "segmentsemantic": TaskSpec(_IMAGE, 17),
    "autoencoder": TaskSpec(_IMAGE, 3, "l1"),
    "normal": TaskSpec(_IMAGE, 3, "l1"),
}

_GENERATOR_WIDTHS = (1024, 1024, 512, 512, 256, 128, 64, 64, 32, 32, 16, 32, 16)
# Layer of the generator to the doublings, of 2 to 6, from which on it doubles.
_GENERATOR_DOUBLES = {11: 0, 13: 0, 9: 3, 7: 4, 5: 5, 3: 6}

# A cell: channels in and out, stride.
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class TransNasSpace(abc.ABC):
    """Settings and networks of both spaces; see their own classes for the fields."""

    channels: int = BASE
    head: str = "class_scene"

    def __post_init__(self) -> None:
        if not isinstance(self.channels, int) or isinstance(self.channels, bool) or self.channels < 2:
            raise OptionError(
                f"space {self.name} was given channels={self.channels!r}.", "channels is a whole number from 2 on."
            )
        if self.head not in HEADS:
            raise UnknownNameError.of(f"head of {self.name}", str(self.head), HEADS)

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The registry's name."""

    @property
    def variants(self) -> tuple[str, ...]:
        """``official``: the network of the benchmark. ``narrow``: backbone and decoder at an eighth of all widths."""
        return ("official", "narrow")

    @property
    def scoring_variant(self) -> str:
        """``"narrow"``, which costs a fiftieth."""
        return "narrow"

    @property
    def task(self) -> TaskSpec:
        """The published task of the head: image size, outputs and loss.

        The benchmark's classifiers learn from a teacher's probabilities, so there labels are soft; its image-to-image
        tasks add an adversarial loss to L1 in training. Neither changes the network.
        """
        return HEADS[self.head]

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the published network with the head of the space and as many outputs as the task has.

        Images of any size are taken; without a task it is that of the benchmark.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input doesn't fit the head.
        """
        from subshot.networks.transnas import Classifier, TransNasNetwork, decoder

        shapes = self._shapes(arch, variant)
        tiles, image_channels, _, _ = self._input(task)
        outputs, c_out = (task or self.task).outputs, shapes[-1][1]
        layers = self._decoder(shapes, outputs, variant)
        head: nn.Module = (
            decoder(layers, tanh=self.head != "segmentsemantic") if layers else Classifier(c_out * tiles, outputs)
        )
        return TransNasNetwork(
            [self._cell(arch, shape) for shape in shapes],
            channels=self._channels(variant),
            image_channels=image_channels,
            head=head,
            tiled=self.head == "jigsaw",
        )

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Count parameters and MACs by arithmetic, without building anything.

        A transposed convolution multiplies at the size of its input.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input doesn't fit the head.
        """
        shapes, width = self._shapes(arch, variant), self._channels(variant)
        tiles, image_channels, height, wide = self._input(task)
        outputs = (task or self.task).outputs
        parameters = macs = 0
        stem = [(9 * c_in * c_out, c_out, 2) for c_in, c_out in ((image_channels, width // 2), (width // 2, width))]
        for weights, normalised, stride in [*stem, *((*self._weights(arch, shape), shape[2]) for shape in shapes)]:
            if stride == 2:
                height, wide = (height + 1) // 2, (wide + 1) // 2
            parameters += weights + 2 * normalised
            macs += tiles * weights * height * wide
        layers = self._decoder(shapes, outputs, variant)
        for number, (c_in, c_out, doubles) in enumerate(layers):
            # Each has a bias, and all but the last a norm.
            parameters += 9 * c_in * c_out + c_out * (1 if number == len(layers) - 1 else 3)
            macs += 9 * c_in * c_out * height * wide
            if doubles:
                height, wide = 2 * height, 2 * wide
        if not layers:
            inputs = shapes[-1][1] * tiles
            parameters += (inputs + 1) * outputs
            macs += inputs * outputs
        return Size(parameters, macs)

    def network_settings(self, variant: str) -> dict[str, int | str]:
        """Width after the stem, and the head."""
        return {"channels": self._channels(variant), "head": self.head}

    @abc.abstractmethod
    def _modules(self, arch: Arch) -> Sequence[int]:
        """The digits of the modules: 1 as it was, 2 twice the width, 3 half the size, 4 both."""

    @abc.abstractmethod
    def _weights(self, arch: Arch, shape: Shape) -> tuple[int, int]:
        """Weights of the convolutions of a cell, and channels that it normalises."""

    @abc.abstractmethod
    def _cell(self, arch: Arch, shape: Shape) -> "nn.Module":
        """A cell."""

    def _shapes(self, arch: Arch, variant: str | None) -> list[Shape]:
        """Two cells for each module, of which the first changes width and size."""
        width, shapes = self._channels(variant), []
        for digit in self._modules(arch):
            c_out = 2 * width if digit in (2, 4) else width
            shapes += [(width, c_out, 2 if digit in (3, 4) else 1), (c_out, c_out, 1)]
            width = c_out
        return shapes

    def _channels(self, variant: str | None) -> int:
        if variant not in (None, *self.variants):
            raise UnknownNameError.of(f"variant of {self.name}", str(variant), self.variants)
        return min(_NARROW, self.channels) if variant == "narrow" else self.channels

    def _input(self, task: TaskSpec | None) -> tuple[int, int, int, int]:
        """Tiles, image channels, height, width."""
        task = task or self.task
        if self.head != "jigsaw":
            return 1, *task.image_shape
        if len(task.inputs) != 1 or len(task.inputs[0].shape) != 4:
            shapes = ", ".join(f"{spec.name} {spec.shape}" for spec in task.inputs)
            raise OptionError(
                f"The task has the inputs {shapes}.", "The head jigsaw takes one input of tiles (T, C, H, W)."
            )
        tiles, channels, height, width = task.inputs[0].shape
        return tiles, channels, height, width

    def _decoder(self, shapes: Sequence[Shape], outputs: int, variant: str | None) -> list[tuple[int, int, bool]]:
        """``(c_in, c_out, doubles)`` of each layer of the head, none for a classifier."""
        doublings = 2 + sum(stride == 2 for _, _, stride in shapes)  # as often as stem and cells halve
        if self.head == "segmentsemantic":
            # To 1024 channels; six layers halve the width or the width and the size; the last doubling keeps 32.
            widths = [1024, *(1024 >> number for number in range(1, 6)), 32]
            doubles = {number for number in range(1, 7) if number > 6 - doublings}
        elif self.head in ("autoencoder", "normal"):
            widths = list(_GENERATOR_WIDTHS)
            doubles = {number - 1 for number, least in _GENERATOR_DOUBLES.items() if doublings >= least}
        else:
            return []
        scaled = [max(1, width * self._channels(variant) // BASE) for width in widths]
        ends = [*scaled, outputs]
        starts = [shapes[-1][1], *scaled]
        return [(c_in, c_out, number in doubles) for number, (c_in, c_out) in enumerate(zip(starts, ends, strict=True))]
