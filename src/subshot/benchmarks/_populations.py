"""Which architectures of a table are ranked: a number that a reader has to know to compare two correlations."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng
from subshot._types import Arch
from subshot.benchmarks._table import Table
from subshot.errors import ArchError, DataError, OptionError, UnknownNameError
from subshot.spaces._space import Populations, Space

_FORMS = "Give a population, a number, POPULATION:NUMBER, or a file with one architecture a line."


@dataclass(frozen=True, eq=False)
class Chosen:
    """Rows of a table.

    Attributes:
        rows: Their positions, ascending.
        label: What they are, in words.
        absent: Architectures of the population or list that the table doesn't have.
    """

    rows: NDArray[np.int64]
    label: str
    absent: int = 0


def choose(
    table: Table, space: Space, wanted: "str | int | os.PathLike[str] | Sequence[Arch]", *, seed: int = 0
) -> Chosen:
    """Choose rows of a table.

    Args:
        table: The table.
        space: Its space.
        wanted: ``all``; a population of the space (``live``); a number of random rows (``1000``), also of a population
            (``live:1000``); a file with one architecture a line; or architectures. Names win over files.
        seed: Seed of the random rows. A larger number contains the rows of a smaller one.

    Raises:
        UnknownNameError: Neither a population nor a file.
        OptionError: More rows than there are, or fewer than one.
        DataError: A file that can't be read, or architectures that the table doesn't have.
    """
    if isinstance(wanted, int):
        return _sample(_all(table), wanted, table.name, seed)
    if isinstance(wanted, (str, os.PathLike)):
        return _named(table, space, os.fspath(wanted), seed)
    return _listed(table, space, list(wanted), "given architectures")


def _named(table: Table, space: Space, text: str, seed: int) -> Chosen:
    names = dict.fromkeys(["all", *(space.populations if isinstance(space, Populations) else ())])
    name, colon, count = text.rpartition(":")
    match = re.fullmatch(r"(\d+)(k?)", count.lower()) if not colon or name in names else None
    if match is not None:
        pool = _population(table, space, name) if colon else _all(table)
        return _sample(pool, int(match[1]) * (1000 if match[2] else 1), table.name, seed)
    if text in names:
        return _population(table, space, text)
    path = Path(text)
    if not path.is_file():
        unknown = UnknownNameError.of(f"population of {space.name}", text, names)
        raise UnknownNameError(f"{unknown.message} There is no such file either.", f"{unknown.hint} {_FORMS}")
    return _from_file(table, space, path)


def _all(table: Table) -> Chosen:
    return Chosen(np.arange(len(table.archs)), f"all {len(table.archs):,} rows with a value")


def _population(table: Table, space: Space, name: str) -> Chosen:
    if name == "all" or not isinstance(space, Populations):
        return _all(table)
    members = set(space.population(name))
    rows = np.array([row for row, arch in enumerate(table.archs) if arch in members], dtype=np.int64)
    if not len(rows):
        raise DataError(f"{table.name} has no architecture of the population {name!r}.", _FORMS)
    absent = len(members) - len(rows)
    return Chosen(rows, f"the {len(rows):,} {name} ones{f' of {len(members):,}' if absent else ''}", absent)


def _sample(pool: Chosen, count: int, name: str, seed: int) -> Chosen:
    if not 1 <= count <= len(pool.rows):
        raise OptionError(
            f"{count:,} random architectures were asked for; {name} has {len(pool.rows):,} to choose from.",
            "Ask for fewer, at least one.",
        )
    picked = np.sort(pool.rows[stable_rng(seed, "archs").permutation(len(pool.rows))[:count]])
    return Chosen(picked, f"{count:,} random ones (seed {seed}) of {pool.label}", pool.absent)


def _from_file(table: Table, space: Space, path: Path) -> Chosen:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read: {error}.", _FORMS) from error
    archs = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            archs.append(space.parse(line))
        except ArchError as error:
            raise DataError(f"Line {number} of {path} is no architecture: {error.message}", error.hint) from error
    return _listed(table, space, archs, path.name)


def _listed(table: Table, space: Space, archs: Sequence[Arch], label: str) -> Chosen:
    texts = dict.fromkeys(map(space.format, archs))
    row_of = {text: row for row, text in enumerate(table.texts)}
    absent = [text for text in texts if text not in row_of]
    if absent or not texts:
        shown = f"; the first: {absent[0]}" if absent else ""
        raise DataError(
            f"{len(absent):,} of the {len(texts):,} architectures in {label} have no value of {table.target!r} in "
            f"{table.name}{shown}.",
            "List architectures of the table.",
        )
    rows = np.array(sorted(row_of[text] for text in texts), dtype=np.int64)
    return Chosen(rows, f"the {len(rows):,} in {label}")
