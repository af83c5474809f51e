"""Packed tables that unpack to more than they may, numbers that are typing errors, and limits that can't be."""

import gzip
import math

import numpy as np
import pytest

import subshot
from subshot.benchmarks import _columns
from subshot.benchmarks._columns import read_columns
from subshot.benchmarks._facts import TableFacts
from subshot.benchmarks._table import make_tables
from subshot.benchmarks.limits import Limit, band
from subshot.benchmarks.ranking import rank
from subshot.errors import DataError, OptionError

MOST = 100_000


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(_columns, "_MOST_BYTES", MOST)


def test_a_gzipped_table_unpacks_to_so_much_and_no_more(tmp_path):
    path = tmp_path / "bomb.csv.gz"
    head = b"arch,acc\na,1\n"
    path.write_bytes(gzip.compress(head + b"\n" * (MOST - len(head))))
    assert len(read_columns(path)) == 1
    path.write_bytes(gzip.compress(head + b"\n" * (MOST + 1 - len(head))))
    with pytest.raises(DataError, match=r"bomb\.csv\.gz unpacks to more than 0 MiB.*Split the table"):
        read_columns(path)
    path.write_bytes(gzip.compress(head + b"\n" * (1000 * MOST)))
    assert path.stat().st_size < 10 * MOST
    with pytest.raises(DataError, match="unpacks to more"):
        read_columns(path)


@pytest.mark.parametrize(
    "cells",
    [["x" * (2 * MOST)], ["y" * 1000] * 1000, [None] * MOST, ["z"] * MOST],
    ids=["one large cell", "one cell many times", "nothing many times", "little many times"],
)
def test_a_parquet_table_too(cells, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "bomb.parquet"
    parquet.write_table(arrow.table({"arch": arrow.array(cells, arrow.string())}), path, compression="gzip")
    assert path.stat().st_size < MOST
    with pytest.raises(DataError, match=r"bomb\.parquet unpacks to more than"):
        read_columns(path)


def test_a_parquet_table_of_many_batches_is_whole(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "mine.parquet"
    parquet.write_table(arrow.table({"arch": [str(n) for n in range(100)], "acc": [None, *range(99)]}), path)
    monkeypatch.setattr(_columns, "_MOST_ROWS", 7)
    cells = read_columns(path).cells
    assert cells == {"arch": [str(n) for n in range(100)], "acc": ["", *map(str, range(99))]}


@pytest.mark.parametrize("cell", ["1_0", "9_3.5", "1e1_0"])
def test_numbers_as_python_writes_them_are_typing_errors(cell, tmp_path):
    space = subshot.get_space("nasbench201")
    archs = [f"|{name}~0|+|none~0|none~1|+|none~0|none~1|none~2|" for name in ("none", "skip_connect")]
    path = tmp_path / "mine.csv"
    path.write_text(f"arch,acc\n{archs[0]},91.5\n{archs[1]},{cell}\n")
    with pytest.raises(DataError, match=f"'acc' of mine is not numeric: row 2 has '{cell}'"):
        make_tables("mine", read_columns(path), space=space, facts=TableFacts(), targets=["acc"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"low": math.nan}, "low=nan.*finite number, or None"),
        ({"high": math.nan}, "high=nan.*finite number, or None"),
        ({"high": math.inf}, "high=inf.*finite number, or None"),
        ({"low": 2.0, "high": 1.0}, "low=2.0, high=1.0.*lower end first"),
        ({"low": -1.0}, "low=-1.0.*from 0 on"),
    ],
)
def test_limits_that_cannot_be(given, expected):
    with pytest.raises(OptionError, match=f"The limit of params was given as .*{expected}"):
        Limit("params", **given)


@pytest.mark.parametrize("text", ["params<=-5", "params>=nan", "params:-1-2", "params:nan-1M", "params<=1e999"])
def test_limits_in_words_that_cannot_be(text):
    with pytest.raises(OptionError, match="finite"):
        Limit.parse(text)
    with pytest.raises(OptionError, match=r"ends before it begins.*the lower first"):
        Limit.parse("params:2M-1M")


def test_columns_may_be_negative():
    assert str(Limit("loss", -3.0, -1.0)) == "loss -3 to -1"


def test_inside_a_limit_too_those_without_a_score_come_last():
    rng = np.random.default_rng(0)
    scores, truth = rng.normal(size=12), rng.normal(size=12)
    scores[:4] = math.nan
    (row,) = band(Limit("params", 0), np.ones(12), {"one": scores}, truth, seed=3).rows
    whole = rank(scores, truth, seed=3)
    assert (row.spearman, row.top1, row.top10_mean) == (whole.spearman, whole.top1.value, whole.top10_mean.value)
    assert row.top10_mean == pytest.approx((8 * truth[4:].mean() + 2 * truth[:4].mean()) / 10)
