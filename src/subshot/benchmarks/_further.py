"""Columns that stand in further files beside a table, such as latencies: read only when one of them is asked for."""

import hashlib
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from subshot.benchmarks._columns import Columns, joint_digest, read_columns
from subshot.errors import DataError


@dataclass(frozen=True)
class Further:
    """A file with more columns about the rows of a table.

    Attributes:
        file: Path below the folder of data. A ``.npz`` file holds ``columns``, their names, and ``values``, a row for
            each key from 0 on; other files have the key as a column.
        prefix: What the names of its columns begin with here.
        missing: The number that stands for none.
    """

    file: str
    prefix: str = ""
    missing: float | None = None


def add_columns(columns: Columns, names: Collection[str], files: Mapping[Path, Further], *, key: str) -> Columns:
    """The columns with those of further files that are among ``names``; cells are empty where a file lacks a key.

    Args:
        columns: A table's columns.
        names: Columns that are wanted; those that are nowhere are left for the caller to refuse.
        files: Further files in the order of search, found.
        key: The column that the rows are joined by.

    Raises:
        DataError: A file is damaged, or lacks the key.
    """
    wanted = [name for name in dict.fromkeys(names) if name not in columns.cells]
    cells, digest, used = dict(columns.cells), columns.digest, []
    for path, further in files.items():
        asked = {name: name.removeprefix(further.prefix) for name in wanted if name.startswith(further.prefix)}
        asked = {name: own for name, own in asked.items() if name not in cells}
        if not asked:
            continue
        own, added = _read(path, key, set(asked.values()))
        found = {name: added[column] for name, column in asked.items() if column in added and column != key}
        if not found:
            continue
        row_of = {value: row for row, value in enumerate(added[key])}
        rows = [row_of.get(value) for value in columns.cells[key]]
        for name, column in found.items():
            cells[name] = [_cell(column[row], further.missing) if row is not None else "" for row in rows]
        digest = joint_digest(digest, own)
        used.append(path.name)
    return Columns(" and ".join([columns.name, *used]), digest, cells)


def further_names(files: Mapping[Path, Further], *, key: str) -> list[str]:
    """All columns that further files have, as they are called here.

    Raises:
        DataError: A file is damaged, or lacks the key.
    """
    return [
        f"{further.prefix}{name}" for path, further in files.items() for name in _read(path, key, ())[1] if name != key
    ]


def _cell(text: str, missing: float | None) -> str:
    return "" if missing is not None and text and float(text) == missing else text


def _read(path: Path, key: str, wanted: Collection[str]) -> tuple[str, Mapping[str, list[str]]]:
    """Digest of a file, its key, and its columns, of which those that aren't wanted may be empty."""
    if path.suffix.lower() != ".npz":
        columns = read_columns(path)
        if key not in columns.cells:
            raise DataError(f"{path} has no column {key!r}, by which tables are joined.", "Restore the file.")
        return columns.digest, columns.cells
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # numpy leaves broken ones open
            names, values = [str(name) for name in arrays["columns"]], arrays["values"]
        if values.ndim != 2 or values.shape[1] != len(names):
            raise ValueError(f"{len(names)} names for values of shape {values.shape}")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged or has other arrays: {error}.", "Get it again.") from error
    cells = {
        name: [str(value) for value in values[:, number]] if name in wanted else [] for number, name in enumerate(names)
    }
    cells[key] = [str(row) for row in range(len(values))]
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16], cells
