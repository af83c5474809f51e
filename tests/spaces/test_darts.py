import copy
import csv
import gzip
import itertools
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from subshot._types import Arch, InputSpec, TaskSpec
from subshot.errors import ArchError, OptionError, UnknownNameError
from subshot.networks import darts as networks
from subshot.spaces._space import Crossable, Encodable, Measurable, get_space
from subshot.spaces.darts import OPERATIONS, Darts

NONE, MAX, AVG, SKIP, SEP3, SEP5, DIL3, DIL5 = range(8)

DARTS_V2_CELLS = (
    ((SEP3, 0), (SEP3, 1), (SEP3, 0), (SEP3, 1), (SEP3, 1), (SKIP, 0), (SKIP, 0), (DIL3, 2)),
    ((MAX, 0), (MAX, 1), (SKIP, 2), (MAX, 1), (MAX, 0), (SKIP, 2), (SKIP, 2), (MAX, 1)),
)
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[2, 3, 4, 5])"
)

# Whatever the space accepts: any order, twice the same source, `none`.
cells = st.tuples(*(st.tuples(st.integers(0, 7), st.integers(0, i // 2 + 1)) for i in range(8)))
archs = st.builds(lambda normal, reduce: Arch("darts", (normal, reduce)), cells, cells)
seeds = st.integers(0, 2**32)
spaces = st.builds(Darts, with_none=st.booleans(), tied=st.booleans())


def drawn(space: Darts, seed: int) -> Arch:
    return space.sample(np.random.default_rng(seed))


def nodes(cell):
    return [cell[i : i + 2] for i in range(0, 8, 2)]


# ---- the space as an entry of the registry


def test_is_registered_with_settings():
    assert get_space("darts") == Darts()
    assert get_space("darts(channels=16, tied=true)") == Darts(channels=16, tied=True)


def test_has_the_optional_abilities():
    for ability in (Crossable, Encodable, Measurable):
        assert isinstance(Darts(), ability)


def test_names_its_variants():
    space = Darts()
    assert space.variants == ("cifar", "imagenet", "swap_tiny", "swap_pair")
    assert space.scoring_variant in space.variants
    assert space.task == TaskSpec.images(3, 32, 32, classes=10)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("channels", 0), ("channels", 1.5), ("layers", -1), ("imagenet_channels", 1), ("imagenet_layers", 0)],
)
def test_refuses_settings_too_small(setting, value):
    with pytest.raises(OptionError, match=f"{setting}={value}.*or more"):
        Darts(**{setting: value})


def test_importing_the_space_does_not_import_torch():
    code = "import sys, subshot.spaces.darts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_operations_are_the_networks_operations():
    assert tuple(networks.OPERATIONS) == OPERATIONS


def test_is_picklable():
    space = Darts(channels=8, tied=True)
    assert pickle.loads(pickle.dumps(space)) == space  # noqa: S301
    arch = drawn(space, 0)
    assert pickle.loads(pickle.dumps(arch)) == arch  # noqa: S301


# ---- texts


def test_reads_and_writes_the_published_text():
    assert Darts().parse(DARTS_V2) == Arch("darts", DARTS_V2_CELLS)
    assert Darts().format(Arch("darts", DARTS_V2_CELLS)) == DARTS_V2


@given(archs)
def test_parse_undoes_format(arch):
    assert Darts().parse(Darts().format(arch)) == arch


@pytest.mark.parametrize(
    "text",
    [
        DARTS_V2.replace("[2, 3, 4, 5]", "range(2, 6)"),
        DARTS_V2.replace("[2, 3, 4, 5]", "list(range(2, 6))"),
        DARTS_V2.replace("[2, 3, 4, 5]", "(2, 3, 4, 5)"),
        DARTS_V2.replace("[", "(").replace("]", ")"),
        DARTS_V2.replace("'", '"').replace(", ", ",\n  "),
        f"\n  {DARTS_V2}\n",
        DARTS_V2.replace(" ", ""),
        "(((0,3),(1,3),(0,3),(1,3),(1,3),(0,2),(0,2),(2,5)),((0,0),(1,0),(2,2),(1,0),(0,0),(2,2),(2,2),(1,0)))",
        "naslib:(((0,3),(1,3),(0,3),(1,3),(1,3),(0,2),(0,2),(2,5)),((0,0),(1,0),(2,2),(1,0),(0,0),(2,2),(2,2),(1,0)))",
    ],
)
def test_reads_other_forms_of_the_same_genotype(text):
    assert Darts().format(Darts().parse(text)) == DARTS_V2


def test_fields_may_come_in_any_order():
    normal, reduce = DARTS_V2.removeprefix("Genotype(").removesuffix(")").split(", reduce=")
    assert Darts().parse(f"Genotype(reduce={reduce}, {normal})") == Darts().parse(DARTS_V2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "can't be read"),
        ("DARTS_V2", "may hold"),
        ("0123456789", "can't be read"),
        ("12345678", "neither"),
        ("Genotype()", "fields"),
        ("Genotype", "may hold"),
        (DARTS_V2 + ")", "can't be read"),
        (DARTS_V2.replace("Genotype", "open"), "may hold"),
        (DARTS_V2.replace("Genotype(", "Genotype(1, "), "may hold"),
        (DARTS_V2.replace("Genotype(", "darts.Genotype("), "characters"),
        (DARTS_V2.replace("normal=", "norm="), "fields"),
        (DARTS_V2[:-1] + ", extra=1)", "fields"),
        (DARTS_V2[:-1] + ", normal=[])", "fields"),
        (DARTS_V2[:-1] + ", **{})", "characters"),
        (DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=[2, 3, 4]"), "normal_concat must be"),
        (DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=range(3, 7)"), "may hold"),
        (DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=range(2, 600000000)"), "may hold"),
        (DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=list(open('x'))"), "may hold"),
        (DARTS_V2.replace("('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ", "", 1), "has 6 edges"),
        (DARTS_V2.replace("'dil_conv_3x3'", "'conv_7x7'"), "('conv_7x7', 2) has no operation"),
        (DARTS_V2.replace("'dil_conv_3x3'", "'dil_conv_3x3', 1"), "no pair"),
        (DARTS_V2.replace("'dil_conv_3x3'", "6"), "(6, 2) has no operation"),
        (DARTS_V2.replace("'dil_conv_3x3'", "[6]"), "has no operation"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)"), "Edge 7 of the normal cell comes from 5"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', -1)"), "characters"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 2e0)"), "may hold"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', True)"), "may hold"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", f"('dil_conv_3x3', {'9' * 3000})"), "comes from 9999"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "[('dil_conv_3x3', 2) for x in [1]][0]"), "may hold"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "__import__('os')"), "may hold"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "(lambda: 1)()"), "characters"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "f'x'"), "may hold"),
        (DARTS_V2.replace("'dil_conv_3x3'", "b'dil_conv_3x3'"), "may hold"),
        (DARTS_V2.replace("[('sep", "\0[('sep"), "characters"),
        ("[" * 150 + "]" * 150, "neither"),
        ("[" * 1900 + "]" * 1900, "can't be read"),
        ("(" * 3999, "can't be read"),
        ("x" * 4001, "4001 characters"),
        ("range(2, 6)", "neither"),
        ("[[], []]", "has 0 edges"),
        ("(((0,3),(1,3)),((0,0),(1,0)))", "has 2 edges"),
        ("(((0,3),(1,9)),((0,0),(1,0)))", "(1, 9) has no operation"),
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|none~2|", "characters"),
    ],
)
def test_refuses_what_is_no_genotype(text, message):
    with pytest.raises(ArchError) as caught:
        Darts().parse(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 600


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    with pytest.raises(ArchError):
        Darts().parse(text)


@given(st.integers(0, len(DARTS_V2) - 1), st.text(max_size=3))
def test_a_damaged_text_is_read_or_refused(position, replacement):
    try:
        arch = Darts().parse(DARTS_V2[:position] + replacement + DARTS_V2[position + 1 :])
    except ArchError:
        return
    assert Darts().parse(Darts().format(arch)) == arch


def test_the_table_of_trained_networks_round_trips(data_root: Path):
    with gzip.open(data_root / "nas-bench/darts-cifar10-1000/darts_1000.csv.gz", "rt") as file:
        texts = [row["genotype"] for row in csv.DictReader(file)]
    space = Darts(tied=True)
    assert len(texts) == 1000
    assert [space.format(space.parse(text)) for text in texts] == texts


def test_naslib_tables_are_read(data_root: Path):
    with gzip.open(data_root / "nas-bench/nas-bench-301/nb301_nbsuitezero_partial.csv.gz", "rt") as file:
        texts = [row["compact"] for row in csv.DictReader(file)]
    assert len(texts) == 725
    for text in texts:
        genes = Darts().parse(text).genes
        assert str(tuple(tuple((s, op - 1) for op, s in cell) for cell in genes)).replace(" ", "") == text


# ---- architectures


@pytest.mark.parametrize(
    "arch",
    [
        Arch("nasbench201", (1, 2, 3)),
        Arch("darts", DARTS_V2_CELLS[:1]),
        Arch("darts", (1, 2)),
        Arch("darts", (DARTS_V2_CELLS[0][:6], DARTS_V2_CELLS[1])),
        Arch("darts", (((8, 0), *DARTS_V2_CELLS[0][1:]), DARTS_V2_CELLS[1])),
        Arch("darts", (((4, 2), *DARTS_V2_CELLS[0][1:]), DARTS_V2_CELLS[1])),
        Arch("darts", (((4, -1), *DARTS_V2_CELLS[0][1:]), DARTS_V2_CELLS[1])),
    ],
)
def test_refuses_foreign_architectures(arch):
    space, rng = Darts(), np.random.default_rng(0)
    good = Arch("darts", DARTS_V2_CELLS)
    for use in (
        space.format,
        space.encode,
        space.measure,
        space.build,
        lambda a: space.mutate(a, rng),
        lambda a: space.crossover(good, a, rng),
    ):
        with pytest.raises(ArchError):
            use(arch)


def test_a_tied_space_has_no_untied_architectures():
    with pytest.raises(ArchError, match="differ"):
        Darts(tied=True).parse(DARTS_V2)
    assert Darts(tied=True).decode(Darts().encode(Arch("darts", DARTS_V2_CELLS))) is None


def test_size_counts_ordered_distinct_sources():
    wirings = len(list(itertools.product(*(itertools.combinations(range(n), 2) for n in (2, 3, 4, 5)))))
    assert wirings == 180
    assert Darts().size == (wirings * 7**8) ** 2
    assert Darts().size == pytest.approx(1.08e18, rel=0.01)
    assert Darts(with_none=True).size == (wirings * 8**8) ** 2
    assert Darts(tied=True).size == wirings * 7**8


@given(spaces, seeds)
def test_samples_are_in_the_counted_set(space, seed):
    arch = drawn(space, seed)
    assert is_counted(space, arch)
    assert arch == drawn(space, seed)
    assert space.parse(space.format(arch)) == arch


def is_counted(space: Darts, arch: Arch) -> bool:
    least = NONE if space.with_none else MAX
    return (not space.tied or arch.genes[0] == arch.genes[1]) and all(
        0 <= first[1] < second[1] < n + 2 and least <= first[0] <= DIL5 and least <= second[0] <= DIL5
        for cell in arch.genes
        for n, (first, second) in enumerate(nodes(cell))
    )


def test_samples_reach_every_operation_and_wiring_evenly():
    rng, space = np.random.default_rng(0), Darts()
    drawn_cells = [cell for _ in range(1500) for cell in space.sample(rng).genes]
    for n, wirings in enumerate((1, 3, 6, 10)):
        counts = {}
        for cell in drawn_cells:
            key = tuple(source for _, source in nodes(cell)[n])
            counts[key] = counts.get(key, 0) + 1
        assert len(counts) == wirings
        # 3,000 draws over at most ten cells: five standard deviations around the expectation.
        expected = 3000 / wirings
        assert all(abs(count - expected) < 5 * math.sqrt(expected) for count in counts.values())
    ops = np.bincount([op for cell in drawn_cells for op, _ in cell], minlength=8)
    assert ops[NONE] == 0
    assert np.all(np.abs(ops[1:] - 24000 / 7) < 5 * math.sqrt(24000 / 7))


def difference(before, after):
    """Edges that two cells don't share, as multisets per node."""
    return [
        (list(itertools.filterfalse(b.__contains__, a)), list(itertools.filterfalse(a.__contains__, b)))
        for a, b in zip(nodes(before), nodes(after), strict=True)
        if sorted(a) != sorted(b)
    ]


@given(archs, st.booleans(), seeds)
def test_mutation_changes_one_decision(arch, with_none, seed):
    child = Darts(with_none=with_none).mutate(arch, np.random.default_rng(seed))
    changed = [i for i in (0, 1) if arch.genes[i] != child.genes[i]]
    assert len(changed) == 1
    ((node, before, after),) = (
        (n, a, b)
        for n, (a, b) in enumerate(zip(nodes(arch.genes[changed[0]]), nodes(child.genes[changed[0]]), strict=True))
        if a != b
    )
    # One edge of the node is kept, and the other differs in exactly one field.
    rests = [(before[1 - i], after[1 - j]) for i in (0, 1) for j in (0, 1) if before[i] == after[j]]
    assert any((a[0] != b[0]) != (a[1] != b[1]) for a, b in rests)
    assert all(source < node + 2 for _, source in after)
    if before[0][1] != before[1][1]:
        assert after[0][1] != after[1][1]
    if not with_none:
        assert sum(op == NONE for op, _ in after) <= sum(op == NONE for op, _ in before)


@given(spaces, seeds, seeds)
def test_mutation_stays_in_the_counted_set(space, seed, other):
    arch = drawn(space, seed)
    child = space.mutate(arch, np.random.default_rng(other))
    assert child != arch
    assert is_counted(space, child)
    assert child == space.mutate(arch, np.random.default_rng(other))


def test_mutation_reaches_every_neighbour():
    # Per cell: 8 edges x 6 other operations, and 0 + 2 x 1 + 2 x 2 + 2 x 3 other sources.
    cell = ((MAX, 0), (AVG, 1), (SKIP, 0), (SEP3, 2), (SEP5, 1), (DIL3, 2), (DIL5, 0), (MAX, 4))
    rng = np.random.default_rng(0)
    assert len({Darts().mutate(Arch("darts", (cell, cell)), rng) for _ in range(4000)}) == 2 * (48 + 12)
    assert len({Darts(tied=True).mutate(Arch("darts", (cell, cell)), rng) for _ in range(3000)}) == 48 + 12


@given(archs, archs, seeds)
def test_crossover_takes_whole_nodes(first, second, seed):
    child = Darts().crossover(first, second, np.random.default_rng(seed))
    for kind in (0, 1):
        for a, b, c in zip(*(nodes(arch.genes[kind]) for arch in (first, second, child)), strict=True):
            assert c in (a, b)
    assert Darts().crossover(first, first, np.random.default_rng(seed)) == first


def test_crossover_reaches_every_mix():
    first, second = Arch("darts", (((MAX, 0),) * 8,) * 2), Arch("darts", (((AVG, 0),) * 8,) * 2)
    rng = np.random.default_rng(0)
    assert len({Darts().crossover(first, second, rng) for _ in range(4000)}) == 2**8
    children = {Darts(tied=True).crossover(first, second, rng) for _ in range(400)}
    assert len(children) == 2**4
    assert all(child.genes[0] == child.genes[1] for child in children)


@given(archs)
def test_decode_undoes_encode(arch):
    vector = Darts().encode(arch)
    assert vector.dtype == np.float32
    assert vector.shape == (2 * (8 * 8 + 2 * (2 + 3 + 4 + 5)),)
    assert vector.sum() == 32
    assert Darts().decode(vector) == arch


def test_encoding_is_one_hot_per_decision():
    vector = Darts().encode(Arch("darts", DARTS_V2_CELLS))
    assert vector[:10].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 1, 0]  # sep_conv_3x3 from 0
    assert vector[-13:].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]  # max_pool_3x3 from 1 of 5


