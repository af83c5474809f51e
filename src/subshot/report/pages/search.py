"""A search: the winner, scores against sizes, how the search went, what it cost, and how it was measured."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from subshot.report import drawings
from subshot.report._markup import Cell, Content, Html, code, element, facts, joined, listing, paragraph, table
from subshot.report._page import PAGES, Chapter, PageKind, Section
from subshot.report._words import protocol_facts, seconds
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
    staircase,
    thinned,
    wide,
)
from subshot.report.terminal import explain, magnitude, unbeaten_in
from subshot.studies._reading import read_study, stored_settings
from subshot.studies._result import Found, Study
from subshot.studies._store import Row

_TOP = 20
_DRAWN = 60
_COSTS = {"params": "parameters", "macs": "MACs"}


def found_in(run: Path) -> bool:
    """Whether a folder holds a search."""
    settings = stored_settings(run)
    return settings is not None and "objective" in settings


def chapters(run: Path) -> Sequence[Chapter]:
    """The one chapter of a run folder.

    Raises:
        StudyError: The folder can't be read.
    """
    return [chapter(read_study(run))]


PAGES.register("search", PageKind("search", found_in, chapters, place=0))


def chapter(study: Study) -> Chapter:
    """A search, told."""
    space = str(study.settings["space"])
    state = "" if study.status == "done" else "It was interrupted; the same command continues it. "
    limits = ", ".join(f"at most {magnitude(value)} {_COSTS.get(name, name)}" for name, value in _limits(study).items())
    summary = (
        f"{state}By {study.settings['strategy']}, {limits or 'without limits'}; the highest {study.objective} wins."
    )
    front = _front(study)
    sections = [
        Section("Best network", _best(study)),
        Section("Score and size", figures=front.figures, below=front.table) if front else None,
        Section("The search", listing(_progress_facts(study)), figures=_progress(study)),
        Section("Best candidates", _candidates(study)) if study.best else None,
        Section("Without a score", _failures(study)) if study.failed else None,
        Section("Cost", _cost(study)),
        Section("Protocol", protocol_facts(study.protocol.to_dict(), _settings(study))),
    ]
    return Chapter(f"Search of {space}", paragraph(summary), tuple(section for section in sections if section))


class _Front:
    """Figure and table of the architectures that no other beats."""

    def __init__(self, figures: tuple[Figure, ...], table: Html) -> None:
        self.figures, self.table = figures, table


def _limits(study: Study) -> Mapping[str, float]:
    return {name: float(value) for name, value in study.settings.get("limits", {}).items() if value is not None}


def _settings(study: Study) -> dict[str, object]:
    return {key: value for key, value in study.settings.items() if key not in ("protocol", "limits")} | {
        "limits": _limits(study) or "none"
    }


def _best(study: Study) -> Html:
    if study.best is None:
        return paragraph(f"No architecture has a finite {study.objective} score. {study.explanation}".strip())
    best = study.best
    row = next(row for row in study.rows if row.same_as is None and row.arch == best.arch)
    pairs: list[tuple[str, Content]] = [(study.objective, f"{best.score.value:,.6g}")]
    pairs += [(_COSTS.get(name, name), f"{value:,.0f}") for name, value in best.costs.items()]
    others = {name: score for name, score in row.scores.items() if name != study.objective}
    pairs += [(name, f"{score.value:,.6g}" if score.ok else score.status) for name, score in others.items()]
    told = element("div", facts(pairs), listing(explain(study)))
    space = str(study.settings["space"])
    return element("div", element("div", drawings.with_text(space, best.arch)), told, attributes={"class": "beside"})


def _distinct(study: Study) -> list[Row]:
    return [row for row in study.rows if row.same_as is None]


def _front(study: Study) -> _Front | None:
    """Every candidate by score and size; those that nothing beats stand out, and can be looked at."""
    scored = [row for row in _distinct(study) if row.scores[study.objective].ok]
    costs = [name for name in _COSTS if scored and all(name in row.costs for row in scored)]
    if not costs:
        return None
    unbeaten = {found.arch for found in study.front}
    front = [position for position, row in enumerate(scored) if row.arch in unbeaten]
    values = [row.scores[study.objective].value for row in scored]
    stairs = {name: staircase([row.costs[name] for row in scored], values) for name in costs}
    best = values.index(max(values))
    keep = {best, *front, *(position for several in stairs.values() for position in several)}
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
            _COSTS[name],
            Axis(_COSTS[name], sizes=True, log=wide([row.costs[name] for row in scored])),
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
                    "unbeaten in score, parameters and MACs",
                    name,
                    "score",
                    colour=ORANGE,
                    size=9,
                    rows=tuple(place[position] for position in front),
                    symbol="diamond",
                ),
                Trace("best", name, "score", colour=GREEN, size=16, rows=(place[best],), symbol="star"),
            ),
            tuple(Mark("x", value, "limit") for key, value in _limits(study).items() if key == name),
        )
        for name in costs
    ]
    space = str(study.settings["space"])
    drawn = {position: drawings.drawing(space, scored[position].arch) for position in [best, *front][:_DRAWN]}
    figure = Figure(
        name="front",
        title="Score against size",
        views=tuple(views),
        columns=columns,
        fields=(
            ("architecture", "architecture"),
            (study.objective, "score"),
            *((_COSTS[name], name) for name in costs),
            ("trial", "evaluation"),
        ),
        caption=_how_many(len(shown), len(scored), "candidates"),
        drawings={place[position]: made for position, made in drawn.items() if made is not None},
        invites=True,
    )
    label = f"The {len(study.front)} unbeaten in {unbeaten_in(study.objectives)} together"
    below = joined([element("h3", label), _found_table(study, study.front, label)])
    return _Front((figure,), below)


def _how_many(shown: int, total: int, what: str) -> str:
    if shown == total:
        return f"All {total:,} {what} with a score."
    return f"{shown:,} of {total:,} {what}, chosen at random, with all that stand out."


def _found_table(study: Study, found: Sequence[Found], label: str) -> Html:
    names = [name for name in _COSTS if found and all(name in one.costs for one in found)]
    rows: list[list[Content | Cell]] = [
        [
            Cell(str(rank), rank),
            Cell(f"{one.score.value:,.6g}", one.score.value),
            *(Cell(magnitude(one.costs[name]), float(one.costs[name])) for name in names),
            code(one.arch),
        ]
        for rank, one in enumerate(found, start=1)
    ]
    head = ["rank", study.objective, *(_COSTS[name] for name in names), "architecture"]
    return table(head, rows, label=label, texts=[len(head) - 1])


def _candidates(study: Study) -> Html:
    top = study.top(_TOP)
    return _found_table(study, top, f"The best {len(top)}")


def _progress(study: Study) -> tuple[Figure, ...]:
    rows = _distinct(study)
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


def _progress_facts(study: Study) -> list[Content]:
    rows = _distinct(study)
    repeated = len(study.rows) - len(rows)
    lines: list[Content] = []
    if repeated:
        lines.append(
            f"{repeated:,} more trials asked for an architecture that had been evaluated, which costs nothing."
        )
    if study.best is not None:
        number = next(place for place, row in enumerate(rows, start=1) if row.arch == study.best.arch)
        lines.append(f"The best was number {number:,} of {len(rows):,}.")
    if study.explanation:
        lines.append(study.explanation)
    return lines


def _failures(study: Study) -> Html:
    failed = [row.scores[study.objective] for row in _distinct(study) if not row.scores[study.objective].ok]
    counts = Counter((score.status, score.reason) for score in failed)
    rows: list[list[Content | Cell]] = [
        [Cell(f"{count:,}", count), status, reason or "-"] for (status, reason), count in counts.most_common()
    ]
    label = "Architectures without a finite score, which are never chosen"
    return joined(
        [paragraph(f"{label}."), table(["architectures", "status", "reason"], rows, label=label, texts=[1, 2])]
    )


def _cost(study: Study) -> Html:
    rows = _distinct(study)
    looks = [row.scores[study.objective].cost for row in rows]
    passes = {"forward": sum(one.forwards for one in looks), "backward": sum(one.backwards for one in looks)}
    pairs: list[tuple[str, Content]] = [("architectures evaluated", f"{study.evaluations:,}")]
    if study.resumed:
        pairs.append(("of them read back from the store", f"{study.resumed:,}"))
    pairs += [
        ("without a score", f"{study.failed:,}"),
        ("wall time of the last run", seconds(study.seconds)),
        ("looks at networks, summed over workers", seconds(study.compute_seconds)),
        ("one look, on average", seconds(study.compute_seconds / max(1, len(rows)))),
        (f"passes for {study.objective}", ", ".join(f"{count:,} {name}" for name, count in passes.items())),
    ]
    return facts(pairs)
