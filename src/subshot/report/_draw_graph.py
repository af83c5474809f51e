"""Graphs as drawings: nodes down a line and operations on arcs beside it, narrow enough for a phone."""

import html
import math
from collections.abc import Sequence

from subshot.report._markup import Html, element

# Source, target, operation; the operation is empty where nodes are the operations.
Edge = tuple[str, str, str]

LETTER = 7.0  # width of a letter, about
_BOX = 26
_STEP = {True: 74, False: 50}  # between nodes, by whether operations stand on the edges
_FIRST_ARC, _NEXT_ARC = 34, 25  # how far arcs reach out, by the nodes they pass
_LONGEST_NAME = 48
_MOST_NODES = 60


def graph(title: str, edges: Sequence[Edge]) -> Html | None:
    """One graph; ``None`` if it is empty, too large, or has a circle."""
    names = _in_order(edges)
    if not names or len(names) > _MOST_NODES:
        return None
    place = {name: number for number, name in enumerate(names)}
    step = _STEP[any(label for _, _, label in edges)]
    half = {name: max(_BOX, LETTER * len(short(name)) + 16) / 2 for name in names}
    labels: dict[tuple[str, str], list[str]] = {}
    for source, target, label in edges:
        labels.setdefault((source, target), []).append(label)
    lines: list[str] = []
    words: list[str] = []  # above all lines, which are interrupted there
    left, right = -max(half.values()), max(half.values())
    for (source, target), several in labels.items():
        text = " + ".join(filter(None, several))
        line, word, low, high = _edge(text, place[source], place[target], half[source], half[target], step)
        look = "none" if text == "none" else "named" if text or step == _STEP[False] else ""
        lines.append(f'<g class="{look}">{line}</g>')
        words.append(f'<g class="{look}">{word}</g>' if word else "")
        left, right = min(left, low), max(right, high)
    boxes = [_box(name, half[name], place[name] * step) for name in names]
    width, height = math.ceil(right - left) + 8, (len(names) - 1) * step + _BOX + 8
    box = f"{math.floor(left) - 4} {-_BOX // 2 - 4} {width} {height}"
    plain = "; ".join(f"{source} to {target}{f': {label}' if label else ''}" for source, target, label in edges)
    svg = element(
        "svg",
        Html("".join([*lines, *boxes, *words])),
        attributes={"viewBox": box, "width": str(width), "height": str(height), "role": "img", "aria-label": plain},
    )
    return element("figure", element("figcaption", title), svg)


def _edge(
    text: str, start: int, end: int, half_start: float, half_end: float, step: int
) -> tuple[str, str, float, float]:
    """An arrow, its operation, and how far they reach to the left and to the right."""
    passed = end - start
    shown = escaped(short(text))
    width = LETTER * len(short(text))
    y0, y1 = start * step, end * step
    middle = (y0 + y1) / 2
    if passed == 1:
        end_y = y1 - _BOX / 2
        line = f'<path d="M0 {y0 + _BOX / 2:g}V{end_y - 5:g}"/><path class="tip" d="M0 {end_y:g}l-4 -7h8z"/>'
        label = f'<text y="{middle + 4:g}">{shown}</text>' if text else ""
        return line, label, -width / 2, width / 2
    # Arcs around the same middle pass an even number of nodes more or less: every other pair changes sides.
    side = 1 if passed % 4 in (2, 3) else -1
    bend = side * (max(half_start, half_end) + (_FIRST_ARC + _NEXT_ARC * (passed - 2)) / 0.75)
    x0, x1 = side * half_start, side * (half_end + 5)
    apex = (x0 + x1) / 8 + 0.75 * bend
    line = f'<path d="M{x0:g} {y0:g}C{bend:.4g} {y0:g} {bend:.4g} {y1:g} {x1:g} {y1:g}"/>'
    tip = f'<path class="tip" d="M{side * half_end:g} {y1:g}l{7 * side} -4v8z"/>'
    start_of = "start" if side > 0 else "end"
    label = f'<text class="{start_of}" x="{apex + 4 * side:.4g}" y="{middle + 4:g}">{shown}</text>' if text else ""
    reach = apex + side * (width + 6)
    return f"{line}{tip}", label, min(reach, 0), max(reach, 0)


def _box(name: str, half: float, y: int) -> str:
    frame = f'<rect x="{-half:g}" y="{y - _BOX / 2:g}" width="{2 * half:g}" height="{_BOX}" rx="6"/>'
    return f'{frame}<text class="node" y="{y + 4}">{escaped(short(name))}</text>'


def _in_order(edges: Sequence[Edge]) -> list[str]:
    """Nodes so that every edge leads down, else as they come; empty if a circle makes that impossible."""
    names = list(dict.fromkeys(name for source, target, _ in edges for name in (source, target)))
    before = {name: {source for source, target, _ in edges if target == name} for name in names}
    ordered: list[str] = []
    while len(ordered) < len(names):
        ready = next((one for one in names if one not in ordered and before[one].issubset(ordered)), None)
        if ready is None:
            return []
        ordered.append(ready)
    return ordered


def short(text: str) -> str:
    """A name that fits."""
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def escaped(text: str) -> str:
    """A text inside a drawing."""
    return html.escape(text, quote=False)
