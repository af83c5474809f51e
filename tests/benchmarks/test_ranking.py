import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from subshot._seeds import stable_rng
from subshot.benchmarks import ranking
from subshot.benchmarks.ranking import Estimate, estimate, highest_mean, kendall, rank, spearman
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
    assert found.kendall.value == rank(scores[kept], truth[kept]).kendall.value
    assert found.kendall == estimate(broken, truth, kendall)


def test_a_score_that_fails_on_the_best_does_not_find_them():
    truth = np.arange(100.0)
    blind = np.where(truth < 90, truth, np.nan)
    found = rank(blind, truth)
    assert found.spearman.value == pytest.approx(1)
    # The best 5 % and 10 % of all, not of those with a score.
    assert found.precision_top5.value == 0
    assert math.isnan(found.kendall_top10.value)
    assert (found.top1.value, found.top10_mean.value) == (89, 84.5)
    # Among the true best ten only five have a score, in their order; 10 of 45 pairs are tied in it.
    half = rank(np.where(truth < 95, truth, -np.inf), truth)
    assert half.kendall_top10.value == pytest.approx((10 - 25) / math.sqrt(35 * 45))


def test_non_finite_scores_may_take_the_last_place_together():
    rng = np.random.default_rng(1)
    truth, scores = rng.normal(size=60), rng.normal(size=60)
    broken = scores.copy()
    broken[[3, 10, 59]] = [np.nan, np.inf, -np.inf]
    last = broken.copy()
    last[[3, 10, 59]] = -1e9
    found = rank(broken, truth)
    assert found.spearman_all.value == pytest.approx(stats.spearmanr(last, truth).statistic)
    assert found.spearman_all.low < found.spearman_all.value < found.spearman_all.high
    assert found.spearman_all.value != found.spearman.value
    whole = rank(scores, truth)
    assert whole.spearman_all == whole.spearman
    # Scores at the ends of what a number can hold are no last place.
    edge = np.array([-1.7e308, np.nan, 1.7e308, 0.0])
    assert rank(edge, np.array([1.0, 0, 3, 2])).spearman_all.value == pytest.approx(1)


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
        scores = r * truth + math.sqrt(1 - r * r) * rng.normal(size=size)
        found = [estimate(scores, truth, one) for one in (kendall, spearman)]
        covered += [one.low <= true <= one.high for one, true in zip(found, (tau, rho), strict=True)]
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


def test_intervals_are_percentiles_over_resampled_architectures():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=40)
    scores = np.round(truth + rng.normal(size=40))
    found = rank(scores, truth, seed=7)
    draws = stable_rng(7, "bootstrap").integers(40, size=(200, 40))
    for statistic, reference in ((found.spearman, stats.spearmanr), (found.kendall, stats.kendalltau)):
        values = [reference(scores[draw], truth[draw]).statistic for draw in draws]
        assert (statistic.low, statistic.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_memory_does_not_grow_with_the_resamples():
    rng = np.random.default_rng(6)
    scores, truth = rng.normal(size=(2, 1_000))
    rank(scores[:50], truth[:50])  # whatever is loaded at first use
    tracemalloc.start()
    try:
        rank(scores, truth)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * scores.nbytes  # the two hundred resamples together are 200 times that


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


def test_first_choices_by_hand() -> None:
    """A score that knows the best ones and nothing else has perfect first choices and a low correlation."""
    rng = np.random.default_rng(0)
    truth = np.arange(200.0)
    scores = rng.normal(size=200)
    scores[190:] += 100
    found = rank(scores, truth)
    assert found.precision_top5.value == 1
    assert found.top10_mean.value == truth[190:].mean()
    assert found.top1.value == truth[np.argmax(scores)]
    assert found.spearman.value < 0.5
    order = np.sort(truth)[-20:]
    assert found.kendall_top10.value == pytest.approx(kendall(scores[-20:], order))
    assert found.kendall_top5.value == pytest.approx(kendall(scores[-10:], order[-10:]))


def test_ties_share_the_last_places() -> None:
    """Of equal scores none is preferred: the mean is that over all ways to break the tie."""
    scores, values = np.array([3.0, 2, 2, 2, 1]), np.array([10.0, 0, 3, 6, 100])
    assert highest_mean(scores, values, 1) == 10
    assert highest_mean(scores, values, 2) == pytest.approx((10 + 3) / 2)
    assert highest_mean(scores, values, 4) == pytest.approx(19 / 4)
    assert highest_mean(np.ones(5), values, 2) == pytest.approx(values.mean())


def test_intervals_hold_the_value() -> None:
    """Every statistic of a noisy score lies in its interval, which has a width."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=300)
    found = rank(truth + rng.normal(size=300), truth)
    for name in ("spearman", "kendall", "kendall_top10", "precision_top5", "top10_mean"):
        one = getattr(found, name)
        assert one.low < one.high, name
        assert one.low - 0.05 <= one.value <= one.high + 0.05, name


def test_one_statistic_is_that_of_the_whole_ranking() -> None:
    """Value and interval agree with those among all statistics."""
    rng = np.random.default_rng(3)
    truth, scores = rng.normal(size=60), rng.normal(size=60)
    scores[:4] = np.nan
    found = rank(scores, truth)
    assert estimate(scores, truth) == found.spearman
    assert estimate(scores, truth, kendall) == found.kendall
    with pytest.raises(DataError, match="finite"):
        estimate(np.full(5, np.nan), np.arange(5.0))
