"""A limit of latency: predictions keep the search inside, and what is handed out was measured."""

import json

import pytest

from subshot.costs import _latency_predictor, latency
from subshot.costs._latency_records import Latencies, Latency
from subshot.costs._trace import trace_architecture
from subshot.errors import InfeasibleError, OptionError, StudyError
from subshot.spaces._space import get_space
from subshot.studies._reading import read_study
from subshot.studies.study import search
from subshot.studies.training import train

SPACE = get_space("nasbench201(channels=2,cells=1)")


@pytest.fixture
def machine(monkeypatch):
    """A machine whose times are known; it may turn out slower than when the predictor was fitted."""

    class Machine:
        calls: list = []
        surprise = 1.0

    Machine.calls = []

    def truth(space, arch, task):
        return 0.5 + trace_architecture(space, arch, task).macs / 1e5

    def measure(space, archs, task, *, variant=None, protocol=None, seed=0, on_progress=None):
        first = not Machine.calls
        Machine.calls.append([space.format(arch) for arch in archs])
        found = []
        for arch in archs:
            ms = truth(space, arch, task) * (1.0 if first else Machine.surprise)
            found.append(Latency(ms, ms - 0.01, ms + 0.01))
        return Latencies(tuple(found), 0.0, protocol)

    monkeypatch.setattr(latency, "measure_architectures", measure)
    monkeypatch.setattr(_latency_predictor, "_CANDIDATES", (("totals", "ridge"), ("totals", "non_negative")))
    return Machine


@pytest.fixture
def settings(images):
    return {
        "space": SPACE,
        "data": images,
        "strategy": "random",
        "proxy": "parameters",
        "budget": 40,
        "batch_size": 4,
        "latency": "eager(samples=30)",
    }


def test_everything_handed_out_was_measured_inside_the_limit(machine, settings, tmp_path):
    study = search(**settings, max_latency_ms=1.5, out=tmp_path / "run")
    measured = {one["arch"]: one for one in study.latency["measured"]}
    assert study.best is not None
    assert study.best.arch in measured
    for found in study.front:
        assert measured[found.arch]["high_ms"] <= 1.5
        assert found.costs["latency_ms"] == measured[found.arch]["ms"]
    margin = study.latency["error"]["margin"]
    assert all(row.costs["latency_ms"] * margin <= 1.5 for row in study.rows)
    assert study.latency["unchecked"] == []
    json.dumps(study.to_dict(), allow_nan=False)
    # Once more: nothing is measured, and the result is the same.
    calls = len(machine.calls)
    again = search(**settings, max_latency_ms=1.5, out=tmp_path / "run")
    assert len(machine.calls) == calls
    assert (again.best, again.front, again.resumed) == (study.best, study.front, study.evaluations)


def test_what_turns_out_too_slow_is_dropped(machine, settings):
    machine.surprise = 1.3
    study = search(**settings, max_latency_ms=1.5)
    dropped = [one["arch"] for one in study.latency["measured"] if not one["kept"]]
    assert dropped
    assert study.best.arch not in dropped
    assert all(found.costs["latency_ms"] <= 1.5 for found in study.front)
    assert not {found.arch for found in study.front} & set(dropped)
    assert not {found.arch for found in study.top(40)} & set(dropped)
    machine.calls.clear()
    machine.surprise = 100
    none = search(**settings, max_latency_ms=1.5)
    assert (none.best, none.front) == (None, ())
    assert "slower than 1.5 ms" in none.explanation


def test_what_was_dropped_is_not_trained_later(machine, settings, tmp_path):
    machine.surprise = 1.3
    study = search(**settings, max_latency_ms=1.5, out=tmp_path / "run")
    read = read_study(tmp_path / "run")
    assert (read.best, read.front, read.latency) == (study.best, study.front, study.latency)
    kept = {one["arch"] for one in study.latency["measured"] if one["kept"]}
    ten = study.top(10)
    assert {one.arch for one in ten} <= kept  # the ten best were measured, as the front was
    assert read.deliverable(1)[0].arch == study.best.arch
    assert [one.arch for one in read.deliverable(40)] == [one.arch for one in study.top(40) if one.arch in kept]
    assert read.deliverable(3) == ten[:3]


def test_what_was_dropped_stays_dropped_when_the_search_goes_on_and_ends_early(machine, settings, tmp_path):
    machine.surprise = 2.0
    run = tmp_path / "run"
    first = search(**settings, max_latency_ms=1.5, out=run)
    dropped = {one["arch"] for one in first.latency["measured"] if not one["kept"]}
    assert dropped

    class Stopped(BaseException):
        pass

    def stop(kind):
        def on_progress(progress):
            if progress.evaluations == 43:
                raise kind

        return on_progress

    with pytest.raises(Stopped):  # as a kill would leave it
        search(**{**settings, "budget": 60}, max_latency_ms=1.5, out=run, on_progress=stop(Stopped))
    read = read_study(run)
    assert read.status == "interrupted"
    assert not {one.arch for one in (*read.top(99), *read.front)} & dropped
    stopped = search(**{**settings, "budget": 60}, max_latency_ms=1.5, out=run, on_progress=stop(KeyboardInterrupt))
    assert stopped.status == "interrupted"
    assert not {one.arch for one in (*stopped.top(99), *stopped.front)} & dropped
    assert stopped.best is None or stopped.best.arch not in dropped


def test_measuring_ends_at_a_number_and_only_measured_networks_are_left(machine, settings, monkeypatch, tmp_path):
    machine.surprise = 100
    monkeypatch.setattr("subshot.studies._delivered._MOST", 5)
    run = tmp_path / "run"
    study = search(**settings, max_latency_ms=1.5, out=run)
    assert len(study.latency["measured"]) == 5
    assert study.latency["only_measured"]
    read = read_study(run)
    for one in (study, read):
        assert (one.best, one.front, one.top(3), one.deliverable(3)) == (None, (), [], [])
    with pytest.raises(StudyError, match="found no network"):
        train(run, data=settings["data"])


def test_limits_that_nothing_meets_name_the_nearest(machine, settings):
    with pytest.raises(InfeasibleError, match=r"latency_ms <= 0\.1\).*The nearest has latency_ms [\d.]+: \|"):
        search(**settings, max_latency_ms=0.1)
    with pytest.raises(OptionError, match="without a limit"):
        search(**settings)


def test_a_limit_of_memory(settings):
    settings.pop("latency")
    study = search(**settings, max_peak_bytes=20_000)
    assert all(row.costs["peak_bytes"] <= 20_000 for row in study.rows)
    assert study.latency is None
