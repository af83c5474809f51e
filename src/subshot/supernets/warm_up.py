"""Warm-up: train a supernet for a little while, before its architectures are compared.

Between no training at all and one-shot search, which trains the supernet to the end: SiGeo (Zheng et al., KDD 2024,
arXiv 2311.13169) calls it sub-one-shot. Its recommenders are warmed up on 1 % of the data in one epoch, which is
``WarmUp(share=0.01, sampler="full_path_mix", recipe=Recipe(optimiser="adagrad", lr=0.12, batch_size=512, ramp=0.1,
weight_decay=0))``. Its vision results come without a supernet; see ``per_architecture``.
"""

import dataclasses
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from subshot._choice import Choice
from subshot._seeds import stable_rng
from subshot.data._take import DataLike
from subshot.errors import NetworkError, OptionError
from subshot.supernets._supernet import Supernet, describe
from subshot.supernets.samplers._sampler import SampledPath, make_sampler
from subshot.training._fit import FitState, Pass, fit
from subshot.training._recipe import Recipe
from subshot.training._samples import Order, samples_from
from subshot.training._tensors import digest_tensors

# More samples than this never pass, on whatever machine: who asks for them mistook the unit.
_MOST_SAMPLES = 10**12
_TOO_MANY = "At most 10^12 samples pass; a share of 1 is all of the data once."

