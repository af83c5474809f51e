"""One door to all images: a registered name, or a path to a user's own."""

import dataclasses
import difflib
from pathlib import Path

from subshot.data._dataset import DATASETS, FORMATS, DataSet, data_root
from subshot.data._geometry import Size, check_size, fit
from subshot.data._images import ImageData
from subshot.data._split import Split, check_split
from subshot.errors import DataError, MissingDependencyError


def load_images(
    name_or_path: str | Path,
    *,
    split: Split = None,
    root: str | Path | None = None,
    limit: int | None = None,
    image_size: Size | None = None,
) -> ImageData:
    """Read images.

    Args:
        name_or_path: A registered name, else the path of a user's own images in any registered format. A name wins
            over a file of the same name; write ``./name`` for the file.
        split: ``"train"``, ``"test"``, or ``None`` for what may be looked at before training: the training part of a
            set that comes with a test part, and everything of a set that doesn't. A set without a test part gets one
            by a fixed seed: a fifth of each class.
        root: Folder of data; SUBSHOT_DATA if not given.
        limit: Read at most this many, the first in the set's order, and decode no others. The order of the registered
            sets and of image folders is random (by a fixed seed where the source is sorted), so the first are a fair
            sample.
        image_size: Bring the images to this size while they are read. Needed for folders of large photographs only;
            batches are brought to size when they are taken.

    Raises:
        DataError: No such set or path, a set that isn't here, or damaged data.
        MissingDependencyError: The package that brings the set isn't installed.
        OptionError: An unknown part, a limit below 1, or no size.
    """
    check_split(split, limit)
    size = None if image_size is None else check_size(image_size)
    if isinstance(name_or_path, str) and name_or_path in DATASETS:
        data = _load_named(DATASETS.get(name_or_path), data_root(root), split, limit)
    else:
        data = _load_path(str(name_or_path), split, limit, size)
    if size is None:
        return data
    return dataclasses.replace(data, images=fit(data.images, size), preferred_size=None)


def is_image_folder(path: Path) -> bool:
    """Whether a path would be read as a folder of images, whose sizes may differ."""
    if not path.is_dir():
        return False
    return not any(one.recognises(path) for one in map(FORMATS.get, FORMATS.names()) if not one.fallback)


def _load_named(entry: DataSet, root: Path | None, split: Split, limit: int | None) -> ImageData:
    where = entry.locate(root)
    if where is not None:
        return entry.load(where, split=split, limit=limit)
    if entry.package:
        raise MissingDependencyError(
            f"The data set {entry.name!r} comes with {entry.package}, which is not installed.", entry.how_to_get
        )
    looked = "SUBSHOT_DATA names no folder" if root is None else f"it is not in the data folder {root}"
    raise DataError(f"The data set {entry.name!r} is not here: {looked}.", entry.how_to_get)


def _load_path(given: str, split: Split, limit: int | None, size: tuple[int, int] | None) -> ImageData:
    path = Path(given)
    # An empty text would be the current folder.
    if not given or not path.exists():
        near = difflib.get_close_matches(given, DATASETS.names(), n=3, cutoff=0.5)
        suggestion = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise DataError(
            f"There is no data set named {given!r}, and no file or folder of that name.",
            f"{suggestion}Known sets: {', '.join(DATASETS)}.",
        )
    formats = sorted((FORMATS.get(name) for name in FORMATS), key=lambda one: one.fallback)
    for one in formats:
        if one.recognises(path):
            try:
                return one.load(path, split=split, limit=limit, image_size=size)
            except OSError as error:
                raise DataError(f"{path} can't be read: {error}.") from error
    forms = "; ".join(one.description for one in formats)
    raise DataError(f"{path} is no image data that subshot can read.", f"It reads: {forms}.")
