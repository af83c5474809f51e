"""CIFAR-10 and CIFAR-100 in the Python batches their authors hand out (A. Krizhevsky, 2009).

Either the unpacked folder (``cifar-10-batches-py``, ``cifar-100-python``) or the archive itself (``.tar.gz``), which
takes seconds longer each time. The batches are pickles; see ``_safe_pickle.py`` for how they are read.
"""

import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot.data._dataset import FORMATS, Format
from subshot.data._geometry import Size
from subshot.data._images import ImageData
from subshot.data._safe_pickle import read_pickle
from subshot.data._split import Split
from subshot.errors import DataError

CIFAR10_STATISTICS = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
CIFAR100_STATISTICS = (0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047)
CIFAR_LICENCE = "none stated; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"

# The largest official file has 155 MB; an archive that announces more is no CIFAR archive.
_MOST_BYTES = 2**29


@dataclass(frozen=True)
class Layout:
    """How one of the two sets is laid out.

    Attributes:
        name: Registry name of the set.
        folder: Name of its folder, also inside the archive.
        archive: Name of the archive.
        train: Files of the training part, in order.
        test: Files of the test part.
        meta: File of the class names, and their key in it.
        labels: Key of the labels.
        statistics: Published mean and deviation of each channel, training part.
    """

    name: str
    folder: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: tuple[str, str]
    labels: str
    statistics: tuple[tuple[float, ...], tuple[float, ...]]


CIFAR10 = Layout(
    "cifar10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test=("test_batch",),
    meta=("batches.meta", "label_names"),
    labels="labels",
    statistics=CIFAR10_STATISTICS,
)
CIFAR100 = Layout(
    "cifar100",
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    train=("train",),
    test=("test",),
    meta=("meta", "fine_label_names"),
    labels="fine_labels",
    statistics=CIFAR100_STATISTICS,
)


def layout_of(path: Path) -> Layout | None:
    """Which of the two sets a folder or archive holds, judged by names; ``None`` for neither."""
    for layout in (CIFAR10, CIFAR100):
        # Any of its files, so that a missing one is named.
        if any((path / name).is_file() for name in (layout.meta[0], *layout.train, *layout.test)):
            return layout
        if path.is_file() and path.name == layout.archive:
            return layout
    return None


def load_batches(
    path: Path, *, split: Split = None, limit: int | None = None, image_size: Size | None = None
) -> ImageData:
    """Read a folder of batches or the archive, in the official order.

    Args:
        path: Folder or archive.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise; no more batches of a folder are read than needed.
        image_size: Not used: all images are 32 x 32.

    Raises:
        DataError: A file is missing, damaged, or holds anything but plain values and arrays.
    """
    layout = layout_of(path)
    if layout is None:
        raise DataError(
            f"{path} holds no CIFAR batches.",
            f"Give a folder with {CIFAR10.meta[0]} and {CIFAR10.train[0]} ..., one with {CIFAR100.meta[0]} and "
            f"{CIFAR100.train[0]}, or the archive {CIFAR10.archive} or {CIFAR100.archive} under its own name.",
        )
    batches = layout.test if split == "test" else layout.train
    files = _files(path, layout, (layout.meta[0], *batches))
    classes = _class_names(*next(files), layout)
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    for name, content in files:
        some, their_labels = _batch(name, content, layout, len(classes))
        images.append(some)
        labels.append(their_labels)
        if limit is not None and sum(map(len, images)) >= limit:
            break
    mean, std = layout.statistics
    return ImageData(
        layout.name,
        np.concatenate(images)[:limit],
        np.concatenate(labels)[:limit],
        classes,
        mean,
        std,
        CIFAR_LICENCE,
        own_parts=("test",),
    )


def _class_names(name: str, content: bytes, layout: Layout) -> tuple[str, ...]:
    names = read_pickle(content, name=name).get(layout.meta[1])
    if not isinstance(names, list) or not names or not all(isinstance(one, (bytes, str)) for one in names):
        raise DataError(f"{name} has no list of class names under {layout.meta[1]!r}.")
    return tuple(one.decode("latin-1") if isinstance(one, bytes) else one for one in names)


def _batch(name: str, content: bytes, layout: Layout, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    values = read_pickle(content, name=name)
    pixels, labels = values.get("data"), _whole_numbers(values.get(layout.labels))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,) or not len(pixels):
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(f"{name} has no images under 'data': found {found}, not uint8 (N, 3072).")
    if labels is None or len(labels) != len(pixels):
        found = "no list of numbers" if labels is None else f"{len(labels):,} labels"
        raise DataError(f"{name} has {len(pixels):,} images, and {found} under {layout.labels!r}.")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{name} has labels from {labels.min()} to {labels.max()}, and there are {classes} classes.")
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


def _whole_numbers(value: Any) -> NDArray[np.int64] | None:
    if isinstance(value, list) and all(isinstance(one, int) and abs(one) < 2**31 for one in value):
        return np.asarray(value, dtype=np.int64)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.ndim == 1:
        return value.astype(np.int64)
    return None


def _files(path: Path, layout: Layout, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Each file's name for messages and its content, in the order of ``names``."""
    if path.is_dir():
        for name in names:
            try:
                yield str(path / name), (path / name).read_bytes()
            except OSError as error:
                raise DataError(
                    f"{path / name} can't be read: {error.strerror}.", "Unpack the archive again."
                ) from None
        return
    contents = _unpack(path, {f"{layout.folder}/{name}" for name in names})
    for name in names:
        yield f"{name} in {path}", contents[f"{layout.folder}/{name}"]


def _unpack(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """The wanted files of an archive, in one pass; nothing is written to disk."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if name not in wanted or not member.isfile():
                    continue
                if member.size > _MOST_BYTES:
                    raise DataError(f"{name} in {path} announces {member.size:,} bytes, which no CIFAR file has.")
                file = archive.extractfile(member)
                assert file is not None  # a regular file
                contents[name] = file.read()
                if len(contents) == len(wanted):
                    break
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"The archive {path} can't be read: {error}.", "Get the archive again.") from error
    if missing := sorted(wanted - contents.keys()):
        raise DataError(f"The archive {path} lacks {', '.join(missing)}.", "Get the archive again.")
    return contents


FORMATS.register(
    "cifar_batches",
    Format(
        "cifar_batches",
        f"CIFAR batches (folder {CIFAR10.folder} or {CIFAR100.folder}, or their .tar.gz)",
        recognises=lambda path: layout_of(path) is not None,
        load=load_batches,
    ),
)
