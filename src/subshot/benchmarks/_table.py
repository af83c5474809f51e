"""A table of trained architectures: what they are, how good they became, and scores where the table has them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from subshot._types import Arch
from subshot.benchmarks._columns import Columns
from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.errors import ArchError, DataError, OptionError, UnknownNameError
from subshot.spaces._space import Space

_MISSING = ("", "nan", "na", "n/a", "none", "null")


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a table that have a value of the target, each architecture once, in file order.

    Attributes:
        name: Registered name, or the file's.
        digest: Digest of the file or files.
        facts: Source and licence.
        target: The column to rank against.
        target_facts: What is known about it.
        archs: N architectures.
        texts: Their canonical texts.
        truth: Values of the target, (N,), finite.
        seeds: Values of two training runs, (N, 2), NaN where there is no second one; ``None`` if the table has none.
        scores: Stored scores by column, (N,) each; NaN where the cell is empty.
        costs: Columns that architectures are grouped by, likewise.
        empty: Rows left out because they have no finite value of a target that was asked for.
        repeated: Rows left out because they repeat an earlier one.
    """

    name: str
    digest: str
    facts: TableFacts
    target: str
    target_facts: TargetFacts
    archs: tuple[Arch, ...]
    texts: tuple[str, ...]
    truth: NDArray[np.float64]
    seeds: NDArray[np.float64] | None
    scores: Mapping[str, NDArray[np.float64]]
    costs: Mapping[str, NDArray[np.float64]]
    empty: int
    repeated: int


def make_tables(
    name: str,
    columns: Columns,
    *,
    space: Space,
    facts: TableFacts,
    targets: Sequence[str],
    scores: Sequence[str] = (),
    costs: Sequence[str] = (),
    arch_column: str | None = None,
) -> list[Table]:
    """Read architectures, targets and stored scores from the cells of a file: a table for each target.

    All have the same rows, those with a value of every target, so that what is found for them can be compared.

    Args:
        name: What to call the table.
        columns: The cells.
        space: Whose architectures they are.
        facts: What is known about the table.
        targets: Columns to rank against; may be empty where there is only one.
        scores: Columns of stored scores.
        costs: Columns to group architectures by.
        arch_column: The column of architectures; by default what the facts name, else ``arch``, else the only one that
            the space can read.

    Raises:
        UnknownNameError: A column that isn't there.
        OptionError: No target was given and there are several.
        DataError: Architectures of another space, a column that is not numeric, no values, one value only, or an
            architecture twice with different values.
    """
    home = _arch_column(name, columns, space, arch_column or facts.arch_column)
    archs, texts = _architectures(name, columns.cells[home], home, space)
    names = _targets(name, columns, facts, targets, home)
    truths = {one: _numbers(name, columns, one) for one in names}
    stored = {one: _numbers(name, columns, one) for one in dict.fromkeys(scores)}
    grouped = {one: _numbers(name, columns, one) for one in dict.fromkeys(costs)}
    seeds = {one: _seeds(name, columns, facts.targets.get(one, TargetFacts()).seeds) for one in names}

    compared = {**truths, **stored, **grouped}
    kept, repeated = _first_of_each(name, texts, np.stack([*compared.values()]), [*compared])
    whole = np.logical_and.reduce([np.isfinite(truth) for truth in truths.values()])
    finite = [row for row in kept if whole[row]]
    _check_values(name, truths, finite)
    return [
        Table(
            name=name,
            digest=columns.digest,
            facts=facts,
            target=target,
            target_facts=facts.targets.get(target, TargetFacts()),
            archs=tuple(archs[row] for row in finite),
            texts=tuple(texts[row] for row in finite),
            truth=truth[finite],
            seeds=None if (runs := seeds[target]) is None else runs[finite],
            scores={one: values[finite] for one, values in stored.items()},
            costs={one: values[finite] for one, values in grouped.items()},
            empty=len(kept) - len(finite),
            repeated=repeated,
        )
        for target, truth in truths.items()
    ]


def asked_targets(given: str | Sequence[str] | None, columns: Columns, facts: TableFacts) -> list[str]:
    """Names of the targets that were asked for: columns, several by commas, or ``all`` that are known."""
    names = []
    for text in [given] if isinstance(given, str) else given or ():
        if text in columns.cells or (text != "all" and "," not in text):
            names.append(text)
        elif text == "all":
            names += list(facts.targets) or [text]
        else:
            names += [part for part in map(str.strip, text.split(",")) if part]
    return list(dict.fromkeys(names))


def _check_values(name: str, truths: Mapping[str, NDArray[np.float64]], rows: Sequence[int]) -> None:
    """Refuse targets without values, and those in which all values are equal, so that there is no order to find."""
    for target, truth in truths.items():
        values = truth[rows]
        if not len(values):
            alone = len(truths) == 1 or not np.isfinite(truth).any()
            what = f"Column {target!r} of {name} has" if alone else f"The columns {', '.join(truths)} of {name} have"
            where = "" if alone else " in the same rows"
            raise DataError(f"{what} no values{where}.", "Name another target.")
        if len(values) > 1 and values.min() == values.max():
            raise DataError(
                f"All {len(values):,} values of {target!r} in {name} are {values[0]:g}: they have no order.",
                "Name another target.",
            )


