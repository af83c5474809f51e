import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer

import subshot
from subshot.cli._options import size, usable_cores
from subshot.cli._output import number
from subshot.spaces._space import get_space

CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"

NETWORKS = """
import torch
from torch import nn

print("a file that talks")


class Net(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        print("and its networks too")
        self.conv = nn.Conv2d(3, 8, 3)
        self.factor = factor

    def forward(self, images):
        print("and their passes")
        return torch.relu(self.conv(images)).mean((2, 3)) * self.factor


class Raising(Net):
    def forward(self, images):
        raise ValueError("no [bold]way[/x]")


def cnn():
    return Net()


def nan():
    return Net(float("nan"))


def raising():
    return Raising()


def linear():
    return nn.Conv2d(3, 8, 3)
"""


@pytest.fixture
def networks(folder):
    (folder / "networks.py").write_text(NETWORKS)
    return "networks.py"


# --- one strict object with the keys of the contract -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["spaces", "proxies", "aggregators", "strategies", "data"])
def test_list(run, kind):
    done = run("list", kind, "--json")
    assert (done.code, done.err) == (0, "")
    assert list(done.json) == [kind]
    names = done.json[kind]
    assert names == sorted(names)
    assert (
        set(names)
        >= {
            "spaces": {"nasbench201", "darts"},
            "proxies": {"swap", "parameters", "macs"},
            "aggregators": {"vote", "rank_sum", "az_nas"},
            "strategies": {"random", "swap_evolution"},
            "data": {"mnist_sample", "cifar10"},
        }[kind]
    )
    shown = run("list", kind)
    assert (shown.code, shown.err) == (0, "")
    assert all(name in shown.out for name in names)


def test_data_is_found_in_the_folder_that_the_environment_names(run, tmp_path, monkeypatch):
    keys = {"name", "kind", "found", "path", "licence", "how_to_get"}

    def first(done):
        assert done.code == 0
        sets = done.json["sets"]
        assert all(set(one) == keys for one in sets)
        assert all((one["path"] is None) != one["found"] for one in sets)
        return next(one for one in sets if one["name"] == "cifar10_first")

    missing = first(run("data", "--json"))
    assert missing["found"] is False
    assert "SUBSHOT_DATA" in missing["how_to_get"]
    file = tmp_path / "sets" / "cifar10-first" / "images.npy"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setenv("SUBSHOT_DATA", str(tmp_path / "sets"))
    found = first(run("data", "--json"))
    assert (found["found"], found["path"]) == (True, str(file))
    assert "cifar10_first" in run("data").out


def test_profile_without_limits(run):
    done = run("profile", "--space", "nasbench201", "--json")
    assert (done.code, done.err) == (0, "")
    found = done.json
    assert set(found) >= {"space", "size", "params", "macs", "feasible"}
    assert (found["space"], found["size"], found["feasible"]) == ("nasbench201", 15_625, None)
    for name in ("params", "macs"):
        assert found[name]["min"] < found[name]["median"] < found[name]["max"]
    assert found["params"]["min"] == 73_306  # the published size of the cell without operations


@pytest.mark.parametrize(
    ("limits", "feasible"),
    [
        (["--max-params", "73306"], True),
        (["--max-params", "73305"], False),
        (["--max-params", "0.1M", "--max-macs", "8M"], True),
        (["--max-params", "1M", "--max-macs", "7000k"], False),
    ],
)
def test_profile_tells_whether_limits_can_be_met(run, limits, feasible):
    assert run("profile", "--space", "nasbench201", "--json", *limits).json["feasible"] is feasible
    shown = run("profile", "--space", "nasbench201", *limits)
    assert (shown.code, shown.err) == (0, "")
    assert ("can be met" if feasible else "can't be met") in shown.out


