import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import subshot.aggregators as room
from subshot._types import Score
from subshot.aggregators import aggregate, get_aggregator, list_aggregators, scores_by_proxy
from subshot.aggregators._aggregator import AGGREGATORS
from subshot.errors import DataError, UnknownNameError

GENERIC = ("vote", "rank_sum", "log_rank_sum")
OF_PAPERS = {
    "az_nas": ("log_rank_sum", ("az_expressivity", "az_progressivity", "az_trainability", "macs")),
    "vkdnw_aggregate": ("log_rank_sum", ("macs", "vkdnw", "az_expressivity", "az_trainability", "jacob_cov")),
    "te_nas": ("rank_sum", ("ntk_condition", "linear_regions")),
    "teg": ("rank_sum", ("ntk_condition", "linear_regions", "ntk_mse")),
}

nan, inf = math.nan, math.inf

# Whole numbers, so that ties are many and increasing transforms exact.
score = st.one_of(st.integers(-4, 4).map(float), st.sampled_from([nan, inf, -inf]))


def tables(min_size=1):
    """K lists of N scores."""
    return st.integers(1, 5).flatmap(
        lambda k: st.integers(min_size, 8).flatmap(
            lambda n: st.lists(st.lists(score, min_size=n, max_size=n), min_size=k, max_size=k)
        )
    )


def named(table):
    return {f"proxy{number}": row for number, row in enumerate(table)}


def in_order(x):
    """A score as the rule places it."""
    return x if math.isfinite(x) else -inf


def by_definition(name, table, reference):
    """Values counted one comparison at a time."""
    values = []
    for i in range(len(table[0])):
        ranks = []
        for own, others in zip(table, reference, strict=True):
            below = sum(in_order(other) < in_order(own[i]) for other in others)
            equal = sum(in_order(other) == in_order(own[i]) for other in others)
            ranks.append(below + (equal + 1) / 2)
        if name == "rank_sum":
            values.append(sum(ranks))
        elif name == "log_rank_sum":
            values.append(sum(math.log(rank / len(reference[0])) for rank in ranks))
        else:
            won = 0.0
            for j in range(len(reference[0])):
                pairs = [(in_order(a[i]), in_order(b[j])) for a, b in zip(table, reference, strict=True)]
                votes = sum((own > other) - (own < other) for own, other in pairs)
                won += 1 if votes > 0 else 0.5 if votes == 0 else 0
            values.append(won / len(reference[0]))
        if not any(math.isfinite(row[i]) for row in table):
            values[-1] = nan
    return values


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_rank_sum_by_hand():
    found = aggregate("rank_sum", {"a": [10, 30, 20, 20], "b": [-1.0, -5.0, -3.0, -2.0]})
    np.testing.assert_array_equal(found.ranks["a"], [1, 4, 2.5, 2.5])
    np.testing.assert_array_equal(found.ranks["b"], [4, 1, 2, 3])
    np.testing.assert_array_equal(found.values, [5, 5, 4.5, 5.5])
    assert (found.best, found.population, dict(found.non_finite)) == (3, 4, {"a": 0, "b": 0})


def test_log_rank_sum_by_hand():
    found = aggregate("log_rank_sum", {"a": [1, 2, 3, 4], "b": [4, 2, 3, 1]})
    np.testing.assert_allclose(found.values, np.log([4 / 16, 4 / 16, 9 / 16, 4 / 16]))
    assert found.best == 2  # the one without a weak side, which a rank sum can't tell
    assert aggregate("log_rank_sum", {"a": [1, 5], "b": [0, 1]}).values[1] == 0  # first by all: the highest value


def test_vote_by_hand():
    # Two of three proxies prefer 0 to 1, 1 to 2 and 2 to 0: a circle; all prefer anything to 3.
    circle = {"a": [3, 2, 1, 0], "b": [2, 1, 3, 0], "c": [1, 3, 2, 0]}
    np.testing.assert_array_equal(aggregate("vote", circle).values, [2.5 / 4, 2.5 / 4, 2.5 / 4, 0.5 / 4])
    # One against one is a draw, and so is a tie.
    np.testing.assert_array_equal(aggregate("vote", {"a": [1, 2], "b": [2, 1]}).values, [0.5, 0.5])
    np.testing.assert_array_equal(aggregate("vote", {"a": [7, 7], "b": [1, 2]}).values, [0.25, 0.75])


