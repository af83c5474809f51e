"""A run's moving parts: weights, optimiser, average, what was seen; one step of it, and its checkpoints."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from subshot.errors import StudyError
from subshot.training._objective import Batch, judge, metric_of
from subshot.training._recipe import Recipe
from subshot.training._samples import Samples
from subshot.training._tensors import digest_tensors, read_tensors, write_tensors

_WEIGHTS, _OPTIMISER, _LOSSES, _LOOKS = "network.", "optimiser.", "losses", "looks"
_AVERAGE, _BEST = "average.", "best."


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass of a step.

    Attributes:
        forward: Inputs (S, ...) to outputs.
        macs: Multiply-accumulate operations of the forward pass for one sample.
    """

    forward: Callable[[Tensor], Tensor]
    macs: float


@dataclass(frozen=True)
class FitState:
    """How far a run is.

    Attributes:
        step: Steps done.
        steps: Steps wanted.
        samples: Samples drawn from the data.
        passes: Forward and backward passes over a batch.
        macs: Multiply-accumulate operations of all forward passes; backward passes take about twice as many more.
        seconds: Wall time, over all interruptions.
        loss: Of the last step, averaged over its passes; NaN before the first.
    """

    step: int = 0
    steps: int = 0
    samples: int = 0
    passes: int = 0
    macs: float = 0.0
    seconds: float = 0.0
    loss: float = float("nan")


@dataclass(frozen=True, eq=False)
class Watch:
    """Look at other samples on the way, and keep the weights that were best there.

    Attributes:
        samples: What to look at.
        every: Steps between two looks; there is one at the end too.
        patience: Looks in a row without a better one after which the run ends; ``None`` for all steps.
    """

    samples: Samples
    every: int
    patience: int | None = None


@dataclass(frozen=True)
class Look:
    """What a look has shown.

    Attributes:
        step: Steps done.
        loss: The task's loss, without what the recipe adds.
        value: The task's metric.
    """

    step: int
    loss: float
    value: float