def test_profile_of_other_data(run, npz):
    own, other = (run("profile", "--json", *more).json for more in ([], ["--data", npz]))
    assert other["macs"]["max"] < own["macs"]["max"] / 3  # 16 x 16 pixels, not 32 x 32
    assert own["params"]["min"] - other["params"]["min"] == (10 - 4) * 65  # a head of 4 classes, not 10


def test_profile_of_another_network(run):
    own, narrow = (run("profile", "--json", *more).json for more in ([], ["--variant", "narrow"]))
    assert (own["variant"], narrow["variant"]) == ("official", "narrow")
    assert narrow["params"]["max"] < own["params"]["max"] / 10
    large = run("profile", "--json", "--image-size", 64).json
    assert large["params"] == own["params"]
    assert large["macs"]["max"] == 4 * (own["macs"]["max"] - 640) + 640  # all but the head, 64 x 10
    more = run("profile", "--json", "--classes", 100).json
    assert more["params"]["min"] - own["params"]["min"] == 90 * 65
    shown = run("profile", "--variant", "narrow", "--image-size", 16, "--classes", 3)
    assert "network narrow, input (3, 16, 16), 3 classes" in " ".join(shown.out.split())


def test_search_for_another_network(run, quick):
    space = ["--space", "nasbench201(channels=6,cells=1)", "--max-params", "15k", "--strategy", "random"]
    for more, variant in ([], "official"), (["--trained-variant", "narrow"], "narrow"):
        found = run(*quick, *space, *more, "--json").json
        assert found["settings"]["trained_variant"] == variant
        chosen = get_space("nasbench201(channels=6,cells=1)")
        task = subshot.TaskSpec.images(3, 16, 16, classes=4)
        size = chosen.measure(chosen.parse(found["best"]["arch"]), task, variant=variant)
        assert found["best"]["costs"] == {"params": size.parameters, "macs": size.macs}


PROTOCOL = {"data", "data_digest", "batch_size", "repeats", "initialisation", "batch_norm", "seed", "version", "device"}


def test_search(run, quick, folder):
    done = run(*quick, "--json", "--max-params", "3k")
    assert done.code == 0
    found = done.json
    assert found["best"]["arch"] in done.err  # tables go to standard error
    assert found["objective"] == "swap"
    assert found["settings"]["limits"] == {"params": 3_000}
    assert set(found) >= {"status", "best", "front", "evaluations", "failed", "seconds", "protocol", "run"}
    assert (found["status"], found["evaluations"]) == ("done", 12)
    assert set(found["best"]) >= {"arch", "score", "costs"}
    assert found["front"][0] == found["best"]
    assert all(one["costs"]["params"] <= 3_000 for one in found["front"])
    assert set(found["protocol"]) >= PROTOCOL
    assert found["protocol"]["network"] == {"cells": 1, "channels": 2}
    assert json.loads((folder / found["run"] / "best.json").read_text()) == found
    space = get_space("nasbench201(channels=2,cells=1)")
    assert space.format(space.parse(found["best"]["arch"])) == found["best"]["arch"]


def test_search_for_people(run, quick):
    done = run(*quick)
    assert (done.code, done.err) == (0, "")
    best = run(*quick, "--json").json["best"]
    assert best["arch"] in done.out
    assert "(cells=1, channels=2); images.npz 3x16x16, random 16 x 1 batch" in done.out
    assert "Run folder: runs/" in done.out


def test_impossible_limits_are_a_result_too(run, quick, folder):
    done = run(*quick, "--json", "--max-params", "10")
    assert (done.code, done.err) == (2, "")
    found = done.json
    assert (found["status"], found["best"], found["front"], found["evaluations"]) == ("infeasible", None, [], 0)
    assert set(run(*quick, "--json").json) <= set(found)
    assert "params <= 10" in found["error"]["message"]
    assert "nasbench201(cells=1, channels=2)" in found["error"]["hint"]
    shown = run(*quick, "--max-params", "10")
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("Error: No architecture of nasbench201 meets the limits (params <= 10).")


# --- score -----------------------------------------------------------------------------------------------------------