def test_a_majority_outvotes_a_large_lead():
    scores = {"a": [1, 0], "b": [1, 0], "c": [0, 1e9]}
    assert aggregate("vote", scores).best == 0


def test_without_a_finite_score_last_and_counted():
    found = aggregate("rank_sum", {"a": [nan, 1, -inf, inf, 2], "b": [1, 2, nan, 4, 3]})
    np.testing.assert_array_equal(found.ranks["a"], [2, 4, 2, 2, 5])  # whatever the kind, below every finite one
    np.testing.assert_array_equal(found.ranks["b"], [2, 3, 1, 5, 4])
    # Without any there is nothing to stand for it, and no value, though the others are ranked above it.
    np.testing.assert_array_equal(found.values, [4, 7, nan, 7, 9])
    assert dict(found.non_finite) == {"a": 3, "b": 1}
    assert found.best == 4


def test_without_any_finite_score_there_is_no_best():
    for name in GENERIC:
        found = aggregate(name, {"a": [nan, -inf], "b": [inf, None]})
        assert found.best is None
        assert np.isnan(found.values).all()
        assert dict(found.non_finite) == {"a": 2, "b": 2}


def test_places_in_a_frozen_population():
    population = {"a": [10, 20, 20, 40]}
    found = aggregate("rank_sum", {"a": [5, 10, 15, 20, 30, 40, 50, nan]}, reference=population)
    # Below all: half; equal to one: its rank; between two: half-way; above all: half more than the best.
    np.testing.assert_array_equal(found.values, [0.5, 1, 1.5, 2.5, 3.5, 4, 4.5, nan])
    np.testing.assert_array_equal(found.ranks["a"], [0.5, 1, 1.5, 2.5, 3.5, 4, 4.5, 0.5])
    assert found.population == 4
    shares = aggregate("vote", {"a": [5, 20, 50]}, reference=population).values
    np.testing.assert_array_equal(shares, [0, (1 + 2 / 2) / 4, 1])


# --- against definitions and scipy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERIC)
@settings(deadline=None, max_examples=60)
@given(tables())
def test_against_the_definition(name, table):
    np.testing.assert_allclose(aggregate(name, named(table)).values, by_definition(name, table, table))


@pytest.mark.parametrize("name", GENERIC)
@settings(deadline=None, max_examples=60)
@given(tables().flatmap(lambda table: st.tuples(st.just(table), tables())))
def test_against_the_definition_in_a_frozen_population(name, both):
    table, reference = both
    k = min(len(table), len(reference))
    found = aggregate(name, named(table[:k]), reference=named(reference[:k]))
    np.testing.assert_allclose(found.values, by_definition(name, table[:k], reference[:k]))


def test_against_scipy():
    rng = np.random.default_rng(0)
    table = rng.integers(0, 40, size=(4, 300)).astype(float)
    ranks = stats.rankdata(table, axis=1)
    np.testing.assert_allclose(aggregate("rank_sum", named(table)).values, ranks.sum(axis=0))
    np.testing.assert_allclose(aggregate("log_rank_sum", named(table)).values, np.log(ranks / 300).sum(axis=0))
    # With one proxy a vote is its order.
    np.testing.assert_allclose(aggregate("vote", {"a": table[0]}).values, (ranks[0] - 0.5) / 300)


def test_large_votes_are_counted_in_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    table = named(rng.integers(0, 9, size=(3, 50)))
    whole = aggregate("vote", table).values
    monkeypatch.setattr("subshot.aggregators.vote._BLOCK", 120)  # two candidates at a time
    np.testing.assert_array_equal(aggregate("vote", table).values, whole)
    monkeypatch.setattr("subshot.aggregators.vote._BLOCK", 1)
    np.testing.assert_array_equal(aggregate("vote", table).values, whole)


# --- properties of all -----------------------------------------------------------------------------------------------


def names_of(aggregator, k):
    """As many proxies as it reads, or ``k``."""
    return AGGREGATORS.get(aggregator).reads or tuple(f"proxy{number}" for number in range(k))


