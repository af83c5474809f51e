"""The file that keeps measured latencies and the predictor fitted to them: one for each space and device."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from subshot.costs._latency_predictor import LatencyPredictor
from subshot.costs._latency_records import Latency
from subshot.errors import OptionError

_FORMAT = 1


@dataclass(frozen=True)
class LatencyFile:
    """What a file holds.

    Attributes:
        machine: Where it was measured.
        drift: How much the machine's pace changed meanwhile.
        predictor: Fitted to the measurements.
        checked: Latencies measured since, by architecture.
    """

    machine: str
    drift: float
    predictor: LatencyPredictor
    checked: Mapping[str, Latency]


def read_latency_file(path: Path, identity: Mapping[str, Any]) -> LatencyFile:
    """Read a file and check that it is of the space, network and protocol in ``identity``.

    Raises:
        OptionError: It can't be read, or is of something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        wanted = json.loads(json.dumps({"format": _FORMAT, **identity}))
        differing = [key for key, value in wanted.items() if values.get(key) != value]
        if not differing:
            checked = {row.pop("arch"): Latency(**row) for row in values["checked"]}
            predictor = LatencyPredictor.from_dict(values["predictor"])
            return LatencyFile(str(values["machine"]), float(values["drift"]), predictor, checked)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(
            f"{path} is no file of latencies: {type(error).__name__}: {error}.",
            "Move it away, or name another file.",
        ) from error
    raise OptionError(
        f"{path} holds latencies of another {' and '.join(differing)}.",
        "Name another file; one is written where none is.",
    )


def write_latency_file(
    path: Path,
    identity: Mapping[str, Any],
    *,
    machine: str,
    drift: float,
    measured: Mapping[str, Latency],
    predictor: LatencyPredictor,
) -> None:
    """Write a new file.

    Args:
        path: Where.
        identity: Space, network and protocol.
        machine: Where it was measured.
        drift: How much the machine's pace changed meanwhile.
        measured: Latencies by architecture, those that failed too.
        predictor: Fitted to them.

    Raises:
        OptionError: It can't be written.
    """
    rows = [{"arch": text, **asdict(one)} for text, one in measured.items() if one.ok]
    failed = {text: one.reason for text, one in measured.items() if not one.ok}
    _write(
        path,
        {"format": _FORMAT, **identity, "machine": machine, "drift": drift, "measured": rows, "failed": failed}
        | {"predictor": predictor.to_dict(), "checked": []},
    )


def add_checked(path: Path, checked: Mapping[str, Latency]) -> None:
    """Add what was measured since, so that a study that goes on ends as it would have.

    Raises:
        OptionError: The file can't be written.
    """
    values = json.loads(path.read_text(encoding="utf-8"))
    _write(path, {**values, "checked": [{"arch": text, **asdict(one)} for text, one in checked.items() if one.ok]})


def _write(path: Path, values: Mapping[str, Any]) -> None:
    temporary = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        temporary.replace(path)  # at once: a kill leaves the old file or the new one
    except OSError as error:
        raise OptionError(f"{path} can't be written: {error}.", "Name another file.") from error


def machine_name(device: str) -> str:
    """What decides how fast a network is, but for its load."""
    import torch

    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    if torch.device(device).type == "cuda":
        name = torch.cuda.get_device_name(device) if torch.cuda.is_available() else "no GPU"
    return f"{name}; torch {torch.__version__}"
