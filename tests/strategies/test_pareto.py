import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subshot._types import Arch, Trial
from subshot.strategies._objectives import Outcome
from subshot.strategies._pareto import ParetoArchive, crowding, dominates, fronts, worths

FAILED = Outcome((-math.inf, -math.inf), math.inf)

# Few values, so that ties are frequent.
few = st.integers(0, 4).map(float)
outcomes = st.builds(Outcome, st.tuples(few, few), st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0])) | st.just(FAILED)
many = st.lists(outcomes, max_size=25)


def beats(one, other):
    """Constraint domination, spelled out."""
    if one.ok and other.ok:
        return all(a >= b for a, b in zip(one.values, other.values, strict=True)) and one.values != other.values
    return one.ok or (not other.ok and one.violation < other.violation)


@given(outcomes, outcomes)
def test_domination_is_what_it_says(one, other):
    assert dominates(one, other) == beats(one, other)


@given(many)
def test_fronts_are_peeled_off_one_by_one(group):
    left, layers = set(range(len(group))), []
    while left:
        layer = [i for i in sorted(left) if not any(beats(group[j], group[i]) for j in left)]
        layers.append(layer)
        left -= set(layer)
    assert fronts(group) == layers


def test_fronts_agree_with_pymoo():
    sorting = pytest.importorskip("pymoo.util.nds.non_dominated_sorting").NonDominatedSorting()
    points = np.random.default_rng(0).integers(0, 9, size=(60, 3)).astype(float)
    ours = fronts([Outcome(tuple(point)) for point in points])
    assert ours == [sorted(layer.tolist()) for layer in sorting.do(-points)]


def test_crowding_by_hand():
    # Sorted by the first objective: (0,10) (1,6) (4,5) (10,0); spans 10 and 10.
    values = np.array([[4.0, 5.0], [0.0, 10.0], [10.0, 0.0], [1.0, 6.0]])
    assert crowding(values).tolist() == [(10 - 1) / 10 + (6 - 0) / 10, math.inf, math.inf, 4 / 10 + (10 - 5) / 10]


def test_an_objective_in_which_all_are_equal_says_nothing():
    values = np.array([[1.0, 3.0], [2.0, 3.0], [3.0, 3.0]])
    assert crowding(values).tolist() == [math.inf, 1.0, math.inf]
    assert crowding(values[:1]).tolist() == [0.0]


def test_crowding_of_huge_scores_is_finite():
    values = np.array([[-1.7e308], [0.0], [1.7e308]])
    assert crowding(values).tolist() == [math.inf, 1.0, math.inf]


@given(st.lists(st.integers(-3, 3).map(float) | st.just(-math.inf), max_size=20))
def test_one_objective_is_the_order_of_its_values(values):
    keys = worths([Outcome((value,), 0.0 if value > -math.inf else math.inf) for value in values])
    for one, a in zip(values, keys, strict=True):
        for other, b in zip(values, keys, strict=True):
            assert (a > b, a == b) == (one > other, one == other)


@given(many)
def test_earlier_fronts_are_worth_more(group):
    keys = worths(group)
    for rank, layer in enumerate(fronts(group)):
        assert {keys[i][0] for i in layer} == {-rank}
        if not group[layer[0]].ok:
            assert {keys[i][1] for i in layer} == {0.0}


@given(many, st.randoms(use_true_random=False))
def test_the_archive_is_what_nothing_dominates_in_any_order_of_arrival(group, random):
    trials = [(Trial(i, Arch("toy", (i,))), one) for i, one in enumerate(group)]
    shuffled = list(trials)
    random.shuffle(shuffled)
    archive = ParetoArchive()
    for trial, one in shuffled:
        archive.add(trial, {}, one)
    fine = [(trial.id, one.values) for trial, one in trials if one.ok]
    first = {values: number for number, values in reversed(fine)}
    expected = {
        number for values, number in first.items()
        if not any(beats(Outcome(other), Outcome(values)) for other in first)
    }  # fmt: skip
    assert {trial.id for trial, _ in archive.front()} == expected
    ordered = [group[trial.id].values[0] for trial, _ in archive.front()]
    assert ordered == sorted(ordered, reverse=True)
