"""The register of published tables, and the one door to a table: a registered name, or the path of a user's own."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from subshot._registry import Registry
from subshot.benchmarks._columns import FORMS, Columns, join, joint_digest, read_columns
from subshot.benchmarks._facts import TableFacts, read_facts
from subshot.benchmarks._further import Further, add_columns, further_names
from subshot.benchmarks._table import Table, asked_targets, make_tables
from subshot.data import data_root
from subshot.data._dataset import DataRow
from subshot.errors import DataError, OptionError, UnknownNameError
from subshot.spaces._space import Space

# Published files, as they are, to one row for each architecture.
Prepare = Callable[[Sequence[Columns]], Columns]


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
        prepare: Makes the rows out of the files, in place of joining them.
        further: Files with more columns, joined by the key where one is asked for; they may be missing.
    """

    name: str
    title: str
    files: tuple[str, ...]
    facts: TableFacts
    how_to_get: str
    key: str = ""
    prepare: Prepare | None = None
    further: tuple[Further, ...] = ()

    def locate(self, root: Path | None) -> tuple[Path, ...] | None:
        """The files, found without reading them; ``None`` if any is missing."""
        found = [_find(root, file) for file in self.files]
        present = tuple(path for path in found if path is not None)
        return present if len(present) == len(found) else None


def _find(root: Path | None, file: str) -> Path | None:
    if root is None:
        return None
    places = [root / file, root / "nas-bench" / file, root / Path(file).name]
    return next((path for path in places if path.is_file()), None)


BENCHMARKS: Registry[Benchmark] = Registry("benchmark", "subshot.benchmarks")


@dataclass(frozen=True)
class TableSource:
    """A table that has been found and not read yet.

    Attributes:
        name: Registered name, or the path as given.
        paths: Its files.
        facts: What is known about it.
        key: The column by which several files are joined.
        prepare: Makes the rows out of the files, in place of joining them.
        further: Files with more columns that are here.
        absent: Those that aren't.
    """

    name: str
    paths: tuple[Path, ...]
    facts: TableFacts
    key: str = ""
    prepare: Prepare | None = None
    further: Mapping[Path, Further] = field(default_factory=dict)
    absent: tuple[Further, ...] = ()

    def read(
        self, space: Space, *, target: str | None, scores: Sequence[str] = (), arch_column: str | None = None
    ) -> Table:
        """Read the table with one target; see :meth:`read_targets`."""
        return self.read_targets(space, targets=target, scores=scores, arch_column=arch_column)[0]

    def read_targets(
        self,
        space: Space,
        *,
        targets: str | Sequence[str] | None,
        scores: Sequence[str] = (),
        costs: Sequence[str] = (),
        arch_column: str | None = None,
    ) -> list[Table]:
        """Read the table, once for each target; the arguments are those of ``make_tables``.

        Raises:
            OptionError: The table is of another space.
            SubshotError: A file is missing, damaged or has other columns.
        """
        if self.facts.space and self.facts.space != space.name:
            raise OptionError(
                f"The table {self.name} is of the space {self.facts.space}, and {space.name} was asked for.",
                f"Use the space {self.facts.space}, or another table.",
            )
        columns = self._columns()
        given = asked_targets(targets, columns, self.facts)
        columns = self._with_further(columns, [*given, *scores])
        # Costs only group architectures, so a file with them doesn't make the table another one.
        columns = replace(self._with_further(columns, costs), digest=columns.digest)
        return make_tables(
            self.name,
            columns,
            space=space,
            facts=self.facts,
            targets=given,
            scores=scores,
            costs=costs,
            arch_column=arch_column,
        )

    def _columns(self) -> Columns:
        read = [read_columns(path) for path in self.paths]
        if self.prepare is not None:
            return replace(self.prepare(read), digest=joint_digest(*(one.digest for one in read)))
        columns = read[0]
        for other in read[1:]:
            columns = join(columns, other, self.key)
        return columns

    def _with_further(self, columns: Columns, names: Sequence[str]) -> Columns:
        """The columns with those that only further files have.

        Raises:
            UnknownNameError: A column that none of them has.
        """
        if not self.key or all(name in columns.cells for name in names):
            return columns
        columns = add_columns(columns, names, self.further, key=self.key)
        lacking = [name for name in names if name not in columns.cells]
        if lacking and (self.further or self.absent):
            known = [*columns.cells, *further_names(self.further, key=self.key)]
            error = UnknownNameError.of(f"column in {self.name}", lacking[0], dict.fromkeys(known))
            missing = ", ".join(one.file for one in self.absent)
            raise UnknownNameError(error.message, f"{error.hint}{f' More are in {missing}.' if missing else ''}")
        return columns


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
        found = {path: one for one in entry.further if (path := _find(folder, one.file)) is not None}
        absent = tuple(one for one in entry.further if one not in found.values())
        return TableSource(given, paths, entry.facts, entry.key, entry.prepare, found, absent)
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
