"""A ranking in the terminal and as Markdown: statistics with intervals, baselines, seeds, and what was left out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from subshot.benchmarks.ranking import Estimate
from subshot.report._bands import bands_markdown, show_bands
from subshot.report._markdown import plain
from subshot.report._progress import ProgressLine
from subshot.report._rank_words import LEGEND, facts, label, notes, protocol
from subshot.studies._files import write_whole
from subshot.studies._ranked import RankReport, RankRow

if TYPE_CHECKING:
    from subshot.studies.ranking import RankProgress

_TITLES = {
    "spearman": "Spearman",
    "kendall": "Kendall",
    "kendall_top10": "in best 10 %",
    "kendall_top5": "in best 5 %",
    "precision_top5": "precision 5 %",
    "top1": "first",
    "top10_mean": "mean of ten",
}
# The same where there is little room.
_HEADS = {
    "spearman": "Spearman",
    "kendall": "Kendall",
    "kendall_top10": "in best\n10 %",
    "kendall_top5": "in best\n5 %",
    "precision_top5": "hits\n5 %",
    "top1": "first",
    "top10_mean": "mean\nof 10",
}
# Columns of a terminal with room for two intervals.
_WIDE = 100
_STAGES = {"score": "networks", "rank": "statistics"}


class RankingProgress(ProgressLine):
    """A live line for networks, then for statistics; plain lines where it can't be drawn.

    Args:
        console: Where to draw; a log file, say, gets the plain lines.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console, "rank")

    def update(self, state: "RankProgress") -> None:
        """Show how far the ranking is."""
        elapsed = f"{state.seconds:.0f} s"
        self.show(state.done, state.total, seconds=state.seconds, stage=_STAGES[state.stage], plain=elapsed)


def show_ranking(report: RankReport, console: Console) -> None:
    """Print the rows of each target by falling Spearman correlation, with as many intervals as fit."""
    several = len(report.targets) > 1
    for name, one in report.targets.items():
        if several:
            console.print(f"[bold]{escape(name)}[/]", highlight=False)
        console.print(_rows(one, width=console.width))
        for line in (*facts(one), *([] if several else [LEGEND]), *notes(one)):
            console.print(escape(line), highlight=False, soft_wrap=True)
        show_bands(one, console)
        if several:
            console.print()
    if several:
        console.print(escape(LEGEND), highlight=False, soft_wrap=True)
    console.print(f"[dim]{escape(f'Protocol: {protocol(report)}')}[/]", highlight=False, soft_wrap=True)
    if report.run is not None:
        where = f"Run folder: {report.run} (report.md with all intervals, scores.csv, rank.json)"
        console.print(f"[dim]{escape(where)}[/]", highlight=False, soft_wrap=True)
    if report.set_aside:
        where = f"Another result was in that folder and is kept: {', '.join(report.set_aside)}"
        console.print(escape(where), highlight=False, soft_wrap=True)


def _rows(report: RankReport, *, width: int) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))  # eight columns fit into 80 characters
    table.add_column("proxy", overflow="fold")
    for title in (*_HEADS.values(), "no\nscore"):
        table.add_column(title, justify="right", no_wrap=True)
    wide = ("spearman", "kendall") if width >= _WIDE else ("spearman",)
    for row in _sorted(report.rows):
        cells = [_short(row, name, interval=name in wide) for name in _HEADS]
        table.add_row(escape(label(row).replace(" (", "\n(")), *cells, f"{row.non_finite:,}")
    return table


def markdown(report: RankReport) -> str:
    """The whole report, a chapter for each target."""
    return "\n".join(line for one in report.targets.values() for line in _chapter(one)) + "\n"


def _chapter(report: RankReport) -> list[str]:
    head = ["proxy", *_TITLES.values(), "no score", "Spearman with these last", "ties", "second seed", "s per network"]
    lines = [
        f"# {plain(f'{report.table.name}: {report.table.target}')}",
        "",
        *[f"- {plain(line)}" for line in facts(report)],
        "",
        _row(head),
        _row(["---"] * len(head)),
    ]
    for row in _sorted(report.rows):
        cells = [_full(row, name) for name in _TITLES]
        last = _full(row, "spearman_all") if row.non_finite else ""
        again = "" if row.again is None else str(row.again.spearman)
        seconds = f"{row.seconds / report.archs:.3f}" if row.seconds else ""
        lines.append(_row([label(row), *cells, f"{row.non_finite:,}", last, f"{row.ties:.2%}", again, seconds]))
    return [
        *lines,
        "",
        f"{LEGEND} Square brackets hold 95 % bootstrap intervals over architectures. Ties are the share of pairs with "
        "equal scores; a second seed is the Spearman correlation of a score with itself under other weights and "
        "another batch; seconds are those of the look that served a score, shared with all scores of the same look.",
        "",
        *[f"- {plain(line)}" for line in notes(report)],
        "",
        *bands_markdown(report),
        plain(f"Protocol: {protocol(report)}."),
        "",
        plain(
            f"Source of the table: {report.table.facts.source or 'not stated'}. "
            f"Licence: {report.table.facts.licence or 'not stated'}. Digest {report.table.digest}."
        ),
        "",
    ]


def write_report(report: RankReport) -> Path | None:
    """Write ``report.md`` into the run folder, if there is one.

    Raises:
        StudyError: It can't be written.
    """
    if report.run is None:
        return None
    path = report.run / "report.md"
    write_whole(path, markdown(report))
    return path


def _sorted(rows: Sequence[RankRow]) -> list[RankRow]:
    def key(row: RankRow) -> float:
        value = np.nan if row.ranking is None else row.ranking.spearman.value
        return -value if np.isfinite(value) else np.inf

    return sorted(rows, key=key)


def _estimate(row: RankRow, name: str) -> Estimate | None:
    found: Estimate | None = None if row.ranking is None else getattr(row.ranking, name)
    return found if found is not None and np.isfinite(found.value) else None


def _short(row: RankRow, name: str, *, interval: bool) -> str:
    estimate = _estimate(row, name)
    if estimate is None:
        return "-"
    if interval:
        return f"{estimate.value:.3f}\n{escape(f'[{estimate.low:.2f}, {estimate.high:.2f}]')}"
    return _digits(name, estimate.value)


def _full(row: RankRow, name: str) -> str:
    estimate = _estimate(row, name)
    if estimate is None:
        return "-"
    value, low, high = (_digits(name, one) for one in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _digits(name: str, value: float) -> str:
    return f"{value:#.4g}" if name in ("top1", "top10_mean") else f"{value:.3f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(plain, cells))} |"
