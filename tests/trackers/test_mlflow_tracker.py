import pytest

import subshot
from subshot._types import Score
from subshot.errors import StudyError
from subshot.studies._driver import Progress
from subshot.studies._result import Found
from subshot.studies._start import Start

pytest.importorskip("mlflow", reason="mlflow isn't installed: subshot[mlflow]")
pytest.importorskip("sqlalchemy", reason="sqlalchemy, which mlflow needs for its file, isn't installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of another package


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The current folder, where MLflow keeps files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def progress(done, value):
    return Progress(done, 3, Found("a", Score(value), {"params": 7}), 0.1 * done, 0)


def test_what_is_told_is_read_back(home):
    from mlflow import MlflowClient

    uri = f"sqlite:///{home / 'kept.db'}"
    many = {f"option{n}": n for n in range(150)}
    settings = {"space": "nasbench201", "long": "x" * 2_000, "protocol": {"batch_size": 16, "a(b=1)": 2}, "many": many}
    with subshot.make_tracker(f"mlflow(uri={uri},experiment=mine)") as tracker:
        tracker.on_start(Start("search", home / "runs" / "abc", settings))
        for done, value in ((1, 1.0), (2, 2.5), (3, 4.0)):
            tracker.on_progress(progress(done, value))
        (home / "best.json").write_text("{}")
        tracker._each(lambda writer: writer.file(home / "best.json"))
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mine")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "search abc")
    history = client.get_metric_history(run.info.run_id, "search/best")
    assert [(one.step, one.value) for one in history] == [(1, 1.0), (2, 2.5), (3, 4.0)]
    params = run.data.params
    assert (params["space"], params["protocol.batch_size"], params["protocol.a_b_1_"]) == ("nasbench201", "16", "2")
    assert len(params["long"]) == 500
    assert params["many.option149"] == "149"
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["best.json"]

    # A run that failed, in the same experiment.
    def broken():
        with subshot.make_tracker(f"mlflow(uri={uri},experiment=mine,name=again)") as tracker:
            tracker.on_progress(progress(1, 1.0))
            raise ValueError

    with pytest.raises(ValueError):
        broken()
    runs = client.search_runs([experiment.experiment_id])
    assert {(one.info.run_name, one.info.status) for one in runs} == {("search abc", "FINISHED"), ("again", "FAILED")}


def test_a_place_that_can_not_be_written_to_is_an_error(home):
    tracker = subshot.make_tracker("mlflow(uri=unknown://nowhere)")
    with pytest.raises(StudyError, match="The tracker MLflow can't be written to: "):
        tracker.on_progress(progress(1, 1.0))
