"""What the checkpoints of a training tell besides weights, read without torch: how far it is, and its curves."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from subshot.training._header import read_header

# Where a run folder keeps them, a file for each network; its name begins with the network's role.
FOLDER = "training"


@dataclass(frozen=True)
class TrainEpoch:
    """One pass over the training part, and what was seen after it.

    Attributes:
        role: ``trial``, ``winner`` or ``baseline``.
        number: Which of the trainings, from 1.
        count: How many trainings there are.
        epoch: Which of the epochs, from 1.
        epochs: How many are wanted.
        loss: Mean training loss.
        metric: What networks are judged by, for example ``accuracy``.
        validation_loss: Loss on the validation part.
        validation: Metric on the validation part.
    """

    role: str
    number: int
    count: int
    epoch: int
    epochs: int
    loss: float
    metric: str
    validation_loss: float
    validation: float


@dataclass(frozen=True)
class Checkpoint:
    """A training's checkpoint without its weights.

    Attributes:
        path: The file.
        state: Counts by name: ``step``, ``steps``, ``samples``, ``passes``, ``macs``, ``seconds``.
        per_epoch: Steps between two looks at the validation part; 0 if there are none.
        losses: Training loss of each step.
        looks: Step, validation loss and metric of each look.
    """

    path: Path
    state: Mapping[str, Any]
    per_epoch: int
    losses: tuple[float, ...]
    looks: tuple[tuple[int, float, float], ...]

    @property
    def role(self) -> str:
        """Of the network."""
        return self.path.name.partition("_")[0]

    @property
    def epoch_losses(self) -> tuple[float, ...]:
        """Mean training loss of each epoch that was begun."""
        size = self.per_epoch or max(1, len(self.losses))
        epochs = [self.losses[first : first + size] for first in range(0, len(self.losses), size)]
        return tuple(sum(one) / len(one) for one in epochs)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """A checkpoint's counts and curves; ``None`` of any other file, or one that is gone."""
    header = read_header(path, "checkpoint")
    if header is None:
        return None
    try:
        with safe_open(path, framework="np") as file:
            names = set(file.keys())
            losses = file.get_tensor("losses").tolist() if "losses" in names else []
            looks = file.get_tensor("looks").tolist() if "looks" in names else []
    except (SafetensorError, OSError):
        return None
    watch = header["settings"].get("watch") or (None, 0)
    told = tuple((int(step), loss, value) for step, loss, value in looks)
    return Checkpoint(path, header["state"], int(watch[1]), tuple(losses), told)


def checkpoint_of(folder: Path, role: str, state: Any) -> Checkpoint | None:
    """The checkpoint in a folder that was written at ``state``, a record of the same counts, or ``None``.

    Networks of one role differ in the seconds they took, to the last digit, so that these find theirs.
    """
    known = {field.name: getattr(state, field.name) for field in fields(state) if field.name != "loss"}
    for path in sorted(folder.glob(f"{role}_*.safetensors")):
        header = read_header(path, "checkpoint")
        if header is not None and header["state"] == known:
            return read_checkpoint(path)
    return None
