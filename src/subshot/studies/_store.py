"""One SQLite file per study: what was asked and every evaluation, committed before the strategy is told.

A killed process loses at most the evaluations that were under way. One process writes at a time; a second one is
refused.
"""

import contextlib
import itertools
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from subshot._types import Evaluation, Score
from subshot.errors import StudyError

SCHEMA_VERSION = 1

# What a message shows for a setting that only one of two studies has.
_ABSENT = "nothing"

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE evaluations (
    trial INTEGER PRIMARY KEY,   -- the strategy's trial number
    arch TEXT NOT NULL,          -- canonical text
    same_as INTEGER,             -- the earlier trial of the same architecture whose scores these are
    scores TEXT NOT NULL,        -- JSON: proxy name to score
    costs TEXT NOT NULL,         -- JSON: cost name to value
    finished REAL NOT NULL       -- seconds since 1970
);
"""


@dataclass(frozen=True)
class Row:
    """One evaluated trial.

    Attributes:
        trial: The strategy's trial number.
        arch: Canonical text.
        scores: The evaluation.
        costs: Costs of the network that would be trained, by name.
        same_as: The earlier trial of the same architecture whose scores these are.
        finished: When it was stored, in seconds since 1970.
    """

    trial: int
    arch: str
    scores: Evaluation
    costs: Mapping[str, float]
    same_as: int | None = None
    finished: float = field(default=0.0, compare=False)


class Store:
    """An open study file.

    Args:
        path: The file; it is made if it doesn't exist, with its folder.
        settings: What the study is. A file of another study is refused.

    Raises:
        StudyError: The file can't be written, is damaged, is in use, has a newer schema or belongs to another study.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=1.0)
            self._open(settings)
        except (OSError, sqlite3.Error, ValueError) as error:
            self._close_quietly()
            raise _explain(path, error) from error
        except BaseException:
            self._close_quietly()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def rows(self) -> dict[int, Row]:
        """All stored evaluations by trial number.

        Raises:
            StudyError: The file is damaged.
        """
        query = "SELECT trial, arch, same_as, scores, costs, finished FROM evaluations ORDER BY trial"
        try:
            return {
                trial: Row(trial, arch, _scores(scores), json.loads(costs), same_as, finished)
                for trial, arch, same_as, scores, costs, finished in self._db.execute(query)
            }
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            raise _explain(self.path, error) from error

    def add(self, row: Row) -> Row:
        """Store one evaluation, commit it, and return it with the time of this.

        Raises:
            StudyError: The disk is full or the file can't be written.
        """
        row = replace(row, finished=time.time())
        scores = json.dumps({name: score.to_dict() for name, score in row.scores.items()}, allow_nan=False)
        costs = json.dumps(dict(row.costs), allow_nan=False)
        values = (row.trial, row.arch, row.same_as, scores, costs, row.finished)
        try:
            with self._db:
                self._db.execute("INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, ?)", values)
        except sqlite3.Error as error:
            raise _explain(self.path, error) from error
        return row

    def _open(self, settings: Mapping[str, Any]) -> None:
        # The lock is held until the process ends, however it ends. With it, the write-ahead log needs no shared memory.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        # Safe against a killed process; a power cut may cost the last evaluations, never the file.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("BEGIN IMMEDIATE")
        text = json.dumps(settings, sort_keys=True)
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            for statement in _TABLES.split(";\n"):
                self._db.execute(statement)
            known = {"schema": str(SCHEMA_VERSION), "settings": text}
            self._db.executemany("INSERT INTO meta VALUES (?, ?)", known.items())
        elif not {"meta", "evaluations"} <= tables:
            raise StudyError(f"{self.path} is an SQLite file, but not a study of subshot.", "Choose another folder.")
        self._check(settings)
        self._db.commit()

    def _check(self, settings: Mapping[str, Any]) -> None:
        known = dict(self._db.execute("SELECT key, value FROM meta"))
        schema = known.get("schema", "")
        if not schema.isdecimal() or int(schema) > SCHEMA_VERSION:
            raise StudyError(
                f"{self.path} has schema {schema or 'unknown'}; this version of subshot knows up to {SCHEMA_VERSION}.",
                "It was written by a newer version: update subshot, or choose another folder.",
            )
        stored = dict(_flat(json.loads(known.get("settings", "null"))))
        asked = dict(_flat(json.loads(json.dumps(settings))))
        differing = sorted(key for key in {*stored, *asked} if stored.get(key, _ABSENT) != asked.get(key, _ABSENT))
        if differing:
            shown = "; ".join(
                f"{key}: {stored.get(key, _ABSENT)} there, {asked.get(key, _ABSENT)} asked for" for key in differing[:4]
            )
            raise StudyError(
                f"{self.path} belongs to another study ({shown}).",
                "Choose another folder, or start anew in this one with --fresh.",
            )

    def _close_quietly(self) -> None:
        database = getattr(self, "_db", None)
        if database is not None:
            database.close()


def move_aside(run: Path) -> None:
    """Rename the study in a run folder, its log and its result, so that starting anew loses nothing.

    Raises:
        StudyError: It is in use, or can't be renamed.
    """
    path = run / "study.db"
    if path.exists():
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=1.0)) as database:
                database.execute("PRAGMA locking_mode = EXCLUSIVE")
                database.execute("BEGIN IMMEDIATE")  # refused while another process writes; also takes in the log
        except sqlite3.OperationalError as error:
            raise _explain(path, error) from error
        except sqlite3.DatabaseError:
            pass  # damaged, or no study: aside with it
    plain = ("study.db", "best.json", "supernet.safetensors", "warm_up.safetensors")
    number = next(n for n in itertools.count(1) if not any((run / f"{name}.old{n}").exists() for name in plain))
    try:
        for name, suffix in (*((one, "") for one in plain), ("study.db", "-wal"), ("study.db", "-shm")):
            old = run / f"{name}{suffix}"
            if old.exists():
                old.rename(run / f"{name}.old{number}{suffix}")
    except OSError as error:
        raise StudyError(f"{path} can't be moved aside: {error.strerror}.", "Choose another folder.") from error


def _explain(path: Path, error: Exception) -> StudyError:
    text = getattr(error, "strerror", None) or str(error)
    if isinstance(error, sqlite3.Error) and "locked" in text:
        return StudyError(f"{path} is in use by another process.", "Wait for it to end, or choose another folder.")
    if isinstance(error, (OSError, sqlite3.OperationalError)):
        hint = "Check the folder and its permissions, or choose another."
        return StudyError(f"{path} can't be written: {text}.", hint)
    return StudyError(
        f"{path} is damaged or no study: {text}.", "Restore it, choose another folder, or start anew with --fresh."
    )


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and texts of everything in nested settings."""
    if not isinstance(value, dict):
        yield name, json.dumps(value)
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{name}.{key}" if name else key)


def _scores(text: str) -> Evaluation:
    return {name: Score.from_dict(values) for name, values in json.loads(text).items()}
