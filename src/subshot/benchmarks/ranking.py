"""How well scores order architectures: rank correlations with bootstrap intervals."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from subshot._seeds import stable_rng
from subshot.errors import DataError

# Resamples of the architectures for an interval.
_RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % bootstrap interval over architectures.

    Attributes:
        value: The statistic of all architectures.
        low: 2.5th percentile over resamples.
        high: 97.5th percentile.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Ranking:
    """Agreement of a score with the truth.

    Attributes:
        spearman: Spearman's rho, ties at their mean rank.
        kendall: Kendall's tau-b.
        archs: Architectures with a finite score.
        non_finite: Architectures without one, which are left out of the statistics.
    """

    spearman: Estimate
    kendall: Estimate
    archs: int
    non_finite: int


def spearman(scores: np.ndarray, truth: np.ndarray) -> float:
    """Spearman's rank correlation; NaN if either side is constant."""
    return _quiet(lambda: float(stats.spearmanr(scores, truth).statistic))


def kendall(scores: np.ndarray, truth: np.ndarray) -> float:
    """Kendall's tau-b; NaN if either side is constant."""
    return _quiet(lambda: float(stats.kendalltau(scores, truth).statistic))


def rank(scores: np.ndarray, truth: np.ndarray, *, seed: int = 0) -> Ranking:
    """Rank correlations of ``scores`` with ``truth``.

    Args:
        scores: One number per architecture, higher is better; a non-finite one is counted and left out.
        truth: What the scores should order, finite, higher is better.
        seed: Seed of the bootstrap.

    Raises:
        DataError: Lengths differ, a truth is not finite, or fewer than three finite scores.
    """
    scores, truth = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if scores.shape != truth.shape or scores.ndim != 1:
        raise DataError(
            f"Scores of shape {scores.shape} and truth of shape {truth.shape} were given.", "Give two lists."
        )
    if not np.isfinite(truth).all():
        raise DataError(f"{int((~np.isfinite(truth)).sum())} true values are not finite.", "Leave these rows out.")
    finite = np.isfinite(scores)
    if finite.sum() < 3:
        raise DataError(
            f"Only {int(finite.sum())} of {len(scores)} scores are finite.", "A ranking needs at least three."
        )
    kept, true = scores[finite], truth[finite]
    draws = stable_rng(seed, "bootstrap").integers(len(kept), size=(_RESAMPLES, len(kept)))
    return Ranking(
        _estimate(spearman, kept, true, draws),
        _estimate(kendall, kept, true, draws),
        int(finite.sum()),
        int((~finite).sum()),
    )


def _estimate(
    statistic: Callable[[np.ndarray, np.ndarray], float], scores: np.ndarray, truth: np.ndarray, draws: np.ndarray
) -> Estimate:
    values = np.array([statistic(scores[draw], truth[draw]) for draw in draws])
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (np.nan, np.nan)
    return Estimate(statistic(scores, truth), float(low), float(high))


def _quiet(compute: Callable[[], float]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return compute()
