"""Image sheets: small images side by side in a few lossless WebP files, and the sets kept that way.

A folder holds ``train_NNN.webp`` and ``test_NNN.webp``, 40 square images a row, read left to right and top to bottom;
the last sheet of a part may end in black. ``index.csv.gz`` has the columns ``split,position,label`` (and more), where
``position`` counts through the sheets of a part; ``classes.txt`` has one class a line, its name after a tab if there
is one. Files listed in ``SHA256SUMS`` are checked when they are read. The images of a part are in random order.
"""

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from subshot.data._dataset import DATASETS, FORMATS, DataSet, Format, find_below
from subshot.data._geometry import Size
from subshot.data._images import ImageData, statistics
from subshot.data._split import Split
from subshot.data.cifar import (
    CIFAR10,
    CIFAR10_STATISTICS,
    CIFAR100,
    CIFAR100_STATISTICS,
    CIFAR_LICENCE,
    Layout,
    layout_of,
    load_batches,
)
from subshot.errors import DataError

PER_ROW = 40
_AGAIN = "Get the folder again."
_PARTS = ("test",)


@dataclass(frozen=True)
class _Known:
    name: str
    statistics: tuple[tuple[float, ...], tuple[float, ...]]
    licence: str


# By the folder's name. CIFAR's statistics are the published ones of the whole training part.
_KNOWN = {
    "cifar10-25k": _Known("cifar10", CIFAR10_STATISTICS, CIFAR_LICENCE),
    "cifar100-10k": _Known("cifar100", CIFAR100_STATISTICS, CIFAR_LICENCE),
    "tinyimagenet16-120": _Known(
        "tinyimagenet16_120",
        ((0.4732, 0.4454, 0.3956), (0.2449, 0.2362, 0.2490)),
        "drawn from ImageNet: non-commercial research and education only",
    ),
}


def load_sheets(
    path: Path, *, split: Split = None, limit: int | None = None, image_size: Size | None = None
) -> ImageData:
    """Read a folder of image sheets.

    Args:
        path: The folder.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise; no more sheets are decoded than needed.
        image_size: Not used: all images have one size.

    Raises:
        DataError: A file is missing, damaged or not what the others say.
    """
    part = split or "train"
    sums = _read_sums(path)
    classes = _read_classes(path, sums)
    labels = _read_labels(path, part, len(classes), sums)
    images = _read_images(path, part, len(labels), limit, sums)
    known = _KNOWN.get(path.name)
    if known is None:
        # One sheet of the training part tells enough.
        count = len(_read_labels(path, "train", len(classes), sums))
        mean, std = statistics(_read_images(path, "train", count, 1000, sums), name=path.name)
        return ImageData(path.name, images, labels[:limit], classes, mean, std, "the user's own", own_parts=_PARTS)
    return ImageData(known.name, images, labels[:limit], classes, *known.statistics, known.licence, own_parts=_PARTS)


def is_sheets(path: Path) -> bool:
    """Whether a path is a folder of image sheets."""
    return path.is_dir() and (path / "index.csv.gz").is_file() and any(path.glob("train_*.webp"))


def _read_sums(folder: Path) -> dict[str, str]:
    path = folder / "SHA256SUMS"
    if not path.is_file():
        return {}
    lines = (line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {fields[1].lstrip("*"): fields[0].lower() for fields in lines if len(fields) == 2}


def _read_file(path: Path, sums: dict[str, str]) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.", _AGAIN) from None
    expected = sums.get(path.name)
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise DataError(f"{path} is damaged: its SHA-256 is not the one in SHA256SUMS.", _AGAIN)
    return content


def _read_classes(folder: Path, sums: dict[str, str]) -> tuple[str, ...]:
    text = _read_file(folder / "classes.txt", sums).decode("utf-8", errors="replace")
    names = tuple(line.rpartition("\t")[2].strip() for line in text.splitlines())
    if not names or not all(names):
        raise DataError(f"{folder / 'classes.txt'} is empty or has an empty line.", _AGAIN)
    return names


def _read_labels(folder: Path, part: str, classes: int, sums: dict[str, str]) -> NDArray[np.int64]:
    path = folder / "index.csv.gz"
    try:
        text = gzip.decompress(_read_file(path, sums)).decode("utf-8")
        rows = [row for row in csv.DictReader(io.StringIO(text)) if row["split"] == part]
        positions = [int(row["position"]) for row in rows]
        labels = np.array([int(row["label"]) for row in rows], dtype=np.int64)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read: {error}.", _AGAIN) from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} has no whole columns split, position and label: {error}.", _AGAIN) from error
    if not rows:
        raise DataError(f"{path} lists no {part} image.", _AGAIN)
    if positions != list(range(len(rows))):
        raise DataError(f"{path} doesn't count the {part} images from 0 on.", _AGAIN)
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{path} has labels from {labels.min()} to {labels.max()}, and {classes} classes are named.", _AGAIN
        )
    return labels


