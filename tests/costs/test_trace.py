"""The pass over shapes: operations, multiply-accumulates, and the peak of activation memory."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import subshot
from subshot._types import Arch, InputSpec, TaskSpec
from subshot.costs import memory
from subshot.costs._meter import Meter
from subshot.costs._trace import trace, trace_architecture
from subshot.costs.macs import count_macs
from subshot.costs.memory import peak_bytes
from subshot.spaces._space import Size

IMAGES = TaskSpec.images(4, 11, 9, classes=5)
PIXELS = 11 * 9
FLOAT = 4


def _bytes(channels):
    return channels * PIXELS * FLOAT


class _Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x):
        y = self.first(x)
        return y + self.second(y)


class _Twice(nn.Module):
    """Keeps its first map by a name until the end."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(4, 16, 1), nn.Conv2d(16, 2, 1), nn.Conv2d(2, 3, 1)

    def forward(self, x):
        wide = self.first(x)
        narrow = self.second(wide)
        return self.third(narrow)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        # Always the input, 4 channels, which the caller holds; then what goes in and what comes out.
        (nn.Conv2d(4, 8, 1), _bytes(4 + 8)),
        (nn.Sequential(nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1)), _bytes(4 + 8 + 8)),
        (nn.Sequential(nn.Conv2d(4, 8, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 2, 1)), _bytes(4 + 8 + 2)),
        (nn.Sequential(nn.Conv2d(4, 8, 1), nn.Flatten(), nn.Unflatten(1, (8, 11, 9))), _bytes(4 + 8)),
        (nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8)), _bytes(4 + 8 + 8)),
        (_Residual(), _bytes(4 + 8 + 8 + 8)),
        (_Twice(), _bytes(4 + 16 + 2 + 3)),
        (nn.Identity(), _bytes(4)),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_peak_by_hand(network, expected, device):
    network = copy.deepcopy(network).to(device)
    assert peak_bytes(network, IMAGES) == expected
    assert peak_bytes(network, IMAGES) == expected  # known operations give the same
    assert peak_bytes(network, IMAGES, batch_size=3) == 3 * expected


def test_halved_channels_need_half_the_memory_and_weights_none():
    wide, narrow = nn.Conv2d(4, 4_000, 1), nn.Conv2d(4, 2_000, 1)
    assert peak_bytes(wide, IMAGES) - _bytes(4) == 2 * (peak_bytes(narrow, IMAGES) - _bytes(4))
    found = trace(wide, IMAGES)
    assert found.parameter_bytes == FLOAT * (4 * 4_000 + 4_000)


def test_integers_and_several_inputs():
    class Both(nn.Module):
        def forward(self, *, tokens, numbers):
            return numbers * 2

    task = TaskSpec((InputSpec("tokens", (12,), "int64", 50), InputSpec("numbers", (3,))), 2)
    assert peak_bytes(Both(), task) == 12 * 8 + 3 * 4 + 3 * 4


def test_a_network_is_left_as_found():
    network = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 2, 1))
    network[1].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    trace(network, IMAGES)
    assert [module.training for module in network] == [True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("name", ["nasbench201(cells=1)", "nasbench_macro", "flexibert", "darts(layers=2)"])
def test_shapes_alone_tell_what_a_real_pass_tells(name):
    try:
        space = subshot.get_space(name)
    except subshot.errors.SubshotError:
        space = subshot.get_space(name.partition("(")[0])
    rng = np.random.default_rng(0)
    for arch in [space.sample(rng) for _ in range(2)]:
        seen = trace_architecture(space, arch, space.task)
        network = space.build(arch)
        real = trace(network, space.task)
        assert seen == real
        assert real.macs == count_macs(network, space.task)


def test_operations_are_counted_by_kind():
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 3, padding=1, groups=8)
    )
    found = {operation.kind: (operation, times) for operation, times in trace(network, IMAGES).operations.items()}
    assert set(found) == {"convolution 3x3 / 1", "convolution 3x3 / 1 depthwise"}
    operation, times = found["convolution 3x3 / 1 depthwise"]
    assert (times, operation.side, operation.macs) == (2, 11, 8 * 9 * PIXELS)
    assert operation.elements == 2 * 8 * PIXELS + 8 * 9 + 8


class _LooksAtNumbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = self.conv(x)
        return y * 2 if float(y.detach().sum()) >= 0 else y * 3


class _Odd:
    """A space of networks that can't run without numbers; remembers how often it built."""

    name = "odd"
    variants = ("whole",)
    built = 0

    def format(self, arch):
        return str(arch.genes)

    def build(self, arch, task=None, *, variant=None):
        self.built += 1
        return _LooksAtNumbers()


def test_networks_that_look_at_their_numbers_run_for_real():
    found = trace_architecture(_Odd(), Arch("odd", (1,)), IMAGES)
    assert found.macs == 4 * 2 * PIXELS
    assert found.peak_bytes >= _bytes(4 + 2 + 2)


def test_the_meter_looks_at_networks_only_if_asked():
    class Counted(_Odd):
        def measure(self, arch, task=None, *, variant=None):
            return Size(10, 20)

    space, arch = Counted(), Arch("odd", (1,))
    assert Meter(space, IMAGES).costs(arch) == {"params": 10, "macs": 20}
    assert space.built == 0
    meter = Meter(space, IMAGES, also=["peak_bytes", "params"])
    assert meter.costs(arch) == meter.upper(arch)
    assert meter.costs(arch)["peak_bytes"] == trace(_LooksAtNumbers(), IMAGES).peak_bytes
    built = space.built
    meter.costs(arch)
    assert space.built == built


def test_free_memory_is_the_least_of_machine_and_container(monkeypatch):
    files = {
        "/proc/meminfo": "MemTotal: 900 kB\nMemAvailable: 500 kB\n",
        "/sys/fs/cgroup/memory.max": "max\n",
        "/sys/fs/cgroup/memory.current": "1000\n",
        "/sys/fs/cgroup/memory.stat": "anon 900\ninactive_file 100\n",
    }
    monkeypatch.setattr(memory, "_read", lambda path: files.get(path, ""))
    assert memory.available_bytes("cpu") == 500 * 1024
    files["/sys/fs/cgroup/memory.max"] = "40000\n"
    assert memory.available_bytes("cpu") == 40_000 - 1_000 + 100
    files.clear()
    assert memory.available_bytes("cpu") == float("inf")
