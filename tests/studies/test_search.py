import json
import math
from dataclasses import replace

import numpy as np
import pytest

import subshot
from subshot._types import Score
from subshot.costs._meter import Meter
from subshot.errors import DataError, InfeasibleError, OptionError, StudyError, UnknownNameError
from subshot.studies._result import pareto_front
from subshot.studies.study import search
from subshot.studies.targets import score_targets


def rows_of(study):
    """Everything but times."""
    return [
        (row.trial, row.arch, row.same_as, dict(row.costs), {k: (v.value, v.status) for k, v in row.scores.items()})
        for row in study.rows
    ]


def test_random_search_returns_the_best_of_what_it_drew_inside_the_limits(images):
    space = subshot.get_space("nasbench201(channels=2,cells=1)")
    study = search(
        space, data=images, strategy="random", budget=300, batch_size=12, max_params=3_000, proxy="parameters"
    )
    inside = [a for a in space.architectures() if Meter(space, _task()).size(a).parameters <= 3_000]
    assert {row.arch for row in study.rows} <= {space.format(a) for a in inside}
    scored = [row.costs["params"] for row in study.rows if row.scores["parameters"].ok]
    assert study.best.costs["params"] == study.best.score.value == max(scored) <= 3_000


def _task():
    return subshot.TaskSpec.images(3, 16, 16, classes=10)


def test_same_seed_same_study_and_other_seed_another(small):
    first, second = search(**small), search(**small)
    assert rows_of(first) == rows_of(second)
    assert first.best.arch == second.best.arch
    assert rows_of(search(**small, seed=1)) != rows_of(first)


def test_workers_do_not_change_the_result(small):
    assert rows_of(search(**small, workers=2)) == rows_of(search(**small))


def test_budget_counts_distinct_architectures(small):
    study = search(**small)
    fresh = [row for row in study.rows if row.same_as is None]
    assert study.evaluations == len(fresh) == len({row.arch for row in study.rows}) == 40
    for row in study.rows:
        if row.same_as is not None:
            source = study.rows[row.same_as]
            assert source.arch == row.arch
            assert source.same_as is None


def test_scores_do_not_depend_on_the_search_they_come_from(small):
    wanted = {row.arch: row.scores["swap"].value for row in search(**small).rows}
    other = search(**{**small, "strategy": "random", "budget": 120})
    shared = [row for row in other.rows if row.arch in wanted]
    assert len(shared) >= 1
    assert all(row.scores["swap"].value == wanted[row.arch] for row in shared)


def test_several_proxies_share_one_look(small):
    alone = search(**small)
    study = search(**small, proxy="swap,nwot,parameters,macs")
    assert [row.scores["swap"].value for row in study.rows] == [row.scores["swap"].value for row in alone.rows]
    for row in study.rows:
        assert set(row.scores) == {"swap", "nwot", "parameters", "macs"}
        if row.scores["parameters"].ok:
            assert row.scores["parameters"].value == row.costs["params"]
            assert row.scores["macs"].value == row.costs["macs"]
            assert row.scores["swap"].cost == row.scores["nwot"].cost
            assert row.scores["swap"].cost.forwards == 1


def test_cells_without_a_path_have_a_status_and_are_never_chosen(small):
    study = search(**{**small, "strategy": "random", "budget": 200})
    dead = [row for row in study.rows if row.scores["swap"].status == "not_applicable"]
    assert dead, "two hundred random cells should hold one of the 341 without a path"
    assert all("no path" in row.scores["swap"].reason for row in dead)
    assert study.best.arch not in {row.arch for row in dead}


def test_limits_hold_for_everything_evaluated(small):
    study = search(**small, max_params=3_000, max_macs=400_000)
    assert all(row.costs["params"] <= 3_000 and row.costs["macs"] <= 400_000 for row in study.rows)
    assert study.evaluations == 40


def test_costs_and_limits_are_those_of_the_network_that_would_be_trained(small):
    space = subshot.get_space("nasbench201(channels=6,cells=1)")
    common = small | {"space": space, "strategy": "random", "budget": 10}
    for variant in (None, "official", "narrow"):
        study = search(**common, trained_variant=variant, max_params=15_000)
        assert study.settings["trained_variant"] == (variant or "official")
        assert study.protocol.variant == "narrow"  # what is scored stays
        meter = Meter(space, _task(), variant=variant)
        for row in study.rows:
            assert row.costs == meter.costs(space.parse(row.arch))
            assert row.costs["params"] <= 15_000
    largest = max(Meter(space, _task()).size(space.parse(row.arch)).parameters for row in study.rows)
    assert largest > 15_000  # of the other network, which was not limited this time


