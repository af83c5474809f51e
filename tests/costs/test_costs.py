import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import subshot
from subshot._types import Arch, InputSpec, TaskSpec
from subshot.costs._descend import descend
from subshot.costs._limits import Limits
from subshot.costs._meter import Meter
from subshot.costs.macs import count_macs
from subshot.costs.parameters import count_parameters
from subshot.costs.profile import profile
from subshot.errors import OptionError, UnknownNameError
from subshot.spaces._space import Size, get_space

IMAGES = TaskSpec.images(4, 11, 9, classes=5)


# --- multiply-accumulates and parameters against formulas by hand --------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (3, 2, 0, 1), (5, 1, 4, 2), (1, 2, 0, 1)]
)
def test_convolution(groups, kernel, stride, padding, dilation):
    conv = nn.Conv2d(4, 8, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    height, width = ((side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in (11, 9))
    assert count_macs(conv, IMAGES) == 8 * height * width * (4 // groups) * kernel**2
    assert count_parameters(conv) == 8 * (4 // groups) * kernel**2 + 8


def test_only_products_count():
    quiet = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(3), nn.MaxPool2d(2), nn.Dropout(), nn.Flatten())
    assert count_macs(quiet, IMAGES) == 0
    assert count_macs(nn.Sequential(quiet, nn.Linear(4, 7)), IMAGES) == 28
    assert count_parameters(quiet) == 8  # batch norm's two vectors; its statistics are buffers


class _TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 6)
        self.dense = nn.Linear(6 + 3, 2)

    def forward(self, *, tokens, numbers):
        return self.dense(torch.cat([self.embed(tokens).mean(1), numbers], 1))


def test_several_inputs_are_passed_by_name():
    task = TaskSpec((InputSpec("tokens", (12,), "int64", 50), InputSpec("numbers", (3,))), 2)
    assert count_macs(_TwoInputs(), task) == 9 * 2
    assert count_parameters(_TwoInputs()) == 50 * 6 + 9 * 2 + 2


@pytest.mark.parametrize("fused", [False, True])
def test_attention_counts_its_two_products(fused):
    # Projections 4 d^2 for each token, feed-forward 2 d h, and the products of queries, keys and values: 2 n d.
    n, d, h = 7, 8, 16
    layer = nn.TransformerEncoderLayer(d, 2, h, batch_first=True, dropout=0.0)
    layer.train(not fused)
    task = TaskSpec((InputSpec("tokens", (n, d)),), 2)
    assert count_macs(layer, task) == n * (4 * d * d + 2 * d * h) + 2 * n * n * d
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("width", [8, 3])
def test_plain_attention_counts_its_two_products(width):
    class Cross(nn.Module):
        def forward(self, x):
            memory = torch.cat([x, x, x], dim=2)  # three times the tokens
            return nn.functional.scaled_dot_product_attention(x, memory, memory[..., :width])

    task = TaskSpec((InputSpec("tokens", (2, 5, 8)),), 2)
    assert count_macs(Cross(), task) == 2 * 5 * 15 * (8 + width)


def test_the_cost_is_the_proxy_for_one_sample():
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Flatten(2),
        nn.TransformerEncoderLayer(99, 3, 7, batch_first=True, dropout=0.0),
        nn.Flatten(),
        nn.Linear(8 * 99, 3),
    )
    inputs = torch.randn(5, 4, 11, 9)
    assert count_macs(network, IMAGES) == subshot.score(network, inputs, proxies="macs")["macs"].value


def test_macs_are_counted_in_one_place():
    root = Path(subshot.__file__).parent
    counting = [path.relative_to(root).as_posix() for path in root.rglob("*.py") if "flop_registry" in path.read_text()]
    assert counting == ["networks/_macs.py"]


def test_a_shared_tensor_counts_once():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    assert count_parameters(network) == 16 + 4 + 4


def test_counting_leaves_the_network_as_it_was():
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU())
    network[2].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    count_macs(network, IMAGES)
    assert [module.training for module in network] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_modes_come_back_after_a_failure():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    network[1].eval()
    with pytest.raises(RuntimeError):
        count_macs(network, IMAGES)
    assert [module.training for module in network] == [True, False]
    assert torch.backends.mha.get_fastpath_enabled()


