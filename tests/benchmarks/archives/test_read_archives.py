"""Readers of published archives: what they say of the miniatures is what the authors' own readers say."""

import csv
import gzip
import json
import math
from pathlib import Path

import pytest

from subshot.benchmarks._columns import Columns
from subshot.benchmarks.archives import ARCHIVES, ArchiveTable, read_archive
from subshot.errors import DataError
from subshot.spaces._space import get_space
from subshot.spaces.nasbench101 import published_hash

HERE = Path(__file__).parent.parent / "miniatures"
EXPECTED = json.loads((HERE / "expected.json").read_text())
KINDS = {
    "NAS-Bench-201-v1_0-mini.pth": "nasbench201",
    "NAS-Bench-201-v1_0-mini-zip.pth": "nasbench201",
    "NATS-tss-v1_0-mini-simple": "nats_bench",
    "NATS-tss-v1_0-mini.pickle.pbz2": "nats_bench",
    "NATS-sss-v1_0-mini-simple": "nats_bench",
    "nasbench_only108-mini.tfrecord": "nasbench101",
    "zc_nasbench101.json": "suite_zero",
    "zc_nasbench201.json": "suite_zero",
    "zc_nasbench301.json": "suite_zero",
    "later/zc_nasbench201.json": "suite_zero",
}
OF_TRIALS = [name for name, kind in KINDS.items() if kind in ("nasbench201", "nats_bench")]


def rows(columns: Columns, key: str = "arch") -> dict[str, dict[str, str]]:
    """Rows by architecture, without empty cells."""
    return {
        columns.cells[key][row]: {name: column[row] for name, column in columns.cells.items() if column[row]}
        for row in range(len(columns))
    }


def number(text: str) -> float:
    return float(text)


@pytest.mark.parametrize("name", KINDS)
def test_every_miniature_is_recognised(name: str) -> None:
    assert [kind for kind in ARCHIVES if ARCHIVES.get(kind).recognise(HERE / name)] == [KINDS[name]]
    assert read_archive(HERE / name).kind == KINDS[name]
    assert read_archive(str(HERE / name)).columns.digest == read_archive(HERE / name).columns.digest


@pytest.mark.parametrize("name", OF_TRIALS)
def test_trials_are_what_the_authors_reader_says(name: str) -> None:
    found = rows(read_archive(HERE / name).columns)
    assert found.keys() == EXPECTED[name].keys()
    for arch, expected in EXPECTED[name].items():
        numbers = {
            column: float(cell) for column, cell in found[arch].items() if not column.endswith(("arch", "_seeds"))
        }
        assert numbers == pytest.approx(expected, rel=1e-12), arch


@pytest.mark.parametrize("name", OF_TRIALS)
def test_runs_one_by_one_have_the_mean(name: str) -> None:
    table = read_archive(HERE / name)
    several = [target for target, facts in table.facts.targets.items() if facts.seeds]
    assert several
    for target in several:
        (runs,) = table.facts.targets[target].seeds
        assert any("|" in cell for cell in table.columns.cells[runs])
        for mean, cell in zip(table.columns.cells[target], table.columns.cells[runs], strict=True):
            values = [float(one) for one in cell.split("|")]
            assert float(mean) == pytest.approx(math.fsum(values) / len(values), rel=1e-15)
    alone = [target for target, facts in table.facts.targets.items() if not facts.seeds]
    assert not [target for target in alone if f"{target}_seeds" in table.columns.cells]


def test_both_layouts_of_torch_say_the_same() -> None:
    old, new = (read_archive(HERE / f"NAS-Bench-201-v1_0-mini{end}.pth") for end in ("", "-zip"))
    assert old.columns.cells == new.columns.cells
    assert old.facts.targets == new.facts.targets


def test_nats_as_one_file_and_as_a_folder_say_the_same() -> None:
    folder, file = (read_archive(HERE / f"NATS-tss-v1_0-mini{end}") for end in ("-simple", ".pickle.pbz2"))
    assert folder.columns.cells == file.columns.cells