def some_scores(data, aggregator, *, n=None):
    names = names_of(aggregator, data.draw(st.integers(1, 4)))
    n = n or data.draw(st.integers(1, 8))
    return {name: data.draw(st.lists(score, min_size=n, max_size=n)) for name in names}


@pytest.mark.parametrize("name", AGGREGATORS)
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_only_order_counts(name, data):
    scores = some_scores(data, name)
    value = aggregate(name, scores).values
    for changed in scores:
        moved = {**scores, changed: [x**3 + 7 * x + 5 if math.isfinite(x) else x for x in scores[changed]]}
        np.testing.assert_array_equal(aggregate(name, moved).values, value)


@pytest.mark.parametrize("name", AGGREGATORS)
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_neither_order_of_architectures_nor_of_proxies_counts(name, data):
    scores = some_scores(data, name)
    value = aggregate(name, scores).values
    order = data.draw(st.permutations(range(len(value))))
    shuffled = {key: [row[i] for i in order] for key, row in reversed(scores.items())}
    np.testing.assert_allclose(aggregate(name, shuffled).values, value[list(order)], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", AGGREGATORS)
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_better_by_all_is_better_and_equal_is_equal(name, data):
    scores = some_scores(data, name, n=6)
    found = aggregate(name, scores)
    for i, j in itertools.permutations(range(6), 2):
        pairs = [(in_order(row[i]), in_order(row[j])) for row in scores.values()]
        if np.isnan(found.values[[i, j]]).any():
            continue
        if all(a == b for a, b in pairs):
            assert found.values[i] == found.values[j]
        elif all(a >= b for a, b in pairs):
            assert found.values[i] > found.values[j]


@pytest.mark.parametrize("name", AGGREGATORS)
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_a_frozen_population_keeps_values(name, data):
    old = some_scores(data, name)
    new = {key: data.draw(st.lists(score, min_size=3, max_size=3)) for key in old}
    alone = aggregate(name, old).values
    # Frozen where it is itself, members keep their values, whoever else is asked about.
    both = {key: [*old[key], *new[key]] for key in old}
    frozen = aggregate(name, both, reference=old)
    np.testing.assert_array_equal(frozen.values[: len(alone)], alone)
    one = aggregate(name, {key: row[-1:] for key, row in both.items()}, reference=old)
    np.testing.assert_array_equal(frozen.values[-1:], one.values)
    assert frozen.population == len(alone)


def test_without_a_frozen_population_values_move():
    # The negative control of the above, and why the option is there.
    alone = aggregate("rank_sum", {"a": [1.0, 2.0]}).values
    assert (aggregate("rank_sum", {"a": [1.0, 2.0, 0.0]}).values[:2] != alone).all()


# --- those of papers -------------------------------------------------------------------------------------------------


def test_every_aggregator_is_tested_here():
    assert {*GENERIC, *OF_PAPERS} == set(list_aggregators())


@pytest.mark.parametrize("name", OF_PAPERS)
def test_of_a_paper(name):
    rule, reads = OF_PAPERS[name]
    assert set(get_aggregator(name).reads) == set(reads)
    rng = np.random.default_rng(2)
    scores = {proxy: rng.normal(size=30) for proxy in reads}
    found = aggregate(name, {**scores, "parameters": np.arange(30)})
    np.testing.assert_allclose(found.values, aggregate(rule, scores).values)
    assert set(found.ranks) == set(found.non_finite) == set(reads)


def test_az_nas_by_hand():
    # Two networks; the second wins two parts of four, the first has minus infinity for progressivity.
    scores = {
        "az_expressivity": [5.0, 4.0],
        "az_progressivity": [-inf, 0.1],
        "az_trainability": [-0.1, -0.2],
        "macs": [1e6, 2e6],
    }
    np.testing.assert_allclose(aggregate("az_nas", scores).values, [2 * math.log(0.5)] * 2)


def test_options_belong_to_a_proxy_name():
    scores = {"ntk_condition(repeats=3)": [1, 2, 3], "linear_regions": [3, 1, 2]}
    found = aggregate("te_nas", scores)
    np.testing.assert_array_equal(found.values, [4, 3, 5])
    assert set(found.ranks) == set(scores)


def test_facts_are_declared():
    for name in list_aggregators():
        info = get_aggregator(name)
        assert info.paper
        assert info.formula
        assert info.scale
        assert (info.name, info.combine.__name__) == (name, name)
        assert info.combine.__module__ == f"subshot.aggregators.{name}"
    assert not any(get_aggregator(name).reads for name in GENERIC)
    assert set(room.__all__) <= set(dir(room))


# --- a study's archive -----------------------------------------------------------------------------------------------


def test_evaluations_become_lists_of_scores():
    evaluations = [
        {"swap": Score.of(3), "macs": Score.of(10)},
        {"swap": Score.failed("no"), "macs": Score.of(30)},
        {"macs": Score.of(20), "swap": Score.of(inf), "late": Score.of(1)},
    ]
    table = scores_by_proxy(evaluations)
    assert list(table) == ["swap", "macs", "late"]
    np.testing.assert_array_equal(table["swap"], [3, nan, nan])
    np.testing.assert_array_equal(table["macs"], [10, 30, 20])
    np.testing.assert_array_equal(table["late"], [nan, nan, 1])
    assert scores_by_proxy([]) == {}


def test_over_the_archive_of_a_study():
    from subshot.studies.study import search

    rng = np.random.default_rng(0)
    images = np.kron(rng.normal(size=(12, 3, 4, 4)), np.ones((1, 1, 4, 4))).astype(np.float32)
    study = search(
        "nasbench201(channels=2,cells=1)",
        data=images,
        proxy="swap,nwot,macs",
        strategy="random",
        budget=40,
        batch_size=12,
    )
    rows = [row for row in study.rows if row.same_as is None]
    scores = scores_by_proxy([row.scores for row in rows])
    assert set(scores) == {"swap", "nwot", "macs"}
    found = aggregate("rank_sum", scores)
    finite = np.isfinite(list(scores.values())).all(axis=0)
    assert finite.any()
    expected = [stats.rankdata([in_order(x) for x in row]) for row in scores.values()]
    np.testing.assert_allclose(found.values[finite], np.sum(expected, axis=0)[finite])
    assert rows[found.best].scores["swap"].ok


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "scores", "reference", "message"),
    [
        ("rank_sum", {}, None, "No proxy's scores were given to aggregate. Give a list of scores for each proxy"),
        ("rank_sum", {"a": [1, 2], "b": [1]}, None, "of different numbers of architectures: 2 of a, 1 of b. Give one"),
        ("rank_sum", {"a": []}, None, r"The scores of a have shape \(0,\). Give a list of at least one number."),
        ("rank_sum", {"a": [[1, 2]]}, None, r"The scores of a have shape \(1, 2\)"),
        ("rank_sum", {"a": 3.0}, None, r"The scores of a have shape \(\)"),
        ("rank_sum", {"a": ["x"]}, None, "The scores of a are no numbers: could not convert string to float: 'x'."),
        (
            "rank_sum",
            {"a": [1], "b": [1]},
            {"a": [1, 2]},
            "There are no reference scores of b. Give them too; given were a.",
        ),
        ("rank_sum", {"a": [1]}, {}, "There are no reference scores of a. Give them too; given were none."),
        (
            "rank_sum",
            {"a": [1], "b": [1]},
            {"a": [1], "b": [1, 2]},
            "The reference scores are of different numbers of architectures: 1 of a, 2 of b.",
        ),
        (
            "te_nas",
            {"ntk_condition": [1], "swap": [1]},
            None,
            "te_nas reads ntk_condition, linear_regions, and there are no scores of linear_regions. "
            "Score the architectures by ntk_condition,linear_regions; given were ntk_condition, swap.",
        ),
        (
            "te_nas",
            {"ntk_condition": [1], "ntk_condition(x=1)": [1], "linear_regions": [1]},
            None,
            r"te_nas reads one ntk_condition, and ntk_condition and ntk_condition\(x=1\) were given. Leave one out.",
        ),
    ],
)
def test_bad_input_is_explained(name, scores, reference, message):
    with pytest.raises(DataError, match=message):
        aggregate(name, scores, reference=reference)


def test_unknown_names_offer_near_ones():
    for call in (lambda: get_aggregator("az_nsa"), lambda: aggregate("az_nsa", {"a": [1]})):
        with pytest.raises(UnknownNameError, match=r"no aggregator named 'az_nsa'. Did you mean 'az_nas'"):
            call()
