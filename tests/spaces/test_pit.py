"""The pooling transformers of ViT-Bench-101: by hand, against torch's counter, against counts of the authors' code."""

import collections
import csv
import gzip
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from subshot import score
from subshot._types import Arch, InputSpec, TaskSpec
from subshot.errors import ArchError, OptionError, UnknownNameError
from subshot.networks.initialisation import Initialiser
from subshot.networks.pit import PoolingTransformer
from subshot.spaces._space import Enumerable, Measurable, get_space
from subshot.spaces.pit import CHOICES, PiT

SPACE = PiT()
TEXT = '{"base_dim":16,"mlp_ratio":2,"depth":[2,6,6],"num_heads":[4,8,8]}'

# Parameters of the table's 40 rows in file order, 100 classes, by the benchmark's own PiT, run there
# (lilujunai/Auto-Prox-AAAI24 at 90ed458, pycls/models/auto/pit_subnet.py, without distillation).
ROWS = (
    9_736_804,
    1_699_492,
    1_678_564,
    3_967_460,
    2_001_700,
    2_814_868,
    910_116,
    1_246_804,
    8_834_660,
    3_426_740,
    2_215_332,
    16_926_900,
    988_132,
    23_729_060,
    9_917_380,
    11_419_620,
    8_500_452,
    6_596_836,
    25_365_540,
    13_479_140,
    231_940,
    513_828,
    587_396,
    645_364,
    3_673_444,
    5_547_684,
    29_472_420,
    625_012,
    3_169_060,
    10_753_060,
    4_640_900,
    156_612,
    11_638_372,
    2_099_012,
    4_177_764,
    1_628_260,
    5_848_932,
    2_225_508,
    1_793_188,
    16_073_572,
)

archs = st.tuples(*map(st.sampled_from, CHOICES)).map(lambda genes: Arch("pit", genes))
seeds = st.integers(0, 2**32 - 1)


def test_is_registered_with_its_abilities() -> None:
    assert get_space("pit") == SPACE
    assert get_space("pit(patch=4, stride=2)") == PiT(patch=4, stride=2)
    assert isinstance(SPACE, Enumerable)
    assert isinstance(SPACE, Measurable)
    assert SPACE.task == TaskSpec.images(3, 224, 224, classes=100)
    assert SPACE.size == len(list(SPACE.architectures())) == 1_600


def test_importing_the_space_does_not_import_torch() -> None:
    code = "import sys, subshot.spaces.pit; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("setting", [{"patch": 0}, {"stride": -1}, {"patch": 2.5}, {"stride": True}])
def test_refuses_settings_below_one(setting: dict[str, int]) -> None:
    (key, value), *_ = setting.items()
    with pytest.raises(OptionError, match=f"{key}={value!r}.*whole number from 1"):
        PiT(**setting)


def test_refuses_other_variants_and_tasks() -> None:
    arch = SPACE.parse(TEXT)
    for use in (SPACE.build, SPACE.measure):
        with pytest.raises(UnknownNameError, match="official"):
            use(arch, variant="narrow")
        with pytest.raises(OptionError, match="takes one input of images"):
            use(arch, TaskSpec((InputSpec("tokens", (12,)),), 2))
        with pytest.raises(OptionError, match=r"40 x 15 pixels.*patches of 16.*smaller patch"):
            use(arch, TaskSpec.images(3, 40, 15, classes=2))


@pytest.mark.parametrize(
    "arch",
    [
        Arch("autoformer", SPACE.parse(TEXT).genes),
        Arch("pit", (16, 2, (2, 6, 6))),
        Arch("pit", (17, 2, (2, 6, 6), (4, 8, 8))),
        Arch("pit", (16, 2, (2, 2, 2), (4, 8, 8))),
        Arch("pit", (16, 2, (2, 6, 6), (8, 4, 4))),
        Arch("pit", (16, 2, 2, 4)),
    ],
)
def test_refuses_other_values(arch: Arch) -> None:
    for use in (SPACE.format, SPACE.measure, SPACE.build):
        with pytest.raises(ArchError, match="no pit architecture"):
            use(arch)


# --- text and moves --------------------------------------------------------------------------------------------------


