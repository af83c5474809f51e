"""NAS-Bench-201 against its published tables: every count, both published populations."""

import csv
import gzip
from collections import defaultdict
from pathlib import Path

import pytest

from subshot._types import Arch, TaskSpec
from subshot.spaces.nasbench201 import NasBench201, published_class

SPACE = NasBench201()
TASKS = {
    "cifar10": TaskSpec.images(3, 32, 32, classes=10),
    "cifar100": TaskSpec.images(3, 32, 32, classes=100),
    "imagenet16": TaskSpec.images(3, 16, 16, classes=120),
}

# Rows whose published CIFAR-100 parameters and flops belong to another cell of the same class.
WRONG_ROWS = {
    *(327, 737, 768, 770, 775, 1151, 2958, 3034, 3077, 3103, 3113, 3400, 3681, 3899, 4024, 4070, 4137, 4165, 4227),
    *(4248, 4464, 4578, 4650, 4815, 4982, 5010, 5065, 5694, 5751, 5824, 5835, 6545, 6547, 6769, 6877, 6912, 6977),
    *(7263, 7268, 7326, 7358, 7396, 7629, 7717, 7785, 7793, 7894, 7950, 7981, 8181, 8280, 8322, 8423, 8447, 8533),
    *(8540, 8557, 8719, 8809, 8965, 9043, 9141, 9172, 9270, 9296, 9444, 9473, 9597, 9632, 9654, 9735, 10107, 10118),
    *(10162, 10167, 10207, 10212, 10281, 10308, 10340, 10369, 10597, 10709, 10821, 10906, 10947, 10978, 11073, 11096),
    *(11167, 11222, 11238, 11259, 11370, 11374, 11511, 11514, 11581, 11676, 11843, 11911, 11961, 11964, 12016, 12121),
    *(12187, 12204, 12271, 12316, 12317, 12464, 12540, 12542, 12568, 12707, 12748, 12822, 12844, 12939, 13003, 13223),
    *(13326, 13479, 13492, 13599, 13970, 14264, 14267, 14293, 14412, 14419, 14529, 14648, 14661, 14684, 14689, 14995),
    *(15033, 15036, 15040, 15107, 15347, 15372, 15386, 15392, 15403, 15435, 15474, 15484, 15539),
}

Rows = dict[int, dict[str, str]]


def read(data_root: Path, name: str) -> Rows:
    path = data_root / "nas-bench" / "nas-bench-201" / f"{name}.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return {int(row["index"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def table(data_root: Path) -> Rows:
    return read(data_root, "nb201_accuracy")


@pytest.fixture(scope="module")
def archs(table: Rows) -> dict[int, Arch]:
    return {index: SPACE.parse(row["arch_str"]) for index, row in table.items()}


@pytest.fixture(scope="module", params=["cifar10", "imagenet16"])
def scores(request: pytest.FixtureRequest, data_root: Path) -> tuple[TaskSpec, Rows]:
    return TASKS[request.param], read(data_root, f"nb201_zc13_{request.param}")


def test_the_table_lists_every_cell_once_in_both_dialects(table: Rows, archs: dict[int, Arch]) -> None:
    assert sorted(archs) == list(range(15_625))
    assert set(archs.values()) == set(SPACE.architectures())
    for index, row in table.items():
        assert SPACE.format(archs[index]) == row["arch_str"]
        assert "".join(map(str, archs[index].genes)) == row["ops"]
        assert SPACE.parse(f"naslib:{row['naslib_ops']}") == archs[index]


def test_parameters_of_every_scored_cell(scores: tuple[TaskSpec, Rows], archs: dict[int, Arch]) -> None:
    task, rows = scores
    assert len(rows) == 9_445
    for index, row in rows.items():
        assert SPACE.measure(archs[index], task).parameters == round(float(row["params"]) * 1e6)


def test_parameters_of_some_built_networks(scores: tuple[TaskSpec, Rows], archs: dict[int, Arch]) -> None:
    task, rows = scores
    for index in list(rows)[::1_900]:
        parameters = sum(parameter.numel() for parameter in SPACE.build(archs[index], task).parameters())
        assert parameters == round(float(rows[index]["params"]) * 1e6)


def test_live_cells_are_those_scored(scores: tuple[TaskSpec, Rows], archs: dict[int, Arch]) -> None:
    _, rows = scores
    assert set(SPACE.population("live")) == {archs[index] for index in rows}


def test_unique_cells_are_the_published_classes(table: Rows, archs: dict[int, Arch]) -> None:
    published, ours = defaultdict(set), defaultdict(set)
    for index, row in table.items():
        published[row["isomorph"]].add(archs[index])
        ours[published_class(archs[index])].add(archs[index])
    assert len(published) == 6_466
    assert {frozenset(cells) for cells in published.values()} == {frozenset(cells) for cells in ours.values()}
    assert {min(cells) for cells in published.values()} == set(SPACE.population("unique"))


def test_a_class_is_no_key_for_costs(table: Rows, archs: dict[int, Arch]) -> None:
    parameters = {index: SPACE.measure(arch).parameters for index, arch in archs.items()}
    assert sum(parameters[index] != parameters[int(row["isomorph"])] for index, row in table.items()) == 5_218


def cifar100_size(arch: Arch) -> tuple[str, str]:
    """Millions of parameters and flops as the source rounds them; its flops have the classifier's bias."""
    size = SPACE.measure(arch, TASKS["cifar100"])
    return f"{size.parameters / 1e6:.3f}", f"{(size.macs + 100) / 1e6:.2f}"


def published_cifar100_size(row: dict[str, str]) -> tuple[str, str]:
    return f"{float(row['cifar100_params_m']):.3f}", f"{float(row['cifar100_flops_m']):.2f}"


def test_cifar100_sizes_of_every_row_but_the_wrong_ones(table: Rows, archs: dict[int, Arch]) -> None:
    differing = {index for index, row in table.items() if published_cifar100_size(row) != cifar100_size(archs[index])}
    assert differing == WRONG_ROWS
    assert len(WRONG_ROWS) == 150


def test_a_wrong_row_has_the_size_of_another_cell_of_its_class(table: Rows, archs: dict[int, Arch]) -> None:
    members = defaultdict(list)
    for index, row in table.items():
        members[row["isomorph"]].append(archs[index])
    for index in WRONG_ROWS:
        row, arch = table[index], archs[index]
        owners = [cell for cell in members[row["isomorph"]] if cifar100_size(cell) == published_cifar100_size(row)]
        assert owners
        for owner in owners:  # one convolution more or less, of one kind
            steps = sorted(abs(owner.genes.count(code) - arch.genes.count(code)) for code in (2, 3))
            assert steps == [0, 1]