def test_score(run, networks, npz):
    genotype = get_space("darts").format(get_space("darts").sample(np.random.default_rng(0)))
    targets = [f"nasbench201(channels=2,cells=1):{CELL}", f"darts(channels=4,layers=3):{genotype}", "networks.py:cnn"]
    done = run("score", *targets, "--proxy", "all", "--data", npz, "--json")
    assert done.code == 0
    found = done.json
    assert set(found) == {"protocol", "scores"}
    assert [one["target"] for one in found["scores"]] == targets
    for one in found["scores"]:
        assert set(one["proxies"]) == set(subshot.list_proxies())
        assert set(one["protocol"]) >= PROTOCOL
        for value in one["proxies"].values():
            assert set(value) >= {"value", "status", "parts", "cost"}
            assert (value["value"] is not None) == (value["status"] == "ok")
    cell, _, own = (one["proxies"] for one in found["scores"])
    space, task = get_space("nasbench201(channels=2,cells=1)"), subshot.TaskSpec.images(3, 16, 16, classes=4)
    assert cell["parameters"]["value"] == sum(
        parameter.numel()
        for parameter in space.build(space.parse(CELL), task, variant=space.scoring_variant).parameters()
    )
    assert (own["parameters"]["value"], own["macs"]["value"]) == (8 * 27 + 8, 14 * 14 * 8 * 27)
    assert own["swap"]["status"] == "ok"
    assert own["swap_regularized"]["status"] == "not_applicable"
    assert "mu and sigma" in own["swap_regularized"]["reason"]
    protocols = [one["protocol"] for one in found["scores"]]
    assert [one["initialisation"] for one in protocols] == ["default", "default", "keep"]


def test_the_same_command_gives_the_same_score(run, networks, npz):
    # The file's own weights are drawn anew each time; only a seed makes the number one to quote.
    arguments = ["score", "networks.py:cnn", "--data", npz, "--json"]
    values = [run(*arguments, *more).json["scores"][0]["proxies"]["swap"]["value"] for more in ([], [], ["--seed", 1])]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize(
    ("function", "status", "reason"),
    [
        ("nan", "nan", "non-finite"),
        ("raising", "failed", "ValueError while the network ran: no [bold]way[/x]"),
        ("linear", "not_applicable", "no activation"),
    ],
)
def test_networks_without_a_score_say_why(run, networks, npz, function, status, reason):
    arguments = ["score", f"networks.py:{function}", "--data", npz, "--proxy", "swap"]
    done = run(*arguments, "--json")
    assert done.code == 0
    score = done.json["scores"][0]["proxies"]["swap"]
    assert (score["value"], score["status"]) == (None, status)
    assert reason in score["reason"]
    shown = run(*arguments)
    assert shown.code == 0
    assert status in shown.out
    assert reason in " ".join(shown.out.replace("│", " ").split())


def test_what_a_network_prints_is_no_result(run, networks, npz):
    done = run("score", "networks.py:cnn", "--data", npz, "--json")
    assert done.json["scores"]
    for words in ("a file that talks", "and its networks too", "and their passes"):
        assert words in done.err


