import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from subshot.benchmarks import ranking
from subshot.benchmarks.ranking import Estimate, kendall, rank, spearman
from subshot.errors import DataError


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(ranking, "_RESAMPLES", 200)


def tau_b_by_pairs(x, y):
    """Kendall's tau-b from its definition: all pairs, ties in either taken out of its own normaliser."""
    concordant = discordant = only_x = only_y = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        concordant += a * b > 0
        discordant += a * b < 0
        only_x += a != 0
        only_y += b != 0
    return (concordant - discordant) / math.sqrt(only_x * only_y) if only_x and only_y else math.nan


def rho_by_ranks(x, y):
    """Spearman's rho as the correlation of mean ranks, counted one by one."""

    def ranks(values):
        return [sum(v < one for v in values) + (sum(v == one for v in values) + 1) / 2 for one in values]

    a, b = np.array(ranks(x)) - (len(x) + 1) / 2, np.array(ranks(y)) - (len(x) + 1) / 2
    scale = math.sqrt((a @ a) * (b @ b))
    return a @ b / scale if scale else math.nan


pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=15)  # many ties


@settings(deadline=None)
@given(pairs)
def test_against_definitions_with_ties(both):
    x, y = np.array(both, dtype=float).T
    assert kendall(x, y) == pytest.approx(tau_b_by_pairs(x, y), nan_ok=True)
    assert spearman(x, y) == pytest.approx(rho_by_ranks(x, y), nan_ok=True)


def test_against_scipy():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    scores = np.round(truth + rng.normal(size=200), 1)
    found = rank(scores, truth)
    assert found.spearman.value == pytest.approx(stats.spearmanr(scores, truth).statistic)
    assert found.kendall.value == pytest.approx(stats.kendalltau(scores, truth).statistic)
    assert (found.archs, found.non_finite) == (200, 0)


def test_only_order_counts():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=50)
    scores = truth + rng.normal(size=50)
    for statistic in (kendall, spearman):
        assert statistic(np.exp(scores), truth) == pytest.approx(statistic(scores, truth))
        assert statistic(-scores, truth) == pytest.approx(-statistic(scores, truth))
    perfect = rank(np.arange(20.0), np.arange(20.0) ** 3)
    assert (perfect.kendall.low, perfect.spearman.low) == (pytest.approx(1), pytest.approx(1))


def test_non_finite_scores_are_counted_and_left_out():
    rng = np.random.default_rng(1)
    truth, scores = rng.normal(size=60), rng.normal(size=60)
    broken = scores.copy()
    broken[[3, 10, 59]] = [np.nan, np.inf, -np.inf]
    kept = np.isfinite(broken)
    found = rank(broken, truth)
    assert (found.archs, found.non_finite) == (57, 3)
    assert found.kendall == rank(scores[kept], truth[kept]).kendall


def test_constant_scores_have_no_correlation():
    found = rank(np.ones(10), np.arange(10.0))
    assert math.isnan(found.spearman.value)
    assert math.isnan(found.kendall.low)


def test_shuffled_scores_are_near_zero():
    # The negative control: an interval that never holds zero here would be worth nothing.
    rng = np.random.default_rng(2)
    truth = rng.normal(size=300)
    found = rank(rng.permutation(truth), truth)
    assert abs(found.spearman.value) < 0.15
    assert found.spearman.low < 0 < found.spearman.high


def test_interval_covers_the_truth_as_often_as_it_says():
    # A bivariate normal with correlation r has Kendall's tau 2/pi arcsin(r) and Spearman's rho 6/pi arcsin(r/2).
    r, size, runs = 0.6, 100, 60
    tau, rho = 2 / math.pi * math.asin(r), 6 / math.pi * math.asin(r / 2)
    rng = np.random.default_rng(3)
    covered = np.zeros(2)
    for _ in range(runs):
        truth = rng.normal(size=size)
        found = rank(r * truth + math.sqrt(1 - r * r) * rng.normal(size=size), truth)
        covered += [found.kendall.low <= tau <= found.kendall.high, found.spearman.low <= rho <= found.spearman.high]
    # 95 % of 60 is 57 with a deviation of 1.7; an interval of half the width would cover some 40.
    assert (covered >= 51).all()


def test_interval_narrows_with_more_architectures_and_repeats_with_the_seed():
    rng = np.random.default_rng(4)
    truth = rng.normal(size=400)
    scores = truth + rng.normal(size=400)
    few, many = rank(scores[:40], truth[:40]).kendall, rank(scores, truth).kendall
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert rank(scores[:40], truth[:40]).kendall == few
    assert rank(scores[:40], truth[:40], seed=1).kendall != few


def test_estimate_is_shown_with_its_interval():
    assert str(Estimate(0.71234, 0.6, 0.8)) == "0.712 [0.600, 0.800]"


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ([1, 2, 3], [1, 2], "shape"),
        ([[1, 2, 3]], [[1, 2, 3]], "shape"),
        ([1, 2, 3], [1, 2, np.nan], "1 true values are not finite"),
        ([1, 2, np.nan], [1, 2, 3], "Only 2 of 3 scores are finite"),
        ([], [], "Only 0 of 0"),
    ],
)
def test_bad_input_is_explained(scores, truth, message):
    with pytest.raises(DataError, match=message):
        rank(np.array(scores, dtype=float), np.array(truth, dtype=float))
