"""The space of NAS-Bench-101 cells and its network, without any table."""

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

from subshot._types import Arch, InputSpec, TaskSpec
from subshot.errors import ArchError, OptionError, UnknownNameError
from subshot.spaces._space import Encodable, Measurable, get_space
from subshot.spaces.nasbench101 import OPERATIONS, NasBench101, published_hash

SPACE = NasBench101()
SMALL = NasBench101(channels=7, cells=2)
CONV3, CONV1, POOL = range(3)

# The diagram of the module.
DRAWN = (
    "ModelSpec(matrix=[[0, 1, 0, 0, 1], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], "
    "ops=['input', 'conv3x3-bn-relu', 'conv1x1-bn-relu', 'maxpool3x3', 'output'])"
)
DIRECT = "ModelSpec(matrix=[[0, 1], [0, 0]], ops=['input', 'output'])"

seeds = st.integers(0, 2**32 - 1)
archs = seeds.map(lambda seed: SPACE.sample(np.random.default_rng(seed)))


def make(edges: str, operations: tuple[int, ...]) -> Arch:
    """From edges like ``"01 12"``."""
    return Arch("nasbench101", (tuple((int(s), int(v)) for s, v in edges.split()), operations))


# The input goes to a pooling and to the output, and a vertex has three sources.
BUSY = make("01 03 05 12 13 23 24 35 45", (CONV3, CONV1, POOL, CONV3))


# --- the space -------------------------------------------------------------------------------------------------------


def test_is_registered_with_its_abilities() -> None:
    assert get_space("nasbench101") == SPACE
    assert get_space("nasbench101(channels=8, cells=1)") == NasBench101(channels=8, cells=1)
    assert isinstance(SPACE, Encodable)
    assert isinstance(SPACE, Measurable)
    assert SPACE.task == TaskSpec.images(3, 32, 32, classes=10)
    assert SPACE.network_settings("official") == {"channels": 128, "cells": 3}
    assert SPACE.network_settings("narrow") == {"channels": 16, "cells": 3}
    assert SMALL.network_settings("narrow") == {"channels": 7, "cells": 2}


def test_importing_the_space_does_not_import_torch() -> None:
    code = "import sys, subshot.spaces.nasbench101; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("setting", [{"channels": 4}, {"channels": 8.0}, {"cells": 0}, {"cells": True}])
def test_refuses_settings_too_small(setting: dict[str, int]) -> None:
    (key, value), *_ = setting.items()
    with pytest.raises(OptionError, match=f"{key}={value!r}.*whole number from"):
        NasBench101(**setting)


def test_size_is_that_of_all_graphs_without_dead_vertices() -> None:
    total = 0
    for vertices in range(2, 8):
        pairs = [(source, vertex) for vertex in range(vertices) for source in range(vertex)]
        graphs = np.arange(2 ** len(pairs))
        there = {pair: graphs >> position & 1 == 1 for position, pair in enumerate(pairs)}
        right = sum(edge.astype(np.int8) for edge in there.values()) <= 9
        for vertex in range(vertices):  # something enters and something leaves: then all of them count
            if vertex:
                right &= np.logical_or.reduce([there[source, vertex] for source in range(vertex)])
            if vertex < vertices - 1:
                right &= np.logical_or.reduce([there[vertex, target] for target in range(vertex + 1, vertices)])
        total += int(right.sum()) * 3 ** (vertices - 2)
    assert SPACE.size == total


def test_refuses_other_variants_and_tasks() -> None:
    arch = SPACE.parse(DRAWN)
    for use in (SPACE.build, SPACE.measure):
        with pytest.raises(UnknownNameError, match="official"):
            use(arch, variant="naslib")
        with pytest.raises(OptionError, match="takes one input of images"):
            use(arch, TaskSpec((InputSpec("tokens", (12,)),), 2))


@pytest.mark.parametrize(
    "arch",
    [
        Arch("darts", (((0, 1),), ())),
        Arch("nasbench101", ()),
        Arch("nasbench101", (1, 2)),
        make("01", (CONV3,)),  # no path
        make("01 02", (CONV3,)),  # vertex 1 is dead
        make("12 01", (CONV3,)),  # not in order
        make("01 01 12", (CONV3,)),
        make("01 12", (3,)),
        make("01 12 23 34 45 56 67", (0,) * 6),
        make("01 02 03 04 05 16 26 36 46 56", (0,) * 5),
    ],
    ids=str,
)
def test_refuses_what_is_no_cell(arch: Arch) -> None:
    for use in (SPACE.format, SPACE.measure, SPACE.build, SPACE.encode, published_hash):
        with pytest.raises(ArchError, match="no nasbench101 architecture"):
            use(arch)
    with pytest.raises(ArchError, match="no nasbench101 architecture"):
        SPACE.mutate(arch, np.random.default_rng(0))


