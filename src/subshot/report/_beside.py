"""What a search's result is seen beside: the user's own model, and all that the front could have covered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from subshot._types import Score
from subshot.spaces._choices import UNCHANGED
from subshot.strategies._hypervolume import hypervolume
from subshot.strategies._objectives import outcome, with_costs

if TYPE_CHECKING:
    from subshot.studies._result import Study

# With more objectives, a large front takes long.
_MOST_OBJECTIVES = 3


@dataclass(frozen=True)
class OwnModel:
    """The model that a space was made around, as it was evaluated.

    Attributes:
        arch: Its text.
        score: The objective.
        costs: Costs by name.
        rank: Its place by score, from 1; 0 without a finite score.
    """

    arch: str
    score: Score
    costs: Mapping[str, float]
    rank: int


def own_model(study: "Study") -> OwnModel | None:
    """The user's own model; ``None`` for other spaces, and where it is outside the limits."""
    row = next((row for row in study.rows if row.same_as is None and row.arch == UNCHANGED), None)
    if row is None:
        return None
    ranks = {found.arch: place for place, found in enumerate(study.top(len(study.rows)), start=1)}
    return OwnModel(row.arch, row.scores[study.objective], row.costs, ranks.get(row.arch, 0))


@dataclass(frozen=True)
class FrontVolume:
    """How much a front covers.

    Attributes:
        share: Of the box between the worst and the best value of each objective.
        reference: The worst values, by objective.
    """

    share: float
    reference: Mapping[str, float]


def front_volume(study: "Study") -> FrontVolume | None:
    """The hypervolume of a search for several objectives; ``None`` where all values of one are equal."""
    names = tuple(study.settings.get("objectives", ()))
    if not 2 <= len(names) <= _MOST_OBJECTIVES:
        return None
    told = [outcome(with_costs(row.scores, row.costs), names) for row in study.rows if row.same_as is None]
    values = np.array([one.values for one in told if one.ok])
    if len(values) < 2 or not study.front:
        return None
    worst, best = values.min(axis=0), values.max(axis=0)
    if (worst == best).any():
        return None
    front = [outcome(with_costs({names[0]: one.score, **one.others}, one.costs), names).values for one in study.front]
    # Halves can't overflow, whatever the scale of a score.
    scaled = (np.array(front) / 2 - worst / 2) / (best / 2 - worst / 2)
    return FrontVolume(hypervolume(scaled, [0.0] * len(names)), dict(zip(names, worst.tolist(), strict=True)))
