"""TransNAS-Bench-101 against its published tables: every text, and parameters on the four tasks that state them."""

import csv
import gzip
from pathlib import Path

import pytest

from subshot._types import TaskSpec
from subshot.spaces.transnas_macro import TransNasMacro
from subshot.spaces.transnas_micro import EDGES, TransNasMicro

# NASLib, which counted, has more outputs than the benchmark on two tasks.
OUTPUTS = {"class_scene": 63, "class_object": 100, "segmentsemantic": 17, "autoencoder": 3}
SPACES = {"micro": TransNasMicro, "macro": TransNasMacro}

Rows = list[dict[str, str]]


def read(data_root: Path, name: str) -> Rows:
    path = data_root / "nas-bench" / "transnas-bench-101" / f"tnb101_{name}.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", SPACES)
def test_the_table_lists_every_network_once(data_root: Path, kind: str) -> None:
    space, rows = SPACES[kind](), read(data_root, kind)
    archs = [space.parse(row["arch"]) for row in rows]
    assert sorted(archs) == sorted(space.architectures())
    assert all(space.parse(space.format(arch)) == arch for arch in archs)


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("head", OUTPUTS)
def test_parameters_of_every_row(data_root: Path, kind: str, head: str) -> None:
    space, task = SPACES[kind](head=head), TaskSpec.images(3, 256, 256, classes=OUTPUTS[head])
    rows = [row for row in read(data_root, f"{kind}_nbsuitezero_partial") if row["task"] == head]
    assert len(rows) == {"micro": 711, "macro": 662 if head.startswith("class") else 725}[kind]
    for number, row in enumerate(rows):
        arch, published = space.parse(row["arch"]), round(float(row["params"]) * 1e6)
        assert space.measure(arch, task).parameters == published
        if number % 350 == 0:
            assert sum(parameter.numel() for parameter in space.build(arch, task).parameters()) == published


def test_parameters_of_every_cell_with_thirteen_scores(data_root: Path) -> None:
    space, task = TransNasMicro(), TaskSpec.images(3, 256, 256, classes=OUTPUTS["class_scene"])
    rows = read(data_root, "micro_class_scene_zc13")
    assert len(rows) == 2_128
    for row in rows:
        assert space.measure(space.parse(row["arch"]), task).parameters == round(float(row["params"]) * 1e6)


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize(("head", "outputs"), [("class_scene", 47), ("class_object", 75)])
def test_the_benchmarks_own_classifiers_are_smaller(kind: str, head: str, outputs: int) -> None:
    space = SPACES[kind](head=head)
    counted = TaskSpec.images(3, 256, 256, classes=OUTPUTS[head])
    for arch in list(space.architectures())[::500]:
        width = space.build(arch, variant="narrow").head.linear.in_features * 8
        difference = space.measure(arch, counted).parameters - space.measure(arch).parameters
        assert difference == (OUTPUTS[head] - outputs) * (width + 1)


def naslib_graph_parameters(genes: tuple[int, ...], *, image_channels: int, classes: int) -> int:
    """NASLib's small network for other data sets: three modules of two cells, reduced skips without norm weights."""
    total = 9 * image_channels * 64 + 2 * 64 + 257 * classes
    shapes = [(64, 128, 2), (128, 128, 1), (128, 128, 1), (128, 128, 1), (128, 256, 2), (256, 256, 1)]
    for c_in, c_out, stride in shapes:
        for code, (_, source) in zip(genes, EDGES, strict=True):
            inputs = c_out if source else c_in
            if code in (2, 3):
                total += (1, 9)[code - 2] * inputs * c_out + 2 * c_out
            elif code == 1 and not source and stride == 2:
                total += inputs * c_out
    return total


def test_the_digits_of_naslibs_graph_mean_the_cells_that_they_were_counted_for(data_root: Path) -> None:
    path = data_root / "nas-bench" / "nas-bench-suite-zero-9x" / "nbsz_9x.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["space"] == "transbench101_micro"]
    assert len(rows) == 3 * 192
    shapes = {"ninapro": (1, 18), "svhn": (3, 10), "scifar100": (3, 100)}
    space = TransNasMicro()
    for row in rows:
        arch = space.parse(f"naslib_graph:{row['arch']}")
        assert space.parse(space.format(arch)) == arch
        image_channels, classes = shapes[row["dataset"]]
        expected = naslib_graph_parameters(arch.genes, image_channels=image_channels, classes=classes)
        assert expected == round(float(row["params"]) * 1e6)
