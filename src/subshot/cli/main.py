"""The ``subshot`` command: its commands, and one way to fail."""

import json
import sys
import traceback
from typing import Annotated

import click
import typer

from subshot import __version__
from subshot.cli import data, list_names, profile, score, search
from subshot.cli._output import error_console
from subshot.errors import SubshotError

app = typer.Typer(
    name="subshot",
    help="Find good neural networks before anyone trains them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("search")(search.search)
app.command("score")(score.score)
app.command("profile")(profile.profile)
app.command("list")(list_names.list_names)
app.command("data")(data.data)


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    """Find good neural networks before anyone trains them."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run a command; exit 0 on success, 2 on bad input, 1 on a bug of ours, 130 on Ctrl-C."""
    try:
        code = app(standalone_mode=False)
    except SubshotError as error:
        _report(error.message, error.hint)
        code = 2
    except click.UsageError as error:
        _report(error.format_message(), "See 'subshot --help', or --help after a command.")
        code = 2
    except click.ClickException as error:
        _report(error.format_message(), "")
        code = 2
    except (KeyboardInterrupt, click.Abort):
        _report("Interrupted.", "The same command continues.")
        code = 130
    except BrokenPipeError:
        code = 1
    except Exception as error:
        traceback.print_exc()
        _report(f"{type(error).__name__}: {error}", "This is a bug of subshot: please report it with the lines above.")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _report(message: str, hint: str) -> None:
    """One paragraph on standard error, or one JSON object on standard output."""
    if "--json" in sys.argv:
        typer.echo(json.dumps({"error": {"message": message, "hint": hint}}))
    else:
        console = error_console()
        console.print(f"[bold red]Error:[/] {_plain(message)} {_plain(hint)}".rstrip(), highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
