"""Interactive figures as plain data: columns of numbers and what to draw of them. The page's script draws them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng
from subshot.report._markup import Html

# Points of one figure; more make a page slow, and a cloud no clearer.
MOST_POINTS = 5_000

# Told apart by colour-blind readers and in grey print (Okabe and Ito).
GREY, BLUE, ORANGE, GREEN, PURPLE = "#8d99a6", "#0072b2", "#d55e00", "#009e73", "#cc79a7"

Column = Sequence[float | None] | Sequence[str]


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        title: What it shows, with the unit.
        log: Whether it is logarithmic.
        sizes: Whether numbers are shown as 1M, 250k.
        ticks: Names at the places 0, 1, ... instead of numbers, from the top down.
        span: What is shown at first; everything if not given. A double click shows everything.
    """

    title: str
    log: bool = False
    sizes: bool = False
    ticks: tuple[str, ...] = ()
    span: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "title": self.title,
            "log": self.log,
            "sizes": self.sizes,
            "ticks": list(self.ticks),
            "span": self.span,
        }


@dataclass(frozen=True)
class Trace:
    """Points or a line.

    Attributes:
        name: In the legend.
        x: Name of a column.
        y: Name of a column.
        mode: Points, a line with right angles, a line from point to point, or points with intervals.
        colour: Of points and line.
        size: Diameter of points, in pixels.
        rows: Which rows of the columns; all if not given.
        symbol: Shape of the points.
        low: Column of lower ends of intervals.
        high: Column of upper ends.
        opacity: Of the points.
        dashed: Whether a line is broken.
    """

    name: str
    x: str
    y: str
    mode: Literal["points", "steps", "line", "intervals"] = "points"
    colour: str = BLUE
    size: int = 7
    rows: tuple[int, ...] | None = None
    symbol: Literal["circle", "diamond", "square", "star"] = "circle"
    low: str = ""
    high: str = ""
    opacity: float = 1.0
    dashed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**self.__dict__, "rows": None if self.rows is None else list(self.rows)}


@dataclass(frozen=True)
class Mark:
    """A line across a figure at one value.

    Attributes:
        axis: Whose value.
        value: Where.
        label: What it means.
    """

    axis: Literal["x", "y"]
    value: float
    label: str


@dataclass(frozen=True)
class View:
    """What a figure shows at one time; a figure with several lets the reader choose.

    Attributes:
        label: In the list of choices.
        x: Horizontal axis.
        y: Vertical axis.
        traces: From back to front.
        marks: Lines across.
    """

    label: str
    x: Axis
    y: Axis
    traces: tuple[Trace, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Figure:
    """An interactive figure.

    Attributes:
        name: Unique in its chapter; letters, digits and dashes.
        title: What a screen reader says, and the head of the choice of views.
        views: One or more.
        columns: Values by name, all as long as the rows of what they describe.
        fields: ``(label, column)`` of what a pointer and a click show; the first is the head.
        caption: Below it, in words.
        height: In pixels.
        drawings: Drawings by row, shown after a click.
        invites: Whether a click shows more than the pointer.
    """

    name: str
    title: str
    views: tuple[View, ...]
    columns: Mapping[str, Column]
    fields: tuple[tuple[str, str], ...] = ()
    caption: str = ""
    height: int = 420
    drawings: Mapping[int, Html] = field(default_factory=dict)
    invites: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON values for the page's script."""
        return {
            "columns": {name: list(values) for name, values in self.columns.items()},
            "fields": [list(pair) for pair in self.fields],
            "height": self.height,
            "drawn": sorted(self.drawings),
            "invites": self.invites,
            "views": [
                {
                    "x": view.x.to_dict(),
                    "y": view.y.to_dict(),
                    "traces": [trace.to_dict() for trace in view.traces],
                    "marks": [dict(mark.__dict__) for mark in view.marks],
                }
                for view in self.views
            ],
        }


def numbers(values: "Sequence[float | None] | NDArray[np.float64]", digits: int = 7) -> list[float | None]:
    """Values with as many significant digits as a figure can show; ``None`` for what isn't finite."""
    return [
        None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")
        for value in (values.tolist() if isinstance(values, np.ndarray) else values)
    ]


def thinned(count: int, *, keep: Sequence[int] = (), most: int = MOST_POINTS) -> list[int]:
    """Rows to draw in their order: all, or ``most`` at random with ``keep`` among them.

    Args:
        count: How many there are.
        keep: Rows that must stay.
        most: How many may be drawn; more only if ``keep`` has more.
    """
    if count <= most:
        return list(range(count))
    kept = set(keep)
    # The same rows in every report of a run.
    for row in stable_rng(count, "points of a figure").permutation(count).tolist():
        if len(kept) >= most:
            break
        kept.add(row)
    return sorted(kept)


def staircase(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Positions of those that beat everything of the same or a smaller cost, by rising cost."""
    best, found = -math.inf, []
    for position in sorted(range(len(costs)), key=lambda one: (costs[one], -scores[one])):
        if scores[position] > best:
            best = scores[position]
            found.append(position)
    return found


def wide(values: Sequence[float]) -> bool:
    """Whether values ask for a logarithmic axis: positive, and over three orders of magnitude."""
    return bool(values) and min(values) > 0 and max(values) > 1_000 * min(values)
