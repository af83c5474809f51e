"""The figures of a ranking: statistics with their intervals, and true values over the order that a score gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from subshot.report import drawings
from subshot.report._markup import Html
from subshot.report.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Axis,
    Column,
    Figure,
    Mark,
    Trace,
    View,
    numbers,
    thinned,
)
from subshot.report.pages._rank_tables import TITLES
from subshot.report.pages._ranking import VALUES, Ranked

_LONG = {
    "spearman": "Spearman's rho",
    "kendall": "Kendall's tau-b",
    "kendall_top10": "Kendall's tau-b within the truly best 10 %",
    "kendall_top5": "Kendall's tau-b within the truly best 5 %",
    "precision_top5": "share of the true best 5 % among the 5 % with the highest scores",
    "top1": "true value of the highest score",
    "top10_mean": "mean true value of the ten highest scores",
}
_COLOURS = {"proxy": BLUE, "baseline": ORANGE, "aggregate": GREEN, "column": BLUE}
_PLURALS = {"proxy": "proxies", "baseline": "baselines", "aggregate": "aggregates", "column": "stored scores"}
_ROW_HEIGHT = 24
_CHOICES = 10
_DRAWN = 150
# Share of the true values that a first look may cut off, where they would flatten the rest.
_TAIL = 0.05


def forest(ranked: Ranked, name: str, statistics: Sequence[str]) -> tuple[Figure, ...]:
    """A line for each score with its interval, by falling value; the reader chooses the statistic."""
    rows = ranked.rows
    kinds = {row["proxy"]: ranked.kind(row["proxy"]) for row in rows}
    columns: dict[str, Column] = {"score": [row["proxy"] for row in rows]}
    views, fields = [], [("score", "score")]
    for statistic in statistics:
        known = [row["proxy"] for row in ranked.by(statistic) if row[statistic] is not None]
        if not known:
            continue
        columns[statistic] = numbers([row[statistic] for row in rows])
        columns[f"{statistic} place"] = [float(known.index(one)) if one in known else None for one in kinds]
        for end, column in enumerate((f"{statistic} low", f"{statistic} high")):
            columns[column] = numbers([row[f"{statistic}_ci"][end] for row in rows])
        fields += [(f"{TITLES[statistic]}{end}", f"{statistic}{end}") for end in ("", " low", " high")]
        traces = tuple(
            Trace(
                _PLURALS[kind],
                statistic,
                f"{statistic} place",
                mode="intervals",
                colour=_COLOURS[kind],
                rows=tuple(place for place, one in enumerate(kinds) if kinds[one] == kind and one in known),
                low=f"{statistic} low",
                high=f"{statistic} high",
                symbol="diamond" if kind == "baseline" else "circle",
                size=9,
            )
            for kind in dict.fromkeys(kinds.values())
        )
        title = f"{_LONG[statistic]}{f', {ranked.target}' if statistic in VALUES else ''}"
        views.append(
            View(_LONG[statistic], Axis(title), Axis("", ticks=tuple(known)), traces, _marks(ranked, statistic))
        )
    if not views:
        return ()
    figure = Figure(
        name=name,
        title="Statistic",
        views=tuple(views),
        columns=columns,
        fields=tuple(fields),
        caption="Bars are 95 % intervals over architectures.",
        height=130 + _ROW_HEIGHT * len(rows),
    )
    return (figure,)


def _marks(ranked: Ranked, statistic: str) -> tuple[Mark, ...]:
    """Ceilings and references."""
    if statistic in VALUES:
        return (Mark("x", ranked.best, "best there is"),)
    if statistic == "precision_top5":
        return (Mark("x", 0.05, "by chance"),)
    zero, ceiling = Mark("x", 0.0, ""), ranked.truth_ceiling
    found = ceiling.get(statistic) if ceiling else None
    return (zero,) if found is None else (zero, Mark("x", found, "two training seeds"))


@dataclass(frozen=True, eq=False)
class _Order:
    """The order that a score gives: below each architecture how many percent of the others, and the first ten."""

    share: NDArray[np.float64]
    first: tuple[int, ...]


def cloud(ranked: Ranked) -> tuple[Figure, ...]:
    """True values over the order of each score; the reader chooses the score."""
    orders = {
        row["proxy"]: _order(ranked.scores[row["proxy"]])
        for row in ranked.by("spearman")
        if row["spearman"] is not None
    }
    if not orders:
        return ()
    sign = 1.0 if ranked.minimize else -1.0
    truly = np.argsort(sign * ranked.truth, kind="stable")[:_CHOICES].tolist()
    stands_out = [
        *truly,
        *(one for place in range(_CHOICES) for order in orders.values() for one in order.first[place : place + 1]),
    ]
    shown = thinned(len(ranked.archs), keep=stands_out)
    row_of = {position: row for row, position in enumerate(shown)}
    columns: dict[str, Column] = {
        "architecture": [ranked.archs[position] for position in shown],
        "true value": numbers(ranked.truth[shown]),
    }
    span, hidden = _span(ranked)
    views = []
    for name, order in orders.items():
        columns[f"below: {name}"] = numbers(order.share[shown], 5)
        views.append(
            View(
                name,
                Axis(f"architectures that {name} puts below, %"),
                Axis(ranked.target, span=span),
                (
                    Trace("architecture", f"below: {name}", "true value", colour=GREY, size=5, opacity=0.5),
                    Trace(
                        "ten highest scores",
                        f"below: {name}",
                        "true value",
                        colour=ORANGE,
                        size=10,
                        rows=tuple(row_of[position] for position in order.first),
                        symbol="diamond",
                    ),
                ),
                (Mark("y", ranked.best, "best there is"),),
            )
        )
    figure = Figure(
        name="cloud",
        title="Score",
        views=tuple(views),
        columns=columns,
        fields=(("architecture", "architecture"), (ranked.target, "true value")),
        caption=_caption(len(shown), len(ranked.archs), hidden),
        height=460,
        drawings=_drawings(ranked, row_of, stands_out),
        invites=True,
    )
    return (figure,)


def _order(scores: NDArray[np.float64]) -> _Order:
    finite = np.isfinite(scores)
    share = np.full(len(scores), np.nan)
    share[finite] = 100 * (rankdata(scores[finite]) - 1) / (finite.sum() - 1)
    falling = np.argsort(np.where(finite, -scores, np.inf), kind="stable")
    return _Order(share, tuple(falling[: min(_CHOICES, int(finite.sum()))].tolist()))


def _caption(shown: int, total: int, hidden: int) -> str:
    which = (
        f"All {total:,} architectures."
        if shown == total
        else f"{shown:,} of {total:,} architectures, chosen at random, with the ten highest of each score."
    )
    lines = [which, "Tied scores share their mean place."]
    if hidden:
        lines.append(f"{hidden:,} of all lie outside the frame at first; a double click shows them.")
    return " ".join(lines)


def _drawings(ranked: Ranked, row_of: Mapping[int, int], wanted: Sequence[int]) -> dict[int, Html]:
    space = str(ranked.settings["space"])
    made = {one: drawings.drawing(space, ranked.archs[one]) for one in list(dict.fromkeys(wanted))[:_DRAWN]}
    return {row_of[one]: drawn for one, drawn in made.items() if drawn is not None}


def _span(ranked: Ranked) -> tuple[tuple[float, float] | None, int]:
    """What of the true values to show at first, and how many that leaves out: a long tail would flatten the rest."""
    low, high = float(ranked.truth.min()), float(ranked.truth.max())
    cut = float(np.quantile(ranked.truth, 1 - _TAIL if ranked.minimize else _TAIL))
    kept = (low, cut) if ranked.minimize else (cut, high)
    if high - low < 2 * (kept[1] - kept[0]) or kept[0] == kept[1]:
        return None, 0
    room = 0.06 * (kept[1] - kept[0])
    span = (kept[0] - room, kept[1] + room)
    return span, int(((ranked.truth < span[0]) | (ranked.truth > span[1])).sum())
