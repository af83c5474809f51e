"""The cells of a table file, as text by column: CSV, gzipped CSV or Parquet. No file is ever unpickled."""

import csv
import gzip
import hashlib
import importlib
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subshot.errors import DataError, MissingDependencyError

# A packed table may grow to this; a small file could otherwise fill the memory.
_MOST_BYTES = 1 << 30
_MOST_ROWS = 1 << 14
# What an empty cell takes at least.
_CELL_BYTES = 8

FORMS = (".csv", ".csv.gz", ".parquet")

_HINT = f"subshot reads tables as {', '.join(FORMS)}: a header line, one row for each architecture."


@dataclass(frozen=True, eq=False)
class Columns:
    """A table file as it is.

    Attributes:
        name: The file's name.
        digest: First 16 hex digits of the SHA-256 of the file.
        cells: For each column its cells in file order; an absent value is an empty text.
    """

    name: str
    digest: str
    cells: Mapping[str, list[str]]

    def __len__(self) -> int:
        return len(next(iter(self.cells.values()), []))


def read_columns(path: Path) -> Columns:
    """Read a table file.

    Raises:
        DataError: It is not there, has another form, is truncated or damaged, or its rows differ in length.
        MissingDependencyError: It is a Parquet file and pyarrow isn't installed.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"The table {path} {what}.", _HINT)
    if not path.name.lower().endswith(FORMS):
        raise DataError(f"{path} is no table that subshot can read.", _HINT)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.", "Check its permissions.") from error
    cells = _parquet(path, content) if path.suffix.lower() == ".parquet" else _csv(path, content)
    columns = Columns(path.name, hashlib.sha256(content).hexdigest()[:16], cells)
    if not len(columns):
        raise DataError(f"{path} has no rows.", _HINT)
    return columns


def join(first: Columns, second: Columns, key: str) -> Columns:
    """Rows of ``first`` whose ``key`` is in ``second`` too, with the columns of both.

    Raises:
        DataError: One of them has no such column.
    """
    for one in (first, second):
        if key not in one.cells:
            raise DataError(f"{one.name} has no column {key!r}, by which tables are joined.", "Restore the file.")
    row_of = {value: row for row, value in enumerate(second.cells[key])}
    pairs = [(row, row_of[value]) for row, value in enumerate(first.cells[key]) if value in row_of]
    cells = {name: [column[row] for row, _ in pairs] for name, column in first.cells.items()}
    cells |= {name: [column[row] for _, row in pairs] for name, column in second.cells.items() if name not in cells}
    return Columns(f"{first.name} and {second.name}", joint_digest(first.digest, second.digest), cells)


def joint_digest(*digests: str) -> str:
    """The digest of several files together; one file keeps its own."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def _csv(path: Path, content: bytes) -> dict[str, list[str]]:
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(io.BytesIO(content)) as file:
                content = file.read(_MOST_BYTES + 1)
            if len(content) > _MOST_BYTES:
                raise _too_large(path)
        text = content.decode("utf-8-sig")  # spreadsheets put a mark in front
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is damaged or truncated: {error}.", "Get it again.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: {error}.", "Save it as UTF-8.") from error
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{path} is no CSV: {error}.", _HINT) from error
    if not rows:
        raise DataError(f"{path} is empty.", _HINT)
    header = rows[0]
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise DataError(f"{path} has one column, {header[0]!r}.", "Separate columns by commas.")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has several columns named {', '.join(map(repr, repeated))}.", "Rename all but one.")
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise DataError(
                f"Row {number} of {path} has {len(row)} cells, its header has {len(header)}.",
                "The file may be cut short; cells with commas stand in quotes.",
            )
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(header)}


def _parquet(path: Path, content: bytes) -> dict[str, list[str]]:
    try:
        reader = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is a Parquet file, and pyarrow can't be imported: {error}.",
            "Install it with pip install pyarrow, or save the table as CSV.",
        ) from error
    try:
        file = reader.ParquetFile(io.BytesIO(content))
        size = _unpacked_size(file.metadata)
        if size > _MOST_BYTES:
            raise _too_large(path)
        cells: list[list[str]] = [[] for _ in file.schema_arrow.names]
        # What is said once for many rows takes no room in the file: few rows at a time, and what they take is added up.
        taken = 0
        for batch in file.iter_batches(batch_size=min(_MOST_ROWS, max(1, _MOST_BYTES // max(1, size)))):
            taken += batch.nbytes
            if taken > _MOST_BYTES:
                raise _too_large(path)
            for column, array in zip(cells, batch.columns, strict=True):
                column.extend("" if cell is None else str(cell) for cell in array.to_pylist())
        return dict(zip(map(str, file.schema_arrow.names), cells, strict=True))
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these two kinds
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{path} is damaged or no Parquet file: {reason}.", "Get it again.") from error


def _unpacked_size(metadata: Any) -> int:
    """Bytes of a Parquet file's columns as it says itself, and a few more for every cell."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    encoded = sum(int(group.total_byte_size) for group in groups)
    return encoded + _CELL_BYTES * int(metadata.num_rows) * int(metadata.num_columns)


def _too_large(path: Path) -> DataError:
    return DataError(f"{path} unpacks to more than {_MOST_BYTES >> 20:,} MiB.", "Split the table.")
