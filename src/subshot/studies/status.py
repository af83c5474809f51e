"""What a run folder holds and how far that is, read without touching it, also while another process works on it."""

import contextlib
import json
import shlex
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subshot._types import Score
from subshot.errors import StudyError
from subshot.studies._checkpoints import FOLDER, Checkpoint, read_checkpoint
from subshot.training._header import read_header

# The commands that work on a folder, kept there by the command line.
COMMANDS = "command.json"

_HINT = "Name the folder that a search, a ranking or a training has left."
_FILES = (
    "best.json",
    "rank.json",
    "scores.csv",
    "train.json",
    "weights.safetensors",
    "baseline.safetensors",
    "supernet.safetensors",
    "report.html",
)

# How often to copy a study whose writer begins a new log just then.
_TRIES = 20


@dataclass(frozen=True)
class RunStatus:
    """How far the work in a run folder is.

    Attributes:
        run: The folder.
        parts: For each of ``search``, ``rank``, ``warm_up`` and ``train`` that is there what is known of it, as JSON
            values; ``state`` is ``done``, ``running`` or ``unfinished``.
        files: Results that are there, relative to the folder.
        continued_by: The command that goes on with it; empty if another process is at it, or nothing is left.
        note: What to do where no command is known.
    """

    run: Path
    parts: Mapping[str, Mapping[str, Any]]
    files: tuple[str, ...]
    continued_by: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values."""
        named = {name: self.parts.get(name) for name in ("search", "rank", "warm_up", "train")}
        return {
            "run": str(self.run),
            **{name: dict(part) if part is not None else None for name, part in named.items()},
            "files": list(self.files),
            "continued_by": self.continued_by or None,
            "note": self.note,
        }


def read_status(run: Path) -> RunStatus:
    """Look into a run folder.

    Don't call it in the process that has the study open: reading its file there gives its lock up.

    Raises:
        StudyError: There is no such folder, it holds no run, or what it holds is damaged.
    """
    if not run.is_dir():
        raise StudyError(f"There is no folder {run}.", _HINT)
    parts: dict[str, Mapping[str, Any]] = {}
    kept = kept_commands(run)
    settings: Mapping[str, Any] = {}
    if (run / "study.db").is_file():
        settings, rows = _study(run / "study.db")
        name = "search" if "objective" in settings else "rank"
        tell = _search if name == "search" else _rank
        parts[name] = tell(run, settings, rows, kept.get(name, {}))
    elif (run / "rank.json").is_file():  # of scores that a table had already
        parts["rank"] = _ranked(run)
    warm_up = _warm_up(run, settings)
    if warm_up is not None:
        parts["warm_up"] = warm_up
    training = _train(run)
    if training is not None:
        parts["train"] = training
    if not parts:
        raise StudyError(f"{run} holds no run.", _HINT)
    exported = (path.relative_to(run).as_posix() for path in sorted((run / "export").glob("network.*")))
    files = (*(name for name in _FILES if (run / name).is_file()), *exported)
    continued_by, note = _next(run, parts, kept, files, settings)
    return RunStatus(run, parts, files, continued_by, note)


def kept_commands(run: Path) -> dict[str, dict[str, Any]]:
    """The commands that the command line has kept in a run folder; empty if there are none, or they can't be read."""
    try:
        found = json.loads((run / COMMANDS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, dict)} if isinstance(found, dict) else {}


@dataclass(frozen=True)
class _Rows:
    """What the evaluations of a study come to.

    Attributes:
        count: Distinct architectures.
        scores: Architecture, scores and costs of each, JSON texts.
        last: When the last one was stored, in seconds since 1970.
        running: Whether another process has the study open.
    """

    count: int
    scores: tuple[tuple[str, str, str], ...]
    last: float | None
    running: bool


