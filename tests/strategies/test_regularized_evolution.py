import pytest

from subshot._types import Arch, Score
from subshot.errors import OptionError
from subshot.strategies._strategy import make_strategy
from subshot.testing.strategies import OneMax, drive


class _Numbers:
    """Architectures are numbers from 0 on, in the order of their making."""

    def __init__(self):
        self.next = 0
        self.parents = []

    def sample(self, rng):
        self.next += 1
        return Arch("numbers", (self.next - 1,))

    def mutate(self, arch, rng):
        self.parents.append(arch.genes[0])
        return self.sample(rng)


def run(values, *, trials, **options):
    """The parents of all mutants, where a number's score is its value, else 0."""
    space = _Numbers()
    text = f"regularized_evolution({','.join(f'{key}={value}' for key, value in options.items())})"
    strategy = make_strategy(text, space, objective="score", seed=0)
    drive(strategy, trials, evaluate=lambda arch: {"score": Score.of(values.get(arch.genes[0], 0.0))})
    return space.parents, strategy


def test_the_oldest_leaves_however_good_it_is():
    # A sample of sixty out of three misses a member in one of 10^10 cycles. 1 is best until it is the oldest.
    parents, strategy = run({1: 9.0, 3: 1.0}, trials=8, population=3, sample=60, children=1)
    # Members: 0 1 2 | 1 2 3 | 2 3 4 | 3 4 5 | 4 5 6, and then all are alike.
    assert parents[:4] == [1, 1, 3, 3]
    assert parents[4] in (4, 5, 6)
    assert strategy.best()[0].arch.genes == (1,)


def test_children_of_a_group_share_a_population():
    parents, _ = run({1: 9.0, 4: 10.0}, trials=9, population=4, sample=60, children=3)
    assert parents[:3] == [1, 1, 1]  # of 0 1 2 3
    assert parents[3:6] == [4, 4, 4]  # of 3 4 5 6


def test_a_sample_of_one_is_any_member():
    parents, _ = run({0: 9.0}, trials=300, population=100, sample=1, children=100)
    assert len(set(parents[:100])) > 40


@pytest.mark.parametrize("text", ["sample=0", "children=0", "population=5,children=6"])
def test_settings_out_of_range_are_refused(text):
    with pytest.raises(OptionError, match="population >= children >= 1"):
        make_strategy(f"regularized_evolution({text})", OneMax(), objective="score", seed=0)
