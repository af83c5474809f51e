"""Latencies of another device, read from a table: one row for each architecture."""

import csv
import gzip
import io
import math
import zlib
from collections import defaultdict
from pathlib import Path

from subshot.errors import ArchError, DataError, OptionError
from subshot.spaces._space import Space

_ARCH_NAMES = ("arch", "architecture", "arch_str")
_HINT = "Give a .csv or .csv.gz with a header line, a column 'arch' and a column 'latency_ms'."


def read_latency_table(path: str | Path, space: Space, *, column: str | None = None) -> dict[str, float]:
    """Latency (ms) by canonical architecture text; several rows of one architecture are averaged.

    Args:
        path: CSV or gzipped CSV.
        space: Reads the architectures of the column ``arch``, ``architecture`` or ``arch_str``.
        column: Column of latencies in milliseconds; ``latency_ms`` or the only one with ``latency`` in its name if not
            given.

    Raises:
        DataError: The file is missing, damaged or no table, or a cell is no architecture or no positive number.
        OptionError: There is no such column, or several it could be.
    """
    path = Path(path)
    rows = _rows(path)
    header = rows[0]
    archs = next((header.index(name) for name in _ARCH_NAMES if name in header), None)
    if archs is None:
        raise DataError(f"{path} has no column of architectures, but {', '.join(header)}.", _HINT)
    position = header.index(_column(path, header, column))
    found: dict[str, list[float]] = defaultdict(list)
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise DataError(f"Row {number} of {path} has {len(row)} cells, its header {len(header)}.", _HINT)
        if not row[position].strip():
            continue  # not measured
        try:
            text, value = space.format(space.parse(row[archs])), float(row[position])
        except ArchError as error:
            raise DataError(f"Row {number} of {path}: {error.message}", error.hint) from error
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise DataError(f"Row {number} of {path} has the latency {row[position]!r}.", "It is a positive number.")
        found[text].append(value)
    if not found:
        raise DataError(f"{path} has no latencies.", _HINT)
    return {text: math.fsum(values) / len(values) for text, values in found.items()}


def _column(path: Path, header: list[str], wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in header:
            raise OptionError(f"{path} has no column {wanted!r}.", f"It has: {', '.join(header)}.")
        return wanted
    likely = ["latency_ms"] if "latency_ms" in header else [name for name in header if "latency" in name.lower()]
    if len(likely) != 1:
        what = f"several columns of latencies, {', '.join(likely)}" if likely else "no column of latencies"
        raise OptionError(f"{path} has {what}.", f"Name the column; the table has: {', '.join(header)}.")
    return likely[0]


def _rows(path: Path) -> list[list[str]]:
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True) if row]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"The latency table {path} can't be read: {reason}.", _HINT) from error
    if len(rows) < 2:
        raise DataError(f"{path} has no rows.", _HINT)
    return rows
