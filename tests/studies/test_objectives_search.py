import json
import math

import pytest

from subshot.errors import OptionError, UnknownNameError
from subshot.strategies.nsga2 import nsga2
from subshot.studies._reading import read_study
from subshot.studies.study import search

GOALS = ("swap", "nwot", "-macs")


def values_of(row):
    return row.scores["swap"].value, row.scores["nwot"].value, -row.costs["macs"]


def beats(one, other):
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def told(study):
    return [found.to_dict() for found in study.front]


def rows_of(study):
    return [(row.trial, row.arch, row.same_as, values_of(row)) for row in study.rows]


def evolution(space, objectives, seed):
    return nsga2(space, objectives, seed=seed, population=8)


@pytest.fixture
def several(small):
    return {**small, "proxy": "swap,nwot", "objectives": GOALS, "strategy": "nsga2(population=8)", "budget": 40}


def test_the_front_is_of_the_objectives(several):
    study = search(**several)
    assert (study.objective, study.objectives) == ("swap", GOALS)
    fine = {row.arch: values_of(row) for row in study.rows if all(map(math.isfinite, values_of(row)))}
    best = {one for one in fine.values() if not any(beats(other, one) for other in fine.values())}
    found = [(one.score.value, one.others["nwot"].value, -one.costs["macs"]) for one in study.front]
    assert len(found) == len(set(found)) > 3
    assert set(found) == best
    assert found == sorted(found, key=lambda values: -values[0])
    assert study.best.score.value == max(values[0] for values in fine.values())


def test_a_killed_search_of_several_objectives_ends_as_an_unbroken_one(several, tmp_path):
    whole = search(**several)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.evaluations == 23:
            raise Killed

    with pytest.raises(Killed):
        search(**several, out=tmp_path, on_progress=kill)
    resumed = search(**several, out=tmp_path)
    assert resumed.resumed == 23
    assert rows_of(resumed) == rows_of(whole)
    assert told(resumed) == told(whole)
    again = read_study(tmp_path)
    assert told(again) == told(whole)
    stored = json.loads((tmp_path / "best.json").read_text())
    assert set(stored["front"][0]) == {"arch", "score", "others", "costs"}


def test_workers_do_not_change_the_front(several):
    assert told(search(**several, workers=2)) == told(search(**several))


def test_limits_hold_for_several_objectives(several):
    study = search(**several, max_params=3_000)
    assert all(row.costs["params"] <= 3_000 for row in study.rows)


def test_a_strategy_of_ones_own(several, tmp_path):
    study = search(**{**several, "strategy": evolution}, out=tmp_path)
    assert rows_of(study) == rows_of(search(**several))
    assert study.settings["strategy"].startswith("function ")
    assert study.settings["strategy"].endswith(".evolution")
    assert search(**{**several, "strategy": evolution}, out=tmp_path).resumed == 40


def test_one_objective_is_the_same_study_as_before(small):
    alone, named = search(**small), search(**small, objectives="swap")
    assert alone.settings == named.settings
    assert "objectives" not in alone.settings
    assert alone.objectives == ("swap", "-params", "-macs")
    assert [row.arch for row in alone.rows] == [row.arch for row in named.rows]


def test_the_objective_may_be_a_later_proxy(small):
    assert search(**{**small, "proxy": "nwot,swap", "objectives": "swap"}).objective == "swap"


def test_objectives_that_cant_be_are_refused(small):
    with pytest.raises(UnknownNameError, match="Did you mean '-macs'"):
        search(**small, objectives="swap,macs")
    with pytest.raises(OptionError, match="a score first"):
        search(**small, objectives="-macs")
    with pytest.raises(OptionError, match="regularized_evolution was given 2 objectives"):
        search(**{**small, "strategy": "regularized_evolution"}, objectives="swap,-macs")
