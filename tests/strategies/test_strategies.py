import numpy as np
import pytest

from subshot._types import Arch
from subshot.errors import MissingDependencyError, OptionError, UnknownNameError
from subshot.strategies._strategy import STRATEGIES, make_strategy
from subshot.testing.strategies import OneMax, ParetoContract, StrategyContract, drive, ones

# The default sampler takes milliseconds a trial; it has tests of its own.
QUICK = {"optuna": "optuna(sampler=random)", "pymoo": "pymoo(population=20)"}


def maker(name, objective):
    def make(space, seed):
        return make_strategy(QUICK.get(name, name), space, objective=objective, seed=seed)

    try:
        make(OneMax(), 0)
    except MissingDependencyError as error:
        pytest.skip(error.message)
    return make


class TestContract(StrategyContract):
    @pytest.fixture(params=STRATEGIES.names())
    def make(self, request):
        return maker(request.param, "score")


class TestParetoContract(ParetoContract):
    @pytest.fixture(params=[name for name in STRATEGIES.names() if STRATEGIES.get(name).several])
    def make_two(self, request):
        return maker(request.param, ("ones", "zeros"))


def test_random_never_repeats_and_ends_with_the_space():
    strategy = make_strategy("random", OneMax(5), objective="score", seed=0)
    trials = drive(strategy, 1_000)
    assert len({trial.arch for trial in trials}) == len(trials) == 32
    assert strategy.ask(1) == []


def test_evolution_beats_random_search_on_one_max():
    found = {}
    for name in ("random", "swap_evolution(population=20,sample=5,mutations=5)"):
        best = []
        for seed in range(5):
            strategy = make_strategy(name, OneMax(40), objective="score", seed=seed)
            drive(strategy, 400)
            best.append(strategy.best()[1]["score"].value)
        found[name] = np.mean(best)
    assert found["swap_evolution(population=20,sample=5,mutations=5)"] > found["random"] + 5


class _Recorder:
    """A space that writes down which moves are made; its architectures are numbers."""

    def __init__(self):
        self.moves = []
        self.next = 0

    def _new(self):
        self.next += 1
        return Arch("recorder", (self.next,))

    def sample(self, rng):
        self.moves.append("sample")
        return self._new()

    def mutate(self, arch, rng):
        self.moves.append(("mutate", arch.genes[0]))
        return self._new()


def test_a_cycle_is_that_of_algorithm_1():
    # With a sample of the whole population and no crossover every step is known beforehand.
    space = _Recorder()
    strategy = make_strategy(
        "swap_evolution(population=3,sample=3,mutations=2,crossover=0)", space, objective="score", seed=0
    )
    value = {1: 10.0, 2: 30.0, 3: 20.0, 4: 5.0, 5: 40.0}  # 4 and 5 are the mutants of 2, the best

    def evaluate(arch):
        from subshot._types import Score

        return {"score": Score.of(value.get(arch.genes[0], 0.0))}

    drive(strategy, 3, evaluate=evaluate)
    assert space.moves == ["sample"] * 3 + [("mutate", 2)] * 2
    drive(strategy, 2, evaluate=evaluate)
    # 5 joined and is the parent now; had 1 (the worst) stayed, the population would have four members.
    assert space.moves[5:] == [("mutate", 5)] * 2
    drive(strategy, 2, evaluate=evaluate)
    assert space.moves[7:] == [("mutate", 5)] * 2
    assert strategy.best()[0].arch.genes == (5,)


def test_crossover_children_are_evaluated_before_their_mutants():
    space = OneMax(12)
    strategy = make_strategy(
        "swap_evolution(population=4,sample=4,mutations=3,crossover=1)", space, objective="score", seed=0
    )
    trials = drive(strategy, 4 + 2 + 3)
    parents = sorted((trial.arch for trial in trials[:4]), key=lambda arch: -sum(arch.genes))[:2]
    children = [trial.arch for trial in trials[4:6]]
    for child in children:
        assert all(gene in pair for gene, *pair in zip(child.genes, *(p.genes for p in parents), strict=True))
    better = max(children, key=lambda arch: sum(arch.genes))
    for mutant in trials[6:]:
        assert sum(a != b for a, b in zip(mutant.arch.genes, better.genes, strict=True)) == 1


@pytest.mark.parametrize(
    "text", ["population=1", "sample=1", "population=5,sample=6", "mutations=0", "crossover=1.5", "crossover=-0.1"]
)
def test_evolution_refuses_settings_out_of_range(text):
    with pytest.raises(OptionError, match="population >= sample >= 2"):
        make_strategy(f"swap_evolution({text})", OneMax(), objective="score", seed=0)


def test_unknown_names_are_answered_with_near_matches():
    with pytest.raises(UnknownNameError, match="Did you mean 'swap_evolution'"):
        make_strategy("swap_evolutoin", OneMax(), objective="score", seed=0)
    with pytest.raises(UnknownNameError, match="Did you mean 'population'"):
        make_strategy("swap_evolution(poplation=3)", OneMax(), objective="score", seed=0)
    with pytest.raises(OptionError, match="takes a whole number, like 50"):
        make_strategy("swap_evolution(population=many)", OneMax(), objective="score", seed=0)


def test_best_keeps_the_earliest_of_equals():
    strategy = make_strategy("random", OneMax(3), objective="score", seed=1)
    asked = strategy.ask(8)
    for trial in reversed(asked):
        strategy.tell(trial.id, {"score": ones(Arch("one_max", (1, 1)))["score"]})
    assert strategy.best()[0].id == 0