def _study(path: Path) -> tuple[Mapping[str, Any], _Rows]:
    """Settings and evaluations of a study that may be written to at this moment."""
    try:
        with _copied(path) as copy, contextlib.closing(sqlite3.connect(copy)) as database:
            found = database.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()
            query = "SELECT arch, scores, costs FROM evaluations WHERE same_as IS NULL ORDER BY trial"
            scores = tuple(database.execute(query))
            (last,) = database.execute("SELECT max(finished) FROM evaluations").fetchone()
        settings = json.loads(found[0]) if found else None
    except (sqlite3.Error, OSError, ValueError) as error:
        raise StudyError(f"{path} can't be read or is no study: {error}.", _HINT) from error
    if not isinstance(settings, dict):
        raise StudyError(f"{path} says nothing of its settings.", _HINT)
    return settings, _Rows(len(scores), scores, last, _in_use(path))


@contextlib.contextmanager
def _copied(path: Path) -> Iterator[Path]:
    """A copy of a study and its log: the writer's lock lets nobody else open the file itself.

    The file is copied first, then the log. Pages that the writer moves from the log into the file meanwhile are still
    in the log, until it begins a new one; that has another head, and is copied again.
    """
    log = path.with_name(f"{path.name}-wal")
    with tempfile.TemporaryDirectory(prefix="subshot-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / path.name
        for _ in range(_TRIES):
            before = _head(log)
            shutil.copyfile(path, copy)
            copy.with_name(log.name).unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(log, copy.with_name(log.name))
            if _head(log) == before:
                yield copy
                return
        raise StudyError(f"{path} changes faster than it can be read.", "Ask again in a moment.")


def _head(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            return file.read(32)
    except FileNotFoundError:
        return b""


def _in_use(path: Path) -> bool:
    """Whether a process has the study open.

    Read-only and with an exclusive lock, SQLite either says that it is locked, or fails otherwise as it may not write
    the log; it leaves no file in both cases.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=0)) as database:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return "locked" in str(error)
    return False


def _search(run: Path, settings: Mapping[str, Any], rows: _Rows, kept: Mapping[str, Any]) -> Mapping[str, Any]:
    objective = str(settings["objective"])
    best: dict[str, Any] | None = None
    failed = 0
    for arch, scores, costs in rows.scores:
        score = Score.from_dict(json.loads(scores)[objective])
        failed += not score.ok
        if score.ok and (best is None or score.value > best["score"]):
            best = {"arch": arch, "score": score.value, "costs": json.loads(costs)}
    told = _json(run / "best.json")
    done = told.get("status") == "done" and told.get("evaluations") == rows.count
    return {
        "state": _state(done, rows),
        "space": settings.get("space"),
        "strategy": settings.get("strategy"),
        "objective": told.get("objective", objective) if done else objective,
        "evaluations": rows.count,
        "budget": kept.get("budget"),
        "failed": told.get("failed", failed) if done else failed,
        "best": told["best"] if done else best,
        "seconds_since": _since(rows.last),
    }


def _rank(run: Path, settings: Mapping[str, Any], rows: _Rows, kept: Mapping[str, Any]) -> Mapping[str, Any]:
    archs = settings.get("archs", {})
    return {
        "state": _state((run / "rank.json").is_file(), rows),
        "space": settings.get("space"),
        "proxies": list(settings.get("proxies", {})),
        "evaluations": rows.count,
        "archs": archs.get("count") if isinstance(archs, dict) else None,
        "seconds_since": _since(rows.last),
    }


def _ranked(run: Path) -> Mapping[str, Any]:
    told = _json(run / "rank.json")
    first = next(iter(told.get("targets", {}).values()), told)
    return {
        "state": "done",
        "space": first.get("protocol", {}).get("space"),
        "proxies": [row["proxy"] for row in first.get("rows", [])],
        "evaluations": 0,
        "archs": first.get("archs"),
        "seconds_since": _written(run / "rank.json"),
    }


def _state(done: bool, rows: _Rows) -> str:
    return "running" if rows.running else "done" if done else "unfinished"


def _warm_up(run: Path, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A warm-up of a search, which has a checkpoint until it is done."""
    plan = settings.get("warm_up")
    if (run / "supernet.safetensors").is_file():
        return {"state": "done", "step": None, "steps": None, "plan": plan, "seconds_since": None}
    checkpoint = run / "warm_up.safetensors"
    header = read_header(checkpoint, "checkpoint") if checkpoint.is_file() else None
    if header is None:
        return None
    state = header["state"]
    return {
        "state": "unfinished",
        "step": state["step"],
        "steps": state["steps"],
        "plan": plan,
        "seconds_since": _written(checkpoint),
    }


def _train(run: Path) -> Mapping[str, Any] | None:
    result = run / "train.json"
    found = [read_checkpoint(path) for path in sorted((run / FOLDER).glob("*.safetensors"))]
    checkpoints = sorted((one for one in found if one is not None), key=lambda one: one.path.stat().st_mtime_ns)
    last = checkpoints[-1] if checkpoints else None
    if not result.is_file() and last is None:
        return None
    done = result.is_file() and (last is None or last.path.stat().st_mtime_ns <= result.stat().st_mtime_ns)
    if done:
        told = _json(result)
        value = {key: told.get(key) for key in ("metric", "value", "split", "epochs", "seconds")}
        facts = ("role", "text", "epochs", "value", "test", "failed")
        networks = [{key: one.get(key) for key in facts} for one in told.get("networks", [])]
        return {"state": "done", **value, "networks": networks, "seconds_since": _written(result)}
    assert last is not None
    return {
        "state": "unfinished",
        "networks": [_network(one) for one in checkpoints],
        "seconds_since": _written(last.path),
    }


def _network(one: Checkpoint) -> Mapping[str, Any]:
    size = one.per_epoch or 1
    return {
        "role": one.role,
        "epochs": one.state["step"] // size,
        "wanted": one.state["steps"] // size,
        "loss": one.epoch_losses[-1] if one.losses else None,
        "validation": one.looks[-1][2] if one.looks else None,
    }


def _next(
    run: Path,
    parts: Mapping[str, Mapping[str, Any]],
    kept: Mapping[str, Mapping[str, Any]],
    files: tuple[str, ...],
    settings: Mapping[str, Any],
) -> tuple[str, str]:
    """The command that goes on, or what to do where it isn't known."""
    if any(part["state"] == "running" for part in parts.values()):
        return "", "Another process works on it."
    for name in ("warm_up", "search", "rank", "train"):
        if parts.get(name, {}).get("state") == "unfinished":
            begun = "search" if name == "warm_up" else name
            command = str(kept.get(begun, {}).get("command", ""))
            same = f"The command or call that began it continues it, with the same settings and the folder {run}."
            return command, "" if command else same
    if "search" not in parts or parts["search"]["best"] is None:
        return "", ""
    if "train" not in parts:
        return f"subshot train {run}{_data_option(settings, str(kept.get('search', {}).get('command', '')))}", ""
    return ("", "") if any(name.startswith("export/") for name in files) else (f"subshot export {run}", "")


def _data_option(settings: Mapping[str, Any], searched: str) -> str:
    """What a training must be told besides the run: images without a registered name are only where they are."""
    from subshot.data import DATASETS

    if settings["protocol"]["data"] in DATASETS:
        return ""
    words = shlex.split(searched)
    given = words[words.index("--data") + 1 :] if "--data" in words else []
    return f" --data {shlex.quote(given[0]) if given else 'PATH'}"


def _json(path: Path) -> Mapping[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} can't be read: {error}.", "The command that wrote it writes it again.") from error
    return told if isinstance(told, dict) else {}


def _since(moment: float | None) -> float | None:
    return None if moment is None else round(max(0.0, time.time() - moment), 1)


def _written(path: Path) -> float | None:
    return _since(path.stat().st_mtime)
