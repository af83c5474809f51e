"""The registers of data: sets known by name, and formats that a path may have."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from subshot._registry import Registry
from subshot.data._geometry import Size
from subshot.data._images import ImageData
from subshot.data._pictures import Pictures
from subshot.data._split import Split
from subshot.data._tensors import TensorData

Kind = Literal["images", "tokens", "table"]

# A set in memory.
Data = ImageData | TensorData


class LoadSet(Protocol):
    """Reads one part of a set known by name."""

    def __call__(self, where: Path, /, *, split: Split, limit: int | None) -> Data:
        """Read at most ``limit`` samples, the first in the set's order.

        Args:
            where: What the set's ``locate`` said.
            split: The part, or ``None`` for what may be looked at before training.
            limit: ``None`` for all.
        """
        ...


class LoadPath(Protocol):
    """Reads one part of a user's own data."""

    def __call__(self, path: Path, /, *, split: Split, limit: int | None, image_size: Size | None) -> Data:
        """As :class:`LoadSet`; ``image_size`` is for formats whose images have no common size."""
        ...


@dataclass(frozen=True)
class DataSet:
    """A set known by name.

    Attributes:
        name: Registry name.
        kind: What its samples are.
        licence: Terms of use, in one line.
        how_to_get: What to do where it isn't here; subshot downloads nothing.
        locate: Given the user's folder of data (or ``None``), the file or folder of the set, found without reading it;
            ``None`` if it isn't here.
        load: Reads it.
        package: The Python package that brings it, if one does.
    """

    name: str
    kind: Kind
    licence: str
    how_to_get: str
    locate: Callable[[Path | None], Path | None]
    load: LoadSet
    package: str = ""


@dataclass(frozen=True)
class Format:
    """A form in which a user's own data comes.

    Attributes:
        name: Registry name.
        description: For messages, for example ``".npz file with keys x and y"``.
        recognises: Whether an existing path looks like it, judged by names only.
        load: Reads it.
        open: Lists it without decoding images, where these are files of their own.
        sizes_differ: Whether images may have no common size and are brought to one while they are read.
        fallback: Asked last, because it recognises any folder.
    """

    name: str
    description: str
    recognises: Callable[[Path], bool]
    load: LoadPath
    open: Callable[[Path], Pictures] | None = None
    sizes_differ: bool = False
    fallback: bool = False


DATASETS: Registry[DataSet] = Registry("data set", "subshot.data")
FORMATS: Registry[Format] = Registry("data format", "subshot.data")


@dataclass(frozen=True)
class DataRow:
    """One line of the table of sets.

    Attributes:
        name: Registry name.
        kind: What its samples are.
        found: Whether it is here.
        path: Where, or ``None``.
        licence: Terms of use.
        how_to_get: What to do where it isn't here.
    """

    name: str
    kind: Kind
    found: bool
    path: str | None
    licence: str
    how_to_get: str


def data_root(root: str | Path | None = None) -> Path | None:
    """The user's folder of data: ``root``, else what SUBSHOT_DATA names, else none."""
    chosen = root or os.environ.get("SUBSHOT_DATA")
    return Path(chosen) if chosen else None


def data_table(root: str | Path | None = None) -> list[DataRow]:
    """All sets, sorted by name, and whether each is here; nothing is read.

    Args:
        root: Folder of data; SUBSHOT_DATA if not given.
    """
    folder = data_root(root)
    rows = []
    for name in DATASETS:
        entry = DATASETS.get(name)
        where = entry.locate(folder)
        path = None if where is None else str(where)
        rows.append(DataRow(name, entry.kind, where is not None, path, entry.licence, entry.how_to_get))
    return rows


def find_below(root: Path | None, *names: str) -> Path | None:
    """The first of ``names`` that exists in ``root`` or in its folder ``images``."""
    if root is None:
        return None
    candidates = (folder / name for name in names for folder in (root, root / "images"))
    return next((path for path in candidates if path.exists()), None)
