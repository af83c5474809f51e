"""NAS-Bench-101 against every published piece of its table: texts, keys, parameters."""

import csv
import gzip
from pathlib import Path

import pytest

from subshot.spaces.nasbench101 import NasBench101, published_hash

SPACE = NasBench101()

# File, column of the cell, rows, distinct cells by the benchmark's key.
TABLES = [
    ("nas-bench-101/nb101_30_original", "graph_json", 90, 30),
    ("nas-bench-101/nb101_nbsuitezero_partial", "encoding", 500, 292),
    ("nas-bench-101/nb101_zen", "encoding", 10_250, 10_250),
    ("ec-nas-small-cells/ecnas_3v4v5v", "graph_json", 3_297, 772),
    ("ec-nas-small-cells/ecnas_4v5v_4epochs", "graph_json", 2_805, 2_532),
]


def read(data_root: Path, name: str) -> list[dict[str, str]]:
    with gzip.open(data_root / "nas-bench" / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("name", "column", "count", "distinct"), TABLES)
def test_every_row_is_read_and_has_its_published_key(
    data_root: Path, name: str, column: str, count: int, distinct: int
) -> None:
    rows = read(data_root, name)
    assert len(rows) == count
    assert len({row["nb101_hash"] for row in rows}) == distinct
    for text, key in {(row[column], row["nb101_hash"]) for row in rows}:
        arch = SPACE.parse(text)
        assert SPACE.parse(SPACE.format(arch)) == arch
        assert published_hash(arch) == key


@pytest.mark.parametrize(("name", "column"), [table[:2] for table in TABLES if not table[0].endswith("zen")])
def test_parameters_of_every_row(data_root: Path, name: str, column: str) -> None:
    for row in read(data_root, name):
        published = round(float(row["params"]) * 1e6) if "." in row["params"] else int(row["params"])
        assert SPACE.measure(SPACE.parse(row[column])).parameters == published


def test_parameters_of_some_built_networks(data_root: Path) -> None:
    for row in read(data_root, "nas-bench-101/nb101_30_original")[::9]:
        network = SPACE.build(SPACE.parse(row["graph_json"]))
        assert sum(parameter.numel() for parameter in network.parameters()) == int(row["params"])
