"""The space of NAS-Bench-Macro and its network: by hand, against torch's counter, against the published counts."""

import collections
import csv
import gzip
import itertools
import re
import subprocess
import sys
from pathlib import Path

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
from subshot.spaces._space import Crossable, Encodable, Enumerable, Measurable, Populations, Size, get_space
from subshot.spaces.nasbench_macro import NasBenchMacro, canonical

SPACE = NasBenchMacro()

archs = st.tuples(*[st.integers(0, 2)] * 8).map(lambda genes: Arch("nasbench_macro", genes))
seeds = st.integers(0, 2**32 - 1)


def test_is_registered_with_its_abilities() -> None:
    assert get_space("nasbench_macro") == SPACE
    assert get_space("nasbench_macro(channels=4, features=20)") == NasBenchMacro(channels=4, features=20)
    for ability in (Enumerable, Crossable, Populations, Encodable, Measurable):
        assert isinstance(SPACE, ability)
    assert SPACE.task == TaskSpec.images(3, 32, 32, classes=10)
    assert SPACE.size == 6_561


def test_importing_the_space_does_not_import_torch() -> None:
    code = "import sys, subshot.spaces.nasbench_macro; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("setting", [{"channels": 0}, {"features": -1}, {"channels": 2.5}, {"features": True}])
def test_refuses_settings_below_one(setting: dict[str, int]) -> None:
    (key, value), *_ = setting.items()
    with pytest.raises(OptionError, match=f"{key}={value!r}.*whole number from 1"):
        NasBenchMacro(**setting)


def test_refuses_other_variants_tasks_and_populations() -> None:
    arch = next(SPACE.architectures())
    for use in (SPACE.build, SPACE.measure):
        with pytest.raises(UnknownNameError, match="official"):
            use(arch, variant="narrow")
        with pytest.raises(OptionError, match="takes one input of images"):
            use(arch, TaskSpec((InputSpec("tokens", (12,)),), 2))
    with pytest.raises(UnknownNameError, match="Did you mean 'unique'"):
        SPACE.population("uniqe")


@pytest.mark.parametrize(
    "arch", [Arch("nasbench201", (0,) * 8), Arch("nasbench_macro", (0,) * 7), Arch("nasbench_macro", (0,) * 7 + (3,))]
)
def test_refuses_architectures_of_other_spaces(arch: Arch) -> None:
    for use in (SPACE.format, SPACE.measure, SPACE.build, SPACE.encode, canonical):
        with pytest.raises(ArchError, match="no nasbench_macro architecture"):
            use(arch)


# --- text, moves, vectors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "0000102", "000010200", "00001023", "0000-1020", "[0]*8", "exit(0)0", "٠" * 8])
def test_refuses_any_other_text(text: str) -> None:
    with pytest.raises(ArchError, match=re.escape(repr(text))) as caught:
        SPACE.parse(text)
    assert "8 digits: 0 identity" in caught.value.hint


@given(archs, seeds)
def test_mutation_changes_one_layer(arch: Arch, seed: int) -> None:
    child = SPACE.mutate(arch, np.random.default_rng(seed))
    assert sum(old != new for old, new in zip(arch.genes, child.genes, strict=True)) == 1
    assert SPACE.parse(SPACE.format(child)) == child


def test_mutation_reaches_the_16_neighbours_equally() -> None:
    rng, arch = np.random.default_rng(0), SPACE.parse("01201201")
    counts = collections.Counter(SPACE.mutate(arch, rng) for _ in range(3200))
    assert len(counts) == 16
    assert 150 < min(counts.values()) <= max(counts.values()) < 250


@given(archs, archs, seeds)
def test_crossover_takes_each_layer_from_a_parent(first: Arch, second: Arch, seed: int) -> None:
    child = SPACE.crossover(first, second, np.random.default_rng(seed))
    assert all(gene in pair for gene, *pair in zip(child.genes, first.genes, second.genes, strict=True))


def test_crossover_reaches_every_mixture() -> None:
    rng, parents = np.random.default_rng(0), [SPACE.parse("00000000"), SPACE.parse("11111111")]
    children = {SPACE.crossover(*parents, rng).genes for _ in range(4000)}
    assert children == set(itertools.product((0, 1), repeat=8))


@pytest.mark.parametrize("vector", [np.zeros(24), np.ones(24), np.eye(24)[0], np.zeros(23), np.full(24, np.nan)])
def test_decodes_nothing_else(vector: np.ndarray) -> None:
    assert SPACE.decode(vector) is None


# --- networks that are the same --------------------------------------------------------------------------------------


