"""Hand the trained winner of a run on, in one of three forms."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from subshot._seeds import stable_seed
from subshot._types import TaskSpec
from subshot.errors import NetworkError, OptionError, StudyError
from subshot.export._timing import Exported, evaluating, latency_ms
from subshot.export.onnx import export_onnx
from subshot.export.program import export_program
from subshot.export.standalone import export_standalone, import_file, plain_network
from subshot.training.files import load_trained
from subshot.training.winner import WEIGHTS

FORMATS = ("onnx", "safetensors", "torch")
FOLDER = "export"

# Largest difference that is allowed, as a share of the largest output where that is above 1.
_TOLERANCE = 1e-4


def export_winner(run: "str | os.PathLike[str]", *, format: str = "safetensors") -> Exported:
    """Write the trained network of a run folder into its folder ``export``.

    ``onnx`` gives ``network.onnx``; ``torch`` a program of ``torch.export``, ``network.pt2``; ``safetensors`` the
    weights, ``network.safetensors``, and ``network.py``, which rebuilds the network with torch alone. Each is compared
    with the network on two random batches and timed on one sample.

    Args:
        run: The folder, after ``subshot train``.
        format: One of :data:`FORMATS`.

    Raises:
        OptionError: Another format.
        StudyError: The run has no trained network.
        DataError: Its weights are damaged.
        MissingDependencyError: A package that the format needs isn't installed.
        NetworkError: The network can't be written, or what was written gives other outputs.
    """
    if format not in FORMATS:
        raise OptionError(f"There is no format {format!r}.", f"Use one of {', '.join(FORMATS)}.")
    run = Path(run)
    weights = run / WEIGHTS
    if not weights.is_file():
        if not run.is_dir():
            raise StudyError(f"There is no folder {run}.", "Name the folder of a search whose winner was trained.")
        raise StudyError(f"{run} has no trained network.", f"Train the winner first: subshot train {run}.")
    network, task, told = load_trained(weights)
    examples = examples_for(task)
    folder = run / FOLDER
    if format == "safetensors":
        path, code = export_standalone(network, folder, examples=examples, facts=_facts(told), notes=_notes(told))
        rebuilt = import_file(code).load()
        with evaluating(rebuilt):
            return Exported(path, 0.0, latency_ms(lambda: rebuilt(examples[0][:1])))
    with contextlib.suppress(NetworkError):
        network = plain_network(network, examples)  # without Python that counts samples, which an export would freeze
    if format == "torch":
        done = export_program(network, folder / "network.pt2", examples=examples)
    else:
        texts = {key: json.dumps(value) for key, value in _facts(told).items()}
        done = export_onnx(network, folder / "network.onnx", examples=examples, facts=texts)
    with evaluating(network):
        largest = max(1.0, float(network(examples[0]).abs().max()))
    if not done.max_abs_difference <= _TOLERANCE * largest:
        done.file.unlink()
        raise NetworkError(
            f"The {format} file differed from the network by {done.max_abs_difference:g}, and was removed.",
            f"Export as {' or '.join(name for name in FORMATS if name != format)}.",
        )
    return done


def examples_for(task: TaskSpec) -> tuple[Tensor, Tensor]:
    """Two random batches, of two and three samples, as a network for the task takes them.

    Raises:
        NetworkError: It takes several inputs.
    """
    if len(task.inputs) != 1:
        raise NetworkError(f"The network has {len(task.inputs)} inputs.", "Networks with one input are exported.")
    (spec,) = task.inputs
    generator = torch.Generator().manual_seed(stable_seed("export"))
    if spec.vocabulary is not None:
        dtype = getattr(torch, spec.dtype)
        pair = [torch.randint(spec.vocabulary, (n, *spec.shape), generator=generator, dtype=dtype) for n in (2, 3)]
    else:
        pair = [torch.randn(n, *spec.shape, generator=generator) for n in (2, 3)]
    return pair[0], pair[1]


def _facts(told: Mapping[str, Any]) -> dict[str, Any]:
    names = ("space", "arch", "mean", "std", "classes", "metric", "value", "split")
    return {name.upper(): told[name] for name in names if told.get(name) not in (None, [])}


def _notes(told: Mapping[str, Any]) -> list[str]:
    lines = [f"The architecture is {told['arch']}", f"of the space {told['space']}."]
    if told.get("mean"):
        lines.append("Inputs are images with values from 0 to 1, less MEAN and divided by STD for each channel;")
        lines.append("grey ones are repeated to three channels." if len(told["mean"]) == 1 else "channels are RGB.")
    if told.get("value") is not None:
        lines.append(f"Its {told['metric']} on the {told['split']} part was {told['value']:.6g}.")
    return lines
