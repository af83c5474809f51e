import json
import math
import sys

import numpy as np
import pytest

import subshot
from subshot._types import Score
from subshot.errors import MissingDependencyError, OptionError, StudyError, UnknownNameError
from subshot.studies._checkpoints import TrainEpoch
from subshot.studies._driver import Progress
from subshot.studies._result import Found
from subshot.studies._start import Start
from subshot.trackers._tracker import TRACKERS, flat
from subshot.training._run import FitState

SPACE = "nasbench201(channels=2,cells=1)"


class Noting:
    """Notes what it is told."""

    def __init__(self, broken=()):
        self.broken, self.told = broken, []

    def note(self, *what):
        if what[0] in self.broken:
            raise ConnectionError("no such host")
        self.told.append(what)

    def begin(self, start, settings):
        self.note("begin", start.kind, settings)

    def scalar(self, name, value, step):
        assert type(value) is float
        assert math.isfinite(value)
        self.note("scalar", name, value, step)

    def file(self, path):
        self.note("file", path.name)

    def end(self, status):
        self.note("end", status)

    def curve(self, name):
        return [
            (step, value)
            for kind, *rest in self.told
            if kind == "scalar" and rest[0] == name
            for _, value, step in [rest]
        ]

    @property
    def kinds(self):
        return [what[0] for what in self.told]


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 3, 8, 8)).astype(np.float32), np.arange(30) % 3


def progress(done, budget, best=1.0):
    found = None if best is None else Found("a", Score(best), {"params": 5})
    return Progress(done, budget, found, 0.5, 0)


def test_a_search_and_a_training_are_followed(tmp_path, data):
    writer = Noting()
    with subshot.make_tracker(writer) as tracker:
        study = subshot.search(
            SPACE,
            data=data,
            budget=8,
            strategy="random",
            batch_size=8,
            out=tmp_path / "run",
            on_start=tracker.on_start,
            on_progress=tracker.on_progress,
        )
        tracker.finish(study)
        told, writer.told = writer.told, []
        training = subshot.train(study.run, data=data, epochs=2, on_start=tracker.on_start, on_epoch=tracker.on_epoch)
        tracker.finish(training)
    began, *rest = told
    assert began[:2] == ("begin", "search")
    assert began[2]["protocol.batch_size"] == "8"
    assert began[2]["strategy"] == "random"
    assert any(name.startswith("proxies.swap") for name in began[2])
    assert rest[-1] == ("file", "best.json")
    values = [row.scores["swap"].value for row in study.rows]
    search = Noting()
    search.told = told
    best = search.curve("search/best")
    assert best == [(n, max(values[:n])) for n in range(1, 9) if math.isfinite(max(values[:n]))][-len(best) :]
    assert best[-1] == (8, study.best.score.value)
    assert search.curve("search/best_params")[-1] == (8, study.best.costs["params"])
    assert writer.told[0] == ("end", "done")
    assert writer.told[1][:2] == ("begin", "train")
    winner = training.networks[0]
    assert writer.curve("train/winner/loss") == list(enumerate(winner.losses, start=1))
    assert writer.curve("train/winner/validation_accuracy") == list(enumerate(winner.validation, start=1))
    assert writer.curve("train/winner/validation_loss") == list(enumerate(winner.validation_losses, start=1))
    assert writer.curve("train/winner/test_accuracy") == [(2, winner.test)]
    assert writer.told[-1] == ("end", "done")
    assert ("file", "train.json") in writer.told


