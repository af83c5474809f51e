"""``subshot train``: weights for the winner of a search, with a baseline trained beside it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from subshot.cli._options import Device, Json, Seed
from subshot.cli._output import add_row, error_console, number, print_json, result_console, table
from subshot.errors import DataError, StudyError

if TYPE_CHECKING:
    from subshot._types import TaskSpec
    from subshot.report._progress import ProgressLine
    from subshot.studies._result import Study
    from subshot.training.winner import Candidate, Training, TrainProgress

_NONE, _AUTO = "none", "auto"


def train(
    run: Annotated[Path, typer.Argument(help="Run folder, which a search has left.", show_default=False)],
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training part.")] = 30,
    top: Annotated[int, typer.Option("--top", min=1, help="Candidates to choose from by short trainings.")] = 1,
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
    ] = _AUTO,
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
    as_json: Json = False,
) -> None:
    """Train the best network of a search, and judge it on data that nothing was chosen by.

    The same command continues a training that was interrupted, and ends with the same weights.
    """
    from subshot.report._progress import ProgressLine
    from subshot.studies._reading import read_study
    from subshot.training.parts import parts_from
    from subshot.training.winner import TrainingPlan, train_winner

    study = read_study(run)
    if study.best is None:
        raise StudyError(f"The search in {run} found no network with a score.", "Search again, with other limits.")
    task = _task(study)
    candidates = [_of_space(study, found.arch, task) for found in study.top(top)]
    plan = TrainingPlan(
        epochs=epochs, trial_epochs=trial_epochs, patience=patience, recipe=recipe, seed=seed, device=device
    )
    beside = _baseline(study, baseline, task, seed, without=candidates)
    taught = None if teacher is None else _named(teacher, task, seed).make()
    parts = parts_from(data or _data_of(study), task, seed=seed, validation=validation, limit=samples)
    started = time.perf_counter()
    with ProgressLine(error_console(), "train") as line:
        training = train_winner(
            candidates,
            parts,
            plan=plan,
            folder=run,
            baseline=beside,
            teacher=taught,
            settings={"teacher": teacher, "space": str(study.settings["space"]), "validation": validation},
            on_progress=lambda state: _show(line, state),
        )
    if as_json:
        print_json(training.to_dict())
    _tell(training, as_json=as_json, seconds=time.perf_counter() - started)


def _task(study: "Study") -> "TaskSpec":
    """What the networks of the search were built for."""
    import dataclasses

    from subshot._types import TaskSpec
    from subshot.spaces._space import get_space

    shape, outputs = study.protocol.input_shape, int(study.settings["classes"])
    own = get_space(str(study.settings["space"])).task
    if len(shape) == 3:
        return TaskSpec.images(*shape, classes=outputs)
    return TaskSpec(tuple(dataclasses.replace(spec, shape=shape) for spec in own.inputs), outputs)


def _of_space(study: "Study", text: str, task: "TaskSpec") -> "Candidate":
    from subshot.spaces._space import get_space
    from subshot.training.winner import Candidate

    name, variant = str(study.settings["space"]), str(study.settings["trained_variant"])
    space = get_space(name)
    built = {"space": name, "arch": text, "variant": variant}
    return Candidate(text, lambda: space.build(space.parse(text), task, variant=variant), built)


def _baseline(
    study: "Study", wanted: str, task: "TaskSpec", seed: int, *, without: "list[Candidate]"
) -> "Candidate | None":
    """The network to compare with; a space around a user's model has that model."""
    from subshot.spaces._space import get_space

    if wanted == _NONE:
        return None
    if wanted != _AUTO:
        return _named(wanted, task, seed)
    space = get_space(str(study.settings["space"]))
    start: Any = getattr(space, "start", None)
    text = None if start is None else space.format(start)
    return None if text is None or text in [one.text for one in without] else _of_space(study, text, task)


def _named(target: str, task: "TaskSpec", seed: int) -> "Candidate":
    """A network that a text names, as for ``subshot score``."""
    from subshot.spaces._space import SPACES, get_space
    from subshot.studies.targets import _kind, _network
    from subshot.training.winner import Candidate

    kind, rest = _kind(target)
    if kind.partition("(")[0] in SPACES:
        space = get_space(kind)
        arch = space.parse(rest)
        built = {"space": kind, "arch": space.format(arch), "variant": space.variants[0]}
        return Candidate(target, lambda: space.build(arch, task), built)
    return Candidate(target, lambda: _network(kind, rest, task, seed))


def _data_of(study: "Study") -> str:
    from subshot.data import DATASETS

    name = study.protocol.data
    if name not in DATASETS:
        raise DataError(
            f"The search looked at {name!r}, which is no registered data set.", "Say where the data is: --data PATH."
        )
    return name


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
