"""Ready-made MobileNets: sizes for images and budgets, and the blocks against counts by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from subshot._types import TaskSpec
from subshot.costs.macs import count_macs
from subshot.costs.parameters import count_parameters
from subshot.errors import OptionError
from subshot.networks.stages import MBConv, SqueezeExcitation, activation, mbconv_stage
from subshot.spaces._space import Crossable, Encodable, Measurable, get_space
from subshot.spaces.mobilenet import MobileNet

SIZES = (28, 32, 48, 64, 128, 160, 224)
BUDGETS = (50_000, 250_000, 1_000_000, 10_000_000)


@pytest.mark.parametrize("image_size", SIZES)
def test_budgets_are_met_by_the_larger_part(image_size: int) -> None:
    for budget in BUDGETS:
        space, rng = MobileNet(image_size, budget), np.random.default_rng(0)
        sizes = np.array([space.measure(space.sample(rng)).parameters for _ in range(200)])
        assert 0.5 * budget < np.median(sizes) < 0.9 * budget
        assert sizes.min() < 0.3 * budget
        assert (sizes <= budget).mean() > 0.6
        assert sizes.max() > budget


@pytest.mark.parametrize(
    ("image_size", "side"), [(28, 7), (32, 8), (48, 6), (64, 8), (128, 8), (160, 5), (192, 6), (224, 7)]
)
def test_the_last_map_is_small(image_size: int, side: int) -> None:
    space = MobileNet(image_size)
    arch = space.sample(np.random.default_rng(0))
    network = space.build(arch)
    with torch.no_grad():
        last = network.eval().last(network.stages(network.stem(torch.zeros(1, 3, image_size, image_size))))
    assert last.shape[2:] == (side, side)


def test_size_is_the_product_of_the_choices() -> None:
    assert MobileNet().size == 3 * (3 * 4 * 3 * 4 * 2) ** 4


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([28, 45, 128]), st.sampled_from([50_000, 400_000]))
def test_sizes_are_those_of_the_built_network(seed: int, image_size: int, budget: int) -> None:
    space = MobileNet(image_size, budget)
    arch = space.sample(np.random.default_rng(seed))
    for task in (space.task, TaskSpec.images(1, image_size + 1, image_size, classes=3)):
        network, size = space.build(arch, task), space.measure(arch, task)
        assert (size.parameters, size.macs) == (count_parameters(network), count_macs(network, task))


def test_the_network_is_what_the_text_says() -> None:
    space = MobileNet(32, 1_000_000)
    width = space.choice_set.domains["stage2.width"].values[0]
    arch = space.sample(np.random.default_rng(1))
    changes = {"stage2.width": width, "stage2.depth": 3, "stage2.kernel": 7, "stage2.expansion": 6}
    text = " ".join(
        f"{name}={str(value).lower()}"
        for name, value in {**space.values(arch), **changes, "stage2.squeeze": True, "act": "silu"}.items()
    )
    stage = space.build(space.parse(text)).stages[1]
    assert len(stage) == 3
    for number, block in enumerate(stage):
        depthwise = block.branch[2][0]
        assert depthwise.kernel_size == (7, 7)
        assert (
            depthwise.groups == depthwise.out_channels == 6 * (width if number else stage[0].branch[0][0].in_channels)
        )
        assert isinstance(block.branch[1], nn.SiLU)
        assert isinstance(block.branch[4], SqueezeExcitation)
        assert block.has_shortcut == (number > 0)
        assert block.branch[-1][0].out_channels == width


def test_a_block_has_the_parameters_of_the_formula() -> None:
    # Widen, depthwise, narrow, three norms; the gate has two layers with biases.
    plain = 16 * 64 + 25 * 64 + 64 * 24 + 2 * (64 + 64 + 24)
    block = MBConv(16, 24, kernel=5, expansion=4, stride=2, squeeze=False, act="relu")
    gated = MBConv(16, 24, kernel=5, expansion=4, stride=2, squeeze=True, act="relu")
    assert count_parameters(block) == plain
    assert count_parameters(gated) == plain + (64 * 4 + 4) + (4 * 64 + 64)
    assert block(torch.zeros(1, 16, 9, 9)).shape == (1, 24, 5, 5)
    first = MBConv(16, 16, kernel=3, expansion=1, stride=1, squeeze=False, act="relu")
    assert count_parameters(first) == 9 * 16 + 16 * 16 + 2 * 32


def test_a_shortcut_adds_the_input() -> None:
    block = mbconv_stage(8, 8, depth=1).eval()[0]
    nn.init.zeros_(block.branch[-1][1].weight)
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(block(x), x)


def test_stages_of_the_vocabulary_refuse_unknown_activations() -> None:
    with pytest.raises(OptionError, match="no activation 'tahn'"):
        activation("tahn")


@pytest.mark.parametrize(
    "options", [{"image_size": 8}, {"image_size": 32.0}, {"budget": 100}, {"budget": True}, {"budget": 10**9}]
)
def test_settings_outside_their_range_are_refused(options) -> None:
    (key,) = options
    with pytest.raises(OptionError, match=f"space mobilenet was given {key}=.*whole number from"):
        MobileNet(**options)


def test_is_registered_with_its_abilities() -> None:
    space = get_space("mobilenet(image_size=64, budget=250000)")
    assert space == MobileNet(64, 250_000)
    assert space.task == TaskSpec.images(3, 64, 64, classes=10)
    assert MobileNet(224).task.outputs == 100
    for ability in (Crossable, Encodable, Measurable):
        assert isinstance(space, ability)
    blocks = space.build(space.sample(np.random.default_rng(0))).feature_blocks()
    assert sum(isinstance(block, MBConv) for block in blocks) == len(blocks) - 1
