"""Finish the winner of a search: choose among the best by short trainings, train it, and a baseline beside it.

Everything is written into one folder: a checkpoint for each network, from which an interrupted training goes on with
the same bits; the weights of winner and baseline; and ``train.json``, which tells it all.
"""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from subshot._seeds import stable_seed
from subshot.errors import NetworkError, OptionError, StudyError
from subshot.networks.initialisation import Initialiser
from subshot.training._fit import FitState, Fitted, Watch, fit
from subshot.training._objective import judge, metric_of
from subshot.training._recipe import Recipe
from subshot.training._samples import Order
from subshot.training._tensors import digest_tensors
from subshot.training._training import Candidate as Candidate
from subshot.training._training import TrainedNetwork, strict
from subshot.training._training import Training as Training
from subshot.training._training import TrainingPlan as TrainingPlan
from subshot.training._training import TrainProgress as TrainProgress
from subshot.training.files import save_trained
from subshot.training.parts import Parts
from subshot.training.recipes import recipe_for

# Files of a run folder.
RESULT, WEIGHTS, BASELINE = "train.json", "weights.safetensors", "baseline.safetensors"
_CHECKPOINTS = "training"


def train_winner(
    candidates: Sequence[Candidate],
    parts: Parts,
    *,
    plan: TrainingPlan,
    folder: Path,
    baseline: Candidate | None = None,
    teacher: nn.Module | None = None,
    settings: Mapping[str, Any] | None = None,
    on_progress: Callable[[TrainProgress], None] | None = None,
) -> Training:
    """Train the best of some candidates, and a baseline by the same recipe, data, seed and epochs.

    Weights are drawn anew by the seed for all of them, those of a user's own network too, so that the comparison is of
    architectures. Several candidates are first trained for a while each; the best on the validation part wins, and is
    trained from the start.

    Args:
        candidates: Networks, best first.
        parts: The data, and what the networks are built for.
        plan: How.
        folder: The run folder.
        baseline: A network to compare with.
        teacher: A network to learn from, as it is.
        settings: What else to state in the result, JSON values.
        on_progress: Called after each step.

    Raises:
        OptionError: No candidate, or a recipe that can't be used.
        NetworkError: The winner's loss isn't finite, or no candidate could be trained.
        StudyError: The result can't be written.
    """
    if not candidates:
        raise OptionError("There is no candidate to train.", "The search found no architecture with a score.")
    count = (len(candidates) if len(candidates) > 1 else 0) + 1 + (baseline is not None)
    task = parts.task
    run = _Trainer(parts, plan, folder, teacher, count, on_progress)
    done: list[TrainedNetwork] = []
    chosen = candidates[0]
    metric = metric_of(task.loss)
    if len(candidates) > 1:
        for one in candidates:
            done.append(run.train(one, "trial", plan.trial)[0])
        best = done[0]
        for other in done[1:]:
            if metric.better(other.value, best.value):
                best = other
        if best.failed:
            raise NetworkError(f"No candidate could be trained: {best.failed}", "Lower the learning rate.")
        chosen = candidates[done.index(best)]
    trained, network = run.train(chosen, "winner", plan.epochs)
    if network is None:
        raise NetworkError(trained.failed, "Lower the learning rate: --recipe 'sgd(lr=0.01)'.")
    done.append(trained)
    split = "validation" if trained.test is None else "test"
    value = trained.value if trained.test is None else trained.test
    told = {"metric": metric.name, "value": value, "split": split, "epochs": trained.epochs, **(parts.facts or {})}
    save_trained(network, folder / WEIGHTS, task=task, built=chosen.built, told=strict(told))
    if baseline is not None:
        other, network = run.train(baseline, "baseline", plan.epochs)
        done.append(other)
        if network is not None:
            save_trained(
                network, folder / BASELINE, task=task, built=baseline.built, told=strict(dict(parts.facts or {}))
            )
    result = Training(
        weights=folder / WEIGHTS,
        metric=metric.name,
        minimise=metric.minimise,
        value=value,
        split=split,
        epochs=trained.epochs,
        seconds=sum(one.seconds for one in done),
        networks=tuple(done),
        settings={
            **(settings or {}),
            **dataclasses.asdict(plan),
            "samples": {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test or ())},
            "data": parts.train.name,
            "data_digest": parts.train.digest,
        },
    )
    _write(folder / RESULT, result.to_dict())
    return result


