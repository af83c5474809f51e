"""The contract of a strategy, as a test suite.

Subclass it in your tests and supply how to build the strategy::

    from subshot.testing.strategies import StrategyContract

    class TestMyStrategy(StrategyContract):
        @pytest.fixture
        def make(self):
            return lambda space, seed: my_strategy(space, "score", seed=seed)

A strategy of several objectives passes :class:`ParetoContract` as well; its fixture is ``make_two``.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from subshot._types import Arch, Evaluation, Score, Trial
from subshot.strategies._strategy import Moves, Strategy

Make = Callable[[Moves, int], Strategy]


class OneMax:
    """A toy space: bit strings, whose score is the number of ones.

    Args:
        bits: Length of the strings.
    """

    def __init__(self, bits: int = 12) -> None:
        self.bits = bits

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw every bit."""
        return Arch("one_max", tuple(rng.integers(2, size=self.bits).tolist()))

    def mutate(self, arch: Arch, rng: np.random.Generator) -> Arch:
        """Flip one bit."""
        genes = list(arch.genes)
        position = int(rng.integers(self.bits))
        genes[position] = 1 - genes[position]
        return Arch("one_max", tuple(genes))

    def crossover(self, first: Arch, second: Arch, rng: np.random.Generator) -> Arch:
        """Take each bit from either parent."""
        pick = rng.integers(2, size=self.bits)
        return Arch("one_max", tuple(b if p else a for a, b, p in zip(first.genes, second.genes, pick, strict=True)))


def ones(arch: Arch) -> Evaluation:
    """The evaluation of a bit string."""
    return {"score": Score.of(sum(arch.genes))}


def ends(arch: Arch) -> Evaluation:
    """Two objectives that are at odds: ones before the first zero, and zeros after the last one."""
    text = "".join(map(str, arch.genes))
    return {
        "ones": Score.of(len(text) - len(text.lstrip("1"))),
        "zeros": Score.of(len(text) - len(text.rstrip("0"))),
    }


def drive(
    strategy: Strategy, trials: int, *, evaluate: Callable[[Arch], Evaluation] = ones, n: int = 7, reverse: bool = False
) -> list[Trial]:
    """Run a strategy for a number of trials and return them.

    Args:
        strategy: What to run.
        trials: Trials to evaluate at most.
        evaluate: Evaluation of an architecture.
        n: Trials asked for at a time.
        reverse: Tell each group backwards.
    """
    done: list[Trial] = []
    while len(done) < trials:
        asked = strategy.ask(min(n, trials - len(done)))
        if not asked:
            break
        for trial in reversed(asked) if reverse else asked:
            strategy.tell(trial.id, evaluate(trial.arch))
        done += asked
    return done


