"""``subshot report``: one self-contained page about a run."""

from pathlib import Path
from typing import Annotated

import typer

from subshot.cli._options import Json
from subshot.cli._output import print_json, result_console


def report(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder that a search, a ranking or a training has left, or the file of a warm-up.", show_default=False
        ),
    ],
    as_json: Json = False,
) -> None:
    """Write report.html into a run folder: figures, tables, protocol and costs in one file that needs no network.

    That of a supernet's file stands beside it, under the same name.
    """
    from subshot.report.html import write_html

    path = write_html(run)
    if as_json:
        print_json({"file": str(path)})
        return
    result_console(as_json=False).print(str(path), highlight=False, markup=False, soft_wrap=True)
