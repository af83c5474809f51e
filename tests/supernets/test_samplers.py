from collections import Counter

import numpy as np
import pytest

from subshot.errors import OptionError, UnknownNameError
from subshot.supernets._supernet import make_supernet
from subshot.supernets.samplers import PATH_SAMPLERS, list_path_samplers, make_sampler

CELLS = "nasbench201(channels=2, cells=1)"


def test_the_samplers():
    assert list_path_samplers() == ["full_path_mix", "sandwich", "strictly_fair", "uniform"]
    for name in PATH_SAMPLERS:
        info = PATH_SAMPLERS.get(name)
        assert info.draw.__module__ == f"subshot.supernets.samplers.{name}"
        assert "arXiv" in info.paper


@pytest.mark.parametrize("name", PATH_SAMPLERS.names())
def test_paths_can_be_executed_and_depend_on_the_arguments_alone(supernet, name):
    draw = make_sampler(name)
    for step in range(3):
        paths = draw(supernet, step, np.random.default_rng(step))
        assert paths == draw(supernet, step, np.random.default_rng(step))
        for path in paths:
            supernet.network.check(path)
            drawn = supernet.options
            assert all(set(chosen) <= set(drawn[slot]) for slot, chosen in path.items())


def test_uniform_draws_every_operation_alike(rng):
    supernet = make_supernet(CELLS)
    draw = make_sampler("uniform")
    counts = Counter(draw(supernet, 0, rng)[0]["1_to_3"][0] for _ in range(2000))
    assert len(counts) == 5
    assert all(abs(count - 400) < 90 for count in counts.values())  # 5 standard deviations


def test_strict_fairness_executes_each_operation_exactly_once_a_step(supernet, rng):
    draw = make_sampler("strictly_fair")
    orders = set()
    for step in range(4):
        paths = draw(supernet, step, rng)
        assert len({frozenset(path) for path in paths}) == 1
        for slot in paths[0]:
            executed = [path[slot] for path in paths]
            assert sorted(executed) == [(number,) for number in sorted(supernet.network.slots[slot].drawn)]
            orders.add(tuple(executed))
    assert len(orders) > 4  # every slot has its own order, new in every step


def test_strict_fairness_with_a_frozen_slot(rng):
    supernet = make_supernet(CELLS)
    supernet.freeze("0_to_2", 4)
    paths = make_sampler("strictly_fair")(supernet, 0, rng)
    assert [path["0_to_2"] for path in paths] == [(4,)] * 5


def test_strict_fairness_needs_equal_slots(rng):
    supernet = make_supernet(CELLS)
    supernet.network.slots["0_to_2"].drawn = (1, 2, 3)
    with pytest.raises(OptionError, match="Slots have 3 or 5 operations"):
        make_sampler("strictly_fair")(supernet, 0, rng)


def test_the_full_path_fades_out(rng):
    supernet = make_supernet(CELLS)
    draw = make_sampler("full_path_mix(decay_steps=100)")

    def share(step):
        return sum(draw(supernet, step, rng) == [supernet.full_path()] for _ in range(400)) / 400

    assert share(0) == 1
    assert share(50) == pytest.approx(0.5, abs=0.125)
    assert share(100) == share(1000) == 0
    with pytest.raises(OptionError, match="decay_steps"):
        make_sampler("full_path_mix(decay_steps=0)")(supernet, 0, rng)


def test_the_sandwich_has_the_largest_and_the_smallest_path(supernet, rng):
    draw = make_sampler("sandwich(between=3)")
    largest, smallest, *between = draw(supernet, 0, rng)
    assert len(between) == 3
    costs = [supernet.macs({**largest, slot: (number,)}) for slot in largest for number in supernet.options[slot]]
    assert supernet.macs(largest) == max(costs)
    lower = [
        supernet.macs({**smallest, slot: (number,)})
        for slot in smallest
        for number in supernet.options[slot]
        if supernet.executes(slot, number)
    ]
    assert supernet.macs(smallest) == min(lower)
    assert supernet.macs(smallest) < supernet.macs(largest)
    with pytest.raises(OptionError, match="between"):
        make_sampler("sandwich(between=-1)")(supernet, 0, rng)


def test_the_smallest_cell_still_hands_its_input_on(rng):
    supernet = make_supernet(CELLS)
    _, smallest = make_sampler("sandwich(between=0)")(supernet, 0, rng)
    assert set(smallest.values()) == {(1,)}  # skip_connect


def test_unknown_samplers_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'uniform'"):
        make_sampler("unifrom")
    with pytest.raises(UnknownNameError, match="no setting of path sampler uniform"):
        make_sampler("uniform(steps=3)")