class StrategyContract:
    """What every strategy promises."""

    @pytest.fixture
    def make(self) -> Make:
        """Builds the strategy under test from a space and a seed; its objective is ``"score"``."""
        raise NotImplementedError("supply a fixture named 'make'")

    def test_asks_at_most_n(self, make: Make) -> None:
        """Trials are numbered from 0 and never more than asked for."""
        strategy = make(OneMax(), 0)
        asked = [trial for n in (0, 1, 2, 3) for trial in _exactly(strategy, n)]
        assert [trial.id for trial in asked] == list(range(len(asked)))

    def test_same_seed_same_trials(self, make: Make) -> None:
        """The seed decides, not the sizes of the calls nor the order of tells within a group."""
        runs = [
            drive(make(OneMax(), 5), 300),
            drive(make(OneMax(), 5), 300),
            drive(make(OneMax(), 5), 300, n=1),
            drive(make(OneMax(), 5), 300, n=1_000, reverse=True),
        ]
        assert all(run == runs[0] for run in runs[1:])

    def test_other_seed_other_trials(self, make: Make) -> None:
        """Another seed gives another run."""
        assert drive(make(OneMax(), 1), 50) != drive(make(OneMax(), 2), 50)

    def test_best_is_the_best_told(self, make: Make) -> None:
        """``best`` is the highest finite objective, the earliest among equals; ``None`` before any."""
        strategy = make(OneMax(), 0)
        assert strategy.best() is None
        trials = drive(strategy, 200)
        best = strategy.best()
        assert best is not None
        top = max(sum(trial.arch.genes) for trial in trials)
        assert best[0] == next(trial for trial in trials if sum(trial.arch.genes) == top)

    def test_failures_are_never_chosen(self, make: Make) -> None:
        """Trials without a finite score don't stop the search and are never the best, even if infinite."""

        def evaluate(arch: Arch) -> Evaluation:
            if sum(arch.genes) % 2:
                return ones(arch)
            bad = (Score.failed("broken"), Score.of(math.inf), Score.of(math.nan), Score.not_applicable("no"))
            return {"score": bad[sum(arch.genes) // 2 % 4]}

        strategy = make(OneMax(), 0)
        trials = drive(strategy, 300, evaluate=evaluate)
        assert len(trials) == 300
        best = strategy.best()
        assert best is not None
        assert best[1]["score"].ok

    def test_nothing_finite_has_no_best(self, make: Make) -> None:
        """A search in which everything fails ends without a best."""
        strategy = make(OneMax(), 0)
        drive(strategy, 100, evaluate=lambda arch: {"score": Score.failed("broken")})
        assert strategy.best() is None

    def test_only_awaited_trials_can_be_told(self, make: Make) -> None:
        """A trial that wasn't asked for, or was told already, is refused."""
        strategy = make(OneMax(), 0)
        (trial,) = _exactly(strategy, 1)
        with pytest.raises(ValueError, match="not awaited"):
            strategy.tell(trial.id + 10_000, ones(trial.arch))
        strategy.tell(trial.id, ones(trial.arch))
        with pytest.raises(ValueError, match="not awaited"):
            strategy.tell(trial.id, ones(trial.arch))

    def test_finds_the_optimum(self, make: Make) -> None:
        """Twelve ones are found within 4,096 trials, which is what listing everything would take."""
        strategy = make(OneMax(), 0)
        best = None
        for _ in range(4_096 // 64):
            drive(strategy, 64)
            best = strategy.best()
            if best is not None and best[1]["score"].value == 12:
                break
        assert best is not None
        assert best[1]["score"].value == 12


class ParetoContract:
    """What a strategy of several objectives promises besides; it has a method ``front``."""

    @pytest.fixture
    def make_two(self) -> Callable[[Moves, int], Any]:
        """Builds the strategy under test from a space and a seed; its objectives are ``"ones"`` and ``"zeros"``."""
        raise NotImplementedError("supply a fixture named 'make_two'")

    def test_front_is_what_nothing_dominates(self, make_two: Callable[[Moves, int], Any]) -> None:
        """Of all trials those that none beats, one for each pair of values, whatever the order of tells."""
        for reverse in (False, True):
            strategy = make_two(OneMax(8), 3)
            assert strategy.front() == []
            trials = drive(strategy, 150, evaluate=ends, reverse=reverse)
            first = {_pair(ends(trial.arch)): trial.id for trial in reversed(trials)}
            best = {
                pair: number
                for pair, number in first.items()
                if not any(other != pair and other[0] >= pair[0] and other[1] >= pair[1] for other in first)
            }
            assert {_pair(evaluation): trial.id for trial, evaluation in strategy.front()} == best
            values = [evaluation["ones"].value for _, evaluation in strategy.front()]
            assert values == sorted(values, reverse=True)

    def test_finds_the_front(self, make_two: Callable[[Moves, int], Any]) -> None:
        """All nine compromises of eight bits, each of a single architecture, within 2,000 trials."""
        strategy = make_two(OneMax(8), 0)
        for _ in range(2_000 // 50):
            drive(strategy, 50, evaluate=ends)
            if len(strategy.front()) == 9 and all(sum(_pair(one)) == 8 for _, one in strategy.front()):
                break
        assert sorted(_pair(one) for _, one in strategy.front()) == [(float(i), 8.0 - i) for i in range(9)]

    def test_two_objectives_replay(self, make_two: Callable[[Moves, int], Any]) -> None:
        """The seed decides, not the sizes of the calls nor the order of tells within a group."""
        runs = [
            drive(make_two(OneMax(8), 5), 160, evaluate=ends, n=n, reverse=reverse)
            for n, reverse in ((7, False), (1, False), (1_000, True))
        ]
        assert runs[0] == runs[1] == runs[2]

    def test_what_lacks_an_objective_is_never_chosen(self, make_two: Callable[[Moves, int], Any]) -> None:
        """Not in the front, not the best; the search goes on."""

        def evaluate(arch: Arch) -> Evaluation:
            bad = {0: {"zeros": Score.of(math.inf)}, 1: {"zeros": Score.failed("broken")}}
            return {**ends(arch), **bad.get(sum(arch.genes) % 4, {})}

        strategy = make_two(OneMax(8), 0)
        assert len(drive(strategy, 150, evaluate=evaluate)) == 150
        best = strategy.best()
        assert best is not None
        assert all(evaluation["zeros"].ok for _, evaluation in [best, *strategy.front()])


def _pair(evaluation: Evaluation) -> tuple[float, float]:
    return evaluation["ones"].value, evaluation["zeros"].value


def _exactly(strategy: Strategy, n: int) -> list[Trial]:
    trials = strategy.ask(n)
    assert len(trials) <= n
    return trials
