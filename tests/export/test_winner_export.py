import importlib.util
import json

import numpy as np
import pytest
import torch
from torch import nn

from subshot._types import TaskSpec
from subshot.errors import DataError, MissingDependencyError, NetworkError, OptionError, StudyError
from subshot.export import onnx as onnx_room
from subshot.export._timing import difference
from subshot.export.onnx import export_onnx
from subshot.export.program import export_program
from subshot.export.standalone import import_file
from subshot.export.winner import export_winner
from subshot.spaces._space import get_space
from subshot.training.files import save_trained

TASK = TaskSpec.images(3, 8, 8, classes=3)
SPACE = "nasbench201(channels=2,cells=1)"
ARCH = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
has_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES), reason="the extra onnx isn't installed"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a network as training leaves it."""
    folder = tmp_path_factory.mktemp("run")
    space = get_space(SPACE)
    network = space.build(space.parse(ARCH), TASK)
    built = {"space": SPACE, "arch": ARCH, "variant": "official"}
    told = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "metric": "accuracy", "value": 0.75, "split": "test"}
    save_trained(network, folder / "weights.safetensors", task=TASK, built=built, told=told)
    return folder, network.eval()


def test_safetensors_come_with_code(run):
    folder, network = run
    done = export_winner(folder, format="safetensors")
    assert done.file == folder / "export" / "network.safetensors"
    assert done.max_abs_difference == 0
    assert done.latency_ms > 0
    module = import_file(folder / "export" / "network.py")
    assert (module.ARCH, module.MEAN, module.VALUE) == (ARCH, [0.5, 0.4, 0.3], 0.75)
    assert "divided by STD" in module.__doc__
    inputs = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(module.load()(inputs), network(inputs))


def test_a_program_of_torch(run):
    folder, network = run
    done = export_winner(folder, format="torch")
    assert done.max_abs_difference < 1e-6
    inputs = torch.randn(6, 3, 8, 8)
    with torch.no_grad():
        found = torch.export.load(done.file).module()(inputs)
        torch.testing.assert_close(found, network(inputs))


@has_onnx
def test_onnx_equals_torch_at_any_batch_size(run):
    import onnx
    import onnxruntime

    folder, network = run
    done = export_winner(folder, format="onnx")
    assert done.max_abs_difference < 1e-4
    assert done.latency_ms > 0
    model = onnx.load(done.file)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert json.loads({one.key: one.value for one in model.metadata_props}["MEAN"]) == [0.5, 0.4, 0.3]
    inputs = torch.randn(11, 3, 8, 8)
    session = onnxruntime.InferenceSession(str(done.file), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network(inputs).numpy()
    np.testing.assert_allclose(session.run(None, {"inputs": inputs.numpy()})[0], expected, atol=1e-4)
    assert sorted(path.name for path in done.file.parent.glob("*.onnx*")) == ["network.onnx"]


@has_onnx
def test_what_onnx_has_no_form_for(tmp_path):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return torch.linalg.eigvals(self.layer(x)[:, :, None] * x[:, None]).abs()

    with pytest.raises(NetworkError, match="can't be written as ONNX"):
        export_onnx(Network(), tmp_path / "x.onnx", examples=(torch.randn(2, 4), torch.randn(3, 4)))


def test_packages_that_are_missing_are_named(run, monkeypatch):
    monkeypatch.setattr(onnx_room, "_PACKAGES", ("torch", "nothing_of_that_name"))
    with pytest.raises(MissingDependencyError, match="needs nothing_of_that_name"):
        export_winner(run[0], format="onnx")


def test_a_file_that_differs_is_removed(run, monkeypatch):
    from subshot.export import winner

    def wrong(network, path, *, examples):
        done = export_program(network, path, examples=examples)
        return type(done)(done.file, 0.01, 1.0)

    monkeypatch.setattr(winner, "export_program", wrong)
    with pytest.raises(NetworkError, match=r"differed from the network by 0\.01"):
        export_winner(run[0], format="torch")
    assert not (run[0] / "export" / "network.pt2").exists()


def test_wrong_wishes(run, tmp_path):
    with pytest.raises(OptionError, match="no format 'tflite'"):
        export_winner(run[0], format="tflite")
    with pytest.raises(StudyError, match="no trained network"):
        export_winner(tmp_path, format="torch")
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="can't be read"):
        export_winner(tmp_path, format="torch")


def test_the_difference_is_the_largest():
    one = [torch.zeros(2, 3), torch.tensor([1.0, 2.0])]
    assert difference(one, [torch.zeros(2, 3), torch.tensor([1.5, 1.75])]) == 0.5
    assert difference(one[:1], [torch.zeros(3, 2)]) == float("inf")
