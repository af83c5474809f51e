"""The MobileNetV2 space: sizes and outputs of the authors' code, moves, text.

Numbers under PUBLISHED and GOLDEN_LOGITS were printed by the authors' code: github.com/idstcv/ZenNAS at commit
d1d617e0352733d39890fb64ea758f9c85b28c1a (class MasterNet, its get_FLOPs(224)); structures by it and by
github.com/SLDGroup/ZiCo at commit b0fec65923a90e84501593f675b1e2f422d79e3d, whose builder is the same.
"""

import collections
import itertools
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from subshot._types import Arch, InputSpec, TaskSpec
from subshot.errors import ArchError, OptionError, UnknownNameError
from subshot.spaces._space import Crossable, Encodable, Measurable, get_space
from subshot.spaces.mobilenetv2_imagenet import START, MobileNetV2ImageNet, plainnet, published_flops

SPACE = MobileNetV2ImageNet()
START_ARCH = Arch("mobilenetv2_imagenet", START)

# Structure, parameters of official, squeeze_excite and no_shortcuts, the authors' FLOPs.
PUBLISHED = {
    "zennet 400M": (
        "SuperConvK3BNRELU(3,16,2,1)SuperResIDWE1K7(16,40,2,40,1)SuperResIDWE1K7(40,64,2,64,1)"
        "SuperResIDWE4K7(64,96,2,96,5)SuperResIDWE2K7(96,224,2,224,5)SuperConvK1BNRELU(224,2048,1,1)",
        (5_698_208, 7_466_024, 5_666_088),
        399_976_216,
    ),
    "zennet 600M": (
        "SuperConvK3BNRELU(3,24,2,1)SuperResIDWE1K7(24,48,2,48,1)SuperResIDWE2K7(48,72,2,72,1)"
        "SuperResIDWE6K7(72,96,2,88,5)SuperResIDWE4K7(96,192,2,168,5)SuperConvK1BNRELU(192,2048,1,1)",
        (7_125_944, 11_311_664, 6_724_016),
        597_745_802,
    ),
    "zennet 900M": (
        "SuperConvK3BNRELU(3,16,2,1)SuperResIDWE1K7(16,48,2,72,1)SuperResIDWE2K7(48,72,2,64,3)"
        "SuperResIDWE2K7(72,152,2,144,3)SuperResIDWE2K7(152,360,2,352,4)SuperResIDWE4K7(360,288,1,264,3)"
        "SuperConvK1BNRELU(288,2048,1,1)",
        (13_300_208, 19_351_644, 11_716_176),
        908_691_864,
    ),
    "ZiCo 450M": (
        "SuperConvK3BNRELU(3,16,2,1)SuperResIDWE1K7(16,40,2,40,1)SuperResIDWE2K7(40,80,2,64,1)"
        "SuperResIDWE4K7(80,96,2,96,5)SuperResIDWE2K7(96,224,2,224,5)SuperConvK1BNRELU(224,2048,1,1)",
        (5_741_264, 7_526_376, 5_702_248),
        438_385_944,
    ),
    "ZiCo 600M": (
        "SuperConvK3BNRELU(3,24,2,1)SuperResIDWE1K7(24,48,2,48,1)SuperResIDWE2K7(48,72,2,72,1)"
        "SuperResIDWE6K5(72,160,2,96,1)SuperResIDWE6K7(160,200,2,112,5)SuperResIDWE6K7(200,168,1,168,4)"
        "SuperConvK1BNRELU(168,2048,1,1)",
        (9_703_144, 19_194_448, 9_416_832),
        590_293_588,
    ),
    "ZiCo 1G": (
        "SuperConvK3BNRELU(3,48,2,1)SuperResIDWE1K7(48,48,2,72,1)SuperResIDWE1K7(48,80,2,128,1)"
        "SuperResIDWE2K7(80,160,2,144,3)SuperResIDWE4K7(160,288,2,232,4)SuperResIDWE6K5(288,232,1,208,5)"
        "SuperConvK1BNRELU(232,2048,1,1)",
        (15_314_624, 28_781_452, 14_149_008),
        979_224_130,
    ),
    "ZiCo's by parameters": (
        "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE1K3(8,8,2,8,1)SuperResIDWE1K3(8,8,2,8,1)SuperResIDWE1K5(8,64,2,8,1)"
        "SuperResIDWE6K5(64,1024,2,48,1)SuperConvK1BNRELU(1024,2048,1,1)",
        (11_022_144, 29_956_532, 10_965_736),
        449_997_572,
    ),
}

