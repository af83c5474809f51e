"""The MnasNet space and its network: by hand, against torch's counter, against the published counts."""

import collections
import csv
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
from subshot.spaces._space import Crossable, Encodable, Measurable, Size, get_space
from subshot.spaces.mnasnet import DECISIONS, MnasNet

SPACE = MnasNet()
CHOICES = list(DECISIONS.values())
EFFICIENTNET_B0 = "1,3,1,1,6,3,2,1,6,5,2,1,6,3,3,1,6,5,3,1,6,5,4,1,6,3,1,1"

genes = st.tuples(*map(st.sampled_from, CHOICES))
archs = genes.map(lambda values: Arch("mnasnet", values))
seeds = st.integers(0, 2**32 - 1)


def test_is_registered_with_its_abilities() -> None:
    assert get_space("mnasnet") == SPACE
    for ability in (Crossable, Encodable, Measurable):
        assert isinstance(SPACE, ability)
    assert SPACE.task == TaskSpec.images(3, 224, 224, classes=1000)
    assert SPACE.size == 36**6 * 48 == 104_485_552_128


def test_importing_the_space_does_not_import_torch() -> None:
    code = "import sys, subshot.spaces.mnasnet; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_refuses_other_variants_and_tasks() -> None:
    arch = SPACE.parse(EFFICIENTNET_B0)
    for use in (SPACE.build, SPACE.measure):
        with pytest.raises(UnknownNameError, match="official"):
            use(arch, variant="narrow")
        with pytest.raises(OptionError, match="takes one input of images"):
            use(arch, TaskSpec((InputSpec("tokens", (12,)),), 2))


@pytest.mark.parametrize(
    "arch",
    [Arch("darts", (1, 3, 1, 0) * 7), Arch("mnasnet", (1, 3, 1, 0) * 6), Arch("mnasnet", (1, 3, 4, 0) * 7)],
)
def test_refuses_architectures_of_other_spaces(arch: Arch) -> None:
    for use in (SPACE.format, SPACE.measure, SPACE.build, SPACE.encode):
        with pytest.raises(ArchError, match="no mnasnet architecture"):
            use(arch)


# --- text, moves, vectors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no mnasnet architecture"),
        (EFFICIENTNET_B0[:-2], "no mnasnet architecture"),
        (f"{EFFICIENTNET_B0},1", "no mnasnet architecture"),
        (EFFICIENTNET_B0.replace(",", ";"), "no mnasnet architecture"),
        (f"2{EFFICIENTNET_B0[1:]}", "has block0_e = '2'"),
        (f"1,4{EFFICIENTNET_B0[3:]}", "has block0_k = '4'"),
        (f"1,3,4{EFFICIENTNET_B0[5:]}", "has block0_l = '4'"),
        (f"1,3,1,2{EFFICIENTNET_B0[7:]}", "has block0_se = '2'"),
        (f"٤{EFFICIENTNET_B0[1:]}", "has block0_e"),
        ("{}", "no mnasnet architecture"),
        ("{" * 100_000, "no mnasnet architecture"),
        ('{"a":' * 100_000, "no mnasnet architecture"),
        (json.dumps(dict.fromkeys(DECISIONS, True)), "has block0_e = 'True'"),
        (json.dumps({column: [1] for column in DECISIONS}), "has block0_e = '[1]'"),
        (json.dumps(dict.fromkeys(DECISIONS, 1.0)), "has block0_e = '1.0'"),
    ],
)
def test_refuses_any_other_text(text: str, message: str) -> None:
    with pytest.raises(ArchError, match=re.escape(message)) as caught:
        SPACE.parse(text)
    assert EFFICIENTNET_B0 in caught.value.hint
    assert len(str(caught.value)) < 600


@given(archs, st.booleans())
def test_reads_the_benchmarks_object(arch: Arch, words: bool) -> None:
    values = {
        column: bool(gene) if words and column.endswith("_se") else gene
        for column, gene in zip(DECISIONS, arch.genes, strict=True)
    }
    assert SPACE.parse(json.dumps(dict(reversed(values.items())))) == arch


def test_every_decision_is_drawn_uniformly() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([SPACE.sample(rng).genes for _ in range(3000)])
    for place, choices in enumerate(CHOICES):
        counts = collections.Counter(drawn[:, place].tolist())
        assert set(counts) == set(choices)
        assert min(counts.values()) > 0.85 * 3000 / len(choices)


