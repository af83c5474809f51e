"""Where things are printed: results on standard output, progress on standard error, JSON alone when asked for."""

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def error_console() -> Console:
    """For progress, warnings and errors."""
    return Console(stderr=True, emoji=False)


def result_console(*, as_json: bool) -> Console:
    """For tables: standard output, or standard error where standard output belongs to JSON."""
    return Console(stderr=as_json, emoji=False)


def print_json(values: Mapping[str, Any]) -> None:
    """One strict JSON object on standard output."""
    typer.echo(json.dumps(values, allow_nan=False))


def table(*columns: str, title: str | None = None, numbers: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns in ``numbers`` are aligned to the right."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for position, column in enumerate(columns):
        right = column in numbers
        justify: Literal["left", "right"] = "right" if right else "left"
        made.add_column(column, justify=justify, no_wrap=right or position == 0, overflow="fold")
    return made


def add_row(made: Table, *cells: str) -> None:
    """Add a row of plain texts: square brackets in them are no markup."""
    made.add_row(*map(escape, cells))


def number(value: float | None, digits: int = 6) -> str:
    """A number for people: thousands separated, or as many digits as asked for."""
    if value is None or not math.isfinite(value):
        return "-" if value is None else str(value)
    if abs(value) < 1e15 and (value == int(value) or abs(value) >= 10_000):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"
