"""Searches and rankings on weights that a warm-up has learnt."""

import csv
import json

import numpy as np
import pytest
import torch

import subshot
from subshot.errors import OptionError
from subshot.studies._evaluator import ProxyEvaluator
from subshot.studies.targets import score_targets
from subshot.supernets.files import load_supernet

SPACE = "nasbench201(channels=2,cells=1)"


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return torch.tensor(rng.normal(size=(256, 3, 8, 8)), dtype=torch.float32), torch.arange(256) % 4


def search(data, **settings):
    return subshot.search(SPACE, data=data, proxy="loss,swap", strategy="random", budget=6, batch_size=8, **settings)


def plain(study):
    return {row.arch: {name: one.value for name, one in row.scores.items()} for row in study.rows}


def test_networks_have_the_weights_of_the_supernet(data, tmp_path):
    study = search(data, warm_up=0.5, out=tmp_path)
    supernet, header = load_supernet(tmp_path / "supernet.safetensors")
    assert study.protocol.weights == f"warm:{header['digest']}"
    assert study.protocol.initialisation == "keep"
    assert study.warm_up["samples"] == 128
    assert study.to_dict()["warm_up"]["settings"]["data samples"] == 256
    assert json.loads((tmp_path / "best.json").read_text())["warm_up"]["samples"] == 128
    # The objective by hand: the loss along the path, on the very batch.
    _inputs, _labels = data
    batch = subshot.data.take_batch(data, 8, samples="random", seed=0)
    for row in study.rows[:3]:
        alone = supernet.extract(supernet.space.parse(row.arch)).train()
        output = alone(torch.from_numpy(batch.inputs))
        expected = torch.nn.functional.cross_entropy(output, torch.from_numpy(batch.labels)).item()
        assert row.scores["loss"].value == pytest.approx(-expected, rel=1e-5)


def test_an_interrupted_search_ends_as_an_unbroken_one(data, tmp_path):
    whole = search(data, warm_up=0.5, out=tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(state):
        if state.step == 1:
            raise Stop

    with pytest.raises(Stop):
        search(data, warm_up=0.5, out=tmp_path / "broken", on_warm_up=stop)

    def stop_later(state):
        if state.evaluations == 3:
            raise Stop

    with pytest.raises(Stop):
        search(data, warm_up=0.5, out=tmp_path / "broken", on_progress=stop_later)
    broken = search(data, warm_up=0.5, out=tmp_path / "broken", workers=2)
    assert plain(broken) == plain(whole)
    assert broken.resumed >= 2
    assert broken.protocol == whole.protocol
    # No step is taken twice: the supernet is read back.
    steps = []
    search(data, warm_up=0.5, out=tmp_path / "whole", on_warm_up=steps.append)
    assert steps == []


def test_fresh_moves_the_supernet_aside(data, tmp_path):
    search(data, warm_up=0.5, out=tmp_path)
    steps = []
    search(data, warm_up=0.5, out=tmp_path, fresh=True, on_warm_up=steps.append)
    assert steps
    assert (tmp_path / "supernet.safetensors.old1").exists()


def test_the_supernet_of_another_warm_up_is_refused(data, tmp_path):
    search(data, warm_up=0.5, out=tmp_path)
    for name in ("study.db", "best.json"):
        (tmp_path / name).unlink()
    with pytest.raises(OptionError, match="another warm-up; they differ in steps"):
        search(data, warm_up=0.75, out=tmp_path)
    study = search(data, warm_up=0.75, out=tmp_path, fresh=True)
    assert study.warm_up["samples"] == 192
    assert (tmp_path / "supernet.safetensors.old1").exists()


def test_weights_of_a_file_serve_search_rank_and_score(data, tmp_path):
    first = search(data, warm_up=0.5, out=tmp_path / "run")
    file = tmp_path / "run" / "supernet.safetensors"
    assert plain(search(data, weights=file)) == plain(first)
    archs = sorted({row.arch for row in first.rows})
    with (tmp_path / "table.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["arch", "acc"], *([arch, 90 + i] for i, arch in enumerate(archs))])
    report = subshot.rank(
        SPACE, table=tmp_path / "table.csv", proxies="loss", data=data, batch_size=8, weights=file, again=0
    )
    assert dict(zip(report.texts, report.scores["loss"], strict=True)) == {
        arch: values["loss"] for arch, values in plain(first).items()
    }
    assert report.protocol.weights == first.protocol.weights
    (scored,) = score_targets([f"{SPACE}:{archs[0]}"], proxies="loss", data=data, batch_size=8, weights=file)
    assert scored.scores["loss"].value == plain(first)[archs[0]]["loss"]
    assert scored.protocol.weights == first.protocol.weights


def test_what_does_not_fit_is_refused(data, tmp_path):
    search(data, warm_up=0.5, out=tmp_path / "run")
    file = tmp_path / "run" / "supernet.safetensors"
    with pytest.raises(OptionError, match="both given"):
        search(data, warm_up=0.5, weights=file)
    with pytest.raises(OptionError, match="kaiming x 1"):
        search(data, weights=file, init="kaiming")
    with pytest.raises(OptionError, match="less than one batch of 64"):
        search(data, warm_up=0.1, out=tmp_path / "small")
    assert not (tmp_path / "small" / "study.db").exists()
    with pytest.raises(OptionError, match="has space"):
        subshot.search("nasbench201(channels=4,cells=1)", data=data, weights=file, budget=1, batch_size=8)
    inputs, _labels = data
    with pytest.raises(OptionError, match="has outputs 4"):
        search((inputs, torch.arange(256) % 5), weights=file)
    with pytest.raises(OptionError, match="no architecture of a space"):
        score_targets(["model.py:make"], data=data, batch_size=8, weights=file)


def test_a_supernet_that_changed_is_noticed(data, tmp_path):
    study = search(data, warm_up=0.5, out=tmp_path)
    from subshot.studies._warm import Lender

    lender = Lender(str(tmp_path / "supernet.safetensors"), "0" * 16)
    space = subshot.get_space(SPACE)
    batch = subshot.data.take_batch(data, 8, samples="random", seed=0)
    from subshot.proxies._proxy import bind

    evaluator = ProxyEvaluator(
        space, batch.task, batch.inputs, tuple(bind("loss")), study.protocol, batch.labels, lender
    )
    with pytest.raises(OptionError, match="has changed"):
        evaluator.evaluate([space.parse(study.rows[0].arch)])