@given(archs, seeds)
def test_mutation_changes_one_decision(arch: Arch, seed: int) -> None:
    child = SPACE.mutate(arch, np.random.default_rng(seed))
    assert sum(old != new for old, new in zip(arch.genes, child.genes, strict=True)) == 1
    assert SPACE.parse(SPACE.format(child)) == child


def test_mutation_reaches_every_neighbour() -> None:
    # Decisions have the same chance, as in the benchmark's evolution, so values of small ones are drawn more often.
    rng, arch = np.random.default_rng(0), SPACE.parse(EFFICIENTNET_B0)
    children = collections.Counter(SPACE.mutate(arch, rng).genes for _ in range(28 * 200))
    assert len(children) == sum(len(choices) - 1 for choices in CHOICES)
    for place, choices in enumerate(CHOICES):
        changed = {genes: n for genes, n in children.items() if genes[place] != arch.genes[place]}
        assert len(changed) == len(choices) - 1
        assert 140 < sum(changed.values()) < 260


@given(archs, archs, seeds)
def test_crossover_takes_each_decision_from_a_parent(first: Arch, second: Arch, seed: int) -> None:
    child = SPACE.crossover(first, second, np.random.default_rng(seed))
    assert all(gene in pair for gene, *pair in zip(child.genes, first.genes, second.genes, strict=True))


def test_crossover_mixes_evenly() -> None:
    parents = [SPACE.parse(",".join(str(choices[side]) for choices in CHOICES)) for side in (0, 1)]
    rng = np.random.default_rng(0)
    children = np.array([SPACE.crossover(*parents, rng).genes for _ in range(2000)])
    shares = (children == parents[1].genes).mean(axis=0)
    assert 0.45 < shares.min() <= shares.max() < 0.55


@given(archs)
def test_encoding_has_a_one_for_each_decision(arch: Arch) -> None:
    vector = SPACE.encode(arch)
    assert vector.shape == (71,)
    assert vector.sum() == 28
    values = [value for choices in CHOICES for value in choices]
    assert tuple(value for value, bit in zip(values, vector, strict=True) if bit) == arch.genes


@pytest.mark.parametrize("vector", [np.zeros(71), np.ones(71), np.eye(71)[0], np.zeros(70), np.full(71, np.nan)])
def test_decodes_nothing_else(vector: np.ndarray) -> None:
    assert SPACE.decode(vector) is None


# --- the network -----------------------------------------------------------------------------------------------------


def test_efficientnet_b0_is_one_of_them() -> None:
    # Parameters as in torchvision and timm, whose networks give the same outputs for the same weights.
    assert SPACE.measure(SPACE.parse(EFFICIENTNET_B0)) == Size(5_288_548, 385_814_752)


@settings(max_examples=15, deadline=None)
@given(archs, st.tuples(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70), st.integers(1, 20)))
def test_measure_counts_the_built_network(arch: Arch, shape: tuple[int, int, int, int]) -> None:
    task = TaskSpec.images(*shape[:3], classes=shape[3])
    with torch.device("meta"):
        network = SPACE.build(arch, task).eval()
        images = torch.empty(1, *shape[:3])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(images)
    assert logits.shape == (1, shape[3])
    size = SPACE.measure(arch, task)
    assert size.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert size.macs == counter.get_total_flops() / 2


def blocks_of(values: tuple[int, ...]) -> Iterator[tuple[int, int, int, int, int, bool]]:
    """Width in and out, expansion, kernel, stride and squeeze-excite of each layer, from the benchmark's definition."""
    c_in = 32
    for block, (c_out, first_stride) in enumerate(
        [(16, 1), (24, 2), (40, 2), (80, 2), (112, 1), (192, 2), (320, 1)],
    ):
        expansion, kernel, layers, excites = values[4 * block :][:4]
        for stride in [first_stride, 1, 1, 1][:layers]:
            yield c_in, c_out, expansion, kernel, stride, excites == 1
            c_in = c_out


