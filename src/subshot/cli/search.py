"""``subshot search``: the best network of a space that the limits allow."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from subshot.cli._command import KeptCommand
from subshot.cli._options import (
    BatchNormMode,
    BatchSize,
    Data,
    Device,
    ImageSize,
    Json,
    Latency,
    LatencyColumn,
    LatencyFile,
    LatencyTable,
    MaxLatency,
    MaxMacs,
    MaxParams,
    MaxPeakBytes,
    Repeats,
    Samples,
    Seed,
    SpaceName,
    TrainedVariant,
    Unreal,
    Variant,
    Weights,
    usable_cores,
)
from subshot.cli._output import error_console, print_json, result_console
from subshot.cli._tracking import Tracker, together
from subshot.errors import InfeasibleError

_INFEASIBLE: dict[str, Any] = {
    "status": "infeasible",
    "best": None,
    "front": [],
    "evaluations": 0,
    "failed": 0,
    "explanation": "",
    "seconds": None,
    "resumed": 0,
    "compute_seconds": None,
    "objective": None,
    "settings": None,
    "protocol": None,
    "run": None,
}


def search(
    space: SpaceName = "nasbench201",
    proxy: Annotated[str, typer.Option("--proxy", help="Proxies, by commas; the first is maximised.")] = "swap",
    objectives: Annotated[
        str | None,
        typer.Option(
            "--objectives",
            help="Improve several at once, by commas; a cost has a minus sign: 'swap,-macs'.",
            show_default="the first proxy",
        ),
    ] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(
            "--aggregate",
            help="Order what was evaluated by an aggregator of all proxies: 'rank_sum'. The strategy follows the first "
            "proxy; 'random' follows none.",
            show_default="the first proxy",
        ),
    ] = None,
    strategy: Annotated[str, typer.Option("--strategy", help="How to search.")] = "swap_evolution",
    budget: Annotated[int, typer.Option("--budget", min=1, help="Architectures to evaluate.")] = 1000,
    data: Data = "mnist_sample",
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_peak_bytes: MaxPeakBytes = None,
    max_latency_ms: MaxLatency = None,
    latency: Latency = None,
    latency_file: LatencyFile = None,
    latency_table: LatencyTable = None,
    latency_column: LatencyColumn = None,
    variant: Variant = None,
    trained_variant: TrainedVariant = None,
    batch_size: BatchSize = 16,
    samples: Samples = "random",
    unreal: Unreal = "none",
    image_size: ImageSize = None,
    repeats: Repeats = 1,
    init: Annotated[str, typer.Option("--init", help="Weights: 'default', 'normal' or 'kaiming'.")] = "default",
    bn_mode: BatchNormMode = "batch",
    warm_up: Annotated[
        float | None,
        typer.Option(
            "--warm-up", help="Train a supernet on this share of the data first, and score networks with its weights."
        ),
    ] = None,
    weights: Weights = None,
    seed: Seed = 0,
    device: Device = "cpu",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes.", show_default="all cores, 1 for a GPU")
    ] = None,
    executor: Annotated[str, typer.Option("--executor", help="'auto', 'serial' or 'processes'.")] = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder.", show_default="runs/<hash of the settings>")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; an old run is moved aside.")] = False,
    tracker: Tracker = None,
    as_json: Json = False,
) -> None:
    """Search a space for the network with the best score, inside limits.

    The same settings continue an unfinished run, with the same result as an unbroken one. The result doesn't depend
    on the number of workers.
    """
    from subshot.report.html import plotly_is_there, write_html
    from subshot.report.terminal import SearchProgress, show_study
    from subshot.studies.study import search as run_search
    from subshot.trackers._tracker import make_tracker

    kept = KeptCommand("search", budget=budget)
    try:
        with make_tracker(tracker or ()) as tracked:
            with SearchProgress(error_console()) as progress:
                study = run_search(
                    space,
                    data=data,
                    proxy=proxy,
                    objectives=objectives,
                    aggregate=aggregate,
                    strategy=strategy,
                    budget=budget,
                    max_params=max_params,
                    max_macs=max_macs,
                    max_peak_bytes=max_peak_bytes,
                    max_latency_ms=max_latency_ms,
                    latency=latency,
                    latency_file=latency_file,
                    latency_table=latency_table,
                    latency_column=latency_column,
                    variant=variant,
                    trained_variant=trained_variant,
                    batch_size=batch_size,
                    samples=samples,
                    unreal=unreal,
                    image_size=None if image_size is None else (image_size, image_size),
                    repeats=repeats,
                    init=init,
                    bn_mode=bn_mode,
                    warm_up=warm_up,
                    weights=weights,
                    seed=seed,
                    device=device,
                    workers=workers or (usable_cores() if device == "cpu" else 1),
                    executor=executor,
                    out=out if out is not None else lambda digest: Path("runs") / digest,
                    fresh=fresh,
                    on_start=together(kept.on_start, tracked.on_start),
                    on_progress=together(kept.on_progress, progress.update, tracked.on_progress),
                    on_warm_up=together(kept.on_warm_up, progress.warm_up, tracked.on_warm_up),
                )
            if study.run is not None and plotly_is_there():
                write_html(study.run)
            tracked.finish(study)
    except InfeasibleError as error:
        if not as_json:
            raise
        print_json(_INFEASIBLE | {"error": {"message": error.message, "hint": error.hint}})
        raise typer.Exit(2) from error
    if as_json:
        print_json(study.to_dict())
    show_study(study, result_console(as_json=as_json))
    if study.status == "interrupted":
        sys.exit(130)
