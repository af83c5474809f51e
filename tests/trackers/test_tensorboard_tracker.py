import pytest

import subshot
from subshot._types import Score
from subshot.studies._driver import Progress
from subshot.studies._result import Found
from subshot.studies._start import Start

pytest.importorskip("tensorboard", reason="tensorboard isn't installed: subshot[tensorboard]")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of another package


def events(folder):
    """What TensorBoard itself reads from a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    read.Reload()
    return read


def follow(choice, run, values):
    with subshot.make_tracker(choice) as tracker:
        tracker.on_start(Start("search", run, {"space": "nasbench201", "protocol": {"batch_size": 16, "note": "a|b"}}))
        for done, value in enumerate(values, start=1):
            found = Found("a", Score(value), {"params": 7})
            tracker.on_progress(Progress(done, len(values), found, 0.1 * done, 0))


def test_what_is_told_is_read_back(tmp_path):
    follow("tensorboard", tmp_path / "run", [1.0, 2.5, 4.0])
    read = events(tmp_path / "run" / "tensorboard" / "search")
    assert set(read.Tags()["scalars"]) == {"search/best", "search/best_params", "search/seconds"}
    assert [(one.step, one.value) for one in read.Scalars("search/best")] == [(1, 1.0), (2, 2.5), (3, 4.0)]
    texts = {tag: read.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in read.Tags()["tensors"]}
    assert texts["status/text_summary"] == "done"
    assert "| protocol.batch_size | 16 |" in texts["settings/text_summary"]
    assert "| protocol.note | a&#124;b |" in texts["settings/text_summary"]
    assert read.SummaryMetadata("_hparams_/session_start_info").plugin_data.plugin_name == "hparams"


def test_a_run_that_continues_shows_its_curves_once(tmp_path):
    run, choice = tmp_path / "runs" / "abc", f"tensorboard(folder={tmp_path / 'logs'})"
    follow(choice, run, [1.0, 2.0])
    folder = tmp_path / "logs" / "abc" / "search"
    (first,) = folder.iterdir()
    # The second file's name is later, also within one second.
    first.rename(first.with_name(first.name.replace("tfevents.", "tfevents.0")))
    follow(choice, run, [1.0, 2.0, 3.0])
    assert len(list(folder.iterdir())) == 2
    assert [(one.step, one.value) for one in events(folder).Scalars("search/best")] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert not run.exists()