# Every kind of shortcut, stride, kernel and expansion; the last block has a projection that changes nothing of the
# shape. The logits of three images.
SMALL = "c8-e1k3b8c8l1s2-e2k5b24c16l2s2-e4k7b8c16l1s2-e6k3b24c24l2s2-e1k5b24c24l1s1"
GOLDEN_LOGITS = {
    "official": [
        [82.4106303934, -68.4322436366, -152.403220743],
        [82.5056816926, -68.2571222111, -152.319087662],
        [82.022348441, -68.6683154274, -152.256487633],
    ],
    "squeeze_excite": [
        [84.2488341283, -67.1476241869, -152.602116919],
        [83.4751626075, -68.3187900801, -153.026783261],
        [84.1842725223, -67.668294688, -153.070305779],
    ],
    "no_shortcuts": [
        [84.0749310184, -67.1140498785, -152.247989946],
        [83.4954160114, -67.6574589496, -152.224491528],
        [83.9645463805, -67.3980790168, -152.428224146],
    ],
}

seeds = st.integers(0, 2**32 - 1)
archs = seeds.map(lambda seed: SPACE.sample(np.random.default_rng(seed)))


def depth(arch: Arch) -> int:
    return sum(block[4] for block in arch.genes[1:]) + 2


def test_is_registered_with_its_abilities() -> None:
    assert get_space("mobilenetv2_imagenet") == SPACE
    assert get_space("mobilenetv2_imagenet(layers=14)") == MobileNetV2ImageNet(layers=14)
    assert isinstance(SPACE, Measurable)
    assert not isinstance(SPACE, (Crossable, Encodable))
    assert SPACE.task == TaskSpec.images(3, 224, 224, classes=1000)
    assert SPACE.variants == ("official", "squeeze_excite", "no_shortcuts")
    assert SPACE.network_settings("official") == {"features": 2048}


def test_importing_the_space_does_not_import_torch() -> None:
    code = "import sys, subshot.spaces.mobilenetv2_imagenet; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "setting", [{"layers": 5}, {"layers": 41}, {"layers": True}, {"features": 0}, {"features": 1.5}]
)
def test_refuses_settings_out_of_range(setting: dict[str, int]) -> None:
    ((key, value),) = setting.items()
    with pytest.raises(OptionError, match=f"{key}={value!r}.*whole number from"):
        MobileNetV2ImageNet(**setting)


def test_refuses_other_variants_and_tasks() -> None:
    for use in (SPACE.build, SPACE.measure):
        with pytest.raises(UnknownNameError, match="Did you mean 'no_shortcuts'"):
            use(START_ARCH, variant="no_shortcut")
        with pytest.raises(OptionError, match="takes one input of images"):
            use(START_ARCH, TaskSpec((InputSpec("tokens", (12,)),), 2))


# --- the authors' numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_those_of_the_authors_code(name: str) -> None:
    text, parameters, flops = PUBLISHED[name]
    arch = SPACE.parse(text)
    assert tuple(SPACE.measure(arch, variant=variant).parameters for variant in SPACE.variants) == parameters
    assert published_flops(arch) == flops
    with torch.device("meta"):
        network = SPACE.build(arch)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters[0]
    assert plainnet(arch) == text
    assert SPACE.parse(SPACE.format(arch)) == arch


def test_sizes_of_the_authors_start() -> None:
    assert SPACE.measure(START_ARCH).parameters == 2_824_264
    assert published_flops(START_ARCH) == 162_396_776
    assert plainnet(START_ARCH) == (
        "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE6K3(8,32,2,8,1)SuperResIDWE6K3(32,48,2,32,1)"
        "SuperResIDWE6K3(48,96,2,48,1)SuperResIDWE6K3(96,128,2,96,1)SuperConvK1BNRELU(128,2048,1,1)"
    )


