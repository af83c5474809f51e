"""Run the command in this process, with what it prints, in an empty folder."""

import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from subshot.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command left.

    Attributes:
        code: Exit code.
        out: Standard output.
        err: Standard error.
    """

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one strict JSON object on standard output."""
        return strict(self.out)


def strict(text):
    assert text.count("\n") == 1, f"one line expected: {text!r}"
    assert text.endswith("}\n")
    return json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, which is empty."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("SUBSHOT_DATA", raising=False)
    return home


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Runs ``subshot`` with arguments."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["subshot", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Done(end.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def npz(tmp_path_factory):
    """A file of twenty smooth images of four classes, 16 x 16."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, size=(20, 4, 4, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, x=coarse.repeat(4, axis=1).repeat(4, axis=2), y=np.arange(20) % 4)
    return path


@pytest.fixture
def quick(npz):
    """Arguments of a search of a second or less."""
    return ["search", "--space", "nasbench201(channels=2,cells=1)", "--data", npz, "--workers", 1, "--budget", 12]
