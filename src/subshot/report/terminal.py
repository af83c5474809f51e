"""Results in the terminal: live progress, and the result as tables with an explanation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from subshot.report._beside import front_volume, own_model
from subshot.report._progress import ProgressLine
from subshot.report.warm_up import show_training, warm_up_cost

if TYPE_CHECKING:
    from subshot.studies._driver import Progress as SearchState
    from subshot.studies._result import Found, Study
    from subshot.training._fit import FitState

# Rows of the result table.
_TOP = 5


class SearchProgress(ProgressLine):
    """A live line: evaluations, rate, time left, best so far; where it can't be drawn, a plain one every ten seconds.

    Args:
        console: Where to draw; a log file, say, gets the plain lines.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console, "search")

    def warm_up(self, state: "FitState") -> None:
        """Show how far the warm-up before the search is."""
        show_training(self, state, stage="warm-up")

    def update(self, state: "SearchState") -> None:
        """Show how far the search is."""
        fresh = state.evaluations - state.resumed
        rate = f"{fresh / state.seconds:.1f}/s" if fresh and state.seconds > 0 else "resuming"
        best = f"best {state.best.score.value:,.6g}" if state.best else "best -"
        plain = f"{rate}, {best}"
        self.show(state.evaluations, state.budget, seconds=state.seconds, rate=rate, note=best, plain=plain)


def show_study(study: "Study", console: Console) -> None:
    """Print the winner, the runners-up, how much of the score is size, and the protocol."""
    top = study.top(_TOP)
    if study.best is None:
        console.print(f"[bold]No architecture has a finite {escape(study.objective)} score.[/]", soft_wrap=True)
        for line in filter(None, (study.explanation, _failures(study))):
            console.print(escape(line), highlight=False, soft_wrap=True)
        return
    console.print(_table(study, top, width=console.width))
    console.print(f"[bold]Best architecture[/]  {escape(study.best.arch)}", highlight=False, soft_wrap=True)
    for line in explain(study):
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    console.print(f"[dim]{escape(f'Protocol: {study.protocol}')}[/]", highlight=False, soft_wrap=True)
    if study.run is not None:
        files = ", ".join(name for name in ("study.db", "best.json", "report.html") if (study.run / name).exists())
        console.print(f"[dim]Run folder: {escape(str(study.run))} ({files})[/]", highlight=False)


def _table(study: "Study", top: "list[Found]", *, width: int) -> Table:
    numbers = ("#", study.objective, "params", "MACs")
    table = Table(*numbers, "architecture", header_style="bold")
    for column in table.columns[: len(numbers)]:
        column.justify, column.no_wrap = "right", True
    rows = []
    for rank, found in enumerate(top, start=1):
        costs = [magnitude(found.costs[name]) for name in ("params", "macs")]
        rows.append([str(rank), f"{found.score.value:,.6g}", *costs])
    own = own_model(study)
    beside = own is not None and own.arch not in [found.arch for found in top]
    if own is not None and beside:
        shown = f"{own.score.value:,.6g}" if own.score.ok else own.score.status
        rows.append([str(own.rank or "-"), shown, *(magnitude(own.costs[name]) for name in ("params", "macs"))])
    # What the numbers and frames leave is the architecture's; below, the best one stands in full.
    taken = sum(max(len(row[i]) for row in [list(numbers), *rows]) + 3 for i in range(len(numbers))) + 4
    for row, found in zip(rows[: len(top)], top, strict=True):
        room = max(20, width - taken)
        text = found.arch if len(found.arch) <= room else f"{found.arch[: room - 1]}…"
        table.add_row(*row, escape(text))
    if own is not None and beside:
        table.add_section()
        table.add_row(*rows[-1], f"{escape(own.arch)}: your own model")
    return table


