"""The figures of a search: every candidate by score and size, and how the search went."""

from collections.abc import Mapping

from subshot.report import drawings
from subshot.report.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    Axis,
    Column,
    Figure,
    Mark,
    Trace,
    View,
    numbers,
    staircase,
    thinned,
    wide,
)
from subshot.report.terminal import unbeaten_in
from subshot.spaces._choices import UNCHANGED
from subshot.studies._result import Study
from subshot.studies._store import Row

COSTS = {"params": "parameters", "macs": "MACs"}
_DRAWN = 60


def distinct(study: Study) -> list[Row]:
    """Each architecture once, in the order of their evaluation."""
    return [row for row in study.rows if row.same_as is None]


def limits(study: Study) -> Mapping[str, float]:
    """Limits by the name of what they are of."""
    return {name: float(value) for name, value in study.settings.get("limits", {}).items() if value is not None}


def front(study: Study) -> tuple[Figure, ...]:
    """Every candidate by score and size; those that nothing beats stand out, and can be looked at."""
    scored = [row for row in distinct(study) if row.scores[study.objective].ok]
    costs = [name for name in COSTS if scored and all(name in row.costs for row in scored)]
    if not costs:
        return ()
    unbeaten = {found.arch for found in study.front}
    best_of_all = [position for position, row in enumerate(scored) if row.arch in unbeaten]
    values = [row.scores[study.objective].value for row in scored]
    stairs = {name: staircase([row.costs[name] for row in scored], values) for name in costs}
    best = values.index(max(values))
    own = [position for position, row in enumerate(scored) if row.arch == UNCHANGED]
    keep = {best, *own, *best_of_all, *(position for several in stairs.values() for position in several)}
    shown = thinned(len(scored), keep=sorted(keep))
    place = {position: number for number, position in enumerate(shown)}
    columns: dict[str, Column] = {
        "architecture": [scored[position].arch for position in shown],
        "score": numbers([values[position] for position in shown]),
        "evaluation": [float(scored[position].trial) for position in shown],
    }
    for name in costs:
        columns[name] = numbers([float(scored[position].costs[name]) for position in shown], 12)
    log = wide(values)
    views = [
        View(
            COSTS[name],
            Axis(COSTS[name], sizes=True, log=wide([row.costs[name] for row in scored])),
            Axis(study.objective, log=log),
            (
                Trace("candidate", name, "score", colour=GREY, size=6, opacity=0.5),
                Trace(
                    "best up to a size",
                    name,
                    "score",
                    mode="steps",
                    colour=BLUE,
                    rows=tuple(place[position] for position in stairs[name]),
                ),
                Trace(
                    f"unbeaten in {unbeaten_in(study.objectives)}",
                    name,
                    "score",
                    colour=ORANGE,
                    size=9,
                    rows=tuple(place[position] for position in best_of_all),
                    symbol="diamond",
                ),
                *(
                    Trace("your own model", name, "score", colour=PURPLE, size=13, rows=(place[one],), symbol="square")
                    for one in own
                ),
                Trace("best", name, "score", colour=GREEN, size=16, rows=(place[best],), symbol="star"),
            ),
            tuple(Mark("x", value, "limit") for key, value in limits(study).items() if key == name),
        )
        for name in costs
    ]
    space = str(study.settings["space"])
    drawn = {
        position: drawings.drawing(space, scored[position].arch) for position in [best, *own, *best_of_all][:_DRAWN]
    }
    figure = Figure(
        name="front",
        title="Score against size",
        views=tuple(views),
        columns=columns,
        fields=(
            ("architecture", "architecture"),
            (study.objective, "score"),
            *((COSTS[name], name) for name in costs),
            ("trial", "evaluation"),
        ),
        caption=_how_many(len(shown), len(scored), "candidates"),
        drawings={place[position]: made for position, made in drawn.items() if made is not None},
        invites=True,
    )
    return (figure,)


def progress(study: Study) -> tuple[Figure, ...]:
    """The best score so far, over all candidates in their order."""
    rows = distinct(study)
    scored = [
        (number, row.scores[study.objective].value)
        for number, row in enumerate(rows, start=1)
        if row.scores[study.objective].ok
    ]
    if not scored:
        return ()
    values = [value for _, value in scored]
    records: list[int] = []
    for position, value in enumerate(values):
        if not records or value > values[records[-1]]:
            records.append(position)
    shown = thinned(len(scored), keep=records)
    place = {position: number for number, position in enumerate(shown)}
    # The line goes on to the end of the search.
    columns: dict[str, Column] = {
        "evaluation": [*(float(scored[position][0]) for position in shown), float(len(rows))],
        "score": numbers([*(values[position] for position in shown), max(values)]),
        "architecture": [
            *(rows[scored[position][0] - 1].arch for position in shown),
            rows[scored[records[-1]][0] - 1].arch,
        ],
    }
    line = (*(place[position] for position in records), len(shown))
    view = View(
        "score",
        Axis("architectures evaluated"),
        Axis(study.objective, log=wide(values)),
        (
            Trace("candidate", "evaluation", "score", colour=GREY, size=5, opacity=0.5, rows=tuple(range(len(shown)))),
            Trace("best so far", "evaluation", "score", mode="steps", colour=ORANGE, rows=line),
        ),
    )
    figure = Figure(
        name="progress",
        title="Progress of the search",
        views=(view,),
        columns=columns,
        fields=(("architecture", "architecture"), (study.objective, "score"), ("number", "evaluation")),
        caption=_how_many(len(shown), len(scored), "candidates"),
        height=320,
    )
    return (figure,)


def _how_many(shown: int, total: int, what: str) -> str:
    if shown == total:
        return f"All {total:,} {what} with a score."
    return f"{shown:,} of {total:,} {what}, chosen at random, with all that stand out."
