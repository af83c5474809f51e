import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subshot.errors import OptionError
from subshot.strategies._hypervolume import hypervolume

SIDE = 5


def cells(points):
    """Unit cubes below at least one point, counted one by one."""
    if not points:
        return 0
    corners = itertools.product(range(SIDE), repeat=len(points[0]))
    return sum(any(all(c < p for c, p in zip(corner, point, strict=True)) for point in points) for corner in corners)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_whole_numbers_are_counted(objectives):
    @given(st.lists(st.tuples(*[st.integers(-1, SIDE)] * objectives), max_size=7))
    def check(points):
        assert hypervolume(points, [0] * objectives) == cells(points)

    check()


@pytest.mark.parametrize("objectives", [2, 3])
def test_agrees_with_pymoo(objectives):
    measure = pytest.importorskip("pymoo.indicators.hv").HV(ref_point=np.zeros(objectives))
    points = np.random.default_rng(1).normal(size=(80, objectives)) + 0.5
    assert hypervolume(points, np.zeros(objectives)) == pytest.approx(measure(-points), rel=1e-12)


def test_the_reference_is_the_corner():
    assert hypervolume([[3.0, 5.0]], [1.0, 2.0]) == 2 * 3
    assert hypervolume([[3.0, 5.0], [1.0, 9.0]], [1.0, 2.0]) == 2 * 3  # on the edge is not above it
    assert hypervolume([], [0.0, 0.0]) == 0


@pytest.mark.parametrize(
    ("points", "reference"),
    [([[1.0, 2.0]], [0.0]), ([1.0, 2.0], [0.0, 0.0]), ([[1.0, np.nan]], [0, 0]), ([[1.0, 2.0]], [0.0, -np.inf])],
)
def test_what_has_no_volume_is_refused(points, reference):
    with pytest.raises(OptionError):
        hypervolume(points, reference)
