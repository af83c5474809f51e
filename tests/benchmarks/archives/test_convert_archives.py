"""A converted archive is a table like any other: the same cells and facts, and rankings can be made of it."""

import gzip
from pathlib import Path

import pytest

from subshot.benchmarks._benchmark import find_table
from subshot.benchmarks._columns import read_columns
from subshot.benchmarks._facts import TableFacts, TargetFacts, read_facts
from subshot.benchmarks.archives import convert, read_archive
from subshot.benchmarks.archives._write import facts_text
from subshot.errors import DataError
from subshot.spaces._space import get_space

HERE = Path(__file__).parent.parent / "miniatures"
ARCHIVES = ["NAS-Bench-201-v1_0-mini.pth", "NATS-sss-v1_0-mini-simple", "nasbench_only108-mini.tfrecord"]


@pytest.mark.parametrize("name", [*ARCHIVES, "zc_nasbench201.json", "zc_nasbench301.json"])
def test_cells_and_facts_survive(name: str, tmp_path: Path) -> None:
    table, facts = convert(HERE / name, tmp_path / "made.csv.gz")
    assert (table, facts) == (tmp_path / "made.csv.gz", tmp_path / "made.toml")
    archive = read_archive(HERE / name)
    assert read_columns(table).cells == archive.columns.cells
    assert read_facts(facts) == archive.facts
    assert sorted(one.name for one in tmp_path.iterdir()) == ["made.csv.gz", "made.toml"]


@pytest.mark.parametrize("ending", ["", ".csv", ".csv.gz"])
def test_the_ending_may_be_left_out(ending: str, tmp_path: Path) -> None:
    table, facts = convert(HERE / "zc_nasbench301.json", tmp_path / f"v1.0{ending}")
    assert (table.name, facts.name) == ("v1.0.csv.gz", "v1.0.toml")


def test_the_same_archive_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (convert(HERE / "zc_nasbench201.json", tmp_path / name) for name in ("a", "b"))
    assert first[0].read_bytes() == second[0].read_bytes()
    assert first[1].read_bytes() == second[1].read_bytes()


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("NAS-Bench-201-v1_0-mini.pth", "cifar10_test_200"),
        ("NATS-tss-v1_0-mini-simple", "imagenet16_valid_12"),
        ("nasbench_only108-mini.tfrecord", "cifar10_valid_108"),
        ("zc_nasbench301.json", "cifar10_val_accuracy"),
    ],
)
def test_a_ranking_can_read_it(name: str, target: str, tmp_path: Path) -> None:
    made, _ = convert(HERE / name, tmp_path / "made")
    source = find_table(made)
    table = source.read(get_space(source.facts.space), target=target)
    archive = read_archive(HERE / name)
    assert list(table.texts) == archive.columns.cells["arch"]
    assert table.truth.tolist() == [float(cell) for cell in archive.columns.cells[target]]
    assert (table.seeds is not None) == bool(archive.facts.targets[target].seeds)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for taken in ("made.csv.gz", "made.toml"):
        path = tmp_path / taken
        path.write_text("mine")
        with pytest.raises(DataError, match=rf"{taken} exists already"):
            convert(HERE / "zc_nasbench301.json", tmp_path / "made")
        assert path.read_text() == "mine"
        assert list(tmp_path.iterdir()) == [path]
        path.unlink()


def test_nothing_is_left_behind_by_a_failure(tmp_path: Path) -> None:
    damaged = tmp_path / "zc_nasbench201.json"
    damaged.write_text("{")
    with pytest.raises(DataError, match="is no JSON"):
        convert(damaged, tmp_path / "made")
    with pytest.raises(DataError, match="can't be written"):
        convert(HERE / "zc_nasbench301.json", tmp_path / "no" / "folder" / "made")
    assert list(tmp_path.iterdir()) == [damaged]


def test_every_text_survives_toml(tmp_path: Path) -> None:
    facts = TableFacts(
        space="a space",
        source='a "quoted" \\ one, two\nlines, ünïcödé 漢 \u0001',
        targets={
            "with.dot and space": TargetFacts("m", "%", "minimize", "test", ("a", "b")),
            "plain": TargetFacts(seeds=("one",)),
        },
    )
    path = tmp_path / "facts.toml"
    path.write_text(facts_text(facts), encoding="utf-8")
    assert read_facts(path) == facts


def test_the_table_has_no_date_in_it(tmp_path: Path) -> None:
    made, _ = convert(HERE / "zc_nasbench301.json", tmp_path / "made")
    assert made.read_bytes()[4:8] == bytes(4)
    assert gzip.decompress(made.read_bytes()).startswith(b"arch,cifar10_val_accuracy,")
