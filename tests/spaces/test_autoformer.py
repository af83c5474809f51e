"""The space of AutoFormer and ViT-Bench-101: by hand, against torch's counter, against counts of the authors' code."""

import collections
import csv
import gzip
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from subshot import score
from subshot._types import Arch, InputSpec, TaskSpec
from subshot.errors import ArchError, OptionError, UnknownNameError
from subshot.networks.initialisation import Initialiser
from subshot.networks.vision_transformer import VisionTransformer
from subshot.spaces._space import Crossable, Measurable, get_space
from subshot.spaces.autoformer import EDITIONS, AutoFormer

SPACE = AutoFormer()
SPACES = {edition: AutoFormer(edition=edition) for edition in EDITIONS}
TEXT = (
    '{"hidden_dim":216,"mlp_ratio":[4.0,4.0,3.5,3.5,3.5,4.0,4.0,3.5,4.0,4.0,3.5,3.5],"depth":12,'
    '"num_heads":[4,3,4,4,3,4,3,4,4,3,3,3]}'
)

# Winners of AutoFormer's searches: depth, ratios, heads, width (microsoft/Cream at 4a13c40, folder
# AutoFormer/experiments/subnet), with the parameters that its get_sampled_params_numel gives, run there.
WINNERS = {
    "tiny": (
        "(13, 3.5, 3.5, 3.0, 3.5, 3.0, 3.0, 4.0, 4.0, 3.5, 4.0, 3.5, 4.0, 3.5,"
        " 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 3, 3, 192)",
        5_867_944,
    ),
    "small": (
        "(13, 3.0, 3.5, 3.0, 3.5, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.5, 4.0,"
        " 6, 6, 5, 7, 5, 5, 5, 6, 6, 7, 7, 6, 7, 384)",
        22_891_432,
    ),
    "base": (
        "(14, 3.5, 3.5, 4.0, 3.5, 4.0, 3.5, 3.5, 3.0, 4.0, 4.0, 3.0, 4.0, 3.0, 3.5,"
        " 9, 9, 9, 9, 9, 10, 9, 9, 10, 9, 10, 9, 9, 10, 576)",
        53_691_688,
    ),
}

# Parameters of the table's 40 rows in file order, 100 classes, by the benchmark's own AutoFormerSub, run there
# (lilujunai/Auto-Prox-AAAI24 at 90ed458, pycls/models/auto/autoformer_subnet.py, without distillation).
ROWS = (
    8_936_500,
    6_702_580,
    5_321_956,
    7_358_788,
    5_729_860,
    9_109_660,
    6_063_844,
    8_242_180,
    8_242_180,
    8_821_060,
    5_729_860,
    8_184_460,
    5_284_996,
    7_734_412,
    5_321_956,
    5_358_916,
    9_457_660,
    8_299_900,
    5_803_780,
    8_763_340,
    7_827_940,
    6_749_344,
    9_688_540,
    5_692_900,
    7_781_176,
    7_171_732,
    8_878_780,
    5_803_780,
    6_749_344,
    5_655_940,
    5_692_900,
    8_936_500,
    8_299_900,
    9_573_100,
    5_729_860,
    7_171_732,
    9_573_100,
    5_284_996,
    5_618_980,
    5_692_900,
)

seeds = st.integers(0, 2**32 - 1)
cases = st.tuples(st.sampled_from(sorted(EDITIONS)), seeds).map(
    lambda case: (SPACES[case[0]], SPACES[case[0]].sample(np.random.default_rng(case[1])))
)


def test_is_registered_with_its_abilities() -> None:
    assert get_space("autoformer") == SPACE
    assert get_space("autoformer(edition=base, patch=4)") == AutoFormer(edition="base", patch=4)
    assert isinstance(SPACE, Crossable)
    assert isinstance(SPACE, Measurable)
    assert SPACE.task == TaskSpec.images(3, 224, 224, classes=100)
    assert SPACES["tiny"].task == TaskSpec.images(3, 224, 224, classes=1000)


def test_importing_the_space_does_not_import_torch() -> None:
    code = "import sys, subshot.spaces.autoformer; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("patch", [0, -4, 2.5, True, "16"])
def test_refuses_patches_below_one(patch: int) -> None:
    with pytest.raises(OptionError, match=r"patch=.*whole number from 1"):
        AutoFormer(patch=patch)


def test_refuses_other_editions_variants_and_tasks() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'small'"):
        AutoFormer(edition="smal")
    arch = SPACE.parse(TEXT)
    for use in (SPACE.build, SPACE.measure):
        with pytest.raises(UnknownNameError, match="official"):
            use(arch, variant="narrow")
        with pytest.raises(OptionError, match="takes one input of images"):
            use(arch, TaskSpec((InputSpec("tokens", (12,)),), 2))
        with pytest.raises(OptionError, match=r"15 x 40 pixels.*patches of 16.*smaller patch"):
            use(arch, TaskSpec.images(3, 15, 40, classes=2))