# --- text ------------------------------------------------------------------------------------------------------------


@given(archs)
def test_parse_inverts_format(arch: Arch) -> None:
    assert SPACE.parse(SPACE.format(arch)) == arch


def test_every_published_form_names_the_same_cell() -> None:
    arch = make("01 04 12 13 24 34", (CONV3, CONV1, POOL))
    assert SPACE.format(arch) == DRAWN
    matrix = "[[0,1,0,0,1],[0,0,1,1,0],[0,0,0,0,1],[0,0,0,0,1],[0,0,0,0,0]]"
    for text in (
        DRAWN,
        DRAWN.replace("matrix=", "").replace("ops=", "").replace("'", '"'),
        f" [{matrix}, [-1, 0, 1, 2, -2]]\n",
        f'[{matrix}, ["input", "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3", "output"]]',
        "naslib:010010011000001000010000004321",
        "010010011000001000010000004321",
    ):
        assert SPACE.parse(text) == arch


def test_dead_vertices_are_left_out_before_the_limits_are_checked() -> None:
    # 1 is not reached, 3 leads nowhere, and of ten edges only two count.
    text = "[[[0,0,1,1,0],[0,0,1,1,1],[0,0,0,1,1],[0,0,0,0,0],[0,0,0,0,0]],[-1,0,2,1,-2]]"
    assert SPACE.parse(text) == make("01 12", (POOL,))
    chain = np.eye(9, k=1, dtype=int)
    chain[0, 8] = 1
    chain[3] = 0  # cut
    assert SPACE.parse(str([chain.tolist(), [-1, *[0] * 7, -2]])) == make("01", ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "can't be read"),
        ("Genotype(normal=[])", "can't be read"),
        ("ModelSpec(matrix=[[0, 1], [0, 0]], ops=['input', exit()])", "can't be read"),
        ("ModelSpec(matrix=[[0, 1], [0, 0]], ops=[])", "no list of two or more"),
        (DRAWN.replace("'conv1x1-bn-relu'", "'conv1x1'"), "no label named 'conv1x1'. Did you mean 'conv1x1-bn-relu'"),
        (DRAWN.replace("'output'", "'input'"), "input must be the first label and the output the last"),
        (DRAWN.replace("'maxpool3x3'", "'output'"), "each once"),
        (DRAWN.replace("[0, 0, 0, 0, 1], [0", "[0"), "not 5 x 5"),
        (DRAWN.replace("[0, 0, 0, 0, 0]", "[0, 0, 0, 0]"), "not 5 x 5"),
        (DRAWN.replace("[0, 0, 0, 0, 0]", "[0, 0, 1, 0, 0]"), "on or below the diagonal"),
        (DRAWN.replace("[0, 0, 0, 0, 0]", "[0, 0, 0, 0, 2]"), "other entries than 0 and 1"),
        (DRAWN.replace("[0, 0, 0, 0, 0]", "[0, 0, 0, 0, true]"), "other entries than 0 and 1"),
        ("[[[0,1],[0,0]],[-1,-3]]", "no label -3"),
        ("[[[0,1],[0,0]],[-1,NaN]]", "no label nan"),
        ("[[[0,0],[0,0]],[-1,-2]]", "no path leads"),
        ("[[0,1],[-1,-2],3]", "no pair of matrix and labels"),
        (str([np.eye(8, k=1, dtype=int).tolist(), [-1, *[0] * 6, -2]]), "8 vertices and 7 edges that count"),
        ("010004", "the output the last"),
        ("010009", "digits above 4"),
        ("0100", "4 digits, and n vertices take"),
        ("[" * 3_000, "can't be read"),
        ("[" * 5_000, "5000 characters"),
    ],
)
def test_says_what_is_wrong_with_a_text(text: str, message: str) -> None:
    with pytest.raises(ArchError, match=message) as caught:
        SPACE.parse(text)
    assert "ModelSpec(matrix=" in caught.value.hint