def test_populations_have_their_published_sizes() -> None:
    assert [len(SPACE.population(name)) for name in SPACE.populations] == [6_561, 3_969]
    assert [SPACE.format(arch) for arch in SPACE.architectures()] == [
        "".join(digits) for digits in itertools.product("012", repeat=8)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00001020", "00010020"),  # 00 | 001 -> 010 | 020
        ("01201001", "01210010"),
        ("20000002", "20000020"),
        ("12012112", "12012112"),
    ],
)
def test_identities_go_last_but_for_the_first_of_a_stage(text: str, expected: str) -> None:
    assert SPACE.format(canonical(SPACE.parse(text))) == expected


@settings(max_examples=20, deadline=None)
@given(archs)
def test_networks_of_one_canonical_text_are_equal(arch: Arch) -> None:
    space, task = NasBenchMacro(channels=3, features=5), TaskSpec.images(3, 16, 16, classes=4)
    outputs = []
    for one in (arch, canonical(arch)):
        torch.manual_seed(0)
        network = space.build(one, task).train()
        torch.manual_seed(1)
        outputs.append(network(torch.randn(4, 3, 16, 16)))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)
    assert canonical(canonical(arch)) == canonical(arch)


# --- the network -----------------------------------------------------------------------------------------------------


def test_published_sizes() -> None:
    assert SPACE.measure(SPACE.parse("00001001")) == Size(895_146, 20_627_968)
    assert SPACE.measure(SPACE.parse("00001020")) == Size(1_322_922, 27_423_232)


@settings(max_examples=40, deadline=None)
@given(
    archs,
    st.builds(NasBenchMacro, channels=st.integers(1, 9), features=st.integers(1, 50)),
    st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(1, 20)),
)
def test_measure_counts_the_built_network(arch: Arch, space: NasBenchMacro, shape: tuple[int, int, int, int]) -> None:
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


def published_forward(weights: list[Tensor], text: str, images: Tensor) -> Tensor:
    """The network from its description, with functions only; takes the weights in the order in which they are used."""
    queue = iter(weights)

    def unit(x: Tensor, stride: int = 1, *, relu: bool = True, depthwise: bool = False) -> Tensor:
        kernel, gain, shift = next(queue), next(queue), next(queue)
        groups = x.shape[1] if depthwise else 1
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
        x = F.batch_norm(x, None, None, gain, shift, training=True)
        return x.clamp(min=0) if relu else x

    x = unit(images)
    for position, digit in enumerate(text):
        stride = 2 if position in (0, 2, 5) else 1
        if digit == "0":
            x = unit(x, 2, relu=False) if stride == 2 else x
        else:
            y = unit(unit(unit(x), stride, depthwise=True), relu=False)
            x = y if stride == 2 else x + y
    x = unit(x).mean((2, 3))
    return x @ next(queue).T + next(queue)


@settings(max_examples=15, deadline=None)
@given(archs, seeds)
def test_forward_is_the_published_function(arch: Arch, seed: int) -> None:
    torch.manual_seed(seed)
    network = NasBenchMacro(channels=3, features=6).build(arch).double().train()
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    expected = published_forward(list(network.parameters()), SPACE.format(arch), images)
    torch.testing.assert_close(network(images), expected)


def test_kernels_and_expansions() -> None:
    convolutions = [m for m in SPACE.build(SPACE.parse("12000000")).modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0], m.groups) for m in convolutions[1:7]] == [
        (32, 96, 1, 1, 1),
        (96, 96, 3, 2, 96),
        (96, 64, 1, 1, 1),
        (64, 384, 1, 1, 1),
        (384, 384, 5, 1, 384),
        (384, 64, 1, 1, 1),
    ]


def test_blocks() -> None:
    assert len(SPACE.build(SPACE.parse("00000000")).feature_blocks()) == 1 + 3 + 1
    assert len(SPACE.build(SPACE.parse("01120111")).feature_blocks()) == 1 + 7 + 1


# --- the published counts --------------------------------------------------------------------------------------------


def test_sizes_of_every_published_row(data_root: Path) -> None:
    path = data_root / "nas-bench" / "architectures-only" / "nasbench_macro_500.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 500
    for number, row in enumerate(rows):
        arch = SPACE.parse(row["arch"])
        assert SPACE.format(arch) == row["arch"]
        assert SPACE.measure(arch) == Size(int(row["params"]), int(row["flops"]))
        if number % 100 == 0:
            network = SPACE.build(arch)
            assert sum(parameter.numel() for parameter in network.parameters()) == int(row["params"])