@pytest.mark.parametrize("variant", SPACE.variants)
def test_outputs_are_those_of_the_authors_code(variant: str) -> None:
    network = SPACE.build(SPACE.parse(SMALL), TaskSpec.images(3, 64, 64, classes=3), variant=variant).double().train()
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + number)
            parameter.copy_((wave * (0.3 if parameter.dim() > 1 else 1)).reshape(parameter.shape))
        pixels = torch.arange(3 * 3 * 64 * 64, dtype=torch.float64)
        logits = network(torch.sin(pixels**1.1 * 0.05).reshape(3, 3, 64, 64))
    torch.testing.assert_close(logits, torch.tensor(GOLDEN_LOGITS[variant], dtype=torch.float64), rtol=1e-9, atol=0)


# --- the network -----------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    archs,
    st.sampled_from(SPACE.variants),
    st.integers(1, 3000),
    st.tuples(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70), st.integers(1, 20)),
)
def test_measure_counts_the_built_network(
    arch: Arch, variant: str, features: int, shape: tuple[int, int, int, int]
) -> None:
    space, task = MobileNetV2ImageNet(features=features), TaskSpec.images(*shape[:3], classes=shape[3])
    with torch.device("meta"):
        network = space.build(arch, task, variant=variant).eval()
        images = torch.empty(1, *shape[:3])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(images)
    assert logits.shape == (1, shape[3])
    size = space.measure(arch, task, variant=variant)
    assert size.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert size.macs == counter.get_total_flops() / 2


def test_variants_differ_in_what_they_say() -> None:
    counts = {}
    for variant in SPACE.variants:
        with torch.device("meta"):
            modules = list(SPACE.build(SPACE.parse(SMALL), variant=variant).modules())
        kinds = collections.Counter(type(module).__name__ for module in modules)
        biased = sum(isinstance(module, torch.nn.Conv2d) and module.bias is not None for module in modules)
        counts[variant] = (kinds["Gate"], kinds["Identity"], biased)
    # 14 bottlenecks. Of each block, projections: 1, 4, 2, 1, 1; plain shortcuts: 1, 0, 0, 3, 1.
    assert counts == {"official": (0, 5, 9), "squeeze_excite": (14, 5, 9), "no_shortcuts": (0, 0, 0)}


@pytest.mark.parametrize(("inner", "same"), [(16, True), (32, False)])
def test_a_block_in_two_is_the_same_network_unless_its_widths_are_equal(inner: int, same: bool) -> None:
    tail = "e1k3b8c8l1s2-e1k3b8c8l1s2-e1k3b8c8l1s2"
    shapes = []
    for text in (f"e2k5b{inner}c32l3s2", f"e2k5b{inner}c32l1s2-e2k5b{inner}c32l2s1"):
        with torch.device("meta"):
            network = SPACE.build(SPACE.parse(f"c8-{text}-{tail}"))
        shapes.append([tuple(parameter.shape) for parameter in network.parameters()])
    assert (shapes[0] == shapes[1]) is same


def test_blocks() -> None:
    with torch.device("meta"):
        network = SPACE.build(SPACE.parse(SMALL))
    assert len(network.feature_blocks()) == 1 + 14 + 1


# --- moves -----------------------------------------------------------------------------------------------------------


@given(archs)
def test_samples_keep_the_limit_and_the_strides(arch: Arch) -> None:
    assert depth(arch) <= 16
    strides = [block[5] for block in arch.genes[1:]]
    assert strides[0] == 2
    assert strides.count(2) == 4


def scaled(width: int) -> set[int]:
    """What the authors' code makes of a width, rounded to multiples of 8, halves to the even multiple."""
    return {max(8, 8 * round(width * factor / 8)) for factor in (2.5, 2, 1.5, 1.25, 1, 0.8, 2 / 3, 0.5, 0.4)}


