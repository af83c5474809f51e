"""What labels may be, and what a network needs at its end for them.

- classes, (N,) int64: a classification;
- numbers, (N, K) float32: a regression of K values;
- mask, (N, H, W) int64: the class of every pixel;
- map, (N, C, H, W) float32: C values at every pixel.

Type and number of dimensions tell which, here and wherever labels go.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from subshot.data._geometry import check_size
from subshot.errors import DataError

LabelKind = Literal["classes", "numbers", "mask", "map"]

# A label far beyond any set of classes is a mistake, and would build a head of that width.
MOST_CLASSES = 100_000
# Width of a network's head where the data names no classes: a label-free score needs some head.
OUTPUTS_WITHOUT_CLASSES = 10

_KINDS: dict[tuple[str, int], LabelKind] = {("i", 1): "classes", ("f", 2): "numbers", ("i", 3): "mask", ("f", 4): "map"}
_FORMS = (
    "Labels are whole numbers from 0 on for classes, (N,), or for the class of each pixel, (N, H, W); floats for "
    "values to predict, (N,) or (N, K), or for values at each pixel, (N, C, H, W)."
)


def label_kind(labels: NDArray[Any] | None) -> LabelKind | None:
    """What labels in one of the four forms are; ``None`` without labels."""
    return None if labels is None else _KINDS[labels.dtype.kind, labels.ndim]


def is_dense(labels: NDArray[Any] | None) -> bool:
    """Whether there is a label for every pixel."""
    return label_kind(labels) in ("mask", "map")


def head_of(labels: NDArray[Any] | None, classes: int = 0) -> tuple[int, str]:
    """Outputs of a network for these labels, and the name of its loss.

    Args:
        labels: In one of the four forms, or ``None``.
        classes: How many are named; if none are, the labels tell.

    Returns:
        For classes and masks the number of classes and ``cross_entropy``, for numbers and maps K or C and ``mse``;
        without labels ``none``, and ten outputs where no class is named.
    """
    if labels is None:
        return classes or OUTPUTS_WITHOUT_CLASSES, "none"
    if labels.dtype.kind == "f":
        return labels.shape[1], "mse"
    return classes or max(2, int(labels.max()) + 1), "cross_entropy"


def check_labels(
    y: NDArray[Any], count: int, *, name: str, grid: tuple[int, int] | None = None, several: bool = True
) -> NDArray[Any]:
    """Bring labels to one of the four forms.

    Args:
        y: As a user has them; values of a regression may be (N,) too, and those at each pixel (N, H, W).
        count: Number of samples, N.
        name: The set's name, for messages.
        grid: Height and width of the images, which a label for each pixel must have; ``None`` for other samples.
        several: Refuse labels that are all alike.

    Raises:
        DataError: Another type, shape or range; says what was given.
    """
    if y.dtype.kind not in "iuf":
        raise DataError(f"The labels of {name} are of type {y.dtype}.", _FORMS)
    whole = y.dtype.kind in "iu"
    if y.ndim not in ((1, 3) if whole else (1, 2, 3, 4)):
        raise DataError(f"The labels of {name} have shape {y.shape} and type {y.dtype}.", _FORMS)
    if len(y) != count:
        raise DataError(f"{name} has {count:,} samples and {len(y):,} labels.", "Give one label for each sample.")
    if 0 in y.shape:
        raise DataError(f"The labels of {name} have shape {y.shape}.", _FORMS)
    if y.ndim > 2 and y.shape[-2:] != grid:
        raise DataError(
            f"The labels of {name} have shape {y.shape}"
            + (f", and its images {grid[0]} x {grid[1]} pixels." if grid else ", and its samples are no images."),
            "A label for each pixel is (N, H, W) for classes or (N, C, H, W) for values, of the images' own size.",
        )
    checked = _classes(y, name, several) if whole else _numbers(y, name, several)
    if checked.dtype.kind == "f" and checked.ndim in (1, 3):
        return checked[:, None]
    return checked


def _classes(y: NDArray[Any], name: str, several: bool) -> NDArray[np.int64]:
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= MOST_CLASSES:
        raise DataError(f"The labels of {name} run from {low} to {high}.", "Number the classes from 0 on.")
    if low == high and several:
        raise DataError(
            f"All labels of {name} are {low}: a single class.", "Leave the labels out for scores that need none."
        )
    return y.astype(np.int64)


def _numbers(y: NDArray[Any], name: str, several: bool) -> NDArray[np.float32]:
    bad = int(np.count_nonzero(~np.isfinite(y)))
    if bad:
        raise DataError(
            f"{bad:,} of the {y.size:,} labels of {name} are not finite numbers.", "Leave such samples out."
        )
    if several and y.min() == y.max():
        raise DataError(
            f"All labels of {name} are {float(y.min()):g}.", "Leave the labels out for scores that need none."
        )
    return y.astype(np.float32)


def fit_labels(labels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Bring labels of pixels to another size, as the images were: classes by the nearest pixel, values bilinearly.

    Args:
        labels: (N, H, W) int64 or (N, C, H, W) float32.
        size: Height and width wanted.
    """
    height, width = check_size(size)
    if labels.shape[-2:] == (height, width):
        return labels
    from PIL import Image

    how = Image.Resampling.NEAREST if labels.dtype.kind == "i" else Image.Resampling.BILINEAR
    pillow = np.int32 if labels.dtype.kind == "i" else np.float32
    planes = labels.reshape(-1, *labels.shape[-2:])
    fitted = np.empty((len(planes), height, width), dtype=labels.dtype)
    for plane, target in zip(planes, fitted, strict=True):
        target[...] = np.asarray(Image.fromarray(plane.astype(pillow)).resize((width, height), how))
    return fitted.reshape(*labels.shape[:-2], height, width)
