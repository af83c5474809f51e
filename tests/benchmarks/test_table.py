"""Tables of trained architectures: the plain format, the published ones, and which rows are ranked."""

import csv
import gzip
import io
import sys

import numpy as np
import pytest

import subshot
from subshot.benchmarks._agreement import agree
from subshot.benchmarks._benchmark import find_table
from subshot.benchmarks._facts import TableFacts, TargetFacts, read_facts
from subshot.benchmarks._populations import choose
from subshot.errors import DataError, MissingDependencyError, OptionError, SubshotError, UnknownNameError
from subshot.spaces.darts import Darts
from subshot.spaces.nasbench201 import NasBench201, is_live

SPACE = NasBench201()
CELLS = [SPACE.format(SPACE.sample(np.random.default_rng(seed))) for seed in range(12)]


def text_of(rows, header=("arch", "acc", "loss")):
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    return out.getvalue()


ROWS = [(cell, 80 + number, f"{1 / (1 + number):.4f}") for number, cell in enumerate(CELLS)]


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(text_of(ROWS))
    return path


def read(path, space=SPACE, **arguments):
    return find_table(path).read(space, **{"target": "acc", **arguments})


def test_a_plain_table(plain):
    table = read(plain)
    assert table.texts == tuple(CELLS)
    assert table.truth.tolist() == [80.0 + number for number in range(12)]
    assert [SPACE.format(arch) for arch in table.archs] == CELLS
    assert (table.empty, table.repeated, table.seeds, dict(table.scores)) == (0, 0, None, {})
    scored = read(plain, scores=["loss"])
    assert scored.scores["loss"].tolist() == [round(1 / (1 + number), 4) for number in range(12)]


def test_gzipped_and_marked_tables_are_the_same(plain, tmp_path):
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    marked = tmp_path / "marked.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\r\n", b"\n\n"))  # a spreadsheet's, blank lines
    for other in (packed, marked):
        assert read(other).texts == tuple(CELLS)
        assert read(other).truth.tolist() == read(plain).truth.tolist()
        assert read(other).digest != read(plain).digest


