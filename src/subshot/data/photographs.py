"""Crops of two colour photographs that come with scikit-learn: natural images for scores that need no labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng
from subshot.data._dataset import DATASETS, DataSet
from subshot.data._images import ImageData, statistics
from subshot.data._packages import bringing, find_package
from subshot.data._split import Split, divide
from subshot.errors import OptionError

COUNT = 512
SIZE = 32
LARGEST_SQUARE = 256


def crops(
    images: Sequence[NDArray[np.uint8]], n: int, *, size: int, seed: int, min_side: int, max_side: int
) -> NDArray[np.uint8]:
    """Cut ``n`` random squares out of photographs and resize each to ``size`` x ``size``.

    Each takes a photograph at random, a side uniformly from ``min_side`` to ``max_side`` (at most the photograph's
    shorter side) and a place uniformly, so small squares show texture and large ones whole objects, as in sets of
    small natural images. Resizing is Pillow's bilinear filter, widened when shrinking.

    Args:
        images: Photographs, each (H, W, 3) uint8.
        n: How many.
        size: Height and width of the result.
        seed: The same seed gives the same crops.
        min_side: Shortest side of a square, in pixels.
        max_side: Longest side.

    Returns:
        (n, size, size, 3) uint8.

    Raises:
        OptionError: A number below 1, or sides that no photograph has.
    """
    shortest = min(min(image.shape[:2]) for image in images)
    if min(n, size, min_side) < 1 or not min_side <= min(max_side, shortest):
        raise OptionError(
            f"Squares of {min_side} to {max_side} pixels can't be cut from photographs of {shortest} pixels.",
            f"Give sides with 1 <= min_side <= max_side and min_side <= {shortest}, and n and size from 1 on.",
        )
    from PIL import Image

    rng = stable_rng(seed, "crops")
    pictures = [Image.fromarray(image) for image in images]
    result = np.empty((n, size, size, 3), dtype=np.uint8)
    for target in result:
        picture = pictures[int(rng.integers(len(pictures)))]
        side = int(rng.integers(min_side, min(max_side, *picture.size) + 1))
        left, top = (int(rng.integers(extent - side + 1)) for extent in picture.size)
        square = picture.crop((left, top, left + side, top + side))
        target[...] = np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))
    return result


def load_photographs(where: Path, *, split: Split = None, limit: int | None = None) -> ImageData:
    """512 crops of scikit-learn's two photographs, always the same: squares of 32 to 256 pixels shrunk to 32 x 32.

    Args:
        where: Not used; the package finds its own files.
        split: There is no test part.
        limit: See :func:`subshot.data.load_images`.

    Raises:
        DataError: The test part was asked for.
        MissingDependencyError: scikit-learn can't be imported.
    """
    with bringing("photographs", "scikit-learn"):
        from sklearn import datasets
    pictures = [np.asarray(picture, dtype=np.uint8) for picture in datasets.load_sample_images().images]
    images = crops(pictures, COUNT, size=SIZE, seed=0, min_side=SIZE, max_side=LARGEST_SQUARE)
    mean, std = statistics(images, name="photographs")
    chosen = divide(len(images), None, split, name="photographs")[:limit]
    return ImageData("photographs", images[chosen], None, (), mean, std, DATASETS.get("photographs").licence)


DATASETS.register(
    "photographs",
    DataSet(
        "photographs",
        "images",
        licence="CC BY 2.0 (flickr: danielbuechele, vultilion), by way of scikit-learn",
        how_to_get="pip install scikit-learn",
        locate=lambda root: find_package("sklearn"),
        load=load_photographs,
        package="scikit-learn",
    ),
)