def _read_images(folder: Path, part: str, count: int, limit: int | None, sums: dict[str, str]) -> NDArray[np.uint8]:
    wanted = min(count, limit or count)
    found: list[NDArray[np.uint8]] = []
    for images in _sheets(folder, part, sums):
        if found and images.shape[1:] != found[0].shape[1:]:
            raise DataError(f"The {part} sheets of {folder} have images of different sizes.", _AGAIN)
        found.append(images)
        if sum(map(len, found)) >= wanted:
            return np.concatenate(found)[:wanted]
    raise DataError(f"The {part} sheets of {folder} hold {sum(map(len, found)):,} of {count:,} images.", _AGAIN)


def _sheets(folder: Path, part: str, sums: dict[str, str]) -> Iterator[NDArray[np.uint8]]:
    """The images of each sheet, (N, side, side, 3)."""
    from PIL import Image

    for path in sorted(folder.glob(f"{part}_*.webp")):
        content = _read_file(path, sums)
        try:
            with Image.open(io.BytesIO(content), formats=("WEBP",)) as picture:
                sheet = np.asarray(picture.convert("RGB"))
        except Exception as error:  # a damaged file can make a decoder raise anything
            raise DataError(f"{path} can't be read: {error}.", _AGAIN) from error
        height, width, _ = sheet.shape
        side = width // PER_ROW
        if width % PER_ROW or height % side:
            raise DataError(f"{path} has {height} x {width} pixels, not rows of {PER_ROW} square images.", _AGAIN)
        rows = sheet.reshape(height // side, side, PER_ROW, side, 3)
        yield rows.transpose(0, 2, 1, 3, 4).reshape(-1, side, side, 3)


FORMATS.register(
    "sheets",
    Format("sheets", "folder of image sheets with index.csv.gz", recognises=is_sheets, load=load_sheets),
)


# --- sets by name ----------------------------------------------------------------------------------------------------


def _register_cifar(layout: Layout, sheets: str) -> None:
    def locate(root: Path | None) -> Path | None:
        folder = find_below(root, sheets)
        if folder is not None and is_sheets(folder):
            return folder
        batches = find_below(root, layout.folder) or find_below(root, layout.archive)
        return batches if batches is not None and layout_of(batches) == layout else None

    def load(where: Path, *, split: Split, limit: int | None) -> ImageData:
        return (load_sheets if is_sheets(where) else load_batches)(where, split=split, limit=limit)

    how_to_get = (
        f"Put the folder {layout.folder} (or {layout.archive}) from www.cs.toronto.edu/~kriz/cifar.html, or the image "
        f"sheets {sheets}, in the folder that SUBSHOT_DATA names."
    )
    DATASETS.register(layout.name, DataSet(layout.name, "images", CIFAR_LICENCE, how_to_get, locate, load))


_register_cifar(CIFAR10, "cifar10-25k")
_register_cifar(CIFAR100, "cifar100-10k")


def _locate_tinyimagenet(root: Path | None) -> Path | None:
    folder = find_below(root, "tinyimagenet16-120")
    return folder if folder is not None and is_sheets(folder) else None


DATASETS.register(
    "tinyimagenet16_120",
    DataSet(
        "tinyimagenet16_120",
        "images",
        licence=_KNOWN["tinyimagenet16-120"].licence,
        how_to_get="Put the image sheets tinyimagenet16-120 in the folder that SUBSHOT_DATA names.",
        locate=_locate_tinyimagenet,
        load=load_sheets,
    ),
)
