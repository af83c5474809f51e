"""The two spaces of TransNAS-Bench-101 and their networks, without any table."""

import collections
import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from subshot._types import Arch, InputSpec, TaskSpec
from subshot.errors import ArchError, OptionError, UnknownNameError
from subshot.spaces._space import Crossable, Diagnosing, Encodable, Enumerable, Measurable, get_space
from subshot.spaces.transnas_macro import TransNasMacro
from subshot.spaces.transnas_micro import EDGES, TransNasMicro

MICRO, MACRO = TransNasMicro(), TransNasMacro()
HEADS = ("class_scene", "class_object", "room_layout", "jigsaw", "segmentsemantic", "autoencoder", "normal")

# The rule of the benchmark, said once more: lengths 4 to 6, 1 to 4 strided, 1 to 3 doubling.
LEGAL = {
    digits
    for length in (4, 5, 6)
    for digits in itertools.product((1, 2, 3, 4), repeat=length)
    if 1 <= digits.count(3) + digits.count(4) <= 4 and 1 <= digits.count(2) + digits.count(4) <= 3
}

micros = st.tuples(*[st.integers(0, 3)] * 6).map(lambda genes: Arch("transnas_micro", genes))
macros = st.sampled_from(sorted(LEGAL)).map(lambda genes: Arch("transnas_macro", genes))
seeds = st.integers(0, 2**32 - 1)
both = pytest.mark.parametrize("space", [MICRO, MACRO], ids=lambda space: space.name)


def micro(genes: str) -> Arch:
    return Arch("transnas_micro", tuple(map(int, genes)))


def macro(genes: str) -> Arch:
    return Arch("transnas_macro", tuple(map(int, genes)))


# --- the spaces ------------------------------------------------------------------------------------------------------


@both
def test_is_registered_with_its_abilities(space) -> None:
    assert get_space(space.name) == space
    assert get_space(f"{space.name}(channels=8, head=jigsaw)") == type(space)(channels=8, head="jigsaw")
    for ability in (Enumerable, Crossable, Encodable, Measurable):
        assert isinstance(space, ability)
    assert space.network_settings("official") == {"channels": 64, "head": "class_scene"}
    assert space.network_settings("narrow") == {"channels": 8, "head": "class_scene"}
    assert isinstance(MICRO, Diagnosing)
    assert (MICRO.size, MACRO.size) == (4_096, 3_256)


@both
def test_importing_the_space_does_not_import_torch(space) -> None:
    code = f"import sys, subshot.spaces.{space.name}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@both
def test_heads_have_their_published_tasks(space) -> None:
    tasks = {head: type(space)(head=head).task for head in HEADS}
    assert {head: (task.inputs[0].shape, task.outputs) for head, task in tasks.items()} == {
        "class_scene": ((3, 256, 256), 47),
        "class_object": ((3, 256, 256), 75),
        "room_layout": ((3, 256, 256), 9),
        "jigsaw": ((9, 3, 64, 64), 1000),
        "segmentsemantic": ((3, 256, 256), 17),
        "autoencoder": ((3, 256, 256), 3),
        "normal": ((3, 256, 256), 3),
    }
    assert {head for head, task in tasks.items() if task.loss != "cross_entropy"} == {
        "room_layout",
        "autoencoder",
        "normal",
    }


@both
def test_refuses_settings_and_variants_that_are_none(space) -> None:
    with pytest.raises(OptionError, match="channels is a whole number from 2"):
        type(space)(channels=1)
    with pytest.raises(UnknownNameError, match="Did you mean 'class_scene'"):
        type(space)(head="class_scenes")
    arch = next(space.architectures())
    for use in (space.build, space.measure):
        with pytest.raises(UnknownNameError, match="official"):
            use(arch, variant="naslib")
        with pytest.raises(OptionError, match="takes one input of images"):
            use(arch, TaskSpec((InputSpec("tokens", (12,)),), 2))
    jigsaw = type(space)(head="jigsaw")
    for use in (jigsaw.build, jigsaw.measure):
        with pytest.raises(OptionError, match="takes one input of tiles"):
            use(arch, TaskSpec.images(3, 64, 64, classes=10))


@pytest.mark.parametrize(
    ("space", "arch"),
    [
        (MICRO, Arch("transnas_macro", (0,) * 6)),
        (MICRO, micro("00000")),
        (MICRO, micro("000004")),
        (MACRO, Arch("transnas_micro", (4, 4, 1, 1))),
        (MACRO, macro("111")),
        (MACRO, macro("1111")),
        (MACRO, macro("3111")),
        (MACRO, macro("2222")),
        (MACRO, macro("4444")),
        (MACRO, macro("0441")),
        (MACRO, macro("4111111")),
    ],
    ids=str,
)
def test_refuses_other_architectures(space, arch: Arch) -> None:
    for use in (space.format, space.measure, space.build, space.encode):
        with pytest.raises(ArchError, match=f"no {space.name} architecture"):
            use(arch)


