"""How weights are changed: optimiser, learning rate over the steps, clipping, augmentation, further objectives."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from subshot.errors import OptionError

if TYPE_CHECKING:
    import torch

OPTIMISERS = ("sgd", "adam", "adamw", "adagrad")
SCHEDULES = ("cosine", "constant")
AUGMENTATIONS = ("none", "crop", "flip_crop")
PRECISIONS = ("full", "mixed")

# Adagrad's own 1e-10 makes the first steps huge where gradients are small; NASRec's value.
_ADAGRAD_EPS = 1e-2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides how a network is trained, but for data, seed, length and teacher.

    Attributes:
        optimiser: ``sgd``, ``adam``, ``adamw`` or ``adagrad`` (eps 1e-2).
        lr: Highest learning rate.
        momentum: Of SGD.
        nesterov: Whether SGD looks ahead.
        weight_decay: L2 penalty; with ``adamw`` a decay that is no part of the gradient.
        decay_vectors: Whether biases and the vectors of norms are decayed too.
        schedule: ``cosine`` to zero over the steps, or ``constant``.
        ramp: Share of the steps, at the start, over which the rate rises linearly.
        clip: Largest norm of all gradients together; ``None`` for no limit.
        batch_size: Samples of a batch.
        augment: ``none``; ``crop``: shifted by up to an eighth of the side; ``flip_crop``: mirrored by chance, too.
        cutout: Side of a square that is blanked in each image, as a share of the image's; 0 for none.
        mixup: Alpha of mixup: batches are mixed with themselves by shares from Beta(alpha, alpha); 0 for never.
        label_smoothing: Share of the cross-entropy that is spread over all classes.
        ema: Decay of a moving average of the weights, which is what is judged and kept; 0 for none.
        distillation: Share of the loss that is agreement with a teacher; needs one above 0.
        temperature: What outputs are divided by for that.
        precision: ``full``, or ``mixed``: bfloat16 where torch's autocast uses it.

    Raises:
        OptionError: A value outside its range.
    """

    optimiser: str = "sgd"
    lr: float = 0.025
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    decay_vectors: bool = True
    schedule: str = "cosine"
    ramp: float = 0.0
    clip: float | None = 5.0
    batch_size: int = 64
    augment: str = "none"
    cutout: float = 0.0
    mixup: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    distillation: float = 0.0
    temperature: float = 4.0
    precision: str = "full"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("optimiser", OPTIMISERS),
            ("schedule", SCHEDULES),
            ("augment", AUGMENTATIONS),
            ("precision", PRECISIONS),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise OptionError(f"{name} was given as {value!r}.", f"Use one of {', '.join(allowed)}.")
        for name, fits, rule in (
            ("lr", self.lr > 0 and math.isfinite(self.lr), "a number above 0"),
            ("momentum", 0 <= self.momentum < 1, "a number from 0 to below 1"),
            ("weight_decay", self.weight_decay >= 0 and math.isfinite(self.weight_decay), "a number from 0 on"),
            ("ramp", 0 <= self.ramp < 1, "a share from 0 to below 1"),
            ("clip", self.clip is None or self.clip > 0, "a number above 0, or None"),
            ("batch_size", isinstance(self.batch_size, int) and self.batch_size >= 1, "a whole number from 1 on"),
            ("nesterov", not self.nesterov or self.momentum > 0, "true only with a momentum"),
            ("cutout", 0 <= self.cutout <= 1, "a share from 0 to 1"),
            ("mixup", self.mixup >= 0 and math.isfinite(self.mixup), "a number from 0 on"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "a share from 0 to below 1"),
            ("ema", 0 <= self.ema < 1, "a number from 0 to below 1"),
            ("distillation", 0 <= self.distillation <= 1, "a share from 0 to 1"),
            ("temperature", self.temperature > 0 and math.isfinite(self.temperature), "a number above 0"),
        ):
            if not fits:
                raise OptionError(f"{name} was given as {getattr(self, name)!r}.", f"It is {rule}.")

    def lr_at(self, step: int, steps: int) -> float:
        """The learning rate of one step out of ``steps``, a function of nothing else."""
        rising = round(self.ramp * steps)
        if step < rising:
            return self.lr * (step + 1) / rising
        if self.schedule == "constant":
            return self.lr
        return self.lr * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2

    def make_optimiser(self, parameters: "Iterable[torch.nn.Parameter]") -> "torch.optim.Optimizer":
        """The optimiser, at the highest rate. A parameter without gradient isn't touched, nor are its moments."""
        import torch

        common: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        groups: list[Any] = list(parameters)
        if not self.decay_vectors:
            vectors = [one for one in groups if one.dim() < 2]
            matrices = [one for one in groups if one.dim() >= 2]
            groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        if self.optimiser == "adam":
            return torch.optim.Adam(groups, **common)
        if self.optimiser == "adamw":
            return torch.optim.AdamW(groups, **common)
        if self.optimiser == "adagrad":
            return torch.optim.Adagrad(groups, eps=_ADAGRAD_EPS, **common)
        return torch.optim.SGD(groups, momentum=self.momentum, nesterov=self.nesterov, **common)
