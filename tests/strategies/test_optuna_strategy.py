import io
import logging
import sys

import pytest

from subshot._types import Arch, Score
from subshot.costs._limits import Limits
from subshot.errors import MissingDependencyError, OptionError, UnknownNameError
from subshot.spaces._space import get_space
from subshot.strategies._limits import limited
from subshot.strategies._optuna_sampler import ParameterSpace
from subshot.strategies._strategy import make_strategy
from subshot.strategies.optuna import optuna as optuna_strategy
from subshot.strategies.optuna import optuna_sampler
from subshot.testing.strategies import OneMax, ParetoContract, drive, ones


def test_without_optuna_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna.samplers", None)
    monkeypatch.setitem(sys.modules, "optuna", None)
    match = r"strategy 'optuna' needs optuna, which .*pip install 'subshot\[optuna\]'"
    with pytest.raises(MissingDependencyError, match=match):
        make_strategy("optuna", OneMax(), objective="score", seed=0)
    with pytest.raises(MissingDependencyError, match=match):
        optuna_sampler("random", {"a": None}, seed=0)


# --- a sampler of Optuna as a strategy ---


class TestNsga2(ParetoContract):
    @pytest.fixture
    def make_two(self):
        pytest.importorskip("optuna")
        return lambda space, seed: make_strategy("optuna(sampler=nsga2)", space, objective=("ones", "zeros"), seed=seed)


def test_tpe_learns_and_replays():
    pytest.importorskip("optuna")
    runs = []
    for n in (1, 1_000):
        strategy = make_strategy("optuna", OneMax(16), objective="score", seed=1)
        runs.append(drive(strategy, 150, n=n))
    assert runs[0] == runs[1]
    random = make_strategy("random", OneMax(16), objective="score", seed=1)
    drive(random, 150)
    assert strategy.best()[1]["score"].value > random.best()[1]["score"].value


def test_a_sampler_of_ones_own_sees_what_was_scored():
    optuna = pytest.importorskip("optuna")
    seen = []

    class Watcher(optuna.samplers.RandomSampler):
        def before_trial(self, study, trial):
            seen[:] = [t for t in study.get_trials() if t.state.name == "COMPLETE"]

    space = get_space("darts")
    strategy = optuna_strategy(space, "score", seed=0, sampler=Watcher(seed=0), group=5)
    trials = drive(strategy, 30, evaluate=lambda arch: {"score": Score.of(arch.genes[0][0][0])})
    assert len(trials) == len({trial.arch for trial in trials}) == 30
    # Few of the wishes are architectures of DARTS, but those scored in their place were told.
    assert sorted(t.value for t in seen) == sorted(trial.arch.genes[0][0][0] for trial in trials)
    assert all(t.params["gene0"] == t.value for t in seen)


def test_limits_and_shapes_are_kept():
    pytest.importorskip("optuna")
    space = get_space("nasbench101")
    view = limited(space, Limits.of(params=5e6), lambda arch: {"params": space.measure(arch).parameters})
    strategy = make_strategy("optuna(sampler=random)", view, objective="score", seed=0)
    for trial in drive(strategy, 40, evaluate=lambda arch: {"score": Score.of(0)}):
        assert view.inside(trial.arch)
        assert space.parse(space.format(trial.arch)) == trial.arch


def test_nothing_is_logged():
    optuna = pytest.importorskip("optuna")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("optuna")
    logger.addHandler(handler)
    level = optuna.logging.get_verbosity()
    try:
        drive(make_strategy("optuna(sampler=random)", OneMax(), objective="score", seed=0), 20)
    finally:
        logger.removeHandler(handler)
    assert stream.getvalue() == ""
    assert optuna.logging.get_verbosity() == level


def test_what_is_no_sampler_is_refused():
    pytest.importorskip("optuna")
    with pytest.raises(UnknownNameError, match="Did you mean 'nsga"):
        make_strategy("optuna(sampler=nsga)", OneMax(), objective="score", seed=0)
    with pytest.raises(OptionError, match="Give an object"):
        optuna_strategy(OneMax(), "score", seed=0, sampler=OneMax())
    with pytest.raises(OptionError, match="from 1 on"):
        make_strategy("optuna(group=0)", OneMax(), objective="score", seed=0)


# --- a strategy as a sampler of Optuna ---


@pytest.fixture
def parameters():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield {
        "act": optuna.distributions.CategoricalDistribution(["relu", "gelu", True, None]),
        "depth": optuna.distributions.IntDistribution(2, 11, step=3),
        "width": optuna.distributions.IntDistribution(1, 64, log=True),
        "rate": optuna.distributions.FloatDistribution(-0.5, 0.5, step=0.1),
    }
    optuna.logging.set_verbosity(optuna.logging.INFO)


