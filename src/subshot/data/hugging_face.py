"""Data sets that Hugging Face's ``datasets`` saved to disk; subshot asks no hub for any.

A folder that ``save_to_disk`` wrote, of one set or of several by part, is read by its path. A set that is in memory is
given to Python functions as it is.
"""

import importlib
from pathlib import Path

from subshot.data._dataset import FORMATS, Data, Format
from subshot.data._geometry import Size
from subshot.data._map_style import from_data_sets
from subshot.data._split import Split, by_part
from subshot.errors import DataError, MissingDependencyError


def load_saved(path: Path, *, split: Split = None, limit: int | None = None, image_size: Size | None = None) -> Data:
    """Read a folder that ``save_to_disk`` wrote; see ``_map_style.py`` for what entries may be.

    Args:
        path: The folder.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise.
        image_size: Size to bring images to.

    Raises:
        DataError: The folder is damaged, or its entries have another form.
        MissingDependencyError: The package isn't installed.
    """
    try:
        datasets = importlib.import_module("datasets")
    except (ImportError, RuntimeError) as error:
        raise MissingDependencyError(
            f"{path} is a data set that the package datasets saved, which can't be imported: {error}.",
            "Install it with: pip install datasets",
        ) from error
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # Arrow's own errors are of many kinds
        raise DataError(
            f"{path} can't be read: {type(error).__name__}: {error}.", "Save the data set again."
        ) from error
    parts = by_part(found) if isinstance(found, dict) else {"train": found}
    return from_data_sets(parts, name=path.resolve().name, split=split, limit=limit, image_size=image_size)


def is_saved(path: Path) -> bool:
    """Whether a folder is one that ``save_to_disk`` wrote."""
    if not path.is_dir():
        return False
    return (path / "dataset_dict.json").is_file() or all(
        (path / n).is_file() for n in ("dataset_info.json", "state.json")
    )


FORMATS.register(
    "hugging_face",
    Format(
        "hugging_face",
        "folder that the package datasets saved",
        recognises=is_saved,
        load=load_saved,
        sizes_differ=True,
    ),
)