@pytest.mark.parametrize(
    "arch",
    [
        Arch("pit", SPACE.parse(TEXT).genes),
        Arch("autoformer", (192,)),
        Arch("autoformer", (200, ((7, 3),) * 12)),
        Arch("autoformer", (192, ((7, 3),) * 11)),
        Arch("autoformer", (192, ((5, 3),) * 12)),
        Arch("autoformer", (192, ((7, 5),) * 12)),
        Arch("autoformer", (192, (7,) * 12)),
    ],
)
def test_refuses_other_values(arch: Arch) -> None:
    for use in (SPACE.format, SPACE.measure, SPACE.build):
        with pytest.raises(ArchError, match="no autoformer architecture"):
            use(arch)


# --- text ------------------------------------------------------------------------------------------------------------


@given(cases)
def test_text_round_trips_in_every_edition(case: tuple[AutoFormer, Arch]) -> None:
    space, arch = case
    text = space.format(arch)
    assert space.parse(text) == arch
    given = json.loads(text)
    assert list(given) == ["hidden_dim", "mlp_ratio", "depth", "num_heads"]
    assert space.parse(json.dumps(given, indent=2, sort_keys=True)) == arch
    assert space.parse(str(given)) == arch  # as the authors' logs have it
    candidate = (given["depth"], *given["mlp_ratio"], *given["num_heads"], given["hidden_dim"])
    assert space.parse(str(candidate)) == space.parse(json.dumps(candidate)) == arch


def test_reads_autoformers_own_names() -> None:
    named = TEXT.replace("hidden_dim", "embed_dim").replace("depth", "layer_num")
    assert SPACE.parse(named) == SPACE.parse(TEXT)
    assert SPACE.parse(TEXT.replace(".0", "")) == SPACE.parse(TEXT)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("216", "217", "its width is 217"),
        ("216", '"216"', "'216' is no whole number"),
        ("216", "true", "True is no whole number"),
        ("216", "1e999", "inf is no whole number"),
        ('"depth":12', '"depth":13', "it has 12 layers and a depth of 13"),
        ('"depth":12', '"deep":12', "its names are"),
        ('"depth":12,', "", "its names are"),
        ('"depth":12', '"depth":12,"layer_num":12', "its names are"),
        ("[4.0,4.0", "[4.0,4.5", "a ratio is 4.5"),
        ("[4.0,4.0", "[4.0,3.75", "7.5 is no whole number"),
        ("[4.0,4.0", "[4.0", "argument 2 is longer"),
        ("[4,3", "[4,5", "a layer has 5 heads"),
        ("[4,3,4,4,3,4,3,4,4,3,3,3]", "4", "4 is no list"),
    ],
)
def test_says_what_is_wrong_with_a_text(old: str, new: str, why: str) -> None:
    assert old in TEXT
    with pytest.raises(ArchError, match=re.escape(why)) as caught:
        SPACE.parse(TEXT.replace(old, new, 1))
    assert '"hidden_dim": 192, 216, 240' in caught.value.hint


@pytest.mark.parametrize("text", ["[]", "()", "(0, 192)", "[12]", "null", "3", '"a"', "[" * 5000, "(12, 3.5, 192)"])
def test_refuses_any_other_text(text: str) -> None:
    with pytest.raises(ArchError):
        SPACE.parse(text)


def test_editions_refuse_each_others_texts() -> None:
    text = SPACES["base"].format(SPACES["base"].sample(np.random.default_rng(0)))
    with pytest.raises(ArchError, match=r"its width is .* this is the edition small"):
        SPACES["small"].parse(text)


# --- moves -----------------------------------------------------------------------------------------------------------


def test_sizes() -> None:
    assert SPACE.size == SPACES["tiny"].size == 3 * (4**12 + 4**13 + 4**14)
    assert SPACES["small"].size == 3 * (9**12 + 9**13 + 9**14)
    assert SPACES["base"].size == 3 * (9**14 + 9**15 + 9**16)


@given(cases, seeds)
def test_mutation_changes_one_decision(case: tuple[AutoFormer, Arch], seed: int) -> None:
    space, arch = case
    mutant = space.mutate(arch, np.random.default_rng(seed))
    assert space.parse(space.format(mutant)) == mutant
    (width, layers), (other_width, others) = arch.genes, mutant.genes
    changed = sum(a != b for one, other in zip(layers, others, strict=False) for a, b in zip(one, other, strict=True))
    assert (width != other_width) + (len(layers) != len(others)) + changed == 1


