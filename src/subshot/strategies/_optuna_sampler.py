"""Our strategies as samplers of Optuna: its studies, storages and dashboards, and the choices are ours."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from subshot._choice import Choice
from subshot._seeds import stable_rng
from subshot._types import Arch, Evaluation, Score, Trial
from subshot.errors import OptionError
from subshot.strategies._optional import optional
from subshot.strategies._strategy import Strategy, make_strategy

_SPACE = "parameters"

# Trials that a study may have lost, or drawn at random in between, before a replay gives up.
_LOST = 100


@dataclass(frozen=True)
class ParameterSpace:
    """Parameters with finitely many values each, as a space; genes are positions among the values.

    Attributes:
        values: What each parameter may be, as Optuna represents it: positions of categories, or numbers.
        distributions: Optuna's distribution of each.
    """

    values: tuple[tuple[float, ...], ...]
    distributions: Mapping[str, Any]

    @classmethod
    def of(cls, distributions: Mapping[str, Any]) -> "ParameterSpace":
        """The space of some distributions.

        Raises:
            OptionError: There is none, or one has no end of values.
        """
        if not distributions:
            raise OptionError("No parameters were given.", "Give Optuna's distribution of each by name.")
        return cls(tuple(_values(name, one) for name, one in distributions.items()), dict(distributions))

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw each parameter uniformly."""
        return Arch(_SPACE, tuple(int(rng.integers(len(values))) for values in self.values))

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Draw another value of one parameter."""
        free = [position for position, values in enumerate(self.values) if len(values) > 1]
        if not free:
            return arch
        genes = list(arch.genes)
        position = free[int(rng.integers(len(free)))]
        genes[position] = (genes[position] + int(rng.integers(1, len(self.values[position])))) % len(
            self.values[position]
        )
        return Arch(_SPACE, tuple(genes))

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """Take each parameter from either parent."""
        side = rng.integers(2, size=len(self.values)).tolist()
        return Arch(_SPACE, tuple(pair[s] for s, *pair in zip(side, first.genes, second.genes, strict=True)))

    def parameters(self, arch: Arch) -> dict[str, Any]:
        """Values by name, as an objective function gets them."""
        return {
            name: one.to_external_repr(values[gene])
            for (name, one), values, gene in zip(self.distributions.items(), self.values, arch.genes, strict=True)
        }

    def arch(self, parameters: Mapping[str, Any]) -> Arch | None:
        """The inverse of :meth:`parameters`; ``None`` if a parameter is missing or has another value."""
        genes = []
        for (name, one), values in zip(self.distributions.items(), self.values, strict=True):
            inner = one.to_internal_repr(parameters[name]) if name in parameters else None
            if inner not in values:
                return None
            genes.append(values.index(inner))
        return Arch(_SPACE, tuple(genes))


def optuna_sampler(strategy: str | Choice, parameters: Mapping[str, Any], *, seed: int) -> Any:
    """A strategy as a sampler: ``create_study(sampler=optuna_sampler("nsga2", parameters, seed=0))``.

    The study's values are the objectives, in their directions. A trial that fails or is pruned counts as failed. Where
    trials run at the same time and the strategy waits for results, a trial in between is random. A sampler that is made
    anew for a stored study, with the same arguments, goes on where the old one stopped.

    Args:
        strategy: Name, with options where wanted.
        parameters: Optuna's distribution by name for every parameter of the objective function: categories, whole
            numbers, or numbers with a step. Other parameters are drawn at random.
        seed: Seed of all random choices.

    Returns:
        An ``optuna.samplers.BaseSampler``.

    Raises:
        MissingDependencyError: Optuna isn't installed.
        OptionError: A parameter has no end of values, or an option of the strategy is out of range.
        UnknownNameError: No strategy, or no option, has that name.
    """
    module = optional("optuna")
    space = ParameterSpace.of(parameters)
    make_strategy(strategy, space, objective="value0", seed=seed)  # whatever is wrong is said at once
    base: Any = module.samplers.BaseSampler
    states = module.trial.TrialState

    class StrategySampler(base):  # type: ignore[misc]
        """Asks a strategy for parameters and tells it the values."""

        def __init__(self) -> None:
            self._strategy: Strategy | None = None
            self._waiting: list[Trial] = []
            self._out: dict[int, Trial] = {}
            self._rng = stable_rng(seed, "trials in between")
            self._other = module.samplers.RandomSampler(seed=seed % 2**32)
            self._lock = threading.Lock()

        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return dict(space.distributions)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            with self._lock:
                strategy = self._follow(study)
                asked = self._waiting[:1] or strategy.ask(1)
                self._waiting = self._waiting[1:]
                if asked:
                    self._out[trial.number] = asked[0]
                return space.parameters(asked[0].arch if asked else space.sample(self._rng))

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return self._other.sample_independent(study, trial, param_name, param_distribution)

        def after_trial(self, study: Any, trial: Any, state: Any, values: Sequence[float] | None) -> None:
            with self._lock:
                ours = self._out.pop(trial.number, None)
                if ours is not None:
                    self._follow(study).tell(ours.id, self._evaluation(study, state, values))

        def reseed_rng(self) -> None:
            self._other.reseed_rng()

        def _follow(self, study: Any) -> Strategy:
            """The strategy; when it is needed first, with all that the study holds told to it."""
            if self._strategy is None:
                names = tuple(f"value{position}" for position in range(len(study.directions)))
                self._strategy = make_strategy(strategy, space, objective=names, seed=seed)
                self._waiting = _replay(self._strategy, self._finished(study))
            return self._strategy

        def _finished(self, study: Any) -> dict[Arch, list[Evaluation]]:
            found: dict[Arch, list[Evaluation]] = {}
            for old in study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED, states.FAIL)):
                arch = space.arch(old.params)
                if arch is not None:
                    found.setdefault(arch, []).append(self._evaluation(study, old.state, old.values))
            return found

        def _evaluation(self, study: Any, state: Any, values: Sequence[float] | None) -> Evaluation:
            if state != states.COMPLETE or values is None:
                reason = f"the trial ended as {state.name}"
                return {f"value{position}": Score.failed(reason) for position in range(len(study.directions))}
            signs = [1 if direction.name == "MAXIMIZE" else -1 for direction in study.directions]
            return {
                f"value{position}": Score.of(sign * value)
                for position, (sign, value) in enumerate(zip(signs, values, strict=True))
            }

    return StrategySampler()


def _replay(strategy: Strategy, finished: dict[Arch, list[Evaluation]]) -> list[Trial]:
    """Tell a new strategy what an old one was told; returns what was asked for and never finished."""
    lost: list[Trial] = []
    while any(finished.values()) and len(lost) < _LOST:
        asked = strategy.ask(1)
        if not asked:
            break
        known = finished.get(asked[0].arch)
        if known:
            strategy.tell(asked[0].id, known.pop(0))
        else:
            lost += asked
    return lost


def _values(name: str, distribution: Any) -> tuple[float, ...]:
    """All values of a distribution, as Optuna represents them."""
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return tuple(map(float, range(len(choices))))
    step = getattr(distribution, "step", None)
    if step is None:
        raise OptionError(
            f"The parameter {name!r} is {distribution}, which has no end of values.",
            "Give it a step: a strategy chooses among finitely many.",
        )
    count = round((distribution.high - distribution.low) / step) + 1
    return tuple(float(distribution.low + position * step) for position in range(count))