@settings(max_examples=200)
@given(archs, seeds, st.integers(0, 4))
def test_mutation_replaces_one_part(arch: Arch, seed: int, spare: int) -> None:
    space = MobileNetV2ImageNet(layers=depth(arch) + spare)
    child = space.mutate(arch, np.random.default_rng(seed))
    assert child != arch
    assert space.parse(space.format(child)) == child
    (stem, *blocks), (child_stem, *child_blocks) = arch.genes, child.genes
    if child_stem != stem:
        assert blocks == child_blocks
        assert child_stem in scaled(stem)
        return
    place = next(i for i, (old, new) in enumerate(itertools.zip_longest(blocks, child_blocks)) if old != new)
    split = len(child_blocks) - len(blocks)
    assert split in (0, 1)
    assert blocks[:place] == child_blocks[:place]
    assert blocks[place + 1 :] == child_blocks[place + 1 + split :]
    old, new = blocks[place], child_blocks[place]
    assert new[2] in scaled(old[2])
    assert new[3] in scaled(old[3])
    assert new[5] == old[5]
    pairs = new[4]
    if split:
        second = child_blocks[place + 1]
        assert second[:4] == new[:4]
        assert second[5] == 1
        assert (new[4], second[4]) in ((3, 3), (3, 4))
        pairs += second[4]
    assert abs(pairs - old[4]) <= 2


def test_mutation_reaches_the_authors_variants_equally() -> None:
    # Of a block 48 -> 96: 12 types, 9 inner widths, 9 outer ones, 1 to 3 pairs, but for the block itself; of the stem 8
    # only 16. Which part is replaced is drawn from five.
    rng = np.random.default_rng(0)
    children = collections.Counter(SPACE.mutate(START_ARCH, rng).genes for _ in range(20_000))
    changed = collections.Counter(
        next(i for i, (old, new) in enumerate(zip(START, genes, strict=True)) if old != new)
        for genes in children.elements()
    )
    assert all(3_800 < count < 4_200 for count in changed.values())
    assert [genes for genes in children if genes[0] != 8] == [(16, *START[1:])]
    blocks = collections.Counter(genes[3] for genes in children.elements() if genes[3] != START[3])
    assert {block[2] for block in blocks} == scaled(48)
    assert {block[3] for block in blocks} == scaled(96)
    for position, low in ((0, 900), (1, 1_200), (4, 1_200)):
        counts = collections.Counter()
        for block, count in blocks.items():
            counts[block[position]] += count
        assert min(counts.values()) > low, position


def test_mutation_at_the_limit_can_not_grow() -> None:
    space, rng = MobileNetV2ImageNet(layers=6), np.random.default_rng(0)
    arch = START_ARCH
    for _ in range(300):
        arch = space.mutate(arch, rng)
        assert depth(arch) == 6
    assert max(width for block in arch.genes[1:] for width in block[2:4]) <= 2048


def test_size_counts_every_text() -> None:
    # Four blocks of one pair; then also a fifth block in three places, or one block of two pairs.
    widths, types = 256, 12 * 256**2
    assert MobileNetV2ImageNet(layers=6).size == widths * types**4
    assert MobileNetV2ImageNet(layers=7).size == widths * (types**4 * (1 + 4) + types**5 * 4)
    assert math.isfinite(float(MobileNetV2ImageNet(layers=40).size))


# --- text ------------------------------------------------------------------------------------------------------------


@given(archs)
def test_both_texts_round_trip(arch: Arch) -> None:
    assert SPACE.parse(SPACE.format(arch)) == arch
    assert SPACE.parse(plainnet(arch)) == arch
    named = re.sub(r"\(", "(uuid3f2a|", plainnet(arch))
    assert SPACE.parse(named) == arch


def test_text_is_short() -> None:
    assert SPACE.format(START_ARCH) == "c8-e6k3b8c32l1s2-e6k3b32c48l1s2-e6k3b48c96l1s2-e6k3b96c128l1s2"