def test_parquet(plain, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    accuracies = [None if row[1] == 85 else float(row[1]) for row in ROWS]
    path = tmp_path / "mine.parquet"
    parquet.write_table(arrow.table({"arch": CELLS, "acc": accuracies}), path)
    table = read(path)
    assert table.texts == tuple(cell for cell, value in zip(CELLS, accuracies, strict=True) if value is not None)
    assert table.truth.tolist() == [value for value in accuracies if value is not None]
    assert table.empty == 1
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged or no Parquet file"):
        read(path)


def test_parquet_needs_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it weren't installed
    (tmp_path / "mine.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
        read(tmp_path / "mine.parquet")


def test_the_column_of_architectures_is_found(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text_of([(n, cell, n) for n, cell in enumerate(CELLS)], ("index", "cell", "acc")))
    assert read(path).texts == tuple(CELLS)
    both = [(n, cell, CELLS[-1 - n], n) for n, cell in enumerate(CELLS)]
    path.write_text(text_of(both, ("index", "cell", "mirror", "acc")))
    with pytest.raises(OptionError, match=r"several columns of .*cell, mirror.*--arch-column"):
        read(path)
    assert read(path, arch_column="mirror").texts == tuple(reversed(CELLS))
    path.write_text(text_of(both, ("index", "cell", "arch", "acc")))
    assert read(path).texts == tuple(reversed(CELLS))
    with pytest.raises(UnknownNameError, match=r"no column in .* named 'cel'.*Did you mean 'cell'"):
        read(path, arch_column="cel")


def test_rows_without_a_value_are_counted_and_left_out(tmp_path):
    path = tmp_path / "table.csv"
    values = ["", "nan", "inf", " NA ", *range(8)]
    path.write_text(text_of([(cell, value, 0) for cell, value in zip(CELLS, values, strict=True)]))
    table = read(path)
    assert table.empty == 4
    assert table.texts == tuple(CELLS[4:])
    assert table.truth.tolist() == list(range(8))
    path.write_text(text_of([(cell, "", 0) for cell in CELLS]))
    with pytest.raises(DataError, match=r"'acc' of .* has no values"):
        read(path)


def test_repeated_rows(plain):
    again = [(CELLS[3], "83.0", "77")]  # the loss, which is not asked for, differs
    plain.write_text(text_of([*ROWS, *again]))
    table = read(plain)
    assert (len(table.archs), table.repeated) == (12, 1)
    with pytest.raises(DataError, match=r"twice with different values of 'loss': 0.25 in row 4 and 77 in row 13"):
        read(plain, scores=["loss"])
    plain.write_text(text_of([*ROWS, (CELLS[3], 99, 0)]))
    with pytest.raises(DataError, match=r"twice with different values of 'acc': 83 in row 4 and 99 in row 13"):
        read(plain)


BROKEN = {
    "a cut gzip": ("t.csv.gz", gzip.compress(text_of(ROWS).encode())[:-30], "damaged or truncated"),
    "no gzip": ("t.csv.gz", b"arch,acc\n", "damaged or truncated"),
    "no text": ("t.csv", b"arch,acc\n\xff\xfe,1\n", "no UTF-8 text"),
    "empty": ("t.csv", b"", "is empty"),
    "no rows": ("t.csv", b"arch,acc\r\n", "has no rows"),
    "a short row": ("t.csv", text_of([*ROWS, (CELLS[0],)]).encode(), "Row 13 of .* has 1 cells, its header has 3"),
    "an open quote": ("t.csv", b'arch,acc\n"|nor', "is no CSV"),
    "semicolons": ("t.csv", b"arch;acc\na;1\n", "Separate columns by commas"),
    "two of a name": ("t.csv", b"arch,acc,acc\na,1,2\n", "several columns named 'acc'"),
    "another form": ("t.pkl", b"cos\nsystem\n(S'false'\ntR.", r"no table that subshot can read.*\.csv"),
    "no numbers": ("t.csv", text_of([*ROWS[:2], (CELLS[5], "good", 0)]).encode(), "not numeric: row 3 has 'good'"),
    "another target": ("t.csv", text_of(ROWS, ("arch", "accu", "x")).encode(), "named 'acc'.*Did you mean 'accu'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_tables(case, tmp_path):
    name, content, message = BROKEN[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SubshotError, match=message):
        read(tmp_path / name)


def test_a_target_with_one_value_has_no_order(plain):
    plain.write_text(text_of([(cell, 95, number) for number, cell in enumerate(CELLS)]))
    with pytest.raises(DataError, match=r"All 12 values of 'acc' in .* are 95: they have no order"):
        read(plain)
    assert read(plain, target="loss").truth.tolist() == list(range(12))


def test_several_targets_have_the_same_rows(plain):
    rows = [(cell, "" if number < 3 else number, "" if number == 5 else -number) for number, cell in enumerate(CELLS)]
    plain.write_text(text_of(rows))
    kept = [number for number in range(12) if number > 2 and number != 5]
    source = find_table(plain)
    for asked in (["acc", "loss"], "acc,loss", "acc, loss", ["acc", "loss", "acc"]):
        acc, loss = source.read_targets(SPACE, targets=asked)
        assert (acc.target, loss.target) == ("acc", "loss")
        assert acc.texts == loss.texts == tuple(CELLS[number] for number in kept)
        assert (acc.truth.tolist(), loss.truth.tolist()) == (kept, [-number for number in kept])
        assert (acc.empty, loss.empty) == (4, 4)
    assert len(source.read(SPACE, target="acc").archs) == 9
    with pytest.raises(UnknownNameError, match=r"named 'lss'.*Did you mean 'loss'"):
        source.read_targets(SPACE, targets="acc,lss")
    with pytest.raises(UnknownNameError, match="named 'all'"):
        source.read_targets(SPACE, targets="all")  # nothing says which columns are targets
    plain.with_suffix(".toml").write_text("[targets.loss]\n[targets.acc]\n")
    assert [table.target for table in find_table(plain).read_targets(SPACE, targets="all")] == ["loss", "acc"]
    plain.write_text(
        text_of(
            [
                (cell, 1 + number if number % 2 else "", "" if number % 2 else number)
                for number, cell in enumerate(CELLS)
            ]
        )
    )
    with pytest.raises(DataError, match=r"The columns acc, loss of .* have no values in the same rows"):
        source.read_targets(SPACE, targets="acc,loss")


def test_a_column_with_a_comma_is_one_target(plain):
    plain.write_text(text_of(ROWS, ("arch", "accuracy, top-1", "loss")))
    assert read(plain, target="accuracy, top-1").target == "accuracy, top-1"


def test_missing_tables(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(UnknownNameError, match=r"no table named 'nasbench20'.*nasbench201.*path of a table"):
        find_table("nasbench20")


def test_a_table_of_another_space(plain):
    with pytest.raises(
        DataError, match=r"12 of 12 cells in column 'arch' .* no architectures of darts; the first: '\|"
    ):
        read(plain, space=Darts())
    plain.write_text(text_of(ROWS, ("cell", "acc", "loss")))
    with pytest.raises(DataError, match=r"no column 'arch'.*cell, acc, loss.*table of another space"):
        read(plain, space=Darts())
    mixed = [*ROWS[:-1], ("|conv_9x9~0|", 1, 1)]
    plain.write_text(text_of(mixed))
    with pytest.raises(DataError, match=r"1 of 12 cells .*conv_9x9"):
        read(plain)


FACTS = """
space = "nasbench201"
source = "our cluster"
licence = "CC0"

[targets.loss]
metric = "cross entropy"
unit = "nat"
direction = "minimize"
split = "test"
seeds = ["acc", "loss"]
"""


def test_facts_beside_a_table(plain, tmp_path):
    (tmp_path / "mine.toml").write_text(FACTS)
    source = find_table(plain)
    expected = TargetFacts("cross entropy", "nat", "minimize", "test", ("acc", "loss"))
    assert source.facts == TableFacts("nasbench201", "", "our cluster", "CC0", {"loss": expected})
    table = source.read(SPACE, target=None)  # the only target
    assert (table.target, table.target_facts) == ("loss", expected)
    np.testing.assert_array_equal(table.seeds, [[float(row[1]), float(row[2])] for row in ROWS])
    with pytest.raises(OptionError, match="of the space nasbench201, and darts was asked for"):
        source.read(Darts(), target="loss")
    packed = tmp_path / "mine.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert find_table(packed).facts == source.facts


def test_runs_joined_by_bars(plain, tmp_path):
    (tmp_path / "mine.toml").write_text('[targets.acc]\nseeds = "runs"\n')
    runs = ["1.5|2|7", "3", "", "4|", *["5|6"] * 8]
    plain.write_text(
        text_of([(c, n, r) for n, (c, r) in enumerate(zip(CELLS, runs, strict=True))], ("arch", "acc", "runs"))
    )
    seeds = read(plain).seeds
    np.testing.assert_array_equal(seeds[:5], [[1.5, 2], [3, np.nan], [np.nan, np.nan], [4, np.nan], [5, 6]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space = 3", "'space' in .* is 3"),
        ("licens = 'x'", "no entry in .* named 'licens'.*Did you mean 'licence'"),
        ("[targets.a]\nmetrics = 'x'", "named 'metrics'.*Did you mean 'metric'"),
        ("[targets.a]\ndirection = 'up'", "direction 'up'.*maximize or minimize"),
        ("[targets.a]\nseeds = [1]", "'seeds' of target 'a'"),
        ("targets = ['a']", "no table of tables"),
        ("space = ", "can't be read"),
    ],
)
def test_broken_facts(text, message, tmp_path):
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(SubshotError, match=message):
        read_facts(tmp_path / "t.toml")


def test_a_target_must_be_named_where_there_are_several(plain):
    with pytest.raises(OptionError, match=r"No target was given; .* has acc, loss"):
        read(plain, target=None)
    with pytest.raises(OptionError, match="holds the architectures"):
        read(plain, target="arch")


# Which rows are ranked.


@pytest.fixture
def table(plain):
    return read(plain)


def test_populations_of_the_space(table):
    live = [row for row, cell in enumerate(CELLS) if is_live(SPACE.parse(cell))]
    assert 0 < len(live) < 12
    chosen = choose(table, SPACE, "live")
    assert chosen.rows.tolist() == live
    assert chosen.absent == 9445 - len(live)
    assert choose(table, SPACE, "all").rows.tolist() == list(range(12))
    few = choose(table, SPACE, f"live:{len(live) - 1}")
    assert set(few.rows.tolist()) < set(live)
    for text in ("live:1", "live", "all"):
        assert choose(table, SPACE, text).label
    with pytest.raises(
        UnknownNameError, match=r"no population of nasbench201 named 'liv'.*no such file.*Did you mean 'live'"
    ):
        choose(table, SPACE, "liv")


def test_random_rows(table):
    some = choose(table, SPACE, 5, seed=3).rows.tolist()
    assert some == sorted(set(some)) == choose(table, SPACE, "5", seed=3).rows.tolist()
    assert set(some) < set(choose(table, SPACE, 6, seed=3).rows.tolist())
    assert any(choose(table, SPACE, 5, seed=seed).rows.tolist() != some for seed in range(5))
    for number in (0, 13, "1k", "live:500"):
        with pytest.raises(OptionError, match="random architectures were asked for"):
            choose(table, SPACE, number)


def test_a_file_of_architectures(table, tmp_path):
    path = tmp_path / "some.txt"
    path.write_text(f"{CELLS[7]}\n\n{CELLS[2]}\n{CELLS[7]}\n")
    assert choose(table, SPACE, path).rows.tolist() == [2, 7]
    assert choose(table, SPACE, [SPACE.parse(CELLS[4])]).rows.tolist() == [4]
    path.write_text(f"{CELLS[7]}\n|what|\n")
    with pytest.raises(DataError, match=r"Line 2 of .* is no architecture"):
        choose(table, SPACE, path)
    other = SPACE.format(next(one for one in SPACE.architectures() if SPACE.format(one) not in CELLS))
    path.write_text(f"{CELLS[7]}\n{other}\n")
    with pytest.raises(DataError, match=r"1 of the 2 architectures in some.txt have no value of 'acc'"):
        choose(table, SPACE, path)
    path.write_text("\n")
    with pytest.raises(DataError, match="0 of the 0 architectures"):
        choose(table, SPACE, path)


# The published tables.


def test_registered_tables_are_found_where_they_may_be(tmp_path, monkeypatch, plain):
    monkeypatch.delenv("SUBSHOT_DATA", raising=False)
    with pytest.raises(DataError, match=r"'darts1000' is not here: SUBSHOT_DATA names no folder.*genotype"):
        find_table("darts1000")
    with pytest.raises(DataError, match="not in the data folder"):
        find_table("darts1000", root=tmp_path)
    entry = subshot.get_benchmark("nasbench201_scores_cifar10")
    for folder in ("", "nas-bench-201", "nas-bench/nas-bench-201"):
        root = tmp_path / f"root-{folder.count('/')}{bool(folder)}"
        for file in entry.files:
            path = root / folder / file.rpartition("/")[2]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        assert len(find_table(entry.name, root=root).paths) == 2
        path.unlink()
        assert entry.locate(root) is None


def test_joined_files_keep_the_rows_of_both(tmp_path):
    home = tmp_path / "nas-bench-201"
    home.mkdir()
    rows = [(n, cell, 80 + n) for n, cell in enumerate(CELLS)]
    accuracy = text_of(rows, ("index", "arch_str", "cifar10_test_12"))
    (home / "nb201_accuracy.csv.gz").write_bytes(gzip.compress(accuracy.encode()))
    scores = text_of([(5, 0.5), (2, 0.2), (99, 1)], ("index", "nwot"))
    (home / "nb201_zc13_cifar10.csv.gz").write_bytes(gzip.compress(scores.encode()))
    source = find_table("nasbench201_scores_cifar10", root=tmp_path)
    table = source.read(SPACE, target="cifar10_test_12", scores=["nwot"])
    assert table.texts == (CELLS[2], CELLS[5])
    assert table.truth.tolist() == [82, 85]
    assert table.scores["nwot"].tolist() == [0.2, 0.5]
    (home / "nb201_zc13_cifar10.csv.gz").write_bytes(gzip.compress(b"id,nwot\n1,1\n"))
    with pytest.raises(DataError, match="no column 'index'"):
        source.read(SPACE, target="cifar10_test_12")


def test_nasbench201_has_its_published_facts(data_root):
    source = find_table("nasbench201", root=data_root)
    optima = {}
    for data in ("cifar10", "cifar100", "imagenet16"):
        table = source.read(SPACE, target=f"{data}_test_200")
        assert len(table.archs) == len(set(table.texts)) == 15625
        assert (table.empty, table.repeated) == (0, 0)
        optima[data] = round(float(table.truth.max()), 2)
    assert optima == {"cifar10": 94.37, "cifar100": 73.51, "imagenet16": 47.31}
    sizes = {name: len(choose(table, SPACE, name).rows) for name in ("all", "unique", "live")}
    assert sizes == {"all": 15625, "unique": 6466, "live": 9445}
    assert choose(table, SPACE, "live").absent == 0


def test_the_scored_cells_are_the_live_ones(data_root):
    source = find_table("nasbench201_scores_cifar10", root=data_root)
    table = source.read(SPACE, target="cifar10_test_200", scores=["nwot"])
    assert len(table.archs) == 9445
    assert set(table.archs) == set(SPACE.population("live"))


# How far two measurements agree.


def test_agreement(monkeypatch):
    monkeypatch.setattr("subshot.benchmarks.ranking._RESAMPLES", 200)
    rng = np.random.default_rng(0)
    first = rng.normal(size=80)
    same = agree(first, np.exp(first))
    assert (same.spearman.value, same.kendall.value, same.archs) == (pytest.approx(1), pytest.approx(1), 80)
    second = first + rng.normal(size=80)
    second[:5] = np.nan
    found = agree(first, second)
    ranks = [np.argsort(np.argsort(one[5:])) for one in (first, second)]
    assert found.spearman.value == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert found.archs == 75
    assert found.spearman.low < found.spearman.value < found.spearman.high < 1
    assert agree(first[:2], second[:2]) is None
    assert agree(first, np.full(80, np.nan)) is None
    assert agree(np.ones(9), np.arange(9.0)).to_dict()["spearman_ci"] == [None, None]