def magnitude(value: float) -> str:
    """A count with its magnitude: 1.07 M, 153 k."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:  # what three digits would round up to it
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def explain(study: "Study") -> list[str]:
    """What stands behind the winner, in sentences."""
    assert study.best is not None
    scored = study.top(len(study.rows))
    values = np.array([found.score.value for found in scored])
    lines = [
        f"{_effort(study)}; their median score is {np.median(values):,.6g}, the best one's {values[0]:,.6g}.",
    ]
    if study.explanation:
        lines.append(study.explanation)
    if len(study.front) > 1:
        compared = unbeaten_in(study.objectives)
        lines.append(f"{len(study.front)} of them are unbeaten in {compared} together (see best.json).")
    volume = front_volume(study)
    if volume is not None:
        corner = ", ".join(_point(name, value) for name, value in volume.reference.items())
        lines.append(
            f"The front's hypervolume is {volume.share:.3f} of what lies between the worst and the best values "
            f"evaluated; the reference is the worst: {corner}."
        )
    own = own_model(study)
    if own is not None:
        place = f"number {own.rank:,} of {len(scored):,}" if own.rank else f"without a score: {own.score.status}"
        lines.append(f"Your own model, unchanged, is {place}.")
    if study.latency is not None:
        lines.append(latency_checked(study.latency))
    if study.warm_up:
        lines.append(warm_up_cost(study.warm_up))
    parts = ", ".join(f"{name} {value:,.6g}" for name, value in study.best.score.parts.items())
    if parts:
        lines.append(f"Behind the best score: {parts}.")
    lines += [f"Note: {warning}." for warning in study.best.score.warnings]
    size = _size_share(scored)
    if size:
        lines.append(size)
    failures = _failures(study)
    return [*lines, failures] if failures else lines


def unbeaten_in(objectives: Sequence[str]) -> str:
    """What a front is of, in words: ``score, parameters and MACs``."""
    words = {"-params": "parameters", "-macs": "MACs"}
    first = "score" if tuple(objectives[1:]) == tuple(words) else objectives[0]
    shown = [first, *(words.get(name, name) for name in objectives[1:])]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _point(name: str, value: float) -> str:
    words = {"-params": "parameters", "-macs": "MACs"}
    return f"{magnitude(-value)} {words[name]}" if name in words else f"{name} {value:,.6g}"


def latency_checked(latency: Mapping[str, Any]) -> str:
    """What was measured to keep a limit of latency, and how well it had been predicted."""
    measured, dropped = latency["measured"], [one for one in latency["measured"] if not one["kept"]]
    error = latency["error"]
    how = f"predicted with a mean error of {error['mape']:.1%}" if error else "taken from the table"
    text = f"Latency was {how}; {len(measured)} were measured for the limit of {latency['limit_ms']:g} ms"
    text += f" and {len(dropped)} of them dropped." if dropped else "."
    unchecked = len(latency["unchecked"])
    return f"{text} {unchecked} of the front could not be measured here: predictions." if unchecked else text


def _effort(study: "Study") -> str:
    """How many architectures were evaluated and what it took; those read back from the store took it earlier."""
    state = "Interrupted after" if study.status == "interrupted" else "Evaluated"
    fresh = study.evaluations - study.resumed
    if not study.resumed:
        return f"{state} {fresh:,} architectures in {study.seconds:.1f} s"
    if fresh or study.status == "interrupted":
        return (
            f"{state} {study.evaluations:,} architectures, {study.resumed:,} of them read back from the store and "
            f"{fresh:,} new ones in {study.seconds:.1f} s"
        )
    return (
        f"Read {study.resumed:,} architectures back from the store; looking at their networks took "
        f"{study.compute_seconds:.1f} s when they were first run, summed over workers"
    )


def _size_share(scored: "list[Found]") -> str:
    """Rank correlation of the score with the size baselines, over what was evaluated."""
    from subshot.benchmarks.ranking import spearman

    if len(scored) < 10:
        return ""
    values = np.array([found.score.value for found in scored])
    rho = {
        label: spearman(values, np.array([found.costs[name] for found in scored], dtype=np.float64))
        for label, name in (("parameters", "params"), ("MACs", "macs"))
    }
    shown = ", ".join(f"{value:.2f} with {label}" for label, value in rho.items() if np.isfinite(value))
    return f"How much of the score is size: its rank correlation is {shown}." if shown else ""


def _failures(study: "Study") -> str:
    """How many architectures have no finite score, by status, with one reason each."""
    reasons: dict[str, list[str]] = {}
    for row in study.rows:
        score = row.scores[study.objective]
        if row.same_as is None and not score.ok:
            reasons.setdefault(score.status, []).append(score.reason)
    shown = "; ".join(f"{len(all_of)} {status} ({all_of[0]})" for status, all_of in reasons.items())
    return f"Without a score and never chosen: {shown}." if shown else ""
