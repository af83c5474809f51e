"""Warm-up of single networks, as SiGeo's results on vision benchmarks were made: no supernet takes part.

Zheng et al., KDD 2024, arXiv 2311.13169; the numbers are of the authors' released configurations. Each network is
trained by itself for 10 epochs over N training images in batches of 128, by plain SGD with learning rate 1, without
momentum, weight decay or clipping; N is 6,000, 12,000 and 24,000 for what is called 10, 20 and 40 %. That is a short
training, so compare a score taken afterwards with the training loss after the same steps. The images of a batch come
in another order here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from subshot._types import TaskSpec
from subshot.data._take import DataLike
from subshot.errors import OptionError
from subshot.training._fit import FitState, fit
from subshot.training._recipe import Recipe
from subshot.training._samples import Order, Samples, samples_from

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Moment:
    """A moment of a warm-up at which the network is looked at.

    Attributes:
        share: Share of the steps that are done.
        step: Steps done.
        samples: Samples that have passed.
        macs: Multiply-accumulate operations of the forward passes so far.
        losses: Training loss of each step so far, before it.
        images: Positions of the images that are used, in no order.
    """

    share: float
    step: int
    samples: int
    macs: float
    losses: tuple[float, ...]
    images: NDArray[np.int64]


def per_architecture_warm_up(
    network: nn.Module,
    data: DataLike | Samples,
    *,
    task: TaskSpec,
    look: Callable[[Moment], T],
    images: int,
    shares: Sequence[float] = (1.0,),
    epochs: int = 10,
    lr: float = 1.0,
    batch_size: int = 128,
    seed: int = 0,
) -> list[T]:
    """Train one network in place and look at it on the way.

    One run serves several shares: what is seen at a share is a part of the whole run, not a run over fewer images. For
    the published levels, which are, call it once for each N. A loss that isn't finite stays in the list.

    Args:
        network: The network.
        data: Where the images are from; samples that were prepared once for many networks are taken as they are.
        task: What the network was built for.
        look: Called when a share of the steps is done, with the network in the state it then has; what it returns is
            collected. It must leave the network as it was, as :func:`subshot.score` does.
        images: Number N of images, drawn by the seed.
        shares: Ascending shares of the steps, from 0 (untouched) to 1; training ends with the last.
        epochs: Passes over the images.
        lr: Learning rate, the same throughout.
        batch_size: Images of a batch; what is left at the end of an epoch makes a smaller one.
        seed: Seed of the images and their order.

    Returns:
        What ``look`` returned, for each of the shares.

    Raises:
        OptionError: Shares that don't ascend from 0 to 1, or fewer images than a batch.
        DataError: No labels, or data that can't be read or doesn't fit the task.
    """
    if not shares or list(shares) != sorted(set(shares)) or not 0 <= shares[0] <= shares[-1] <= 1:
        raise OptionError(f"The shares were given as {tuple(shares)}.", "Give ascending numbers from 0 to 1.")
    if epochs < 1:
        raise OptionError(f"epochs was given as {epochs}.", "It is a whole number from 1 on.")
    samples = samples_from(data, task)
    order = Order(len(samples), batch_size=batch_size, seed=seed, images=images, keep_last=True)
    steps = epochs * order.steps_per_epoch
    waiting = [(share, round(share * steps)) for share in shares]
    # The rate is constant, so nothing before depends on the steps after the last look.
    last = waiting[-1][1]
    losses: list[float] = []
    seen: list[T] = []

    def on_step(state: FitState) -> None:
        if state.step:
            losses.append(state.loss)
        while waiting and waiting[0][1] == state.step:
            share, _ = waiting.pop(0)
            seen.append(look(Moment(share, state.step, state.samples, state.macs, tuple(losses), order.chosen)))

    recipe = Recipe(lr=lr, momentum=0.0, weight_decay=0.0, schedule="constant", clip=None, batch_size=batch_size)
    fit(network, samples, recipe=recipe, steps=last, seed=seed, loss=task.loss, order=order, on_step=on_step)
    return seen
