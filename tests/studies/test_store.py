import json
import math
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest

from subshot._types import Cost, Score
from subshot.errors import StudyError
from subshot.studies._store import SCHEMA_VERSION, Row, Store, move_aside
from subshot.studies.study import search

SETTINGS = {"space": "toy", "protocol": {"seed": 0, "network": {"cells": 1}}, "limits": {}}


def row(trial, value=1.0, **changes):
    scores = {"swap": Score.of(value, parts={"units": 3.0}, warnings=("careful",), cost=Cost(0.5, 1, 0))}
    return Row(trial, f"arch {trial}", scores, {"params": 10, "macs": 2.5}, **changes)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "study.db"


def plain(path):
    """Rows as SQLite sees them, from a copy of the files as they are on disk at this moment."""
    copy = path.parent / "copy"
    copy.mkdir(exist_ok=True)
    for file in path.parent.glob("study.db*"):
        shutil.copy(file, copy / file.name)
    with sqlite3.connect(copy / "study.db") as database:
        found = database.execute(
            "SELECT trial, arch, same_as, scores, costs FROM evaluations ORDER BY trial"
        ).fetchall()
    database.close()
    shutil.rmtree(copy)
    return found


# --- what is remembered ----------------------------------------------------------------------------------------------


def test_rows_come_back_as_they_were(path):
    rows = [row(0), row(1, -2.5), row(2, same_as=0), row(7)]
    before = time.time()
    with Store(path, SETTINGS) as store:
        assert store.rows() == {}
        kept = [store.add(one) for one in rows]
        assert list(store.rows().values()) == rows
    with Store(path, SETTINGS) as store:
        again = store.rows()
    assert again == {one.trial: one for one in rows}
    assert list(again) == [0, 1, 2, 7]
    assert [one.finished for one in again.values()] == [one.finished for one in kept]
    assert before <= kept[0].finished <= kept[-1].finished <= time.time()


@pytest.mark.parametrize(
    "score",
    [
        Score.of(math.nan, reason="why"),
        Score.of(math.inf),
        Score.of(-math.inf),
        Score.failed("no memory", cost=Cost(1.0, 2, 3)),
        Score.not_applicable("no activation"),
        Score.of(1.0, parts={"bad": math.nan}),
    ],
)
def test_scores_that_are_no_number_come_back(path, score):
    with Store(path, SETTINGS) as store:
        store.add(Row(0, "arch", {"swap": score}, {}))
    with Store(path, SETTINGS) as store:
        back = store.rows()[0].scores["swap"]
    assert repr(back) == repr(score)  # by repr, as NaN doesn't equal itself


def test_a_row_is_on_disk_when_add_returns(path):
    # What a kill right now would leave behind, log included.
    with Store(path, SETTINGS) as store:
        for trial in range(5):
            store.add(row(trial))
            assert [found[0] for found in plain(path)] == list(range(trial + 1))


def test_the_file_is_plain_sqlite_with_strict_json(path):
    with Store(path, SETTINGS) as store:
        store.add(row(0, math.nan))
    ((trial, arch, same_as, scores, costs),) = plain(path)
    assert (trial, arch, same_as) == (0, "arch 0", None)
    parsed = json.loads(scores, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))
    assert (parsed["swap"]["value"], parsed["swap"]["status"]) == (None, "nan")
    assert json.loads(costs) == {"params": 10, "macs": 2.5}
    assert not path.with_name("study.db-wal").exists()  # a closed study is one file


def test_a_trial_is_stored_once(path):
    with Store(path, SETTINGS) as store:
        store.add(row(0))
        with pytest.raises(StudyError):
            store.add(row(0, 2.0))
        assert store.rows() == {0: row(0)}


def test_every_evaluation_is_committed_before_the_strategy_is_told(small, tmp_path, monkeypatch):
    # The strategy dies at its fifth result; whatever it was told, and all of the group, is there.
    from subshot.strategies._strategy import AlgorithmStrategy

    told = []

    def tell(self, trial_id, evaluation):
        told.append(trial_id)
        assert trial_id in {found[0] for found in plain(tmp_path / "study.db")}
        if len(told) == 5:
            raise RuntimeError("the strategy dies")

    monkeypatch.setattr(AlgorithmStrategy, "tell", tell)
    with pytest.raises(RuntimeError, match="the strategy dies"):
        search(**small, out=tmp_path)
    assert len(told) == 5
    assert {found[0] for found in plain(tmp_path / "study.db")} == set(range(10))
    monkeypatch.undo()
    states = []
    assert search(**small, out=tmp_path, on_progress=states.append).evaluations == 40
    assert states[-1].resumed == 10


# --- what is refused, and left as it was ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (SETTINGS | {"space": "other"}, '(space: "toy" there, "other" asked for)'),
        (SETTINGS | {"protocol": {"seed": 3, "network": {"cells": 1}}}, "(protocol.seed: 0 there, 3 asked for)"),
        (SETTINGS | {"protocol": {"seed": 0, "network": {}}}, "(protocol.network.cells: 1 there, nothing asked for)"),
        (SETTINGS | {"limits": {"params": 5.0}}, "(limits.params: nothing there, 5.0 asked for)"),
    ],
)
def test_another_study_is_refused(path, settings, shown):
    with Store(path, SETTINGS) as store:
        store.add(row(0))
    before = path.read_bytes()
    with pytest.raises(StudyError) as caught:
        Store(path, settings)
    assert f"belongs to another study {shown}." in caught.value.message
    assert "--fresh" in caught.value.hint
    assert path.read_bytes() == before


