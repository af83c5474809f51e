"""``subshot rank``: its contract, its files, and everything a user can get wrong."""

import csv
import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

import subshot
from subshot.benchmarks import ranking
from subshot.benchmarks.ranking import STATISTICS

SPACE = "nasbench201(channels=2,cells=1)"
CELLS = 20
ESTIMATES = (*STATISTICS, "spearman_all")
ROW_KEYS = {"proxy", *ESTIMATES, *(f"{name}_ci" for name in ESTIMATES), "non_finite", "ties"}
KEYS = ["protocol", "archs", "rows", "noise_ceiling", "bands"]


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(ranking, "_RESAMPLES", 25)


@pytest.fixture(scope="module")
def cells():
    space, rng = subshot.get_space(SPACE), np.random.default_rng(2)
    drawn = [space.format(space.sample(rng)) for _ in range(3 * CELLS)]
    return list(dict.fromkeys(drawn))[:CELLS]


@pytest.fixture
def plain(folder, cells):
    """``table.csv`` in the current folder."""
    rows = [(cell, 80 + number / 2, -number, "x") for number, cell in enumerate(cells)]
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("arch", "acc", "loss", "word"), *rows])
    return path


@pytest.fixture
def stored(plain):
    """Arguments of a ranking of a column."""
    return ["rank", "--space", SPACE, "--table", plain.name, "--target", "acc", "--scores", "loss"]


@pytest.fixture
def quick(plain, npz):
    """Arguments of a ranking of a second or less."""
    return ["rank", "--space", SPACE, "--table", plain.name, "--data", npz, "--workers", 1, "--again", 0]


def test_the_contract(run, quick, cells):
    done = run(*quick, "--target", "acc", "--proxy", "swap,plain", "--aggregate", "vote", "--again", 5, "--json")
    assert done.code == 0
    values = done.json
    assert list(values) == [*KEYS, "seconds", "run"]
    assert values["bands"] == []
    assert values["archs"] == CELLS
    assert [row["proxy"] for row in values["rows"]] == ["swap", "plain", "parameters", "macs", "vote"]
    for row in values["rows"]:
        assert set(row) == ROW_KEYS
        for name in STATISTICS:
            assert len(row[f"{name}_ci"]) == 2
        low, high = row["spearman_ci"]
        assert -1 <= low <= row["spearman"] <= high <= 1
        assert 80 <= row["top1"] < 90
    protocol = values["protocol"]
    assert (protocol["space"], protocol["table"], protocol["target"]) == (
        "nasbench201(cells=1, channels=2)",
        "table.csv",
        "acc",
    )
    assert (protocol["batch_size"], protocol["seed"], protocol["direction"]) == (16, 0, "maximize")
    assert set(values["noise_ceiling"]["proxies"]) == {"swap", "plain"}
    assert "Spearman" in done.err