def published_forward(weights: list[Tensor], values: tuple[int, ...], images: Tensor) -> Tensor:
    """The network from its description, with functions only; takes the weights in the order in which they are used."""
    queue = iter(weights)

    def unit(x: Tensor, stride: int = 1, *, activates: bool = True, depthwise: bool = False) -> Tensor:
        kernel, gain, shift = next(queue), next(queue), next(queue)
        groups = x.shape[1] if depthwise else 1
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
        x = F.batch_norm(x, None, None, gain, shift, training=True)
        return x / (1 + torch.exp(-x)) if activates else x

    x = unit(images, 2)
    for c_in, c_out, expansion, _, stride, excites in blocks_of(values):
        y = unit(x) if expansion > 1 else x
        y = unit(y, stride, depthwise=True)
        assert y.shape[1] == expansion * c_in
        if excites:
            squeezed = F.silu(F.conv2d(y.mean((2, 3), keepdim=True), next(queue), next(queue)))
            assert squeezed.shape[1] == c_in // 4
            y = y / (1 + torch.exp(-F.conv2d(squeezed, next(queue), next(queue))))
        y = unit(y, activates=False)
        assert y.shape[1] == c_out
        x = x + y if stride == 1 and c_in == c_out else y
    x = unit(x).mean((2, 3))
    return x @ next(queue).T + next(queue)


@settings(max_examples=8, deadline=None)
@given(genes, seeds)
def test_forward_is_the_published_function(values: tuple[int, ...], seed: int) -> None:
    torch.manual_seed(seed)
    network = SPACE.build(Arch("mnasnet", values), TaskSpec.images(3, 64, 64, classes=7)).double().train()
    images = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = published_forward(list(network.parameters()), values, images)
        torch.testing.assert_close(network(images), expected)


def test_kernels() -> None:
    with torch.device("meta"):
        network = SPACE.build(SPACE.parse("1,5,2,0,4,3,1,0" + ",1,3,1,0" * 5))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0], m.groups) for m in convolutions[:9]] == [
        (3, 32, 3, 2, 1),
        (32, 32, 5, 1, 32),
        (32, 16, 1, 1, 1),
        (16, 16, 5, 1, 16),
        (16, 16, 1, 1, 1),
        (16, 64, 1, 1, 1),
        (64, 64, 3, 2, 64),
        (64, 24, 1, 1, 1),
        (24, 24, 3, 2, 24),
    ]
    assert len(network.feature_blocks()) == 1 + 8 + 1


# --- the published counts --------------------------------------------------------------------------------------------


def published_counts(values: tuple[int, ...]) -> tuple[int, int]:
    """Parameters, and operations as the benchmark's profiler counts them, from the benchmark's definition.

    The profiler takes convolutions and the classifier without bias, four operations for each number that batch norm
    writes, and for each pooling one operation for each number it reads and one for each that it writes.
    """
    parameters = operations = 0

    def conv(c_in: int, c_out: int, kernel: int, size: int, *, groups: int = 1) -> None:
        nonlocal parameters, operations
        weights = c_in // groups * c_out * kernel**2
        parameters += weights + 2 * c_out
        operations += (weights + 4 * c_out) * size**2

    conv(3, 32, 3, 112)
    size = 112
    for c_in, c_out, expansion, kernel, stride, excites in blocks_of(values):
        inner = expansion * c_in
        if expansion > 1:
            conv(c_in, inner, 1, size)
        size //= stride
        conv(inner, inner, kernel, size, groups=inner)
        if excites:
            parameters += 2 * inner * (c_in // 4) + inner + c_in // 4
            operations += 2 * inner * (c_in // 4) + inner * (size**2 + 1)
        conv(inner, c_out, 1, size)
    conv(320, 1280, 1, size)
    return parameters + 1280 * 1000 + 1000, operations + 1280 * (size**2 + 1) + 1280 * 1000


def test_every_published_row(data_root: Path) -> None:
    # Published by github.com/afzalxo/Accel-NASBench at commit 42603572d530310e6bac7191d00cf45625a6b197.
    path = data_root / "nas-bench" / "architectures-only" / "mnasnet_accel_500.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 500
    for row in rows:
        text = ",".join(row[column] for column in DECISIONS)
        arch = SPACE.parse(text)
        assert SPACE.format(arch) == text
        assert SPACE.decode(SPACE.encode(arch)) == arch
        parameters, operations = published_counts(arch.genes)
        assert SPACE.measure(arch).parameters == parameters == round(float(row["params_m"]) * 1e6)
        assert operations == round(float(row["macs_m"]) * 1e6)
        assert 0.84 < SPACE.measure(arch).macs / operations < 0.98