# --- text ------------------------------------------------------------------------------------------------------------


@given(micros)
def test_micro_texts_round_trip(arch: Arch) -> None:
    text = MICRO.format(arch)
    assert re.fullmatch(r"64-41414-\d_\d\d_\d\d\d", text)
    assert MICRO.parse(text) == MICRO.parse("-".join(map(str, arch.genes))) == arch


@given(macros)
def test_macro_texts_round_trip(arch: Arch) -> None:
    digits = list(map(str, arch.genes))
    assert MACRO.format(arch) == f"64-{''.join(digits)}-basic"
    padded = digits + ["0"] * (6 - len(digits))
    assert MACRO.parse(MACRO.format(arch)) == MACRO.parse("-".join(digits)) == MACRO.parse("-".join(padded)) == arch


def test_the_digits_of_naslibs_graph_need_their_mark() -> None:
    # Edges 0-1 0-2 0-3 1-2 1-3 2-3; 0 skip, 1 none, 2 conv 3x3, 3 conv 1x1.
    expected = MICRO.parse("64-41414-1_03_201")
    assert MICRO.parse("naslib_graph:(0,1,3,2,1,0)") == MICRO.parse("naslib_graph:013210") == expected
    for text in ("(0,1,3,2,1,0)", "013210", "[0, 1, 3, 2, 1, 0]"):
        with pytest.raises(ArchError, match=r"whose digits.*naslib_graph:<six digits>"):
            MICRO.parse(text)


@pytest.mark.parametrize(
    ("space", "text", "message"),
    [
        (MICRO, "", "no cell of transnas_micro. Write 64-41414-a_bc_def"),
        (MICRO, "64-41414-1_23_124", "no cell"),
        (MICRO, "64-41414-1_23_12", "no cell"),
        (MICRO, "64-1234-basic", "no cell"),
        (MICRO, "32-41414-1_23_123", "no cell"),
        (MICRO, "0-0-0-0-0", "no cell"),
        (MICRO, "exit(1)", "no cell"),
        (MICRO, "naslib:012301", "Or naslib_graph:<six digits>"),
        (MICRO, "naslib_graph:01234", "Or naslib_graph:<six digits>"),
        (MACRO, "", "no transnas_macro architecture. Write 64-1234-basic"),
        (MACRO, "64-1235-basic", "no transnas_macro architecture"),
        (MACRO, "64-41414-1_23_123", "no transnas_macro architecture"),
        (MACRO, "1-0-2-3-4", "no transnas_macro architecture"),
        (MACRO, "exit(1)", "no transnas_macro architecture"),
        (MACRO, "64-123-basic", "3 modules, of which 1 halve the map and 1 double the width"),
        (MACRO, "2-2-4-4", "4 modules, of which 2 halve the map and 4 double the width"),
        (MACRO, "64-1111-basic", "0 halve the map and 0 double"),
    ],
)
def test_says_what_is_wrong_with_a_text(space, text: str, message: str) -> None:
    with pytest.raises(ArchError, match=re.escape(message)):
        space.parse(text)


# --- moves and vectors -----------------------------------------------------------------------------------------------


def test_every_macro_network_is_listed_once() -> None:
    assert [arch.genes for arch in MACRO.architectures()] == sorted(LEGAL, key=lambda genes: (len(genes), genes))
    assert collections.Counter(map(len, LEGAL)) == {4: 210, 5: 750, 6: 2_296}


@given(micros, seeds)
def test_micro_mutation_changes_one_edge(arch: Arch, seed: int) -> None:
    child = MICRO.mutate(arch, np.random.default_rng(seed))
    assert sum(old != new for old, new in zip(arch.genes, child.genes, strict=True)) == 1


def test_micro_mutation_reaches_the_18_neighbours_equally() -> None:
    rng, arch = np.random.default_rng(0), micro("012331")
    counts = collections.Counter(MICRO.mutate(arch, rng) for _ in range(3600))
    assert len(counts) == 18
    assert 150 < min(counts.values()) <= max(counts.values()) < 250


