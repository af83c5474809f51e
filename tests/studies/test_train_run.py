import dataclasses
import json

import numpy as np
import pytest

import subshot
from subshot.errors import DataError, OptionError, StudyError
from subshot.studies import _checkpoints, training
from subshot.training import winner

SPACE = "nasbench201(channels=2,cells=1)"
SETTINGS = {"epochs": 3, "trial_epochs": 2, "top": 2, "recipe": "sgd(batch_size=4)"}


@pytest.fixture(scope="module")
def data():
    """Thirty smooth images of three classes, 8 x 8."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(30, 3, 2, 2)).astype(np.float32)
    return coarse.repeat(4, axis=2).repeat(4, axis=3), np.arange(30) % 3


@pytest.fixture
def run(tmp_path, data):
    """The folder of a search."""
    study = subshot.search(SPACE, data=data, budget=6, strategy="random", batch_size=8, out=tmp_path / "run")
    assert study.status == "done"
    return tmp_path / "run"


def curves(epochs):
    """Epochs told, by network: training loss, validation loss and metric."""
    found = {}
    for one in epochs:
        assert one.metric == "accuracy"
        assert len(found.setdefault(one.number, [])) == one.epoch - 1, "epochs come in order, each once"
        found[one.number].append((one.role, one.epochs, one.loss, one.validation_loss, one.validation))
    return found


def told(training):
    """The same by the result."""
    wanted = {"trial": SETTINGS["trial_epochs"], "winner": SETTINGS["epochs"], "baseline": SETTINGS["epochs"]}
    return {
        number: [
            (one.role, wanted[one.role], *values)
            for values in zip(one.losses, one.validation_losses, one.validation, strict=True)
        ]
        for number, one in enumerate(training.networks, start=1)
    }


def test_a_winner_is_trained_from_its_folder(run, data):
    starts, epochs, steps = [], [], []
    training = subshot.train(
        str(run),
        data=data,
        baseline=f"{SPACE}:|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
        **SETTINGS,
        on_start=starts.append,
        on_progress=steps.append,
        on_epoch=epochs.append,
    )
    assert training.weights == run / "weights.safetensors"
    assert json.loads((run / "train.json").read_text()) == training.to_dict()
    assert [one.role for one in training.networks] == ["trial", "trial", "winner", "baseline"]
    (start,) = starts
    assert (start.kind, start.run) == ("train", run)
    assert start.settings["candidates"] == [one.text for one in training.networks[:2]]
    assert start.settings["epochs"] == 3
    assert curves(epochs) == told(training)
    assert sum(one.state.step == 0 for one in steps) == len(training.networks)
    exported = subshot.export_winner(run, format="safetensors")
    assert exported.file == run / "export" / "network.safetensors"


def test_a_broken_training_tells_all_its_epochs_when_it_continues(run, data):
    seen = []

    def stop(progress):
        # In the second epoch of the winner.
        if progress.role == "winner" and progress.state.step > progress.state.steps // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        subshot.train(run, data=data, **SETTINGS, on_progress=stop, on_epoch=seen.append)
    before = curves(seen)
    assert {number: len(one) for number, one in before.items()} == {1: 2, 2: 2, 3: 1}
    again = []
    training = subshot.train(run, data=data, **SETTINGS, on_epoch=again.append)
    assert curves(again) == told(training)
    assert {number: one[: len(before[number])] for number, one in curves(again).items()} == before
    # Both trials are read back from their checkpoints, which are alike in all but what they hold.
    trials = told(training)
    assert trials[1] != trials[2]


def test_a_teacher_may_be_a_network(run, data):
    teacher = subshot.get_space(SPACE)
    network = teacher.build(teacher.sample(np.random.default_rng(0)), subshot.TaskSpec.images(3, 8, 8, classes=3))
    training = subshot.train(run, data=data, epochs=1, teacher=network)
    assert training.networks[0].recipe["distillation"] == 0.5
    assert training.settings["teacher"] == type(network).__name__


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"top": 0}, OptionError, "top was given as 0"),
        ({"max_samples": 0}, OptionError, "max_samples was given as 0"),
        ({"epochs": 0}, OptionError, "epochs was given as 0"),
        ({"data": None}, DataError, "no registered data set"),
        ({"baseline": "resnet"}, OptionError, "names no network"),
    ],
    ids=str,
)
def test_what_can_not_be_asked_for(run, data, given, error, message):
    with pytest.raises(error, match=message):
        subshot.train(run, **{"data": data, **given})
    assert not (run / "training").exists()


def test_a_folder_without_a_search(tmp_path):
    with pytest.raises(StudyError, match="holds no study"):
        subshot.train(tmp_path)


def test_checkpoints_are_looked_for_where_they_are_written():
    assert _checkpoints.FOLDER == winner._CHECKPOINTS


def test_other_files_are_no_checkpoints(run, data, tmp_path):
    subshot.train(run, data=data, epochs=1)
    assert _checkpoints.read_checkpoint(run / "weights.safetensors") is None
    assert _checkpoints.read_checkpoint(run / "gone.safetensors") is None
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    assert _checkpoints.read_checkpoint(tmp_path / "bad.safetensors") is None
    (path,) = (run / "training").iterdir()
    found = _checkpoints.read_checkpoint(path)
    assert found.role == "winner"
    assert found.state["step"] == found.state["steps"] == len(found.losses)
    state = winner.FitState(**{**found.state, "loss": found.losses[-1]})
    assert _checkpoints.checkpoint_of(path.parent, "winner", state) == found
    assert _checkpoints.checkpoint_of(path.parent, "trial", state) is None
    other = dataclasses.replace(state, seconds=state.seconds + 1)
    assert _checkpoints.checkpoint_of(path.parent, "winner", other) is None


def test_a_space_made_in_python_needs_a_name(tmp_path, data):
    space = subshot.Space(choices={"width": [2, 4]}, build=lambda width: None, task=subshot.get_space(SPACE).task)
    study = subshot.search(
        subshot.get_space(SPACE), data=data, budget=2, strategy="random", batch_size=8, out=tmp_path / "run"
    )
    stored = dataclasses.replace(study, settings={**study.settings, "space": space.name})
    with pytest.raises(StudyError, match=r"made in Python, 'own'.*space='spaces\.py:make'"):
        training._space_of(stored)
