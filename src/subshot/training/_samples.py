"""Labelled samples to train on, and the order in which they come: functions of a seed and of nothing else."""

import hashlib
from collections.abc import Callable, Iterator
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
from subshot.data._images import ImageData, digest, prepare
from subshot.data._load import DataLike, is_image_folder, load_data
from subshot.data._tensors import TensorData
from subshot.errors import DataError, OptionError


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled samples of which any can be had by number.

    Attributes:
        name: What the data is called.
        digest: First 16 hex digits of the SHA-256 of inputs and labels.
        labels: (N,) int64, or (N, ...) of a type that the loss takes.
        inputs_of: Positions (S,) to inputs (S, ...) as the network takes them.
    """

    name: str
    digest: str
    labels: NDArray[Any]
    inputs_of: Callable[[NDArray[np.int64]], NDArray[Any]]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Inputs (S, ...) and labels (S,) at ``indices``."""
        return torch.from_numpy(self.inputs_of(indices)), torch.from_numpy(self.labels[indices])

    def part(self, indices: NDArray[np.int64]) -> "Samples":
        """Those at ``indices``, as samples of their own."""
        whole = self.inputs_of
        name = hashlib.sha256(f"{self.digest};{indices.tolist()}".encode()).hexdigest()[:16]
        return Samples(self.name, name, self.labels[indices], lambda chosen: whole(indices[chosen]))

    def in_order(self, size: int) -> Iterator[NDArray[np.int64]]:
        """Positions of all of them, ``size`` at a time."""
        for first in range(0, len(self), size):
            yield np.arange(first, min(first + size, len(self)))


def samples_from(data: DataLike, task: TaskSpec, *, limit: int | None = None) -> Samples:
    """Samples for a network that was built for ``task``.

    Args:
        data: Name of a set or path, of which the training part is read; data that was read already; or ``(inputs,
            labels)`` as arrays or tensors; or samples, which are returned as they are.
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
        data = load_data(data, split="train", limit=limit, image_size=size)
    if isinstance(data, ImageData):
        return _of_images(data, task, limit)
    if isinstance(data, TensorData):
        return _of_tensors(data.inputs[:limit], None if data.labels is None else data.labels[:limit], task, data.name)
    if not isinstance(data, tuple):
        raise DataError(
            f"A {type(data).__name__} was given to train on.", "Give a data set's name, a path, or (inputs, labels)."
        )
    inputs, labels = batch_from(data)
    return _of_tensors(inputs[:limit], None if labels is None else labels[:limit], task, "given")


def _of_images(data: ImageData, task: TaskSpec, limit: int | None) -> Samples:
    channels, height, width = task.image_shape
    # Once for all epochs.
    fitted = data.select(np.arange(len(data))[:limit]).resized((height, width))
    labels = _checked(fitted.labels, task, data.name)

    def inputs_of(indices: NDArray[np.int64]) -> NDArray[Any]:
        return prepare(fitted, indices, channels=channels)[0]

    return Samples(data.name, fitted.digest, labels, inputs_of)


def _of_tensors(inputs: NDArray[Any], labels: NDArray[Any] | None, task: TaskSpec, name: str) -> Samples:
    shape = task.inputs[0].shape
    if len(task.inputs) != 1 or inputs.shape[1:] != shape:
        raise DataError(f"The inputs have shape {inputs.shape[1:]} each.", f"The network was built for {shape}.")
    return Samples(name, digest(inputs, labels), _checked(labels, task, name), inputs.__getitem__)


def _checked(labels: NDArray[Any] | None, task: TaskSpec, name: str) -> NDArray[Any]:
    if labels is None:
        raise DataError(f"{name} has no labels to train on.", "Give labelled data.")
    if task.loss in ("cross_entropy", "mse") and (labels.dtype.kind == "f") != (task.loss == "mse"):
        raise DataError(
            f"The labels of {name} are of type {labels.dtype}, and the network's loss is {task.loss}.",
            "Build it for the data's own task.",
        )
    if labels.dtype.kind == "i" and labels.max(initial=0) >= task.outputs:
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