@given(archs, st.integers(0, 183), st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0, math.nan, math.inf]))
def test_decode_refuses_other_vectors(arch, position, value):
    vector = Darts().encode(arch)
    same = vector[position] == value
    vector[position] = value
    assert Darts().decode(vector) == (arch if same else None)


@pytest.mark.parametrize("shape", [(0,), (183,), (185,), (1, 184)])
def test_decode_refuses_other_shapes(shape):
    assert Darts().decode(np.zeros(shape)) is None


# ---- networks

SMALL = Darts(channels=4, layers=4, imagenet_channels=5, imagenet_layers=3)


def reference(net: nn.Module, arch: Arch, x: Tensor, *, stem: str, plan: list[bool]) -> Tensor:
    """The network as the papers put it, with functional calls that consume the weights in order.

    ``none`` multiplies by zero, FactorizedReduce always pads, and the batch norms use the batch.
    """
    weights = iter(net.parameters())

    def norm(x):
        return F.batch_norm(x, None, None, next(weights), next(weights), training=True)

    def conv(x, **how):
        return F.conv2d(x, next(weights), **how)

    def conv_bn(x, **how):
        weight = next(weights)
        return norm(F.conv2d(x, weight, **how))

    def factorized_reduce(x):
        x = F.relu(x)
        first = conv(x, stride=2)
        return norm(torch.cat([first, conv(F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:], stride=2)], 1))

    def separable(x, stride, dilation=1):
        weight = next(weights)
        x = F.conv2d(
            F.relu(x),
            weight,
            stride=stride,
            padding=dilation * (weight.shape[-1] - 1) // 2,
            dilation=dilation,
            groups=x.shape[1],
        )
        return conv_bn(x)

    def edge(op, x, stride):
        if op == "none":
            return x[:, :, ::stride, ::stride] * 0
        if op == "max_pool_3x3":
            return F.max_pool2d(x, 3, stride, 1)
        if op == "avg_pool_3x3":
            return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
        if op == "skip_connect":
            return x if stride == 1 else factorized_reduce(x)
        if op.startswith("sep"):
            return separable(separable(x, stride), 1)
        return separable(x, stride, dilation=2)

    after_reduction = False
    if stem == "none":
        before_last = last = x
    elif stem == "cifar":
        before_last = last = conv_bn(x, padding=1)
    else:
        before_last = conv_bn(F.relu(conv_bn(x, stride=2, padding=1)), stride=2, padding=1)
        last, after_reduction = conv_bn(F.relu(before_last), stride=2, padding=1), True
    for reduction in plan:
        states = [factorized_reduce(before_last) if after_reduction else conv_bn(F.relu(before_last))]
        states.append(conv_bn(F.relu(last)))
        for node in nodes(arch.genes[reduction]):
            states.append(sum(edge(OPERATIONS[op], states[s], 2 if reduction and s < 2 else 1) for op, s in node))
        before_last, last, after_reduction = last, torch.cat(states[2:], 1), reduction
    logits = F.linear(last.mean((2, 3)), next(weights), next(weights))
    assert next(weights, None) is None
    return logits