# A loss is averaged over this share of the steps, the last, since a single one depends on its path.
_TAIL = 0.1


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """How a supernet is warmed up. Either ``share`` or ``samples`` is given.

    Attributes:
        share: Samples that pass, as a share of the data; above 1 they pass again, in another order.
        samples: Samples that pass, as a number. Only whole batches do.
        images: Draw this many samples first and use no others; all if not given.
        sampler: Which paths a step trains, for example ``strictly_fair``. A step with several paths runs all of them
            over its batch, which costs as many times more for the same number of samples.
        recipe: Optimiser and schedule, which is stretched over the steps. The default is DARTS' for the weights.
        seed: Seed of batches and paths.

    Raises:
        OptionError: Neither or both, not above 0, or more than 10^12 samples.
        UnknownNameError: There is no such sampler.
    """

    share: float | None = None
    samples: int | None = None
    images: int | None = None
    sampler: str = "uniform"
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.share is None) == (self.samples is None):
            raise OptionError(
                f"A warm-up was given share={self.share} and samples={self.samples}.", "Give one of the two."
            )
        for name in ("share", "samples"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise OptionError(f"{name} was given as {value!r}.", "It is a number above 0.")
        if self.samples is not None and self.samples > _MOST_SAMPLES:
            raise OptionError(f"samples was given as {str(self.samples)[:40]}.", _TOO_MANY)
        make_sampler(self.sampler)

    def steps(self, count: int) -> int:
        """Steps that the budget pays for, out of ``count`` samples of data.

        Raises:
            OptionError: It pays for less than one batch, or for more than 10^12 samples.
        """
        size = self.recipe.batch_size
        if self.share is not None and self.share > _MOST_SAMPLES / count:
            raise OptionError(f"A share of {self.share:g} was given, of {count:,} samples.", _TOO_MANY)
        budget = round(self.share * count) if self.share is not None else int(self.samples or 0)
        if budget < size:
            given = f"{budget:,} samples" if self.share is None else f"{self.share:g} of {count:,} samples, {budget:,},"
            raise OptionError(
                f"A warm-up of {given} is less than one batch of {size:,}.",
                f"Give at least {size:,} samples, a share of {_rounded_up(size / count)}, or smaller batches.",
            )
        return budget // size


@dataclass(frozen=True)
class WarmedUp:
    """A finished warm-up and what it cost.

    Attributes:
        steps: Steps of the optimiser.
        samples: Samples drawn from the data.
        passes: Forward and backward passes over a batch, one for each path.
        macs: Multiply-accumulate operations of the forward passes; backward passes take about twice as many more.
        seconds: Wall time.
        losses: Training loss of each step before it, averaged over its paths.
        digest: First 16 hex digits of the SHA-256 of the weights; ``warm:<digest>`` in protocols.
        settings: What decided the result, as JSON values.
    """

    steps: int
    samples: int
    passes: int
    macs: float
    seconds: float
    losses: tuple[float, ...]
    digest: str
    settings: dict[str, Any]

    @property
    def loss(self) -> float:
        """Mean training loss of the last tenth of the steps."""
        tail = self.losses[-max(1, round(_TAIL * len(self.losses))) :]
        return sum(tail) / len(tail)

    @property
    def weights(self) -> str:
        """What a protocol says of scores that are taken with these weights."""
        return f"warm:{self.digest}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "losses": list(self.losses), "loss": self.loss}


def warm_up(
    supernet: Supernet,
    data: DataLike,
    *,
    plan: WarmUp,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int = 50,
    on_step: Callable[[FitState], None] | None = None,
) -> WarmedUp:
    """Warm a supernet up, in place.

    Where a step trains several operations of one slot, their outputs are averaged.

    Args:
        supernet: The supernet.
        data: Name of a set or path, of which the training part is read; an ``ImageData``; or ``(inputs, labels)``.
        plan: How.
        checkpoint: File to write to. If it exists the run goes on from there and ends with the same bits as an unbroken
            one; the supernet given must be as it was at the start.
        every: Steps between two checkpoints.
        on_step: Called after each step, for example with a progress bar.

    Raises:
        OptionError: The budget is less than a batch.
        DataError: No labels, or data that can't be read or doesn't fit the task.
        StudyError: The checkpoint is of another run.
        NetworkError: The loss isn't finite any more.
    """
    samples = samples_from(data, supernet.task)
    steps = plan.steps(len(samples))
    order = Order(len(samples), batch_size=plan.recipe.batch_size, seed=plan.seed, images=plan.images)
    draw = make_sampler(plan.sampler)

    def passes(step: int) -> list[Pass]:
        paths = draw(supernet, step, stable_rng(plan.seed, "paths", step))
        return [Pass(_along(supernet, path), supernet.macs(path)) for path in paths]

    def watch(state: FitState) -> None:
        if state.step and not math.isfinite(state.loss):
            raise NetworkError(
                f"The loss of the warm-up was {state.loss} at step {state.step} of {state.steps}.",
                f"Lower the learning rate, {plan.recipe.lr:g}, or the norm that gradients are clipped to.",
            )
        if on_step is not None:
            on_step(state)

    settings = {
        **describe(supernet),
        "sampler": str(Choice.parse(plan.sampler)),
        "images": plan.images,
        "data": samples.name,
        "data digest": samples.digest,
        "data samples": len(samples),
    }
    fitted = fit(
        supernet.network,
        samples,
        recipe=plan.recipe,
        steps=steps,
        seed=plan.seed,
        loss=supernet.task.loss,
        order=order,
        passes=passes,
        settings=settings,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        every=every,
        on_step=watch,
    )
    done = fitted.state
    settings |= {"recipe": dataclasses.asdict(plan.recipe), "seed": plan.seed}
    digest = digest_tensors(supernet.network.state_dict())
    return WarmedUp(done.step, done.samples, done.passes, done.macs, done.seconds, fitted.losses, digest, settings)


def _along(supernet: Supernet, path: SampledPath) -> Callable[[Tensor], Tensor]:
    """A pass along a path; several operations of a slot are averaged."""
    several = {name: len(chosen) for name, chosen in path.items() if len(chosen) > 1}
    slots = supernet.network.slots

    def forward(inputs: Tensor) -> Tensor:
        gates = {
            name: torch.full((len(slots[name].names),), 1 / count, dtype=inputs.dtype, device=inputs.device)
            for name, count in several.items()
        }
        outputs: Tensor = supernet(inputs, path, gates or None)
        return outputs

    return forward


def _rounded_up(share: float) -> str:
    """A share in three digits that is not below it."""
    unit = 10.0 ** (math.floor(math.log10(share)) - 2)
    return f"{math.ceil(share / unit - 1e-9) * unit:.3g}"
