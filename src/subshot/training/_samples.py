"""Labelled samples to train on, and the order in which they come: functions of a seed and of nothing else."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from subshot._seeds import stable_rng
from subshot._types import TaskSpec
from subshot.data._batches import batch_from
from subshot.data._geometry import fit
from subshot.data._images import ImageData, digest, prepare
from subshot.data._load import is_image_folder, load_images
from subshot.data._take import DataLike
from subshot.errors import DataError, OptionError


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled samples of which any can be had by number.

    Attributes:
        name: What the data is called.
        digest: First 16 hex digits of the SHA-256 of inputs and labels.
        labels: (N,) int64.
        inputs_of: Positions (S,) to inputs (S, ...) as the network takes them.
    """

    name: str
    digest: str
    labels: NDArray[np.int64]
    inputs_of: Callable[[NDArray[np.int64]], NDArray[Any]]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Inputs (S, ...) and labels (S,) at ``indices``."""
        return torch.from_numpy(self.inputs_of(indices)), torch.from_numpy(self.labels[indices])


def samples_from(data: DataLike, task: TaskSpec, *, limit: int | None = None) -> Samples:
    """Samples for a network that was built for ``task``.

    Args:
        data: Name of a set or path, of which the training part is read; an ``ImageData``; or ``(inputs, labels)`` as
            arrays or tensors; or samples, which are returned as they are.
        task: Images are brought to its size and channels; tensors must have its shape.
        limit: Read at most this many, the first.

    Raises:
        DataError: No labels, labels beyond the task's outputs, another shape, or data that can't be read.
        OptionError: Of a path or name: see :func:`subshot.data.load_images`.
    """
    if isinstance(data, Samples):
        return data
    if isinstance(data, (str, Path)):
        # Photographs of no common size are shrunk while they are read.
        size = task.image_shape[1:] if is_image_folder(Path(data)) else None
        data = load_images(data, split="train", limit=limit, image_size=size)
    if isinstance(data, ImageData):
        return _of_images(data, task, limit)
    if not isinstance(data, tuple):
        raise DataError(
            f"A {type(data).__name__} was given to train on.", "Give a data set's name, a path, or (inputs, labels)."
        )
    inputs, labels = batch_from(data)
    inputs, labels = inputs[:limit], None if labels is None else labels[:limit]
    shape = task.inputs[0].shape
    if len(task.inputs) != 1 or inputs.shape[1:] != shape:
        raise DataError(f"The inputs have shape {inputs.shape[1:]} each.", f"The network was built for {shape}.")
    return Samples("given", digest(inputs, labels), _checked(labels, task, "given"), inputs.__getitem__)


def _of_images(data: ImageData, task: TaskSpec, limit: int | None) -> Samples:
    channels, height, width = task.image_shape
    labels = _checked(None if data.labels is None else data.labels[:limit], task, data.name)
    # Once for all epochs.
    fitted = dataclasses.replace(
        data, images=fit(data.images[:limit], (height, width)), labels=labels, preferred_size=None
    )

    def inputs_of(indices: NDArray[np.int64]) -> NDArray[Any]:
        return prepare(fitted, indices, channels=channels)[0]

    return Samples(data.name, fitted.digest, labels, inputs_of)


def _checked(labels: NDArray[np.int64] | None, task: TaskSpec, name: str) -> NDArray[np.int64]:
    if labels is None:
        raise DataError(f"{name} has no labels to train on.", "Give labelled data.")
    if labels.max(initial=0) >= task.outputs:
        raise DataError(
            f"{name} has the label {labels.max()}, and the network has {task.outputs} outputs.",
            "Build it for the data's own task.",
        )
    return labels


class Order:
    """Which samples make which batch: a new permutation in every epoch.

    Args:
        count: Number of samples.
        batch_size: Samples of a batch.
        seed: Seed of all permutations.
        images: Use only this many samples, drawn once; all if not given.
        keep_last: Whether the samples left at the end of an epoch make a smaller batch (if there are two or more).

    Attributes:
        chosen: Positions of the samples that are used, in no order.
        steps_per_epoch: Batches of an epoch.

    Raises:
        OptionError: Fewer samples than one batch.
    """

    def __init__(
        self, count: int, *, batch_size: int, seed: int, images: int | None = None, keep_last: bool = False
    ) -> None:
        used = count if images is None else images
        if not 1 <= batch_size <= used <= count:
            raise OptionError(
                f"Batches of {batch_size:,} were asked for, out of {used:,} samples; there are {count:,}.",
                "Use smaller batches." if count < batch_size else f"Use {batch_size:,} to {count:,} samples.",
            )
        self._batch_size = batch_size
        self._seed = seed
        chosen = np.arange(count) if images is None else stable_rng(seed, "images").permutation(count)[:images]
        self.chosen = chosen.astype(np.int64)
        full, left = divmod(used, batch_size)
        self.steps_per_epoch = full + (keep_last and left > 1)
        self._epoch, self._order = -1, self.chosen

    def at(self, step: int) -> NDArray[np.int64]:
        """Positions of the samples of one step, whatever was asked before."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, stable_rng(self._seed, "epoch", epoch).permutation(self.chosen)
        return self._order[batch * self._batch_size : (batch + 1) * self._batch_size]


def flip_crop(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror each image by chance and shift it by up to an eighth of its side; what comes in is the channel's mean.

    Args:
        images: (S, C, H, W), normalised, so that 0 is the mean.
        rng: Randomness.
    """
    count, _, height, width = images.shape
    rows, columns = height // 8, width // 8
    padded = torch.nn.functional.pad(images, (columns, columns, rows, rows))
    changed = torch.empty_like(images)
    tops, lefts = rng.integers(2 * rows + 1, size=count), rng.integers(2 * columns + 1, size=count)
    for index, (top, left, mirrored) in enumerate(zip(tops, lefts, rng.integers(2, size=count), strict=True)):
        window = padded[index, :, top : top + height, left : left + width]
        changed[index] = window.flip(2) if mirrored else window
    return changed
