"""``subshot train``: weights for the winner of a search, with a baseline trained beside it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subshot.cli._command import KeptCommand
from subshot.cli._options import Device, Json, Seed
from subshot.cli._output import add_row, error_console, number, print_json, result_console, table
from subshot.cli._tracking import Tracker, together

if TYPE_CHECKING:
    from subshot.report._progress import ProgressLine
    from subshot.training.winner import Training, TrainProgress


def train(
    run: Annotated[Path, typer.Argument(help="Run folder, which a search has left.", show_default=False)],
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training part.")] = 30,
    top: Annotated[
        int,
        typer.Option(
            "--top",
            min=1,
            help="Candidates to choose from by short trainings; under a limit of latency, of those that were measured.",
        ),
    ] = 1,
    trial_epochs: Annotated[
        int | None, typer.Option("--trial-epochs", min=1, help="Of each candidate.", show_default="a tenth")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option("--patience", min=1, help="End after so many epochs without a better one.", show_default="never"),
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", help="'auto', 'sgd' or 'adamw', with settings: 'sgd(lr=0.05,mixup=0.2)'.")
    ] = "auto",
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline",
            help="Network to train alongside: FILE.py:FUNCTION, SPACE:ARCH, timm:NAME, torchvision:NAME; 'none'; "
            "'auto' for the model that the space was made around.",
        ),
    ] = "auto",
    teacher: Annotated[
        str | None, typer.Option("--teacher", help="Trained network to learn from: FILE.py:FUNCTION, timm:NAME ...")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Data set or path.", show_default="that of the search, if it has a name"),
    ] = None,
    validation: Annotated[float, typer.Option("--validation", help="Share of the data for validation.")] = 0.1,
    samples: Annotated[
        int | None, typer.Option("--max-samples", min=1, help="Use so many samples at most.", show_default="all")
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    tracker: Tracker = None,
    as_json: Json = False,
) -> None:
    """Train the best network of a search, and judge it on data that nothing was chosen by.

    The same command continues a training that was interrupted, and ends with the same weights.
    """
    from subshot.report._progress import ProgressLine
    from subshot.report.html import plotly_is_there, write_html
    from subshot.studies.training import train as run_train
    from subshot.trackers._tracker import make_tracker

    started, kept = time.perf_counter(), KeptCommand("train")
    with make_tracker(tracker or ()) as tracked:
        with ProgressLine(error_console(), "train") as line:

            def on_progress(progress: "TrainProgress") -> None:
                kept.on_progress(progress)
                _show(line, progress)

            training = run_train(
                run,
                epochs=epochs,
                top=top,
                trial_epochs=trial_epochs,
                patience=patience,
                recipe=recipe,
                baseline=baseline,
                teacher=teacher,
                data=data,
                validation=validation,
                max_samples=samples,
                seed=seed,
                device=device,
                on_start=together(kept.on_start, tracked.on_start),
                on_progress=on_progress,
                on_epoch=tracked.on_epoch if tracker else None,
            )
        if plotly_is_there():
            write_html(run)
        tracked.finish(training)
    if as_json:
        print_json(training.to_dict())
    _tell(training, as_json=as_json, seconds=time.perf_counter() - started)


def _show(line: "ProgressLine", progress: "TrainProgress") -> None:
    state = progress.state
    several = f" {progress.number} of {progress.count}" if progress.count > 1 else ""
    loss = "" if state.step == 0 else f"loss {state.loss:.4g}"
    line.show(
        state.step,
        state.steps,
        seconds=progress.seconds,
        stage=f"{progress.role}{several}",
        rate=f"{state.step / state.seconds:.1f} steps/s" if state.seconds > 0 else "starting",
        note=loss,
        plain=loss or "starting",
    )


def _tell(training: "Training", *, as_json: bool, seconds: float) -> None:
    console = result_console(as_json=as_json)
    numbers = ("epochs", "best at", "validation", "test", "parameters", "seconds")
    made = table("network", *numbers, title=f"By {training.metric}", numbers=numbers)
    for one in training.networks:
        failed = one.failed != ""
        add_row(
            made,
            one.role,
            f"{one.epochs}",
            "-" if failed else f"{one.best_epoch}",
            "failed" if failed else number(one.value, 4),
            number(one.test, 4),
            number(one.params),
            number(one.seconds, 3),
        )
    console.print(made)
    for one in training.networks:
        console.print(f"{one.role}: {one.text} {one.failed}".rstrip(), highlight=False, markup=False, soft_wrap=True)
    told = f"{training.metric} {number(training.value, 4)} on the {training.split} part; {seconds:.1f} s this time."
    console.print(f"{told} Weights: {training.weights}", highlight=False, markup=False, soft_wrap=True)
