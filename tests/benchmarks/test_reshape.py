"""Published files to one row for each architecture, and columns of further files."""

import numpy as np
import pytest

from subshot.benchmarks._columns import Columns
from subshot.benchmarks._further import Further, add_columns, further_names
from subshot.benchmarks._reshape import averaged, blanked, marked, renamed, side_by_side, stacked, where
from subshot.errors import DataError


def columns(**cells):
    return Columns("t.csv", "0" * 16, {name: list(column) for name, column in cells.items()})


def test_rows_are_chosen():
    table = columns(a="xyxy", b="1122", c="abcd")
    assert where(table, a="x").cells == {"a": ["x", "x"], "b": ["1", "2"], "c": ["a", "c"]}
    assert where(table, a="x", b="2").cells["c"] == ["c"]
    with pytest.raises(DataError, match="no row with a z"):
        where(table, a="z")
    with pytest.raises(DataError, match="no column 'd'"):
        where(table, d="z")


def test_cells_are_marked_renamed_and_blanked():
    table = columns(arch=["1", "2"], score=["-100000000.0", "5"])
    assert marked(table, "arch", "naslib:").cells["arch"] == ["naslib:1", "naslib:2"]
    assert renamed(table, cell="arch").cells == {"cell": ["1", "2"], "score": ["-100000000.0", "5"]}
    assert blanked(table, -1e8).cells == {"arch": ["1", "2"], "score": ["", "5"]}
    assert blanked(columns(a=["x", ""]), 3).cells == {"a": ["x", ""]}


def test_repeats_are_averaged():
    table = columns(arch="abab", acc=["1", "2", "3", "2"], other="wxyz", empty=["", "", "5", ""])
    found = averaged(table, key="arch", names={"acc": "mean", "empty": "some"})
    assert found.cells == {
        "arch": ["a", "b"],
        "other": ["w", "x"],
        "mean": ["2.0", "2.0"],
        "mean_runs": ["1|3", "2|2"],
        "some": ["5.0", ""],
        "some_runs": ["5", ""],
    }
    assert averaged(table, key="arch", names={"acc": "acc"}, distinct=True).cells["acc_runs"] == ["1|3", "2"]
    with pytest.raises(DataError, match=r"'other' of t\.csv is not numeric"):
        averaged(table, key="arch", names={"other": "mean"})


def test_data_sets_stand_side_by_side():
    table = columns(arch="aabc", data=["d1", "d2", "d1", "d3"], val="1234")
    found = side_by_side(table, key="arch", by="data", names={"d1": "one", "d2": "two"})
    assert found.cells == {"arch": ["a", "b", "c"], "one_val": ["1", "3", ""], "two_val": ["2", "", ""]}
    found = side_by_side(
        columns(arch="aab", data=["d1", "d2", "d1"], val="123", size="778"),
        key="arch",
        by="data",
        names={"d1": "one"},
        shared=["size"],
    )
    assert found.cells == {"arch": ["a", "b"], "size": ["7", "8"], "one_val": ["1", "3"]}
    with pytest.raises(DataError, match="a twice for d1"):
        side_by_side(columns(arch="aa", data=["d1", "d1"], val="12"), key="arch", by="data", names={"d1": "one"})


def test_rows_are_stacked_once():
    found = stacked(columns(k="ab", x="12"), columns(k="bc", y="34"), key="k")
    assert found.cells == {"k": ["a", "b", "c"], "x": ["1", "2", ""], "y": ["", "", "4"]}


@pytest.fixture
def further(tmp_path):
    """A table of latencies without keys, and one of scores with them."""
    arrays, table = tmp_path / "hw.npz", tmp_path / "zen.csv"
    values = np.array([[1.5, -1], [2.5, 20], [3.5, 30]], dtype=np.float32)
    np.savez(arrays, columns=np.array(["phone", "tpu"]), values=values)
    table.write_text("index,zen,phone\n2,0.2,7\n0,0.1,8\n")
    return {arrays: Further("hw.npz", "hw_", missing=-1), table: Further("zen.csv")}


def test_columns_of_further_files(further):
    table = columns(index="2019", acc="1234")
    found = add_columns(table, ["hw_tpu", "acc", "zen", "phone", "nowhere"], further, key="index")
    assert found.cells == {
        "index": ["2", "0", "1", "9"],
        "acc": ["1", "2", "3", "4"],
        "hw_tpu": ["30.0", "", "20.0", ""],  # -1 is none, and the last row is in no file
        "zen": ["0.2", "0.1", "", ""],
        "phone": ["7", "8", "", ""],
    }
    assert found.digest != table.digest
    assert add_columns(table, ["acc"], further, key="index").digest == table.digest
    assert further_names(further, key="index") == ["hw_phone", "hw_tpu", "zen", "phone"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npz", b"PK\x03\x04 cut", "damaged or has other arrays"),
        ("x.npz", b"", "damaged or has other arrays"),
        ("x.csv", b"id,a\n1,2\n", "no column 'index'"),
    ],
)
def test_broken_further_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        add_columns(columns(index="1"), ["a"], {path: Further(name)}, key="index")


def test_further_arrays_of_another_kind(tmp_path):
    path = tmp_path / "x.npz"
    for arrays in (
        {"columns": np.array(["a"]), "values": np.zeros((2, 2))},
        {"values": np.zeros((2, 2))},
        {"columns": np.array([{"a": 1}], dtype=object), "values": np.zeros((2, 1))},  # would have to be unpickled
    ):
        np.savez(path, **arrays)
        with pytest.raises(DataError, match="damaged or has other arrays"):
            add_columns(columns(index="1"), ["a"], {path: Further("x.npz")}, key="index")
