"""Images that a user already has as arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from subshot.data._images import ImageData, statistics
from subshot.data._split import Split, divide
from subshot.errors import DataError

# A label far beyond any set of classes is a mistake, and would build a head of that width.
MOST_CLASSES = 100_000

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
        y: Labels, (N,) whole numbers from 0 on; ``None`` for images without labels.
        name: What to call the set.
        classes: Names of the classes; numbers from 0 to the largest label if not given.
        split: See :func:`subshot.data.load_images`.
        limit: Keep at most this many, the first in the given order.
        licence: Terms of use.

    Raises:
        DataError: Another shape, type or range; says what was given.
    """
    images = _images(np.asarray(x), name)
    labels = None if y is None else _labels(np.asarray(y), len(images), name)
    names = tuple(classes) if classes is not None else ()
    if labels is not None:
        names = names or tuple(str(number) for number in range(int(labels.max()) + 1))
        if labels.max() >= len(names):
            raise DataError(f"{name} has the label {labels.max()}, and {len(names)} classes are named.")
    # The training part's statistics, whichever part is asked for.
    mean, std = statistics(images[divide(len(images), labels, "train", name=name)], name=name)
    chosen = divide(len(images), labels, split, name=name)[:limit]
    return ImageData(name, images[chosen], None if labels is None else labels[chosen], names, mean, std, licence)


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


def _labels(y: NDArray[np.generic], count: int, name: str) -> NDArray[np.int64]:
    if y.dtype.kind not in "iu":
        raise DataError(f"The labels of {name} are of type {y.dtype}.", "Give whole numbers from 0 on.")
    if y.ndim != 1:
        raise DataError(f"The labels of {name} have shape {y.shape}.", "Give one whole number for each image: (N,).")
    if len(y) != count:
        raise DataError(f"{name} has {count:,} images and {len(y):,} labels.", "Give one label for each image.")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= MOST_CLASSES:
        raise DataError(f"The labels of {name} run from {low} to {high}.", "Number the classes from 0 on.")
    if low == high:
        raise DataError(
            f"All labels of {name} are {low}: a single class.", "Leave the labels out for scores that need none."
        )
    return y.astype(np.int64)