def test_impossible_limits_name_the_nearest(small):
    with pytest.raises(InfeasibleError) as caught:
        search(**small, max_params=10)
    assert "params <= 10" in caught.value.message
    assert "|none~0|" in caught.value.hint or "avg_pool" in caught.value.hint or "skip" in caught.value.hint
    assert "subshot profile" in caught.value.hint


def test_front_is_what_nothing_dominates(small):
    study = search(**{**small, "budget": 80})
    found = study.top(1_000)

    def beats(a, b):
        as_good = a.score.value >= b.score.value and all(a.costs[k] <= b.costs[k] for k in a.costs)
        return as_good and (a.score.value > b.score.value or a.costs != b.costs)

    brute = [one for one in found if not any(beats(other, one) for other in found)]
    # Of several with equal score and costs the front keeps the first.
    keys = {(one.score.value, tuple(sorted(one.costs.items()))) for one in brute}
    assert {(one.score.value, tuple(sorted(one.costs.items()))) for one in study.front} == keys
    assert len(study.front) == len(keys)
    assert study.front[0] == study.best
    assert pareto_front([]) == ()


def test_result_is_strict_json_with_the_protocol(small, tmp_path):
    study = search(**small, out=tmp_path / "run")
    text = (tmp_path / "run" / "best.json").read_text()
    stored = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))
    assert stored == json.loads(json.dumps(study.to_dict()))
    assert stored["status"] == "done"
    assert stored["best"]["arch"] == study.best.arch
    assert set(stored["best"]["costs"]) == {"params", "macs"}
    protocol = stored["protocol"]
    assert protocol["network"] == {"cells": 1, "channels": 2}
    assert protocol["data"] == "given"
    assert len(protocol["data_digest"]) == 16
    assert (protocol["batch_size"], protocol["input_shape"]) == (12, [3, 16, 16])
    assert subshot.Protocol.from_dict(protocol) == study.protocol


def test_regularisation_is_calibrated_from_sizes_not_accuracies(small):
    study = search(**small, proxy="swap_regularized")
    parts = study.best.score.parts
    assert parts["mu"] > 0
    assert parts["sigma"] > 0
    expected = parts["swap"] * math.exp(-((parts["theta"] - parts["mu"]) ** 2) / parts["sigma"])
    assert study.best.score.value == pytest.approx(expected)
    assert parts["theta"] == pytest.approx(study.best.costs["params"] / 1_000)
    assert study.settings["proxies"]["swap_regularized"]["mu"] == parts["mu"]


def test_options_that_were_given_are_kept(small):
    study = search(**small, proxy="swap_regularized(mu=40,unit=one)")
    options = study.settings["proxies"]["swap_regularized(mu=40, unit=one)"]
    assert (options["mu"], options["unit"]) == (40, "one")
    assert options["sigma"] > 1_000  # in single parameters, squared
    assert study.best.score.parts["mu"] == 40


def test_scoring_one_network_gives_what_the_search_gave(small, images, tmp_path):
    inputs, labels = images
    uint8 = np.clip(128 + 40 * inputs.transpose(0, 2, 3, 1), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x=uint8, y=labels)
    small = small | {"data": tmp_path / "images.npz"}
    study = search(**small, proxy="swap,nwot,swap_regularized,parameters")
    fresh = [row for row in study.rows if row.same_as is None]
    scored = score_targets(
        [f"{small['space']}:{row.arch}" for row in fresh],
        proxies="swap,nwot,swap_regularized,parameters",
        data=small["data"],
        batch_size=12,
    )
    for row, one in zip(fresh, scored, strict=True):
        assert one.protocol == study.protocol
        for name, score in row.scores.items():
            assert repr(replace(one.scores[name], cost=score.cost)) == repr(score)


def test_a_smaller_budget_shows_the_longer_run(small, tmp_path):
    longer = search(**small, out=tmp_path)
    before = (tmp_path / "best.json").read_text()
    shorter = search(**small | {"budget": 5}, out=tmp_path)
    assert rows_of(shorter) == rows_of(longer)
    assert json.loads((tmp_path / "best.json").read_text())["best"] == json.loads(before)["best"]


def test_a_search_that_only_repeats_itself_ends(images):
    # Few cells are this small, and evolution stays near the best of them.
    space = "nasbench201(channels=1,cells=1)"
    study = search(space, data=images, budget=10_000, batch_size=12, max_params=430)
    assert study.status == "done"
    assert study.evaluations < 10_000
    assert study.to_dict()["explanation"] == study.explanation
    assert study.explanation == (
        f"Ended after {study.evaluations:,} of 10,000 architectures: the strategy only repeats itself, "
        "200 groups of trials in a row."
    )
    last_new = max(row.trial for row in study.rows if row.same_as is None)
    assert len(study.rows) - last_new <= 200 * 10 + 1  # two hundred groups of at most ten


