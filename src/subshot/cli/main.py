"""The ``subshot`` command: its commands, and one way to fail."""

import json
import sys
import traceback
from typing import Annotated

import typer

from subshot import __version__
from subshot.cli import convert, data, export, list_names, profile, rank, report, score, search, status, train, warm_up
from subshot.cli._output import error_console
from subshot.errors import SubshotError

# Typer brings its own copy of click or uses the installed one, by version; either way these are the base classes.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
_ClickException: type[Exception] = _UsageError.__bases__[0]

_INTERRUPTED = ("Interrupted.", "The same command continues a search, a ranking or a training.")

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
app.command("train")(train.train)
app.command("export")(export.export)
app.command("warm-up")(warm_up.warm_up)
app.command("rank")(rank.rank)
app.command("report")(report.report)
app.command("status")(status.status)
app.command("list")(list_names.list_names)
app.command("data")(data.data)
app.command("convert")(convert.convert)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Find good neural networks before anyone trains them."""


def main() -> None:
    """Run a command; exit 0 on success, 2 on bad input, 1 on a bug of ours, 130 on Ctrl-C."""
    try:
        code = app(standalone_mode=False)
        if code == 130:  # typer's silent answer to Ctrl-C; a search that was interrupted has left by SystemExit
            _report(*_INTERRUPTED)
    except SubshotError as error:
        _report(error.message, error.hint)
        code = 2
    except _ClickException as error:
        message = _message(error)
        if message:  # without one, the help has been shown instead
            hint = "See 'subshot --help', or --help after a command." if isinstance(error, _UsageError) else ""
            _report(message, hint)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        _report(*_INTERRUPTED)
        code = 130
    except BrokenPipeError:
        code = 1
    except Exception as error:
        traceback.print_exc()
        message = _sentence(f"{type(error).__name__}: {error}")
        _report(message, "This is a bug of subshot: please report it with the lines above.")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _report(message: str, hint: str) -> None:
    """One paragraph on standard error, or one JSON object on standard output."""
    if "--json" in sys.argv:
        typer.echo(json.dumps({"error": {"message": message, "hint": hint}}))
    else:
        console = error_console()
        console.print(f"[bold red]Error:[/] {_plain(message)} {_plain(hint)}".rstrip(), highlight=False, soft_wrap=True)


def _message(error: Exception) -> str:
    format_message = getattr(error, "format_message", None)
    return _sentence(str(format_message()) if callable(format_message) else str(error))


def _sentence(text: str) -> str:
    return f"{text}." if text and not text.endswith((".", "!", "?")) else text


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
