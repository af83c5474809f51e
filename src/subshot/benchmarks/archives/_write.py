"""Write a plain table: gzipped CSV, and beside it TOML with what is known about it."""

import contextlib
import csv
import gzip
import io
import json
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import IO

from subshot.benchmarks._columns import Columns
from subshot.benchmarks._facts import TableFacts, TargetFacts
from subshot.errors import DataError


def write_table(columns: Columns, facts: TableFacts, *, table: Path, facts_file: Path) -> None:
    """Write both files; the same table gives the same bytes.

    Raises:
        DataError: The folder is not there or can't be written to.
    """
    with (
        _written(facts_file) as beside,
        _written(table) as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        beside.write(facts_text(facts).encode())
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns.cells)
        writer.writerows(zip(*columns.cells.values(), strict=True))


def facts_text(facts: TableFacts) -> str:
    """The facts as ``subshot.benchmarks._facts.read_facts`` reads them; what is empty or usual is left out."""
    lines = _entries(facts, TableFacts(), leave_out="targets")
    for name, target in facts.targets.items():
        lines += ["", f"[targets.{json.dumps(name)}]", *_entries(target, TargetFacts(direction=""), leave_out="")]
    return "\n".join([*lines, ""])


def _entries(values: TableFacts | TargetFacts, usual: TableFacts | TargetFacts, *, leave_out: str) -> list[str]:
    lines = []
    for one in fields(values):
        value = getattr(values, one.name)
        if one.name != leave_out and value != getattr(usual, one.name):
            # A text in JSON is one in TOML too.
            lines.append(f"{one.name} = {json.dumps(list(value) if isinstance(value, tuple) else value)}")
    return lines


@contextlib.contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """A file that is there whole or not at all."""
    part = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path} can't be written: {error.strerror or error}.", "Choose another folder.") from error
    finally:
        part.unlink(missing_ok=True)