def test_the_run_folder(run, quick, folder, cells):
    values = run(*quick, "--target", "acc", "--archs", 12, "--out", "here", "--json").json
    assert values["run"] == "here"
    assert {path.name for path in (folder / "here").iterdir()} - {"report.html"} == {
        "command.json",
        "study.db",
        "scores.csv",
        "rank.json",
        "report.md",
    }
    assert json.loads((folder / "here" / "rank.json").read_text()) == values
    with (folder / "here" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["arch", "acc", "swap", "parameters", "macs"]
    assert len(rows) == 12
    assert all(float(row["acc"]) == 80 + cells.index(row["arch"]) / 2 for row in rows)
    report = (folder / "here" / "report.md").read_text()
    assert "| parameters (baseline) |" in report
    assert f"{values['rows'][0]['kendall']:.3f} [" in report
    assert "12 random ones (seed 0) of all 20 rows" in report


def test_tables_for_people(run, quick, monkeypatch):
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        done = run(*quick, "--target", "acc", "--minimize")
        assert done.code == 0
        table = done.out.partition("20 architectures")[0]
        assert "parameters" in table  # whole, not broken over lines
        assert all(len(line) <= width for line in table.splitlines())
        assert table.count("[") == len(("swap", "parameters", "macs")) * (1 if width == 80 else 2)
        assert "lower is better; the best is 80," in done.out
        assert "Protocol: narrow" in done.out


def test_the_same_command_reads_back_what_is_there(run, quick):
    first = run(*quick, "--target", "acc", "--json").json
    second = run(*quick, "--target", "acc", "--json").json
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    assert first["run"].startswith("runs")


def test_stored_scores(run, stored):
    done = run(*stored, "--json")
    assert [row["proxy"] for row in done.json["rows"]] == ["loss", "parameters", "macs"]
    assert done.json["rows"][0]["spearman"] == -1
    assert done.json["rows"][0]["top1"] == 80
    assert "batch_size" not in done.json["protocol"]


def test_several_targets(run, quick, folder):
    done = run(
        *quick, "--target", "acc", "--target", "loss", "--archs", 12, "--bands", "params:2", "--out", "a", "--json"
    )
    values = done.json
    assert list(values) == ["targets", "seconds", "run"]
    assert list(values["targets"]) == ["acc", "loss"]
    for name, found in values["targets"].items():
        assert list(found) == KEYS
        assert found["protocol"]["target"] == name
        assert found["protocol"]["targets"] == ["acc", "loss"]
        assert [row["proxy"] for row in found["rows"]] == ["swap", "parameters", "macs"]
        assert sum(band["archs"] for band in found["bands"]) == 12
    acc, loss = (found["rows"][0] for found in values["targets"].values())
    assert acc["spearman"] == -loss["spearman"]  # the rows say so: loss is minus the number of the row
    alone = run(*quick, "--target", "acc", "--archs", 12, "--out", "b", "--json").json
    assert alone["rows"] == values["targets"]["acc"]["rows"]
    by_commas = run(*quick, "--target", "acc,loss", "--archs", 12, "--bands", "params:2", "--out", "a", "--json").json
    assert by_commas["targets"] == values["targets"]
    with (folder / "a" / "scores.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["arch", "acc", "loss", "swap", "parameters", "macs"]
    report = (folder / "a" / "report.md").read_text()
    assert report.count("## Inside limits") == 2
    assert "# table.csv: acc\n" in report
    assert "# table.csv: loss\n" in report


def test_inside_limits(run, quick, monkeypatch, cells):
    space = subshot.get_space(SPACE)
    params = [space.measure(space.parse(cell)).parameters for cell in cells]
    middle = int(np.median(params))
    limits = ["--within", f"params<={middle}", "--within", f"params:{middle}-", "--within", "loss:0-3"]
    with_column = ["--target", "acc", *limits]
    first = run(*quick, *with_column[:-2], "--json").json["bands"]
    assert [(band["cost"], band["low"], band["high"]) for band in first] == [
        ("params", None, middle),
        ("params", middle, None),
    ]
    below = [number for number, value in enumerate(params) if value <= middle]
    assert first[0]["archs"] == len(below)
    assert first[0]["best"] == 80 + max(below) / 2
    assert first[0]["random_mean"] == pytest.approx(80 + np.mean(below) / 2)
    largest = max(params[number] for number in below)
    (row,) = (row for row in first[0]["rows"] if row["proxy"] == "parameters")
    picks = [number for number in below if params[number] == largest]
    assert (row["tied"], row["pick"]) == (len(picks), cells[picks[0]])
    assert row["top1"] == pytest.approx(80 + np.mean(picks) / 2)
    refused = run(*quick, *with_column)
    assert refused.code == 0  # loss goes from -19 to 0
    assert "Inside loss 0 to 3: 1 architectures" in refused.out
    monkeypatch.setenv("COLUMNS", "80")
    shown = run(*quick, "--target", "acc", "--bands", "params:3").out
    tables = shown.partition("Inside params")[2]
    assert tables.count("pick") == 3
    assert all(len(line) <= 80 for line in tables.splitlines() if line.startswith(("swap", "params", "macs")))
    assert "worse than random" in shown


@pytest.fixture
def refused(run, folder, plain):
    """Runs a command that must be refused, for people and for machines, and returns its message."""

    def refused(*arguments):
        before = sorted(folder.rglob("*"))
        for_people = run(*arguments)
        assert (for_people.code, for_people.out) == (2, "")
        assert for_people.err.startswith("Error: ")
        assert for_people.err.count("\n") == 1, "one paragraph"
        for_machines = run(*arguments, "--json")
        assert for_machines.code == 2
        error = for_machines.json["error"]
        assert for_people.err == f"Error: {error['message']} {error['hint']}".rstrip() + "\n"
        assert sorted(folder.rglob("*")) == before
        return for_people.err

    return refused


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--table", "nowhere.csv", "--target", "acc"], "nowhere.csv does not exist"),
        (["--table", "nasbench21", "--target", "acc"], "no table named 'nasbench21'. Did you mean 'nasbench201'"),
        (["--table", "nasbench201", "--target", "acc"], "SUBSHOT_DATA names no folder"),
        (["--table", "table.csv"], "No target was given"),
        (["--table", "table.csv", "--target", "ac"], "named 'ac'. Did you mean 'acc'"),
        (["--table", "table.csv", "--target", "word"], "'word' of table.csv is not numeric: row 1 has 'x'"),
        (["--table", "table.csv", "--target", "acc", "--archs", "lives"], "Did you mean 'live'"),
        (["--table", "table.csv", "--target", "acc", "--archs", "1k"], "has 20 to choose from"),
        (["--table", "table.csv", "--target", "acc", "--arch-column", "cell"], "named 'cell'"),
        (["--table", "table.csv", "--target", "acc", "--scores", "loss", "--proxy", "swap"], "both given"),
        (["--table", "table.csv", "--target", "acc", "--aggregate", "votes"], "no aggregator named 'votes'"),
        (["--table", "table.csv", "--target", "acc,los"], "named 'los'. Did you mean 'loss'"),
        (["--table", "table.csv", "--target", "acc", "--within", "params"], "'params' is no limit"),
        (["--table", "table.csv", "--target", "acc", "--within", "parms<=1M"], "named 'parms'"),
        (["--table", "table.csv", "--target", "acc", "--within", "params:1G-2G"], "No architecture is inside params"),
        (["--table", "table.csv", "--target", "acc", "--bands", "params"], "'params' asks for no bands"),
        (["--table", "table.csv", "--target", "acc", "--bands", "word:3"], "'word' of table.csv is not numeric"),
        (["--table", "flat.csv", "--target", "acc"], "All 20 values of 'acc' in flat.csv are 95"),
        (["--table", "empty.csv", "--target", "acc"], "'acc' of empty.csv has no values"),
        (["--table", "table.parquet", "--target", "acc"], "pip install pyarrow"),
        (["--table", "table.csv", "--target", "acc", "--data", "cifar01"], "no data set named 'cifar01'"),
        (["--table", "cut.csv.gz", "--target", "acc"], "damaged or truncated"),
        (["--table", "table.pkl", "--target", "acc"], "no table that subshot can read"),
        (["--table", "twice.csv", "--target", "acc"], "twice with different values of 'acc'"),
        (
            ["--table", "other.csv", "--target", "acc"],
            "1 of 20 cells in column 'arch' of other.csv are no architectures",
        ),
    ],
)
def test_bad_input(refused, folder, plain, arguments, expected, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it weren't installed
    text = plain.read_text()
    (folder / "table.parquet").write_bytes(b"PAR1")
    for name, value in (("flat", "95"), ("empty", "")):
        rows = [line.split(",") for line in text.splitlines()[1:]]
        (folder / f"{name}.csv").write_text("arch,acc\n" + "".join(f"{row[0]},{value}\n" for row in rows))
    (folder / "cut.csv.gz").write_bytes(gzip.compress(text.encode())[:-40])
    (folder / "table.pkl").write_bytes(b"cos\nsystem\n(S'touch harmed'\ntR.")
    (folder / "twice.csv").write_text(f"{text}{text.splitlines()[1].replace('80.0', '81.0')}\n")
    (folder / "other.csv").write_text(text.replace("|", "", 1))
    assert expected in refused("rank", "--space", SPACE, *arguments)
    assert not (folder / "harmed").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--data", "digits"],
        ["--data", "mnist_sample"],  # as it is by default: given all the same
        ["--batch-size", 16],
        ["--samples", "first"],
        ["--unreal", "none"],
        ["--image-size", 8],
        ["--repeats", 2],
        ["--init", "normal"],
        ["--bn-mode", "off"],
        ["--weights", "supernet.safetensors"],
        ["--again", 50],
        ["--device", "cpu"],
        ["--workers", 1],
        ["--executor", "serial"],
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_stored_scores_take_no_options_of_the_look(refused, stored, options):
    assert f"{options[0]} too, which would have no effect: no network is built" in refused(*stored, *options)


def test_stored_scores_keep_off_another_runs_folder(run, refused, quick, stored, folder):
    run(*quick, "--target", "acc", "--archs", 5, "--out", "mine")
    message = refused(*stored, "--out", "mine")
    assert "mine holds the scores of another run, study.db" in message
    assert run(*stored, "--out", "mine", "--fresh", "--json").code == 0
    names = {path.name for path in (folder / "mine").iterdir()} - {"report.html", "report.html.old1"}
    now, before = {"scores.csv", "rank.json", "report.md"}, {"study.db", "scores.csv", "rank.json", "report.md"}
    assert names - {"command.json"} == now | {f"{name}.old1" for name in before}


def test_another_question_in_the_same_folder_is_told(run, stored, folder):
    first = run(*stored)
    assert "is kept" not in first.out
    before = (folder / "runs").glob("*/report.md")
    report = next(before).read_text()
    assert "is kept" not in run(*stored).out
    done = run(*stored, "--bands", "params:2")
    assert "Another result was in that folder and is kept: scores.csv.old1, rank.json.old1, report.md.old1" in done.out
    (kept,) = (folder / "runs").glob("*/report.md.old1")
    assert kept.read_text() == report


def test_names_do_no_harm_in_markdown(run, folder, plain):
    _, *rows = plain.read_text().splitlines()
    plain.write_text("\n".join(['arch,"a|c *c* <b>`c`\n# d",_loss_,word', *rows]))
    target = "a|c *c* <b>`c`\n# d"
    run("rank", "--space", SPACE, "--table", plain.name, "--target", target, "--scores", "_loss_", "--bands",
        "params:2", "--out", "x")  # fmt: skip
    report = (folder / "x" / "report.md").read_text()
    assert r"# table.csv: a\|c \*c\* \<b>\`c\` \# d" in report.splitlines()
    assert report.count(r"| \_loss\_ |") == 3
    assert "\n# d" not in report
    picks = [line for line in report.splitlines() if "nor_conv" in line or "none" in line]
    assert picks
    assert all(line.replace(r"\~", "").count("~") == 0 for line in picks)


def test_a_spreadsheets_table_is_read(run, stored, plain):
    plain.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    assert run(*stored, "--json").json["archs"] == CELLS


def test_a_table_of_another_space(refused):
    message = refused("rank", "--space", "darts", "--table", "table.csv", "--target", "acc")
    assert "20 of 20 cells in column 'arch' of table.csv are no architectures of darts; the first: '|" in message


@pytest.mark.slow
def test_a_killed_ranking_continues_with_the_same_result(folder, plain, npz):
    arguments = ["rank", "--space", "nasbench201(channels=16,cells=3)", "--variant", "official", "--table", plain.name]
    arguments += ["--target", "acc", "--data", str(npz), "--workers", "1", "--again", "0", "--json", "--out"]
    code = "from subshot.benchmarks import ranking; ranking._RESAMPLES = 25; from subshot.cli.main import main; main()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(out):
        command = [sys.executable, "-c", code, *arguments, out]
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    killed = start("broken")
    log = folder / "broken" / "study.db-wal"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size > 40_000) and killed.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL, "it ended before it was killed"
    with sqlite3.connect(folder / "broken" / "study.db") as database:
        (stored,) = database.execute("SELECT COUNT(*) FROM evaluations").fetchone()
    database.close()
    assert 0 < stored < CELLS
    outputs = [start(out).communicate()[0] for out in ("broken", "whole")]
    broken, whole = ({**json.loads(text), "seconds": 0, "run": ""} for text in outputs)
    assert broken == whole
    assert (folder / "broken" / "scores.csv").read_text() == (folder / "whole" / "scores.csv").read_text()


def test_help_waits_for_nothing():
    code = (
        "import sys; sys.argv = ['subshot', 'rank', '--help']\n"
        "from subshot.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'scipy', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--aggregate" in done.stdout


def test_stored_scores_wait_for_no_torch(folder, plain):
    code = (
        "import sys; sys.argv = ['subshot', 'rank', '--space', 'nasbench201', '--table', 'table.csv', "
        "'--target', 'acc', '--scores', 'loss', '--json']\n"
        "from subshot.benchmarks import ranking; ranking._RESAMPLES = 25\n"
        "from subshot.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["archs"] == CELLS