@settings(max_examples=40, deadline=None)
@given(
    archs,
    st.sampled_from(
        [
            ("cifar", "cifar", [False, True, True, False]),
            ("imagenet", "imagenet", [False, True, True]),
            ("swap_tiny", "none", [True]),
            ("swap_pair", "none", [True, False]),
        ]
    ),
    st.integers(1, 4),
    st.sampled_from([(8, 8), (9, 6), (7, 11), (1, 5)]),
)
def test_networks_compute_what_the_papers_say(arch, variant, channels, shape):
    name, stem, plan = variant
    torch.manual_seed(0)
    net = SMALL.build(arch, TaskSpec.images(channels, *shape, classes=7), variant=name).double()
    images = torch.randn(3, channels, *shape, dtype=torch.float64)
    got = net(images)
    assert got.shape == (3, 7)
    torch.testing.assert_close(got, reference(net, arch, images, stem=stem, plan=plan))


@pytest.mark.parametrize("variant", Darts().variants)
def test_a_cell_of_nothing_still_gives_logits(variant):
    nothing = tuple((NONE, 0) for _ in range(8))
    net = SMALL.build(Arch("darts", (nothing, nothing)), variant=variant)
    logits = net(torch.randn(2, 3, 32, 32))
    assert torch.equal(logits, net.classifier.bias.expand(2, 10))
    logits.sum().backward()


