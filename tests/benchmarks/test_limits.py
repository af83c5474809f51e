"""Statistics inside limits, against counts by hand and SciPy."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from subshot.benchmarks import ranking
from subshot.benchmarks.limits import Limit, band, quantile_limits
from subshot.errors import OptionError


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(ranking, "_RESAMPLES", 50)


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("params:0.3M-0.6M", Limit("params", 3e5, 6e5), "params 300k to 600k"),
        ("params: 300k - 600K ", Limit("params", 3e5, 6e5), "params 300k to 600k"),
        ("macs<=1.5G", Limit("macs", high=1.5e9), "macs <= 1.5G"),
        ("latency_ms >= 2.5", Limit("latency_ms", low=2.5), "latency_ms 2.5 up"),
        ("latency_ms:-7", Limit("latency_ms", high=7), "latency_ms <= 7"),
        ("latency_ms:7-", Limit("latency_ms", low=7), "latency_ms 7 up"),
        ("hw:x:1e-3-2e-3", Limit("hw:x", 1e-3, 2e-3), "hw:x 0.001 to 0.002"),
        ("pgd@Linf_eps-1.0<=30", Limit("pgd@Linf_eps-1.0", high=30), "pgd@Linf_eps-1.0 <= 30"),
        ("params:5-5", Limit("params", 5, 5), "params 5 to 5"),
    ],
)
def test_limits_are_read(text, limit, shown):
    assert Limit.parse(text) == limit
    assert str(limit) == shown


@pytest.mark.parametrize("text", ["params", "params:", "params:-", "params:6-3", "params<3", "params:a-b", "<=3", "3"])
def test_other_texts_are_refused(text):
    with pytest.raises(OptionError, match=r"params:0\.3M-0\.6M"):
        Limit.parse(text)


def test_both_ends_are_inside_and_the_unknown_is_not():
    costs = np.array([1.0, 2, 3, np.nan, np.inf, 2.5])
    assert Limit("c", 2, 3).holds(costs).tolist() == [False, True, True, False, False, True]
    assert Limit("c", high=2).holds(costs).tolist() == [True, True, False, False, False, False]
    assert Limit("c", low=3).holds(costs).tolist() == [False, False, True, False, False, False]
    with pytest.raises(OptionError, match=r"inside c 7 up\. Of the 6 ranked ones, they go from 1 to 3"):
        Limit("c", low=7).check(costs)
    with pytest.raises(OptionError, match="none has one"):
        Limit("c", low=7).check(np.full(3, np.nan))


@given(
    hnp.arrays(float, st.integers(1, 60), elements=st.integers(0, 12).map(float) | st.just(math.nan)), st.integers(2, 6)
)
def test_bands_part_the_known_costs(values, count):
    known = values[np.isfinite(values)]
    if not len(known):
        with pytest.raises(OptionError, match="which 0 architectures have"):
            quantile_limits("c", values, count)
        return
    limits = quantile_limits("c", values, count)
    assert 1 <= len(limits) <= count
    inside = np.stack([limit.holds(values) for limit in limits])
    assert (inside.sum(axis=0) == np.isfinite(values)).all()  # each known cost in one band, no other in any
    assert all(a.high < b.low for a, b in itertools.pairwise(limits))


def test_bands_of_distinct_costs_are_equally_large():
    values = np.random.default_rng(0).permutation(100.0 + np.arange(40))
    sizes = [limit.holds(values).sum() for limit in quantile_limits("c", values, 4)]
    assert sizes == [10, 10, 10, 10]
    with pytest.raises(OptionError, match="1 bands of c"):
        quantile_limits("c", values, 1)


def test_a_band_by_hand():
    # The score is perfect over all six, and its choice below a cost of 30 is the worst there.
    costs = np.array([10.0, 20, 30, 40, 50, np.nan])
    truth = np.array([3.0, 2, 1, 8, 9, 0])
    scores = {
        "size": np.arange(6.0),
        "flat": np.ones(6),
        "broken": np.full(6, np.nan),
        "part": np.array([1, np.inf, 2, 5, 4, 3.0]),
    }
    found = band(Limit("c", high=30), costs, scores, truth)
    assert (found.archs, found.best, found.mean) == (3, 3, 2)
    size, flat, broken, part = found.rows
    assert (size.spearman.value, size.top1, size.top10_mean, size.picks) == (-1, 1, 2, (2,))
    assert found.worse_than_random(size)
    assert (flat.top1, flat.picks, flat.archs) == (2, (0, 1, 2), 3)
    assert math.isnan(flat.spearman.value)
    assert not found.worse_than_random(flat)
    assert (broken.spearman, broken.picks, broken.archs) == (None, (), 0)
    assert (part.spearman, part.top1, part.picks, part.archs) == (None, 1, (2,), 2)  # infinity is never chosen
    texts = tuple("abcdef")
    values = found.to_dict(texts)
    json.dumps(values, allow_nan=False)
    assert {key: values[key] for key in ("cost", "low", "high", "archs", "best", "random_mean")} == {
        "cost": "c",
        "low": None,
        "high": 30,
        "archs": 3,
        "best": 3,
        "random_mean": 2,
    }
    assert values["rows"][0] == {
        "proxy": "size",
        "spearman": -1,
        "spearman_ci": values["rows"][0]["spearman_ci"],
        "top1": 1,
        "top10_mean": 2,
        "regret": 2,
        "worse_than_random": True,
        "pick": "c",
        "tied": 1,
        "archs": 3,
    }
    assert [(row["pick"], row["tied"]) for row in values["rows"]] == [("c", 1), ("a", 3), (None, 0), ("c", 1)]


def test_low_values_are_good_where_asked():
    rng = np.random.default_rng(0)
    costs, truth = rng.random(80), rng.normal(size=80)
    scores = {"a": rng.normal(size=80) - truth}
    limit = Limit("c", 0.2, 0.8)
    inside = limit.holds(costs)
    found = band(limit, costs, scores, truth, minimize=True)
    (row,) = found.rows
    assert (found.best, found.mean) == (truth[inside].min(), pytest.approx(truth[inside].mean()))
    assert row.spearman.value == pytest.approx(-stats.spearmanr(scores["a"][inside], truth[inside]).statistic)
    assert row.spearman.low < row.spearman.value < row.spearman.high
    best = np.flatnonzero(inside)[np.argmax(scores["a"][inside])]
    assert (row.picks, row.top1) == ((best,), truth[best])
    ten = np.argsort(-scores["a"][inside])[:10]
    assert row.top10_mean == pytest.approx(truth[inside][ten].mean())
    assert found.worse_than_random(row) == (truth[best] > found.mean)
