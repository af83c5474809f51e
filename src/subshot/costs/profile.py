"""What the networks of a space cost, and whether limits can be met: to be asked before a search."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from subshot._seeds import stable_rng
from subshot._types import Arch, TaskSpec
from subshot.costs._descend import descend
from subshot.costs._limits import Limits
from subshot.costs._meter import Meter
from subshot.spaces._space import Enumerable, Space, resolve_variant

# Spaces up to this size are measured whole.
_LISTABLE = 100_000
_SAMPLES = 2_000


@dataclass(frozen=True)
class Range:
    """Spread of a cost over a space.

    Attributes:
        minimum: Lowest found.
        median: Median over all or over random architectures.
        maximum: Highest found.
    """

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True)
class Profile:
    """What the networks of a space cost.

    Attributes:
        ranges: Spread by cost name.
        measured: Architectures measured for the median.
        exact: Whether these were all there are; else the ends are the best of a walk by mutations.
        smallest: The architecture nearest to the limits, or the one with fewest parameters where none are given.
        feasible: Whether an architecture inside the limits was found; ``None`` without limits.
    """

    ranges: Mapping[str, Range]
    measured: int
    exact: bool
    smallest: Arch
    feasible: bool | None


def profile(
    space: Space,
    task: TaskSpec,
    *,
    variant: str | None = None,
    limits: Limits | None = None,
    samples: int = _SAMPLES,
    seed: int = 0,
) -> Profile:
    """Measure a space: all of it if it is small, else random architectures and walks towards both ends.

    Args:
        space: The space.
        task: What its networks are built for.
        variant: Which network; the one that is trained if not given.
        limits: Upper bounds.
        samples: Random architectures to measure where the space is large.
        seed: Seed of the samples and walks.

    Raises:
        UnknownNameError: The space has no such variant.
    """
    meter = Meter(space, task, variant=resolve_variant(space, variant))
    rng = stable_rng(seed, "profile")
    exact = isinstance(space, Enumerable) and space.size <= _LISTABLE
    if isinstance(space, Enumerable) and exact:
        archs = list(space.architectures())
    else:
        archs = [space.sample(rng) for _ in range(samples)]
    costs = [meter.costs(arch) for arch in archs]
    ranges = {name: _range(space, meter, name, archs, costs, rng, exact=exact) for name in costs[0]}

    bounded = limits is not None and bool(limits.bounds)

    def key(arch: Arch) -> float:
        return limits.excess(meter.costs(arch)) if limits and bounded else meter.costs(arch)["params"]

    smallest = min(archs, key=key)
    if not exact:
        smallest = descend(space, smallest, key, rng, goal=1.0 if bounded else -np.inf)
    return Profile(ranges, len(archs), exact, smallest, key(smallest) <= 1 if bounded else None)


def _range(
    space: Space,
    meter: Meter,
    name: str,
    archs: list[Arch],
    costs: list[Mapping[str, float]],
    rng: np.random.Generator,
    *,
    exact: bool,
) -> Range:
    values = np.array([cost[name] for cost in costs], dtype=np.float64)
    low, high = archs[int(values.argmin())], archs[int(values.argmax())]
    if not exact:
        low = descend(space, low, lambda arch: meter.costs(arch)[name], rng)
        high = descend(space, high, lambda arch: -meter.costs(arch)[name], rng)
    return Range(meter.costs(low)[name], float(np.median(values)), meter.costs(high)[name])
