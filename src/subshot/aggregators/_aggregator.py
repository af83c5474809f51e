"""What an aggregator is: several proxies over a set of architectures in, one score for each out, by order alone.

An aggregate belongs to the population it was ranked in: add architectures and every value moves. Where values must
stay, freeze a reference population; each candidate is then placed among its members and nowhere else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from subshot._registry import Registry
from subshot._types import Evaluation
from subshot.errors import DataError


@dataclass(frozen=True, eq=False)
class Contest:
    """Candidates and the population they are ranked in.

    A score that is not finite is minus infinity here, whatever it was: it ties with its like below every finite one.

    Attributes:
        candidates: Scores, (K proxies, N candidates), higher is better.
        reference: Scores of the population, (K, M), rows in the same order; the candidates themselves unless one was
            frozen.
    """

    candidates: NDArray[np.float64]
    reference: NDArray[np.float64]

    @property
    def size(self) -> int:
        """Members of the population, M."""
        return len(self.reference[0])

    def ranks(self) -> NDArray[np.float64]:
        """Rank of each candidate by each proxy, (K, N): 1 is the worst member's, M the best one's.

        Equals share the mean of their ranks. A candidate that equals no member of a frozen population stands half-way
        between its neighbours' ranks, so ranks run from 1/2 to M + 1/2.
        """
        return np.stack([_ranks(*both) for both in zip(self.candidates, np.sort(self.reference, axis=1), strict=True)])


Combine = Callable[[Contest], NDArray[np.float64]]
C = TypeVar("C", bound=Combine)


@dataclass(frozen=True)
class AggregatorInfo:
    """An aggregator and the facts about it.

    Attributes:
        name: Registry name, also the function's and the file's.
        combine: The function: a contest to one number for each candidate, higher is better.
        paper: Where it was published.
        formula: The formula in one line.
        scale: How values may be compared.
        reads: The proxies it is defined for; empty if it takes any.
    """

    name: str
    combine: Combine
    paper: str
    formula: str
    scale: str
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Aggregate:
    """One score for each architecture of a set.

    Attributes:
        values: (N,), higher is better. An architecture without a single finite score has none either: NaN.
        ranks: For each proxy read the ranks behind the values, (N,); see :meth:`Contest.ranks`.
        non_finite: For each proxy read how many of the N scores were not finite and went to the bottom.
        population: Size of the population ranked in.
    """

    values: NDArray[np.float64]
    ranks: Mapping[str, NDArray[np.float64]]
    non_finite: Mapping[str, int]
    population: int

    @property
    def best(self) -> int | None:
        """Position of the highest value, the earliest among equals; ``None`` if there is no value."""
        return None if np.isnan(self.values).all() else int(np.nanargmax(self.values))


AGGREGATORS: Registry[AggregatorInfo] = Registry("aggregator", "subshot.aggregators")


def aggregator(*, paper: str, formula: str, scale: str, reads: tuple[str, ...] = ()) -> Callable[[C], C]:
    """Register the decorated function under its own name; the arguments are those of :class:`AggregatorInfo`."""

    def register(combine: C) -> C:
        name = combine.__name__
        AGGREGATORS.register(name, AggregatorInfo(name, combine, paper, formula, scale, reads))
        return combine

    return register


def aggregate(
    name: str, scores: Mapping[str, ArrayLike], *, reference: Mapping[str, ArrayLike] | None = None
) -> Aggregate:
    """Aggregate the scores of a set of architectures.

    Only the order of each proxy's scores matters, so any increasing transform of them changes nothing. A score that is
    not finite (NaN or an infinity of either sign: overflow is no merit) ties with its like below every finite one, and
    is counted.

    Args:
        name: An aggregator.
        scores: For each proxy one score for each of N architectures, higher is better, in the same order. An
            aggregator of a paper reads the proxies it names, with options or without, and leaves others alone; the
            rest read all.
        reference: Scores of a frozen population by the same keys. A candidate's value then depends on this population
            and itself only, and is the one it has inside the population if it belongs there.

    Raises:
        UnknownNameError: No aggregator has that name.
        DataError: Scores of a proxy are missing, or are no lists of numbers of one length.
    """
    info = get_aggregator(name)
    keys = _keys(info, scores)
    candidates = _table("scores", scores, keys)
    contest = Contest(candidates, candidates if reference is None else _table("reference scores", reference, keys))
    values = np.array(info.combine(contest), dtype=np.float64)
    absent = candidates == -np.inf
    values[absent.all(axis=0)] = np.nan
    return Aggregate(
        values,
        dict(zip(keys, contest.ranks(), strict=True)),
        dict(zip(keys, absent.sum(axis=1).tolist(), strict=True)),
        contest.size,
    )


def scores_by_proxy(evaluations: Sequence[Evaluation]) -> dict[str, NDArray[np.float64]]:
    """The evaluations of N architectures, for example of a study's rows, as :func:`aggregate` takes them.

    A score without a finite value, or one that an evaluation lacks, is NaN.

    Args:
        evaluations: One for each architecture.

    Returns:
        For each proxy, in the order of their appearance, N scores.
    """
    names = dict.fromkeys(name for evaluation in evaluations for name in evaluation)
    return {name: np.array([_value(evaluation, name) for evaluation in evaluations]) for name in names}


def get_aggregator(name: str) -> AggregatorInfo:
    """The facts about the aggregator called ``name``.

    Raises:
        UnknownNameError: No aggregator has that name.
    """
    return AGGREGATORS.get(name)


def list_aggregators() -> list[str]:
    """Names of all aggregators."""
    return AGGREGATORS.names()


def _ranks(values: NDArray[np.float64], ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    below, not_above = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    ranks: NDArray[np.float64] = (below + not_above + 1) / 2
    return ranks


def _keys(info: AggregatorInfo, scores: Mapping[str, Any]) -> list[str]:
    """The keys of ``scores`` that are read."""
    if not scores:
        raise DataError("No proxy's scores were given to aggregate.", "Give a list of scores for each proxy by name.")
    if not info.reads:
        return list(scores)
    of = {name: [key for key in scores if key.partition("(")[0].strip() == name] for name in info.reads}
    missing = [name for name, found in of.items() if not found]
    if missing:
        raise DataError(
            f"{info.name} reads {', '.join(info.reads)}, and there are no scores of {', '.join(missing)}.",
            f"Score the architectures by {','.join(info.reads)}; given were {', '.join(scores)}.",
        )
    for name, found in of.items():
        if len(found) > 1:
            raise DataError(f"{info.name} reads one {name}, and {' and '.join(found)} were given.", "Leave one out.")
    return [found[0] for found in of.values()]


def _table(what: str, scores: Mapping[str, ArrayLike], keys: Sequence[str]) -> NDArray[np.float64]:
    """The rows of ``keys``, (K, N), with minus infinity for all that is not finite."""
    missing = [key for key in keys if key not in scores]
    if missing:
        given = ", ".join(scores) or "none"
        raise DataError(f"There are no {what} of {', '.join(missing)}.", f"Give them too; given were {given}.")
    rows = {key: _row(what, key, scores[key]) for key in keys}
    lengths = {key: len(row) for key, row in rows.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{length:,} of {key}" for key, length in lengths.items())
        raise DataError(f"The {what} are of different numbers of architectures: {shown}.", "Give one score for each.")
    return np.stack(list(rows.values()))


def _row(what: str, key: str, scores: ArrayLike) -> NDArray[np.float64]:
    try:
        row = np.asarray(scores, dtype=np.float64)  # a missing score, None, becomes NaN
    except (TypeError, ValueError) as error:
        raise DataError(f"The {what} of {key} are no numbers: {error}.", "Give a list of numbers.") from error
    if row.ndim != 1 or not len(row):
        raise DataError(f"The {what} of {key} have shape {row.shape}.", "Give a list of at least one number.")
    return np.where(np.isfinite(row), row, -np.inf)


def _value(evaluation: Evaluation, name: str) -> float:
    score = evaluation.get(name)
    return score.value if score is not None and score.ok else np.nan