def test_numbers_are_whole_in_a_narrow_terminal(run, networks, npz, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    target = f"nasbench201(channels=2,cells=1):{CELL}"
    done = run("score", target, "--data", npz, "--proxy", "macs")
    value = run("score", target, "--data", npz, "--proxy", "macs", "--json").json["scores"][0]["proxies"]["macs"][
        "value"
    ]
    assert f"{value:,.0f}" in done.out
    assert target in done.out


# --- run folders -----------------------------------------------------------------------------------------------------


def test_the_same_settings_continue_in_the_same_folder(run, quick, folder):
    first = run(*quick, "--json").json
    assert first["run"] == f"runs/{Path(first['run']).name}"
    again = run(*quick, "--json").json
    assert (first["resumed"], again["resumed"], again["explanation"]) == (0, 12, "")
    assert again == first | {"seconds": again["seconds"], "resumed": 12}
    with sqlite3.connect(folder / first["run"] / "study.db") as database:
        assert database.execute("SELECT count(*) FROM evaluations WHERE same_as IS NULL").fetchone() == (12,)
    database.close()
    # Neither the number of workers, nor the budget, nor spaces in a setting make another study.
    for same in (["--executor", "serial"], ["--budget", "15"], ["--strategy", "swap_evolution( )"]):
        assert run(*quick, "--json", *same).json["run"] == first["run"]
    for other in (["--seed", "1"], ["--max-params", "1M"], ["--batch-size", "8"], ["--proxy", "nwot"]):
        assert run(*quick, "--json", *other).json["run"] != first["run"]
    assert len(list((folder / "runs").iterdir())) == 5


def test_fresh_starts_anew_and_keeps_the_old(run, quick, folder):
    first = run(*quick, "--json", "--out", "mine").json
    before = (folder / "mine" / "study.db").read_bytes()
    again = run(*quick, "--json", "--out", "mine", "--fresh").json
    assert again["best"] == first["best"]
    assert (folder / "mine" / "study.db.old1").read_bytes() == before
    assert (folder / "mine" / "study.db").read_bytes() != before  # other times


# --- sizes, numbers, help --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("1M", 1e6), ("250k", 250e3), ("1.5G", 1.5e9), (" 10 ", 10), ("1e6", 1e6), ("0", 0), ("2.5m", 2.5e6), ("3K", 3e3)],
)
def test_sizes(text, value):
    assert size(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "M", "-1", "1Q", "1MM", "1.5.5", "1,000", "nan", "inf", "1e999", "0x10", "1 2"])
def test_other_sizes_are_refused(text):
    with pytest.raises(typer.BadParameter, match="is not a size; write a number, 250k"):
        size(text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (3.0, "3"),
        (1234567.0, "1,234,567"),
        (12345.678, "12,346"),
        (0.123456789, "0.123457"),
        (-2.5, "-2.5"),
        (1.5e80, "1.5e+80"),
        (-1.5e80, "-1.5e+80"),
    ],
)
def test_numbers_for_people(value, shown):
    assert number(value) == shown


def test_usable_cores():
    assert 1 <= usable_cores() <= os.cpu_count()


def test_help_and_version(run):
    assert run("--version").out == f"{subshot.__version__}\n"
    assert run("--version").code == 0
    for command in ("search", "score", "profile", "list", "data"):
        shown = run(command, "--help")
        assert shown.code == 0
        assert "--json" in shown.out
        assert command in run("--help").out
    nothing = run()
    assert nothing.code == 2
    assert "search" in nothing.out + nothing.err
    assert "Error" not in nothing.out + nothing.err


# --- the ways to fail ------------------------------------------------------------------------------------------------


