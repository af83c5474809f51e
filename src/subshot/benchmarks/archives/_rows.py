"""Collect what an archive says of one architecture after another into the columns of a plain table."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

from subshot.benchmarks._columns import Columns
from subshot.errors import DataError


class Rows:
    """Rows with the cells that each has; in the end every row has every column.

    Attributes:
        archs: Architectures so far.
        cells: Columns so far; one whose last rows have no cell is still short.
    """

    def __init__(self) -> None:
        self.archs: list[str] = []
        self.cells: dict[str, list[str]] = {}

    def add(self, arch: str, cells: Mapping[str, str]) -> None:
        """Add the row of an architecture."""
        before = len(self.archs)
        self.archs.append(arch)
        for name, text in cells.items():
            column = self.cells.setdefault(name, [])
            column += [""] * (before - len(column))
            column.append(text)

    def columns(self, path: Path, *, order: Sequence[str] = ()) -> Columns:
        """All columns: ``arch``, then those in ``order`` that there are, then the rest as they came.

        Raises:
            DataError: There are no rows.
        """
        if not self.archs:
            raise DataError(f"{path} holds no architectures.", "Take it from its original source again.")
        names = dict.fromkeys([*(name for name in order if name in self.cells), *self.cells])
        cells = {"arch": self.archs}
        cells |= {name: self.cells[name] + [""] * (len(self.archs) - len(self.cells[name])) for name in names}
        digest = hashlib.sha256()
        for name, column in cells.items():
            digest.update("\n".join([name, *column, ""]).encode())
        return Columns(path.name, digest.hexdigest()[:16], cells)


def cell(value: object) -> str:
    """A number as a cell, to the last digit, also if it isn't finite; nothing where there is none."""
    return repr(value).removesuffix(".0") if _is_number(value) else ""


def mean_cell(values: Sequence[object]) -> str:
    """The mean of some training runs as a cell; nothing where there are none, or one of them has no number."""
    numbers = [float(value) for value in values if _is_number(value)]
    return cell(math.fsum(numbers) / len(numbers)) if numbers and len(numbers) == len(values) else ""


def joined_cell(values: Sequence[object]) -> str:
    """Some training runs in one cell, joined by bars, as the facts of a target call ``seeds``."""
    return "|".join(map(cell, values))


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