def test_targets_come_first_and_are_described() -> None:
    table = read_archive(HERE / "NATS-sss-v1_0-mini-simple")
    names = list(table.columns.cells)
    parts = [f"{data}_{part}" for data in ("cifar10", "cifar100", "imagenet16") for part in ("valid", "test")]
    assert names[:19] == ["arch", *(f"{part}_{epochs}" for epochs in (90, 12, 1) for part in parts)]
    assert table.facts.space == ""  # the size space
    facts = table.facts.targets["cifar100_valid_1"]
    assert (facts.metric, facts.unit, facts.split) == ("accuracy after 1 epoch", "%", "validation")
    assert facts.direction == "maximize"
    assert table.facts.source.endswith("3 of 3 architectures")


def test_architectures_that_are_missing_are_counted() -> None:
    table = read_archive(HERE / "NATS-tss-v1_0-mini-simple")
    assert len(table.columns) == 2
    assert table.facts.source.endswith("2 of 3 architectures")


def test_the_longest_training_of_one_file_may_lack_what_the_short_one_has() -> None:
    # Version 1.0 has 12 epochs on half of CIFAR-10 only.
    names = read_archive(HERE / "NAS-Bench-201-v1_0-mini.pth").columns.cells
    assert [name for name in names if name.endswith("_12")] == ["cifar10_valid_12"]


# --- NAS-Bench-101 ---------------------------------------------------------------------------------------------------


def test_records_are_what_the_authors_reader_says() -> None:
    found = rows(read_archive(HERE / "nasbench_only108-mini.tfrecord").columns, "hash")
    expected = EXPECTED["nasbench_only108-mini.tfrecord"]
    assert found.keys() == expected.keys()
    space = get_space("nasbench101")
    for key, row in found.items():
        assert published_hash(space.parse(row["arch"])) == key
        assert row["arch"] == space.format(space.parse(row["arch"]))
        assert row["arch"] == f"ModelSpec(matrix={expected[key]['matrix']}, ops={expected[key]['ops']})"
        assert float(row["params_m"]) == expected[key]["params_m"]
        for part in ("valid", "test"):
            runs = [float(one) for one in row[f"cifar10_{part}_108_seeds"].split("|")]
            assert runs == pytest.approx([100 * one for one in expected[key][part]], rel=1e-15)
            assert float(row[f"cifar10_{part}_108"]) == pytest.approx(math.fsum(runs) / 3, rel=1e-15)


def test_records_have_the_published_values(data_root: Path) -> None:
    found = rows(read_archive(HERE / "nasbench_only108-mini.tfrecord").columns, "hash")
    published: dict[str, list[float]] = {}
    for row in table_of(data_root / "nas-bench/nas-bench-101/nb101_30_original.csv.gz"):
        published.setdefault(row["nb101_hash"], []).append(100 * float(row["final_test_acc"]))
    for key, row in found.items():
        assert [float(one) for one in row["cifar10_test_108_seeds"].split("|")] == published[key]


# --- published values ------------------------------------------------------------------------------------------------