# --- Meter -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Widths:
    """Two layers of chosen widths, measured by building them; it writes down what it builds."""

    built: list

    name = "widths"
    variants = ("whole", "half")

    def format(self, arch):
        return "x".join(map(str, arch.genes))

    def build(self, arch, task=None, *, variant=None):
        self.built.append((self.format(arch), variant))
        scale = 2 if variant == "half" else 1
        first, second = (width // scale for width in arch.genes)
        return nn.Sequential(nn.Conv2d(4, first, 1), nn.Conv2d(first, second, 1))


def test_meter_measures_each_text_once():
    space = _Widths([])
    meter = Meter(space, IMAGES)
    arch = Arch("widths", (6, 4))
    expected = Size(4 * 6 + 6 + 6 * 4 + 4, 11 * 9 * (4 * 6 + 6 * 4))
    assert meter.size(arch) == meter.size(Arch("widths", (6, 4))) == expected
    assert meter.costs(arch) == {"params": expected.parameters, "macs": expected.macs}
    assert space.built == [("6x4", "whole")]
    assert Meter(space, IMAGES, variant="half").size(arch) == Size(4 * 3 + 3 + 3 * 2 + 2, 11 * 9 * (4 * 3 + 3 * 2))


def test_meter_asks_a_space_that_can_count():
    space = get_space("nasbench201(channels=2,cells=1)")
    arch = space.parse("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|")
    task = TaskSpec.images(3, 16, 16, classes=7)
    network = space.build(arch, task)
    assert Meter(space, task).size(arch) == Size(count_parameters(network), count_macs(network, task))


# --- Limits ----------------------------------------------------------------------------------------------------------


def test_excess_is_the_largest_ratio():
    limits = Limits.of(params=100, macs=1_000)
    assert limits.excess({"params": 50, "macs": 1_000}) == 1
    assert limits.excess({"params": 150, "macs": 10}) == 1.5
    assert limits.excess({"params": 150, "macs": 3_000}) == 3
    assert Limits.of().excess({"params": 1e12}) == 0
    assert Limits.of(params=0).excess({"params": 1}) == np.inf
    assert Limits.of(macs=5).bounds == {"macs": 5}


def test_limits_are_shown():
    assert str(Limits.of(params=1_500_000, macs=2.0)) == "macs <= 2, params <= 1,500,000"
    assert str(Limits.of()) == "none"


@pytest.mark.parametrize("bound", [-1, float("nan"), float("inf")])
def test_limits_are_finite_and_not_negative(bound):
    with pytest.raises(OptionError, match="limit of macs was given as"):
        Limits.of(macs=bound)


# --- descend and profile ---------------------------------------------------------------------------------------------


class _Bits:
    """Forty decisions whose sizes add up; too many to list."""

    name = "bits"
    size = 2**40
    variants = ("whole",)

    def sample(self, rng):
        return Arch("bits", tuple(rng.integers(2, size=40).tolist()))

    def mutate(self, arch, rng):
        position = int(rng.integers(40))
        return Arch("bits", tuple(gene ^ (place == position) for place, gene in enumerate(arch.genes)))

    def format(self, arch):
        return "".join(map(str, arch.genes))

    def measure(self, arch, task=None, *, variant=None):
        return Size(100 + sum(arch.genes), 1_000 + sum(place * gene for place, gene in enumerate(arch.genes)))


def test_descend_reaches_the_bottom_and_stops_at_a_goal():
    space, rng = _Bits(), np.random.default_rng(0)
    start = Arch("bits", (1,) * 40)

    def cost(arch):
        return sum(arch.genes)

    assert cost(descend(space, start, cost, rng)) == 0
    assert cost(descend(space, start, cost, rng, goal=25)) == 25
    assert descend(space, start, cost, rng, goal=40) == start
    assert descend(space, start, cost, rng, patience=0) == start


def test_profile_of_a_large_space_walks_to_both_ends():
    found = profile(_Bits(), IMAGES, samples=50, seed=3)
    assert (found.exact, found.measured, found.feasible) == (False, 50, None)
    assert (found.ranges["params"].minimum, found.ranges["params"].maximum) == (100, 140)
    assert (found.ranges["macs"].minimum, found.ranges["macs"].maximum) == (1_000, 1_000 + sum(range(40)))
    assert 115 <= found.ranges["params"].median <= 125
    assert sum(found.smallest.genes) == 0


@pytest.mark.parametrize(("bound", "feasible"), [(100, True), (99, False)])
def test_profile_tells_whether_limits_can_be_met(bound, feasible):
    found = profile(_Bits(), IMAGES, limits=Limits.of(params=bound), samples=50)
    assert found.feasible is feasible
    assert sum(found.smallest.genes) == 0


def test_profile_of_another_network():
    space, task = get_space("darts"), TaskSpec.images(3, 224, 224, classes=1_000)
    found = profile(space, task, variant="imagenet", samples=20)
    # The published mobile setting: below 600 M multiply-adds, and DARTS itself has 4.7 M parameters.
    assert found.ranges["macs"].minimum < 574e6 < found.ranges["macs"].maximum
    assert found.ranges["params"].minimum < 4.7e6 < found.ranges["params"].maximum
    with pytest.raises(UnknownNameError, match="Did you mean 'imagenet'"):
        profile(space, task, variant="imagnet")


def test_profile_of_a_small_space_is_exact():
    # Sizes of NAS-Bench-201 are linear in the numbers of convolutions; three built networks give all 15,625.
    space = get_space("nasbench201(channels=2,cells=1)")
    task = TaskSpec.images(3, 16, 16, classes=10)

    def size(op):
        network = space.build(space.parse(f"|{op}~0|+|none~0|none~1|+|none~0|none~1|none~2|"), task)
        return np.array([count_parameters(network), count_macs(network, task)])

    empty = size("none")
    one, three = size("nor_conv_1x1") - empty, size("nor_conv_3x3") - empty
    kinds = (0 * one, 0 * one, one, three, 0 * one)
    every = np.array([empty + sum(parts) for parts in itertools.product(kinds, repeat=6)])
    found = profile(space, task)
    assert (found.exact, found.measured) == (True, 15_625)
    for column, name in enumerate(("params", "macs")):
        spread = found.ranges[name]
        assert (spread.minimum, spread.median, spread.maximum) == (
            every[:, column].min(),
            np.median(every[:, column]),
            every[:, column].max(),
        )
    least = int(every[:, 0].min())
    assert profile(space, task, limits=Limits.of(params=least)).feasible is True
    assert profile(space, task, limits=Limits.of(params=least - 1)).feasible is False