BLOCKS = "e6k3b8c32l1s2-e6k3b32c48l1s2-e6k3b48c96l1s2-e6k3b96c128l1s2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c8", "no mobilenetv2_imagenet architecture"),
        (f"8-{BLOCKS}", "no mobilenetv2_imagenet architecture"),
        (f"c08-{BLOCKS}", "no mobilenetv2_imagenet architecture"),
        (f"c8-{BLOCKS}-", "no mobilenetv2_imagenet architecture"),
        (f"c8-{BLOCKS}".replace("e6", "e3"), "no mobilenetv2_imagenet architecture"),
        (f"c8-{BLOCKS}".replace("l1", "l6"), "no mobilenetv2_imagenet architecture"),
        (f"c8-{BLOCKS}".replace("8", "٨"), "no mobilenetv2_imagenet architecture"),
        (f"c12-{BLOCKS}", "width of 12"),
        (f"c8-{BLOCKS}".replace("c128", "c2056"), "width of 2056"),
        (f"c8-{BLOCKS}-e1k3b8c8l1s2", "strides [2, 2, 2, 2, 2]"),
        (f"c8-{BLOCKS}".replace("s2", "s1", 1), "strides [1, 2, 2, 2]"),
        (f"c8-{BLOCKS}-e1k3b8c8l5s1-e1k3b8c8l5s1-e1k3b8c8l1s1", "17 layers"),
        (f"c8-{BLOCKS}".replace("l1", "l5"), "22 layers"),
        ("SuperConvK3BNRELU(3,8,2,1)", "no sequence of blocks"),
        ("SuperConvK3BNRELU(3,8,2,1) SuperConvK1BNRELU(8,2048,1,1)", "no sequence of blocks"),
        (plainnet(START_ARCH).replace("(3,8,2,1)", "(3,8,1,1)"), "no stem"),
        (plainnet(START_ARCH).replace("IDWE6K3(8,", "IDWE6K3(16,"), "can't follow a width of 8"),
        (plainnet(START_ARCH).replace("IDWE6K3", "K1K3K1"), "can't follow a width of 8"),
        (plainnet(START_ARCH).replace("2048", "1024"), "can't end a network of width 128"),
        (plainnet(START_ARCH).replace("8,1)SuperRes", "8,6)SuperRes"), "6 pairs"),
        (plainnet(START_ARCH).replace("SuperConvK1BNRELU", "SuperConvK3BNRELU"), "can't end"),
        (plainnet(START_ARCH).replace("SuperConvK1BNRELU", "__import__"), "no sequence of blocks"),
        ("Super" * 10_000, "no sequence of blocks"),
        ("SuperConvK3BNRELU(" * 10_000, "no sequence of blocks"),
        (f"SuperConvK3BNRELU({'9,' * 10_000}|", "no sequence of blocks"),
        (f"c8{'-e6k3b8c32l1s2' * 10_000}", "strides"),
    ],
)
def test_refuses_any_other_text(text: str, message: str) -> None:
    with pytest.raises(ArchError, match=re.escape(message)) as caught:
        SPACE.parse(text)
    assert "Write " in caught.value.hint
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "arch",
    [
        Arch("mnasnet", START),
        Arch("mobilenetv2_imagenet", ()),
        Arch("mobilenetv2_imagenet", (8,)),
        Arch("mobilenetv2_imagenet", (8, 8)),
        Arch("mobilenetv2_imagenet", (*START, (6, 3, 8, 8))),
        Arch("mobilenetv2_imagenet", (*START, (6, 4, 8, 8, 1, 1))),
        Arch("mobilenetv2_imagenet", (*START, (6, 3, 8, 8, 6, 1))),
        Arch("mobilenetv2_imagenet", (*START, (6, 3, 8, 8, 1, 3))),
    ],
)
def test_refuses_architectures_of_other_spaces(arch: Arch) -> None:
    for use in (SPACE.format, SPACE.measure, SPACE.build, plainnet, published_flops):
        with pytest.raises(ArchError, match="no mobilenetv2_imagenet architecture"):
            use(arch)
    with pytest.raises(ArchError, match="no mobilenetv2_imagenet architecture"):
        SPACE.mutate(arch, np.random.default_rng(0))
