"""How scores do inside limits, as tables for the terminal and for Markdown."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from subshot.benchmarks.limits import Band, BandRow
from subshot.report._markdown import plain
from subshot.studies._ranked import RankReport

_LEGEND = (
    "First is the true value of the highest score inside the limit, to be compared with the best there and with the "
    "mean, which a random choice gets; '<' marks a first choice that is worse than random."
)


_HEADS = ("proxy", "Spearman", "first", "", "mean of 10", "pick")


def show_bands(report: RankReport, console: Console) -> None:
    """Print a table for each limit, with what every score picks."""
    for band in report.bands:
        console.print(escape(f"\n{_title(band)}"), highlight=False, soft_wrap=True)
        rows = [
            [
                row.score,
                _spearman(row),
                _value(row.top1),
                "<" if band.worse_than_random(row) else "",
                _value(row.top10_mean),
                _pick(row, report.texts),
            ]
            for row in _sorted(band.rows)
        ]
        # The numbers stay whole, and what a score picks gets the room that is left; report.md has it in full.
        columns = zip(_HEADS, *rows, strict=True)
        taken = sum(max(map(len, column)) + 1 for column in list(columns)[:-1])
        room = max(len(_HEADS[-1]), console.width - taken - 1)
        table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
        for place, head in enumerate(_HEADS):
            justify: Literal["left", "right"] = "left" if place in (0, len(_HEADS) - 1) else "right"
            table.add_column(head, justify=justify, no_wrap=True)
        for *numbers, pick in rows:
            shown = pick if len(pick) <= room else f"{pick[: room - 1]}…"
            table.add_row(*map(escape, [*numbers, shown]))
        console.print(table)
    if report.bands:
        console.print(escape(_LEGEND), highlight=False, soft_wrap=True)


def bands_markdown(report: RankReport) -> list[str]:
    """Lines of a section; none without limits."""
    if not report.bands:
        return []
    lines = ["## Inside limits", "", _LEGEND.replace("'<'", "*worse*"), ""]
    for band in report.bands:
        lines += [
            f"**{plain(_title(band))}**",
            "",
            "| proxy | Spearman | first | mean of ten | pick |",
            f"|{' --- |' * 5}",
        ]
        for row in _sorted(band.rows):
            worse = " *worse*" if band.worse_than_random(row) else ""
            pick = plain(_pick(row, report.texts))
            cells = [plain(row.score), _spearman(row), f"{_value(row.top1)}{worse}", _value(row.top10_mean), pick]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return lines


def _title(band: Band) -> str:
    return (
        f"Inside {band.limit}: {band.archs:,} architectures, the best has {_value(band.best)}, "
        f"their mean is {_value(band.mean)}"
    )


def _sorted(rows: Sequence[BandRow]) -> list[BandRow]:
    def key(row: BandRow) -> float:
        value = np.nan if row.spearman is None else row.spearman.value
        return -value if np.isfinite(value) else np.inf

    return sorted(rows, key=key)


def _spearman(row: BandRow) -> str:
    found = row.spearman
    return (
        "-"
        if found is None or not np.isfinite(found.value)
        else f"{found.value:.3f} [{found.low:.2f}, {found.high:.2f}]"
    )


def _value(value: float) -> str:
    return f"{value:#.4g}" if np.isfinite(value) else "-"


def _pick(row: BandRow, texts: Sequence[str]) -> str:
    if not row.picks:
        return "-"
    shared = f"{len(row.picks)} share the highest score, one is " if len(row.picks) > 1 else ""
    return f"{shared}{texts[row.picks[0]]}"
