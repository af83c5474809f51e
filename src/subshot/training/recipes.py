"""Recipes that are sane where nobody has tuned: one for convolutional networks, one for the others.

``sgd``: as small image classifiers are commonly trained: Nesterov momentum, cosine, decay of matrices only, label
smoothing, shifts and mirroring, cutout of a quarter of the side. ``adamw``: as transformers and multilayer perceptrons
are: a slow start, a strong decay, mixup. Both keep a moving average of the weights.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

from subshot._choice import Choice, check_options, option_defaults
from subshot._types import TaskSpec
from subshot.errors import OptionError, UnknownNameError
from subshot.training._recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

RECIPES = {
    "sgd": Recipe(
        lr=0.1,
        nesterov=True,
        weight_decay=5e-4,
        decay_vectors=False,
        ramp=0.05,
        batch_size=128,
        augment="flip_crop",
        cutout=0.25,
        label_smoothing=0.1,
        ema=0.998,
    ),
    "adamw": Recipe(
        optimiser="adamw",
        lr=2e-3,
        weight_decay=0.05,
        decay_vectors=False,
        ramp=0.1,
        clip=1.0,
        batch_size=128,
        augment="flip_crop",
        mixup=0.2,
        label_smoothing=0.1,
        ema=0.998,
    ),
}

# Batches are made smaller rather than have fewer of them in an epoch, down to the smallest.
_STEPS_PER_EPOCH, _SMALLEST = 20, 8


def recipe_for(
    network: "nn.Module",
    task: TaskSpec,
    *,
    samples: int,
    grey: bool = False,
    dense: bool = False,
    device: str = "cpu",
    teacher: bool = False,
    wanted: str = "auto",
) -> Recipe:
    """The recipe for a network on some data.

    Batches shrink with small data, and the rate with them: linearly for SGD, by the square root for AdamW. Grey images
    aren't mirrored; tokens and labels of pixels aren't augmented; mixed precision is for GPUs that have bfloat16.

    Args:
        network: What is to be trained; batch norm decides for ``sgd``.
        task: What it was built for.
        samples: Size of the training part.
        grey: Whether the images are grey.
        dense: Whether there is a label for every pixel.
        device: Where it is trained.
        teacher: Whether there is one to learn from; half of the loss is then its own.
        wanted: ``auto``, ``sgd`` or ``adamw``, with settings where wanted, which win: ``sgd(lr=0.05,mixup=0.2)``.

    Raises:
        OptionError: A setting outside its range.
        UnknownNameError: No such recipe or setting.
    """
    choice = Choice.parse(wanted)
    if choice.name not in ("auto", *RECIPES):
        raise UnknownNameError.of("recipe", choice.name, ["auto", *RECIPES])
    name = choice.name if choice.name != "auto" else _suited(network)
    base = RECIPES[name]
    given = check_options(f"recipe {name}", choice.options, option_defaults(Recipe))
    size = max(_SMALLEST, min(base.batch_size, samples // _STEPS_PER_EPOCH))
    size = min(int(str(given.get("batch_size", size))), samples)
    less = size / base.batch_size
    fitted = dataclasses.replace(
        base,
        batch_size=size,
        lr=base.lr * (less if name == "sgd" else math.sqrt(less)),
        precision="mixed" if _has_bfloat16(device) else "full",
        distillation=0.5 if teacher else 0.0,
        label_smoothing=base.label_smoothing if task.loss == "cross_entropy" else 0.0,
    )
    if dense or len(task.inputs[0].shape) != 3:
        fitted = dataclasses.replace(fitted, augment="none", cutout=0.0)
    elif grey:
        fitted = dataclasses.replace(fitted, augment="crop")
    if dense or task.inputs[0].vocabulary is not None:
        fitted = dataclasses.replace(fitted, mixup=0.0)
    try:
        return dataclasses.replace(fitted, **{**given, "batch_size": size})  # type: ignore[arg-type]
    except TypeError as error:
        raise OptionError(f"The recipe {wanted} was given: {error}.", "See subshot.training.recipes.") from error


def _suited(network: "nn.Module") -> str:
    from torch.nn.modules.batchnorm import _BatchNorm

    return "sgd" if any(isinstance(module, _BatchNorm) for module in network.modules()) else "adamw"


def _has_bfloat16(device: str) -> bool:
    import torch

    return device.startswith("cuda") and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
