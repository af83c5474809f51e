"""The loop that changes weights. Interrupted anywhere and resumed, it ends with the same bits.

Everything random is a function of the seed and the number of the step: batches, augmentation, paths of a supernet, and
torch's own generator, which is set anew before each step. So a checkpoint is weights, the optimiser's tensors, what was
seen on the way and a number; no state of a generator or sampler is kept. (On a GPU the bits are as reproducible as its
kernels are.)
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from subshot._seeds import stable_rng, stable_seed
from subshot.errors import OptionError
from subshot.networks._macs import MacCounter
from subshot.training._augment import cutout, flip_crop, mixup
from subshot.training._objective import Batch, laid_out, objective
from subshot.training._objective import loss_named as loss_named
from subshot.training._recipe import Recipe
from subshot.training._run import FitState as FitState
from subshot.training._run import Look as Look
from subshot.training._run import Pass as Pass
from subshot.training._run import Run
from subshot.training._run import Watch as Watch
from subshot.training._samples import Order, Samples
from subshot.training._tensors import digest_tensors

# The passes of a step, over the same batch; their gradients are summed.
Passes = Callable[[int], Sequence[Pass]]


@dataclass(frozen=True)
class Fitted:
    """A finished run.

    Attributes:
        state: Its counts.
        losses: Training loss of each step, before it, averaged over the passes.
        resumed_at: The step a checkpoint let it begin with; 0 for an unbroken run.
        looks: What was seen on the way.
        best: The look whose weights the network has; ``None`` if there was none.
    """

    state: FitState
    losses: tuple[float, ...]
    resumed_at: int = 0
    looks: tuple[Look, ...] = ()
    best: Look | None = None


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
    watch: Watch | None = None,
    teacher: nn.Module | None = None,
    on_step: Callable[[FitState], None] | None = None,
) -> Fitted:
    """Train ``network`` in place, in training mode; the modes of its modules are put back.

    It ends with the weights that were best at a look, if there is a watch; else with the moving average, if the recipe
    has one; else with the last.

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
        watch: What to look at on the way, and when to end early.
        teacher: A network on the same device to learn from, if the recipe distils; run in evaluation mode.
        on_step: Called after each step, and once at the start.

    Raises:
        StudyError: The checkpoint is of another run.
        OptionError: There is no such loss, too few samples for a batch, or one of distillation and teacher alone.
        DataError: The checkpoint is damaged.
    """
    if (teacher is None) != (recipe.distillation == 0):
        given = "no teacher" if teacher is None else "a teacher"
        raise OptionError(f"{given} and distillation={recipe.distillation:g} were given.", "Give both or neither.")
    lowered = objective(loss, recipe)
    order = order or Order(len(samples), batch_size=recipe.batch_size, seed=seed)
    more = {} if watch is None else {"watch": [watch.samples.digest, watch.every, watch.patience]}
    if teacher is not None and checkpoint is not None:
        more["teacher"] = [digest_tensors(teacher.state_dict())]
    run = Run(network, recipe, steps, seed, samples, {**(settings or {}), **more}, checkpoint)
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
                if run.out_of_patience(watch):
                    break
                started = time.perf_counter()
                torch.manual_seed(stable_seed(seed, "step", step))
                batch = _batch(*samples.take(order.at(step)), recipe, seed=seed, step=step, device=device)
                run.step(_taught(batch, teacher), passes(step), lowered)
                if watch is not None and ((step + 1) % watch.every == 0 or step + 1 == steps):
                    run.look(watch, loss)
                run.count(len(batch.labels), time.perf_counter() - started)
                last = run.state.step == steps or run.out_of_patience(watch)
                if checkpoint is not None and (run.state.step % every == 0 or last):
                    run.save(checkpoint)
                if on_step is not None:
                    on_step(run.state)
        run.finish()
    finally:
        for module, training in modes:
            module.training = training
    return Fitted(run.state, tuple(run.losses), resumed_at, tuple(run.looks), run.best)


def _batch(inputs: Tensor, labels: Tensor, recipe: Recipe, *, seed: int, step: int, device: torch.device) -> Batch:
    """A batch as the recipe changes it; each change has a generator of its own."""
    partners, share = None, 1.0
    if recipe.augment != "none":
        inputs = flip_crop(inputs, stable_rng(seed, "augment", step), mirror=recipe.augment == "flip_crop")
    if recipe.cutout:
        inputs = cutout(inputs, stable_rng(seed, "cutout", step), share=recipe.cutout)
    if recipe.mixup:
        inputs, order, share = mixup(inputs, stable_rng(seed, "mixup", step), alpha=recipe.mixup)
        partners = labels[order].to(device)
    return Batch(laid_out(inputs.to(device)), labels.to(device), partners, share)


def _taught(batch: Batch, teacher: nn.Module | None) -> Batch:
    if teacher is None:
        return batch
    modes = [(module, module.training) for module in teacher.modules()]
    try:
        with torch.no_grad():
            return replace(batch, taught=teacher.eval()(batch.inputs))
    finally:
        for module, training in modes:
            module.training = training


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
