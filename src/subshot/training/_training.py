"""What the training of a winner is asked for and what it gives: plain records."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from subshot.errors import OptionError
from subshot.training._run import FitState

# Share of the epochs that a candidate is tried for, if not told otherwise.
_TRIAL = 0.1


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network that may be trained.

    Attributes:
        text: What it is called: its architecture, or what names it.
        make: Builds it.
        built: ``space``, ``arch`` and ``variant`` as texts, by which it can be built again; empty if it can't.
    """

    text: str
    make: Callable[[], nn.Module]
    built: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How networks are trained; all of them alike.

    Attributes:
        epochs: Passes over the training part.
        trial_epochs: For each candidate, where there are several; a tenth of the epochs if not given.
        patience: Epochs without a better validation after which a training ends; ``None`` for all epochs.
        recipe: See :func:`subshot.training.recipes.recipe_for`.
        seed: Seed of weights, batches and augmentation.
        device: Where.

    Raises:
        OptionError: A number below 1.
    """

    epochs: int = 30
    trial_epochs: int | None = None
    patience: int | None = None
    recipe: str = "auto"
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("epochs", "trial_epochs", "patience"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise OptionError(f"{name} was given as {value!r}.", "It is a whole number from 1 on.")

    @property
    def trial(self) -> int:
        """Epochs of a trial."""
        return self.trial_epochs or max(1, round(_TRIAL * self.epochs))


@dataclass(frozen=True)
class TrainedNetwork:
    """One training and what came of it.

    Attributes:
        role: ``trial``, ``winner`` or ``baseline``.
        text: What the network is called.
        epochs: Epochs that were begun.
        steps: Steps of the optimiser.
        seconds: Wall time.
        macs: Multiply-accumulate operations of all forward passes.
        params: Trainable numbers.
        losses: Mean training loss of each epoch.
        validation: Metric after each epoch.
        validation_losses: Loss after each epoch.
        best_epoch: The epoch whose weights were kept.
        value: Metric with these on the validation part.
        test: Likewise on the test part, if it was judged there.
        stopped: Whether patience ended it.
        failed: Why there is no result; empty if there is one.
        recipe: How it was trained.
    """

    role: str
    text: str
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    macs: float = 0.0
    params: int = 0
    losses: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    validation_losses: tuple[float, ...] = ()
    best_epoch: int = 0
    value: float = math.nan
    test: float | None = None
    stopped: bool = False
    failed: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        weights: File of the winner's weights.
        metric: What is judged.
        minimise: Whether low is good.
        value: Of the winner, on ``split``.
        split: ``test``, or ``validation`` where the data has no test part.
        epochs: Epochs of the winner.
        seconds: Wall time of all networks.
        networks: Trials, winner and baseline.
        settings: What else the result depends on.
    """

    weights: Path
    metric: str
    minimise: bool
    value: float
    split: str
    epochs: int
    seconds: float
    networks: tuple[TrainedNetwork, ...]
    settings: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values: a number that isn't finite is ``None``."""
        values: dict[str, Any] = strict({**dataclasses.asdict(self), "weights": str(self.weights)})
        return values


@dataclass(frozen=True)
class TrainProgress:
    """How far a training is.

    Attributes:
        role: ``trial``, ``winner`` or ``baseline``.
        number: Which of the trainings, from 1.
        count: How many trainings there are.
        state: Steps done and wanted, and the last loss.
        seconds: Since the start.
    """

    role: str
    number: int
    count: int
    state: FitState
    seconds: float


def strict(value: Any) -> Any:
    """Strict JSON values."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: strict(one) for key, one in value.items()}
    return [strict(one) for one in value] if isinstance(value, (list, tuple)) else value
