import csv
import gzip
import statistics
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from subshot._types import Arch, TaskSpec
from subshot.spaces._space import Size
from subshot.spaces.darts import OPERATIONS, Darts

IMAGENET = TaskSpec.images(3, 224, 224, classes=1000)


def genotype(normal: str, reduce: str) -> str:
    """From the short form ``sep3:0 skip:1 ...``."""
    names = {
        "max": "max_pool_3x3",
        "avg": "avg_pool_3x3",
        "skip": "skip_connect",
        "sep3": "sep_conv_3x3",
        "sep5": "sep_conv_5x5",
        "dil3": "dil_conv_3x3",
        "dil5": "dil_conv_5x5",
    }
    cells = (
        [(names[op], int(source)) for op, source in (pair.split(":") for pair in cell.split())]
        for cell in (normal, reduce)
    )
    return "Genotype(normal={}, normal_concat=range(2, 6), reduce={}, reduce_concat=range(2, 6))".format(*cells)


DARTS_V2 = genotype(
    "sep3:0 sep3:1 sep3:0 sep3:1 sep3:1 skip:0 skip:0 dil3:2", "max:0 max:1 skip:2 max:1 max:0 skip:2 skip:2 max:1"
)
PDARTS = genotype(
    "skip:0 dil3:1 skip:0 sep3:1 sep3:1 sep3:3 sep3:0 dil5:4", "avg:0 sep5:1 sep3:0 dil5:2 max:0 dil3:1 dil3:1 dil5:3"
)
PC_DARTS_CIFAR = genotype(
    "sep3:1 skip:0 sep3:0 dil3:1 sep5:0 sep3:1 avg:0 dil3:1", "sep5:1 max:0 sep5:1 sep5:2 sep3:0 sep3:3 sep3:1 sep3:2"
)
PC_DARTS_IMAGENET = genotype(
    "skip:1 sep3:0 sep3:0 skip:1 sep3:1 sep3:3 sep3:1 dil5:4", "sep3:0 skip:1 dil5:2 max:1 sep3:2 sep3:1 sep5:0 sep3:3"
)


