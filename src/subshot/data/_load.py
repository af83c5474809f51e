"""One door to all data: a registered name, a path to a user's own, or what a user already has in memory."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from subshot.data._arrays import tensors_from_arrays
from subshot.data._batches import samples_from
from subshot.data._dataset import DATASETS, FORMATS, Data, DataSet, Format, data_root
from subshot.data._geometry import Size, check_size
from subshot.data._images import ImageData
from subshot.data._map_style import from_data_sets, is_map_style
from subshot.data._split import Split, by_part, check_split
from subshot.data._tensors import TensorData
from subshot.data._torchvision import PREFIX, load_torchvision
from subshot.errors import DataError, MissingDependencyError, OptionError

# A name, a path, a set in memory, another library's data set, or a user's own arrays, tensors or loader.
DataLike = Any


def load_data(
    data: DataLike,
    *,
    split: Split = None,
    root: str | Path | None = None,
    limit: int | None = None,
    image_size: Size | None = None,
) -> Data:
    """Read data of any kind.

    Args:
        data: A registered name; the path of a user's own data in any registered format; ``torchvision:NAME``; a set of
            another library (torchvision's, Hugging Face's), or several by part, as a dict; arrays or tensors, inputs
            or ``(inputs, labels)``, or a loader that yields such batches, read to its end; or data read already. A name
            wins over a file of the same name; write ``./name`` for the file.
        split: ``"train"``, ``"test"``, ``"validation"`` for sets that come with one, or ``None`` for what may be looked
            at before training: the training part of a set that comes with a test part, and everything of a set that
            doesn't. A set without a test part gets one by a fixed seed: a fifth of each class. For three parts by a
            seed of your own see :func:`subshot.data.load_parts`.
        root: Folder of data; SUBSHOT_DATA if not given.
        limit: Read at most this many, the first in the set's order, and decode no others. The order of the registered
            sets, of image folders and tables is random (by a fixed seed where the source is sorted), so the first are
            a fair sample.
        image_size: Bring the images to this size while they are read. Needed for folders of large photographs only;
            batches are brought to size when they are taken.

    Returns:
        Images, or samples of another kind.

    Raises:
        DataError: No such set or path, a set that isn't here, or damaged data.
        MissingDependencyError: The package that brings the set isn't installed.
        OptionError: An unknown part, a limit below 1, or no size.
    """
    check_split(split, limit)
    size = None if image_size is None else check_size(image_size)
    if isinstance(data, str) and data in DATASETS:
        found = _load_named(DATASETS.get(data), data_root(root), split, limit)
    elif isinstance(data, str) and data.startswith(PREFIX):
        name = data.removeprefix(PREFIX)
        found = load_torchvision(name, data_root(root), split=split, limit=limit, image_size=size)
    elif isinstance(data, (str, Path)):
        found = _load_path(str(data), split, limit, size)
    else:
        found = _load_given(data, split, limit, size)
    if split == "validation" and "validation" not in found.own_parts:
        raise DataError(f"{found.name} has no validation part of its own.", "load_parts sets one aside.")
    if size is None:
        return found
    if isinstance(found, TensorData):
        raise OptionError(f"image_size {image_size} was given for {found.name}.", "It holds no images.")
    return found.resized(size)


def load_images(
    name_or_path: str | Path,
    *,
    split: Split = None,
    root: str | Path | None = None,
    limit: int | None = None,
    image_size: Size | None = None,
) -> ImageData:
    """Read images; see :func:`load_data`, which reads other samples too.

    Raises:
        DataError: No such set or path, a set that isn't here, damaged data, or other samples than images.
        MissingDependencyError: The package that brings the set isn't installed.
        OptionError: An unknown part, a limit below 1, or no size.
    """
    found = load_data(name_or_path, split=split, root=root, limit=limit, image_size=image_size)
    if not isinstance(found, ImageData):
        (spec,) = found.task().inputs
        raise DataError(f"{found.name} holds no images, but {spec.name} of shape {spec.shape}.", "Use load_data.")
    return found


def format_of(path: Path) -> Format | None:
    """The format that an existing path would be read in; ``None`` for none."""
    formats = sorted(map(FORMATS.get, FORMATS.names()), key=lambda one: one.fallback)
    return next((one for one in formats if one.recognises(path)), None)


def is_image_folder(path: Path) -> bool:
    """Whether a path would be read as image files of a folder or table, whose sizes may differ."""
    found = format_of(path) if path.exists() else None
    return found is not None and found.sizes_differ


def _load_named(entry: DataSet, root: Path | None, split: Split, limit: int | None) -> Data:
    where = entry.locate(root)
    if where is not None:
        return entry.load(where, split=split, limit=limit)
    if entry.package:
        raise MissingDependencyError(
            f"The data set {entry.name!r} comes with {entry.package}, which is not installed.", entry.how_to_get
        )
    looked = "SUBSHOT_DATA names no folder" if root is None else f"it is not in the data folder {root}"
    raise DataError(f"The data set {entry.name!r} is not here: {looked}.", entry.how_to_get)


def _load_path(given: str, split: Split, limit: int | None, size: tuple[int, int] | None) -> Data:
    path = Path(given)
    # An empty text would be the current folder.
    if not given or not path.exists():
        near = difflib.get_close_matches(given, DATASETS.names(), n=3, cutoff=0.5)
        suggestion = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise DataError(
            f"There is no data set named {given!r}, and no file or folder of that name.",
            f"{suggestion}Known sets: {', '.join(DATASETS)}.",
        )
    found = format_of(path)
    if found is None:
        forms = "; ".join(FORMATS.get(name).description for name in FORMATS)
        raise DataError(f"{path} is no image data that subshot can read.", f"It reads: {forms}.")
    try:
        return found.load(path, split=split, limit=limit, image_size=size)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error}.") from error


def _load_given(data: DataLike, split: Split, limit: int | None, size: tuple[int, int] | None) -> Data:
    if isinstance(data, (ImageData, TensorData)):
        if split is not None:
            raise OptionError(
                f"The {split} part of {data.name} was asked for, which is read already.", "Use load_parts."
            )
        return data if limit is None or limit >= len(data) else data.select(np.arange(limit))
    if isinstance(data, Mapping) and by_part(data) and all(map(is_map_style, data.values())):
        return from_data_sets(by_part(data), name="given", split=split, limit=limit, image_size=size)
    if is_map_style(data):
        return from_data_sets({"train": data}, name="given", split=split, limit=limit, image_size=size)
    inputs, labels = samples_from(data, most=limit if split is None else None)
    return tensors_from_arrays(inputs, labels, name="given", split=split, limit=limit)
