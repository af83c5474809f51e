"""A ranking in the terminal and as Markdown: statistics with intervals, baselines, ceilings, and what was left out."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from subshot.benchmarks.ranking import Estimate
from subshot.studies._ranked import RankReport, RankRow, write_whole

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
_LEGEND = (
    "Kendall is tau-b, over all and within the truly best 10 % and 5 %; precision (hits) is the share of the true best "
    "5 % among the 5 % with the highest scores; first and mean of ten are true values of the highest scores."
)

# Seconds between two lines of progress where nothing can be drawn.
_PAUSE_S = 10.0
_STAGES = {"score": "networks", "rank": "statistics"}


class RankingProgress:
    """A live line for networks, then for the statistics of proxies; plain lines where it can't be drawn.

    Args:
        console: Where to draw; a log file, say, gets the plain lines.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_line_s = _PAUSE_S
        self._progress = Progress(
            TextColumn("{task.fields[stage]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_interactive,
        )
        self._task = self._progress.add_task("", total=None, stage="starting")
        self._stage = ""

    def update(self, state: "RankProgress") -> None:
        """Show how far the ranking is."""
        stage = _STAGES[state.stage]
        if stage != self._stage:
            self._stage = stage
            self._progress.reset(self._task, total=state.total, stage=stage)
        self._progress.update(self._task, completed=state.done, total=state.total)
        if not self._console.is_interactive and state.seconds >= self._next_line_s:
            self._next_line_s = state.seconds + _PAUSE_S
            line = f"rank: {stage} {state.done:,} of {state.total:,}, {state.seconds:.0f} s"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> "RankingProgress":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def show_ranking(report: RankReport, console: Console) -> None:
    """Print the rows by falling Spearman correlation, with as many intervals as fit."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))  # eight columns fit into 80 characters
    table.add_column("proxy", overflow="fold")
    for title in (*_HEADS.values(), "no\nscore"):
        table.add_column(title, justify="right", no_wrap=True)
    wide = ("spearman", "kendall") if console.width >= _WIDE else ("spearman",)
    for row in _sorted(report.rows):
        cells = [_short(row, name, interval=name in wide) for name in _HEADS]
        table.add_row(escape(_label(row).replace(" (", "\n(")), *cells, f"{row.non_finite:,}")
    console.print(table)
    for line in (*_facts(report), _LEGEND, *_notes(report)):
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(f"[dim]{escape(f'Protocol: {_protocol(report)}')}[/]", highlight=False, soft_wrap=True)
    if report.run is not None:
        where = f"Run folder: {report.run} (report.md with all intervals, scores.csv, rank.json)"
        console.print(f"[dim]{escape(where)}[/]", highlight=False, soft_wrap=True)


def markdown(report: RankReport) -> str:
    """The whole report."""
    head = ["proxy", *_TITLES.values(), "no score", "ties", "second seed", "s per network"]
    lines = [
        f"# {report.table.name}: {report.table.target}",
        "",
        *[f"- {line}" for line in _facts(report)],
        "",
        _row(head),
        _row(["---"] * len(head)),
    ]
    for row in _sorted(report.rows):
        cells = [_full(row, name) for name in _TITLES]
        again = "" if row.again is None else str(row.again.spearman)
        seconds = f"{row.seconds / report.archs:.3f}" if row.seconds else ""
        lines.append(_row([_label(row), *cells, f"{row.non_finite:,}", f"{row.ties:.2%}", again, seconds]))
    lines += [
        "",
        f"{_LEGEND} Square brackets hold 95 % bootstrap intervals over architectures. Ties are the share of pairs with "
        "equal scores; a second seed is the Spearman correlation of a score with itself under other weights and "
        "another batch; seconds are those of the look that served a score, shared with all scores of the same look.",
        "",
        *[f"- {line}" for line in _notes(report)],
        "",
        f"Protocol: {_protocol(report)}.",
        "",
        f"Source of the table: {report.table.facts.source or 'not stated'}. "
        f"Licence: {report.table.facts.licence or 'not stated'}. Digest {report.table.digest}.",
    ]
    return "\n".join(lines) + "\n"


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


def _label(row: RankRow) -> str:
    return row.proxy if row.kind in ("proxy", "column") else f"{row.proxy} ({row.kind})"


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


def _facts(report: RankReport) -> list[str]:
    """What was ranked, and what is the best to be had."""
    facts = report.table.target_facts
    unit = f" {facts.unit}" if facts.unit else ""
    what = ", ".join(filter(None, (facts.metric, facts.split and f"{facts.split} split", facts.unit and f"in{unit}")))
    described = f"{report.table.target} ({what})" if what else report.table.target
    best = report.truth.min() if report.minimize else report.truth.max()
    wanted = "lower" if report.minimize else "higher"
    return [
        f"{report.archs:,} architectures of {report.settings['space']} in {report.table.name}: {report.population}.",
        f"True values: {described}, {wanted} is better; the best is {best:.4g}{unit}, "
        f"the median {np.median(report.truth):.4g}{unit}; {report.truth_ties:.2%} of pairs are tied.",
    ]


def _notes(report: RankReport) -> list[str]:
    """Ceilings, ties and what was left out, in sentences."""
    lines = []
    ceiling = report.truth_ceiling
    if ceiling is not None:
        lines.append(
            f"Noise ceiling: two training seeds agree with Spearman {ceiling.spearman} and Kendall {ceiling.kendall} "
            f"({ceiling.archs:,} architectures with two)."
        )
    else:
        lines.append("Noise ceiling of the true values: unknown, the table has no single training seeds.")
    again = [row for row in report.rows if row.again is not None]
    if again:
        shown = ", ".join(f"{row.proxy} {row.again.spearman.value:.3f}" for row in again if row.again)
        lines.append(f"Agreement with itself under another seed, Spearman, {report.again:,} architectures: {shown}.")
    tied = [f"{row.proxy} {row.ties:.1%}" for row in report.rows if row.ties >= 0.01]
    if tied:
        lines.append(f"Pairs with equal scores: {', '.join(tied)}.")
    by_reason: dict[str, list[str]] = {}
    for row in report.rows:
        for reason, count in row.reasons.items():
            by_reason.setdefault(f"{count:,} ({reason})", []).append(row.proxy)
    if by_reason:
        shown = "; ".join(f"{reason}: {', '.join(names)}" for reason, names in by_reason.items())
        lines.append(f"Without a finite score and left out of that row: {shown}.")
    undefined = [row.proxy for row in report.rows if row.ranking is None]
    if undefined:
        lines.append(f"Fewer than three finite scores: {', '.join(undefined)}.")
    left = [
        f"{count:,} {what}"
        for count, what in (
            (report.table.empty, "rows without a value of the target"),
            (report.table.repeated, "rows that repeat another"),
            (report.settings["archs_not_in_table"], "members of the population that the table lacks"),
        )
        if count
    ]
    if left:
        lines.append(f"Left out: {', '.join(left)}.")
    return lines


def _protocol(report: RankReport) -> str:
    if report.protocol is not None:
        return str(report.protocol)
    return f"scores are columns of the table; parameters and MACs of the {report.settings['baselines_of']}"


def _row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
