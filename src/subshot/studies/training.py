"""Train the winner of a search from its run folder alone: candidates, baseline and teacher by name, data as it was."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subshot._types import TaskSpec
from subshot.errors import DataError, OptionError, StudyError, UnknownNameError
from subshot.spaces._space import SPACES, Space, get_space
from subshot.studies._checkpoints import FOLDER, TrainEpoch, checkpoint_of
from subshot.studies._reading import read_study
from subshot.studies._result import Study
from subshot.studies._start import Start

if TYPE_CHECKING:
    from torch import nn

    from subshot.data import DataLike
    from subshot.training._training import Candidate, Training, TrainingPlan, TrainProgress

_NONE, _AUTO = "none", "auto"


def train(
    run: "str | os.PathLike[str]",
    *,
    epochs: int = 30,
    top: int = 1,
    trial_epochs: int | None = None,
    patience: int | None = None,
    recipe: str = "auto",
    baseline: str = _AUTO,
    teacher: "str | nn.Module | None" = None,
    data: "DataLike | None" = None,
    validation: float = 0.1,
    max_samples: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    on_start: Callable[[Start], None] | None = None,
    on_progress: "Callable[[TrainProgress], None] | None" = None,
    on_epoch: Callable[[TrainEpoch], None] | None = None,
) -> "Training":
    """Train the best network of a search, and judge it on data that nothing was chosen by.

    The same call continues a training that was interrupted, and ends with the same weights. What it leaves in the run
    folder is ``weights.safetensors``, ``baseline.safetensors``, ``train.json`` and the checkpoints.

    Args:
        run: The folder that a search has left.
        epochs: Passes over the training part.
        top: How many of the best architectures to choose from by short trainings; after a search with a measured
            limit of latency at most those that were measured to keep it.
        trial_epochs: Of each of these; a tenth of the epochs if not given.
        patience: Epochs without a better validation after which a training ends; ``None`` for all epochs.
        recipe: ``auto``, ``sgd`` or ``adamw``, with settings where wanted: ``"sgd(lr=0.05,mixup=0.2)"``.
        baseline: Network to train beside the winner, under the same conditions: ``FILE.py:FUNCTION``, ``SPACE:ARCH``,
            ``timm:NAME``, ``torchvision:NAME``; ``none``; ``auto`` for the model that the space was made around.
        teacher: A trained network to learn from, or what names it, as for ``baseline``.
        data: Where the data is, as for a search; that of the search if it has a name.
        validation: Share of the data for validation.
        max_samples: Use so many samples at most, the first.
        seed: Seed of weights, batches and augmentation, and of the parts of the data.
        device: Where networks are trained, for example ``cpu`` or ``cuda``.
        on_start: Called once, before the first network is trained.
        on_progress: Called after each step.
        on_epoch: Called after each epoch; when a training continues, first for those that were done before.

    Raises:
        StudyError: The folder holds no search, or its search found no network with a score.
        OptionError: A number out of its range, or a name that is none.
        DataError: Data that is missing, can't be read, or doesn't fit the network.
        NetworkError: The loss of the winner isn't finite.
    """
    from subshot.training.parts import parts_from
    from subshot.training.winner import TrainingPlan, train_winner

    for name, value in (("top", top), ("max_samples", max_samples)):
        if value is not None and value < 1:
            raise OptionError(f"{name} was given as {value!r}.", "It is a whole number from 1 on.")
    run = Path(run)
    study = read_study(run)
    if study.best is None:
        raise StudyError(
            f"The search in {run} found no network with a score that keeps its limits.",
            "Search again, with other limits.",
        )
    wanted = study.deliverable(top)
    if not wanted:
        raise StudyError(
            f"No network that the search in {run} found was measured to keep its limit of latency.",
            "Search on with a larger budget, or anew with another limit.",
        )
    space = _space_of(study)
    task = _task(study, space)
    candidates = [_of_space(study, space, found.arch, task) for found in wanted]
    plan = TrainingPlan(
        epochs=epochs, trial_epochs=trial_epochs, patience=patience, recipe=recipe, seed=seed, device=device
    )
    beside = _baseline(study, space, baseline, task, seed, without=candidates)
    taught = _named(teacher, task, seed).make() if isinstance(teacher, str) else teacher
    parts = parts_from(
        _data_of(study) if data is None else data, task, seed=seed, validation=validation, limit=max_samples
    )
    said = teacher if teacher is None or isinstance(teacher, str) else type(teacher).__name__
    settings = {"teacher": said, "space": str(study.settings["space"]), "validation": validation}
    if on_start is not None:
        named = {"candidates": [one.text for one in candidates], "baseline": beside.text if beside else None}
        of_data = {"data": parts.train.name, "data_digest": parts.train.digest}
        on_start(Start("train", run, {**settings, **dataclasses.asdict(plan), **named, **of_data}))
    return train_winner(
        candidates,
        parts,
        plan=plan,
        folder=run,
        baseline=beside,
        teacher=taught,
        settings=settings,
        on_progress=_Listeners(plan, run / FOLDER, parts.task.loss, on_progress, on_epoch),
    )


class _Listeners:
    """Tells of steps, and of the epochs that they end."""

    def __init__(
        self,
        plan: "TrainingPlan",
        folder: Path,
        loss: str,
        on_progress: "Callable[[TrainProgress], None] | None",
        on_epoch: Callable[[TrainEpoch], None] | None,
    ) -> None:
        from subshot.training._objective import metric_of

        self._plan, self._folder, self._metric = plan, folder, metric_of(loss).name
        self._on_progress, self._on_epoch = on_progress, on_epoch
        self._number, self._told = 0, 0

    def __call__(self, progress: "TrainProgress") -> None:
        if self._on_progress is not None:
            self._on_progress(progress)
        if self._on_epoch is None:
            return
        if progress.number != self._number:
            self._number, self._told = progress.number, 0
        epochs = self._plan.trial if progress.role == "trial" else self._plan.epochs
        # A checkpoint was written just now, or read: it knows the epochs before an interruption too.
        if progress.state.step and progress.state.step % (progress.state.steps // epochs) == 0:
            for epoch in self._new(progress, epochs):
                self._on_epoch(epoch)

    def _new(self, progress: "TrainProgress", epochs: int) -> Sequence[TrainEpoch]:
        found = checkpoint_of(self._folder, progress.role, progress.state)
        if found is None:
            return []
        curve = list(zip(found.epoch_losses, found.looks, strict=True))
        new = [
            TrainEpoch(
                progress.role, progress.number, progress.count, epoch, epochs, loss, self._metric, seen_loss, value
            )
            for epoch, (loss, (_, seen_loss, value)) in enumerate(curve, start=1)
            if epoch > self._told
        ]
        self._told = len(curve)
        return new


def _space_of(study: Study) -> Space:
    """The space of a search, which must have a name to come back by."""
    name = str(study.settings["space"])
    try:
        return get_space(name)
    except UnknownNameError as error:
        raise StudyError(
            f"The search was of a space made in Python, {name!r}, which its folder can't bring back.",
            "Put what makes it into a function of a file, and search by that name: space='spaces.py:make'.",
        ) from error


def _task(study: Study, space: Space) -> TaskSpec:
    """What the networks of the search were built for."""
    shape, outputs = study.protocol.input_shape, int(study.settings["classes"])
    if len(shape) == 3:
        return TaskSpec.images(*shape, classes=outputs)
    return TaskSpec(tuple(dataclasses.replace(spec, shape=shape) for spec in space.task.inputs), outputs)


def _of_space(study: Study, space: Space, text: str, task: TaskSpec) -> "Candidate":
    from subshot.training.winner import Candidate

    name, variant = str(study.settings["space"]), str(study.settings["trained_variant"])
    built = {"space": name, "arch": text, "variant": variant}
    return Candidate(text, lambda: space.build(space.parse(text), task, variant=variant), built)


def _baseline(
    study: Study, space: Space, wanted: str, task: TaskSpec, seed: int, *, without: "Sequence[Candidate]"
) -> "Candidate | None":
    """The network to compare with; a space around a user's model has that model."""
    if wanted == _NONE:
        return None
    if wanted != _AUTO:
        return _named(wanted, task, seed)
    start: Any = getattr(space, "start", None)
    text = None if start is None else space.format(start)
    return None if text is None or text in [one.text for one in without] else _of_space(study, space, text, task)


def _named(target: str, task: TaskSpec, seed: int) -> "Candidate":
    """A network that a text names, as for ``subshot score``."""
    from subshot.studies.targets import _kind, _network
    from subshot.training.winner import Candidate

    kind, rest = _kind(target)
    if kind.partition("(")[0] in SPACES:
        space = get_space(kind)
        arch = space.parse(rest)
        built = {"space": kind, "arch": space.format(arch), "variant": space.variants[0]}
        return Candidate(target, lambda: space.build(arch, task), built)
    return Candidate(target, lambda: _network(kind, rest, task, seed))


def _data_of(study: Study) -> str:
    from subshot.data import DATASETS

    name = study.protocol.data
    if name not in DATASETS:
        raise DataError(
            f"The search looked at {name!r}, which is no registered data set.", "Say where the data is: --data PATH."
        )
    return name
