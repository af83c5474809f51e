"""Published tables as one row for each architecture: rows chosen, repeats averaged, data sets side by side."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from subshot.benchmarks._columns import Columns
from subshot.errors import DataError


def where(columns: Columns, **equal: str) -> Columns:
    """Rows whose cells in the named columns are the given texts.

    Raises:
        DataError: A column isn't there, or no row remains.
    """
    wanted = [(_column(columns, name), text) for name, text in equal.items()]
    rows = [row for row in range(len(columns)) if all(cells[row] == text for cells, text in wanted)]
    if not rows:
        asked = ", ".join(f"{name} {text}" for name, text in equal.items())
        raise DataError(f"{columns.name} has no row with {asked}.", "Restore the file.")
    return replace(columns, cells={name: [cells[row] for row in rows] for name, cells in columns.cells.items()})


def marked(columns: Columns, column: str, mark: str) -> Columns:
    """The same with ``mark`` before every cell of a column: which dialect its architectures are written in.

    Raises:
        DataError: The column isn't there.
    """
    cells = [f"{mark}{cell}" for cell in _column(columns, column)]
    return replace(columns, cells={**columns.cells, column: cells})


def blanked(columns: Columns, *sentinels: float) -> Columns:
    """The same with empty cells where a number stands for none."""

    def blank(cell: str) -> str:
        try:
            return "" if float(cell) in sentinels else cell
        except ValueError:
            return cell

    return replace(columns, cells={name: [blank(cell) for cell in cells] for name, cells in columns.cells.items()})


def averaged(columns: Columns, *, key: str, names: Mapping[str, str], distinct: bool = False) -> Columns:
    """One row for each key: means of some columns, and the first row's cells of the others.

    Args:
        columns: Rows, of which several may have the same key.
        key: The column that says which belong together.
        names: Columns to average, and the new names of the means. The runs behind a mean ``accuracy`` are in the column
            ``accuracy_runs``, joined by bars.
        distinct: Whether equal values are one run, for tables that draw runs at random and draw some twice.

    Raises:
        DataError: A column isn't there, or a cell to average is no number.
    """
    groups: dict[str, list[int]] = {}
    for row, cell in enumerate(_column(columns, key)):
        groups.setdefault(cell, []).append(row)
    cells = {
        name: [column[rows[0]] for rows in groups.values()]
        for name, column in columns.cells.items()
        if name not in names
    }
    for old, new in names.items():
        column = _column(columns, old)
        runs = [[column[row] for row in rows if column[row]] for rows in groups.values()]
        if distinct:
            runs = [list(dict.fromkeys(some)) for some in runs]
        cells[new] = [_mean(columns, old, some) for some in runs]
        cells[f"{new}_runs"] = ["|".join(some) for some in runs]
    return replace(columns, cells=cells)


def side_by_side(
    columns: Columns, *, key: str, by: str, names: Mapping[str, str], shared: Collection[str] = ()
) -> Columns:
    """One row for each key, with the columns of every data set beside each other, as ``NAME_COLUMN``.

    Args:
        columns: Rows, one for each pair of a key and a data set.
        key: The column of architectures.
        by: The column of data sets.
        names: Cells of that column to take, and what to call each.
        shared: Columns that say the same for every data set, which keep their names.

    Raises:
        DataError: A column isn't there, or an architecture has two rows for the same data set.
    """
    keys, sets = _column(columns, key), _column(columns, by)
    place = {cell: number for number, cell in enumerate(dict.fromkeys(keys))}
    taken = set()
    found: dict[str, list[str]] = {key: list(place)}
    found |= {name: [""] * len(place) for name in shared}
    others = [name for name in columns.cells if name not in (key, by, *shared)]
    for new in names.values():
        found |= {f"{new}_{name}": [""] * len(place) for name in others}
    for row, (cell, data) in enumerate(zip(keys, sets, strict=True)):
        for name in shared:
            found[name][place[cell]] = _column(columns, name)[row]
        if data not in names:
            continue
        if (cell, data) in taken:
            raise DataError(f"{columns.name} has {cell} twice for {data}.", "Restore the file.")
        taken.add((cell, data))
        for name in others:
            found[f"{names[data]}_{name}"][place[cell]] = columns.cells[name][row]
    return replace(columns, cells=found)


def stacked(first: Columns, second: Columns, *, key: str) -> Columns:
    """The rows of ``first``, then those of ``second`` whose key is new, with the columns of both.

    Raises:
        DataError: One of them lacks the key.
    """
    known = set(_column(first, key))
    rows = [row for row, cell in enumerate(_column(second, key)) if cell not in known]
    names = [*first.cells, *(name for name in second.cells if name not in first.cells)]
    cells = {name: _or_empty(first, name, range(len(first))) + _or_empty(second, name, rows) for name in names}
    return replace(first, name=f"{first.name} and {second.name}", cells=cells)


def renamed(columns: Columns, **names: str) -> Columns:
    """The same with other names for some columns, given as ``new="old"``.

    Raises:
        DataError: A column isn't there.
    """
    moved = {new: _column(columns, old) for new, old in names.items()}
    rest = {name: cells for name, cells in columns.cells.items() if name not in names.values()}
    return replace(columns, cells={**moved, **rest})


def _or_empty(columns: Columns, name: str, rows: Collection[int]) -> list[str]:
    cells = columns.cells.get(name)
    return [""] * len(rows) if cells is None else [cells[row] for row in rows]


def _mean(columns: Columns, name: str, cells: Sequence[str]) -> str:
    try:
        return repr(math.fsum(map(float, cells)) / len(cells)) if cells else ""
    except ValueError:
        raise DataError(f"Column {name!r} of {columns.name} is not numeric.", "Restore the file.") from None


def _column(columns: Columns, name: str) -> list[str]:
    if name not in columns.cells:
        raise DataError(f"{columns.name} has no column {name!r}.", "Restore the file.")
    return columns.cells[name]
