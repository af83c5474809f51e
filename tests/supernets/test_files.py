import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from subshot.errors import DataError, UnknownNameError
from subshot.supernets import files
from subshot.supernets._supernet import make_supernet
from subshot.supernets.files import load_supernet, save_supernet
from subshot.supernets.warm_up import WarmUp, warm_up
from subshot.training._header import read_header
from subshot.training._recipe import Recipe
from subshot.training._tensors import read_tensors, write_tensors


def test_a_supernet_comes_back_as_it_was(supernet, tmp_path, rng, batch):
    name = next(iter(supernet.options))
    supernet.freeze(name, supernet.options[name][0])
    digest = save_supernet(supernet, tmp_path / "deep" / "supernet.safetensors")
    back, header = load_supernet(str(tmp_path / "deep" / "supernet.safetensors"))
    assert header["digest"] == digest
    assert header["warm_up"] is None
    assert (back.space, back.task, back.variant, back.frozen) == (
        supernet.space,
        supernet.task,
        supernet.variant,
        supernet.frozen,
    )
    path = supernet.sample_path(rng)
    assert torch.equal(back(batch[0], path), supernet(batch[0], path))


def test_the_header_says_how_it_was_warmed_up(cells, data, tmp_path):
    file = tmp_path / "supernet.safetensors"
    done = warm_up(cells, data, plan=WarmUp(samples=64, recipe=Recipe(batch_size=16)))
    assert save_supernet(cells, file, warmed_up=done) == done.digest
    _, header = load_supernet(file)
    assert (header["warm_up"]["samples"], header["warm_up"]["loss"]) == (64, done.loss)
    assert header["warm_up"]["settings"] == json.loads(json.dumps(done.settings))


def test_other_tools_read_the_weights(cells, tmp_path):
    file = tmp_path / "supernet.safetensors"
    save_supernet(cells, file)
    theirs = load_file(file)
    ours = cells.network.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    with safe_open(file, framework="pt") as opened:
        assert json.loads(opened.metadata()["subshot"])["space"] == "nasbench201(cells=1, channels=2)"


def test_equal_contents_are_equal_bytes(cells, tmp_path):
    for name in "ab":
        save_supernet(make_supernet(cells.space, cells.task), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_damaged_and_foreign_files_are_refused(cells, tmp_path):
    file = tmp_path / "supernet.safetensors"
    with pytest.raises(DataError, match="There is no file"):
        load_supernet(file)
    save_supernet(cells, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="can't be read"):
        load_supernet(file)
    file.write_bytes(b"\x00" * 5)
    with pytest.raises(DataError, match="can't be read"):
        load_supernet(file)
    file.write_bytes(whole[:-4] + b"\x00\x00\x80\x40")
    with pytest.raises(DataError, match="not those it was written with"):
        load_supernet(file)
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(DataError, match="subshot didn't write"):
        load_supernet(file)
    write_tensors(file, {"x": torch.zeros(1)}, {"kind": "checkpoint"})
    with pytest.raises(DataError, match="holds no supernet but 'checkpoint'"):
        load_supernet(file)


@pytest.mark.parametrize(
    "change",
    [
        {"space": "nasbench201(channels=3, cells=1)"},
        {"space": 7},
        {"task": None},
        {"task": {"inputs": []}},
        {"frozen": 3},
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_is_refused(cells, tmp_path, change):
    file = tmp_path / "supernet.safetensors"
    save_supernet(cells, file)
    tensors, header = read_tensors(file)
    write_tensors(file, tensors, {**header, **change})
    with pytest.raises(DataError, match="can't be built"):
        load_supernet(file)


def test_a_space_that_is_not_here(cells, tmp_path):
    file = tmp_path / "supernet.safetensors"
    save_supernet(cells, file)
    tensors, header = read_tensors(file)
    write_tensors(file, tensors, {**header, "space": "somebodys_space"})
    with pytest.raises(UnknownNameError, match="no space named 'somebodys_space'"):
        load_supernet(file)


def test_the_header_has_the_losses(cells, data, tmp_path, monkeypatch):
    file = tmp_path / "supernet.safetensors"
    done = warm_up(cells, data, plan=WarmUp(samples=7 * 16, recipe=Recipe(batch_size=16)))
    save_supernet(cells, file, warmed_up=done)
    curve = read_header(file, "supernet")["curve"]
    assert curve["step"] == list(range(1, 8))
    assert curve["loss"] == pytest.approx(done.losses, rel=1e-5)
    monkeypatch.setattr(files, "_POINTS", 3)
    save_supernet(cells, file, warmed_up=done)
    few = read_header(file, "supernet")["curve"]
    assert few["step"] == [2, 4, 7]
    assert few["loss"] == pytest.approx(
        [sum(part) / len(part) for part in (done.losses[:2], done.losses[2:4], done.losses[4:])], rel=1e-5
    )


def test_only_a_supernet_has_a_header(cells, tmp_path):
    file = tmp_path / "other.safetensors"
    assert read_header(file, "supernet") is None
    file.write_bytes(b"no weights")
    assert read_header(file, "supernet") is None
    write_tensors(file, {"a": torch.zeros(1)}, {"kind": "network"})
    assert read_header(file, "supernet") is None
    save_file({"a": torch.zeros(1)}, file)
    assert read_header(file, "supernet") is None
    save_supernet(cells, file)
    assert read_header(file, "supernet")["curve"] is None
