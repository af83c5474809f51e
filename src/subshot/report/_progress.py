"""One live line of progress, or a plain one every ten seconds where nothing can be drawn."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Seconds between two lines of progress where nothing can be drawn.
_PAUSE_S = 10.0


class ProgressLine:
    """A bar with what is done, how much there is, and what else is known.

    Args:
        console: Where to draw; a log file, say, gets the plain lines.
        command: What begins a plain line.
    """

    def __init__(self, console: Console, command: str) -> None:
        self._console, self._command = console, command
        self._next_line_s = _PAUSE_S
        self._progress = Progress(
            TextColumn("{task.fields[stage]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_interactive,
        )
        self._task = self._progress.add_task("", total=None, stage=command, rate="starting", note="")
        self._stage = ""

    def show(
        self, done: int, total: int, *, seconds: float, stage: str = "", rate: str = "", note: str = "", plain: str
    ) -> None:
        """Show how far the work is.

        Args:
            done: Steps of the stage that are done.
            total: Steps of the stage.
            seconds: Since the start.
            stage: What is being done; each has a bar of its own.
            rate: Shown before the time left.
            note: Shown after it.
            plain: What a plain line ends with.
        """
        if stage != self._stage:
            self._stage = stage
            self._progress.reset(self._task, total=total)
        name = stage or self._command
        self._progress.update(self._task, completed=done, total=total, stage=name, rate=rate, note=note)
        if not self._console.is_interactive and seconds >= self._next_line_s:
            self._next_line_s = seconds + _PAUSE_S
            what = f"{stage} {done:,}" if stage else f"{done:,}"
            line = f"{self._command}: {what} of {total:,}, {plain}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
