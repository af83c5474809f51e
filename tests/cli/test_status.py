import json
import subprocess
import sys
import time

import numpy as np
import pytest

from subshot.spaces._space import get_space
from subshot.studies._store import Store
from subshot.studies.status import COMMANDS, read_status
from subshot.training import _fit


@pytest.fixture
def searched(run, quick):
    """The folder of a search."""
    assert run(*quick, "--out", "run").code == 0
    return "run"


def lines(done):
    assert done.code == 0, done.err
    return done.out.splitlines()


def test_a_search_from_its_end_to_its_export(run, searched, npz, folder):
    before = {path: path.read_bytes() for path in (folder / "run").iterdir()}
    told = run("status", "run", "--json").json
    best = json.loads((folder / "run/best.json").read_text())
    assert told["search"]["state"] == "done"
    assert told["search"]["best"] == best["best"]
    assert (told["search"]["evaluations"], told["search"]["budget"]) == (12, 12)
    assert told["search"]["failed"] == best["failed"]
    assert (told["rank"], told["warm_up"], told["train"]) == (None, None, None)
    assert told["continued_by"] == f"subshot train run --data {npz}"
    assert "best.json" in told["files"]
    assert {path: path.read_bytes() for path in (folder / "run").iterdir()} == before
    shown = lines(run("status", "run"))
    assert "done, 12 of 12 architectures" in shown[0]
    assert best["best"]["arch"] in shown[1]
    assert shown[-1] == f"Next: subshot train run --data {npz}"

    assert run("train", "run", "--data", npz, "--epochs", 1).code == 0
    told = run("status", "run", "--json").json
    result = json.loads((folder / "run/train.json").read_text())
    assert (told["train"]["state"], told["train"]["value"]) == ("done", result["value"])
    assert told["continued_by"] == "subshot export run"
    assert run("export", "run").code == 0
    told = run("status", "run", "--json").json
    assert "export/network.safetensors" in told["files"]
    assert told["continued_by"] is None
    assert "Training: done, accuracy" in run("status", "run").out


def test_an_unfinished_search_names_its_command(run, quick, searched, folder):
    (folder / "run/best.json").unlink()
    told = run("status", "run", "--json").json
    assert told["search"]["state"] == "unfinished"
    assert told["continued_by"].startswith("subshot search --space 'nasbench201(channels=2,cells=1)'")
    # Continuing isn't starting anew.
    again = [*quick, "--fresh", "--out", "run", "--seed", 3]
    assert run(*again).code == 0
    assert "--fresh" not in json.loads((folder / "run" / COMMANDS).read_text())["search"]["command"]
    (folder / "run" / COMMANDS).unlink()
    (folder / "run/best.json").unlink()
    told = run("status", "run", "--json").json
    assert (told["continued_by"], told["search"]["budget"]) == (None, None)
    assert "the same settings and the folder run" in told["note"]


def test_a_search_that_is_refused_leaves_the_command_of_the_other(run, quick, searched, folder):
    before = (folder / "run" / COMMANDS).read_bytes()
    assert run(*quick, "--out", "run", "--seed", 5).code == 2
    assert (folder / "run" / COMMANDS).read_bytes() == before


def test_an_unfinished_training(run, searched, npz, folder):
    assert run("train", "run", "--data", npz, "--epochs", 2, "--top", 2, "--trial-epochs", 1).code == 0
    (folder / "run/train.json").unlink()
    told = run("status", "run", "--json").json
    assert told["train"]["state"] == "unfinished"
    assert [(one["role"], one["epochs"], one["wanted"]) for one in told["train"]["networks"]] == [
        ("trial", 1, 1),
        ("trial", 1, 1),
        ("winner", 2, 2),
    ]
    assert told["continued_by"].startswith("subshot train run --data")
    assert "winner: 2 of 2 epochs, loss " in run("status", "run").out


WRITER = """
import sys
import time
from pathlib import Path
from subshot._types import Score
from subshot.studies._store import Row, Store
settings = {"space": "some", "strategy": "random", "objective": "swap", "protocol": {}}
with Store(Path(sys.argv[1]) / "study.db", settings) as store:
    trial = 0
    while True:
        for _ in range(50 if trial == 0 else 1):
            text = "a" * 2_000 + str(trial)
            store.add(Row(trial, text, {"swap": Score(float(trial))}, {"params": trial}))
            trial += 1
        time.sleep(0.001)
        sys.stdout.write(f"{trial}\\n")
        sys.stdout.flush()
"""


