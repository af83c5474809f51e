"""How scores do inside limits: a search with a bound on cost sees a part of a space, where a good score may fail.

A score whose correlation is high over a whole space is often a measure of size. Inside a band of parameters, MACs or
latency that is gone, and its highest value may belong to a network worse than a random one. So beside the correlation
inside each band stands what the score picks there, with the best and the mean of the band.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot.benchmarks.ranking import Estimate, estimate, highest_mean, non_finite_last, spearman
from subshot.errors import OptionError

_NUMBER = r"\d+(?:\.\d*)?(?:e[+-]?\d+)?[kmg]?"
_RANGE = re.compile(rf"(?P<name>.+):\s*(?P<low>{_NUMBER})?\s*-\s*(?P<high>{_NUMBER})?\s*", re.IGNORECASE)
_BOUND = re.compile(rf"(?P<name>.+?)\s*(?P<sign><=|>=)\s*(?P<bound>{_NUMBER})\s*", re.IGNORECASE)
_MAGNITUDES = {"k": 1e3, "m": 1e6, "g": 1e9}
_FORM = (
    "Write params:0.3M-0.6M, params<=1M, or a column of the table in place of params. Its numbers are finite, from 0 "
    "on, the lower first; from Python, Limit(column, low, high) also takes negative ones of a column."
)
_COUNTED = ("params", "macs")

_CHOICES = 10


@dataclass(frozen=True)
class Limit:
    """A range of a cost; both ends belong to it.

    Attributes:
        cost: ``params``, ``macs`` or a column of the table.
        low: Least allowed; ``None`` for no such end.
        high: Most allowed.

    Raises:
        OptionError: An end that is not finite, a negative one of ``params`` or ``macs``, or ends in the wrong order.
    """

    cost: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        given = f"The limit of {self.cost} was given as low={self.low}, high={self.high}."
        for end in (self.low, self.high):
            if end is None:
                continue
            if not math.isfinite(end):
                raise OptionError(given, "An end is a finite number, or None where there is no such end.")
            if end < 0 and self.cost in _COUNTED:
                raise OptionError(given, f"{self.cost} are counted: give numbers from 0 on.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise OptionError(given, "Give the lower end first.")

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Read ``params:0.3M-0.6M``, ``params:0.3M-``, ``params<=0.6M`` or ``params>=0.3M``.

        Raises:
            OptionError: The text is none of these, or its ends are as they can't be.
        """
        bound = _BOUND.fullmatch(text.strip())
        if bound is not None:
            value = _size(bound["bound"])
            return cls(bound["name"], high=value) if bound["sign"] == "<=" else cls(bound["name"], low=value)
        found = _RANGE.fullmatch(text.strip())
        if found is None or found["low"] is found["high"] is None:
            raise OptionError(f"{text!r} is no limit.", _FORM)
        low, high = (None if end is None else _size(end) for end in (found["low"], found["high"]))
        if low is not None and high is not None and low > high:
            raise OptionError(f"{text!r} ends before it begins.", _FORM)
        return cls(found["name"].strip(), low, high)

    def holds(self, costs: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which costs are inside; unknown ones, NaN, are not."""
        inside = np.isfinite(costs)
        if self.low is not None:
            inside &= costs >= self.low
        if self.high is not None:
            inside &= costs <= self.high
        return inside

    def check(self, costs: NDArray[np.float64]) -> None:
        """Refuse a limit that none of the costs is inside of.

        Raises:
            OptionError: None is.
        """
        if self.holds(costs).any():
            return
        known = costs[np.isfinite(costs)]
        there = f"they go from {_short(known.min())} to {_short(known.max())}" if len(known) else "none has one"
        raise OptionError(f"No architecture is inside {self}.", f"Of the {len(costs):,} ranked ones, {there}.")

    def __str__(self) -> str:
        if self.low is None:
            return self.cost if self.high is None else f"{self.cost} <= {_short(self.high)}"
        return f"{self.cost} {_short(self.low)}{' up' if self.high is None else f' to {_short(self.high)}'}"


@dataclass(frozen=True)
class BandRow:
    """How one score does inside a limit.

    Attributes:
        score: Its name.
        spearman: Rank correlation with the true values there; ``None`` below three finite scores.
        top1: True value of the highest score, the mean over those that share it.
        top10_mean: Mean true value of the ten highest, or of all where there are fewer; without a finite score is last.
        picks: Positions of the architectures that share the highest score; none without a finite score.
        archs: Architectures inside with a finite score.
    """

    score: str
    spearman: Estimate | None
    top1: float
    top10_mean: float
    picks: tuple[int, ...]
    archs: int


@dataclass(frozen=True)
class Band:
    """Architectures inside a limit.

    Attributes:
        limit: The limit.
        archs: How many there are.
        best: The best true value inside.
        mean: The mean true value inside, which is what a random choice gets.
        rows: One for each score, in the order given.
    """

    limit: Limit
    archs: int
    best: float
    mean: float
    rows: tuple[BandRow, ...]

    def worse_than_random(self, row: BandRow) -> bool:
        """Whether the first choice is below the mean of the band."""
        return (row.top1 - self.mean) * (self.best - self.mean) < 0

    def to_dict(self, texts: "tuple[str, ...]") -> dict[str, Any]:
        """Strict JSON values; ``texts`` are those of all architectures."""
        rows = []
        for one in self.rows:
            found = one.spearman
            interval = [None, None] if found is None else [_plain(found.low), _plain(found.high)]
            rows.append(
                {
                    "proxy": one.score,
                    "spearman": None if found is None else _plain(found.value),
                    "spearman_ci": interval,
                    "top1": _plain(one.top1),
                    "top10_mean": _plain(one.top10_mean),
                    "regret": _plain(abs(self.best - one.top1)),
                    "worse_than_random": self.worse_than_random(one),
                    "pick": texts[one.picks[0]] if one.picks else None,
                    "tied": len(one.picks),
                    "archs": one.archs,
                }
            )
        limit = {"cost": self.limit.cost, "low": self.limit.low, "high": self.limit.high}
        return {**limit, "archs": self.archs, "best": self.best, "random_mean": self.mean, "rows": rows}


def quantile_limits(cost: str, values: NDArray[np.float64], count: int) -> list[Limit]:
    """Adjoining limits with about equally many architectures each; those that share a cost stay together.

    Args:
        cost: What it is called.
        values: The cost of each architecture; NaN where it is unknown.
        count: How many limits; there are fewer where costs repeat too often.

    Raises:
        OptionError: Fewer than two, or no known cost.
    """
    known = values[np.isfinite(values)]
    if count < 2 or not len(known):
        raise OptionError(
            f"{count} bands of {cost} were asked for, which {len(known):,} architectures have.", "Ask for two or more."
        )
    edges = np.quantile(known, [part / count for part in range(1, count)], method="inverted_cdf")
    group = np.searchsorted(edges, known, side="left")
    parts = [known[group == number] for number in range(count)]
    return [Limit(cost, float(part.min()), float(part.max())) for part in parts if len(part)]


def band(
    limit: Limit,
    costs: NDArray[np.float64],
    scores: Mapping[str, NDArray[np.float64]],
    truth: NDArray[np.float64],
    *,
    minimize: bool = False,
    seed: int = 0,
) -> Band:
    """How scores do among the architectures inside a limit.

    Args:
        limit: The limit.
        costs: Cost of each architecture, (N,), NaN where it is unknown.
        scores: N scores each, higher is better; non-finite ones come last.
        truth: N true values in their own unit, finite.
        minimize: Whether low true values are good.
        seed: Seed of the intervals.

    Raises:
        OptionError: No architecture is inside.
    """
    limit.check(costs)
    inside = np.flatnonzero(limit.holds(costs))
    true = truth[inside]
    return Band(
        limit,
        len(inside),
        best=float(true.min() if minimize else true.max()),
        mean=float(true.mean()),
        rows=tuple(
            _row(name, values[inside], true, inside, sign=-1 if minimize else 1, seed=seed)
            for name, values in scores.items()
        ),
    )


def _row(
    name: str, scores: NDArray[np.float64], truth: NDArray[np.float64], places: NDArray[Any], *, sign: int, seed: int
) -> BandRow:
    finite = np.flatnonzero(np.isfinite(scores))
    if not len(finite):
        return BandRow(name, None, math.nan, math.nan, (), 0)
    kept, ranks = scores[finite], non_finite_last(scores)
    found = estimate(scores, sign * truth, spearman, seed=seed) if len(finite) > 2 else None
    picks = places[finite[kept == kept.max()]]
    return BandRow(
        name,
        found,
        highest_mean(ranks, truth, 1),
        highest_mean(ranks, truth, min(_CHOICES, len(ranks))),
        tuple(int(place) for place in picks),
        len(finite),
    )


def _size(text: str) -> float:
    magnitude = _MAGNITUDES.get(text[-1].lower(), 1.0)
    return float(text.rstrip("kmgKMG")) * magnitude


def _short(value: float) -> str:
    """A number with its magnitude: 0.3M is 300k."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.4g}"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
