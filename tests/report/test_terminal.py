import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from subshot._types import Score
from subshot.report.terminal import SearchProgress, magnitude, show_study
from subshot.studies._driver import Progress
from subshot.studies._reading import read_study
from subshot.studies._result import Found
from subshot.studies._store import Row
from subshot.studies.study import search


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (999.4, "999"),
        (1_000, "1 k"),
        (1_234, "1.23 k"),
        (153_456, "153 k"),
        (999_499, "999 k"),
        (999_600, "1 M"),
        (1_073_466, "1.07 M"),
        (2.2e9, "2.2 G"),
        (-1_500, "-1.5 k"),
    ],
)
def test_magnitudes(value, shown):
    assert magnitude(value) == shown


@pytest.fixture(scope="module")
def study():
    import numpy as np

    data = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    return search("nasbench201(channels=2,cells=1)", data=data, strategy="random", budget=30, batch_size=8)


def shown(study, width=160):
    console = Console(file=io.StringIO(), width=width)
    show_study(study, console)
    return console.file.getvalue()


def test_the_result_is_explained(study):
    text = shown(study)
    assert f"Best architecture  {study.best.arch}\n" in text
    assert f"Evaluated 30 architectures in {study.seconds:.1f} s" in text
    assert f"the best one's {study.best.score.value:,.6g}" in text
    assert f"Protocol: {study.protocol}" in text
    assert "rank correlation is" in text
    assert "Run folder" not in text
    for found in study.top(5):
        assert f"{found.score.value:,.6g}" in text
        assert magnitude(found.costs["macs"]) in text


def test_the_numbers_are_whole_in_a_narrow_terminal(study):
    text = shown(study, width=50)
    for found in study.top(5):
        assert f" {found.score.value:,.6g} " in text
    assert study.best.arch in text


def test_an_interrupted_search_is_no_finished_one(study):
    assert "Interrupted after 30 architectures" in shown(replace(study, status="interrupted"))


def test_what_was_read_back_is_not_counted_as_work(study):
    took = sum(row.scores["swap"].cost.seconds for row in study.rows if row.same_as is None)
    assert study.compute_seconds == took > 0
    text = shown(replace(study, resumed=30, seconds=77.7), width=300)
    assert "Read 30 architectures back from the store;" in text
    assert f"took {took:.1f} s when they were first run" in text
    assert "77.7" not in text
    text = shown(replace(study, resumed=12, seconds=2.5), width=300)
    assert "Evaluated 30 architectures, 12 of them read back from the store and 18 new ones in 2.5 s" in text
    text = shown(replace(study, resumed=30, status="interrupted"), width=300)
    assert "Interrupted after 30 architectures, 30 of them read back from the store and 0 new ones" in text


def test_an_early_end_is_explained(study):
    reason = "Ended after 30 of 50 architectures: the strategy has nothing left to try."
    assert reason in shown(replace(study, explanation=reason))
    assert reason in shown(replace(study, explanation=reason, best=None))
    assert "Ended" not in shown(study)


def test_words_in_brackets_are_no_markup(study):
    reason = "no [bold]way[/x] out"
    rows = tuple(replace(row, scores={"swap": Score.failed(reason)}) for row in study.rows)
    text = shown(replace(study, rows=rows, best=None, front=()))
    assert f"No architecture has a finite swap score.\nWithout a score and never chosen: 30 failed ({reason})." in text
    odd = Row(len(study.rows), "arch [/b] [red]", {"swap": Score.failed(reason)}, {"params": 1, "macs": 1})
    best = Found("arch [/b] [red]", Score.of(1e9, warnings=("[/w]",)), {"params": 1, "macs": 1})
    text = shown(replace(study, rows=(*study.rows, odd), best=best))
    assert "Best architecture  arch [/b] [red]" in text
    assert "Note: [/w]." in text
    assert reason in text


def test_progress_is_drawn_only_in_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    state = Progress(3, 10, None, 0.0, 3)
    best = Progress(5, 10, Found("a", Score.of(math.pi), {}), 2.0, 3)
    for terminal in (False, True):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
        with SearchProgress(console) as progress:
            for one in (state, best):
                progress.update(one)
        text = console.file.getvalue()
        assert ("5/10" in text and "1.0/s" in text and "best 3.14159" in text) == terminal
        assert bool(text) == terminal


def test_a_log_file_gets_a_plain_line_every_ten_seconds():
    console = Console(file=io.StringIO(), width=20)
    found = Found("a", Score.of(1234.5), {})
    with SearchProgress(console) as progress:
        for seconds in (0.0, 9.9, 10.5, 11.0, 20.4, 20.5, 99.0):
            count = int(10 * seconds) + 5
            progress.update(Progress(count, 2_000, found if seconds > 11 else None, seconds, 5))
    assert console.file.getvalue().splitlines() == [
        "search: 110 of 2,000, 10.0/s, best -",
        "search: 210 of 2,000, 10.0/s, best 1,234.5",
        "search: 995 of 2,000, 10.0/s, best 1,234.5",
    ]


def test_the_own_model_stands_below_the_best(own_run):
    study = read_study(own_run)
    own, place = study.rows[0], [found.arch for found in study.top(20)].index("unchanged") + 1
    text = shown(study)
    assert f"Your own model, unchanged, is number {place} of {len(study.top(100))}." in text
    if place > 5:
        (line,) = [line for line in text.splitlines() if "unchanged: your own model" in line]
        assert line.split("│")[1].strip() == str(place)
        assert magnitude(own.costs["macs"]) in line
    # A model among the best stands there once.
    few = replace(study, rows=study.rows[:4])
    assert "your own model" not in shown(few).replace("Your own model", "")
