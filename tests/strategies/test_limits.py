import itertools
from collections import Counter

import numpy as np
import pytest

from subshot._types import Arch
from subshot.costs._limits import Limits
from subshot.errors import InfeasibleError
from subshot.spaces._space import Crossable
from subshot.strategies._limits import limited

BITS = 14


class _Bits:
    """Bit strings whose cost is their number; too large to list unless told otherwise."""

    name = "bits"
    size = 10**9

    def sample(self, rng):
        return Arch("bits", tuple(rng.integers(2, size=BITS).tolist()))

    def mutate(self, arch, rng):
        position = int(rng.integers(BITS))
        return Arch("bits", tuple(gene ^ (place == position) for place, gene in enumerate(arch.genes)))

    def format(self, arch):
        return "".join(map(str, arch.genes))


class _Listed(_Bits):
    size = 2**BITS

    def architectures(self):
        return (Arch("bits", genes) for genes in itertools.product((0, 1), repeat=BITS))


class _Crossed(_Bits):
    def crossover(self, first, second, rng):
        pick = rng.integers(2, size=BITS)
        return Arch("bits", tuple(b if p else a for a, b, p in zip(first.genes, second.genes, pick, strict=True)))


def costs(arch):
    return {"params": 1 + sum(arch.genes)}


def number(arch):
    """Costs of which only one in a thousand or fewer is low."""
    return {"params": sum(gene << place for place, gene in enumerate(arch.genes))}


def test_samples_are_those_that_redrawing_by_hand_gives():
    # The very same draws of the generator, so the distribution inside is the space's own.
    space = _Bits()
    view = limited(space, Limits.of(params=6), costs)
    ours, theirs = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(200):
        expected = space.sample(theirs)
        while costs(expected)["params"] > 6:
            expected = space.sample(theirs)
        assert view.sample(ours) == expected


def test_without_limits_nothing_changes():
    space = _Bits()
    view = limited(space, Limits.of(), costs)
    ours, theirs = np.random.default_rng(5), np.random.default_rng(5)
    arch = space.sample(np.random.default_rng(0))
    assert [view.sample(ours) for _ in range(20)] == [space.sample(theirs) for _ in range(20)]
    assert [view.mutate(arch, ours) for _ in range(20)] == [space.mutate(arch, theirs) for _ in range(20)]


def test_mutants_stay_inside_and_near():
    view = limited(_Bits(), Limits.of(params=4), costs)
    rng = np.random.default_rng(1)
    arch = view.sample(rng)
    for _ in range(200):
        mutant = view.mutate(arch, rng)
        assert view.inside(mutant)
        assert sum(a != b for a, b in zip(mutant.genes, arch.genes, strict=True)) == 1
        arch = mutant


def test_a_few_of_many_are_found_by_listing_a_small_space():
    view = limited(_Listed(), Limits.of(params=2), number)
    rng = np.random.default_rng(0)
    found = Counter(number(view.sample(rng))["params"] for _ in range(300))
    assert set(found) == {0, 1, 2}
    assert min(found.values()) > 60


def test_a_few_of_many_are_found_by_walking_a_large_space():
    view = limited(_Bits(), Limits.of(params=1), costs)  # one in 16,384
    assert sum(view.sample(np.random.default_rng(0)).genes) == 0


def test_a_lonely_architecture_is_redrawn_when_no_mutant_is_inside():
    view = limited(_Listed(), Limits.of(params=1), costs)
    lonely = Arch("bits", (0,) * BITS)
    assert view.mutate(lonely, np.random.default_rng(0)) == lonely


@pytest.mark.parametrize("space", [_Listed(), _Bits()])
def test_impossible_limits_name_the_nearest(space):
    with pytest.raises(InfeasibleError) as caught:
        limited(space, Limits.of(params=0.5), costs).sample(np.random.default_rng(0))
    certain = " that was found" not in caught.value.message
    assert certain == isinstance(space, _Listed)
    assert "meets the limits (params <= 0)." in caught.value.message
    assert "The nearest has params 1: 00000000000000 ." in caught.value.hint
    assert 'subshot profile --space "bits"' in caught.value.hint  # quoted: a shell reads brackets


def test_children_stay_inside_or_are_the_first_parent():
    view = limited(_Crossed(), Limits.of(params=5), costs)
    rng = np.random.default_rng(2)
    for _ in range(100):
        first, second = view.sample(rng), view.sample(rng)
        child = view.crossover(first, second, rng)
        assert view.inside(child)
        assert child == first or all(g in pair for g, *pair in zip(child.genes, first.genes, second.genes, strict=True))
    outside = Arch("bits", (1,) * BITS)
    assert view.crossover(outside, outside, rng) == outside


def test_a_view_has_a_crossover_where_the_space_has_one():
    assert isinstance(limited(_Crossed(), Limits.of(), costs), Crossable)
    assert not isinstance(limited(_Bits(), Limits.of(), costs), Crossable)
