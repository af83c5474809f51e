"""Where a space says what a search begins with, every strategy evaluates it early, and others notice nothing."""

import numpy as np
import pytest

from subshot._types import Arch, Score
from subshot.costs._limits import Limits
from subshot.spaces._space import get_space
from subshot.strategies._limits import limited
from subshot.strategies._strategy import STRATEGIES, list_strategies, make_strategy

BITS = 40
START = Arch("bits", (1,) * BITS)  # which no random draw gives


class Bits:
    name = "bits"
    size = 2**BITS

    def sample(self, rng):
        return Arch("bits", tuple(rng.integers(2, size=BITS).tolist()))

    def mutate(self, arch, rng):
        position = int(rng.integers(BITS))
        return Arch("bits", tuple(gene ^ (place == position) for place, gene in enumerate(arch.genes)))

    def parse(self, text):
        return Arch("bits", tuple(map(int, text)))

    def format(self, arch):
        return "".join(map(str, arch.genes))


class Started(Bits):
    start = START


def costs(arch):
    return {"params": sum(arch.genes)}


def asked(strategy, space, n=60, **limits):
    """The first architectures that a strategy asks for inside limits."""
    needs = {"optuna": "optuna", "pymoo": "pymoo"}
    if strategy in needs:
        pytest.importorskip(needs[strategy])
    chooser = make_strategy(strategy, limited(space, Limits.of(**limits), costs), objective="score", seed=3)
    found = []
    while len(found) < n:
        trials = chooser.ask(n)
        assert trials
        for trial in trials:
            found.append(trial.arch)
            chooser.tell(trial.id, {"score": Score.of(float(np.dot(trial.arch.genes, np.arange(BITS) % 7)))})
    return found


@pytest.mark.parametrize("strategy", list_strategies())
def test_every_strategy_begins_with_the_start(strategy):
    assert START in asked(strategy, Started())[:20]


@pytest.mark.parametrize("strategy", list_strategies())
def test_a_start_outside_the_limits_is_never_asked_for(strategy):
    ours = asked(strategy, Started(), params=BITS - 1)
    assert START not in ours
    assert ours == asked(strategy, Bits(), params=BITS - 1)


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - {"optuna", "pymoo"}))
def test_a_space_without_a_start_is_searched_as_without_the_view(strategy):
    plain = make_strategy(strategy, Bits(), objective="score", seed=3)
    assert [trial.arch for trial in plain.ask(10)] == asked(strategy, Bits(), n=10)[:10]


def test_the_start_takes_no_random_number():
    ours, theirs = np.random.default_rng(0), np.random.default_rng(0)
    view = limited(Started(), Limits.of(), costs)
    assert view.sample(ours) == START
    assert [view.sample(ours) for _ in range(5)] == [Bits().sample(theirs) for _ in range(5)]


def test_a_published_space_has_no_start():
    assert limited(get_space("nasbench201"), Limits.of(), lambda arch: {}).start is None
