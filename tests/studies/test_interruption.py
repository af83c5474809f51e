"""Ctrl-C in the middle of a search: what is done is reported, and the same search continues."""

import pytest

from subshot.studies.study import search


@pytest.mark.parametrize("stop", [1, 7, 10, 23])
def test_an_interrupted_search_reports_what_is_done_and_continues(small, tmp_path, stop):
    # The strategy hands out ten at a time: seven is amid its first group, of which it has been told nothing yet.
    def interrupt(state):
        if state.evaluations == stop:
            raise KeyboardInterrupt

    unbroken = search(**small)
    broken = search(**small, out=tmp_path, on_progress=interrupt)
    assert broken.status == "interrupted"
    assert broken.evaluations == stop == sum(row.same_as is None for row in broken.rows)
    assert _plain(broken) == _plain(unbroken)[: len(broken.rows)]
    done = [row.scores["swap"].value for row in broken.rows if row.scores["swap"].ok]
    assert broken.best is None or broken.best.score.value == max(done)
    again = search(**small, out=tmp_path)
    assert again.status == "done"
    assert _plain(again) == _plain(unbroken)
    assert [row.finished for row in again.rows[: len(broken.rows)]] == [row.finished for row in broken.rows]


def _plain(study):
    return [(row.trial, row.arch, row.same_as, repr(row.scores["swap"].value)) for row in study.rows]