def test_every_text_round_trips() -> None:
    texts = [SPACE.format(arch) for arch in SPACE.architectures()]
    assert len(set(texts)) == 1_600
    assert [SPACE.parse(text) for text in texts] == list(SPACE.architectures())
    for text in texts[::97]:
        given = json.loads(text)
        assert list(given) == ["base_dim", "mlp_ratio", "depth", "num_heads"]
        assert SPACE.format(SPACE.parse(json.dumps(given, indent=1, sort_keys=True))) == text
        assert SPACE.format(SPACE.parse(str(given))) == text  # as the authors' logs have it


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("16", "17", "its base_dim is 17"),
        ("16", '"16"', "'16' is no whole number"),
        ('"mlp_ratio":2', '"mlp_ratio":3.5', "3.5 is no whole number"),
        ('"mlp_ratio":2', '"mlp_ratio":[2,2,2]', "[2, 2, 2] is no whole number"),
        ("[2,6,6]", "[2,4,4]", "its depth is (2, 4, 4)"),
        ("[2,6,6]", "[2,6]", "its depth is (2, 6)"),
        ("[2,6,6]", "14", "14 is no list"),
        ("[4,8,8]", "[8,8,4]", "its num_heads is (8, 8, 4)"),
        ('"depth"', '"depths"', "its names are"),
        (TEXT, "[]", "[] is no object"),
        (TEXT, "{}", "its names are none"),
        (TEXT, "16-2", "it is no JSON"),
    ],
)
def test_says_what_is_wrong_with_a_text(old: str, new: str, why: str) -> None:
    assert old in TEXT
    with pytest.raises(ArchError, match=re.escape(why)) as caught:
        SPACE.parse(TEXT.replace(old, new, 1))
    assert "2-6-6" in caught.value.hint


@given(archs, seeds)
def test_mutation_changes_one_decision(arch: Arch, seed: int) -> None:
    mutant = SPACE.mutate(arch, np.random.default_rng(seed))
    assert sum(old != new for old, new in zip(arch.genes, mutant.genes, strict=True)) == 1
    assert SPACE.parse(SPACE.format(mutant)) == mutant


def test_mutation_reaches_the_24_neighbours_equally() -> None:
    rng, arch = np.random.default_rng(0), SPACE.parse(TEXT)
    counts = collections.Counter(SPACE.mutate(arch, rng) for _ in range(4800))
    assert len(counts) == 3 + 3 + 9 + 9
    assert 140 < min(counts.values()) <= max(counts.values()) < 260


def test_sampling_reaches_every_choice_equally() -> None:
    rng = np.random.default_rng(0)
    drawn = [SPACE.sample(rng).genes for _ in range(2000)]
    for genes, choices in zip(zip(*drawn, strict=True), CHOICES, strict=True):
        counts = collections.Counter(genes)
        assert set(counts) == set(choices)
        assert max(counts.values()) < 1.4 * min(counts.values())


# --- the network -----------------------------------------------------------------------------------------------------


def plain_forward(network: PoolingTransformer, stages: list[tuple[int, int]], images: Tensor) -> Tensor:
    """The network from its description, for patches of 3 every 2; weights in the order in which they are used."""
    queue = iter(network.parameters())

    def linear(x: Tensor) -> Tensor:
        return x @ next(queue).T + next(queue)

    def norm(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * next(queue) + next(queue)

    kernel, shift, first, positions = (next(queue) for _ in range(4))
    maps = F.conv2d(images, kernel, shift, stride=2)
    maps = maps + positions.T.reshape(1, *maps.shape[1:])
    token = first.expand(len(images), -1)
    for number, (heads, depth) in enumerate(stages):
        if number:
            kernel, shift = next(queue), next(queue)
            maps = F.conv2d(maps, kernel, shift, stride=2, padding=1, groups=maps.shape[1])
            token = linear(token)
        x = torch.cat([token[:, None], maps.flatten(2).transpose(1, 2)], dim=1)
        for _ in range(depth):
            qkv = linear(norm(x)).chunk(3, dim=-1)
            mixed = []
            for q, k, v in zip(*(part.chunk(heads, dim=-1) for part in qkv), strict=True):
                mixed.append(torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1) @ v)
            x = x + linear(torch.cat(mixed, dim=-1))
            hidden = linear(norm(x))
            x = x + linear(hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5)))
        token, maps = x[:, 0], x[:, 1:].transpose(1, 2).reshape(*x.shape[:1], x.shape[2], *maps.shape[2:])
    logits = linear(norm(token))
    assert next(queue, None) is None
    return logits


