"""``subshot convert``: a published benchmark archive as a plain table."""

from pathlib import Path
from typing import Annotated

import typer

from subshot.cli._options import Json
from subshot.cli._output import add_row, print_json, result_console, table


def convert(
    archive: Annotated[Path, typer.Argument(help="The archive, a file or folder as its authors hand it out.")],
    out: Annotated[Path, typer.Argument(help="The table: NAME.csv.gz; NAME.toml is written beside it.")],
    as_json: Json = False,
) -> None:
    """Write what a published archive says as a plain table, which 'subshot rank --table' reads.

    Knows NAS-Bench-101, NAS-Bench-201, NATS-Bench and NAS-Bench-Suite-Zero. Large archives take minutes. Nothing in an
    archive is run.
    """
    from subshot.benchmarks._columns import read_columns
    from subshot.benchmarks._facts import read_facts
    from subshot.benchmarks.archives import convert as write

    made, facts_file = write(archive, out)
    columns, facts = read_columns(made), read_facts(facts_file)
    targets = {
        name: {"split": one.split, "metric": one.metric, "unit": one.unit} for name, one in facts.targets.items()
    }
    if as_json:
        print_json(
            {"table": str(made), "facts": str(facts_file), "space": facts.space or None, "archs": len(columns)}
            | {"source": facts.source, "targets": targets}
        )
        return
    shown = table("target", "metric", "unit", "split")
    for name, one in facts.targets.items():
        add_row(shown, name, one.metric, one.unit, one.split)
    console = result_console(as_json=False)
    console.print(shown)
    console.print(f"{len(columns):,} architectures in {made}. {facts.source}.", markup=False, soft_wrap=True)
