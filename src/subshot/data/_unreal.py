"""Batches that are not real, after UnrealNAS (Dong et al., 2022): how much of a score do images and labels decide?

Each kind replaces what a real batch shows and keeps its shape and classes:

- ``random_labels``: the real images; a label is drawn at random for each image once and for all.
- ``gaussian_noise``: every pixel on its own.
- ``smooth_noise``: noise with the spectrum of natural images, amplitude 1/f. It wraps around at the edges.
- ``generated``: drawings, each class with a shape, a texture and colours of its own, each image with another place,
  turn and size of them. The paper used a trained generator; this one needs none and is ours.

Noise has random labels too. All made images have the real batch's mean and deviation in each channel, exactly and
over the whole batch, and are grey where it is: what is left to tell them apart is structure.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng, stable_seed
from subshot.data._images import digest
from subshot.data._labels import label_kind
from subshot.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    from subshot.data._take import TakenBatch

# What a batch that stays as it is counts as.
REAL = "none"

# Real inputs, number of classes and a seed to inputs and labels.
Make = Callable[[NDArray[Any], int, int], tuple[NDArray[Any], NDArray[np.int64]]]


def unreal(batch: "TakenBatch", kind: str, *, seed: int) -> "TakenBatch":
    """Replace a real batch by one that isn't.

    Args:
        batch: The real one; it is left as it is. Labels are not needed: without classes there are as many as the task
            has outputs.
        kind: ``random_labels``, ``gaussian_noise``, ``smooth_noise`` or ``generated``; ``none`` returns ``batch``.
        seed: Seed of everything drawn.

    Returns:
        A labelled batch of the same shape, named after kind and batch, for example ``smooth_noise(cifar10)``, with a
        digest of its own.

    Raises:
        UnknownNameError: There is no such kind.
        DataError: Images are to be made for a batch of something else.
    """
    check_kind(kind)
    if kind == REAL:
        return batch
    if label_kind(batch.labels) not in (None, "classes"):
        raise DataError(
            f"The labels of {batch.name} are no classes but of shape {batch.labels.shape}.",  # type: ignore[union-attr]
            f"{kind} has random classes; keep the batch as it is.",
        )
    make = _MAKERS[kind]
    shape = batch.inputs.shape
    if make is not _random_labels and (len(shape) != 4 or batch.inputs.dtype.kind != "f"):
        raise DataError(
            f"The batch holds {batch.inputs.dtype} of shape {shape}, and {kind} stands for images, (S, C, H, W).",
            "For other inputs there is random_labels.",
        )
    inputs, labels = make(batch.inputs, batch.task.outputs, seed)
    task = replace(batch.task, loss="cross_entropy")
    return replace(
        batch, name=f"{kind}({batch.name})", inputs=inputs, labels=labels, task=task, digest=digest(inputs, labels)
    )


def check_kind(kind: str) -> None:
    """Refuse a kind that there isn't, before anything is read.

    Raises:
        UnknownNameError: There is no such kind; near matches are offered.
    """
    if kind not in KINDS:
        raise UnknownNameError.of("kind of unreal data", kind, KINDS)


def _random_labels(real: NDArray[Any], classes: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    return real, _labels(real, classes, seed)


def _gaussian_noise(real: NDArray[Any], classes: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    noise = stable_rng(seed, "gaussian noise").standard_normal(_drawn_shape(real))
    images = _with_statistics_of(real, noise)
    return images, _labels(images, classes, seed)


def _smooth_noise(real: NDArray[Any], classes: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    shape = height, width = real.shape[2:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))  # cycles per pixel
    frequency[0, 0] = 1 / max(shape)  # images differ in brightness as much as by their longest wave
    white = np.fft.rfft2(stable_rng(seed, "smooth noise").standard_normal(_drawn_shape(real)))
    images = _with_statistics_of(real, np.fft.irfft2(white / frequency, s=shape))
    return images, _labels(images, classes, seed)


def _generated(real: NDArray[Any], classes: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    count, channels, height, width = _drawn_shape(real)
    rng = stable_rng(seed, "generated")
    labels = rng.integers(classes, size=count)
    templates = {int(label): _Template.of(int(label), channels, seed) for label in labels}
    drawings = np.stack([templates[int(label)].draw(height, width, rng) for label in labels])
    return _with_statistics_of(real, drawings), labels


@dataclass(frozen=True, eq=False)
class _Template:
    """What the images of one class have in common; lengths where the image runs from -1 to 1.

    Attributes:
        lobes: Of the shape: 2 is long, 5 a flower.
        depth: How far lobes stand out, as a share of the radius.
        radius: Of the shape.
        wave: Half-waves of the texture along y and x.
        colours: Of ground, shape and texture, (3, C).
    """

    lobes: int
    depth: float
    radius: float
    wave: NDArray[np.float64]
    colours: NDArray[np.float64]

    @classmethod
    def of(cls, label: int, channels: int, seed: int) -> "_Template":
        rng = stable_rng(seed, "template", label)
        return cls(
            lobes=int(rng.integers(2, 8)),
            depth=rng.uniform(0.1, 0.6),
            radius=rng.uniform(0.3, 0.6),
            wave=rng.uniform(-6, 6, size=2),
            colours=rng.normal(size=(3, channels)) * [[1], [1], [0.5]],
        )

    def draw(self, height: int, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """One image of the class, (C, height, width)."""
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
        centre_y, centre_x, turn, size, phase = rng.uniform([-0.3, -0.3, 0, 0.8, 0], [0.3, 0.3, 6.28, 1.25, 6.28])
        angle = np.arctan2(y - centre_y, x - centre_x) + turn
        edge = size * self.radius * (1 + self.depth * np.cos(self.lobes * angle))
        gap = (edge - np.hypot(y - centre_y, x - centre_x)) * max(height, width) / 2  # in pixels
        inside = (1 + np.tanh(gap)) / 2
        texture = np.cos(np.pi * (self.wave[0] * y + self.wave[1] * x) + phase)
        ground, shape, stripes = self.colours[:, :, None, None]
        image: NDArray[np.float64] = ground + (shape - ground) * inside + stripes * texture
        return image


def _labels(inputs: NDArray[Any], classes: int, seed: int) -> NDArray[np.int64]:
    """A random label for each sample, which depends on the sample and the seed only: the same in any batch."""
    samples = (hashlib.sha256(np.ascontiguousarray(one).tobytes()).hexdigest() for one in inputs)
    return np.array([stable_seed(seed, "label", sample) % classes for sample in samples], dtype=np.int64)


def _drawn_shape(real: NDArray[Any]) -> tuple[int, int, int, int]:
    """The shape of the batch, with one channel where its channels are equal."""
    count, channels, height, width = real.shape
    return count, 1 if (real == real[:, :1]).all() else channels, height, width


def _with_statistics_of(real: NDArray[Any], images: NDArray[np.float64]) -> NDArray[Any]:
    """Shift and stretch each channel to the real batch's mean and deviation; one channel serves all."""
    axes = (0, 2, 3)
    spread = images.std(axis=axes, keepdims=True)
    standard = (images - images.mean(axis=axes, keepdims=True)) / np.where(spread > 0, spread, 1)
    mean = real.mean(axis=axes, keepdims=True, dtype=np.float64)
    deviation = real.std(axis=axes, keepdims=True, dtype=np.float64)
    like: NDArray[Any] = (mean + deviation * standard).astype(real.dtype)
    return like


_MAKERS: dict[str, Make] = {
    "random_labels": _random_labels,
    "gaussian_noise": _gaussian_noise,
    "smooth_noise": _smooth_noise,
    "generated": _generated,
}
KINDS = (REAL, *_MAKERS)
