"""A user's own images in one ``.npz`` file: key ``x``, and ``y`` if there are labels."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from subshot.data._arrays import images_from_arrays
from subshot.data._dataset import FORMATS, Format
from subshot.data._geometry import Size
from subshot.data._images import ImageData
from subshot.data._split import Split
from subshot.errors import DataError


def load_npz(path: Path, *, split: Split = None, limit: int | None = None, image_size: Size | None = None) -> ImageData:
    """Read a ``.npz`` file; its arrays are as for :func:`subshot.data.images_from_arrays`.

    Args:
        path: The file.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise.
        image_size: Not used: all images have one size.

    Raises:
        DataError: The file is damaged, lacks ``x``, or holds arrays that can't be used; pickled objects are refused.
    """
    x, y = _read(path)
    return images_from_arrays(x, y, name=path.name, split=split, limit=limit)


def _read(path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]:
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
            return file["x"], file.get("y")
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} can't be read: {error}.", "Give a .npz file of plain arrays, without objects."
        ) from error


FORMATS.register(
    "npz",
    Format(
        "npz",
        ".npz file with images x and, if there are labels, y",
        recognises=lambda path: path.is_file() and path.suffix == ".npz",
        load=load_npz,
    ),
)
