"""``subshot report``: its contract, what it refuses, and that a search writes its page by itself."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from subshot.report import html


@pytest.fixture
def searched(run, quick, folder):
    """The folder of a quick search."""
    assert run(*quick, "--out", "here").code == 0
    return folder / "here"


def test_the_contract(run, searched):
    page = searched / "report.html"
    written = page.read_text(encoding="utf-8")
    page.unlink()
    done = run("report", "here", "--json")
    assert (done.code, done.json) == (0, {"file": str(Path("here") / "report.html")})
    assert page.read_text(encoding="utf-8") == written
    done = run("report", "here")
    assert (done.code, done.out.strip()) == (0, str(Path("here") / "report.html"))


def test_a_search_writes_its_page_where_plotly_is(run, quick, folder, monkeypatch):
    assert run(*quick, "--out", "with").code == 0
    assert json.loads((folder / "with" / "best.json").read_text())["best"]["arch"] in (
        folder / "with" / "report.html"
    ).read_text(encoding="utf-8").replace("&amp;", "&")
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert run(*quick, "--out", "without", "--json").json["status"] == "done"
    assert not (folder / "without" / "report.html").exists()
    done = run("report", "without", "--json")
    assert done.code == 2
    assert "subshot[report]" in done.json["error"]["hint"]


@pytest.mark.parametrize("name", ["nowhere", "empty", "file"])
def test_what_is_no_run_is_refused(run, folder, name):
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    done = run("report", name, "--json")
    assert done.code == 2
    error = done.json["error"]
    assert name in error["message"]
    assert error["hint"]
    assert list((folder / "empty").iterdir()) == []


def test_a_run_in_use_is_refused(run, searched):
    writer = sqlite3.connect(searched / "study.db")
    writer.execute("PRAGMA locking_mode = EXCLUSIVE")
    writer.execute("BEGIN IMMEDIATE")
    done = run("report", "here")
    writer.close()
    assert done.code == 2
    assert "in use by another process" in done.err


def test_help_needs_neither_torch_nor_plotly():
    code = (
        "import sys; sys.argv = ['subshot', 'report', '--help']\n"
        "from subshot.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'plotly', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout


def test_whether_plotly_is_there_is_found_without_importing_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "plotly", raising=False)
    assert html.plotly_is_there()
    assert "plotly" not in sys.modules
