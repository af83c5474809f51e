"""What every recorder of feature maps is given."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from subshot.proxies._axes import Axes
from subshot.proxies._proxy import Need

Measure = Callable[[Tensor], None]


def _as_it_is(measure: Measure) -> Measure:
    return measure


@dataclass(frozen=True)
class Recording:
    """One recording of a forward pass.

    Attributes:
        needs: What to gather.
        axes: Tells channels and samples.
        seed: Seed of random rows, channels and directions.
        uncounted: Wraps what takes matrix products of its own, for a counter of the network's.
        missing: Where it is noted what could not be had.
    """

    needs: Need
    axes: Axes
    seed: int
    uncounted: Callable[[Measure], Measure] = _as_it_is
    missing: dict[Need, Exception] = field(default_factory=dict)