def _arch_column(name: str, columns: Columns, space: Space, given: str | None) -> str:
    if given:
        return _known(name, columns, given)
    if "arch" in columns.cells:
        return "arch"
    readable = [column for column, cells in columns.cells.items() if _can_read(space, cells[0])]
    if len(readable) == 1:
        return readable[0]
    if readable:
        raise OptionError(
            f"{space.name} can read several columns of {name}: {', '.join(readable)}.",
            "Say which holds the architectures with --arch-column.",
        )
    raise DataError(
        f"{name} has no column 'arch', and in none of its columns ({_listed(list(columns.cells))}) is the first cell "
        f"an architecture of {space.name}.",
        "Is it a table of another space? Else name the column with --arch-column.",
    )


def _can_read(space: Space, text: str) -> bool:
    try:
        space.parse(text)
    except ArchError:
        return False
    return True


def _architectures(name: str, cells: Sequence[str], column: str, space: Space) -> tuple[list[Arch], list[str]]:
    archs: list[Arch] = []
    problems: list[str] = []
    for text in cells:
        try:
            archs.append(space.parse(text))
        except ArchError as error:
            problems.append(error.message)
    if problems:
        raise DataError(
            f"{len(problems):,} of {len(cells):,} cells in column {column!r} of {name} are no architectures of "
            f"{space.name}; the first: {problems[0]}",
            "Is it a table of another space, or another column? Name the column with --arch-column.",
        )
    return archs, [space.format(arch) for arch in archs]


def _targets(name: str, columns: Columns, facts: TableFacts, given: Sequence[str], home: str) -> list[str]:
    if home in given:
        raise OptionError(f"Column {home!r} of {name} holds the architectures.", "Name another target.")
    if given:
        return [_known(name, columns, one) for one in given]
    known = list(facts.targets) or [column for column in columns.cells if column != home]
    if len(known) != 1:
        raise OptionError(
            f"No target was given; {name} has {_listed(known)}.", "Name one of them as the target, or several."
        )
    return [_known(name, columns, known[0])]


def _known(name: str, columns: Columns, column: str) -> str:
    if column not in columns.cells:
        raise UnknownNameError.of(f"column in {name}", column, columns.cells)
    return column


def _numbers(name: str, columns: Columns, column: str) -> NDArray[np.float64]:
    """The cells as numbers; NaN where there is none."""
    values = []
    for number, cell in enumerate(columns.cells[_known(name, columns, column)], start=1):
        text = cell.strip()
        try:
            if "_" in text:  # Python's own way to write 10 is a typing error in a table
                raise ValueError(text)
            values.append(math.nan if text.lower() in _MISSING else float(text))
        except ValueError:
            raise DataError(
                f"Column {column!r} of {name} is not numeric: row {number} has {cell[:60]!r}.",
                "Name a column of numbers; an absent value is an empty cell.",
            ) from None
    return np.array(values)


def _seeds(name: str, columns: Columns, seeds: Sequence[str]) -> NDArray[np.float64] | None:
    """The first two training runs of each row, (N, 2)."""
    if not seeds:
        return None
    if len(seeds) > 1:
        return np.stack([_numbers(name, columns, one) for one in seeds[:2]], axis=1)
    cells = [[*cell.split("|"), ""][:2] for cell in columns.cells[_known(name, columns, seeds[0])]]
    runs = (f"{name} (run {run + 1} of each cell)" for run in range(2))
    split = [Columns(run, "", {seeds[0]: [cell[n] for cell in cells]}) for n, run in enumerate(runs)]
    return np.stack([_numbers(one.name, one, seeds[0]) for one in split], axis=1)


def _first_of_each(
    name: str, texts: Sequence[str], values: NDArray[np.float64], columns: Sequence[str]
) -> tuple[list[int], int]:
    """Rows that are the first of their architecture, and how many others there are, which must say the same."""
    first: dict[str, int] = {}
    kept = []
    for row, text in enumerate(texts):
        earlier = first.setdefault(text, row)
        if earlier == row:
            kept.append(row)
            continue
        for column, a, b in zip(columns, values[:, earlier].tolist(), values[:, row].tolist(), strict=True):
            if a == b or (math.isnan(a) and math.isnan(b)):
                continue
            raise DataError(
                f"{name} has {text} twice with different values of {column!r}: {a:g} in row {earlier + 1} and {b:g} in "
                f"row {row + 1}.",
                "Keep one row for each architecture, or the mean of its rows.",
            )
    return kept, len(texts) - len(kept)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "none"