class Run:
    """A run's moving parts, and how they are written and read."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        steps: int,
        seed: int,
        samples: Samples,
        settings: Mapping[str, Any],
        checkpoint: Path | None,
    ) -> None:
        self._network = network
        self._recipe = recipe
        self._parameters = list(network.parameters())
        self._optimiser = recipe.make_optimiser(self._parameters)
        self.losses: list[float] = []
        self.looks: list[Look] = []
        self.best: Look | None = None
        self.state = FitState(steps=steps)
        self._settings: dict[str, Any] = {}
        self._average = _copied(network) if recipe.ema else None
        self._best: dict[str, Tensor] | None = None
        if checkpoint is None:
            return
        self._settings = {
            **settings,
            "recipe": asdict(recipe),
            "steps": steps,
            "seed": seed,
            "data digest": samples.digest,
            "initial weights": digest_tensors(network.state_dict()),
        }
        if checkpoint.exists():
            self._load(checkpoint)

    def step(self, batch: Batch, passes: Sequence[Pass], lowered: Callable[[Tensor, Batch], Tensor]) -> None:
        """Sum the gradients of the passes and move the weights that got one."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._recipe.lr_at(self.state.step, self.state.steps)
        self._optimiser.zero_grad(set_to_none=True)
        total, macs = 0.0, 0.0
        mixed = self._recipe.precision == "mixed"
        for one in passes:
            with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=mixed):
                value = lowered(one.forward(batch.inputs), batch)
            value.backward()  # type: ignore[no-untyped-call]
            total += float(value.detach())
            macs += one.macs * len(batch.labels)
        if self._recipe.clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._recipe.clip)
        self._optimiser.step()
        if self._average is not None:
            self._move_average(self._average)
        self.losses.append(total / len(passes))
        self._passes, self._macs = len(passes), macs

    @torch.no_grad()
    def _move_average(self, average: dict[str, Tensor]) -> None:
        """Follow the weights, fast at first: a constant decay would keep the untrained ones for long."""
        step = self.state.step + 1
        decay = min(self._recipe.ema, (1 + step) / (10 + step))
        for name, value in self._network.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - decay)
            else:
                average[name].copy_(value)

    def look(self, watch: Watch, loss: str) -> None:
        """Judge the weights, or their average, and keep them if they are the best so far."""
        own = None
        if self._average is not None:
            own = _copied(self._network)
            self._network.load_state_dict(self._average)
        seen = Look(self.state.step + 1, *judge(self._network, watch.samples, loss=loss))
        self.looks.append(seen)
        if self.best is None or metric_of(loss).better(seen.value, self.best.value):
            self.best, self._best = seen, _copied(self._network)
        if own is not None:
            self._network.load_state_dict(own)

    def out_of_patience(self, watch: Watch | None) -> bool:
        """Whether nothing got better for as long as the watch allows."""
        if watch is None or watch.patience is None or self.best is None:
            return False
        return sum(one.step > self.best.step for one in self.looks) >= watch.patience

    def finish(self) -> None:
        """Give the network the weights that it ends with."""
        final = self._best if self._best is not None else self._average
        if final is not None:
            self._network.load_state_dict(final)

    def count(self, samples: int, seconds: float) -> None:
        """Add the step just done."""
        was = self.state
        self.state = FitState(
            step=was.step + 1,
            steps=was.steps,
            samples=was.samples + samples,
            passes=was.passes + self._passes,
            macs=was.macs + self._macs,
            seconds=was.seconds + seconds,
            loss=self.losses[-1],
        )

    def save(self, path: Path) -> None:
        """Write everything that the steps to come depend on."""
        tensors = {_WEIGHTS + name: tensor for name, tensor in self._network.state_dict().items()}
        kept: dict[int, dict[str, Any]] = self._optimiser.state_dict()["state"]
        for index, values in kept.items():
            tensors |= {f"{_OPTIMISER}{index}.{key}": value for key, value in values.items() if value is not None}
        for prefix, state_dict in ((_AVERAGE, self._average), (_BEST, self._best)):
            tensors |= {prefix + name: value for name, value in (state_dict or {}).items()}
        tensors[_LOSSES] = torch.tensor(self.losses, dtype=torch.float64)
        if self.looks:
            tensors[_LOOKS] = torch.tensor([[one.step, one.loss, one.value] for one in self.looks], dtype=torch.float64)
        state = {key: value for key, value in asdict(self.state).items() if key != "loss"}  # it may be no JSON number
        best = None if self.best is None else self.looks.index(self.best)
        header = {"kind": "checkpoint", "state": state, "settings": self._settings, "best": best}
        write_tensors(path, tensors, header)

    def _load(self, path: Path) -> None:
        tensors, header = read_tensors(path)
        theirs, ours = header.get("settings"), json.loads(json.dumps(self._settings))
        if header.get("kind") != "checkpoint" or theirs != ours:
            theirs = theirs or {}
            different = [key for key in ours if theirs.get(key) != ours[key]] or ["kind of file"]
            raise StudyError(
                f"{path} is the checkpoint of another run; they differ in {', '.join(different)}.",
                "Give another file, or delete this one to start anew.",
            )
        self.losses = tensors.pop(_LOSSES).tolist()
        self.state = FitState(**header["state"], loss=self.losses[-1])
        self.looks = [
            Look(int(step), loss, value) for step, loss, value in tensors.get(_LOOKS, torch.empty(0)).tolist()
        ]
        self._network.load_state_dict(_beginning_with(_WEIGHTS, tensors))
        if self._average is not None:
            self._average = self._placed(_beginning_with(_AVERAGE, tensors))
        if header["best"] is not None:
            self.best = self.looks[header["best"]]
            self._best = self._placed(_beginning_with(_BEST, tensors))
        kept: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith(_OPTIMISER):
                index, key = name.removeprefix(_OPTIMISER).split(".")
                kept.setdefault(int(index), {})[key] = value
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": kept, "param_groups": groups})

    def _placed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: state[name].to(value.device) for name, value in self._network.state_dict().items()}


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _beginning_with(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
