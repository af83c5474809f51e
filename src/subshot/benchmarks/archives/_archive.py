"""The register of archives that subshot reads, and the two doors: read one, or convert it into a plain table."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from subshot._registry import Registry
from subshot.benchmarks._columns import Columns
from subshot.benchmarks._facts import TableFacts
from subshot.benchmarks.archives._write import write_table
from subshot.errors import DataError


@dataclass(frozen=True, eq=False)
class ArchiveTable:
    """What an archive says, as a plain table.

    Attributes:
        kind: Registry name of its kind.
        columns: The column ``arch``, a column for each target, then what else it has.
        facts: Space, source, licence and targets.
    """

    kind: str
    columns: Columns
    facts: TableFacts


@dataclass(frozen=True)
class ArchiveKind:
    """A kind of archive.

    Attributes:
        name: Registry name.
        title: What it is, in one line.
        files: How its authors name it.
        recognise: Whether an existing file or folder is one, judged by how it begins.
        read: Reads it.
    """

    name: str
    title: str
    files: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path], ArchiveTable]


ARCHIVES: Registry[ArchiveKind] = Registry("archive", "subshot.benchmarks.archives")


def read_archive(path: str | os.PathLike[str]) -> ArchiveTable:
    """Read a published archive; its kind is told by its content.

    Args:
        path: A file or folder as its authors hand it out.

    Raises:
        DataError: It is not there, of no known kind, truncated, damaged, or holds what no such archive needs.
    """
    place = Path(path)
    if not place.exists():
        raise DataError(f"The archive {place} does not exist.", f"subshot reads {_known()}.")
    try:
        kind = next((kind for name in ARCHIVES if (kind := ARCHIVES.get(name)).recognise(place)), None)
        if kind is not None:
            return kind.read(place)
    except OSError as error:
        raise DataError(f"{place} can't be read: {error.strerror or error}.", "Check its permissions.") from error
    raise DataError(f"{place} is no archive that subshot knows.", f"It reads {_known()}.")


def convert(path: str | os.PathLike[str], destination: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write what an archive says as a plain table, which every command that takes a table can read.

    Args:
        path: The archive.
        destination: Where the table goes: ``NAME.csv.gz``, with what is known about it in ``NAME.toml`` beside it.
            The ending may be left out.

    Returns:
        Both files.

    Raises:
        DataError: As :func:`read_archive`; or one of the files exists already or can't be written.
    """
    home = Path(destination)
    table = home.with_name(home.name.removesuffix(".gz").removesuffix(".csv") + ".csv.gz")
    facts = table.with_name(table.name.removesuffix(".csv.gz") + ".toml")
    for one in (table, facts):
        if one.exists():
            raise DataError(f"{one} exists already.", "Choose another name, or take it away.")
    found = read_archive(path)
    write_table(found.columns, found.facts, table=table, facts_file=facts)
    return table, facts


def _known() -> str:
    return "; ".join(f"{ARCHIVES.get(name).title} ({ARCHIVES.get(name).files})" for name in ARCHIVES)
