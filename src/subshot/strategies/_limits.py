"""Search inside limits: a space that only yields architectures whose costs are low enough.

Costs are checked before anything is scored, and no strategy has to know about limits. Nor about where the user starts
from: the ``start`` of a space is the first sample, if it is inside.
"""

import math
from collections.abc import Callable

import numpy as np

from subshot._choice import Choice
from subshot._types import Arch
from subshot.costs._descend import descend
from subshot.costs._limits import Costs, Limits, shown
from subshot.errors import ArchError, InfeasibleError
from subshot.spaces._space import Crossable, Enumerable, Space, space_settings

# Draws in a row outside the limits before something better than luck is tried.
_PATIENCE = 1_000

# Walks towards the limits from random starts before they count as impossible.
_WALKS = 10

# Spaces up to this size are listed when sampling finds nothing, so that the answer is certain.
_LISTABLE = 100_000


class LimitedSpace:
    """A view of a space that redraws whatever is outside the limits.

    Args:
        space: The whole space.
        limits: Upper bounds.
        costs: Costs of an architecture by name.
    """

    def __init__(self, space: Space, limits: Limits, costs: Callable[[Arch], Costs]) -> None:
        self._space = space
        self._limits = limits
        self._costs = costs
        # Other costs need a look at each network: of some hundreds, not of all.
        self._counted = {"params", "macs"} >= set(limits.bounds)
        self._patience = _PATIENCE if self._counted else _PATIENCE // 10
        self._listed: list[Arch] | None = None
        self._drawn = False

    @property
    def start(self) -> Arch | None:
        """The architecture that the space says a search begins with; ``None`` without one, or if it is outside."""
        start: Arch | None = getattr(self._space, "start", None)
        return start if start is not None and self.inside(start) else None

    def inside(self, arch: Arch) -> bool:
        """Whether the architecture meets every limit."""
        return self._limits.excess(self._costs(arch)) <= 1

    def canonical(self, arch: Arch) -> Arch | None:
        """The architecture with its genes in the space's own order; ``None`` if it is none, or outside."""
        try:
            found = self._space.parse(self._space.format(arch))
        except ArchError:
            return None
        return found if self.inside(found) else None

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw until an architecture is inside; a small space is listed if that takes long.

        The first sample of all is the space's start, if it has one.

        Raises:
            InfeasibleError: None of many was; the nearest is named.
        """
        if not self._drawn:
            self._drawn = True
            if (start := self.start) is not None:
                return start
        if self._listed:
            return self._listed[int(rng.integers(len(self._listed)))]
        return self._redraw(
            lambda: self._space.sample(rng), self._patience, lambda nearest: self._last_resort(nearest, rng)
        )

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Mutate until the result is inside; if no mutant of many is, draw a new sample."""
        return self._redraw(lambda: self._space.mutate(arch, rng), _PATIENCE // 10, lambda _: self.sample(rng))

    def _redraw(self, draw: Callable[[], Arch], patience: int, otherwise: Callable[[Arch], Arch]) -> Arch:
        """Draw until inside; after ``patience`` draws, what ``otherwise`` makes of the nearest."""
        nearest = draw()
        for _ in range(patience):
            if self.inside(nearest):
                return nearest
            nearest = min(nearest, draw(), key=self._excess)
        return otherwise(nearest)

    def _excess(self, arch: Arch) -> float:
        return self._limits.excess(self._costs(arch))

    def _last_resort(self, nearest: Arch, rng: np.random.Generator) -> Arch:
        """Where few architectures are inside: choose from the list of a small space, else walk there by mutations."""
        listed = self._counted and isinstance(self._space, Enumerable) and self._space.size <= _LISTABLE
        if isinstance(self._space, Enumerable) and listed:
            if self._listed is None:
                everything = list(self._space.architectures())
                nearest = min(everything, key=self._excess)
                self._listed = [arch for arch in everything if self.inside(arch)]
            if self._listed:
                return self._listed[int(rng.integers(len(self._listed)))]
        walks, misses = (_WALKS, 200) if self._counted else (2, 50)
        for _ in range(0 if listed else walks):
            arch = descend(self._space, self._space.sample(rng), self._excess, rng, goal=1.0, patience=misses)
            if self.inside(arch):
                return arch
            nearest = min(nearest, arch, key=self._excess)
        costs = self._costs(nearest)
        have = ", ".join(f"{name} {shown(name, costs.get(name, math.nan))}" for name in sorted(self._limits.bounds))
        raise InfeasibleError(
            f"No architecture of {self._space.name}{'' if listed else ' that was found'} meets the limits "
            f"({self._limits}).",
            f"The nearest has {have}: {self._space.format(nearest)} . Raise the limits, or see what is reachable "
            f'with: subshot profile --space "{Choice(self._space.name, space_settings(self._space))}"',
        )


class LimitedCrossableSpace(LimitedSpace):
    """A limited view of a space with a crossover."""

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """Cross until the child is inside; parents that are inside are the last resort."""
        space = self._space
        assert isinstance(space, Crossable)
        return self._redraw(lambda: space.crossover(first, second, rng), _PATIENCE // 10, lambda _: first)


def limited(space: Space, limits: Limits, costs: Callable[[Arch], Costs]) -> LimitedSpace:
    """The view of ``space`` inside ``limits``, with a crossover if the space has one."""
    kind = LimitedCrossableSpace if isinstance(space, Crossable) else LimitedSpace
    return kind(space, limits, costs)
