"""MLflow: a run of an experiment, with metrics, parameters and files, on a server or in a file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from subshot.studies._start import Start
from subshot.trackers._tracker import Status, Writer, package, tracker

# MLflow 2 refuses longer values of parameters, and more parameters at once.
_LONGEST, _AT_ONCE = 500, 100

_STATUS: Mapping[Status, str] = {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


@tracker
def mlflow(*, uri: str | None = None, experiment: str = "subshot", name: str | None = None) -> Writer:
    """Metrics, parameters and files as a run of MLflow; one for each command, also where that continues another.

    Args:
        uri: Of the tracking server or file: ``http://localhost:5000``, ``sqlite:///mlflow.db``; MLflow's own choice,
            by its environment, if not given.
        experiment: Its name; it is made if there is none.
        name: Of the run; what it does and the run folder's name if not given.

    Raises:
        MissingDependencyError: mlflow isn't installed.
    """
    package("mlflow")
    return _MLflow(uri, experiment, name)


@final
class _MLflow:
    """Uses a client of its own: MLflow's active run, which is global, is the user's."""

    def __init__(self, uri: str | None, experiment: str, name: str | None) -> None:
        self._uri, self._experiment, self._name = uri, experiment, name
        self._client: Any = None
        self._run = ""

    def begin(self, start: Start, settings: Mapping[str, str]) -> None:
        param = package("mlflow.entities").Param
        self._client = package("mlflow").MlflowClient(tracking_uri=self._uri)
        found = self._client.get_experiment_by_name(self._experiment)
        known = self._client.create_experiment(self._experiment) if found is None else found.experiment_id
        name = self._name or " ".join(filter(None, (start.kind, start.run.name if start.run else "")))
        tags = {"subshot.kind": start.kind, "subshot.run": str(start.run or "")}
        self._run = self._client.create_run(known, run_name=name, tags=tags).info.run_id
        params = [param(_key(key), _short(value)) for key, value in settings.items()]
        for first in range(0, len(params), _AT_ONCE):
            self._client.log_batch(self._run, params=params[first : first + _AT_ONCE])

    def scalar(self, name: str, value: float, step: int) -> None:
        self._client.log_metric(self._run, _key(name), value, step=step)

    def file(self, path: Path) -> None:
        self._client.log_artifact(self._run, str(path))

    def end(self, status: Status) -> None:
        self._client.set_terminated(self._run, _STATUS[status])


def _key(name: str) -> str:
    """What MLflow takes as a name: letters, digits and a few signs."""
    return re.sub(r"[^\w\-. /]", "_", name)


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 3]}..."
