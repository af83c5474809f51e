"""The space of NAS-Bench-201 cells and its network, without any table."""

import collections
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from subshot._types import Arch, TaskSpec
from subshot.errors import ArchError, OptionError, UnknownNameError
from subshot.spaces._space import Crossable, Encodable, Enumerable, Measurable, Populations, get_space
from subshot.spaces.nasbench201 import EDGES, NasBench201, has_path, is_live, published_class

SPACE = NasBench201()
EVERY_OPERATION = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_3x3~0|none~1|skip_connect~2|"
DIGITS = list(itertools.product(range(5), repeat=6))

archs = st.tuples(*[st.integers(0, 4)] * 6).map(lambda genes: Arch("nasbench201", genes))
seeds = st.integers(0, 2**32 - 1)


def make(genes: str) -> Arch:
    return Arch("nasbench201", tuple(map(int, genes)))


# --- the space -------------------------------------------------------------------------------------------------------


def test_is_registered_with_all_abilities() -> None:
    assert get_space("nasbench201") == SPACE
    assert get_space("nasbench201(channels=8, cells=1)") == NasBench201(channels=8, cells=1)
    for ability in (Enumerable, Crossable, Populations, Encodable, Measurable):
        assert isinstance(SPACE, ability)
    assert SPACE.name == "nasbench201"
    assert SPACE.variants == ("official", "narrow")
    assert SPACE.scoring_variant == "narrow"
    assert SPACE.task == TaskSpec.images(3, 32, 32, classes=10)


def test_importing_the_space_does_not_import_torch() -> None:
    code = "import sys, subshot.spaces.nasbench201; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("setting", [{"channels": 0}, {"cells": -1}, {"channels": 2.5}, {"cells": True}])
def test_refuses_settings_below_one(setting: dict[str, int]) -> None:
    (key, value), *_ = setting.items()
    with pytest.raises(OptionError, match=f"{key}={value!r}.*whole number from 1"):
        NasBench201(**setting)


@pytest.mark.parametrize("channels", [1, 2, 3, 16])
def test_the_narrow_variant_is_the_published_network_at_two_channels(channels: int) -> None:
    arch = SPACE.parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|")
    space = NasBench201(channels=channels)
    narrow, expected = space.build(arch, variant="narrow"), NasBench201(channels=min(2, channels)).build(arch)
    shapes = [(name, parameter.shape) for name, parameter in expected.named_parameters()]
    assert [(name, parameter.shape) for name, parameter in narrow.named_parameters()] == shapes
    assert space.measure(arch, variant="narrow") == NasBench201(channels=min(2, channels)).measure(arch)
    assert space.measure(arch) == space.measure(arch, variant="official")


def test_refuses_other_variants_and_populations() -> None:
    arch = next(SPACE.architectures())
    with pytest.raises(UnknownNameError, match="official"):
        SPACE.build(arch, variant="naslib")
    with pytest.raises(UnknownNameError, match="official"):
        SPACE.measure(arch, variant="naslib")
    with pytest.raises(UnknownNameError, match="Did you mean 'unique'"):
        SPACE.population("uniqe")


@pytest.mark.parametrize(
    "arch", [Arch("darts", (0,) * 6), Arch("nasbench201", (0,) * 5), Arch("nasbench201", (0, 0, 0, 0, 0, 5))]
)
def test_refuses_architectures_of_other_spaces(arch: Arch) -> None:
    for use in (SPACE.format, SPACE.measure, SPACE.build, SPACE.encode, has_path, is_live, published_class):
        with pytest.raises(ArchError, match="no nasbench201 architecture"):
            use(arch)


# --- text ------------------------------------------------------------------------------------------------------------


@given(archs)
def test_parse_inverts_format(arch: Arch) -> None:
    assert SPACE.parse(SPACE.format(arch)) == arch


def test_text_is_the_official_one() -> None:
    assert SPACE.format(make("421301")) == EVERY_OPERATION
    assert SPACE.parse(f" {EVERY_OPERATION}\n") == make("421301")


