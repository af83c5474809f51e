import sys

import pytest

from subshot.trackers._tracker import TRACKERS, TrackerInfo


class Noting:
    def __init__(self, told):
        self.told = told

    def begin(self, start, settings):
        self.told.append(("begin", start.kind, str(start.run)))

    def scalar(self, name, value, step):
        self.told.append(("scalar", name, value, step))

    def file(self, path):
        self.told.append(("file", path.name))

    def end(self, status):
        self.told.append(("end", status))


@pytest.fixture
def told():
    """What a registered tracker is told."""
    found = []

    def noting(*, prefix: str = "") -> Noting:
        return Noting(found)

    assert len(TRACKERS) >= 2
    TRACKERS.register("noting", TrackerInfo("noting", noting))
    yield found
    del TRACKERS._entries["noting"]


def test_a_search_and_a_training_are_followed(run, quick, npz, told):
    assert run(*quick, "--out", "run", "--tracker", "noting(prefix=a)").code == 0
    assert told[0] == ("begin", "search", "run")
    best = [what[2:] for what in told if what[:2] == ("scalar", "search/best")]
    assert best[-1][1] == 12
    assert [value for value, _ in best] == sorted(value for value, _ in best)
    assert ("file", "best.json") in told
    assert told[-1] == ("end", "done")
    told.clear()
    assert run("train", "run", "--data", npz, "--epochs", 2, "--tracker", "noting").code == 0
    assert told[0] == ("begin", "train", "run")
    assert [what[3] for what in told if what[:2] == ("scalar", "train/winner/loss")] == [1, 2]
    assert ("file", "train.json") in told
    assert told[-1] == ("end", "done")


@pytest.mark.parametrize("command", ["search", "train"])
def test_a_tracker_that_is_missing_is_said_before_anything_is_done(run, quick, folder, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    arguments = [*quick, "--out", "run"] if command == "search" else ["train", "run"]
    done = run(*arguments, "--tracker", "mlflow", "--json")
    assert done.code == 2
    assert "needs mlflow" in done.json["error"]["message"]
    assert "subshot[mlflow]" in done.json["error"]["hint"]
    assert list(folder.iterdir()) == []
    assert "no tracker named 'wandb'" in run(*arguments, "--tracker", "wandb", "--json").json["error"]["message"]