def objective(trial):
    act = trial.suggest_categorical("act", ["relu", "gelu", True, None])
    depth = trial.suggest_int("depth", 2, 11, step=3)
    width = trial.suggest_int("width", 1, 64, log=True)
    rate = trial.suggest_float("rate", -0.5, 0.5, step=0.1)
    return abs(depth - 8) + abs(width - 30) + abs(rate - 0.2) + (act is not None)


def test_all_values_occur_and_come_back(parameters):
    space = ParameterSpace.of(parameters)
    assert [len(values) for values in space.values] == [4, 4, 64, 11]
    last = space.parameters(Arch("parameters", (2, 3, 63, 10)))
    assert (last["act"], last["depth"], last["width"]) == (True, 11, 64)
    assert last["rate"] == pytest.approx(0.5)
    for position, values in enumerate(space.values):
        for gene in range(len(values)):
            genes = [0, 0, 0, 0]
            genes[position] = gene
            assert space.arch(space.parameters(Arch("parameters", tuple(genes)))).genes == tuple(genes)
    assert space.arch({"act": "relu"}) is None


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("name", ["regularized_evolution(population=10,sample=5)", "nsga2(population=10)"])
def test_a_study_makes_the_very_trials_of_the_strategy(parameters, name, direction):
    import optuna

    sign = {"minimize": -1, "maximize": 1}[direction]
    study = optuna.create_study(sampler=optuna_sampler(name, parameters, seed=4), direction=direction)
    study.optimize(objective, n_trials=60)
    space = ParameterSpace.of(parameters)

    def evaluate(arch):
        return {"value0": Score.of(sign * objective(optuna.trial.FixedTrial(space.parameters(arch))))}

    expected = drive(make_strategy(name, space, objective="value0", seed=4), 60, evaluate=evaluate)
    assert [trial.params for trial in study.trials] == [space.parameters(trial.arch) for trial in expected]


def test_an_interrupted_study_goes_on_as_an_unbroken_one(parameters):
    import optuna

    def run(*parts, kill=False):
        storage = optuna.storages.InMemoryStorage()
        study = None
        for part in parts:
            sampler = optuna_sampler("nsga2(population=8)", parameters, seed=2)
            study = optuna.create_study(
                storage=storage, sampler=sampler, study_name="one", directions=["minimize", "maximize"],
                load_if_exists=True,
            )  # fmt: skip
            study.optimize(lambda trial: (objective(trial), trial.params["depth"]), n_trials=part)
            if kill:
                study.ask(parameters)  # never told
        return [trial.params for trial in study.trials if trial.state.name == "COMPLETE"]

    assert run(50) == run(13, 20, 17)
    broken = run(13, 20, 17, kill=True)
    unbroken = run(50)
    assert len(broken) == 50
    assert all(sorted(map(repr, broken[i : i + 8])) == sorted(map(repr, unbroken[i : i + 8])) for i in range(0, 48, 8))


def test_failures_pruned_trials_and_threads(parameters):
    import optuna

    def evaluate(trial):
        value = objective(trial)
        if trial.number % 5 == 0:
            raise ValueError("broken")
        if trial.number % 7 == 0:
            raise optuna.TrialPruned
        return value + trial.suggest_float("undeclared", 0, 1)

    sampler = optuna_sampler("swap_evolution(population=8,sample=4,mutations=4)", parameters, seed=0)
    study = optuna.create_study(sampler=sampler)
    study.optimize(evaluate, n_trials=80, n_jobs=3, catch=(ValueError,))
    assert len(study.trials) == 80
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "FAIL", "PRUNED"}


def test_parameters_without_end_are_refused():
    optuna = pytest.importorskip("optuna")
    with pytest.raises(OptionError, match=r"parameter 'rate' is FloatDistribution.*Give it a step"):
        optuna_sampler("random", {"rate": optuna.distributions.FloatDistribution(0, 1)}, seed=0)
    with pytest.raises(OptionError, match="No parameters"):
        optuna_sampler("random", {}, seed=0)
    with pytest.raises(UnknownNameError):
        optuna_sampler("randon", {"a": optuna.distributions.IntDistribution(0, 1)}, seed=0)


def test_a_parameter_of_one_value_stays():
    optuna = pytest.importorskip("optuna")
    space = ParameterSpace.of({"a": optuna.distributions.IntDistribution(3, 3)})
    strategy = make_strategy("swap_evolution(population=2,sample=2)", space, objective="score", seed=0)
    trials = drive(strategy, 5, evaluate=lambda arch: ones(Arch("one_max", (1,))))
    assert {space.parameters(trial.arch)["a"] for trial in trials} == {3}