def test_reads_naslib_digits_only_where_they_are_marked() -> None:
    # NASLib: edges 0-1 0-2 0-3 1-2 1-3 2-3; 0 skip, 1 none, 2 conv 3x3, 3 conv 1x1, 4 pool.
    assert SPACE.parse("naslib:432010") == SPACE.parse(EVERY_OPERATION)
    assert SPACE.parse("naslib:(4, 3, 2, 0, 1, 0)") == SPACE.parse(EVERY_OPERATION)
    for text in ("432010", "(4, 3, 2, 0, 1, 0)"):
        with pytest.raises(ArchError, match=r"whose digits.*naslib:<six digits>"):
            SPACE.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1 groups of edges"),
        ("|none~0|+|none~0|none~1|", "2 groups of edges, a cell has 3"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "not the group of node 2, which has 2 edges"),
        ("none~0+|none~0|none~1|+|none~0|none~1|none~2|", "'none~0'.* not the group of node 1"),
        ("|conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|", "'conv_3x3'.*Did you mean 'nor_conv_3x3'"),
        ("|none~0|+|none~0|none~1|+|none~0|zero~1|none~2|", "'zero'.*Known: avg_pool_3x3, none, nor_conv_1x1"),
        ("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "source '1', but edge 1 of node 2 comes from node 0"),
        ("|none~0|+|none~0|none|+|none~0|none~1|none~2|", "source '', but edge 2 of node 2 comes from node 1"),
        ("naslib:43201", "Give 6 digits from 0 to 4"),
        ("naslib:432015", "Give 6 digits from 0 to 4"),
        ("genes:432010", "'genes', which is no known dialect"),
    ],
)
def test_says_what_is_wrong_with_a_text(text: str, message: str) -> None:
    with pytest.raises(ArchError, match=message):
        SPACE.parse(text)


