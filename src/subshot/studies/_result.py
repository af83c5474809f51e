"""The result of a search: the best architectures, the front, and ``best.json``."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from subshot._types import Protocol, Score
from subshot.errors import StudyError
from subshot.strategies._objectives import Outcome, outcome, with_costs
from subshot.strategies._pareto import dominates
from subshot.studies._store import Row


@dataclass(frozen=True)
class Found:
    """An architecture with its objective and costs.

    Attributes:
        arch: Canonical text.
        score: The objective.
        costs: Costs of the network that would be trained, by name.
        others: The scores that are objectives besides, by name.
    """

    arch: str
    score: Score
    costs: Mapping[str, float]
    others: Mapping[str, Score] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values; ``score`` is the number alone."""
        others = {name: score.to_dict()["value"] for name, score in self.others.items()}
        return {
            "arch": self.arch,
            "score": self.score.to_dict()["value"],
            **({"others": others} if others else {}),
            "costs": dict(self.costs),
        }


@dataclass(frozen=True)
class Study:
    """A search and its result.

    Attributes:
        status: ``done``, or ``interrupted`` by the user.
        objective: Name of the score that was maximised.
        best: The best architecture; ``None`` if none has a finite score.
        front: Architectures that no other beats in all :attr:`objectives` at once, best score first.
        rows: Every trial in order.
        evaluations: Distinct architectures evaluated or read back from the store.
        resumed: How many of them were in the store already.
        explanation: Why the search ended before its budget was spent; empty if it was, or the user interrupted.
        seconds: Wall time, this time.
        protocol: How every score was measured.
        settings: What the study is; equal settings resume.
        run: The run folder, if there is one.
        warm_up: How the weights were learnt that the scores were taken with, and what that cost; ``None`` if they
            weren't.
        latency: What latencies under a limit were predicted by, and what measuring those handed out gave; ``None``
            without such a limit.
        aggregate: The aggregator that orders the result, which is its :attr:`objective` then.
    """

    status: Literal["done", "interrupted"]
    objective: str
    best: Found | None
    front: tuple[Found, ...]
    rows: tuple[Row, ...]
    evaluations: int
    resumed: int
    explanation: str
    seconds: float
    protocol: Protocol
    settings: Mapping[str, Any]
    run: Path | None
    warm_up: Mapping[str, Any] | None = None
    latency: Mapping[str, Any] | None = None
    aggregate: str | None = None

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the front is of, costs with a minus sign; score, parameters and MACs unless asked for otherwise."""
        return tuple(self.settings.get("objectives", ())) or (self.objective, "-params", "-macs")

    @property
    def failed(self) -> int:
        """Architectures evaluated without a finite objective; they are never chosen."""
        return sum(row.same_as is None and not row.scores[self.objective].ok for row in self.rows)

    @property
    def compute_seconds(self) -> float:
        """What looking at all the networks took, whenever that was; summed over workers."""
        return sum(row.scores[self.objective].cost.seconds for row in self.rows if row.same_as is None)

    def top(self, n: int) -> list[Found]:
        """The best ``n`` distinct architectures, best first, without those measured to be slower than the limit."""
        return delivered(best_first(self.rows, self.objective), self.latency)[:n]

    def deliverable(self, n: int) -> list[Found]:
        """As :meth:`top`, but where latencies were measured for a limit, those that were: ``n`` at most."""
        measured = {one["arch"] for one in (self.latency or {}).get("measured", ())}
        found = self.top(len(self.rows))
        return [one for one in found if not measured or one.arch in measured][:n]

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values, without the rows."""
        return {
            "status": self.status,
            "best": self.best.to_dict() if self.best else None,
            "front": [found.to_dict() for found in self.front],
            "evaluations": self.evaluations,
            "failed": self.failed,
            "explanation": self.explanation,
            "seconds": round(self.seconds, 3),
            "resumed": self.resumed,
            "compute_seconds": round(self.compute_seconds, 3),
            "objective": self.objective,
            **({"aggregate": self.aggregate} if self.aggregate is not None else {}),
            "settings": {key: value for key, value in self.settings.items() if key != "protocol"},
            "protocol": self.protocol.to_dict(),
            "run": str(self.run) if self.run else None,
            **({"latency": dict(self.latency)} if self.latency is not None else {}),
            **({"warm_up": dict(self.warm_up)} if self.warm_up is not None else {}),
        }


