"""A user's own data in one ``.npz`` file: key ``x``, and ``y`` if there are labels.

Arrays of two dimensions are no images: whole numbers are tokens, whose number of distinct ones stands under
``vocabulary``, and floats are rows of features.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from subshot.data._arrays import images_from_arrays, tensors_from_arrays
from subshot.data._dataset import FORMATS, Format
from subshot.data._geometry import Size
from subshot.data._images import ImageData
from subshot.data._split import Split
from subshot.data._tensors import TensorData
from subshot.errors import DataError


def load_npz(
    path: Path, *, split: Split = None, limit: int | None = None, image_size: Size | None = None
) -> ImageData | TensorData:
    """Read a ``.npz`` file; its arrays are as for :func:`subshot.data.images_from_arrays` or ``tensors_from_arrays``.

    Args:
        path: The file.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise.
        image_size: Not used: all images have one size.

    Raises:
        DataError: The file is damaged, lacks ``x``, or holds arrays that can't be used; pickled objects are refused.
    """
    x, y, vocabulary = _read(path)
    if x.ndim == 2:
        return tensors_from_arrays(
            x, y, name=path.name, vocabulary=_vocabulary(vocabulary, path), split=split, limit=limit
        )
    return images_from_arrays(x, y, name=path.name, split=split, limit=limit)


def _vocabulary(value: NDArray[np.generic] | None, path: Path) -> int | None:
    if value is None:
        return None
    if value.dtype.kind not in "iu" or value.size != 1 or int(value.reshape(-1)[0]) < 1:
        raise DataError(
            f"The vocabulary in {path} is no whole number from 1 on.", "Write numpy.savez(vocabulary=30522)."
        )
    return int(value.reshape(-1)[0])


def _read(path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic] | None, NDArray[np.generic] | None]:
    try:
        with path.open("rb") as handle:
            file = np.load(handle, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(
                    f"{path} is a single array, not a .npz file.", "Write it with numpy.savez(x=..., y=...)."
                )
            if "x" not in file:
                raise DataError(
                    f"{path} has no array named x; it has {', '.join(sorted(file)) or 'none'}.",
                    "Write it with numpy.savez(x=images, y=labels); y may be left out.",
                )
            return file["x"], file.get("y"), file.get("vocabulary")
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} can't be read: {error}.", "Give a .npz file of plain arrays, without objects."
        ) from error


FORMATS.register(
    "npz",
    Format(
        "npz",
        ".npz file with images or tokens x and, if there are labels, y",
        recognises=lambda path: path.is_file() and path.suffix == ".npz",
        load=load_npz,
    ),
)
