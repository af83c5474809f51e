"""How far two measurements of the same thing agree: how far either can be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot.benchmarks.ranking import Estimate, estimate, kendall, spearman


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of two measurements of the same architectures.

    Attributes:
        spearman: Spearman's rho.
        kendall: Kendall's tau-b.
        archs: Architectures with two finite values.
    """

    spearman: Estimate
    kendall: Estimate
    archs: int

    def to_dict(self) -> Mapping[str, Any]:
        """Strict JSON values."""
        return {
            "spearman": _plain(self.spearman.value),
            "spearman_ci": [_plain(self.spearman.low), _plain(self.spearman.high)],
            "kendall": _plain(self.kendall.value),
            "kendall_ci": [_plain(self.kendall.low), _plain(self.kendall.high)],
            "archs": self.archs,
        }


def agree(first: NDArray[np.float64], second: NDArray[np.float64], *, seed: int = 0) -> Agreement | None:
    """Agreement of two measurements; ``None`` below three architectures with two finite values.

    Args:
        first: One value for each architecture, (N,).
        second: Likewise.
        seed: Seed of the bootstrap.
    """
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3:
        return None
    of_both = (first[both], second[both])
    return Agreement(
        estimate(*of_both, spearman, seed=seed), estimate(*of_both, kendall, seed=seed), archs=int(both.sum())
    )


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None
