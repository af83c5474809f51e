"""Ready-made vision transformers: sizes for images and budgets, and the blocks against counts and attention by hand."""

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
from subshot.networks.stages import PatchEmbedding, ViTBlock, vit_stage
from subshot.spaces._space import get_space
from subshot.spaces.vit import ViT

SIZES = (28, 32, 48, 64, 128, 160, 224)
BUDGETS = (50_000, 250_000, 1_000_000, 10_000_000)


@pytest.mark.parametrize("image_size", SIZES)
def test_budgets_are_met_by_the_larger_part(image_size: int) -> None:
    for budget in BUDGETS:
        space, rng = ViT(image_size, budget), np.random.default_rng(0)
        sizes = np.array([space.measure(space.sample(rng)).parameters for _ in range(200)])
        assert 0.5 * budget < np.median(sizes) < 0.9 * budget
        assert sizes.min() < 0.3 * budget
        assert (sizes <= budget).mean() > 0.55
        assert sizes.max() > budget


@pytest.mark.parametrize(
    ("image_size", "patches"), [(28, (4, 7)), (32, (4, 8)), (64, (8, 16)), (128, (9, 18)), (224, (16, 32))]
)
def test_patches_follow_the_image(image_size: int, patches: tuple[int, int]) -> None:
    assert ViT(image_size).choice_set.domains["patch"].values == patches


def test_size_is_the_product_of_the_choices() -> None:
    assert ViT().size == 2 * 5 * (6 * 3 * 3) ** 3


@pytest.mark.parametrize("budget", BUDGETS)
def test_heads_divide_every_width(budget: int) -> None:
    domains = ViT(32, budget).choice_set.domains
    assert all(width % heads == 0 for width in domains["width"].values for heads in domains["stage1.heads"].values)
    assert len(set(domains["width"].values)) == 5


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([28, 45, 128]), st.sampled_from([50_000, 400_000]))
def test_sizes_are_those_of_the_built_network(seed: int, image_size: int, budget: int) -> None:
    space = ViT(image_size, budget)
    arch = space.sample(np.random.default_rng(seed))
    for task in (space.task, TaskSpec.images(1, image_size + 1, image_size, classes=3)):
        network, size = space.build(arch, task), space.measure(arch, task)
        assert (size.parameters, size.macs) == (count_parameters(network), count_macs(network, task))


def test_the_network_is_what_the_text_says() -> None:
    space, rng = ViT(32, 200_000), np.random.default_rng(2)
    for _ in range(6):
        arch = space.sample(rng)
        values, network = space.values(arch), space.build(arch)
        assert network.stem.project.kernel_size == (values["patch"],) * 2
        assert network.stem.places.shape == (1, (32 // values["patch"]) ** 2, values["width"])
        for stage, built in enumerate(network.stages, 1):
            assert len(built) == values[f"stage{stage}.depth"]
            assert {block.heads for block in built} == {values[f"stage{stage}.heads"]}
            ratio = values[f"stage{stage}.mlp_ratio"]
            assert {block.mlp[1].out_features for block in built} == {ratio * values["width"]}


def test_a_block_has_the_parameters_of_the_formula() -> None:
    # Four matrices of attention, two of the MLP, two norms; published for ViT-S: 1,774,464 at width 384.
    assert count_parameters(ViTBlock(384, heads=6, mlp_ratio=4)) == 12 * 384**2 + 13 * 384 == 1_774_464
    assert count_parameters(vit_stage(16, depth=3, heads=2, mlp_ratio=2)) == 3 * (8 * 256 + 11 * 16)


def test_attention_is_torchs() -> None:
    torch.manual_seed(0)
    block = ViTBlock(12, heads=3, mlp_ratio=2).eval()
    oracle = nn.MultiheadAttention(12, 3, batch_first=True).eval()
    with torch.no_grad():
        oracle.in_proj_weight.copy_(block.qkv.weight)
        oracle.in_proj_bias.copy_(block.qkv.bias)
        oracle.out_proj.load_state_dict(block.project.state_dict())
        x = torch.randn(2, 5, 12)
        normed = block.attention_norm(x)
        middle = x + oracle(normed, normed, normed)[0]
        torch.testing.assert_close(block(x), middle + block.mlp(middle))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(OptionError, match="width of 10 and 4 heads"):
        ViTBlock(10, heads=4, mlp_ratio=2)
    with pytest.raises(OptionError, match="image of 3 x 8 pixels and patches of 4"):
        PatchEmbedding(3, 3, 8, patch=4, dim=8)
    space = ViT(224)
    with pytest.raises(OptionError, match="larger images"):
        space.build(space.sample(np.random.default_rng(0)), TaskSpec.images(3, 8, 8, classes=2))


def test_is_registered() -> None:
    assert get_space("vit(image_size=64, budget=500000)") == ViT(64, 500_000)
