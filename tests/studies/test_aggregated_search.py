"""A search whose result is ordered by an aggregate of all its proxies."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from subshot._types import Score
from subshot.errors import DataError, OptionError, UnknownNameError
from subshot.studies._aggregated import aggregated
from subshot.studies._reading import read_study
from subshot.studies.status import read_status
from subshot.studies.study import search


@pytest.fixture
def settings(small):
    return {**small, "proxy": "nwot,grad_norm,synflow", "strategy": "random", "budget": 20, "aggregate": "rank_sum"}


def test_the_result_is_ordered_by_the_rank_sum(settings):
    study = search(**settings)
    distinct = [row for row in study.rows if row.same_as is None]
    ranks = sum(
        rankdata([row.scores[name].value for row in distinct]) for name in ("nwot", "grad_norm", "synflow")
    )  # by hand
    assert [row.scores["rank_sum"].value for row in distinct] == pytest.approx(list(ranks))
    assert study.objective == "rank_sum"
    assert study.best.arch == distinct[int(np.argmax(ranks))].arch
    assert study.best.score.value == max(ranks)
    assert [found.score.value for found in study.top(20)] == sorted(ranks, reverse=True)
    assert study.front[0].arch == study.best.arch
    # The architectures are those of a search without it, and their scores too.
    plain = search(**{**settings, "aggregate": None})
    assert [(row.arch, row.scores["synflow"].value) for row in plain.rows] == [
        (row.arch, row.scores["synflow"].value) for row in study.rows
    ]
    assert "rank_sum" not in plain.rows[0].scores


def test_it_is_read_back_and_resumed(settings, tmp_path):
    run = tmp_path / "run"
    search(**{**settings, "budget": 8}, out=run)
    study = search(**settings, out=run)
    assert study.resumed == 8
    unbroken = search(**settings)
    assert [(one.arch, one.score.value) for one in study.top(20)] == [
        (one.arch, one.score.value) for one in unbroken.top(20)
    ]
    read = read_study(run)
    assert (read.objective, read.best, read.front) == ("rank_sum", study.best, study.front)
    assert json.loads((run / "best.json").read_text())["objective"] == "rank_sum"
    told = read_status(run).parts
    assert told["search"]["objective"] == "rank_sum"


def test_another_aggregate_orders_the_same_evaluations(settings, tmp_path):
    run = tmp_path / "run"
    summed = search(**settings, out=run)
    voted = search(**{**settings, "aggregate": "vote"}, out=run)
    assert voted.resumed == summed.evaluations
    assert [row.arch for row in voted.rows] == [row.arch for row in summed.rows]
    assert (voted.objective, read_study(run).objective) == ("vote", "vote")
    plain = search(**{**settings, "aggregate": None}, out=run)
    assert (plain.objective, read_study(run).objective) == ("nwot", "nwot")
    # What is handed out tells the scores behind the aggregate.
    assert set(summed.best.to_dict()["others"]) == {"nwot", "grad_norm", "synflow"}


def test_ties_go_to_the_smaller_and_the_front_has_no_beaten_member(settings):
    study = search(**{**settings, "aggregate": "vote", "budget": 60})  # votes are often equal
    values = [(found.score.value, found.costs["params"], found.costs["macs"]) for found in study.front]
    assert len({value for value, *_ in values}) < len(study.rows)
    for one in values:
        for other in values:
            if one != other:
                assert not (other[0] >= one[0] and other[1] <= one[1] and other[2] <= one[2])
    assert study.front[0] == study.best


def test_what_lacks_a_score_is_never_chosen(settings):
    study = search(**settings)
    row = study.rows[0]
    plain = [
        replace(one, scores={name: score for name, score in one.scores.items() if name != "rank_sum"})
        for one in study.rows
    ]
    best = max(plain, key=lambda one: one.scores["nwot"].value)
    broken = replace(best, scores={**best.scores, "synflow": Score.failed("overflow")})
    found = aggregated([broken if one is best else one for one in plain], "rank_sum")
    lost = found[plain.index(best)].scores["rank_sum"]
    assert (lost.ok, lost.reason) == (False, "no finite synflow")
    assert all(one.scores["rank_sum"].ok for one in found if one.arch != best.arch)
    # Where the network itself is at fault, its reason stays.
    nothing = replace(best, scores=dict.fromkeys(best.scores, Score.not_applicable("no path")))
    found = aggregated([nothing if one is best else one for one in plain], "rank_sum")
    lost = found[plain.index(best)].scores["rank_sum"]
    assert (lost.status, lost.reason) == ("not_applicable", "no path")
    assert row.scores["rank_sum"].cost == row.scores["nwot"].cost


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"aggregate": "mean"}, UnknownNameError, "mean"),
        ({"aggregate": "az_nas"}, DataError, "az_expressivity"),
        ({"proxy": "nwot"}, OptionError, "two proxies"),
        ({"objectives": "nwot,-macs"}, OptionError, "no single order"),
    ],
)
def test_what_cannot_be_aggregated_is_refused_first(settings, change, error, message, tmp_path):
    with pytest.raises(error, match=message):
        search(**{**settings, **change}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
