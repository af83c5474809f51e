"""What a strategy is: ask for trials, be told their evaluations, know the best."""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from subshot._choice import Choice, Value, check_options, option_defaults
from subshot._registry import Registry
from subshot._types import Arch, Evaluation, Trial
from subshot.strategies._objectives import Outcome, names_of, one_objective, outcome
from subshot.strategies._pareto import ParetoArchive


class Moves(Protocol):
    """What a strategy needs of a space; where there is a crossover (``Crossable``) it may use that too."""

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw an architecture at random."""
        ...

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Change one decision."""
        ...


class Strategy(Protocol):
    """Chooses what to evaluate next.

    The same seed and the same evaluations give the same trials, whatever the size and timing of the calls: a run is
    resumed by telling a new strategy what the old one was told.
    """

    def ask(self, n: int) -> list[Trial]:
        """Up to ``n`` new trials.

        Empty while evaluations are awaited; empty with none awaited means that the strategy has nothing left to try.
        """
        ...

    def tell(self, trial_id: int, evaluation: Evaluation) -> None:
        """Report the evaluation of a trial that was asked for.

        Raises:
            ValueError: The trial wasn't asked for, or was told already.
        """
        ...

    def best(self) -> tuple[Trial, Evaluation] | None:
        """The trial with the highest finite objective told so far, the earliest among equals.

        With several objectives, the first one's.
        """
        ...


def fitness(evaluation: Evaluation, objective: str) -> float:
    """The objective's value, or minus infinity where there is no finite one: such a trial is never chosen."""
    score = evaluation.get(objective)
    return score.value if score is not None and score.ok else -math.inf


# An algorithm yields architectures and is sent their fitness, in the same order.
Algorithm = Generator[Sequence[Arch], list[float], None]

# With several objectives, it is sent what they came to instead.
ParetoAlgorithm = Generator[Sequence[Arch], list[Outcome], None]

# The name of one objective, or the names of several.
Objective = str | Sequence[str]


class AlgorithmStrategy:
    """Turns an algorithm written as a generator into a strategy.

    The algorithm reads like its paper: it yields a group of architectures, is sent their fitness, and yields the next
    group. The members of a group are handed out in any number at a time and told in any order.

    Args:
        algorithm: Yields groups of architectures; each receives its list of fitness values.
        objective: Name of the score to maximise. With a sequence of names, even of one, the algorithm receives an
            :class:`Outcome` for each architecture: its values in that order, and whether it may be chosen at all.
        slack: Name of a score that is negative where a demand is missed; such a trial is never chosen.
    """

    def __init__(
        self, algorithm: Algorithm | ParetoAlgorithm, objective: Objective, *, slack: str | None = None
    ) -> None:
        self._algorithm: Generator[Sequence[Arch], Any, None] = algorithm
        self._single = isinstance(objective, str)
        self._objectives = (objective,) if isinstance(objective, str) else tuple(objective)
        self._slack = slack
        self._group: list[Trial] = []
        self._handed_out = 0
        self._told: dict[int, Outcome] = {}
        self._next_id = 0
        self._best: tuple[Trial, Evaluation, Outcome] | None = None
        self._archive = ParetoArchive()
        self._advance()

    def ask(self, n: int) -> list[Trial]:
        """Up to ``n`` members of the current group that have not been handed out."""
        trials = self._group[self._handed_out : self._handed_out + n]
        self._handed_out += len(trials)
        return trials

    def tell(self, trial_id: int, evaluation: Evaluation) -> None:
        """Note one evaluation; the last of a group lets the algorithm go on."""
        trial = next((t for t in self._group[: self._handed_out] if t.id == trial_id), None)
        if trial is None or trial_id in self._told:
            raise ValueError(f"trial {trial_id} is not awaited")
        self._told[trial_id] = outcome(evaluation, self._objectives, slack=self._slack)
        self._note_best(trial, evaluation)
        self._archive.add(trial, evaluation, self._told[trial_id])
        if len(self._told) == len(self._group):
            self._advance([self._told[t.id] for t in self._group])

    def best(self) -> tuple[Trial, Evaluation] | None:
        """The best told so far, by the first objective."""
        return None if self._best is None else self._best[:2]

    def front(self) -> list[tuple[Trial, Evaluation]]:
        """Trials that no other dominates, the earliest among equals; the highest first objective first."""
        return self._archive.front()

    def _note_best(self, trial: Trial, evaluation: Evaluation) -> None:
        result = self._told[trial.id]
        if not result.ok:
            return
        if self._best is None or (result.values[0], -trial.id) > (self._best[2].values[0], -self._best[0].id):
            self._best = (trial, evaluation, result)

    def _advance(self, told: list[Outcome] | None = None) -> None:
        values = [one.values[0] for one in told or []] if self._single else told
        try:
            group = next(self._algorithm) if told is None else self._algorithm.send(values)
            while not group:
                group = self._algorithm.send([])
        except StopIteration:
            group = []
        self._group = [Trial(self._next_id + offset, arch) for offset, arch in enumerate(group)]
        self._next_id += len(self._group)
        self._handed_out, self._told = 0, {}


@dataclass(frozen=True)
class StrategyInfo:
    """A strategy and the facts about it.

    Attributes:
        name: Registry name, also the function's and the file's.
        make: Builds it: ``make(space, objective, seed=..., <options>)``.
        paper: Where it was published.
        several: Whether it takes several objectives; then it is always given a tuple of names.
    """

    name: str
    make: Callable[..., Strategy]
    paper: str
    several: bool = False

    @property
    def defaults(self) -> dict[str, Value]:
        """The options and their defaults."""
        return option_defaults(self.make)


STRATEGIES: Registry[StrategyInfo] = Registry("strategy", "subshot.strategies")

M = TypeVar("M", bound=Callable[..., Strategy])


def strategy(*, paper: str, several: bool = False) -> Callable[[M], M]:
    """Register the decorated function, which builds a strategy, under its own name.

    Args:
        paper: Where it was published.
        several: Whether it takes several objectives.
    """

    def register(make: M) -> M:
        STRATEGIES.register(make.__name__, StrategyInfo(make.__name__, make, paper, several))
        return make

    return register


def make_strategy(choice: str | Choice, space: Moves, *, objective: Objective, seed: int) -> Strategy:
    """Build the strategy called by ``choice``, for example ``"swap_evolution(population=50)"``.

    Args:
        choice: Name, with options where wanted.
        space: Where to search.
        objective: Name of the score to maximise, or several: ``("swap", "-macs")``.
        seed: Seed of all its random choices.

    Raises:
        UnknownNameError: No strategy, or no option, has that name.
        OptionError: An option of the wrong type or outside its range, or several objectives for a strategy of one.
        MissingDependencyError: The strategy is that of another package, which isn't installed.
    """
    chosen = Choice.parse(choice) if isinstance(choice, str) else choice
    info = STRATEGIES.get(chosen.name)
    options = check_options(f"strategy {info.name}", chosen.options, info.defaults)
    names = names_of(objective)
    return info.make(space, names if info.several else one_objective(chosen, names), seed=seed, **options)


def get_strategy(name: str) -> StrategyInfo:
    """The facts about the strategy called ``name``.

    Raises:
        UnknownNameError: No strategy has that name.
    """
    return STRATEGIES.get(name)


def list_strategies() -> list[str]:
    """Names of all strategies."""
    return STRATEGIES.names()
