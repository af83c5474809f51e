"""Folders of IDX files, the form in which MNIST and its relatives come.

An IDX file is two zero bytes, the element type (8 for unsigned bytes), the number of dimensions, each dimension as a
big-endian 32-bit number, then the elements; often packed with gzip. Four files make a set: images and labels of a
training part (``train``) and a test part (``t10k``).
"""

import gzip
import math
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from subshot.data._dataset import FORMATS, Format
from subshot.data._geometry import Size
from subshot.data._images import ImageData, statistics
from subshot.data._split import Split
from subshot.errors import DataError

_UNSIGNED_BYTE = 8
# Beyond any set of small images; a header that says more is damaged.
_MOST_BYTES = 4 * 2**30
_CHUNK = 2**24
_PARTS = {"train": "train", "test": "t10k"}


def read_idx(path: Path, *, dimensions: int, limit: int | None = None) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Args:
        path: The file; packed with gzip if its name ends in ``.gz``.
        dimensions: How many it must have: 3 for images, 1 for labels.
        limit: Read at most this many along the first dimension, and check nothing beyond them.

    Raises:
        DataError: It isn't there, isn't IDX, has another type or number of dimensions, no elements or far too many, or
            another length than it says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _read_header(file, path, dimensions)
            wanted = (min(shape[0], limit or shape[0]), *shape[1:])
            content = _read(file, math.prod(wanted))
            complete = wanted != shape or not file.read(1)
    except FileNotFoundError:
        raise DataError(f"The IDX file {path} is missing.", "Put the four files of the set in one folder.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"The IDX file {path} can't be read: {error}.", "Get the file again.") from error
    if len(content) != math.prod(wanted) or not complete:
        found = "more" if not complete else f"{len(content):,}"
        raise DataError(
            f"The IDX file {path} announces {math.prod(shape):,} bytes (shape {shape}) and holds {found}.",
            "Get the file again.",
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(wanted)


def _read_header(file: BufferedIOBase, path: Path, dimensions: int) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTE:
        raise DataError(
            f"{path} is no IDX file of unsigned bytes: it starts with 0x{magic.hex()}.",
            f"It has to start with 0x000008{dimensions:02x}.",
        )
    if magic[3] != dimensions:
        raise DataError(f"The IDX file {path} has {magic[3]} dimensions, and {dimensions} are needed.")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(f"The IDX file {path} ends within its header.", "Get the file again.")
    shape = struct.unpack(f">{dimensions}I", sizes)
    if 0 in shape or math.prod(shape) > _MOST_BYTES:
        raise DataError(f"The IDX file {path} announces the shape {shape}, which no set of images has.")
    return shape


def _read(file: BufferedIOBase, count: int) -> bytes:
    # In pieces, so that a damaged header can't make Python reserve gigabytes.
    pieces = []
    while count > 0 and (piece := file.read(min(count, _CHUNK))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def find_idx(folder: Path, split: str, content: str) -> Path | None:
    """The ``images`` or ``labels`` of one part, ``None`` if they aren't there.

    That is ``train-images-idx3-ubyte`` or ``train-images.idx3-ubyte`` and their like, with or without ``.gz``.
    """
    suffix = {"images": "idx3-ubyte", "labels": "idx1-ubyte"}[content]
    stem = f"{_PARTS[split]}-{content}"
    names = (f"{stem}{joint}{suffix}{packed}" for joint in "-." for packed in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_part(
    folder: Path, *, split: Split = None, limit: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, H, W, 1) and labels (N,) of one part; the training part if ``split`` is ``None``.

    Raises:
        DataError: A file is missing or damaged, or there are not as many labels as images.
    """
    part = split or "train"
    paths = {content: find_idx(folder, part, content) for content in ("images", "labels")}
    for content, path in paths.items():
        if path is None:
            raise DataError(
                f"{folder} has no file {_PARTS[part]}-{content}-idx*-ubyte(.gz).",
                "Put the four files of the set in one folder.",
            )
    assert paths["images"] is not None
    assert paths["labels"] is not None
    images = read_idx(paths["images"], dimensions=3, limit=limit)
    labels = read_idx(paths["labels"], dimensions=1, limit=limit)
    if len(images) != len(labels):
        raise DataError(f"{paths['images']} holds {len(images):,} images, and its labels are {len(labels):,}.")
    return images[..., None], labels.astype(np.int64)


def load_idx(path: Path, *, split: Split = None, limit: int | None = None, image_size: Size | None = None) -> ImageData:
    """Read a folder of IDX files; 28 x 28 images are used as 32 x 32.

    Classes are numbered from 0 to the largest label of the training part and the part that is asked for.

    Args:
        path: The folder.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise; the files are read whole, so that classes and statistics don't depend on it.
        image_size: Not used: all images have one size.

    Raises:
        DataError: A file is missing or damaged, or there are not as many labels as images.
    """
    training, training_labels = read_part(path)
    images, labels = (training, training_labels) if split != "test" else read_part(path, split=split)
    count = max(int(training_labels.max()), int(labels.max())) + 1
    mean, std = statistics(training, name=path.name)
    return ImageData(
        path.name,
        images[:limit],
        labels[:limit],
        tuple(map(str, range(count))),
        mean,
        std,
        "the user's own",
        preferred_size=(32, 32) if images.shape[1:3] == (28, 28) else None,
        own_parts=("test",) if find_idx(path, "test", "images") is not None else (),
    )


FORMATS.register(
    "idx",
    Format(
        "idx",
        "folder of IDX files (train-images-idx3-ubyte.gz ...)",
        recognises=lambda path: path.is_dir() and find_idx(path, "train", "images") is not None,
        load=load_idx,
    ),
)
