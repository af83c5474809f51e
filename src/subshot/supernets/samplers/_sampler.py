"""What a path sampler is: which paths of a supernet a training step executes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from subshot._choice import Choice, Value, check_options, option_defaults
from subshot._registry import Registry

SampledPath = dict[str, tuple[int, ...]]


class Paths(Protocol):
    """What a sampler needs of a supernet."""

    @property
    def options(self) -> Mapping[str, tuple[int, ...]]:
        """For each slot, the numbers of the operations that may be drawn."""
        ...

    def sample_path(self, rng: np.random.Generator) -> SampledPath:
        """The path of an architecture that the space draws."""
        ...

    def full_path(self) -> SampledPath:
        """Every operation of every slot."""
        ...

    def executes(self, slot: str, operation: int) -> bool:
        """Whether an operation does anything."""
        ...

    def operation_macs(self, slot: str, operation: int) -> float:
        """Multiply-accumulate operations that one operation of a slot adds."""
        ...


class PathSampler(Protocol):
    """The paths of one step, all run over the same batch, their gradients summed.

    It depends on its arguments alone, so that a run is resumed by its number of steps.
    """

    def __call__(self, supernet: Paths, step: int, rng: np.random.Generator) -> list[SampledPath]:
        """The paths of step number ``step``, counted from 0; ``rng`` is new in every step."""
        ...


@dataclass(frozen=True)
class PathSamplerInfo:
    """A path sampler and the facts about it.

    Attributes:
        name: Registry name, also the function's and the file's.
        draw: ``draw(supernet, step, rng, <options>)``.
        paper: Where it was published.
    """

    name: str
    draw: Callable[..., list[SampledPath]]
    paper: str

    @property
    def defaults(self) -> dict[str, Value]:
        """The options and their defaults."""
        return option_defaults(self.draw)


PATH_SAMPLERS: Registry[PathSamplerInfo] = Registry("path sampler", "subshot.supernets.samplers")

D = TypeVar("D", bound=Callable[..., list[SampledPath]])


def path_sampler(*, paper: str) -> Callable[[D], D]:
    """Register the decorated function under its own name."""

    def register(draw: D) -> D:
        PATH_SAMPLERS.register(draw.__name__, PathSamplerInfo(draw.__name__, draw, paper))
        return draw

    return register


def make_sampler(choice: str | Choice) -> PathSampler:
    """The sampler called by ``choice``, for example ``"full_path_mix(decay_steps=12500)"``.

    Raises:
        UnknownNameError: No sampler, or no option, has that name.
        OptionError: An option of the wrong type.
    """
    chosen = Choice.parse(choice) if isinstance(choice, str) else choice
    info = PATH_SAMPLERS.get(chosen.name)
    options = check_options(f"path sampler {info.name}", chosen.options, info.defaults)

    def draw(supernet: Paths, step: int, rng: np.random.Generator) -> list[SampledPath]:
        return info.draw(supernet, step, rng, **options)

    return draw


def list_path_samplers() -> list[str]:
    """Names of all path samplers."""
    return PATH_SAMPLERS.names()
