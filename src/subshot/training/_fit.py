"""The loop that changes weights. Interrupted anywhere and resumed, it ends with the same bits.

Everything random is a function of the seed and the number of the step: batches, augmentation, paths of a supernet, and
torch's own generator, which is set anew before each step. So a checkpoint is weights, the optimiser's tensors and a
number; no state of a generator or sampler is kept.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot._seeds import stable_rng, stable_seed
from subshot.errors import OptionError, StudyError
from subshot.networks._macs import MacCounter
from subshot.training._recipe import Recipe
from subshot.training._samples import Order, Samples, flip_crop
from subshot.training._tensors import digest_tensors, read_tensors, write_tensors

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: Mapping[str, Loss] = {"cross_entropy": F.cross_entropy}

_WEIGHTS, _OPTIMISER, _LOSSES = "network.", "optimiser.", "losses"


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass of a step.

    Attributes:
        forward: Inputs (S, ...) to outputs.
        macs: Multiply-accumulate operations of the forward pass for one sample.
    """

    forward: Callable[[Tensor], Tensor]
    macs: float


# The passes of a step, over the same batch; their gradients are summed.
Passes = Callable[[int], Sequence[Pass]]


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


@dataclass(frozen=True)
class Fitted:
    """A finished run.

    Attributes:
        state: Its counts.
        losses: Training loss of each step, before it, averaged over the passes.
        resumed_at: The step a checkpoint let it begin with; 0 for an unbroken run.
    """

    state: FitState
    losses: tuple[float, ...]
    resumed_at: int = 0


def loss_named(name: str) -> Loss:
    """The loss of a task.

    Raises:
        OptionError: There is none of that name.
    """
    if name not in LOSSES:
        raise OptionError(f"The task's loss is {name!r}.", f"Weights can be trained for {', '.join(LOSSES)}.")
    return LOSSES[name]


def fit(
    network: nn.Module,
    samples: Samples,
    *,
    recipe: Recipe,
    steps: int,
    seed: int,
    loss: str = "cross_entropy",
    order: Order | None = None,
    passes: Passes | None = None,
    settings: Mapping[str, Any] | None = None,
    checkpoint: Path | None = None,
    every: int = 50,
    on_step: Callable[[FitState], None] | None = None,
) -> Fitted:
    """Train ``network`` in place, in training mode; the modes of its modules are put back.

    Args:
        network: What to train.
        samples: What to train on.
        recipe: How.
        steps: Steps of the optimiser, which is also what the schedule is stretched over.
        seed: Seed of everything random, but for the initial weights.
        loss: Name of the loss.
        order: Which samples make which batch; by recipe and seed if not given.
        passes: The passes of each step, a function of its number; one pass through ``network`` if not given.
        settings: What else decides the result, as JSON values; a checkpoint with others is refused.
        checkpoint: File to resume from if it exists, and to write to.
        every: Steps between two checkpoints; one is written at the end too.
        on_step: Called after each step, and once at the start.

    Raises:
        StudyError: The checkpoint is of another run.
        OptionError: There is no such loss, or too few samples for a batch.
        DataError: The checkpoint is damaged.
    """
    objective = loss_named(loss)
    order = order or Order(len(samples), batch_size=recipe.batch_size, seed=seed)
    run = _Run(network, recipe, steps, seed, samples, settings or {}, checkpoint)
    device = next(network.parameters()).device
    if passes is None:
        once = (Pass(network, sample_macs(network, samples.take(order.at(0)[:1])[0].to(device))),)
        passes = lambda step: once  # noqa: E731
    resumed_at = run.state.step
    modes = [(module, module.training) for module in network.modules()]
    network.train()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            if on_step is not None:
                on_step(run.state)
            for step in range(resumed_at, steps):
                started = time.perf_counter()
                torch.manual_seed(stable_seed(seed, "step", step))
                inputs, labels = samples.take(order.at(step))
                if recipe.augment == "flip_crop":
                    inputs = flip_crop(inputs, stable_rng(seed, "augment", step))
                run.step(_laid_out(inputs.to(device)), labels.to(device), passes(step), objective)
                run.count(len(labels), time.perf_counter() - started)
                if checkpoint is not None and (run.state.step % every == 0 or run.state.step == steps):
                    run.save(checkpoint)
                if on_step is not None:
                    on_step(run.state)
    finally:
        for module, training in modes:
            module.training = training
    return Fitted(run.state, tuple(run.losses), resumed_at)


def _laid_out(inputs: Tensor) -> Tensor:
    """Images in channels-last memory, which halves the time of convolutions on one CPU thread."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs


class _Run:
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
        self.state = FitState(steps=steps)
        self._settings: dict[str, Any] = {}
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

    def step(self, inputs: Tensor, labels: Tensor, passes: Sequence[Pass], objective: Loss) -> None:
        """Sum the gradients of the passes and move the weights that got one."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._recipe.lr_at(self.state.step, self.state.steps)
        self._optimiser.zero_grad(set_to_none=True)
        total, macs = 0.0, 0.0
        for one in passes:
            value = objective(one.forward(inputs), labels)
            value.backward()  # type: ignore[no-untyped-call]
            total += float(value.detach())
            macs += one.macs * len(labels)
        if self._recipe.clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._recipe.clip)
        self._optimiser.step()
        self.losses.append(total / len(passes))
        self._passes, self._macs = len(passes), macs

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
        tensors[_LOSSES] = torch.tensor(self.losses, dtype=torch.float64)
        state = {key: value for key, value in asdict(self.state).items() if key != "loss"}  # it may be no JSON number
        write_tensors(path, tensors, {"kind": "checkpoint", "state": state, "settings": self._settings})

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
        self._network.load_state_dict(
            {name.removeprefix(_WEIGHTS): value for name, value in tensors.items() if name.startswith(_WEIGHTS)}
        )
        kept: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith(_OPTIMISER):
                index, key = name.removeprefix(_OPTIMISER).split(".")
                kept.setdefault(int(index), {})[key] = value
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": kept, "param_groups": groups})


def sample_macs(network: nn.Module, inputs: Tensor) -> float:
    """Multiply-accumulate operations of a forward pass over ``inputs``, in evaluation mode; modes are put back."""
    modes = [(module, module.training) for module in network.modules()]
    counter = MacCounter()
    try:
        network.eval()
        with torch.no_grad(), counter:
            network(inputs)
    finally:
        for module, training in modes:
            module.training = training
    return counter.macs
