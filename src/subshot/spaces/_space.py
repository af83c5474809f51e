"""What a space is: the interface every space has, and the optional abilities some have."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from subshot._choice import Choice, Value, check_options
from subshot._registry import Registry
from subshot._types import Arch, TaskSpec
from subshot.errors import OptionError, UnknownNameError

if TYPE_CHECKING:
    from torch import nn


class Space(Protocol):
    """A set of architectures and how to build them.

    A space is a frozen dataclass whose fields are its settings (network width, depth ...). It is picklable, holds no
    data, table or training, and imports torch only inside :meth:`build`.
    """

    @property
    def name(self) -> str:
        """The registry's name, also :attr:`Arch.space` of every architecture."""
        ...

    @property
    def size(self) -> int:
        """Number of distinct architecture texts."""
        ...

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the networks an architecture can be built as; the first is the one that is trained."""
        ...

    @property
    def scoring_variant(self) -> str:
        """The variant that proxies look at unless told otherwise."""
        ...

    @property
    def task(self) -> TaskSpec:
        """The task the space was published for, used where none is given."""
        ...

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw an architecture at random."""
        ...

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Change one decision; the result always differs from ``arch``."""
        ...

    def parse(self, text: str) -> Arch:
        """Read any accepted text form.

        Raises:
            ArchError: The text is no architecture of this space.
        """
        ...

    def format(self, arch: Arch) -> str:
        """The canonical text, such that ``parse(format(arch)) == arch``."""
        ...

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the network with torch's default initialisation.

        Args:
            arch: What to build.
            task: Input shape and number of outputs; :attr:`task` if not given.
            variant: One of :attr:`variants`; the first if not given.
        """
        ...


@runtime_checkable
class Enumerable(Protocol):
    """A space small enough to be listed."""

    def architectures(self) -> Iterator[Arch]:
        """Every architecture once, in a fixed order."""
        ...


@runtime_checkable
class Crossable(Protocol):
    """A space with a crossover."""

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """A child that takes each decision from one of its two parents."""
        ...


@runtime_checkable
class Populations(Protocol):
    """A space with named subsets that published figures refer to."""

    @property
    def populations(self) -> tuple[str, ...]:
        """Names of the subsets; ``all`` is the first."""
        ...

    def population(self, name: str) -> Sequence[Arch]:
        """The architectures of one subset, in a fixed order.

        Raises:
            UnknownNameError: No subset has that name.
        """
        ...


@runtime_checkable
class Encodable(Protocol):
    """A space whose architectures are vectors too."""

    def encode(self, arch: Arch) -> np.ndarray:
        """One-hot decisions, shape ``(features,)``, float32."""
        ...

    def decode(self, vector: np.ndarray) -> Arch | None:
        """The inverse of :meth:`encode`; ``None`` if the vector is no architecture."""
        ...


@dataclass(frozen=True)
class Size:
    """Size of a network, counted without building it.

    Attributes:
        parameters: Trainable numbers, batch-norm vectors and classifier bias included.
        macs: Multiply-accumulate operations of convolutions and matrix products for one sample; no bias, norm or
            pooling.
    """

    parameters: int
    macs: int


@runtime_checkable
class Measurable(Protocol):
    """A space that knows the size of a network without building it."""

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Exactly the size of ``build(arch, task, variant=variant)``."""
        ...


@runtime_checkable
class Diagnosing(Protocol):
    """A space that knows architectures which can't learn."""

    def defect(self, arch: Arch) -> str | None:
        """Why the network can't learn, for example that no path leads from input to output; ``None`` if it can."""
        ...


@runtime_checkable
class Describing(Protocol):
    """A space whose variants are shaped by other numbers than its settings."""

    def network_settings(self, variant: str) -> Mapping[str, Value]:
        """The numbers that shape the network of a variant, for example its width and depth."""
        ...


SPACES: Registry[type[Any]] = Registry("space", "subshot.spaces")


def space_settings(space: Space) -> dict[str, Value]:
    """The settings of a space: the fields of its dataclass."""
    return {name: getattr(space, name) for name in getattr(type(space), "__dataclass_fields__", {})}


def get_space(name: str | Choice | Space, settings: Mapping[str, Value] | None = None) -> Space:
    """The space called ``name``, for example ``"nasbench201"`` or ``"nasbench201(channels=8)"``.

    Args:
        name: A registered name, a name with settings, ``FILE.py:FUNCTION`` (the file is run, the function returns a
            space), or a space, which is returned as it is.
        settings: Further settings, which win over those in the text.

    Raises:
        UnknownNameError: No space has that name, or no setting has that name.
        OptionError: A setting of the wrong type.
    """
    if not isinstance(name, (str, Choice)):
        if not hasattr(name, "sample"):
            raise OptionError(f"{name!r} was given as a space.", "Give a space or the name of one.")
        return name
    if isinstance(name, str):
        from subshot.spaces._source import is_source, load_space

        if is_source(name):
            if settings:
                raise OptionError(f"Settings were given beside {name!r}.", "Write FILE.py:FUNCTION(key=value).")
            return load_space(name)
    choice = Choice.parse(name) if isinstance(name, str) else name
    space_class = SPACES.get(choice.name)
    defaults = {key: spec.default for key, spec in space_class.__dataclass_fields__.items()}
    options = check_options(f"space {choice.name}", {**choice.options, **(settings or {})}, defaults)
    space: Space = space_class(**options)
    return space


def resolve_variant(space: Space, variant: str | None) -> str:
    """The variant asked for, or the one that is trained if none is.

    Raises:
        UnknownNameError: The space has no such variant.
    """
    if variant is None:
        return space.variants[0]
    if variant not in space.variants:
        raise UnknownNameError.of(f"variant of {space.name}", variant, space.variants)
    return variant


def network_settings(space: Space, variant: str) -> tuple[tuple[str, Value], ...]:
    """What shapes the network of a variant, for the protocol: the space's own description, else its settings."""
    described = space.network_settings(variant) if isinstance(space, Describing) else space_settings(space)
    return tuple(sorted(described.items()))


def folder_size(space: Space) -> tuple[int, int] | None:
    """Height and width that photographs of no common size are brought to: those of the space's published task."""
    inputs = space.task.inputs
    return space.task.image_shape[1:] if len(inputs) == 1 and len(inputs[0].shape) == 3 else None


def list_spaces() -> list[str]:
    """Names of all spaces."""
    return SPACES.names()