def is_one_step(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether one module is replaced, or the longer is the shorter with one module put in."""
    if len(one) == len(other):
        return sum(a != b for a, b in zip(one, other, strict=True)) == 1
    short, long = sorted((one, other), key=len)
    return any(long[:place] + long[place + 1 :] == short for place in range(len(long)))


@pytest.mark.parametrize("genes", ["4111", "1234", "412334", "12143", "444111"])
def test_macro_mutation_reaches_all_legal_networks_one_step_away(genes: str) -> None:
    rng, arch = np.random.default_rng(0), macro(genes)
    reached = {MACRO.mutate(arch, rng).genes for _ in range(1_000)}
    assert reached == {other for other in LEGAL if is_one_step(arch.genes, other)}


@given(macros, macros, seeds)
def test_macro_crossover_takes_length_and_modules_from_the_parents(first: Arch, second: Arch, seed: int) -> None:
    child = MACRO.crossover(first, second, np.random.default_rng(seed)).genes
    assert child in LEGAL
    assert len(child) in (len(first.genes), len(second.genes))
    for place, digit in enumerate(child):
        assert digit in (*first.genes[place : place + 1], *second.genes[place : place + 1])


@given(micros, micros, seeds)
def test_micro_crossover_takes_each_edge_from_a_parent(first: Arch, second: Arch, seed: int) -> None:
    child = MICRO.crossover(first, second, np.random.default_rng(seed))
    assert all(gene in pair for gene, *pair in zip(child.genes, first.genes, second.genes, strict=True))


def test_macro_vectors() -> None:
    vector = MACRO.encode(macro("1243"))
    assert vector.reshape(6, 4).argmax(axis=1)[:4].tolist() == [0, 1, 3, 2]
    assert vector.sum() == 4
    for bad in (np.zeros(24), np.ones(24), np.zeros(23), np.full(24, np.nan), np.roll(vector, 4), np.roll(vector, 1)):
        assert MACRO.decode(bad) is None


@pytest.mark.parametrize("vector", [np.zeros(24), np.ones(24), np.eye(24)[0], np.zeros(23), np.full(24, np.nan)])
def test_micro_decodes_nothing_else(vector: np.ndarray) -> None:
    assert MICRO.decode(vector) is None


def test_defects_are_cells_without_a_path() -> None:
    ways = [(3,), (0, 4), (1, 5), (0, 2, 5)]  # positions of the edges of every way from 0 to 3
    for arch in MICRO.architectures():
        connected = any(all(arch.genes[edge] for edge in way) for way in ways)
        assert (MICRO.defect(arch) is None) == connected


# --- the networks ----------------------------------------------------------------------------------------------------


def task_of(head: str, shape: tuple[int, int, int], outputs: int) -> TaskSpec:
    inputs = (InputSpec("tiles", (4, *shape)) if head == "jigsaw" else InputSpec("images", shape),)
    return TaskSpec(inputs, outputs)


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(micros, macros),
    st.sampled_from(HEADS),
    st.integers(2, 12),
    st.tuples(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70)),
    st.integers(1, 20),
    st.sampled_from(["official", "narrow"]),
)
def test_measure_counts_the_built_network(
    arch: Arch, head: str, channels: int, shape: tuple[int, int, int], outputs: int, variant: str
) -> None:
    space = (TransNasMicro if arch.space == "transnas_micro" else TransNasMacro)(channels=channels, head=head)
    task = task_of(head, shape, outputs)
    with torch.device("meta"):
        network = space.build(arch, task, variant=variant).eval()
        images = torch.empty(1, *task.inputs[0].shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = network(images)
    assert result.shape[:2] == (1, outputs)
    size = space.measure(arch, task, variant=variant)
    assert size.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert size.macs == counter.get_total_flops() / 2


# Networks of every total stride: 8, 16, 32, 64.
STRIDES = {8: "4111", 16: "4311", 32: "4331", 64: "333411"}


@pytest.mark.parametrize("head", HEADS)
def test_official_heads_have_the_published_shapes(head: str) -> None:
    archs = [(TransNasMacro(head=head), macro(genes)) for genes in STRIDES.values()]
    for space, arch in [(TransNasMicro(head=head), micro("123123")), *archs]:
        with torch.device("meta"):
            network = space.build(arch)
            result = network(torch.empty(2, *space.task.inputs[0].shape))
        dense = head in ("segmentsemantic", "autoencoder", "normal")
        assert result.shape == (2, space.task.outputs, *((256, 256) if dense else ()))


@pytest.mark.parametrize(("stride", "doubling"), [(8, {9, 11, 13}), (16, {7, 9, 11, 13}), (32, {5, 7, 9, 11, 13})])
def test_layers_of_the_generator(stride: int, doubling: set[int]) -> None:
    head = TransNasMacro(head="autoencoder").build(macro(STRIDES[stride])).head
    widths = [128, 1024, 1024, 512, 512, 256, 128, 64, 64, 32, 32, 16, 32, 16, 3]
    convolutions = [layer.conv for layer in head]
    assert [(conv.in_channels, conv.out_channels) for conv in convolutions] == list(itertools.pairwise(widths))
    transposed = {number for number, conv in enumerate(convolutions, 1) if isinstance(conv, nn.ConvTranspose2d)}
    assert transposed == doubling
    assert [type(part).__name__ for part in head[-1]] == ["Conv2d", "Tanh"]
    assert head[0].relu.negative_slope == 0.2


@pytest.mark.parametrize(("stride", "plain"), [(8, 3), (16, 2), (32, 1), (64, 0)])
def test_layers_of_the_segmentation_decoder(stride: int, plain: int) -> None:
    head = TransNasMacro(head="segmentsemantic").build(macro(STRIDES[stride])).head
    convolutions = [layer.conv for layer in head]
    assert [conv.out_channels for conv in convolutions] == [1024, 512, 256, 128, 64, 32, 32, 17]
    assert all(conv.bias is not None for conv in convolutions)
    kinds = [isinstance(conv, nn.ConvTranspose2d) for conv in convolutions]
    assert kinds == [False] * (1 + plain) + [True] * (6 - plain) + [False]
    assert len(head[-1]) == 1


class Functions:
    """The networks from their description, with functions only and weights by name."""

    def __init__(self, network: nn.Module) -> None:
        self.weights = dict(network.named_parameters())

    def norm(self, x: Tensor, name: str) -> Tensor:
        gain, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.batch_norm(x, None, None, gain, shift, training=True)

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def unit(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        return self.norm(self.conv(F.relu(x), f"{name}.conv", stride), f"{name}.norm")

    def reduce(self, x: Tensor, name: str) -> Tensor:
        x = F.relu(x)
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        halves = [self.conv(x, f"{name}.even", 2), self.conv(shifted, f"{name}.odd", 2)]
        return self.norm(torch.cat(halves, 1), f"{name}.norm")

    def cell(self, x: Tensor, genes: tuple[int, ...], name: str, stride: int) -> Tensor:
        first = F.avg_pool2d(x[:, :1], stride).expand(-1, x.shape[1] * stride, -1, -1) * 0  # only a shape
        nodes = [x, first, first, first]
        for code, (node, source) in zip(genes, EDGES, strict=True):
            edge, step = f"{name}.edges.{source}_to_{node}", stride if source == 0 else 1
            if code == 1:
                nodes[node] = nodes[node] + (self.reduce(nodes[source], edge) if step == 2 else nodes[source])
            elif code:
                nodes[node] = nodes[node] + self.unit(nodes[source], edge, step)
        return nodes[3]

    def block(self, x: Tensor, digit: int, name: str) -> Tensor:
        stride = 2 if digit in (3, 4) else 1
        y = self.unit(self.unit(x, f"{name}.branch.0", stride), f"{name}.branch.1")
        if digit != 1:
            x = self.norm(self.conv(x, f"{name}.shortcut.conv", stride), f"{name}.shortcut.norm")
        return x + y

    def backbone(self, images: Tensor, arch: Arch) -> Tensor:
        x = self.norm(self.conv(images, "stem.conv", 2), "stem.norm")
        x = self.unit(x, "stem.second", 2)
        is_micro = arch.space == "transnas_micro"
        for number, digit in enumerate((4, 1, 4, 1, 4) if is_micro else arch.genes):
            for index, kind in ((2 * number, digit), (2 * number + 1, 1)):
                name = f"cells.{index}"
                x = self.cell(x, arch.genes, name, 2 if kind == 4 else 1) if is_micro else self.block(x, kind, name)
        return x

    def linear(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weights["head.linear.weight"], self.weights["head.linear.bias"])


@settings(max_examples=40, deadline=None)
@given(st.one_of(micros, macros), st.booleans(), seeds)
def test_forward_is_the_published_function(arch: Arch, tiled: bool, seed: int) -> None:
    torch.manual_seed(seed)
    head = "jigsaw" if tiled else "class_object"
    space = (TransNasMicro if arch.space == "transnas_micro" else TransNasMacro)(channels=4, head=head)
    task = task_of(head, (3, 64, 64), 5)
    network = space.build(arch, task).double().train()
    images = torch.randn(3, *task.inputs[0].shape, dtype=torch.float64)
    functions = Functions(network)
    maps = functions.backbone(images.reshape(-1, 3, 64, 64), arch).mean((2, 3))
    torch.testing.assert_close(network(images), functions.linear(maps.reshape(3, -1)))


def test_blocks_and_the_constant_output_of_an_empty_cell() -> None:
    network = TransNasMicro(channels=4).build(micro("000000"), TaskSpec.images(3, 20, 20, classes=3))
    logits = network(torch.randn(3, 3, 20, 20))
    assert (logits == logits[0]).all()
    assert len(network.feature_blocks()) == 11
    assert len(MACRO.build(macro("4111")).feature_blocks()) == 9
