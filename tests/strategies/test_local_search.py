import numpy as np
import pytest

from subshot._types import Arch, Score
from subshot.errors import OptionError
from subshot.strategies._strategy import make_strategy
from subshot.testing.strategies import OneMax, drive, ones


def groups(strategy, count, evaluate):
    found = []
    for _ in range(count):
        group = strategy.ask(1_000)
        found.append([trial.arch for trial in group])
        for trial in group:
            strategy.tell(trial.id, evaluate(trial.arch))
    return found


def around(arch):
    return {
        Arch(arch.space, tuple(gene ^ (i == position) for i, gene in enumerate(arch.genes)))
        for position in range(len(arch.genes))
    }


def test_steps_go_to_the_best_of_all_neighbours_until_none_is_better():
    weights = np.random.default_rng(1).permutation(10) + 1

    def evaluate(arch):
        return {"score": Score.of(weights @ np.array(arch.genes))}

    def value(arch):
        return evaluate(arch)["score"].value

    start, *steps = groups(make_strategy("local_search", OneMax(10), objective="score", seed=0), 14, evaluate)
    here, known = max(start, key=value), set(start)
    for step in steps:
        assert set(step) == around(here) - known
        known |= set(step)
        best = max(around(here), key=value)
        if value(best) < value(here):
            break
        here = best
    assert here.genes == (1,) * 10
    # The next group is a new start.
    assert len(steps[steps.index(step) + 1]) == 10


def test_a_plateau_is_a_local_optimum():
    strategy = make_strategy("local_search", OneMax(40), objective="score", seed=0)
    found = groups(strategy, 4, lambda arch: {"score": Score.of(1)})
    assert [len(group) for group in found] == [10, 40, 10, 40]


def test_what_is_known_is_not_scored_again_and_the_space_ends():
    trials = drive(make_strategy("local_search", OneMax(6), objective="score", seed=0), 1_000)
    assert len({trial.arch for trial in trials}) == len(trials) == 64


def test_a_large_neighbourhood_is_looked_at_in_part():
    found = groups(make_strategy("local_search(neighbours=7)", OneMax(40), objective="score", seed=0), 4, ones)
    assert [len(group) for group in found] == [10, 7, 7, 7]


def test_settings_out_of_range_are_refused():
    for text in ("start=0", "neighbours=0"):
        with pytest.raises(OptionError, match="whole numbers from 1 on"):
            make_strategy(f"local_search({text})", OneMax(), objective="score", seed=0)