def test_mutation_reaches_every_neighbour() -> None:
    rng, arch = np.random.default_rng(0), SPACE.parse(TEXT)
    kinds: collections.Counter[str] = collections.Counter()
    seen = set()
    for _ in range(4000):
        mutant = SPACE.mutate(arch, rng)
        if len(mutant.genes[1]) != 12:
            kinds[f"depth {len(mutant.genes[1])}"] += 1
        elif mutant.genes[0] != 216:
            kinds[f"width {mutant.genes[0]}"] += 1
        else:
            seen.add(mutant)
    assert len(seen) == 24
    assert sorted(kinds) == ["depth 13", "depth 14", "width 192", "width 240"]
    assert all(400 < count < 600 for count in kinds.values())


@given(st.sampled_from(sorted(EDITIONS)), seeds, seeds, seeds)
def test_crossover_takes_each_decision_from_a_parent(edition: str, first: int, second: int, seed: int) -> None:
    space = SPACES[edition]
    parents = [space.sample(np.random.default_rng(one)) for one in (first, second)]
    width, layers = space.crossover(*parents, np.random.default_rng(seed)).genes
    assert width in {parent.genes[0] for parent in parents}
    assert len(layers) in {len(parent.genes[1]) for parent in parents}
    for place, layer in enumerate(layers):
        there = [parent.genes[1][place] for parent in parents if place < len(parent.genes[1])]
        assert all(gene in genes for gene, genes in zip(layer, zip(*there, strict=True), strict=True))


def test_crossover_mixes_every_decision() -> None:
    rng = np.random.default_rng(0)
    parents = [Arch("autoformer", (192, ((7, 3),) * 12)), Arch("autoformer", (240, ((8, 4),) * 14))]
    children = [SPACE.crossover(*parents, rng).genes for _ in range(300)]
    assert {(width, len(layers)) for width, layers in children} == {(192, 12), (192, 14), (240, 12), (240, 14)}
    assert {layer for _, layers in children for layer in layers[:12]} == {(7, 3), (7, 4), (8, 3), (8, 4)}
    assert {layer for _, layers in children for layer in layers[12:]} == {(8, 4)}


# --- the network -----------------------------------------------------------------------------------------------------


def plain_forward(network: VisionTransformer, images: Tensor, *, patch: int, reach: int | None) -> Tensor:
    """The network from its description, one pair of tokens at a time; weights in the order in which they are used."""
    queue = iter(network.parameters())
    kernel, shift, first, positions = (next(queue) for _ in range(4))
    rows, columns = (side // patch for side in images.shape[2:])
    patches = [
        images[:, :, patch * r : patch * (r + 1), patch * c : patch * (c + 1)].flatten(1) @ kernel.flatten(1).T + shift
        for r in range(rows)
        for c in range(columns)
    ]
    x = torch.stack([first[0].expand(len(images), -1), *patches], dim=1) + positions
    width = x.shape[-1]

    def norm(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * next(queue) + next(queue)

    def place(token: int) -> tuple[int, int]:
        return divmod(token - 1, columns)

    def far(vertical: Tensor, horizontal: Tensor, a: int, b: int) -> Tensor:
        """The vector of the distance from token a to token b."""
        if a == 0 or b == 0:
            return vertical[0] + horizontal[0]
        down, right = (min(max(q - p, -reach), reach) for p, q in zip(place(a), place(b), strict=True))
        return vertical[1 + reach + down] + horizontal[1 + reach + right]

    for layer in network.layers:
        normed = norm(x)
        qkv = normed @ next(queue).T + next(queue)
        projection, bias = next(queue), next(queue)
        tables = [next(queue) for _ in range(4)] if reach is not None else []
        heads = layer.attention.heads
        own = qkv.shape[-1] // 3 // heads
        mixed = []
        for head in range(heads):
            q, k, v = (qkv[..., (part * heads + head) * own : (part * heads + head + 1) * own] for part in range(3))
            for a in range(x.shape[1]):
                keys = [k[:, b] + (far(*tables[:2], a, b) if tables else 0) for b in range(x.shape[1])]
                values = [v[:, b] + (far(*tables[2:], a, b) if tables else 0) for b in range(x.shape[1])]
                weights = torch.stack([(q[:, a] * key).sum(-1) / math.sqrt(own) for key in keys], dim=1).exp()
                weights = weights / weights.sum(1, keepdim=True)
                mixed.append(sum(weights[:, b, None] * values[b] for b in range(x.shape[1])))
        mixture = torch.stack(mixed, dim=1).reshape(len(x), heads, -1, own).transpose(1, 2).reshape(*x.shape[:2], -1)
        x = x + mixture @ projection.T + bias
        hidden = norm(x) @ next(queue).T + next(queue)
        x = x + hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))) @ next(queue).T + next(queue)
    x = norm(x)[:, 1:].sum(1) / (rows * columns)
    assert x.shape == (len(images), width)
    logits = x @ next(queue).T + next(queue)
    assert next(queue, None) is None
    return logits


