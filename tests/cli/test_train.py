import json

import pytest

BASELINE = "nasbench201(channels=2,cells=1):|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
MODEL = """
import torch
from torch import nn
import subshot

def model():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4),
    )

def space():
    from subshot.spaces.around import around
    return around(model(), torch.zeros(1, 3, 16, 16))
"""


@pytest.fixture
def searched(run, quick):
    """The folder of a search."""
    assert run(*quick, "--out", "run").code == 0
    return "run"


def test_a_winner_is_trained_beside_a_baseline(run, searched, npz, folder):
    first = run(
        "train",
        searched,
        "--data",
        npz,
        "--epochs",
        2,
        "--top",
        2,
        "--baseline",
        BASELINE,
        "--trial-epochs",
        1,
        "--json",
    )
    assert first.code == 0, first.err
    told = first.json
    assert {"weights", "metric", "value", "epochs", "seconds"} <= told.keys()
    assert (told["weights"], told["metric"], told["epochs"]) == ("run/weights.safetensors", "accuracy", 2)
    assert 0 <= told["value"] <= 1
    assert [one["role"] for one in told["networks"]] == ["trial", "trial", "winner", "baseline"]
    searched_for = json.loads((folder / "run/best.json").read_text())
    assert told["networks"][0]["text"] == searched_for["best"]["arch"]
    weights = (folder / "run/weights.safetensors").read_bytes()
    again = run(
        "train", searched, "--data", npz, "--epochs", 2, "--top", 2, "--baseline", BASELINE, "--trial-epochs", 1
    )
    assert again.code == 0
    assert "baseline: nasbench201" in again.out
    pytest.importorskip("plotly")
    assert run("report", searched).code == 0
    page = (folder / "run/report.html").read_text()
    for text in ("Training of nasbench201", "Training curves", "Trials", "By the same recipe", BASELINE):
        assert text in page
    assert (folder / "run/weights.safetensors").read_bytes() == weights


def test_the_model_of_a_space_around_it_is_the_baseline(run, npz, folder):
    (folder / "mine.py").write_text(MODEL)
    search = ["search", "--space", "mine.py:space", "--data", npz, "--workers", 1, "--budget", 4, "--out", "run"]
    assert run(*search).code == 0
    train = ["train", "run", "--data", npz, "--epochs", 1]
    told = run(*train, "--teacher", "mine.py:model", "--json").json
    texts = {one["role"]: one["text"] for one in told["networks"]}
    assert texts.get("baseline", "unchanged") == "unchanged"
    assert len(set(texts.values())) == len(texts)
    assert told["networks"][0]["recipe"]["distillation"] == 0.5
    assert run(*train, "--baseline", "none", "--json").json["networks"][1:] == []
    other = run(*train, "--baseline", "mine.py:model", "--json")
    assert [one["role"] for one in other.json["networks"]] == ["winner", "baseline"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "There is no folder"),
        (["run"], "no registered data set"),
        (["run", "--data", "missing.npz"], "no data set named"),
        (["run", "--data", "digits"], "needs 10 outputs"),
        (["run", "--data", "NPZ", "--recipe", "sgd(lr=-1)"], "lr was given as -1"),
        (["run", "--data", "NPZ", "--validation", "2"], "validation share"),
        (["run", "--data", "NPZ", "--baseline", "resnet"], "names no network"),
    ],
    ids=str,
)
def test_what_can_not_be_trained(run, searched, npz, arguments, message):
    done = run("train", *[npz if one == "NPZ" else one for one in arguments], "--json")
    assert done.code == 2
    assert message in done.json["error"]["message"]