def counted(net: nn.Module, task: TaskSpec) -> Size:
    """Parameters and MACs of a network by looking at it, without computing anything."""
    counter = FlopCounterMode(display=False)
    net = net.to("meta")
    with counter, torch.no_grad():
        net(torch.empty(2, *task.image_shape, device="meta"))
    flops = counter.get_total_flops()
    assert flops % 4 == 0
    return Size(sum(p.numel() for p in net.parameters()), flops // 4)


@pytest.mark.parametrize(
    ("variant", "task", "parameters"),
    [
        ("cifar", None, 3_349_342),
        ("imagenet", IMAGENET, 4_718_752),
        ("swap_tiny", None, 310),
    ],
)
def test_darts_v2_has_its_known_size(variant, task, parameters):
    space = Darts()
    arch = space.parse(DARTS_V2)
    size = space.measure(arch, task, variant=variant)
    assert size.parameters == parameters
    assert size == counted(space.build(arch, task, variant=variant), task or space.task)


@pytest.mark.parametrize(
    ("text", "variant", "millions", "digits"),
    [
        (PDARTS, "cifar", 3.4, 1),
        (PDARTS, "imagenet", 4.9, 1),
        (PC_DARTS_CIFAR, "cifar", 3.63, 2),
        (PC_DARTS_IMAGENET, "imagenet", 5.3, 1),
    ],
)
def test_published_networks_have_their_published_sizes(text, variant, millions, digits):
    space = Darts()
    task = IMAGENET if variant == "imagenet" else None
    parameters = space.measure(space.parse(text), task, variant=variant).parameters
    assert round(parameters / 1e6, digits) == millions


def test_swap_tiny_adds_up_by_hand():
    # Two 1x1 convolutions 3 -> 6 with norms, one 24 -> 10 classifier; all else in DARTS_V2's reduction cell is free.
    macs = 2 * (3 * 6) * 32 * 32 + 24 * 10
    assert Darts().measure(Darts().parse(DARTS_V2), variant="swap_tiny") == Size(2 * (18 + 12) + 250, macs)


cells = st.tuples(*(st.tuples(st.integers(0, 7), st.integers(0, i // 2 + 1)) for i in range(8)))


@settings(max_examples=60, deadline=None)
@given(
    st.builds(lambda normal, reduce: Arch("darts", (normal, reduce)), cells, cells),
    st.builds(
        Darts,
        channels=st.integers(1, 6),
        layers=st.integers(1, 7),
        imagenet_channels=st.integers(2, 7),
        imagenet_layers=st.integers(1, 7),
    ),
    st.sampled_from(Darts().variants),
    st.builds(
        lambda channels, height, width, classes: TaskSpec.images(channels, height, width, classes=classes),
        st.integers(1, 5),
        st.integers(1, 40),
        st.integers(1, 40),
        st.integers(1, 12),
    ),
)
def test_measure_equals_counting(arch, space, variant, task):
    assert space.measure(arch, task, variant=variant) == counted(space.build(arch, task, variant=variant), task)


def test_settings_and_defaults_reach_the_count():
    space, arch = Darts(), Darts().parse(DARTS_V2)
    assert space.measure(arch) == space.measure(arch, space.task, variant="cifar")
    assert Darts(channels=16, layers=8).measure(arch).parameters < 0.1 * space.measure(arch).parameters


def read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


def test_swap_tiny_has_the_sizes_of_the_released_scorer(data_root: Path):
    rows = read(data_root / "nas-bench/darts-cifar10-1000/darts_1000.csv.gz")
    space = Darts(tied=True)
    sizes = [space.measure(space.parse(row["genotype"]), variant="swap_tiny").parameters / 1e3 for row in rows]
    assert (round(min(sizes), 2), round(max(sizes), 2)) == (0.31, 2.69)
    assert round(statistics.mean(sizes), 2) == 1.24
    assert round(statistics.stdev(sizes), 2) == 0.38
    accuracy = [float(row["cifar10_val_acc"]) for row in rows]
    assert round(spearmanr(sizes, accuracy).statistic, 3) == 0.802


def test_swap_tiny_has_the_units_of_the_released_scorer(data_root: Path):
    rows = read(data_root / "nas-bench/darts-cifar10-1000/darts_1000.csv.gz")[:60]
    space, units = Darts(), []
    for row in rows:
        net = space.build(space.parse(row["genotype"]), variant="swap_tiny").to("meta")
        count = 0

        def add(module, inputs, output):
            nonlocal count
            count += output[0].numel()

        for module in net.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_hook(add)
        net(torch.empty(2, 3, 32, 32, device="meta"))
        units.append(count)
    assert round(min(units) / 1e3, 1) == 10.8
    assert round(max(units) / 1e3) == 55
    assert round(statistics.mean(units) / 1e3) == 32


def edge_norms(arch: Arch) -> list[int]:
    """Batch norms on the edges of a normal and of a reduction cell."""
    norms = {"sep_conv_3x3": 2, "sep_conv_5x5": 2, "dil_conv_3x3": 1, "dil_conv_5x5": 1}
    return [
        sum(
            1 if reduction and OPERATIONS[op] == "skip_connect" and source < 2 else norms.get(OPERATIONS[op], 0)
            for op, source in cell
        )
        for reduction, cell in enumerate(arch.genes)
    ]


def naslib_parameters(text: str, *, channels: int = 3, classes: int = 10) -> int:
    """NASLib's scoring network of the space: 8 cells of width 32, and batch norms on edges have no weights."""
    space = Darts(channels=32, layers=8)
    arch = space.parse(text)
    ours = space.measure(arch, TaskSpec.images(channels, 32, 32, classes=classes)).parameters
    normal, reduce = edge_norms(arch)
    # Widths 32 32 | 64 64 64 | 128 128 128, of which the third and the sixth cell are reductions.
    return ours - 2 * (normal * (2 * 32 + 2 * 64 + 2 * 128) + reduce * (64 + 128))


def test_sizes_agree_with_nas_bench_suite_zero(data_root: Path):
    rows = read(data_root / "nas-bench/nas-bench-301/nb301_nbsuitezero_partial.csv.gz")
    assert len(rows) == 725
    for row in rows:
        assert naslib_parameters(row["compact"]) == round(1e6 * float(row["params"]))


@pytest.mark.parametrize(
    ("dataset", "channels", "classes"), [("ninapro", 1, 18), ("svhn", 3, 10), ("scifar100", 3, 100)]
)
def test_sizes_agree_for_other_images_and_classes(data_root: Path, dataset, channels, classes):
    rows = [
        row
        for row in read(data_root / "nas-bench/nas-bench-suite-zero-9x/nbsz_9x.csv.gz")
        if row["space"] == "nasbench301" and row["dataset"] == dataset
    ]
    assert len(rows) == 199
    for row in rows:
        got = naslib_parameters(row["arch"], channels=channels, classes=classes)
        assert got == round(1e6 * float(row["params"]))
