import json

import numpy as np
import pytest
import torch
from torch import nn

from subshot._types import TaskSpec
from subshot.errors import DataError, NetworkError, OptionError, UnknownNameError
from subshot.spaces._space import get_space
from subshot.training._objective import judge
from subshot.training._samples import Samples
from subshot.training._tensors import read_tensors
from subshot.training.files import load_trained, save_trained
from subshot.training.parts import Parts, parts_from
from subshot.training.recipes import recipe_for
from subshot.training.winner import Candidate, TrainingPlan, train_winner

TASK = TaskSpec.images(3, 8, 8, classes=3)
SPACE = "nasbench201(channels=2,cells=1)"
GOOD = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
DEAD = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.fixture(scope="module")
def parts():
    """Ninety images whose class is their brightest channel."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = rng.normal(size=(90, 3, 8, 8)).astype(np.float32)
    images[np.arange(90), labels] += 1
    whole = Samples("bright", "d", labels, images.__getitem__)
    train, watched, test = (whole.part(np.arange(a, b)) for a, b in ((0, 60), (60, 75), (75, 90)))
    return Parts(TASK, train, watched, test, facts={"mean": [0.5], "std": [0.25], "classes": ["r", "g", "b"]})


def candidate(text):
    space = get_space(SPACE)
    built = {"space": SPACE, "arch": text, "variant": "official"}
    return Candidate(text, lambda: space.build(space.parse(text), TASK), built)


def forget_time(told):
    return {**told, "seconds": 0, "networks": [{**one, "seconds": 0} for one in told["networks"]]}


def test_the_better_candidate_is_trained_and_can_be_read_back(parts, tmp_path):
    plan = TrainingPlan(epochs=4, trial_epochs=3, recipe="sgd(ema=0.5)")
    told = train_winner([candidate(DEAD), candidate(GOOD)], parts, plan=plan, folder=tmp_path, baseline=candidate(DEAD))
    assert [one.role for one in told.networks] == ["trial", "trial", "winner", "baseline"]
    assert told.networks[2].text == GOOD
    winner, baseline = told.networks[2:]
    assert (winner.epochs, winner.steps) == (baseline.epochs, baseline.steps) == (4, 4 * 7)
    assert {key: winner.recipe[key] for key in ("batch_size", "ema", "augment")} == {
        "batch_size": 8,
        "ema": 0.5,
        "augment": "flip_crop",
    }
    assert (told.metric, told.split, told.value) == ("accuracy", "test", winner.test)
    assert winner.test > baseline.test == pytest.approx(1 / 3)
    assert winner.value == max(winner.validation) == winner.validation[winner.best_epoch - 1]
    network, task, header = load_trained(told.weights)
    assert task == TASK
    assert judge(network, parts.test, loss="cross_entropy")[1] == winner.test
    assert (header["arch"], header["mean"], header["value"]) == (GOOD, [0.5], winner.test)
    stored = json.loads((tmp_path / "train.json").read_text())
    assert stored == json.loads(json.dumps(told.to_dict()))


def test_an_interrupted_training_ends_with_the_same_weights(parts, tmp_path):
    plan = TrainingPlan(epochs=2, recipe="sgd")
    options = {"plan": plan, "baseline": candidate(DEAD)}
    whole = train_winner([candidate(GOOD)], parts, **options, folder=tmp_path / "whole")

    def stop(progress):
        if (progress.number, progress.state.step) == (2, 9):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_winner([candidate(GOOD)], parts, **options, folder=tmp_path / "broken", on_progress=stop)
    steps = []
    broken = train_winner(
        [candidate(GOOD)],
        parts,
        **options,
        folder=tmp_path / "broken",
        on_progress=lambda progress: steps.append((progress.role, progress.state.step)),
    )
    assert steps[:2] == [("winner", 14), ("baseline", 7)]
    assert (tmp_path / "whole/weights.safetensors").read_bytes() == (
        tmp_path / "broken/weights.safetensors"
    ).read_bytes()
    ours, theirs = (forget_time({**one.to_dict(), "weights": ""}) for one in (whole, broken))
    assert ours == theirs


def test_a_teacher_and_patience_are_taken_to_the_trainings(parts, tmp_path):
    teacher = candidate(GOOD).make()
    plan = TrainingPlan(epochs=30, patience=1, recipe="adamw(lr=1e-30)")
    told = train_winner([candidate(GOOD)], parts, plan=plan, folder=tmp_path, teacher=teacher)
    assert told.networks[0].recipe["distillation"] == 0.5
    assert told.networks[0].stopped
    assert told.epochs < 30


def test_a_network_that_goes_astray_is_told_of(parts, tmp_path):
    class Astray(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(192, 3)

        def forward(self, x):
            return self.layer(x.flatten(1)) * (float("nan") if self.training else 1.0)

    astray = Candidate("astray", Astray)
    plan = TrainingPlan(epochs=1)
    told = train_winner([astray, candidate(GOOD)], parts, plan=plan, folder=tmp_path, baseline=astray)
    assert [one.failed != "" for one in told.networks] == [True, False, False, True]
    assert told.to_dict()["networks"][0]["value"] is None
    with pytest.raises(NetworkError, match="loss was nan at step 1"):
        train_winner([astray], parts, plan=plan, folder=tmp_path)
    with pytest.raises(NetworkError, match="No candidate"):
        train_winner([astray, astray], parts, plan=plan, folder=tmp_path)
    with pytest.raises(OptionError, match="no candidate"):
        train_winner([], parts, plan=plan, folder=tmp_path)


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"patience": 0}, {"trial_epochs": -1}])
def test_plans_out_of_range(setting):
    with pytest.raises(OptionError, match="was given as"):
        TrainingPlan(**setting)


def test_recipes_suit_network_and_data():
    convolutional = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    perceptron = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    large = recipe_for(convolutional, TASK, samples=100_000)
    assert (large.optimiser, large.lr, large.batch_size, large.augment) == ("sgd", 0.1, 128, "flip_crop")
    small = recipe_for(convolutional, TASK, samples=400, grey=True)
    assert (small.lr, small.batch_size, small.augment) == (pytest.approx(0.1 * 20 / 128), 20, "crop")
    assert recipe_for(perceptron, TASK, samples=400).optimiser == "adamw"
    assert recipe_for(convolutional, TASK, samples=5).batch_size == 5
    dense = recipe_for(perceptron, TASK, samples=400, dense=True)
    assert (dense.augment, dense.cutout, dense.mixup) == ("none", 0.0, 0.0)
    regression = TaskSpec(TASK.inputs, 1, "mse")
    assert recipe_for(perceptron, regression, samples=400).label_smoothing == 0
    given = recipe_for(perceptron, TASK, samples=400, wanted="sgd(lr=0.5,batch_size=64,mixup=1)")
    assert (given.lr, given.batch_size, given.mixup) == (0.5, 64, 1.0)
    with pytest.raises(UnknownNameError, match="Did you mean 'sgd'"):
        recipe_for(perceptron, TASK, samples=400, wanted="sgdd")
    with pytest.raises(UnknownNameError, match="setting of recipe sgd"):
        recipe_for(perceptron, TASK, samples=400, wanted="sgd(rate=1)")


def test_parts_of_what_is_in_memory():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(50, 3, 8, 8)).astype(np.float32)
    labels = np.arange(50) % 3
    parts = parts_from((inputs, labels), TASK, seed=1)
    assert parts.task == TASK
    seen = [one.take(np.arange(len(one))) for one in (parts.train, parts.validation, parts.test)]
    first = np.concatenate([inputs.numpy()[:, 0, 0, 0] for inputs, _ in seen])
    assert sorted(first) == sorted(inputs[:, 0, 0, 0])
    assert all(set(labels.tolist()) == {0, 1, 2} for _, labels in seen)
    numbers = parts_from((inputs, rng.normal(size=50).astype(np.float32)), TaskSpec(TASK.inputs, 1))
    assert numbers.task.loss == "mse"
    with pytest.raises(DataError, match="needs 1 outputs"):
        parts_from((inputs, rng.normal(size=50).astype(np.float32)), TASK)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    network = candidate(GOOD).make()
    save_trained(network, path, task=TASK, built=candidate(GOOD).built, told={})
    loaded, _, _ = load_trained(path)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), loaded.parameters(), strict=True))
    header = read_tensors(path)[1]
    assert header["kind"] == "trained"
    save_trained(network, path, task=TASK, built={**candidate(GOOD).built, "arch": DEAD}, told={})
    with pytest.raises(DataError, match="can't be built"):
        load_trained(path)
    save_trained(network, path, task=TASK, built={}, told={})
    with pytest.raises(DataError, match="no space builds"):
        load_trained(path)
