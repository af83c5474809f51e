"""A set of images in memory, and how a batch is taken from it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng
from subshot._types import InputSpec, TaskSpec
from subshot.data._geometry import Size, check_size, fit
from subshot.data._labels import fit_labels, head_of, is_dense
from subshot.errors import DataError, OptionError

Samples = Literal["random", "first"]
Batch = tuple[NDArray[np.float32], NDArray[Any] | None]


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images of one part of a set, and what is needed to use them.

    Attributes:
        name: What the set is called in protocols and reports.
        images: (N, H, W, C) uint8, C 1 (grey) or 3 (RGB), in the set's own order.
        labels: (N,) int64 in ``[0, len(classes))``, (N, K) float32 for a regression, (N, H, W) int64 or (N, C, H, W)
            float32 for a label at every pixel; ``None`` for images without labels. See ``_labels.py``.
        classes: Names of the classes; may be known without labels; empty if unknown.
        mean: For each channel, of the training images whichever part this is (of all, in a set that comes with no test
            part), where black is 0 and white is 1.
        std: Likewise, the standard deviation.
        licence: Terms of use, in one line.
        preferred_size: ``(height, width)`` that networks get unless told otherwise; ``None`` for the natural size.
        notes: What a reader should know about how the set was read, for example files that were ignored.
        own_parts: Parts that the set comes with, apart from the training part: ``test``, ``validation``.
        source_digest: Digest of the files it was read from, where it doesn't depend on the size the images were
            brought to.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[Any] | None
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    preferred_size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    own_parts: tuple[str, ...] = ()
    source_digest: str = ""

    def __post_init__(self) -> None:
        # Loaders check what they read; these are our own invariants.
        assert self.images.dtype == np.uint8
        assert self.images.ndim == 4
        assert self.images.shape[3] == len(self.mean) == len(self.std)
        assert self.labels is None or len(self.labels) == len(self.images)
        assert not is_dense(self.labels) or (
            self.labels is not None and self.labels.shape[-2:] == self.images.shape[1:3]
        )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of images and labels."""
        return digest(self.images, self.labels)

    @property
    def identity(self) -> str:
        """Digest that tells whether this is the same data: of its files, or else of images and labels."""
        return self.source_digest or self.digest

    @property
    def image_size(self) -> tuple[int, int]:
        """``(height, width)`` that networks get unless told otherwise."""
        return self.preferred_size or (self.images.shape[1], self.images.shape[2])

    def task(self, size: Size | None = None, *, channels: int = 3) -> TaskSpec:
        """What a network for these images is built for.

        Args:
            size: Height and width of the input; :attr:`image_size` if not given.
            channels: Channels of the input.

        Returns:
            A task with an output for each class, or for each value of a regression; for images without labels one with
            loss ``"none"`` and ten outputs (or one for each known class).

        Raises:
            OptionError: ``size`` is none.
        """
        height, width = check_size(self.image_size if size is None else size)
        return TaskSpec((InputSpec("images", (channels, height, width)),), *head_of(self.labels, len(self.classes)))

    def select(self, indices: NDArray[np.integer]) -> "ImageData":
        """The samples at these positions, in this order."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, images=self.images[indices], labels=labels, source_digest="")

    def resized(self, size: Size) -> "ImageData":
        """The same with images, and labels of pixels, of another size."""
        height, width = check_size(size)
        dense = is_dense(self.labels)
        labels = fit_labels(self.labels, (height, width)) if dense and self.labels is not None else self.labels
        images = fit(self.images, (height, width), frame=not dense)
        return replace(self, images=images, labels=labels, preferred_size=None, source_digest=self.identity)


def digest(*arrays: NDArray[np.generic] | None) -> str:
    """First 16 hex digits of the SHA-256 of arrays: their types, shapes and values."""
    sha = hashlib.sha256()
    for array in arrays:
        if array is None:
            sha.update(b"none;")
            continue
        sha.update(f"{array.dtype.str}{array.shape};".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()[:16]


def take(
    data: ImageData,
    batch_size: int,
    *,
    samples: Samples = "random",
    seed: int = 0,
    image_size: Size | None = None,
    channels: int = 3,
) -> Batch:
    """Take one batch.

    Args:
        data: Where from.
        batch_size: Number of images, S.
        samples: ``first`` takes the first S in the set's order; ``random`` draws S different ones by ``seed``.
        seed: Seed of the draw; the same seed, set and S give the same batch.
        image_size: See :func:`prepare`.
        channels: See :func:`prepare`.

    Returns:
        Inputs (S, channels, height, width) float32, and labels as the set has them or ``None``.

    Raises:
        DataError: The set has fewer than S images, or another number of channels.
        OptionError: A batch size below 1, or another word for ``samples``.
    """
    chosen = choose(len(data), batch_size, samples=samples, seed=seed, name=data.name, what="images")
    return prepare(data, chosen, image_size=image_size, channels=channels)


def choose(
    count: int, batch_size: int, *, samples: str, seed: int, name: str, what: str = "samples"
) -> NDArray[np.int64]:
    """Positions of the samples of a batch: the first, or different ones drawn by ``seed``.

    Raises:
        DataError: There are fewer.
        OptionError: A batch size below 1, or another word for ``samples``.
    """
    if batch_size < 1:
        raise OptionError(f"The batch size was given as {batch_size}.", "It is a whole number from 1 on.")
    if samples not in ("random", "first"):
        raise OptionError(f"samples was given as {samples!r}.", "It is 'random' or 'first'.")
    if batch_size > count:
        raise DataError(
            f"A batch of {batch_size:,} was asked for, and {name} has {count:,} {what} here.",
            f"Ask for at most {count:,}, or use a larger set.",
        )
    if samples == "first":
        return np.arange(batch_size)
    return stable_rng(seed, "batch").choice(count, batch_size, replace=False)


def prepare(
    data: ImageData,
    indices: Sequence[int] | NDArray[np.integer] | range,
    *,
    image_size: Size | None = None,
    channels: int = 3,
) -> Batch:
    """Turn chosen images into a network's input.

    Each is brought to size (see :func:`subshot.data._geometry.fit`; a frame is black, value 0 before normalisation),
    normalised by the set's mean and deviation, and a grey one repeated to three channels. Labels of pixels are brought
    to the same size; their images get no frame, whose pixels would have no label.

    Args:
        data: Where from.
        indices: Positions of S images.
        image_size: Height and width; the set's :attr:`ImageData.image_size` if not given.
        channels: 3, or the set's own number.

    Returns:
        Inputs (S, channels, height, width) float32, and labels as the set has them or ``None``.

    Raises:
        DataError: The images have another number of channels.
    """
    own = data.images.shape[3]
    if channels != own and (own, channels) != (1, 3):
        raise DataError(
            f"The images of {data.name} have {own} channel{'s' if own > 1 else ''}, and {channels} were asked for.",
            f"Ask for {'1 or 3' if own == 1 else own}.",
        )
    chosen = np.asarray(indices, dtype=np.int64)
    labels = None if data.labels is None else data.labels[chosen]
    size = check_size(data.image_size if image_size is None else image_size)
    dense = labels is not None and is_dense(labels)
    images = fit(data.images[chosen], size, frame=not dense)
    if labels is not None and dense:
        labels = fit_labels(labels, size)
    # Each channel has 256 possible values: normalise those in double precision and look the pixels up.
    levels = np.arange(256) / 255
    inputs = np.empty((len(images), own, *images.shape[1:3]), dtype=np.float32)
    for channel, (mean, std) in enumerate(zip(data.mean, data.std, strict=True)):
        inputs[:, channel] = ((levels - mean) / std).astype(np.float32)[images[..., channel]]
    if channels != own:
        inputs = np.repeat(inputs, channels, axis=1)
    return inputs, labels


def statistics(images: NDArray[np.uint8], *, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, to four decimals as they are usually published.

    A channel that never varies gets deviation 1.

    Args:
        images: (N, H, W, C).
        name: The set's name, for messages.

    Raises:
        DataError: All pixels of all images are the same.
    """
    histogram = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[3])])
    return statistics_of_histogram(histogram, name=name)


def statistics_of_histogram(
    histogram: NDArray[np.integer], *, name: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """As :func:`statistics`, from how often each of the 256 values occurs in each channel, (C, 256).

    Raises:
        DataError: No channel varies.
    """
    levels = np.arange(256) / 255
    share = histogram / histogram.sum(axis=1, keepdims=True)
    mean = share @ levels
    std = np.sqrt(np.sum(share * (levels - mean[:, None]) ** 2, axis=1))
    if not (std > 0).any():
        raise DataError(
            f"All pixels of {name} have the same value.", "A network can tell such images apart by nothing."
        )
    return (
        tuple(round(float(value), 4) for value in mean),
        tuple(max(round(float(value), 4), 1e-4) if value > 0 else 1.0 for value in std),
    )
