import numpy as np
import pytest

from subshot._types import Arch, Score
from subshot.errors import OptionError
from subshot.strategies._hypervolume import hypervolume
from subshot.strategies._strategy import make_strategy
from subshot.testing.strategies import OneMax, drive

WEIGHTS = np.random.default_rng(0).integers(1, 20, size=(2, 24))


def knapsack(arch):
    """Value of what is taken, and its weight."""
    value, weight = WEIGHTS @ np.array(arch.genes)
    return {"value": Score.of(value), "-weight": Score.of(-weight)}


def volume(text, seed, *, trials=600):
    strategy = make_strategy(text, OneMax(24), objective=("value", "-weight"), seed=seed)
    done = drive(strategy, trials, evaluate=knapsack)
    assert len(done) == trials
    points = [[score.value for score in knapsack(trial.arch).values()] for trial in done]
    front = [[score.value for score in evaluation.values()] for _, evaluation in strategy.front()]
    corner = [0, -WEIGHTS[1].sum()]
    assert hypervolume(points, corner) == hypervolume(front, corner)
    return hypervolume(points, corner)


@pytest.mark.parametrize("text", ["nsga2(population=40)", "swap_evolution(population=40)"])
def test_more_volume_than_random_search_at_equal_budget(text):
    ours = [volume(text, seed) for seed in range(3)]
    assert min(ours) > 1.1 * max(volume("random", seed) for seed in range(3))


class _Numbers:
    """Architectures are numbers from 0 on; mutants are the next ones. There is no crossover."""

    def __init__(self):
        self.next = 0
        self.parents = []

    def sample(self, rng):
        self.next += 1
        return Arch("numbers", (self.next - 1,))

    def mutate(self, arch, rng):
        self.parents.append(arch.genes[0])
        return self.sample(rng)


def evaluation(table):
    return lambda arch: {
        name: Score.of(value) for name, value in zip(("a", "b", "spare"), table[arch.genes[0]], strict=False)
    }


def test_the_best_fronts_stay_and_of_the_last_those_with_room():
    #    0 1 and 4 5 make the first front with the children; of the second, 2, 3 and 6, only one has a place.
    table = [(9, 1), (1, 9), (0, 7), (3, 3), (5, 5), (4, 6), (7, 0), (6, 4)]
    space = _Numbers()
    strategy = make_strategy("nsga2(population=4)", space, objective=("a", "b"), seed=0)
    drive(strategy, 8, evaluate=evaluation(table))
    # (9,1) (1,9) (5,5) (4,6) (6,4) is the first front of five: both ends stay, then those with most room, 5 and 7.
    table += [(0, 0)] * 400
    space.parents.clear()
    drive(strategy, 4, evaluate=evaluation(table))
    drive(strategy, 80, evaluate=evaluation(table))
    assert set(space.parents) == {0, 1, 5, 7}


def test_the_smaller_violation_wins_and_none_is_best():
    # Three demands missed, the one that misses least has the worst values; 3 and 4 meet it.
    table = [(9, 9, -3.0), (8, 8, -2.0), (0, 0, -1.0), (1, 2, 0.0), (2, 1, 5.0)]
    space = _Numbers()
    strategy = make_strategy("nsga2(population=3,slack=spare)", space, objective=("a", "b"), seed=0)
    drive(strategy, 3, evaluate=evaluation(table))
    assert strategy.best() is None
    assert strategy.front() == []
    table += [(0, 0, -9.0)] * 400
    drive(strategy, 3, evaluate=evaluation(table))
    assert [trial.arch.genes[0] for trial, _ in strategy.front()] == [4, 3]
    assert strategy.best()[0].arch.genes == (4,)
    space.parents.clear()
    drive(strategy, 60, evaluate=evaluation(table))
    assert set(space.parents) == {2, 3, 4}
    assert space.parents.count(2) < space.parents.count(3)  # chosen only against itself


def test_children_are_new_to_the_population():
    strategy = make_strategy("nsga2(population=10)", OneMax(10), objective=("value",), seed=0)
    scored = []
    for _ in range(12):
        group = strategy.ask(1_000)
        assert len({trial.arch for trial in group}) == len(group) == 10
        for trial in group:
            strategy.tell(trial.id, {"value": Score.of(sum(trial.arch.genes))})
        scored += [trial.arch for trial in group]
        if len(scored) > 10:
            stayed = sorted(dict.fromkeys(scored[:-10]), key=lambda arch: -sum(arch.genes))[:1]
            assert not set(stayed) & {trial.arch for trial in group}


def test_a_space_smaller_than_the_population_only_repeats():
    strategy = make_strategy("nsga2(population=50)", OneMax(3), objective=("value",), seed=0)
    assert len(drive(strategy, 30, evaluate=lambda arch: {"value": Score.of(1)})) == 30


@pytest.mark.parametrize("text", ["population=1", "crossover=1.5", "mutation=-0.1"])
def test_settings_out_of_range_are_refused(text):
    with pytest.raises(OptionError, match="population >= 2"):
        make_strategy(f"nsga2({text})", OneMax(), objective="score", seed=0)
