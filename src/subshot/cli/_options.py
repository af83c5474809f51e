"""Options that several commands share."""

import math
import os
import re
from pathlib import Path
from typing import Annotated

import typer

_SIZES = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}


def size(text: str) -> float:
    """Read a number with an optional magnitude: ``250k``, ``1.5M``.

    Raises:
        typer.BadParameter: Something else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e\d+)?)\s*([kmg]?)\s*", str(text).lower())
    value = float(match[1]) * _SIZES[match[2]] if match else math.inf
    if not math.isfinite(value):
        raise typer.BadParameter(f"{text!r} is not a size; write a number, 250k, 1M or 1.5G.")
    return value


def usable_cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
SpaceName = Annotated[
    str, typer.Option("--space", help="Search space, with settings where wanted: nasbench201(channels=8).")
]
Data = Annotated[
    str, typer.Option("--data", help="Name of a data set (see 'subshot data'), image folder, .npz or CIFAR batches.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Samples in the batch every network sees.")]
Samples = Annotated[str, typer.Option("--samples", help="'random' by the seed, or the 'first' in file order.")]
Unreal = Annotated[
    str,
    typer.Option(
        "--unreal",
        help="Replace the batch, to see what it decides: 'random_labels', 'gaussian_noise', 'smooth_noise' or "
        "'generated'.",
    ),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", min=1, help="Input height and width.", show_default="the data's")
]
Repeats = Annotated[int, typer.Option("--repeats", min=1, help="Initialisations averaged for a score.")]
BatchNormMode = Annotated[str, typer.Option("--bn-mode", help="Batch norm: 'batch' or 'running' statistics, or 'off'.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the batch, the search and every initialisation.")]
Device = Annotated[str, typer.Option("--device", help="Where networks run: cpu, cuda, cuda:1 ...")]
Variant = Annotated[str | None, typer.Option("--variant", help="Which network of the space is scored.")]
TrainedVariant = Annotated[
    str | None,
    typer.Option(
        "--trained-variant",
        help="Which network of the space would be trained: limits and costs are its.",
        show_default="the space's first",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="A supernet's file, of 'subshot warm-up': networks are scored with its weights."),
]
MaxParams = Annotated[
    float | None, typer.Option("--max-params", parser=size, help="Most parameters allowed: 1M, 250k.")
]
MaxMacs = Annotated[
    float | None, typer.Option("--max-macs", parser=size, help="Most multiply-accumulates of a sample allowed.")
]
MaxPeakBytes = Annotated[
    float | None,
    typer.Option("--max-peak-bytes", parser=size, help="Most bytes of activations alive at once, for one sample: 2M."),
]
MaxLatency = Annotated[
    float | None,
    typer.Option(
        "--max-latency-ms", min=0, help="Longest forward pass allowed, in milliseconds; see --latency for whose."
    ),
]
Latency = Annotated[
    str | None,
    typer.Option(
        "--latency",
        help="How latency is measured: 'eager', 'compile' or 'onnxruntime', with settings where wanted: "
        "eager(threads=2,batch_size=1,samples=100). So many architectures are measured to predict all others.",
        show_default="eager, one thread",
    ),
]
LatencyFile = Annotated[
    Path | None,
    typer.Option("--latency-file", help="Keeps measured latencies and their predictor, for further runs (JSON)."),
]
LatencyTable = Annotated[
    Path | None,
    typer.Option(
        "--latency-table", help="Latencies of another device: a .csv or .csv.gz with columns 'arch' and 'latency_ms'."
    ),
]
LatencyColumn = Annotated[
    str | None,
    typer.Option(
        "--latency-column", help="The table's column of latencies.", show_default="latency_ms, or the only likely one"
    ),
]
