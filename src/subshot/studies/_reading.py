"""Read a run back from its folder alone, without knowing the settings it was started with."""

import contextlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from subshot._types import Protocol
from subshot.errors import StudyError
from subshot.studies._aggregated import aggregated
from subshot.studies._result import Study, best_first, delivered, pareto_front
from subshot.studies._store import Row, Store

_HINT = "Name the folder that a search or a ranking has left: subshot search --out RUN."


@dataclass(frozen=True)
class Stored:
    """What a study file holds.

    Attributes:
        settings: What the study is.
        rows: Every evaluated trial, in order.
    """

    settings: Mapping[str, Any]
    rows: tuple[Row, ...]


def stored_settings(run: Path) -> Mapping[str, Any] | None:
    """The settings of the study in a folder, without its evaluations; ``None`` if it holds no study.

    Raises:
        StudyError: The file is in use by another process, or damaged.
    """
    path = run / "study.db"
    if not path.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1.0)) as database:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")  # as its writer has it: the log needs no shared memory
            found = database.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()
        settings = json.loads(found[0]) if found else None
    except (sqlite3.Error, ValueError) as error:
        if "locked" in str(error):
            raise StudyError(f"{path} is in use by another process.", "Wait for it to end.") from error
        raise StudyError(f"{path} is damaged or no study: {error}.", _HINT) from error
    if not isinstance(settings, dict):
        raise StudyError(f"{path} says nothing of its settings.", _HINT)
    return settings


def read_stored(run: Path) -> Stored:
    """The study file of a run folder.

    Raises:
        StudyError: There is none, or it can't be read.
    """
    settings = stored_settings(run)
    if settings is None:
        what = f"{run} holds no study.db." if run.is_dir() else f"There is no folder {run}."
        raise StudyError(what, _HINT)
    with Store(run / "study.db", settings) as store:
        return Stored(settings, tuple(store.rows().values()))


def read_study(run: Path) -> Study:
    """A search from its folder; one that was killed comes back as interrupted, with all that it had stored.

    Raises:
        StudyError: The folder holds no search, or what it holds can't be read.
    """
    stored = read_stored(run)
    settings, rows = stored.settings, stored.rows
    if "objective" not in settings or "protocol" not in settings:
        raise StudyError(f"{run} holds a study, but no search.", _HINT)
    known = _best(run / "best.json")
    aggregate, latency = known.get("aggregate"), known.get("latency")
    objective = aggregate or settings["objective"]
    rows = rows if aggregate is None else tuple(aggregated(rows, aggregate))
    evaluations = sum(row.same_as is None for row in rows)
    # What a search tells of itself when it ends is true no more if it has gone on since and was killed.
    told = known if known.get("evaluations") == evaluations else {}
    status: Literal["done", "interrupted"] = "done" if told.get("status") == "done" else "interrupted"
    finished = [row.finished for row in rows]
    objectives = tuple(settings.get("objectives", ()))
    noted = objectives if aggregate is None else list(settings["proxies"])
    ranked = delivered(best_first(rows, objective, objectives=noted), latency)
    return Study(
        status=status,
        objective=objective,
        best=ranked[0] if ranked else None,
        front=pareto_front(ranked, objectives=objectives),
        rows=rows,
        evaluations=evaluations,
        resumed=int(told.get("resumed", 0)),
        explanation=str(told.get("explanation", "")),
        seconds=float(told.get("seconds", max(finished, default=0.0) - min(finished, default=0.0))),
        protocol=Protocol.from_dict(settings["protocol"]),
        settings=settings,
        run=run,
        warm_up=told.get("warm_up"),
        latency=latency,
        aggregate=aggregate,
    )


def _best(path: Path) -> Mapping[str, Any]:
    """What a search wrote when it ended last; empty if it never did."""
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} can't be read: {error}.", "Run the search again; it is kept in study.db.") from error
    return told if isinstance(told, dict) else {}