@pytest.mark.parametrize("shape", [(11, 11), (9, 14), (3, 3)])
def test_forward_is_the_published_function(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    stages = [(1, 2), (2, 1), (4, 1)]
    grid = ((shape[0] - 3) // 2 + 1, (shape[1] - 3) // 2 + 1)
    network = PoolingTransformer(
        stages, head_width=3, ratio=2, grid=grid, patch=3, stride=2, epsilon=1e-6, image_channels=2, classes=4
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    images = torch.randn(2, 2, *shape, dtype=torch.float64)
    torch.testing.assert_close(network(images), plain_forward(network, stages, images))


@pytest.mark.parametrize(
    ("text", "space", "shape", "classes"),
    [
        (TEXT, PiT(patch=4, stride=2), (3, 18, 21), 10),
        (TEXT.replace("[4,8,8]", "[2,2,8]").replace("16", "40"), PiT(patch=5, stride=3), (1, 5, 5), 1),
        (TEXT.replace("[2,6,6]", "[1,8,4]").replace('ratio":2', 'ratio":8'), PiT(patch=2, stride=4), (4, 13, 9), 3),
    ],
)
def test_measure_counts_the_built_network(text: str, space: PiT, shape: tuple[int, int, int], classes: int) -> None:
    arch, task = space.parse(text), TaskSpec.images(*shape, classes=classes)
    with torch.device("meta"):
        network = space.build(arch, task).eval()
        images = torch.empty(1, *shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(images)
    assert logits.shape == (1, classes)
    size = space.measure(arch, task)
    assert size.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert size.macs == counter.get_total_flops() / 2


def test_maps_of_the_published_network() -> None:
    with torch.device("meta"):
        network = SPACE.build(SPACE.parse(TEXT))
        x = torch.empty(1, 3, 224, 224)
        sizes = []
        for block in network.feature_blocks():
            x = block(x)
            sizes.append((x.shape[1] - 1, x.shape[2]))
    expected = [(27**2, 64)] * 3 + [(14**2, 128)] * 7 + [(7**2, 128)] * 7
    assert sizes == expected
    assert {m.eps for m in network.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-6}


def test_every_parameter_is_drawn_anew() -> None:
    network = PiT(patch=2, stride=2).build(SPACE.parse(TEXT), TaskSpec.images(1, 8, 8, classes=2))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    initialiser = Initialiser(network, "default")
    initialiser.draw(1)
    assert initialiser.kept == 0
    kept = {n for n, p in network.named_parameters() if torch.equal(p, before[n])}
    assert kept == {n for n in before if "norm" in n}


def test_every_proxy_looks_at_a_small_network() -> None:
    torch.manual_seed(0)
    network = PoolingTransformer(
        [(1, 1), (2, 2), (4, 1)],
        head_width=6,
        ratio=2,
        grid=(5, 5),
        patch=4,
        stride=2,
        epsilon=1e-6,
        image_channels=3,
        classes=5,
    )
    scores = score(network, (torch.randn(6, 3, 12, 12), torch.arange(6) % 5), proxies="all")
    assert {name: one.reason for name, one in scores.items() if one.status == "failed"} == {}
    for name in ("swap", "nwot", "zico", "jacob_cov", "ntk_condition", "grad_sign", "vkdnw", "az_trainability"):
        assert scores[name].ok, scores[name]
    units = (1 + 25) * 12 + 2 * (1 + 9) * 24 + (1 + 4) * 48
    assert 1 < scores["swap"].value <= units


# --- the published counts --------------------------------------------------------------------------------------------


def test_every_published_row(data_root: Path) -> None:
    path = data_root / "nas-bench" / "architectures-only" / "vitbench101_80.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        texts = [row["arch_json"] for row in csv.DictReader(file) if row["space"] == "pit"]
    assert len(texts) == len(set(texts)) == len(ROWS) == 40
    for text, parameters in zip(texts, ROWS, strict=True):
        arch = SPACE.parse(text)
        assert SPACE.format(arch) == text
        assert SPACE.measure(arch).parameters == parameters


def test_published_rows_that_need_no_table() -> None:
    # Rows 40 and 60 of the whole table.
    (largest, smallest) = (
        SPACE.parse(json.dumps(dict(zip(("base_dim", "mlp_ratio", "depth", "num_heads"), genes, strict=True))))
        for genes in ((32, 4, [1, 6, 6], [2, 8, 8]), (16, 4, [2, 8, 4], [2, 2, 2]))
    )
    assert [SPACE.measure(arch).parameters for arch in (largest, smallest)] == [9_736_804, 231_940]


def test_wider_or_deeper_is_larger() -> None:
    for base, ratio in itertools.product((16, 24, 32), (2, 4, 6)):
        small = SPACE.measure(Arch("pit", (base, ratio, (2, 6, 4), (2, 4, 8))))
        for genes in ((base + 8, ratio, (2, 6, 4), (2, 4, 8)), (base, ratio + 2, (2, 6, 4), (2, 4, 8))):
            large = SPACE.measure(Arch("pit", genes))
            assert large.parameters > small.parameters
            assert large.macs > small.macs