def test_a_warm_up_is_followed():
    writer = Noting()
    with subshot.make_tracker([writer]) as tracker:
        for step in range(4):
            tracker.on_warm_up(FitState(step=step, steps=3, loss=math.nan if step == 0 else 1 / step))
    assert writer.curve("warm_up/loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_long_curves_are_thinned_and_keep_their_end():
    writer = Noting()
    with subshot.make_tracker(writer) as tracker:
        for done in range(1, 10_001):
            tracker.on_progress(progress(done, 10_000, best=float(done)))
    steps = [step for step, _ in writer.curve("search/best")]
    assert len(steps) <= 202
    assert steps[0] == 1
    assert steps[-1] == 10_000
    assert max(np.diff(steps)) <= 50


def test_trials_have_curves_of_their_own():
    writer = Noting()
    with subshot.make_tracker(writer) as tracker:
        for number, role in enumerate(["trial", "trial", "winner"], start=1):
            tracker.on_epoch(TrainEpoch(role, number, 3, 1, 1, float(number), "mse", math.inf, 0.5))
    assert [(rest[0], rest[1]) for kind, *rest in writer.told if kind == "scalar"] == [
        ("train/trial_1/loss", 1.0),
        ("train/trial_1/validation_mse", 0.5),
        ("train/trial_2/loss", 2.0),
        ("train/trial_2/validation_mse", 0.5),
        ("train/winner/loss", 3.0),
        ("train/winner/validation_mse", 0.5),
    ]


def test_a_run_that_was_refused_leaves_nothing():
    writer = Noting()

    def refused():
        with subshot.make_tracker(writer) as tracker:
            tracker.on_start(Start("search", None, {}))
            tracker.on_progress(progress(1, 10, best=None))
            raise OptionError("no")

    with pytest.raises(OptionError):
        refused()
    assert writer.told == []


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "interrupted"), (ValueError, "failed")])
def test_how_a_run_ended_is_told(error, status):
    writer = Noting()

    def broken():
        with subshot.make_tracker(writer) as tracker:
            tracker.on_progress(progress(1, 10))
            raise error

    with pytest.raises(error):
        broken()
    assert writer.told[-1] == ("end", status)


def test_a_tracker_that_breaks_costs_no_run():
    broken, sound = Noting(broken=("scalar",)), Noting()
    with subshot.make_tracker([broken, sound]) as tracker:
        with pytest.warns(RuntimeWarning, match="tracker Noting failed and is told no more: ConnectionError: no such"):
            tracker.on_progress(progress(1, 10))
        tracker.on_progress(progress(10, 10, best=2.0))
    assert broken.kinds == ["begin"]
    assert sound.curve("search/best") == [(1, 1.0), (10, 2.0)]


def test_a_tracker_that_can_not_begin_is_an_error():
    tracker = subshot.make_tracker(Noting(broken=("begin",)))
    with pytest.raises(StudyError, match="Noting can't be written to: ConnectionError: no such host"), tracker:
        tracker.on_progress(progress(1, 10))


def test_without_a_tracker_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with subshot.make_tracker() as tracker:
        tracker.on_start(Start("search", tmp_path / "run", {}))
        tracker.on_progress(progress(1, 1))
    assert list(tmp_path.iterdir()) == []


def test_settings_are_flat_texts():
    nested = {"a": "text", "b": {"c": 1, "d": {"e": None, "f": {}}}, "g": [1, 2]}
    assert flat(nested) == {"a": "text", "b.c": "1", "b.d.e": "null", "b.d.f": "{}", "g": "[1, 2]"}
    assert json.loads(flat({"x": {"y": 0.5}})["x.y"]) == 0.5


def test_trackers_have_the_names_of_their_files():
    assert subshot.list_trackers() == ["mlflow", "tensorboard"]
    for name in TRACKERS:
        assert TRACKERS.get(name).make.__module__ == f"subshot.trackers.{name}"


@pytest.mark.parametrize("name", subshot.list_trackers())
def test_a_package_that_is_missing(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    match = rf"The tracker '{name}' needs {name}, which .*pip install 'subshot\[{name}\]' -c constraints.txt"
    with pytest.raises(MissingDependencyError, match=match):
        subshot.make_tracker(name)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("wandb", UnknownNameError, "no tracker named 'wandb'"),
        ("tensorboard(fold=x)", UnknownNameError, "folder"),
        ("mlflow(uri)", OptionError, "is not a setting"),
    ],
)
def test_trackers_that_are_none(text, error, message):
    with pytest.raises(error, match=message):
        subshot.make_tracker(text)