@pytest.mark.parametrize("reach", [None, 1, 14])
def test_forward_is_the_published_function(reach: int | None) -> None:
    torch.manual_seed(0)
    network = VisionTransformer(
        [(2, 3, 5), (1, 4, 7)],
        width=6,
        grid=(3, 2),
        patch=2,
        epsilon=1e-5,
        reach=reach,
        image_channels=3,
        classes=4,
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    images = torch.randn(2, 3, 7, 5, dtype=torch.float64)  # the last row and column fill no patch
    expected = plain_forward(network, images[:, :, :6, :4], patch=2, reach=reach)
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize(
    ("edition", "shape", "classes"),
    [("vitbench101", (3, 9, 12), 10), ("tiny", (1, 8, 8), 1), ("small", (4, 4, 7), 3), ("base", (2, 12, 5), 20)],
)
def test_measure_counts_the_built_network(edition: str, shape: tuple[int, int, int], classes: int) -> None:
    space, task = AutoFormer(edition=edition, patch=4), TaskSpec.images(*shape, classes=classes)
    arch = space.sample(np.random.default_rng(len(edition)))
    with torch.device("meta"):
        network = space.build(arch, task).eval()
        images = torch.empty(1, *shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(images)
    assert logits.shape == (1, classes)
    size = space.measure(arch, task)
    assert size.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert size.macs == counter.get_total_flops() / 2


def test_epsilons_are_the_published_ones() -> None:
    for edition, epsilon in (("vitbench101", 1e-6), ("tiny", 1e-5)):
        with torch.device("meta"):
            network = SPACES[edition].build(SPACES[edition].parse(TEXT))
        assert {m.eps for m in network.modules() if isinstance(m, torch.nn.LayerNorm)} == {epsilon}


def test_every_parameter_is_drawn_anew() -> None:
    network = AutoFormer(edition="tiny", patch=2).build(SPACE.parse(TEXT), TaskSpec.images(1, 4, 4, classes=2))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    initialiser = Initialiser(network, "default")
    initialiser.draw(1)
    assert initialiser.kept == 0
    assert {n for n, p in network.named_parameters() if torch.equal(p, before[n])} == {n for n in before if "norm" in n}
    tables = [p for n, p in network.named_parameters() if n.endswith(("token.weight", "ical.weight", "tal.weight"))]
    assert len(tables) == 1 + 4 * 12
    assert 0.019 < torch.cat([table.flatten() for table in tables]).std() < 0.021


def test_blocks_follow_each_other() -> None:
    network = SPACE.build(SPACE.parse(TEXT), TaskSpec.images(3, 32, 32, classes=2))
    blocks = network.feature_blocks()
    assert len(blocks) == 1 + 12
    x = torch.randn(2, 3, 32, 32)
    for block in blocks:
        x = block(x)
        assert x.shape == (2, 1 + 4, 216)


@pytest.mark.parametrize("reach", [None, 14])
def test_every_proxy_looks_at_a_small_network(reach: int | None) -> None:
    torch.manual_seed(0)
    network = VisionTransformer(
        [(2, 6, 20), (3, 4, 24)],
        width=12,
        grid=(3, 3),
        patch=4,
        epsilon=1e-6,
        reach=reach,
        image_channels=3,
        classes=5,
    )
    scores = score(network, (torch.randn(6, 3, 12, 12), torch.arange(6) % 5), proxies="all")
    assert {name: one.reason for name, one in scores.items() if one.status == "failed"} == {}
    for name in ("swap", "nwot", "zico", "jacob_cov", "ntk_condition", "grad_sign", "vkdnw", "az_trainability"):
        assert scores[name].ok, scores[name]
    assert scores["parameters"].value == sum(parameter.numel() for parameter in network.parameters())
    assert 1 < scores["swap"].value <= 10 * (20 + 24)  # units: ten tokens, the inner widths


# --- the published counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edition", WINNERS)
def test_winners_have_their_published_sizes(edition: str) -> None:
    candidate, parameters = WINNERS[edition]
    space = SPACES[edition]
    arch = space.parse(candidate)
    assert space.measure(arch).parameters == parameters
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in space.build(arch).parameters()) == parameters


def test_every_published_row(data_root: Path) -> None:
    path = data_root / "nas-bench" / "architectures-only" / "vitbench101_80.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        texts = [row["arch_json"] for row in csv.DictReader(file) if row["space"] == "autoformer"]
    assert len(texts) == len(set(texts)) == len(ROWS) == 40
    for text, parameters in zip(texts, ROWS, strict=True):
        arch = SPACE.parse(text)
        assert SPACE.format(arch) == text
        assert SPACE.measure(arch).parameters == parameters
