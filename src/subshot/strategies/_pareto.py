"""Order among outcomes with several values: fronts, crowding, and an archive of what nothing dominates.

An outcome dominates another that it equals or beats in every objective and beats in one. One that breaks a demand is
dominated by every one that breaks it less (constraint domination, Deb et al. 2002, section VI).
"""

from collections.abc import Sequence

import numpy as np

from subshot._types import Evaluation, Trial
from subshot.strategies._objectives import Outcome

# Fronts come first, then room around a member; higher is better, so that keys sort like fitness.
Worth = tuple[int, float]


def dominates(one: Outcome, other: Outcome) -> bool:
    """Whether nothing is worse in ``one`` and something is better."""
    if one.violation or other.violation:
        return one.violation < other.violation
    return one.values != other.values and all(a >= b for a, b in zip(one.values, other.values, strict=True))


def fronts(outcomes: Sequence[Outcome]) -> list[list[int]]:
    """Positions in layers: the first is dominated by nothing, each later one only by those before it.

    Takes time and memory of the square of their number.
    """
    if not outcomes:
        return []
    values = np.array([one.values for one in outcomes])
    violation = np.array([one.violation for one in outcomes])
    better_or_equal = np.all(values[:, None] >= values[None], axis=2) & np.any(values[:, None] > values[None], axis=2)
    fine = violation == 0
    dominating = np.where(fine[:, None] & fine[None], better_or_equal, violation[:, None] < violation[None])
    above = dominating.sum(axis=0)
    found = []
    while (above >= 0).any():
        layer = np.flatnonzero(above == 0)
        found.append(layer.tolist())
        above = above - dominating[layer].sum(axis=0)
        above[layer] = -1
    return found


def crowding(values: np.ndarray) -> np.ndarray:
    """Crowding distances of one front: how far its neighbours are apart, summed over objectives.

    The ends of an objective are infinitely far from anything. An objective in which all are equal says nothing.

    Args:
        values: (members, objectives), finite.
    """
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        low, high = column[order[0]], column[order[-1]]
        if low == high:
            continue
        # Halves can't overflow, whatever the scale of a score.
        gaps = (column[order[2:]] / 2 - column[order[:-2]] / 2) / (high / 2 - low / 2)
        distance[order[1:-1]] += gaps
        distance[order[[0, -1]]] = np.inf
    return distance


def worths(outcomes: Sequence[Outcome]) -> list[Worth]:
    """The crowded comparison of NSGA-II as keys: the earlier front is better, within it the more room.

    With one objective this is the order of its values, and equal values are equal.
    """
    found: list[Worth] = [(0, 0.0)] * len(outcomes)
    if outcomes and len(outcomes[0].values) == 1:
        steps = sorted({(one.violation, -one.values[0] if one.ok else 0.0) for one in outcomes})
        rank_of = {step: rank for rank, step in enumerate(steps)}
        return [(-rank_of[one.violation, -one.values[0] if one.ok else 0.0], 0.0) for one in outcomes]
    for rank, front in enumerate(fronts(outcomes)):
        if outcomes[front[0]].ok:
            room = crowding(np.array([outcomes[i].values for i in front])).tolist()
        else:
            room = [0.0] * len(front)  # those that break a demand differ in that alone
        for position, distance in zip(front, room, strict=True):
            found[position] = (-rank, distance)
    return found


class ParetoArchive:
    """Trials that no other dominates, of equal ones the earliest."""

    def __init__(self) -> None:
        self._members: list[tuple[Trial, Evaluation, Outcome]] = []

    def add(self, trial: Trial, evaluation: Evaluation, result: Outcome) -> None:
        """Let a trial in if nothing dominates it, and out what it dominates."""
        if not result.ok:
            return
        for other, _, known in self._members:
            if dominates(known, result) or (known.values == result.values and other.id < trial.id):
                return
        self._members = [
            member for member in self._members if member[2].values != result.values and not dominates(result, member[2])
        ]
        self._members.append((trial, evaluation, result))

    def front(self) -> list[tuple[Trial, Evaluation]]:
        """The members, the highest first objective first."""
        ordered = sorted(self._members, key=lambda member: ([-value for value in member[2].values], member[0].id))
        return [(trial, evaluation) for trial, evaluation, _ in ordered]
