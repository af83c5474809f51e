import sys

import numpy as np
import pytest

from subshot._types import Arch, Score
from subshot.errors import MissingDependencyError, OptionError, UnknownNameError
from subshot.strategies._strategy import make_strategy
from subshot.strategies.pymoo import operators
from subshot.strategies.pymoo import pymoo as pymoo_strategy
from subshot.testing.strategies import OneMax, ParetoContract, drive, ends


def test_without_pymoo_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymoo.core.algorithm", None)
    with pytest.raises(
        MissingDependencyError, match=r"strategy 'pymoo' needs pymoo, which .*pip install 'subshot\[pymoo\]'"
    ):
        make_strategy("pymoo", OneMax(), objective="score", seed=0)


class TestByName(ParetoContract):
    @pytest.fixture(params=["nsga2", "spea2", "sms_emoa"])
    def make_two(self, request):
        pytest.importorskip("pymoo")
        text = f"pymoo(algorithm={request.param},population=20)"
        return lambda space, seed: make_strategy(text, space, objective=("ones", "zeros"), seed=seed)


class TestOfOnesOwn(ParetoContract):
    @pytest.fixture
    def make_two(self):
        nsga3 = pytest.importorskip("pymoo.algorithms.moo.nsga3").NSGA3
        directions = np.array([[i / 19, 1 - i / 19] for i in range(20)])

        def make(space, seed):
            algorithm = nsga3(directions, pop_size=20, **operators(space))
            return pymoo_strategy(space, ("ones", "zeros"), seed=seed, algorithm=algorithm)

        return make


def test_an_algorithm_of_ones_own_can_be_used_again():
    nsga2 = pytest.importorskip("pymoo.algorithms.moo.nsga2").NSGA2
    algorithm = nsga2(pop_size=10, **operators(OneMax(8)))
    runs = [
        drive(pymoo_strategy(OneMax(8), ("ones", "zeros"), seed=0, algorithm=algorithm), 60, evaluate=ends)
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


class _Uncrossed:
    """Bit strings without a crossover."""

    def __init__(self):
        self._inner = OneMax(8)
        self.mutants = set()

    def sample(self, rng):
        return self._inner.sample(rng)

    def mutate(self, arch, rng):
        mutant = self._inner.mutate(arch, rng)
        self.mutants.add(mutant)
        return mutant


def test_without_a_crossover_children_are_mutants():
    pytest.importorskip("pymoo")
    space = _Uncrossed()
    strategy = make_strategy("pymoo(population=10)", space, objective=("ones", "zeros"), seed=0)
    trials = drive(strategy, 60, evaluate=ends)
    assert {trial.arch for trial in trials[10:]} <= space.mutants


def test_a_demand_that_is_missed_leaves_the_front():
    pytest.importorskip("pymoo")

    def evaluate(arch):
        return {**ends(arch), "spare": Score.of(sum(arch.genes) - 6)}  # at least six ones

    strategy = make_strategy("pymoo(population=20,slack=spare)", OneMax(10), objective=("ones", "zeros"), seed=0)
    trials = drive(strategy, 300, evaluate=evaluate)
    assert strategy.front()
    assert all(sum(trial.arch.genes) >= 6 for trial, _ in strategy.front())
    late = [sum(trial.arch.genes) for trial in trials[-60:]]
    assert np.mean(late) > np.mean([sum(trial.arch.genes) for trial in trials[:20]])


def test_a_space_that_is_exhausted_ends():
    pytest.importorskip("pymoo")
    strategy = make_strategy("pymoo(population=8)", OneMax(3), objective=("ones", "zeros"), seed=0)
    trials = drive(strategy, 100, evaluate=ends)
    assert {trial.arch for trial in trials} == {
        Arch("one_max", (a, b, c)) for a in (0, 1) for b in (0, 1) for c in (0, 1)
    }
    assert strategy.ask(1) == []


def test_what_is_no_algorithm_is_refused():
    pytest.importorskip("pymoo")
    with pytest.raises(UnknownNameError, match="Did you mean 'nsga2'"):
        make_strategy("pymoo(algorithm=nsga)", OneMax(), objective="score", seed=0)
    with pytest.raises(OptionError, match="at least 2 members"):
        make_strategy("pymoo(population=1)", OneMax(), objective="score", seed=0)
    with pytest.raises(OptionError, match="Give an object"):
        pymoo_strategy(OneMax(), "score", seed=0, algorithm=OneMax())
