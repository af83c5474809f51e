"""``subshot data``: which data sets are here, and how to get the others."""

from subshot.cli._options import Json
from subshot.cli._output import print_json, result_console


def data(as_json: Json = False) -> None:
    """Show which data sets and benchmark tables are found where, their licence, and how to get what is missing.

    The environment variable SUBSHOT_DATA names the folder of data and tables.
    """
    from rich.markup import escape
    from rich.padding import Padding

    from subshot.benchmarks._benchmark import benchmark_table
    from subshot.data import data_table

    rows = [*data_table(), *benchmark_table()]
    if as_json:
        sets = [
            {
                "name": row.name,
                "kind": row.kind,
                "found": row.found,
                "path": str(row.path) if row.path else None,
                "licence": row.licence,
                "how_to_get": row.how_to_get,
            }
            for row in rows
        ]
        print_json({"sets": sets})
        return
    console = result_console(as_json=False)
    for row in rows:
        where = str(row.path) if row.found and row.path else row.how_to_get
        found = "found" if row.found else "[dim]not here[/]"
        console.print(f"[bold]{escape(row.name)}[/]  {escape(row.kind)}, {found}", highlight=False)
        # A paragraph for each: paths and licences are too long for columns.
        for line in (where, f"Licence: {row.licence}"):
            console.print(Padding(escape(line), (0, 0, 0, 4)), highlight=False)
