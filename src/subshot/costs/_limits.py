"""Upper bounds on costs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from subshot.errors import OptionError

# Costs of an architecture by name.
Costs = Mapping[str, float]


@dataclass(frozen=True)
class Limits:
    """Upper bounds by cost name, for example ``{"params": 1e6}``.

    Attributes:
        bounds: Highest value allowed for each limited cost.
    """

    bounds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        *,
        params: float | None = None,
        macs: float | None = None,
        peak_bytes: float | None = None,
        latency_ms: float | None = None,
    ) -> "Limits":
        """Limits on the given costs; ``None`` leaves a cost free.

        Raises:
            OptionError: A limit that is negative or not finite.
        """
        given = {"params": params, "macs": macs, "peak_bytes": peak_bytes, "latency_ms": latency_ms}
        bounds = {name: bound for name, bound in given.items() if bound is not None}
        for name, bound in bounds.items():
            if not (bound >= 0 and math.isfinite(bound)):
                raise OptionError(f"The limit of {name} was given as {bound}.", "It is a number from 0 on.")
        return cls(bounds)

    def excess(self, costs: Costs) -> float:
        """How far beyond the limits, as the largest ratio to a limit; at most 1 means inside.

        A cost that is missing, because the network can't be built, is beyond every limit.
        """
        ratios = (costs.get(name, np.inf) / bound if bound > 0 else np.inf for name, bound in self.bounds.items())
        return max(ratios, default=0.0)

    def __str__(self) -> str:
        return ", ".join(f"{name} <= {shown(name, bound)}" for name, bound in sorted(self.bounds.items())) or "none"


def shown(name: str, value: float) -> str:
    """A cost for people: counts whole, times with the digits that matter."""
    return f"{value:,.4g}" if name == "latency_ms" else f"{value:,.0f}"
