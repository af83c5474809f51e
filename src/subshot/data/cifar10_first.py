"""The first 256 training images of CIFAR-10 in official order, without labels.

For parity with published scorers that take the first images of the training part: SWAP's reference code takes 16.
"""

from pathlib import Path

import numpy as np

from subshot.data._dataset import DATASETS, DataSet, find_below
from subshot.data._images import ImageData
from subshot.data._split import Split, divide
from subshot.data.cifar import CIFAR10_STATISTICS, CIFAR_LICENCE
from subshot.errors import DataError

_NAME = "cifar10_first"
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load_cifar10_first(where: Path, *, split: Split = None, limit: int | None = None) -> ImageData:
    """Read ``images.npy``, uint8 (256, 3, 32, 32), in its order.

    Args:
        where: The file.
        split: There is no test part.
        limit: See :func:`subshot.data.load_images`.

    Raises:
        DataError: The file is damaged or holds other arrays; or the test part was asked for.
    """
    try:
        images = np.load(where, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise DataError(f"{where} can't be read: {error}.", "Get the file again.") from error
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (3, 32, 32):
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(f"{where} holds {found}, not uint8 (N, 3, 32, 32).", "Get the file again.")
    chosen = divide(len(images), None, split, name=_NAME)[:limit]
    return ImageData(
        _NAME, images[chosen].transpose(0, 2, 3, 1), None, _CLASSES, *CIFAR10_STATISTICS, licence=CIFAR_LICENCE
    )


DATASETS.register(
    _NAME,
    DataSet(
        _NAME,
        "images",
        licence=CIFAR_LICENCE,
        how_to_get="Put cifar10-first/images.npy in the folder that SUBSHOT_DATA names.",
        locate=lambda root: find_below(root, "cifar10-first/images.npy"),
        load=load_cifar10_first,
    ),
)
