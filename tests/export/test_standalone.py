import ast
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from subshot._types import TaskSpec
from subshot.errors import NetworkError
from subshot.export._record import record
from subshot.export._source import constructor, is_leaf
from subshot.export.standalone import export_standalone, import_file, plain_network
from subshot.export.winner import examples_for
from subshot.spaces._space import SPACES, get_space

# Smaller networks where a space has settings for them.
SETTINGS = {"darts": {"channels": 4, "layers": 3}, "nasbench201": {"channels": 2, "cells": 1}}


def lively(network):
    """Statistics and vectors that do something."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.8, 1.2, generator=generator)
    return network


def built(name):
    space = get_space(name)
    fields = type(space).__dataclass_fields__ if hasattr(type(space), "__dataclass_fields__") else {}
    space = get_space(name, {key: value for key, value in SETTINGS.get(name, {}).items() if key in fields})
    (spec,) = space.task.inputs
    task = space.task
    if len(spec.shape) == 3:
        task = TaskSpec.images(3, 32, 32, classes=5)
    arch = space.sample(np.random.default_rng(0))
    return lively(space.build(arch, task)), task


@pytest.mark.parametrize("name", SPACES.names())
def test_networks_of_every_space_are_rebuilt_with_the_same_outputs(name, tmp_path):
    network, task = built(name)
    weights, code = export_standalone(network, tmp_path, examples=examples_for(task))
    text = code.read_text()
    imported = {node.names[0].name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)}
    imported |= {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"json", "torch", "torch.nn.functional", "collections", "pathlib"}
    rebuilt = import_file(code).load(weights)
    kept = dict(network.named_parameters())
    assert {key for key, _ in rebuilt.named_parameters()} <= set(kept)
    # Another batch size than those it was found with.
    (spec,) = task.inputs
    inputs = torch.rand(5, *spec.shape) if spec.vocabulary is None else torch.randint(spec.vocabulary, (5, *spec.shape))
    with torch.no_grad():
        assert torch.equal(rebuilt(inputs), network.eval()(inputs))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.py", "network.safetensors"]


def test_the_file_runs_where_nothing_but_torch_can_be_imported(tmp_path):
    network, task = built("nasbench201")
    examples = examples_for(task)
    export_standalone(network, tmp_path, examples=examples, name="winner", facts={"MEAN": [0.5]})
    torch.save(examples[0], tmp_path / "inputs.pt")
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
for name in ("subshot", "safetensors"):
    sys.modules[name] = None
import torch, winner
torch.set_num_threads(1)
assert winner.MEAN == [0.5]
with torch.no_grad():
    torch.save(winner.load()(torch.load("inputs.pt")), "outputs.pt")
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    with torch.no_grad():
        assert torch.equal(torch.load(tmp_path / "outputs.pt"), network.eval()(examples[0]))


class Odd(nn.Module):
    """Much of what code may do."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding="same", padding_mode="reflect")
        self.blocks = nn.ModuleList([nn.Sequential(nn.GroupNorm(2, 4), nn.PReLU(4)) for _ in range(2)])
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.scale = nn.Parameter(torch.rand(4, 1, 1))
        self.register_buffer("shift", torch.rand(1, 4, 1, 1), persistent=False)
        self.loose = torch.rand(1, 4, 1, 1)
        self.unused = Never()
        self.head = nn.Linear(4, 3)

    def forward(self, x, *, twice=True):
        if x.shape[2] > 4:
            x = self.stem(x)
        for number, block in enumerate(self.blocks):
            x = block(x) * self.scale + 2 / (number + 1)
        x += self.shift
        y = x.clone()
        y[:, 0] = 0.0
        first, second = (1 - x - self.loose).chunk(2, dim=1)
        x = torch.cat([second, first], dim=1) + y
        batch, channels, *_ = x.shape
        tokens = x.view(batch, channels, -1).mT.reshape(batch * 2, -1, channels)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        pooled = mixed.reshape(len(x), -1, channels).mean(1)
        *_, last = pooled.mT
        wide = nn.functional.gelu(self.head(pooled)) ** 2
        return wide[..., :2] - (last[:, None] if twice else 0)


class Never(nn.Module):
    def forward(self, x):
        raise AssertionError


def test_code_of_many_kinds(tmp_path):
    network = Odd()
    examples = (torch.randn(2, 3, 8, 8), torch.randn(3, 3, 8, 8))
    plain = plain_network(network, examples)
    inputs = torch.randn(7, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(plain(inputs), network.eval()(inputs))
    assert plain.state_dict()["shift"].shape == (1, 4, 1, 1)
    assert network.state_dict().keys() - plain.state_dict().keys() == set()
    assert torch.equal(network.loose, plain.state_dict()["constant_1"])


def test_equal_modules_share_a_class_and_dead_code_is_left_out(tmp_path):
    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.layer = nn.Linear(width, width)

        def forward(self, x):
            x.exp()
            return self.layer(x) + x

    network = nn.Sequential(Block(4), Block(4), nn.Linear(4, 6), Block(6))
    _, code = export_standalone(network, tmp_path, examples=(torch.randn(2, 4), torch.randn(3, 4)))
    text = code.read_text()
    assert [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)] == ["Block", "Block2"]
    assert "exp" not in text


@pytest.mark.parametrize(
    "branch",
    [
        lambda x: x if float(x.sum()) > 0 else x.relu(),
        lambda x: x * float(x.mean()),
        lambda x: x + torch.rand(1),
    ],
    ids=["branch", "value", "random"],
)
def test_what_depends_on_values_is_refused(branch, tmp_path):
    class Network(nn.Module):
        def forward(self, x):
            return branch(self.layer(x))

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

    examples = (torch.randn(2, 4).abs() * 9, -torch.randn(3, 4).abs() * 9)
    network = Network()
    with torch.no_grad():
        network.layer.weight.fill_(1.0)
    with pytest.raises(NetworkError, match=r"depends on the values|other outputs"):
        export_standalone(network, tmp_path, examples=examples)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (
            nn.Conv2d(2, 4, 3, stride=(1, 2), groups=2, bias=False),
            "nn.Conv2d(2, 4, 3, stride=(1, 2), groups=2, bias=False)",
        ),
        (
            nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
            "nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)",
        ),
        (nn.BatchNorm2d(3, affine=False), "nn.BatchNorm2d(3, affine=False)"),
        (nn.LayerNorm(5, bias=False), "nn.LayerNorm((5,), bias=False)"),
        (nn.Hardtanh(-2.0, 2.0), "nn.Hardtanh(min_val=-2.0, max_val=2.0)"),
        (nn.MultiheadAttention(4, 2, bias=False), "nn.MultiheadAttention(4, 2, bias=False)"),
        (nn.Sequential(nn.ReLU()), None),
        (nn.LSTM(3, 4), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_are_made_by_what_differs_from_the_default(layer, text):
    assert constructor(layer) == text


def test_recording_leaves_no_trace():
    network = nn.Sequential(nn.Linear(4, 2))
    before = nn.Module.__call__
    network.append(Never())
    with pytest.raises(AssertionError):
        record(network, (torch.zeros(2, 4), torch.zeros(3, 4)), is_leaf=is_leaf)
    assert nn.Module.__call__ is before