def test_a_run_that_goes_on_in_another_process(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(3):
            stored = int(writer.stdout.readline())
        seen = []
        until = time.monotonic() + 60
        # Long enough for the log to be moved into the file several times while it is read.
        while len(seen) < 12 or (seen[-1] < seen[0] + 1_500 and time.monotonic() < until):
            found = read_status(tmp_path)
            part = found.parts["search"]
            assert part["state"] == "running"
            assert part["best"]["score"] == part["evaluations"] - 1, "a torn copy would miss some"
            seen.append(part["evaluations"])
            assert (found.continued_by, found.note) == ("", "Another process works on it.")
        assert seen[0] >= stored
        assert seen == sorted(seen)
    finally:
        writer.kill()
        writer.communicate()
    # Killed, and its log still there: nothing is lost, and nothing is touched.
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "study.db-wal" in files
    found = read_status(tmp_path)
    assert found.parts["search"]["state"] == "unfinished"
    assert found.parts["search"]["evaluations"] >= seen[-1]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    with Store(
        tmp_path / "study.db", {"space": "some", "strategy": "random", "objective": "swap", "protocol": {}}
    ) as s:
        assert len(s.rows()) == found.parts["search"]["evaluations"]


def test_a_warm_up_and_what_it_leaves(run, npz, folder, monkeypatch):
    command = [
        "search",
        "--space",
        "nasbench201(channels=2,cells=1)",
        "--data",
        "digits",
        "--workers",
        1,
        "--budget",
        3,
    ]
    command += ["--warm-up", 0.2, "--out", "run"]

    save = _fit.Run.save

    def save_and_stop(self, path):
        save(self, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_fit.Run, "save", save_and_stop)
        assert run(*command).code == 130
    told = run("status", "run", "--json").json
    assert told["search"] is None
    assert told["warm_up"]["state"] == "unfinished"
    assert 0 < told["warm_up"]["step"] <= told["warm_up"]["steps"]
    assert told["continued_by"].startswith("subshot search ")
    assert run(*command).code == 0
    told = run("status", "run", "--json").json
    assert (told["warm_up"]["state"], told["search"]["state"]) == ("done", "done")
    assert told["warm_up"]["plan"]["share"] == 0.2


def test_a_ranking(run, npz, folder):
    rng = np.random.default_rng(0)
    space = get_space("nasbench201")
    texts = sorted({space.format(space.sample(rng)) for _ in range(5)})
    rows = "".join(f"{text},{number}\n" for number, text in enumerate(texts))
    (folder / "table.csv").write_text(f"arch,accuracy\n{rows}")
    rank = ["rank", "--table", "table.csv", "--space", "nasbench201(channels=2,cells=1)", "--data", npz, "--workers", 1]
    assert run(*rank, "--again", 0, "--out", "run").code == 0
    told = run("status", "run", "--json").json
    assert (told["rank"]["state"], told["rank"]["archs"], told["rank"]["evaluations"]) == ("done", 5, 5)
    assert "swap" in told["rank"]["proxies"]
    assert lines(run("status", "run"))[0].startswith("Ranking of nasbench201(cells=1, channels=2) by ")
    (folder / "run/rank.json").rename(folder / "kept.json")
    told = run("status", "run", "--json").json
    assert (told["rank"]["state"], told["continued_by"].split()[:2]) == ("unfinished", ["subshot", "rank"])
    (folder / "run/study.db").unlink()
    (folder / "kept.json").rename(folder / "run/rank.json")
    assert run("status", "run", "--json").json["rank"]["archs"] == 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda home: None, "There is no folder run."),
        (lambda home: (home / "run").write_text(""), "There is no folder run."),
        (lambda home: (home / "run").mkdir(), "run holds no run."),
        (lambda home: ((home / "run").mkdir(), (home / "run/study.db").write_text("no " * 500)), "is no study"),
        (lambda home: ((home / "run").mkdir(), (home / "run/train.json").write_text("{")), "can't be read"),
    ],
)
def test_folders_that_hold_no_run(run, folder, make, message):
    make(folder)
    done = run("status", "run", "--json")
    assert done.code == 2
    assert message in done.json["error"]["message"]
    assert done.json["error"]["hint"]


def test_it_starts_without_torch(run, searched, npz, folder):
    assert run("train", "run", "--data", npz, "--epochs", 1).code == 0
    code = (
        "import sys\nsys.argv = ['subshot', 'status', 'run', '--json']\n"
        "from subshot.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert 'torch' not in sys.modules\nassert 'subshot.studies.status' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["train"]["state"] == "done"
