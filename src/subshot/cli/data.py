"""``subshot data``: which data sets are here, how to get the others, and what is in one of them or in your own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from subshot.cli._options import Json
from subshot.cli._output import add_row, number, print_json, result_console, table

if TYPE_CHECKING:
    from rich.console import Console

    from subshot.data import DataDescription

# Classes and damaged files that are shown; JSON has them all.
_SHOWN = 20


def data(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|PATH]",
            help="A data set, or your own: an image folder, a CSV or Parquet table of images, .npz ... All sets if not "
            "given.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", help="Seed of training, validation and test part.", show_default="that of --out's file, else 0"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to keep the parts in, as split.json.", show_default="not kept"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which data sets and benchmark tables are here, or what is in one set, file or folder.

    The environment variable SUBSHOT_DATA names the folder of data and tables.
    """
    if name is None:
        if out is not None:
            raise typer.BadParameter("--out keeps the parts of one data set; name it.")
        _show_sets(as_json)
        return
    from subshot.data import describe_data

    found = describe_data(name, seed=seed, folder=out)
    if as_json:
        print_json({"data": _values(found)})
    else:
        _show(found, result_console(as_json=False))


def _show_sets(as_json: bool) -> None:
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


def _values(found: "DataDescription") -> dict[str, Any]:
    balance = found.classes
    return {
        "name": found.name,
        "format": found.form,
        "holds": found.holds,
        "samples": found.samples,
        "task": found.task,
        "outputs": found.outputs,
        "classes": None if balance is None else dict(balance.counts),
        "imbalance": None if balance is None else round(balance.ratio, 4),
        "values": [dict(zip(("min", "mean", "max"), one, strict=True)) for one in found.values],
        "shapes": [{"shape": list(shape), "samples": count} for shape, count in found.shapes.items()],
        "files": dict(found.files),
        "damaged": [{"name": one.name, "reason": one.reason} for one in found.damaged],
        "ignored": found.ignored,
        "vocabulary": found.vocabulary,
        "parts": dict(found.parts),
        "own_parts": list(found.own_parts),
        "seed": found.seed,
        "split_file": None if found.split_file is None else str(found.split_file),
        "digest": found.digest,
        "licence": found.licence,
        "notes": list(found.notes),
        "warnings": list(found.warnings),
    }


def _show(found: "DataDescription", console: "Console") -> None:
    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    form = "" if found.form == "set" else f", read as {found.form}"
    what = "sequences of tokens" if found.holds == "tokens" else found.holds
    say(f"{found.name}: {found.samples:,} {what}{form}", "bold")
    labels = {"none": "no labels"}.get(found.task, f"{found.task}, {found.outputs:,} outputs")
    words = f"; vocabulary {found.vocabulary:,}" if found.vocabulary is not None else ""
    say(f"Labels: {labels}{words}")
    _show_counts(found, console)
    for position, (low, mean, high) in enumerate(found.values):
        say(f"Output {position}: from {number(low)} to {number(high)}, mean {number(mean)}")
    sizes = [f"{' x '.join(map(str, shape))} ({count:,})" for shape, count in found.shapes.items()]
    say(f"Shapes: {_few(sizes)}")
    if found.files:
        ignored = f"; {found.ignored:,} other files ignored" if found.ignored else ""
        say(f"Files: {', '.join(f'{suffix} {count:,}' for suffix, count in found.files.items())}{ignored}")
    kept = f", kept in {found.split_file}" if found.split_file is not None else ""
    whose = [f"{part} {size:,} ({'own' if part in found.own_parts else 'drawn'})" for part, size in found.parts.items()]
    if whose:
        say(f"Parts by seed {found.seed}: {', '.join(whose).replace(' (drawn)', '')}{kept}")
    say(f"Digest: {found.digest}. Licence: {found.licence}")
    for note in found.notes:
        say(f"Note: {note}")
    for warning in found.warnings:
        say(f"Warning: {warning}", "yellow")
    for one in found.damaged[:_SHOWN]:
        say(f"    {one.name}: {one.reason}")
    if len(found.damaged) > _SHOWN:
        say(f"    and {len(found.damaged) - _SHOWN:,} more")


def _show_counts(found: "DataDescription", console: "Console") -> None:
    """The most frequent and the rarest classes."""
    if found.classes is None:
        return
    counts = sorted(found.classes.counts.items(), key=lambda item: -item[1])
    total = sum(found.classes.counts.values())
    made = table("class", found.classes.unit, "share", numbers=(found.classes.unit, "share"))
    cut = len(counts) > _SHOWN
    for position, (name, count) in enumerate(counts):
        if cut and position == _SHOWN // 2:
            add_row(made, f"... {len(counts) - _SHOWN:,} more", "", "")
        if not cut or position < _SHOWN // 2 or position >= len(counts) - _SHOWN // 2:
            add_row(made, name, f"{count:,}", f"{count / total:.1%}")
    console.print(made)


def _few(texts: list[str]) -> str:
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5:,} more" if len(texts) > 5 else "")