def best_first(rows: Sequence[Row], objective: str, *, objectives: Sequence[str] = ()) -> list[Found]:
    """Distinct architectures with a finite objective, best first; among equals the smaller, then the earlier first.

    Args:
        rows: Trials.
        objective: The score that orders.
        objectives: Of which those are noted that are scores.
    """
    found = [
        Found(
            row.arch,
            row.scores[objective],
            row.costs,
            {name: row.scores[name] for name in objectives if name in row.scores and name != objective},
        )
        for row in rows
        if row.same_as is None and row.scores[objective].ok
    ]
    return sorted(found, key=lambda one: (-one.score.value, one.costs.get("params", 0.0), one.costs.get("macs", 0.0)))


def delivered(ranked: Sequence[Found], latency: Mapping[str, Any] | None) -> list[Found]:
    """Those that may be handed out, with latencies as measured: what was measured to be too slow is left out.

    Where more would have had to be measured than could be, only those that were measured may be handed out.

    Args:
        ranked: Architectures in any order, which stays.
        latency: What a search with a limit of latency told of measuring, :attr:`Study.latency`.
    """
    latency = latency or {}
    measured = {one["arch"]: one for one in latency.get("measured", ())}
    if latency.get("only_measured", False):
        ranked = [one for one in ranked if one.arch in measured]
    return [
        replace(one, costs={**one.costs, "latency_ms": measured[one.arch]["ms"]}) if one.arch in measured else one
        for one in ranked
        if one.arch not in measured or measured[one.arch]["kept"]
    ]


def pareto_front(ranked: Sequence[Found], *, objectives: Sequence[str] = ()) -> tuple[Found, ...]:
    """Those that no other equals or beats in everything and beats in something; best score first.

    Args:
        ranked: Best score first.
        objectives: What is compared, the score first; the score and all costs if not given. Of equal ones the first
            stays.
    """
    if objectives:
        return _front_of(ranked, objectives)
    front: list[Found] = []
    for one in ranked:  # by falling score: later ones can't beat those before, unless their scores are equal
        if not any(
            _costs_no_more(other, one) and (other.score.value > one.score.value or other.costs != one.costs)
            for other in front
        ):
            front = [
                other
                for other in front
                if other.score.value > one.score.value or other.costs == one.costs or not _costs_no_more(one, other)
            ]
            front.append(one)
    return tuple(front)


def _costs_no_more(one: Found, other: Found) -> bool:
    return all(one.costs.get(name, math.inf) <= value for name, value in other.costs.items())


def _front_of(ranked: Sequence[Found], objectives: Sequence[str]) -> tuple[Found, ...]:
    front: list[tuple[Found, Outcome]] = []
    for one in ranked:
        told = outcome(with_costs({objectives[0]: one.score, **one.others}, one.costs), objectives)
        if told.ok and not any(dominates(other, told) or other == told for _, other in front):
            # Among equal scores a later one may be better in the rest.
            front = [(found, other) for found, other in front if not dominates(told, other)]
            front.append((one, told))
    return tuple(found for found, _ in front)


def write_best(run: Path, study: Study) -> None:
    """Replace ``best.json`` at once, so that a kill leaves the old one or the new one.

    Raises:
        StudyError: It can't be written.
    """
    temporary = run / "best.json.new"
    try:
        temporary.write_text(json.dumps(study.to_dict(), indent=2, allow_nan=False) + "\n")
        temporary.replace(run / "best.json")
    except OSError as error:
        raise StudyError(f"{run / 'best.json'} can't be written: {error}.", "Check the folder.") from error