@given(st.text("[]01,-2 '\"ModelSpec(matrix=ops)", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        arch = SPACE.parse(text)
    except ArchError:
        return
    assert SPACE.parse(SPACE.format(arch)) == arch


# --- moves and vectors -----------------------------------------------------------------------------------------------


def test_sampling_draws_all_sizes_and_no_dead_vertices() -> None:
    rng = np.random.default_rng(0)
    drawn = [SPACE.sample(rng) for _ in range(300)]
    assert {len(arch.genes[1]) for arch in drawn} >= {1, 2, 3, 4, 5}
    assert max(len(arch.genes[0]) for arch in drawn) == 9
    assert all(type(value) is int for arch in drawn for edge in arch.genes[0] for value in edge)
    codes = [code for arch in drawn for code in arch.genes[1]]
    assert all(abs(codes.count(code) / len(codes) - 1 / 3) < 0.06 for code in range(3))


@given(archs, seeds)
def test_mutation_changes_the_cell(arch: Arch, seed: int) -> None:
    child = SPACE.mutate(arch, np.random.default_rng(seed))
    assert child != arch
    assert SPACE.parse(SPACE.format(child)) == child


def test_mutation_grows_and_shrinks() -> None:
    rng = np.random.default_rng(0)
    for text in (DIRECT, DRAWN):
        arch = SPACE.parse(text)
        vertices = {len(SPACE.mutate(arch, rng).genes[1]) for _ in range(300)}
        assert vertices >= {0, 1, 2, 3, 4, 5} - {len(arch.genes[1])}


def test_mutation_flips_as_often_as_published() -> None:
    # A chain of five has no vertex to add; where all five are left, each operation changes with chance 1/5.
    rng, arch = np.random.default_rng(0), make("01 12 23 34 45 56", (CONV3, CONV1, POOL, CONV3, CONV1))
    same = []
    for _ in range(3_000):
        child = SPACE.mutate(arch, rng)
        if len(child.genes[1]) == 5:
            same.append([a != b for a, b in zip(arch.genes[1], child.genes[1], strict=True)])
    assert len(same) > 1_000
    assert np.abs(np.mean(same, axis=0) - 0.2).max() < 0.06


@given(archs)
def test_decode_inverts_encode(arch: Arch) -> None:
    vector = SPACE.encode(arch)
    assert (vector.shape, vector.dtype) == ((36,), np.float32)
    assert vector.sum() == len(arch.genes[0]) + len(arch.genes[1])
    assert SPACE.decode(vector) == arch


@pytest.mark.parametrize("position", range(36))
def test_decodes_no_vector_of_a_dead_vertex_or_two_operations(position: int) -> None:
    vector = SPACE.encode(make("01 12 23 34 45 56", (CONV3,) * 5))
    vector[position] = 1 - vector[position]
    arch = SPACE.decode(vector)
    assert arch is None or np.array_equal(SPACE.encode(arch), vector)
    # Taking an edge away breaks the chain; another one only adds a way. Operations have to be one each.
    is_edge = position < 21
    assert (arch is not None) == (is_edge and vector[position] == 1)
    assert SPACE.decode(np.full(36, np.nan)) is None


# --- the published key -----------------------------------------------------------------------------------------------


def test_the_hash_forgets_the_order_of_vertices_only() -> None:
    one, other = make("01 02 13 23 34", (CONV3, CONV1, POOL)), make("01 02 13 23 34", (CONV1, CONV3, POOL))
    assert published_hash(one) == published_hash(other)
    assert published_hash(one) != published_hash(make("01 02 13 23 34", (CONV1, CONV1, POOL)))
    # Published in the benchmark's tables: the cell of a single edge.
    assert published_hash(SPACE.parse(DIRECT)) == "043721b9c7fe8c5fad811d47d83132ec"


# --- the network -----------------------------------------------------------------------------------------------------


def test_widths_by_hand() -> None:
    # Output 128: vertices 3 and 4 get 64 each; 2 feeds 4; 1 feeds 2 and 3.
    network = SPACE.build(BUSY)
    cell = network.stacks[0].cell_0  # type: ignore[union-attr]
    assert cell._width == {1: 64, 2: 64, 3: 64, 4: 64}
    # Three ends share 7 channels: 3 + 2 + 2, and vertex 1, which feeds all, has the most.
    cell = SMALL.build(make("01 12 13 14 25 35 45", (CONV3,) * 4)).stacks[0].cell_0  # type: ignore[union-attr]
    assert cell._width == {1: 3, 2: 3, 3: 2, 4: 2}


def test_the_single_edge_adds_up_by_hand() -> None:
    # Stem, three projections per stack, classifier: each projection is a 1x1 convolution with its norm.
    parameters = 27 * 128 + 256 + 512 * 10 + 10
    macs = 27 * 128 * 1024 + 512 * 10
    for c_in, c_out, pixels in ((128, 128, 1024), (128, 256, 256), (256, 512, 64)):
        for c in (c_in, c_out, c_out):
            parameters += c * c_out + 2 * c_out
            macs += c * c_out * pixels
    size = SPACE.measure(SPACE.parse(DIRECT))
    assert (size.parameters, size.macs) == (parameters, macs)
    assert parameters == 882_570  # published


@settings(max_examples=40, deadline=None)
@given(
    archs,
    st.builds(NasBench101, channels=st.integers(5, 24), cells=st.integers(1, 3)),
    st.tuples(st.integers(1, 4), st.integers(3, 33), st.integers(3, 33), st.integers(1, 20)),
    st.sampled_from(SPACE.variants),
)
def test_measure_counts_the_built_network(
    arch: Arch, space: NasBench101, shape: tuple[int, int, int, int], variant: str
) -> None:
    task = TaskSpec.images(*shape[:3], classes=shape[3])
    with torch.device("meta"):
        network = space.build(arch, task, variant=variant).eval()
        images = torch.empty(1, *shape[:3])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(images)
    assert logits.shape == (1, shape[3])
    size = space.measure(arch, task, variant=variant)
    assert size.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert size.macs == counter.get_total_flops() / 2


def published_forward(weights: dict[str, Tensor], arch: Arch, cells: int, images: Tensor) -> Tensor:
    """The network as the paper defines it, on a matrix and with functions only."""
    edges, operations = arch.genes
    last = len(operations) + 1

    def unit(x: Tensor, name: str) -> Tensor:
        kernel, gain, shift = (weights[f"{name}.{part}"] for part in ("conv.weight", "norm.weight", "norm.bias"))
        x = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        return F.relu(F.batch_norm(x, None, None, gain, shift, training=True))

    def width(vertex: int, c_out: int) -> int:
        ends = sorted(s for s, v in edges if v == last and s)
        if vertex in ends:
            return len(range(ends.index(vertex), c_out, len(ends)))  # dealt out in turn, from the first on
        return max(width(v, c_out) for s, v in edges if s == vertex)

    x = unit(images, "stem")
    for stack in range(3):
        if stack:
            x = F.max_pool2d(x, 2)
        for cell in range(cells):
            prefix, c_out = f"stacks.{stack}.cell_{cell}", weights["stem.conv.weight"].shape[0] * 2**stack
            values = [x]
            for vertex in range(1, last):
                incoming = [values[s][:, : width(vertex, c_out)] for s, v in edges if v == vertex and s]
                if (0, vertex) in edges:
                    incoming.append(unit(x, f"{prefix}.projections.{vertex}"))
                total = torch.stack(incoming).sum(0)
                if operations[vertex - 1] == POOL:
                    values.append(F.max_pool2d(F.pad(total, (1,) * 4, value=-1e9), 3, 1))
                else:
                    values.append(unit(total, f"{prefix}.operations.{vertex}"))
            ends = [values[s] for s, v in edges if v == last and s]
            projected = unit(x, f"{prefix}.projections.{last}") if (0, last) in edges else 0
            x = torch.cat(ends, dim=1) + projected if ends else projected
    return F.linear(x.mean((2, 3)), weights["classifier.weight"], weights["classifier.bias"])


@settings(max_examples=40, deadline=None)
@given(st.one_of(archs, st.sampled_from([BUSY, SPACE.parse(DIRECT), SPACE.parse(DRAWN)])), seeds)
def test_forward_is_the_published_function(arch: Arch, seed: int) -> None:
    torch.manual_seed(seed)
    network = NasBench101(channels=8, cells=2).build(arch).double().train()  # 8 leaves a rest in shares of 3 and 5
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(network(images), published_forward(dict(network.named_parameters()), arch, 2, images))


def test_batch_norm_has_the_published_constants() -> None:
    norms = [module for module in SMALL.build(BUSY).modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.003)}


def test_every_weight_has_a_gradient_and_odd_sizes_work() -> None:
    network = SMALL.build(BUSY, TaskSpec.images(1, 13, 9, classes=3))
    network(torch.randn(4, 1, 13, 9)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert [len(network.feature_blocks()), type(network.feature_blocks()[1]).__name__] == [7, "Cell"]
    assert len(OPERATIONS) == 3
