import sys

import pytest


@pytest.fixture
def trained(run, quick, npz):
    """The folder of a search whose winner was trained."""
    assert run(*quick, "--out", "run").code == 0
    assert run("train", "run", "--data", npz, "--epochs", 1).code == 0
    return "run"


def test_forms_that_need_torch_alone(run, trained, folder):
    for form, name in (("safetensors", "network.safetensors"), ("torch", "network.pt2")):
        told = run("export", trained, "--format", form, "--json").json
        assert told.keys() == {"file", "max_abs_difference", "latency_ms"}
        assert told["file"] == f"run/export/{name}"
        assert told["max_abs_difference"] <= 1e-4
        assert told["latency_ms"] > 0
        assert (folder / told["file"]).is_file()
    assert "for one sample" in run("export", trained).out


def test_what_can_not_be_exported(run, quick, folder, monkeypatch):
    assert run(*quick, "--out", "run").code == 0
    done = run("export", "run", "--json")
    assert done.code == 2
    assert done.json["error"] == {
        "message": "run has no trained network.",
        "hint": "Train the winner first: subshot train run.",
    }
    assert run("export", "run", "--format", "tflite").code == 2


def test_onnx_says_what_is_missing(run, trained, monkeypatch):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    done = run("export", trained, "--format", "onnx", "--json")
    assert done.code == 2
    assert "needs" in done.json["error"]["message"]
    assert "pip install" in done.json["error"]["hint"]
