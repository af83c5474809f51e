"""Images, tokens and other samples that a user already has as arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from subshot.data._images import ImageData, statistics
from subshot.data._labels import check_labels
from subshot.data._split import Split, divide
from subshot.data._tensors import TensorData
from subshot.errors import DataError

_FORMS = "Images are (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels."


def images_from_arrays(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    name: str = "arrays",
    classes: Sequence[str] | None = None,
    split: Split = None,
    limit: int | None = None,
    licence: str = "the user's own",
) -> ImageData:
    """Make a set of images from arrays.

    Args:
        x: Images, (N, H, W) grey, (N, H, W, C) or (N, C, H, W) with 1 or 3 channels; uint8, or floats from 0 (black)
            to 1 (white), which are rounded to 256 levels.
        y: Labels: whole numbers from 0 on for classes, (N,), or for the class of each pixel, (N, H, W); floats for
            values to predict, (N,) or (N, K), or for values at each pixel, (N, C, H, W) or (N, H, W). ``None`` for
            images without labels.
        name: What to call the set.
        classes: Names of the classes; numbers from 0 to the largest label if not given.
        split: See :func:`subshot.data.load_images`.
        limit: Keep at most this many, the first in the given order.
        licence: Terms of use.

    Raises:
        DataError: Another shape, type or range; says what was given.
    """
    images = _images(np.asarray(x), name)
    grid = (images.shape[1], images.shape[2])
    labels = None if y is None else check_labels(np.asarray(y), len(images), name=name, grid=grid)
    names = _class_names(labels, classes, name)
    # The training part's statistics, whichever part is asked for.
    mean, std = statistics(images[divide(len(images), labels, "train", name=name)], name=name)
    chosen = divide(len(images), labels, split, name=name)[:limit]
    return ImageData(name, images[chosen], None if labels is None else labels[chosen], names, mean, std, licence)


def tensors_from_arrays(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    name: str = "arrays",
    vocabulary: int | None = None,
    classes: Sequence[str] | None = None,
    split: Split = None,
    limit: int | None = None,
    licence: str = "the user's own",
) -> TensorData:
    """Make a set of samples that are no images from arrays.

    Args:
        x: Tokens, (N, L) whole numbers from 0 on; or floats (N, ...) as the network expects them, already normalised.
        y: As for :func:`images_from_arrays`, but for labels of pixels.
        name: What to call the set.
        vocabulary: Number of distinct tokens; one more than the largest if not given.
        classes: Names of the classes; numbers from 0 to the largest label if not given.
        split: See :func:`subshot.data.load_images`.
        limit: Keep at most this many, the first in the given order.
        licence: Terms of use.

    Raises:
        DataError: Another shape, type or range; says what was given.
    """
    inputs, known, notes = _inputs(np.asarray(x), vocabulary, name)
    labels = None if y is None else check_labels(np.asarray(y), len(inputs), name=name)
    chosen = divide(len(inputs), labels, split, name=name)[:limit]
    names = _class_names(labels, classes, name)
    return TensorData(
        name, inputs[chosen], None if labels is None else labels[chosen], names, known, licence, notes=notes
    )


def _inputs(
    x: NDArray[np.generic], vocabulary: int | None, name: str
) -> tuple[NDArray[Any], int | None, tuple[str, ...]]:
    if x.ndim < 2 or 0 in x.shape:
        raise DataError(f"The samples of {name} have shape {x.shape}.", "Tokens are (N, L), features (N, F).")
    if x.dtype.kind == "f":
        bad = int(np.count_nonzero(~np.isfinite(x)))
        if bad:
            raise DataError(f"{bad:,} of the {x.size:,} input values of {name} are not finite numbers.")
        if vocabulary is not None:
            raise DataError(f"{name} holds floats and a vocabulary.", "Tokens are whole numbers.")
        return x.astype(np.float32), None, ()
    if x.dtype.kind not in "iu":
        raise DataError(f"The samples of {name} are of type {x.dtype}.", "Give whole numbers for tokens, or floats.")
    if x.ndim != 2:
        raise DataError(f"The samples of {name} are {x.dtype} of shape {x.shape}.", "Tokens are (N, L).")
    low, high = int(x.min()), int(x.max())
    notes = (f"the vocabulary isn't named: {high + 1:,}, by the largest token",) if vocabulary is None else ()
    vocabulary = high + 1 if vocabulary is None else vocabulary
    if low < 0 or high >= vocabulary:
        raise DataError(
            f"The tokens of {name} run from {low:,} to {high:,}, and the vocabulary has {vocabulary:,}.",
            "Tokens are numbered from 0 to vocabulary - 1.",
        )
    return x.astype(np.int64), vocabulary, notes


def _images(x: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    if x.ndim not in (3, 4):
        raise DataError(f"The images of {name} have {x.ndim} dimensions, shape {x.shape}.", _FORMS)
    if 0 in x.shape:
        raise DataError(f"{name} holds no image: its shape is {x.shape}.", _FORMS)
    levels = _levels(x, name)
    if x.ndim == 3:
        return levels[..., None]
    first, last = x.shape[1] in (1, 3), x.shape[3] in (1, 3)
    if first and last:
        raise DataError(
            f"The images of {name} have shape {x.shape}, whose channels may be the second or the last number.",
            "Images so narrow can't be told apart; give at least 4 pixels a side.",
        )
    if not first and not last:
        raise DataError(
            f"The images of {name} have shape {x.shape}: neither {x.shape[3]} nor {x.shape[1]} is a number of "
            "channels.",
            _FORMS,
        )
    return levels if last else np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def _levels(x: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    if x.dtype == np.uint8:
        return x.astype(np.uint8, copy=False)
    if x.dtype.kind != "f":
        raise DataError(f"The images of {name} are of type {x.dtype}.", "Give uint8, or floats from 0 to 1.")
    floats = x.astype(np.float64, copy=False)
    bad = int(np.count_nonzero(~np.isfinite(floats)))
    if bad:
        raise DataError(f"{bad:,} of the {floats.size:,} pixels of {name} are not finite numbers.")
    low, high = float(floats.min()), float(floats.max())
    if low < 0 or high > 1:
        raise DataError(
            f"The pixels of {name} are floats from {low:g} to {high:g}.",
            "Give floats from 0 (black) to 1 (white), not normalised ones, or uint8.",
        )
    return np.rint(floats * 255).astype(np.uint8)


def _class_names(labels: NDArray[Any] | None, given: Sequence[str] | None, name: str) -> tuple[str, ...]:
    if labels is not None and labels.dtype.kind == "f":
        return ()  # values have no classes
    if labels is None or given:
        if labels is not None and given and labels.max() >= len(given):
            raise DataError(f"{name} has the label {labels.max()}, and {len(given)} classes are named.")
        return tuple(given or ())
    return tuple(str(number) for number in range(int(labels.max()) + 1))
