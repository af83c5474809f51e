"""What a search wants: names of numbers to maximise, and what a trial came to in them.

An objective is the name of a score in the evaluation that a strategy is told. A cost stands there too, as a score with
a minus sign before its name: ``-macs`` is the negative number of MACs, so that higher is better as for every score and
the cost ``macs`` is never taken for the proxy ``macs``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from subshot._choice import Choice, split_top_level
from subshot._types import Evaluation, Score
from subshot.errors import OptionError, UnknownNameError


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Attributes:
        values: One number for each objective; higher is better.
        violation: How far it breaks what is demanded; 0 if it doesn't, infinite if an objective has no finite value.
    """

    values: tuple[float, ...]
    violation: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it may be chosen."""
        return self.violation == 0


def outcome(evaluation: Evaluation, objectives: Sequence[str], *, slack: str | None = None) -> Outcome:
    """What an evaluation says of the objectives.

    Args:
        evaluation: Scores by name.
        objectives: Names of the scores to maximise.
        slack: Name of a score that is negative by as much as a demand is missed; without one nothing is demanded.
    """
    scores = [evaluation.get(name) for name in (*objectives, *([slack] if slack else []))]
    values = [score.value for score in scores if score is not None and score.ok]
    if len(values) < len(scores):
        return Outcome((-math.inf,) * len(objectives), math.inf)
    return Outcome(tuple(values[: len(objectives)]), max(0.0, -values[-1]) if slack else 0.0)


def with_costs(evaluation: Evaluation, costs: Mapping[str, float]) -> Evaluation:
    """The evaluation with each cost as a score too: ``macs`` becomes ``-macs``, whose value is negative."""
    return {**evaluation, **{f"-{name}": Score.of(-value) for name, value in costs.items()}}


def names_of(objectives: str | Sequence[str]) -> tuple[str, ...]:
    """The names, from a text with commas or a sequence; ``"swap,-macs"`` is two."""
    return tuple(split_top_level(objectives) if isinstance(objectives, str) else objectives)


def check_objectives(
    objectives: str | Sequence[str], *, scores: Sequence[str], costs: Sequence[str]
) -> tuple[str, ...]:
    """The names, if there is something to each of them.

    Args:
        objectives: Names, or a text with commas.
        scores: Scores that every evaluation has.
        costs: Costs that every architecture has.

    Raises:
        OptionError: None was given, one twice, or the first is a cost: a search has a score that names its best.
        UnknownNameError: Neither a score nor a minus sign and a cost.
    """
    names = names_of(objectives)
    allowed = (*scores, *(f"-{name}" for name in costs))
    for name in names:
        if name not in allowed:
            raise UnknownNameError.of("objective", name, allowed)
    if not names or len(set(names)) < len(names) or names[0].startswith("-"):
        raise OptionError(
            f"The objectives {', '.join(names) or 'none'} were given.",
            "Give each once and a score first; costs follow with a minus sign: swap,-macs.",
        )
    return names


def one_objective(owner: Choice, objectives: Sequence[str]) -> str:
    """The only objective.

    Raises:
        OptionError: There are several.
    """
    if len(objectives) != 1:
        raise OptionError(
            f"The strategy {owner.name} was given {len(objectives)} objectives: {', '.join(objectives)}.",
            "It maximises one. Several at once: nsga2, swap_evolution or random.",
        )
    return objectives[0]
