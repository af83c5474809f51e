"""Ready-made spaces of stages: their settings, the widths that a budget allows, and sizes by arithmetic.

The network is that of ``networks/stages.py``; what is counted here has to be what is built there.
"""

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from subshot._choice import Value
from subshot._types import Arch, TaskSpec
from subshot.errors import OptionError
from subshot.spaces._choices import ChoiceSet, Domain
from subshot.spaces._chosen_space import ChosenSpace
from subshot.spaces._space import Size, resolve_variant

if TYPE_CHECKING:
    from torch import nn

STAGES = (1, 2, 3, 4)

# Up to this many pixels an image counts as small.
_SMALL = 64


@dataclass(frozen=True)
class StagedSpace(ChosenSpace):
    """What the ready-made spaces share.

    Attributes:
        image_size: Height and width of the images that the space is laid out for; other sizes can be built too.
        budget: Parameters that the space is laid out for: a random architecture for :attr:`task` has about two thirds
            of them, and most are below. What limits a search is ``max_params``.
    """

    image_size: int = 32
    budget: int = 1_000_000

    # Without annotations, which would make settings of them. The share is that of the budget which the middle values of
    # all choices have; the median of random architectures differs from that by space.
    _name = ""
    _share = 1.0

    def __post_init__(self) -> None:
        for key, value, low, high in (
            ("image_size", self.image_size, 16, 512),
            ("budget", self.budget, 20_000, 50_000_000),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise OptionError(
                    f"space {self._name} was given {key}={value!r}.",
                    f"{key} is a whole number from {low:,} to {high:,}.",
                )

    @property
    def name(self) -> str:
        """The registry's name."""
        return self._name

    @property
    def variants(self) -> tuple[str, ...]:
        """``official``: the network that is trained."""
        return ("official",)

    @property
    def scoring_variant(self) -> str:
        """``"official"``."""
        return "official"

    @property
    def task(self) -> TaskSpec:
        """Colour images of ``image_size``: 10 classes up to 64 pixels, 100 above."""
        return TaskSpec.images(3, self.image_size, self.image_size, classes=10 if self.is_small else 100)

    @property
    def is_small(self) -> bool:
        """Whether images have at most 64 pixels a side."""
        return self.image_size <= _SMALL

    @property
    def strides(self) -> tuple[int, ...]:
        """Of stem and stages, so that the last map has 5 to 9 pixels a side for 28 to 224 pixels."""
        halvings = max(2, (2 * self.image_size // 9).bit_length() - 1)
        return tuple(2 if halvings >= needed else 1 for needed in (4, 5, 3, 2, 1))

    @property
    def choice_set(self) -> ChoiceSet:
        """The choices, with widths for the budget."""
        return _choice_set(self)

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the network.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image, or too small a one.
        """
        resolve_variant(self, variant)
        return self.network(self.values(arch), task or self.task)

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Count parameters and MACs by arithmetic.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            OptionError: The task's input is no image.
        """
        resolve_variant(self, variant)
        return self.size_of(self.values(arch), task or self.task)

    def size_of(self, values: Mapping[str, Value], task: TaskSpec) -> Size:
        """Size of the network of active choices."""
        count = self.count(values, task)
        count.linear(count.channels, task.outputs)
        return Size(count.parameters, count.macs)

    @abstractmethod
    def domains(self, scale: float) -> Mapping[str, Domain]:
        """The choices, where widths grow with ``scale``."""

    @abstractmethod
    def network(self, values: Mapping[str, Value], task: TaskSpec) -> "nn.Module":
        """The network of active choices."""

    @abstractmethod
    def count(self, values: Mapping[str, Value], task: TaskSpec) -> "Count":
        """Its size without the classifier."""


@functools.lru_cache(maxsize=64)
def _choice_set(space: StagedSpace) -> ChoiceSet:
    """Widths by bisection, such that the middle values of all choices meet the share of the budget."""
    low, high = 1.0, 4096.0
    for _ in range(40):
        middle = (low + high) / 2
        choices = ChoiceSet(space.name, space.domains(middle))
        if space.size_of(_middle(choices), space.task).parameters > space._share * space.budget:
            high = middle
        else:
            low = middle
    return ChoiceSet(space.name, space.domains(low))


def _middle(choices: ChoiceSet) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, domain in choices.domains.items():
        if all(values.get(parent) in allowed for parent, allowed in domain.condition):
            values[name] = domain.values[(len(domain.values) - 1) // 2]
    return values


def width_values(width: float, *, multiple: int) -> Domain:
    """Three quarters, one and one and a quarter of a width, rounded to distinct multiples."""
    base = max(2, round(width / multiple))
    spread = max(1, round(base / 4))
    return Domain(tuple(multiple * (base + step * spread) for step in (-1, 0, 1)), ordered=True)


@dataclass
class Count:
    """Parameters and multiply-accumulates, added up layer by layer along a map of changing size.

    Attributes:
        channels: Of the map now.
        height: Of the map now.
        width: Of the map now.
        parameters: So far.
        macs: So far.
    """

    channels: int
    height: int
    width: int
    parameters: int = field(default=0)
    macs: int = field(default=0)

    def conv(
        self, c_out: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, bias: bool = False, norm: bool = True
    ) -> None:
        """A convolution that keeps the map's size at stride 1, and what stands behind it."""
        self.height, self.width = -(-self.height // stride), -(-self.width // stride)
        weights = self.channels // groups * c_out * kernel**2
        self.parameters += weights + c_out * bias + 2 * c_out * norm
        self.macs += weights * self.height * self.width
        self.channels = c_out

    def linear(self, c_in: int, c_out: int, *, times: int = 1) -> None:
        """A linear layer with bias, at ``times`` places."""
        self.parameters += c_in * c_out + c_out
        self.macs += c_in * c_out * times

    def mbconv(self, c_out: int, *, kernel: int, expansion: int, stride: int, squeeze: bool) -> None:
        """``networks.stages.MBConv``."""
        c_in = self.channels
        inner = expansion * c_in
        if expansion > 1:
            self.conv(inner)
        self.conv(inner, kernel=kernel, stride=stride, groups=inner)
        if squeeze:
            self.linear(inner, max(1, c_in // 4))
            self.linear(max(1, c_in // 4), inner)
        self.conv(c_out)

    def residual(self, c_out: int, *, stride: int, bottleneck: bool) -> None:
        """``networks.stages.ResidualBlock``."""
        c_in, height, width = self.channels, self.height, self.width
        if bottleneck:
            inner = max(1, c_out // 4)
            self.conv(inner)
            self.conv(inner, kernel=3, stride=stride)
            self.conv(c_out)
        else:
            self.conv(c_out, kernel=3, stride=stride)
            self.conv(c_out, kernel=3)
        if stride > 1 or c_in != c_out:
            self.channels, self.height, self.width = c_in, height, width
            self.conv(c_out, stride=stride)

    def convnext(self, c_out: int, *, depth: int, kernel: int, stride: int, expansion: int = 4) -> None:
        """``networks.stages.convnext_stage``."""
        self.parameters += 2 * self.channels
        # Unlike elsewhere the kernel is the stride: what is left of the last row is cut off.
        self.height, self.width = self.height // stride, self.width // stride
        weights = self.channels * c_out * stride**2
        self.parameters += weights + c_out
        self.macs += weights * self.height * self.width
        self.channels = c_out
        for _ in range(depth):
            self.conv(c_out, kernel=kernel, groups=c_out, bias=True)
            self.conv(expansion * c_out, bias=True, norm=False)
            self.conv(c_out, bias=True, norm=False)

    def vit(self, *, depth: int, mlp_ratio: int) -> None:
        """``networks.stages.vit_stage``; the heads change nothing."""
        dim, tokens = self.channels, self.height * self.width
        for _ in range(depth):
            self.parameters += 4 * dim
            self.linear(dim, 3 * dim, times=tokens)
            self.linear(dim, dim, times=tokens)
            self.linear(dim, mlp_ratio * dim, times=tokens)
            self.linear(mlp_ratio * dim, dim, times=tokens)
            self.macs += 2 * tokens**2 * dim