@pytest.mark.parametrize("arrays", [(16, 16, 16, 3), (16, 8, 8, 1)])
def test_channels_last_arrays_are_refused(arrays):
    with pytest.raises(DataError, match="look like"):
        search("nasbench201(channels=2,cells=1)", data=np.zeros(arrays, dtype=np.float32), budget=1)


def test_photographs_of_any_size_are_brought_to_the_space(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(24):
        home = tmp_path / ("cats" if number % 2 else "dogs")
        home.mkdir(exist_ok=True)
        size = (int(rng.integers(200, 500)), int(rng.integers(200, 500)), 3)
        Image.fromarray(rng.integers(256, size=size, dtype=np.uint8)).save(home / f"{number}.png")
    small = {"space": "nasbench201(channels=2,cells=1)", "budget": 2, "strategy": "random"}
    assert search(data=tmp_path, **small).protocol.input_shape == (3, 32, 32)
    assert search(data=tmp_path, image_size=(48, 40), **small).protocol.input_shape == (3, 48, 40)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"space": "nasbench210"}, UnknownNameError, "Did you mean 'nasbench201'"),
        ({"space": "nasbench201(chanels=3)"}, UnknownNameError, "Did you mean 'channels'"),
        ({"proxy": "swpa"}, UnknownNameError, "Did you mean 'swap'"),
        ({"strategy": "randon"}, UnknownNameError, "Did you mean 'random'"),
        ({"proxy": "all"}, OptionError, "given first"),
        ({"space": 5}, OptionError, "given as a space"),
        ({"budget": 0}, OptionError, "budget of 0"),
        ({"init": "keep"}, OptionError, "no weights to keep"),
        ({"init": "magic"}, OptionError, "magic"),
        ({"bn_mode": "magic"}, OptionError, "magic"),
        ({"repeats": 0}, OptionError, "0 repeats"),
        ({"workers": 0}, OptionError, "0 workers"),
        ({"variant": "magic"}, UnknownNameError, "magic"),
        ({"trained_variant": "magic"}, UnknownNameError, "magic"),
        ({"executor": "magic"}, OptionError, "magic"),
    ],
)
def test_bad_settings_are_explained(small, change, error, message):
    with pytest.raises(error, match=message):
        search(**{**small, **change})


def test_progress_counts_up_to_the_budget(small):
    seen = []
    search(**small, on_progress=seen.append)
    assert [state.evaluations for state in seen] == list(range(1, 41))
    assert all(state.budget == 40 for state in seen)
    values = [state.best.score.value for state in seen if state.best]
    assert values == sorted(values)


def test_without_a_folder_nothing_is_written(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert search(**small).run is None
    assert list(tmp_path.iterdir()) == []


def test_a_larger_budget_continues_the_same_run(small, tmp_path):
    unbroken = search(**{**small, "budget": 60})
    search(**{**small, "budget": 25}, out=tmp_path)
    states = []
    longer = search(**{**small, "budget": 60}, out=tmp_path, on_progress=states.append)
    assert rows_of(longer) == rows_of(unbroken)
    assert states[-1].resumed == longer.resumed == longer.to_dict()["resumed"] == 25
    again = search(**{**small, "budget": 60}, out=tmp_path)
    assert (again.resumed, unbroken.resumed) == (60, 0)
    assert again.compute_seconds == longer.compute_seconds > 0
    assert (again.explanation, longer.explanation) == ("", "")


def test_another_study_in_the_folder_is_refused_and_kept(small, tmp_path):
    search(**small, out=tmp_path)
    before = (tmp_path / "study.db").read_bytes()
    with pytest.raises(StudyError, match="belongs to another study"):
        search(**{**small, "seed": 5} if "seed" in small else small | {"seed": 5}, out=tmp_path)
    assert (tmp_path / "study.db").read_bytes() == before
    fresh = search(**small | {"seed": 5}, out=tmp_path, fresh=True)
    assert fresh.evaluations == 40
    assert (tmp_path / "study.db.old1").read_bytes() == before


def test_scores_survive_the_store(small, tmp_path):
    first = search(**small, out=tmp_path, proxy="swap,nwot")
    again = search(**small, out=tmp_path, proxy="swap,nwot")
    assert repr(again.rows) == repr(first.rows)  # NaN is not equal to itself
    assert all(isinstance(score, Score) for row in again.rows for score in row.scores.values())


def test_images_may_be_an_array_or_a_loader(images):
    torch = pytest.importorskip("torch")
    inputs, labels = images
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(inputs), torch.from_numpy(np.asarray(labels)))
    common = {"space": "nasbench201(channels=2,cells=1)", "strategy": "random", "budget": 3, "batch_size": 8}
    by_array = search(data=inputs, **common)
    by_loader = search(data=torch.utils.data.DataLoader(dataset, batch_size=4), **common)
    assert [row.scores["swap"].value for row in by_array.rows] == [row.scores["swap"].value for row in by_loader.rows]