def test_the_order_of_settings_does_not_matter(path):
    with Store(path, SETTINGS):
        pass
    with Store(path, dict(reversed(SETTINGS.items()))):
        pass


@pytest.mark.parametrize(("schema", "shown"), [(str(SCHEMA_VERSION + 1), SCHEMA_VERSION + 1), ("soon", "soon")])
def test_a_newer_schema_is_refused(path, schema, shown):
    with Store(path, SETTINGS):
        pass
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (schema,))
    database.close()
    with pytest.raises(StudyError, match=f"has schema {shown}; this version of subshot knows up to") as caught:
        Store(path, SETTINGS)
    assert "update subshot" in caught.value.hint


def test_a_file_that_is_no_database_is_refused_and_kept(path):
    path.parent.mkdir()
    path.write_text("dear diary, " * 500)
    before = path.read_bytes()
    with pytest.raises(StudyError, match="is damaged or no study: file is not a database"):
        Store(path, SETTINGS)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused_and_kept(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
        database.execute("INSERT INTO recipes VALUES ('soup')")
    database.close()
    with pytest.raises(StudyError, match="is an SQLite file, but not a study of subshot"):
        Store(path, SETTINGS)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT * FROM recipes").fetchall() == [("soup",)]
    database.close()


def test_damage_in_the_middle_is_refused(path):
    with Store(path, SETTINGS) as store:
        for trial in range(300):
            store.add(row(trial))
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = b"\x55" * (len(content) - 4096 * 3)
    path.write_bytes(content)
    with pytest.raises(StudyError, match="is damaged or no study"), Store(path, SETTINGS) as store:
        store.rows()


@pytest.mark.parametrize("scores", ["{", '{"swap": {}}', '{"swap": 3}'])
def test_damaged_scores_are_refused(path, scores):
    with Store(path, SETTINGS) as store:
        store.add(row(0))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE evaluations SET scores = ?", (scores,))
    database.close()
    with Store(path, SETTINGS) as store, pytest.raises(StudyError, match="is damaged or no study"):
        store.rows()


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(path):
    code = (
        "import sys, time; from pathlib import Path; from subshot.studies._store import Store\n"
        f"store = Store(Path(sys.argv[1]), {SETTINGS!r})\n"
        "sys.stdout.write('open'); sys.stdout.flush(); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout.read(4) == b"open"
        with pytest.raises(StudyError, match="is in use by another process"):
            Store(path, SETTINGS)
        with pytest.raises(StudyError, match="is in use by another process"):
            move_aside(path.parent)
        assert path.exists()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with Store(path, SETTINGS) as store:
        store.add(row(0))


def test_a_second_store_of_the_same_process_is_refused(path):
    with Store(path, SETTINGS), pytest.raises(StudyError, match="is in use"):
        Store(path, SETTINGS)


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "locked file").write_text("")  # a word that SQLite's own message would have
    with pytest.raises(StudyError, match=r"can't be written: (Not a directory|File exists)") as caught:
        Store(tmp_path / "locked file" / "run" / "study.db", SETTINGS)
    assert "permissions" in caught.value.hint


def test_a_folder_in_place_of_the_file_is_refused(path):
    path.mkdir(parents=True)
    with pytest.raises(StudyError, match="can't be written: unable to open database file"):
        Store(path, SETTINGS)


@pytest.mark.parametrize("text", ["attempt to write a readonly database", "database or disk is full", "disk I/O error"])
def test_a_disk_that_refuses_is_reported(path, text):
    class Refusing:
        def __init__(self, database):
            self._database = database

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def execute(self, *_):
            raise sqlite3.OperationalError(text)

    with Store(path, SETTINGS) as store:
        database, store._db = store._db, Refusing(store._db)
        with pytest.raises(StudyError, match=f"can't be written: {text}"):
            store.add(row(0))
        store._db = database
        store.add(row(0))


# --- starting anew ---------------------------------------------------------------------------------------------------


def test_starting_anew_loses_nothing(path):
    for number in (1, 2):
        with Store(path, SETTINGS) as store:
            store.add(row(number))
        (path.parent / "best.json").write_text(str(number))
        move_aside(path.parent)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "best.json.old1",
        "best.json.old2",
        "study.db.old1",
        "study.db.old2",
    ]
    for number in (1, 2):
        assert (path.parent / f"best.json.old{number}").read_text() == str(number)
        with Store(path.parent / f"study.db.old{number}", SETTINGS) as store:
            assert list(store.rows()) == [number]
    move_aside(path.parent)  # nothing there: nothing to do
    move_aside(path.parent / "missing")


def test_what_a_kill_left_is_moved_aside_whole(path):
    with Store(path, SETTINGS) as store:
        store.add(row(0))
        killed = path.parent.parent / "killed"
        shutil.copytree(path.parent, killed)
    assert (killed / "study.db-wal").stat().st_size > 0
    move_aside(killed)
    with Store(killed / "study.db.old1", SETTINGS) as store:
        assert list(store.rows()) == [0]


def test_a_damaged_file_is_moved_aside_too(path):
    path.parent.mkdir()
    path.write_text("dear diary, " * 500)
    move_aside(path.parent)
    assert (path.parent / "study.db.old1").read_text().startswith("dear diary")