def test_activations_are_modules_that_keep_their_input():
    net = SMALL.build(Arch("darts", DARTS_V2_CELLS), variant="swap_pair")
    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    assert not any(relu.inplace for relu in relus)
    # Two per cell for its inputs, two per separable and one per dilated convolution; no strided skip here.
    assert len(relus) == 4 + 5 * 2 + 1


def test_swap_tiny_never_sees_the_normal_cell():
    arch = Arch("darts", DARTS_V2_CELLS)
    other = Arch("darts", (DARTS_V2_CELLS[1], DARTS_V2_CELLS[1]))
    images, outputs = torch.randn(2, 3, 32, 32), []
    for variant, a in itertools.product(("swap_tiny", "swap_pair"), (arch, other)):
        torch.manual_seed(0)
        outputs.append(Darts().build(a, variant=variant)(images))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[2], outputs[3])


def test_a_copied_network_is_independent():
    net = SMALL.build(drawn(SMALL, 1))
    twin = pickle.loads(pickle.dumps(copy.deepcopy(net)))  # noqa: S301
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(net(images), twin(images))
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    assert not torch.equal(net(images), twin(images))


def test_the_first_variant_is_built_unless_told_otherwise():
    arch = drawn(SMALL, 2)
    names = [name for name, _ in SMALL.build(arch).named_parameters()]
    assert names == [name for name, _ in SMALL.build(arch, variant="cifar").named_parameters()]


@pytest.mark.parametrize("method", ["build", "measure"])
def test_refuses_unknown_variants_and_other_inputs(method):
    arch = Arch("darts", DARTS_V2_CELLS)
    with pytest.raises(UnknownNameError, match="swap_tiny"):
        getattr(Darts(), method)(arch, variant="swap_tin")
    tokens = TaskSpec((InputSpec("tokens", (12,), "int64", 100),), 2)
    with pytest.raises(OptionError, match="one input of images"):
        getattr(Darts(), method)(arch, tokens)