def test_a_bug_is_exit_code_1_with_its_trace(run, networks, npz, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a bug [/of] ours")

    monkeypatch.setattr("subshot.studies.targets.score_targets", broken)
    done = run("score", "networks.py:cnn", "--json")
    assert done.code == 1
    assert done.json["error"]["message"] == "ZeroDivisionError: a bug [/of] ours."
    assert "report" in done.json["error"]["hint"]
    assert "Traceback" in done.err
    shown = run("score", "networks.py:cnn")
    assert (shown.code, shown.out) == (1, "")
    assert "Error: ZeroDivisionError: a bug [/of] ours. This is a bug of subshot" in shown.err


def test_an_interrupt_anywhere_is_exit_code_130(run, networks, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("subshot.studies.targets.score_targets", interrupted)
    done = run("score", "networks.py:cnn", "--json")
    assert done.code == 130
    assert done.json["error"]["message"] == "Interrupted."
    assert "Traceback" not in done.err
    assert run("score", "networks.py:cnn").code == 130


# --- kills and interrupts of real processes --------------------------------------------------------------------------

RUN = ["search", "--space", "nasbench201(channels=2,cells=1)", "--budget", "120", "--json"]

# A page of SQLite's write-ahead log with its header; each commit writes one or two.
_FRAME = 4096 + 24


@pytest.fixture
def start():
    """Starts the command as its own process and process group, which ends with the test."""
    started = []

    def start(folder, *more):
        # A suite that runs in the background of a shell hands on that interrupts are ignored.
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        code += "from subshot.cli.main import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *RUN, "--out", str(folder), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with process:  # closes its pipes
            pass


def wait_for_commits(process, folder):
    """Until a dozen evaluations or more are on disk, which the growing log shows without asking for its lock."""
    log = folder / "study.db-wal"
    end = time.monotonic() + 240
    while not log.exists() or log.stat().st_size < 24 * _FRAME:
        assert process.poll() is None, "it ended before it was stopped"
        assert time.monotonic() < end
        time.sleep(0.002)


def children(process):
    """Process numbers of all that descend from a process, by Linux' own table."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {process}


def ended(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def rows(folder):
    """Everything in a study but times, read from a copy so that nothing is changed."""
    copy = folder.with_name(f"{folder.name} copy")
    shutil.copytree(folder, copy)
    with sqlite3.connect(copy / "study.db") as database:
        found = database.execute(
            "SELECT trial, arch, same_as, scores, costs FROM evaluations ORDER BY trial"
        ).fetchall()
    database.close()
    shutil.rmtree(copy)
    plain = []
    for trial, arch, same_as, scores, costs in found:
        values = json.loads(scores)
        for score in values.values():
            del score["cost"]["seconds"]
        plain.append((trial, arch, same_as, values, json.loads(costs)))
    return plain


@pytest.fixture
def unbroken(run, tmp_path):
    """The same search without a break."""
    return run(*RUN, "--workers", 1, "--out", tmp_path / "unbroken").json


def check_that_it_continues(run, folder, unbroken):
    before = rows(folder)
    assert 0 < len(before) < len(rows(Path(unbroken["run"])))
    again = run(*RUN, "--workers", 1, "--out", folder).json
    for key in ("status", "best", "front", "evaluations", "failed", "protocol"):
        assert again[key] == unbroken[key], key
    after = rows(folder)
    assert after == rows(Path(unbroken["run"]))
    assert [row for row in after if row[0] in {known[0] for known in before}] == before


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_continues_as_if_nothing_had_happened(run, start, tmp_path, unbroken, workers):
    folder = tmp_path / "killed"
    process = start(folder, "--workers", str(workers))
    wait_for_commits(process, folder)
    helpers = children(process.pid) if Path("/proc").is_dir() else set()
    assert len(helpers) >= (0 if workers == 1 else workers)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL, "it ended before it was killed"
    check_that_it_continues(run, folder, unbroken)
    end = time.monotonic() + 20
    while not all(map(ended, helpers)):
        assert time.monotonic() < end, "a worker lives on without its run"
        time.sleep(0.05)


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_continues(run, start, tmp_path, unbroken):
    folder = tmp_path / "interrupted"
    process = start(folder, "--workers", "2")
    wait_for_commits(process, folder)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    found = json.loads(out, parse_constant=pytest.fail)
    assert found["status"] == "interrupted"
    known = rows(folder)
    assert found["evaluations"] == sum(row[2] is None for row in known)
    scores = [row[3]["swap"]["value"] for row in known if row[3]["swap"]["status"] == "ok"]
    assert found["best"]["score"] == max(scores)
    assert json.loads((folder / "best.json").read_text()) == found
    check_that_it_continues(run, folder, unbroken)


def test_the_installed_command_runs():
    command = Path(sys.executable).with_name("subshot")
    if not command.exists():
        pytest.skip("the package's command is not beside this Python")
    done = subprocess.run([command, "list", "spaces", "--json"], capture_output=True, text=True, check=True)
    assert "nasbench201" in json.loads(done.stdout)["spaces"]
