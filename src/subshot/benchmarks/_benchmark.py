"""The register of published tables, and the one door to a table: a registered name, or the path of a user's own."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from subshot._registry import Registry
from subshot.benchmarks._columns import FORMS, join, read_columns
from subshot.benchmarks._facts import TableFacts, read_facts
from subshot.benchmarks._table import Table, make_table
from subshot.data import data_root
from subshot.data._dataset import DataRow
from subshot.errors import DataError, OptionError, UnknownNameError
from subshot.spaces._space import Space


@dataclass(frozen=True)
class Benchmark:
    """A published table known by name.

    Attributes:
        name: Registry name.
        title: What it is, in one line.
        files: Files below the folder of data, or in its folder ``nas-bench``; the rows are those in all of them.
        facts: Space, source, licence and targets.
        how_to_get: What to do where it isn't here; subshot downloads nothing.
        key: The column by which several files are joined.
    """

    name: str
    title: str
    files: tuple[str, ...]
    facts: TableFacts
    how_to_get: str
    key: str = ""

    def locate(self, root: Path | None) -> tuple[Path, ...] | None:
        """The files, found without reading them; ``None`` if any is missing."""
        if root is None:
            return None
        places = [
            [folder / file for folder in (root, root / "nas-bench")] + [root / Path(file).name] for file in self.files
        ]
        found = [next((path for path in paths if path.is_file()), None) for paths in places]
        present = tuple(path for path in found if path is not None)
        return present if len(present) == len(found) else None


BENCHMARKS: Registry[Benchmark] = Registry("benchmark", "subshot.benchmarks")


@dataclass(frozen=True)
class TableSource:
    """A table that has been found and not read yet.

    Attributes:
        name: Registered name, or the path as given.
        paths: Its files.
        facts: What is known about it.
        key: The column by which several files are joined.
    """

    name: str
    paths: tuple[Path, ...]
    facts: TableFacts
    key: str = ""

    def read(
        self, space: Space, *, target: str | None, scores: Sequence[str] = (), arch_column: str | None = None
    ) -> Table:
        """Read the table; the arguments are those of :func:`subshot.benchmarks._table.make_table`.

        Raises:
            OptionError: The table is of another space.
            SubshotError: A file is missing, damaged or has other columns.
        """
        if self.facts.space and self.facts.space != space.name:
            raise OptionError(
                f"The table {self.name} is of the space {self.facts.space}, and {space.name} was asked for.",
                f"Use the space {self.facts.space}, or another table.",
            )
        columns = read_columns(self.paths[0])
        for path in self.paths[1:]:
            columns = join(columns, read_columns(path), self.key)
        return make_table(
            self.name,
            columns,
            space=space,
            facts=self.facts,
            target=target,
            scores=scores,
            arch_column=arch_column,
        )


def find_table(name_or_path: "str | os.PathLike[str]", *, root: "str | Path | None" = None) -> TableSource:
    """Find a table.

    Args:
        name_or_path: A registered name, else the path of a ``.csv``, ``.csv.gz`` or ``.parquet`` file, with what is
            known about it in a ``.toml`` file of the same name. A name wins over a file; write ``./name`` for the file.
        root: Folder of data; SUBSHOT_DATA if not given.

    Raises:
        UnknownNameError: Neither a name nor a path.
        DataError: A registered table that isn't here, or facts that can't be read.
    """
    given = os.fspath(name_or_path)
    if given in BENCHMARKS:
        entry = BENCHMARKS.get(given)
        folder = data_root(root)
        paths = entry.locate(folder)
        if paths is None:
            looked = "SUBSHOT_DATA names no folder" if folder is None else f"it is not in the data folder {folder}"
            raise DataError(f"The table {given!r} is not here: {looked}.", entry.how_to_get)
        return TableSource(given, paths, entry.facts, entry.key)
    if not given.lower().endswith(FORMS) and not Path(given).exists():
        error = UnknownNameError.of("table", given, BENCHMARKS)
        raise UnknownNameError(error.message, f"{error.hint} Or give the path of a table: {', '.join(FORMS)}.")
    path = Path(given)
    stem = path.name.lower().removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet")
    return TableSource(given, (path,), read_facts(path.with_name(f"{path.name[: len(stem)]}.toml")))


def get_benchmark(name: str) -> Benchmark:
    """The facts about the published table called ``name``.

    Raises:
        UnknownNameError: No table has that name.
    """
    return BENCHMARKS.get(name)


def list_benchmarks() -> list[str]:
    """Names of all published tables."""
    return BENCHMARKS.names()


def benchmark_table(root: str | Path | None = None) -> list[DataRow]:
    """All published tables, sorted by name, and whether each is here; nothing is read.

    Args:
        root: Folder of data; SUBSHOT_DATA if not given.
    """
    folder = data_root(root)
    rows = []
    for name in BENCHMARKS:
        entry = BENCHMARKS.get(name)
        paths = entry.locate(folder)
        path = None if paths is None else str(paths[0])
        rows.append(DataRow(name, "table", paths is not None, path, entry.facts.licence, entry.how_to_get))
    return rows
