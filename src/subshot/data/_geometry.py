"""Bring images to one size: the same pixels on every machine and in every run."""

import numpy as np
from numpy.typing import NDArray

from subshot.errors import DataError, OptionError

Size = int | tuple[int, int]

# A frame this thin is filled with black instead of stretching the image: 28 x 28 becomes 32 x 32.
WIDEST_FRAME = 4


def check_size(size: Size) -> tuple[int, int]:
    """``(height, width)`` of a size given as one number or as a pair.

    Raises:
        OptionError: Not one or two whole numbers from 1 on.
    """
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in pair):
        raise OptionError(f"{size!r} is no image size.", "Give one whole number or (height, width), from 1 on.")
    return pair[0], pair[1]


def fit(images: NDArray[np.uint8], size: Size, *, frame: bool = True) -> NDArray[np.uint8]:
    """Bring a stack of images to ``size``.

    Images that lack at most ``WIDEST_FRAME`` pixels on each side are centred on black (value 0, before any
    normalisation; an odd gap gets its extra row below and its extra column to the right). Others are resized with
    Pillow's bilinear filter: half-pixel centres, and a wider filter when shrinking, so that no pixel is skipped. The
    aspect ratio is not kept.

    Args:
        images: (N, H, W, C) uint8; C is 1 or 3.
        size: Height and width wanted.
        frame: Whether a frame may be added; without, such images are resized too.

    Returns:
        (N, height, width, C) uint8; ``images`` itself if it has that size.

    Raises:
        OptionError: ``size`` is none.
    """
    height, width = check_size(size)
    if images.shape[1:3] == (height, width):
        return images
    rows, columns = height - images.shape[1], width - images.shape[2]
    if frame and 0 <= rows <= 2 * WIDEST_FRAME and 0 <= columns <= 2 * WIDEST_FRAME:
        top, left = rows // 2, columns // 2
        return np.pad(images, ((0, 0), (top, rows - top), (left, columns - left), (0, 0)))
    resized = np.empty((len(images), height, width, images.shape[3]), dtype=np.uint8)
    for image, target in zip(images, resized, strict=True):
        target[...] = _resize(image, height, width)
    return resized


def _resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    from PIL import Image

    flat = image[:, :, 0] if image.shape[2] == 1 else image
    picture = Image.fromarray(flat).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.uint8).reshape(height, width, image.shape[2])


def check_memory(name: str, count: int, size: tuple[int, int], *, limit_bytes: int = 2**31) -> None:
    """Refuse to hold ``count`` colour images of ``size`` where they would take more than 2 GiB.

    Raises:
        DataError: They would.
    """
    total = count * size[0] * size[1] * 3
    if total > limit_bytes:
        raise DataError(
            f"{name} would hold {count:,} images of {size[0]} x {size[1]} pixels, {total / 2**30:.1f} GiB in memory.",
            "Give a smaller image size or read fewer images.",
        )