class _Trainer:
    """Trains one network after another under the same conditions."""

    def __init__(
        self,
        parts: Parts,
        plan: TrainingPlan,
        folder: Path,
        teacher: nn.Module | None,
        count: int,
        on_progress: Callable[[TrainProgress], None] | None,
    ) -> None:
        self._parts, self._task, self._plan, self._folder = parts, parts.task, plan, folder
        self._teacher = None if teacher is None else teacher.to(plan.device)
        self._count, self._number = count, 0
        self._on_progress = on_progress
        self._started = time.perf_counter()

    def train(self, candidate: Candidate, role: str, epochs: int) -> tuple[TrainedNetwork, nn.Module | None]:
        """One training; ``None`` in place of the network where its loss went astray."""
        self._number += 1
        plan, parts = self._plan, self._parts
        network = candidate.make()
        Initialiser(network, "default").draw(stable_seed(plan.seed, "train", candidate.text))
        network.to(plan.device)
        recipe = recipe_for(
            network,
            self._task,
            samples=len(parts.train),
            grey=parts.grey,
            dense=parts.dense,
            device=plan.device,
            teacher=self._teacher is not None,
            wanted=plan.recipe,
        )
        params = sum(one.numel() for one in network.parameters() if one.requires_grad)
        order = Order(len(parts.train), batch_size=recipe.batch_size, seed=plan.seed)
        watch = Watch(parts.validation, order.steps_per_epoch, plan.patience)
        try:
            fitted = fit(
                network,
                parts.train,
                recipe=recipe,
                steps=epochs * order.steps_per_epoch,
                seed=plan.seed,
                loss=self._task.loss,
                order=order,
                checkpoint=self._checkpoint(network, recipe, epochs, role),
                every=order.steps_per_epoch,
                watch=watch,
                teacher=self._teacher,
                on_step=lambda state: self._tell(role, state),
            )
        except NetworkError as error:
            failed = TrainedNetwork(role, candidate.text, params=params, failed=error.message)
            return failed, None
        test = None
        if parts.test is not None and role != "trial":
            test = judge(network, parts.test, loss=self._task.loss)[1]
        return _told(candidate, role, recipe, fitted, order.steps_per_epoch, params, test), network

    def _checkpoint(self, network: nn.Module, recipe: Recipe, epochs: int, role: str) -> Path:
        """A file for each training, so that other settings begin another and the same ones go on."""
        plan = self._plan
        parts = (self._parts.train.digest, self._parts.validation.digest, digest_tensors(network.state_dict()))
        taught = "" if self._teacher is None else digest_tensors(self._teacher.state_dict())
        settled = (dataclasses.asdict(recipe), epochs, plan.patience, plan.seed, parts, taught)
        name = hashlib.sha256(json.dumps(settled).encode()).hexdigest()[:12]
        return self._folder / _CHECKPOINTS / f"{role}_{name}.safetensors"

    def _tell(self, role: str, state: FitState) -> None:
        if state.step and not math.isfinite(state.loss):
            raise NetworkError(f"The loss was {state.loss} at step {state.step} of {state.steps}.")
        if self._on_progress is not None:
            seconds = time.perf_counter() - self._started
            self._on_progress(TrainProgress(role, self._number, self._count, state, seconds))


def _told(
    candidate: Candidate, role: str, recipe: Recipe, fitted: Fitted, per_epoch: int, params: int, test: float | None
) -> TrainedNetwork:
    state = fitted.state
    epochs = [fitted.losses[first : first + per_epoch] for first in range(0, len(fitted.losses), per_epoch)]
    assert fitted.best is not None
    return TrainedNetwork(
        role=role,
        text=candidate.text,
        epochs=len(epochs),
        steps=state.step,
        seconds=state.seconds,
        macs=state.macs,
        params=params,
        losses=tuple(sum(one) / len(one) for one in epochs),
        validation=tuple(look.value for look in fitted.looks),
        validation_losses=tuple(look.loss for look in fitted.looks),
        best_epoch=math.ceil(fitted.best.step / per_epoch),
        value=fitted.best.value,
        test=test,
        stopped=state.step < state.steps,
        recipe=dataclasses.asdict(recipe),
    )


def _write(path: Path, values: Mapping[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.new")
    try:
        temporary.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StudyError(f"{path} can't be written: {error}.", "Check the folder.") from error
