"""How well scores order architectures, and how good their first choices are, with bootstrap intervals.

Correlation over all architectures and picking good ones are different things: both are reported.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from subshot._seeds import stable_rng
from subshot.errors import DataError

# In the order of the report.
STATISTICS = ("spearman", "kendall", "kendall_top10", "kendall_top5", "precision_top5", "top1", "top10_mean")

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
        kendall_top10: Kendall's tau-b among the truly best 10 % of all; NaN below three architectures.
        kendall_top5: The same among the best 5 %.
        precision_top5: Share of the true best 5 % among the 5 % with the highest scores.
        top1: True value of the architecture with the highest score.
        top10_mean: Mean true value of the ten with the highest scores.
        archs: Architectures with a finite score.
        non_finite: Architectures without one. Spearman and Kendall over all leave them out; the statistics of the top
            place them last, because a score that fails on the best networks doesn't find them.
        spearman_all: Spearman's rho over all, with the non-finite scores tied for the last place.
    """

    spearman: Estimate
    kendall: Estimate
    kendall_top10: Estimate
    kendall_top5: Estimate
    precision_top5: Estimate
    top1: Estimate
    top10_mean: Estimate
    archs: int
    non_finite: int
    spearman_all: Estimate


def spearman(scores: np.ndarray, truth: np.ndarray) -> float:
    """Spearman's rank correlation; NaN if either side is constant."""
    return _quiet(lambda: float(stats.spearmanr(scores, truth).statistic))


def kendall(scores: np.ndarray, truth: np.ndarray) -> float:
    """Kendall's tau-b; NaN if either side is constant."""
    return _quiet(lambda: float(stats.kendalltau(scores, truth).statistic))


def rank(scores: np.ndarray, truth: np.ndarray, *, seed: int = 0) -> Ranking:
    """Rank correlations of ``scores`` with ``truth``.

    Args:
        scores: One number per architecture, higher is better; non-finite ones as :class:`Ranking` says.
        truth: What the scores should order, finite, higher is better.
        seed: Seed of the bootstrap.

    Raises:
        DataError: Lengths differ, a truth is not finite, or fewer than three finite scores.
    """
    scores, truth = _checked(scores, truth)
    ranks = non_finite_last(scores)
    resampled = np.array([_statistics(ranks[draw], truth[draw]) for draw in _draws(len(ranks), seed)])
    values = _statistics(ranks, truth)
    named = zip(STATISTICS, values, resampled.T, strict=True)
    estimates = {name: _estimate(value, several) for name, value, several in named}
    left_out = int((ranks == 0).sum())
    everything = estimates["spearman"] if not left_out else estimate(ranks, truth, seed=seed)
    return Ranking(**estimates, archs=len(ranks) - left_out, non_finite=left_out, spearman_all=everything)


def non_finite_last(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1 on, ties at their mean, and 0 for every score that is not finite: they share the last place."""
    finite = np.isfinite(scores)
    ranks = np.zeros(len(scores))
    ranks[finite] = stats.rankdata(np.asarray(scores, dtype=np.float64)[finite])
    return ranks


def estimate(
    scores: np.ndarray,
    truth: np.ndarray,
    statistic: Callable[[np.ndarray, np.ndarray], float] = spearman,
    *,
    seed: int = 0,
) -> Estimate:
    """One statistic with its interval, the same as :func:`rank` gives; quicker where the others aren't wanted.

    Args:
        scores: As for :func:`rank`.
        truth: As for :func:`rank`.
        statistic: Of (scores, truth) without non-finite ones.
        seed: Seed of the bootstrap.

    Raises:
        DataError: As for :func:`rank`.
    """
    scores, truth = _checked(scores, truth)

    def of(some: np.ndarray, true: np.ndarray) -> float:
        finite = np.isfinite(some)
        return statistic(some[finite], true[finite]) if finite.sum() > 2 else np.nan

    resampled = np.array([of(scores[draw], truth[draw]) for draw in _draws(len(scores), seed)])
    return _estimate(of(scores, truth), resampled)


def _checked(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and truth as arrays of equal length, the truth finite, three scores at least too."""
    scores, truth = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if scores.shape != truth.shape or scores.ndim != 1:
        raise DataError(
            f"Scores of shape {scores.shape} and truth of shape {truth.shape} were given.", "Give two lists."
        )
    if not np.isfinite(truth).all():
        raise DataError(f"{int((~np.isfinite(truth)).sum())} true values are not finite.", "Leave these rows out.")
    finite = int(np.isfinite(scores).sum())
    if finite < 3:
        raise DataError(f"Only {finite} of {len(scores)} scores are finite.", "A ranking needs at least three.")
    return scores, truth


def _draws(count: int, seed: int) -> Iterator[np.ndarray]:
    """Resamples, one at a time: a thousand of a whole space would take more memory than everything else."""
    rng = stable_rng(seed, "bootstrap")
    return (rng.integers(count, size=count) for _ in range(_RESAMPLES))


def _statistics(ranks: np.ndarray, truth: np.ndarray) -> list[float]:
    """The statistics of a ranking in the order of its fields; rank 0 is an architecture without a finite score."""
    count, finite = len(ranks), ranks > 0
    best = [truth >= np.quantile(truth, 1 - share) for share in (0.1, 0.05)]
    chosen = max(1, round(0.05 * count))
    return [
        *(f(ranks[finite], truth[finite]) if finite.sum() > 2 else np.nan for f in (spearman, kendall)),
        *(kendall(ranks[some], truth[some]) if some.sum() > 2 else np.nan for some in best),
        highest_mean(ranks, best[1], chosen),
        highest_mean(ranks, truth, 1),
        highest_mean(ranks, truth, min(10, count)),
    ]


def highest_mean(scores: np.ndarray, values: np.ndarray, count: int) -> float:
    """Mean of ``values`` over the ``count`` highest scores; those tied for the last places share them equally."""
    threshold = np.partition(scores, -count)[-count]
    above, tied = scores > threshold, scores == threshold
    places = count - int(above.sum())
    return float((values[above].sum() + places * values[tied].mean()) / count)


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    values = resampled[np.isfinite(resampled)]
    low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (np.nan, np.nan)
    return Estimate(value, float(low), float(high))


def _quiet(compute: Callable[[], float]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return compute()