@given(st.text("|+~0123nosekip_c:", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        arch = SPACE.parse(text)
    except ArchError:
        return
    assert text.strip() == SPACE.format(arch)


# --- moves and vectors -----------------------------------------------------------------------------------------------


@given(archs, seeds)
def test_mutation_changes_one_edge(arch: Arch, seed: int) -> None:
    child = SPACE.mutate(arch, np.random.default_rng(seed))
    assert sum(old != new for old, new in zip(arch.genes, child.genes, strict=True)) == 1
    assert SPACE.parse(SPACE.format(child)) == child


def test_mutation_reaches_the_24_neighbours_equally() -> None:
    rng, arch = np.random.default_rng(0), make("012344")
    counts = collections.Counter(SPACE.mutate(arch, rng) for _ in range(4800))
    assert len(counts) == 24
    assert 150 < min(counts.values()) <= max(counts.values()) < 250  # 200 +- 14


@given(archs, archs, seeds)
def test_crossover_takes_each_edge_from_a_parent(first: Arch, second: Arch, seed: int) -> None:
    child = SPACE.crossover(first, second, np.random.default_rng(seed))
    assert all(gene in pair for gene, *pair in zip(child.genes, first.genes, second.genes, strict=True))


def test_crossover_reaches_every_mixture() -> None:
    rng = np.random.default_rng(0)
    children = {SPACE.crossover(make("000000"), make("111111"), rng).genes for _ in range(1000)}
    assert children == set(itertools.product((0, 1), repeat=6))


def test_sampling_is_uniform_on_every_edge_and_seeded() -> None:
    drawn = [SPACE.sample(np.random.default_rng(7)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert all(type(gene) is int for gene in drawn[0].genes)
    rng = np.random.default_rng(0)
    genes = np.array([SPACE.sample(rng).genes for _ in range(5000)])
    shares = (genes[:, :, None] == np.arange(5)).mean(axis=0)
    assert np.abs(shares - 0.2).max() < 0.025  # four standard deviations


@given(archs)
def test_decode_inverts_encode(arch: Arch) -> None:
    vector = SPACE.encode(arch)
    assert (vector.shape, vector.dtype, vector.sum()) == ((30,), np.float32, 6)
    assert vector[arch.genes[0]] == 1
    assert SPACE.decode(vector) == arch


@pytest.mark.parametrize("vector", [np.zeros(30), np.ones(30), np.eye(30)[0], np.zeros(29), np.full(30, np.nan)])
def test_decodes_nothing_else(vector: np.ndarray) -> None:
    assert SPACE.decode(vector) is None


# --- populations -----------------------------------------------------------------------------------------------------


def test_populations_have_their_published_sizes() -> None:
    assert {name: len(SPACE.population(name)) for name in SPACE.populations} == {
        "all": 15_625,
        "unique": 6_466,
        "live": 9_445,
    }
    assert list(SPACE.architectures()) == list(SPACE.population("all")) == [Arch("nasbench201", g) for g in DIGITS]
    assert SPACE.size == len(set(map(SPACE.format, SPACE.architectures())))


def test_unique_takes_the_smallest_genes_of_each_class() -> None:
    members = collections.defaultdict(list)
    for arch in SPACE.architectures():
        members[published_class(arch)].append(arch)
    assert list(SPACE.population("unique")) == sorted(map(min, members.values()))


def paths(genes: tuple[int, ...]) -> list[list[int]]:
    """The edges of every path from 0 to 3 without ``none``, by listing all four possible ways."""
    ways = [[3], [0, 4], [1, 5], [0, 2, 5]]
    return [way for way in ways if all(genes[edge] for edge in way)]


def test_paths_and_live_edges_against_a_list_of_ways() -> None:
    for arch in SPACE.architectures():
        ways = paths(arch.genes)
        assert has_path(arch) == bool(ways)
        used = {edge for way in ways for edge in way}
        assert is_live(arch) == all(edge in used for edge in range(6) if arch.genes[edge])
    assert sum(not has_path(arch) for arch in SPACE.architectures()) == 341
    assert [arch for arch in SPACE.population("live") if not has_path(arch)] == [make("000000")]


def function_of(genes: tuple[int, ...]) -> str:
    """The cell as an expression in which each convolution is a symbol, the same text for the same function."""

    def expression(symbols: dict[int, str]) -> str:
        nodes: list[list[str]] = [["x"], [], [], []]
        for edge, (node, source) in enumerate(EDGES):
            if genes[edge] and nodes[source]:
                inside = nodes[source]
                nodes[node] += inside if genes[edge] == 1 else [f"{symbols[edge]}[{' '.join(sorted(inside))}]"]
        return " ".join(sorted(nodes[3]))

    plain = {edge: "pool" if genes[edge] == 4 else f"<{edge}>" for edge in range(6)}
    used = expression(plain)
    ones, threes = ([e for e in range(6) if genes[e] == code and f"<{e}>" in used] for code in (2, 3))
    return min(
        expression(plain | dict(zip(ones, a, strict=True)) | dict(zip(threes, b, strict=True)))
        for a in itertools.permutations([f"one{i}" for i in range(len(ones))])
        for b in itertools.permutations([f"three{i}" for i in range(len(threes))])
    )


def test_published_classes_are_neither_finer_nor_coarser_than_functions() -> None:
    functions_in, classes_of = collections.defaultdict(set), collections.defaultdict(set)
    for arch in SPACE.architectures():
        name, function = published_class(arch), function_of(arch.genes)
        functions_in[name].add(function)
        classes_of[function].add(name)
    assert (len(functions_in), len(classes_of)) == (6_466, 5_260)
    assert sum(len(several) > 1 for several in functions_in.values()) == 430
    assert sum(len(several) > 1 for several in classes_of.values()) == 688


def test_two_ways_in_which_a_published_class_misleads() -> None:
    # The same function, a convolution beside a skip: two classes.
    assert published_class(make("010201")) != published_class(make("020101"))
    assert function_of((0, 1, 0, 2, 0, 1)) == function_of((0, 2, 0, 1, 0, 1))
    # One convolution used twice, or two convolutions: one class.
    shared, separate = make("201011"), make("220011")
    assert published_class(shared) == published_class(separate)
    assert function_of(shared.genes) != function_of(separate.genes)
    assert SPACE.measure(shared).parameters < SPACE.measure(separate).parameters


# --- the network -----------------------------------------------------------------------------------------------------


def test_cell_of_index_0_has_its_published_size() -> None:
    size = SPACE.measure(
        SPACE.parse("|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|")
    )
    assert size.parameters == 129_306
    assert size.macs + 10 == 15_647_370  # published as 15.64737 M, with the bias of ten classes


@settings(max_examples=40, deadline=None)
@given(
    archs,
    st.builds(NasBench201, channels=st.integers(1, 5), cells=st.integers(1, 3)),
    st.tuples(*[st.integers(1, 4), st.integers(4, 40), st.integers(4, 40), st.integers(1, 20)]),
)
def test_measure_counts_the_built_network(arch: Arch, space: NasBench201, shape: tuple[int, int, int, int]) -> None:
    task = TaskSpec.images(*shape[:3], classes=shape[3])
    with torch.device("meta"):
        network = space.build(arch, task).eval()
        images = torch.empty(1, *shape[:3])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(images)
    assert logits.shape == (1, shape[3])
    size = space.measure(arch, task)
    assert size.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert size.macs == counter.get_total_flops() / 2


def published_forward(weights: dict[str, Tensor], genes: tuple[int, ...], cells: int, images: Tensor) -> Tensor:
    """The network as the paper defines it, ``none`` as a product with 0, written with functions only."""

    def norm(x: Tensor, name: str) -> Tensor:
        return F.batch_norm(x, None, None, weights[f"{name}.weight"], weights[f"{name}.bias"], training=True)

    def convolution(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = weights[f"{name}.conv.weight"]
        return norm(F.conv2d(F.relu(x), weight, stride=stride, padding=weight.shape[-1] // 2), f"{name}.norm")

    def operation(x: Tensor, code: int, name: str) -> Tensor:
        if code in (0, 1):
            return x * code
        if code == 4:
            inside = F.avg_pool2d(torch.ones_like(x), 3, 1, 1)
            return F.avg_pool2d(x, 3, 1, 1) / inside
        return convolution(x, name)

    x = norm(F.conv2d(images, weights["stem.conv.weight"], padding=1), "stem.norm")
    for stage in range(3):
        if stage:
            prefix = f"stages.{stage}.reduction"
            branch = convolution(convolution(x, f"{prefix}.branch.0", stride=2), f"{prefix}.branch.1")
            x = branch + F.conv2d(F.avg_pool2d(x, 2), weights[f"{prefix}.shortcut.conv.weight"])
        for cell in range(cells):
            nodes = [x, 0, 0, 0]
            for code, (node, source) in zip(genes, EDGES, strict=True):
                name = f"stages.{stage}.cell_{cell}.edges.{source}_to_{node}"
                nodes[node] = nodes[node] + operation(nodes[source], code, name)
            x = nodes[3]
    x = F.relu(norm(x, "head.norm")).mean((2, 3))
    return F.linear(x, weights["head.classifier.weight"], weights["head.classifier.bias"])


@pytest.mark.parametrize("genes", ["421301", "333333", "042013", "203004", "300000", "000000", "123431"])
def test_network_computes_the_published_function(genes: str) -> None:
    torch.manual_seed(0)
    space, arch = NasBench201(channels=4, cells=2), make(genes)
    network = space.build(arch, TaskSpec.images(3, 16, 16, classes=7)).double()
    for parameter in network.parameters():  # no bias or scale at its neutral start
        torch.nn.init.normal_(parameter)
    images = torch.randn(5, 3, 16, 16, dtype=torch.float64)
    weights = dict(network.named_parameters())
    expected = published_forward(weights, arch.genes, 2, images)
    logits = network(images)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)

    ours = torch.autograd.grad(logits.square().sum(), list(weights.values()), allow_unused=True)
    theirs = torch.autograd.grad(expected.square().sum(), list(weights.values()), allow_unused=True)
    for name, our, their in zip(weights, ours, theirs, strict=True):
        zero = torch.zeros_like(weights[name])
        torch.testing.assert_close(
            zero if our is None else our, zero if their is None else their, rtol=1e-7, atol=1e-7, msg=name
        )


@pytest.mark.parametrize("genes", ["000000", "330000", "003011", "300000", "033300"])
def test_output_depends_on_the_input_only_over_a_path(genes: str) -> None:
    arch = make(genes)
    network = NasBench201(channels=2, cells=1).build(arch, TaskSpec.images(1, 8, 8, classes=3)).eval()
    logits = network(torch.randn(4, 1, 8, 8))
    assert (logits == logits[0]).all() != has_path(arch)


def test_none_costs_nothing_and_dead_operations_run() -> None:
    network = NasBench201(channels=2, cells=1).build(make("030000"), TaskSpec.images(3, 8, 8, classes=3))
    cell = network.stages[0].cell_0
    assert list(cell.edges) == ["0_to_2"]
    network(torch.randn(2, 3, 8, 8))
    assert cell.edges["0_to_2"].norm.num_batches_tracked == 1


def test_odd_sizes_are_rounded_up() -> None:
    network = NasBench201(channels=2, cells=1).build(make("111111"), TaskSpec.images(1, 13, 9, classes=3))
    x = network.stem(torch.randn(2, 1, 13, 9))
    shapes = [x.shape[2:]]
    for stage in network.stages:
        x = stage(x)
        shapes.append(x.shape[2:])
    assert shapes == [(13, 9), (13, 9), (7, 5), (4, 3)]
    # The window over the edge averages the pixels it has.
    pooled = network.stages[1].reduction.shortcut.pool(torch.ones(1, 1, 5, 5))
    assert (pooled == 1).all()
