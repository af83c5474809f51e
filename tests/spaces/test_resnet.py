"""Ready-made ResNets: sizes for images and budgets, kinds of blocks, and the blocks against counts by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from subshot._types import TaskSpec
from subshot.costs.macs import count_macs
from subshot.costs.parameters import count_parameters
from subshot.errors import ArchError
from subshot.networks.stages import ConvNeXtBlock, ResidualBlock, convnext_stage, resnet_stage
from subshot.spaces._space import get_space
from subshot.spaces.resnet import ResNet

SIZES = (28, 32, 48, 64, 128, 160, 224)
BUDGETS = (50_000, 250_000, 1_000_000, 10_000_000)


@pytest.mark.parametrize("image_size", SIZES)
def test_budgets_are_met_by_the_larger_part(image_size: int) -> None:
    for budget in BUDGETS:
        space, rng = ResNet(image_size, budget), np.random.default_rng(0)
        sizes = np.array([space.measure(space.sample(rng)).parameters for _ in range(200)])
        assert 0.5 * budget < np.median(sizes) < 0.9 * budget
        assert sizes.min() < 0.3 * budget
        assert (sizes <= budget).mean() > 0.6
        assert sizes.max() > budget


def test_size_counts_kernels_of_convnext_stages_only() -> None:
    assert ResNet().size == 3 * (3 * 4 * (1 + 1 + 3)) ** 4


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([28, 45, 128]), st.sampled_from([50_000, 400_000]))
def test_sizes_are_those_of_the_built_network(seed: int, image_size: int, budget: int) -> None:
    space = ResNet(image_size, budget)
    arch = space.sample(np.random.default_rng(seed))
    for task in (space.task, TaskSpec.images(1, image_size + 1, image_size, classes=3)):
        network, size = space.build(arch, task), space.measure(arch, task)
        assert (size.parameters, size.macs) == (count_parameters(network), count_macs(network, task))


def test_a_kernel_is_chosen_for_convnext_stages_only() -> None:
    space, rng = ResNet(), np.random.default_rng(0)
    for _ in range(50):
        values = space.values(space.sample(rng))
        for stage in (1, 2, 3, 4):
            assert (f"stage{stage}.kernel" in values) == (values[f"stage{stage}.block"] == "convnext")
    text = space.format(space.sample(rng))
    basic = " ".join(w for w in text.split() if not w.startswith("stage1.")) + " stage1.block=basic"
    width = space.choice_set.domains["stage1.width"].values[0]
    with pytest.raises(ArchError, match=r"stage1.kernel plays no role.*stage1.block=convnext"):
        space.parse(f"{basic} stage1.width={width} stage1.depth=1 stage1.kernel=3")


def test_the_network_is_what_the_text_says() -> None:
    space, rng = ResNet(32, 200_000), np.random.default_rng(2)
    for _ in range(6):
        arch = space.sample(rng)
        values, network = space.values(arch), space.build(arch)
        for stage, built in enumerate(network.stages, 1):
            kind = values[f"stage{stage}.block"]
            blocks = [b for b in built if isinstance(b, ConvNeXtBlock if kind == "convnext" else ResidualBlock)]
            assert len(blocks) == values[f"stage{stage}.depth"]
            convolutions = [len([m for m in b.branch.modules() if isinstance(m, nn.Conv2d)]) for b in blocks]
            assert set(convolutions) == {{"basic": 2, "bottleneck": 3, "convnext": 3}[kind]}
            if kind == "convnext":
                assert blocks[0].branch[0].kernel_size[0] == values[f"stage{stage}.kernel"]


def test_blocks_have_the_parameters_of_the_formula() -> None:
    basic = resnet_stage(16, 32, depth=2, stride=2)
    assert count_parameters(basic[0]) == 9 * 16 * 32 + 9 * 32 * 32 + 16 * 32 + 3 * 64
    assert count_parameters(basic[1]) == 2 * (9 * 32 * 32) + 2 * 64
    narrow = resnet_stage(32, 32, depth=1, bottleneck=True)
    assert count_parameters(narrow) == 32 * 8 + 9 * 8 * 8 + 8 * 32 + 2 * (8 + 8 + 32)
    block = ConvNeXtBlock(16, kernel=7, expansion=4)
    assert count_parameters(block) == (49 * 16 + 16) + 2 * 16 + (16 * 64 + 64) + (64 * 16 + 16)


def test_residual_blocks_add_the_input() -> None:
    x = torch.randn(2, 8, 5, 5)
    (block,) = resnet_stage(8, 8, depth=1).eval()
    nn.init.zeros_(block.branch[-1][1].weight)
    torch.testing.assert_close(block(x), x.relu())
    modern = convnext_stage(8, 8, depth=1)[-1]
    nn.init.zeros_(modern.branch[-1].weight)
    nn.init.zeros_(modern.branch[-1].bias)
    torch.testing.assert_close(modern(x), x)


def test_channel_norm_norms_each_pixel() -> None:
    norm = convnext_stage(8, 8, depth=1)[0]
    y = norm(torch.randn(2, 8, 5, 5) * 3 + 1)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 5, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(y.var(1, unbiased=False), torch.ones(2, 5, 5), atol=1e-4, rtol=0)


def test_is_registered() -> None:
    assert get_space("resnet(image_size=224, budget=5000000)") == ResNet(224, 5_000_000)