def table_of(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def test_the_mean_of_three_runs_is_the_published_one(data_root: Path) -> None:
    published = {row["arch_str"]: row for row in table_of(data_root / "nas-bench/nas-bench-201/nb201_accuracy.csv.gz")}
    found = rows(read_archive(HERE / "NAS-Bench-201-v1_0-mini.pth").columns)
    first = min(found, key=lambda arch: int(published[arch]["index"]))  # the one with three runs in the miniature
    assert found[first]["cifar10_test_200_seeds"] == published[first]["cifar10_test_200_seeds"]
    for arch, row in found.items():
        for column, cell in row.items():
            if arch != first and column == "cifar10_test_200":
                continue
            if column in published[arch] and not column.endswith("seeds") and column != "cifar100_params_m":
                assert float(cell) == pytest.approx(float(published[arch][column]), rel=1e-12), (arch, column)


def test_scores_are_the_published_ones(data_root: Path) -> None:
    tables = data_root / "nas-bench/nas-bench-201"
    cells = {row["index"]: row["arch_str"] for row in table_of(tables / "nb201_accuracy.csv.gz")}
    found = rows(read_archive(HERE / "zc_nasbench201.json").columns)
    compared = 0
    for row in table_of(tables / "nb201_nbsuitezero_partial.csv.gz"):
        ours = found.get(cells[row["index"]], {})
        for name, cell in row.items():
            data = "imagenet16" if row["dataset"].lower().startswith("imagenet") else row["dataset"]
            if name not in ("dataset", "index") and not name.endswith("_seconds") and f"{data}_{name}" in ours:
                assert float(ours[f"{data}_{name}"]) == float(cell)
                compared += 1
    assert compared == 3 * 3 * 13


# --- NAS-Bench-Suite-Zero --------------------------------------------------------------------------------------------


def test_scores_of_both_forms_are_the_same() -> None:
    early, later = (read_archive(HERE / f"{folder}zc_nasbench201.json") for folder in ("", "later/"))
    assert early.columns.cells == later.columns.cells
    assert early.facts.space == later.facts.space == "nasbench201"


@pytest.mark.parametrize(("name", "space"), [("101", "nasbench101"), ("201", "nasbench201"), ("301", "darts")])
def test_cells_leave_in_the_spaces_own_notation(name: str, space: str) -> None:
    table = read_archive(HERE / f"zc_nasbench{name}.json")
    assert table.facts.space == space
    known = get_space(space)
    content = json.loads((HERE / f"zc_nasbench{name}.json").read_text())[f"nasbench{name}"]["cifar10"]
    found = rows(table.columns)
    for text, values in content.items():
        digits = "".join(filter(str.isdecimal, text)) if name == "101" else text
        row = found[known.format(known.parse(f"naslib:{digits}"))]
        assert float(row["cifar10_val_accuracy"]) == values["val_accuracy"]
        nwot = values.get("synflow")
        assert float(row["cifar10_synflow"]) == (nwot["score"] if isinstance(nwot, dict) else nwot)
    assert next(iter(table.facts.targets)) == "cifar10_val_accuracy"


def test_a_score_that_is_not_finite_stays_so() -> None:
    cells = read_archive(HERE / "zc_nasbench201.json").columns.cells
    assert "-inf" in cells["cifar10_nwot"]


def test_a_cell_that_comes_twice_counts_once(tmp_path: Path) -> None:
    content = json.loads((HERE / "zc_nasbench101.json").read_text())
    entries = content["nasbench101"]["cifar10"]
    first = next(iter(entries))
    entries[first.replace(",", ", ")] = {"val_accuracy": 1.0}
    path = tmp_path / "zc_nasbench101.json"
    path.write_text(json.dumps(content))
    table = read_archive(path)
    assert table.columns.cells == read_archive(HERE / path.name).columns.cells
    assert table.facts.source.endswith("1 entries that repeat a cell are left out")


def test_digits_without_a_space_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text((HERE / "later" / "zc_nasbench201.json").read_text())
    with pytest.raises(DataError, match=r"doesn't say of which space.*zc_nasbench201\.json"):
        read_archive(path)


# --- what is no archive ----------------------------------------------------------------------------------------------


def test_what_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"does not exist\. subshot reads NAS-Bench-101 \(nasbench_only108\.tfrecord\);"
    ):
        read_archive(tmp_path / "nothing")
    with pytest.raises(DataError, match="no archive that subshot knows"):
        read_archive(tmp_path)  # an empty folder
    for content in (b"", b"arch,accuracy\na,1\n", bytes(200), b"PK\x03\x04 and so on"):
        path = tmp_path / "other"
        path.write_bytes(content)
        with pytest.raises(DataError, match="no archive that subshot knows"):
            read_archive(path)


def test_an_archive_is_a_plain_table() -> None:
    table = read_archive(HERE / "zc_nasbench301.json")
    assert isinstance(table, ArchiveTable)
    assert len({len(column) for column in table.columns.cells.values()}) == 1
