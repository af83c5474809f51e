"""Each example runs as its own command; its parts compare what they claim to compare."""

import argparse
import functools
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from subshot import TaskSpec, get_space

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def comparison():
    sys.path.insert(0, str(EXAMPLES))
    yield importlib.import_module("_comparison")
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def networks(comparison):
    return importlib.import_module("_networks")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "rows"),
    [
        ("fashion_mnist", ["--data", "mnist_sample"], 6),
        ("cifar10", ["--data", "mnist_sample"], 6),
        ("around_my_model", ["--data", "mnist_sample"], 5),
        ("denoise", [], 5),
    ],
)
def test_an_example_runs(name, arguments, rows, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--quick", "--workers", "1", "--out", str(tmp_path)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / f"{name}_quick" / f"{name}.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(table) == rows
    assert table[0].startswith("| winner |")
    assert "Limits of the winner: all kept." in text
    assert re.search(r"identical outputs on \d+ test samples", text)
    assert "interrupted" not in text


def test_seconds_of_an_interrupted_step_are_not_told(comparison, tmp_path):
    clock = comparison.Clock(tmp_path)
    with clock("search"):
        pass
    with pytest.raises(KeyboardInterrupt), clock("train"):
        raise KeyboardInterrupt
    again = comparison.Clock(tmp_path)
    first = again.seconds["search"]
    with again("search"), again("train"):
        pass
    assert json.loads((tmp_path / "seconds.json").read_text()) == {"search": first, "train": None}
    assert "train interrupted" in str(again)


def test_random_opponents_cost_as_much_and_keep_the_limits(comparison):
    task = TaskSpec.images(3, 32, 32, classes=10)
    space = get_space("mobilenet(image_size=64,budget=100000)")
    example = comparison.Example("x", "x", task, load=list, limits={"parameters": 60_000, "macs": 3_900_000})
    archs = comparison.equal_cost(space, example, "macs", 3_800_000, keeps=lambda drawn: drawn[1:])
    assert len(set(archs)) == 3
    for arch in archs:
        network = space.build(space.parse(arch), task)
        assert sum(one.numel() for one in network.parameters()) <= 60_000
        assert 0.9 * 3_800_000 <= comparison.count_macs(network, task) <= 3_900_000
    assert comparison.equal_cost(space, example, "macs", 3_800_000, keeps=lambda drawn: drawn[1:]) == archs


def test_what_a_measurement_decided_is_not_asked_again(comparison, tmp_path):
    assert comparison.remembered(tmp_path / "x.json", lambda: ["a", "b"]) == ["a", "b"]
    assert comparison.remembered(tmp_path / "x.json", lambda: ["c"]) == ["a", "b"]


def test_a_scaled_network_is_the_widest_that_fits(comparison, networks):
    task = TaskSpec.images(3, 32, 32, classes=10)
    for make in (functools.partial(networks.resnet20, task), functools.partial(networks.mobilenetv2, task, (1,) * 5)):
        width = comparison.scaled(make, task, "parameters", 50_000)
        here, next_one = (comparison.size_of(functools.partial(make, w), task) for w in (width, width + 0.01))
        assert here.parameters <= 50_000 < next_one.parameters


def test_published_networks_have_their_published_sizes(networks):
    # ResNet-20: 0.27 M parameters; the 1x1 shortcuts in place of padding add 2 x (a x 2a) weights and their norms.
    own = sum(one.numel() for one in networks.resnet20(TaskSpec.images(3, 32, 32, classes=10), 1.0).parameters())
    assert own == 269_722 + 16 * 32 + 32 * 64 + 2 * (32 + 64)
    # MobileNetV2: 3,504,872 for 1,000 classes; here its first block widens nothing, as published.
    large = networks.mobilenetv2(TaskSpec.images(3, 224, 224, classes=1000), (2, 2, 2, 2, 2), 1.0)
    assert sum(one.numel() for one in large.parameters()) == 3_504_872
    assert large(torch.zeros(2, 3, 224, 224)).shape == (2, 1000)


def test_a_table_names_limits_that_are_broken(comparison):
    assert comparison._over({"parameters": 10, "macs": 5}, {"parameters": 9}) == ["parameters"]
    assert comparison._over({"parameters": 9}, {"parameters": 9}) == []
    assert comparison._over({"latency_ms": float("nan")}, {"latency_ms": 9}) == ["latency_ms"]


def test_finished_trainings_are_read(comparison, tmp_path):
    task = TaskSpec.images(3, 8, 8, classes=2)
    calls = []

    def make():
        calls.append(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))

    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(60, 3, 8, 8, generator=generator), torch.arange(60) % 2

    def load():
        return comparison_parts((inputs, labels), task)

    from subshot.training.parts import parts_from as comparison_parts

    plan = comparison.TrainingPlan(epochs=1)
    arguments = {"seeds": 2, "folder": tmp_path, "workers": 1}
    first = comparison.train_all([comparison.Rival("a", "a", make)], load, plan, **arguments)
    assert len(calls) == 2
    assert comparison.train_all([comparison.Rival("a", "a", make)], load, plan, **arguments) == first
    assert len(calls) == 2
    comparison.train_all([comparison.Rival("b", "b", make)], load, plan, **arguments)
    assert len(calls) == 4


def test_the_number_of_epochs_and_more_can_be_given(comparison, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--quick", "--epochs", "3"])
    given = comparison.options("x", epochs=8, seeds=3, budget=200, data="cifar10")
    expected = {"epochs": 3, "seeds": 1, "budget": 8, "data": "cifar10", "workers": 2, "quick": True, "out": None}
    assert given == argparse.Namespace(**expected)
