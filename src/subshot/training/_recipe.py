"""How weights are changed: optimiser, learning rate over the steps, clipping, augmentation."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from subshot.errors import OptionError

if TYPE_CHECKING:
    import torch

OPTIMISERS = ("sgd", "adam", "adagrad")
SCHEDULES = ("cosine", "constant")
AUGMENTATIONS = ("none", "flip_crop")

# Adagrad's own 1e-10 makes the first steps huge where gradients are small; NASRec's value.
_ADAGRAD_EPS = 1e-2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides how a network is trained, but for data, seed and length.

    Attributes:
        optimiser: ``sgd``, ``adam`` or ``adagrad`` (eps 1e-2).
        lr: Highest learning rate.
        momentum: Of SGD.
        nesterov: Whether SGD looks ahead.
        weight_decay: L2 penalty on every parameter.
        schedule: ``cosine`` to zero over the steps, or ``constant``.
        ramp: Share of the steps, at the start, over which the rate rises linearly.
        clip: Largest norm of all gradients together; ``None`` for no limit.
        batch_size: Samples of a batch.
        augment: ``none``, or ``flip_crop``: mirrored by chance, shifted by up to an eighth of the side.

    Raises:
        OptionError: A value outside its range.
    """

    optimiser: str = "sgd"
    lr: float = 0.025
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    schedule: str = "cosine"
    ramp: float = 0.0
    clip: float | None = 5.0
    batch_size: int = 64
    augment: str = "none"

    def __post_init__(self) -> None:
        for name, allowed in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("augment", AUGMENTATIONS)):
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
        if self.optimiser == "adam":
            return torch.optim.Adam(parameters, **common)
        if self.optimiser == "adagrad":
            return torch.optim.Adagrad(parameters, eps=_ADAGRAD_EPS, **common)
        return torch.optim.SGD(parameters, momentum=self.momentum, nesterov=self.nesterov, **common)
