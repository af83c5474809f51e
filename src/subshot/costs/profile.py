"""What the networks of a space cost, and whether limits can be met: to be asked before a search."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from subshot._seeds import stable_rng
from subshot._types import Arch, TaskSpec
from subshot.costs._descend import descend
from subshot.costs._limits import Limits
from subshot.costs._meter import Meter
from subshot.errors import UnknownNameError
from subshot.spaces._space import Enumerable, Space, resolve_variant

if TYPE_CHECKING:
    from subshot.costs._latency_source import LatencySource

# Spaces up to this size are measured whole.
_LISTABLE = 100_000
_SAMPLES = 2_000

# Of costs that need a look at each network.
_LOOKS = 200
_LOOK_PATIENCE = 30

_CHEAP = ("params", "macs")


_FURTHER = ("peak_bytes", "latency_ms")


def further_costs(text: str) -> tuple[str, ...]:
    """Names, by commas, of costs that are shown only if asked for.

    Raises:
        UnknownNameError: There is no such cost, or it is shown anyway.
    """
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if name not in _FURTHER:
            raise UnknownNameError.of("further cost", name, _FURTHER)
    return names


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
        measured: Architectures measured for the median of parameters and MACs.
        exact: Whether these were all there are; else the ends are the best of a walk by mutations.
        looked_at: Architectures behind the median of the other costs, whose ends are always those of walks.
        smallest: The architecture nearest to the limits, or the one with fewest parameters where none are given.
        smallest_costs: Its costs as limits see them: a predicted latency at its upper bound.
        feasible: Whether an architecture inside the limits was found; ``None`` without limits.
    """

    ranges: Mapping[str, Range]
    measured: int
    exact: bool
    looked_at: int
    smallest: Arch
    smallest_costs: Mapping[str, float]
    feasible: bool | None


def profile(
    space: Space,
    task: TaskSpec,
    *,
    variant: str | None = None,
    limits: Limits | None = None,
    also: Collection[str] = (),
    latency: "LatencySource | None" = None,
    samples: int = _SAMPLES,
    looks: int = _LOOKS,
    seed: int = 0,
) -> Profile:
    """Measure a space: all of it if it is small, else random architectures and walks towards both ends.

    Args:
        space: The space.
        task: What its networks are built for.
        variant: Which network; the one that is trained if not given.
        limits: Upper bounds.
        also: Further costs to show: ``peak_bytes``. What is limited is shown anyway.
        latency: Where latencies come from; with it they are shown.
        samples: Random architectures to measure where the space is large.
        looks: Random architectures to look at for costs other than parameters and MACs.
        seed: Seed of the samples and walks.

    Raises:
        UnknownNameError: The space has no such variant.
        InfeasibleError: No latency could be measured.
    """
    limits = limits or Limits()
    variant = resolve_variant(space, variant)
    cheap = Meter(space, task, variant=variant)
    rng = stable_rng(seed, "profile")
    exact = isinstance(space, Enumerable) and space.size <= _LISTABLE
    if isinstance(space, Enumerable) and exact:
        archs = list(space.architectures())
    else:
        archs = [space.sample(rng) for _ in range(samples)]
    ranges = {name: _range(space, cheap, name, archs, rng, walk=not exact) for name in _CHEAP}

    full, looked_at = cheap, 0
    if latency is not None or {"peak_bytes"} & {*also, *limits.bounds}:
        full = Meter(space, task, variant=variant, also={*also, *limits.bounds}, latency=latency)
        drawn = rng.permutation(len(archs))[:looks].tolist()
        chosen = [archs[position] for position in drawn]
        looked_at = len(chosen)
        # Where the walks begin: other costs mostly rise with the MACs.
        ends = [pick(archs, key=lambda arch: cheap.costs(arch)["macs"]) for pick in (min, max)]
        names = dict.fromkeys(name for arch in chosen for name in full.costs(arch) if name not in _CHEAP)
        for name in names:
            have = [arch for arch in chosen if name in full.costs(arch)]
            starts = [arch for arch in ends if name in full.costs(arch)]
            ranges[name] = _range(space, full, name, have, rng, walk=True, starts=starts, patience=_LOOK_PATIENCE)

    bounded = bool(limits.bounds)

    def key(arch: Arch) -> float:
        return limits.excess(full.upper(arch)) if bounded else cheap.costs(arch)["params"]

    smallest = min(_candidates(archs, cheap, limits, looks) if full is not cheap and bounded else archs, key=key)
    if not exact or (full is not cheap and bounded):
        patience = 200 if full is cheap else 2 * _LOOK_PATIENCE
        smallest = descend(space, smallest, key, rng, goal=1.0 if bounded else -np.inf, patience=patience)
    feasible = key(smallest) <= 1 if bounded else None
    return Profile(ranges, len(archs), exact, looked_at, smallest, full.upper(smallest), feasible)


def _candidates(archs: Sequence[Arch], cheap: Meter, limits: Limits, looks: int) -> list[Arch]:
    """Those worth a look: inside the limits of parameters and MACs if any are, with the fewest MACs."""
    known = Limits({name: bound for name, bound in limits.bounds.items() if name in _CHEAP})

    def key(arch: Arch) -> tuple[float, float]:
        costs = cheap.costs(arch)
        return max(1.0, known.excess(costs)), costs["macs"]

    return sorted(archs, key=key)[:looks]


def _range(
    space: Space,
    meter: Meter,
    name: str,
    archs: Sequence[Arch],
    rng: np.random.Generator,
    *,
    walk: bool,
    starts: Sequence[Arch] = (),
    patience: int = 200,
) -> Range:
    def cost(arch: Arch) -> float:
        return meter.costs(arch).get(name, np.inf)

    def opposite(arch: Arch) -> float:
        return -meter.costs(arch).get(name, -np.inf)

    values = np.array([meter.costs(arch)[name] for arch in archs], dtype=np.float64)
    low, high = min((*archs, *starts), key=cost), min((*archs, *starts), key=opposite)
    if walk:
        low = descend(space, low, cost, rng, patience=patience)
        high = descend(space, high, opposite, rng, patience=patience)
    return Range(meter.costs(low)[name], float(np.median(values)), meter.costs(high)[name])
