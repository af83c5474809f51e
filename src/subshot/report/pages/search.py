"""A search: the winner, scores against sizes, how the search went, what it cost, and how it was measured."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from subshot.report import drawings
from subshot.report._beside import own_model
from subshot.report._markup import NOTHING, Cell, Content, Html, code, element, facts, joined, listing, paragraph, table
from subshot.report._page import PAGES, Chapter, PageKind, Section
from subshot.report._words import protocol_facts, seconds
from subshot.report.pages._search_figures import COSTS, distinct, front, limits, progress
from subshot.report.pages._warm_up_cost import beside_one_shot
from subshot.report.terminal import explain, magnitude, unbeaten_in
from subshot.studies._reading import read_study, stored_settings
from subshot.studies._result import Found, Study

_TOP = 20


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
    bounds = ", ".join(f"at most {magnitude(value)} {COSTS.get(name, name)}" for name, value in limits(study).items())
    summary = (
        f"{state}By {study.settings['strategy']}, {bounds or 'without limits'}; the highest {study.objective} wins."
    )
    figures = front(study)
    sections = [
        Section("Best network", _best(study)),
        Section("Score and size", figures=figures, below=_unbeaten(study)) if figures else None,
        Section("The search", listing(_progress_facts(study)), figures=progress(study)),
        Section("Best candidates", _candidates(study)) if study.best else None,
        Section("Without a score", _failures(study)) if study.failed else None,
        Section("Cost", _cost(study)),
        Section("Warm-up", beside_one_shot(study.warm_up)) if study.warm_up else None,
        Section("Protocol", protocol_facts(study.protocol.to_dict(), _settings(study))),
    ]
    return Chapter(f"Search of {space}", paragraph(summary), tuple(section for section in sections if section))


def _settings(study: Study) -> dict[str, object]:
    """What was asked for; how a warm-up's optimiser was set stands with the warm-up."""
    settings = {key: value for key, value in study.settings.items() if key != "protocol"}
    plan = settings.pop("warm_up", None)
    if plan:
        settings["warm_up"] = {key: value for key, value in plan.items() if key != "recipe" and value is not None}
    return settings | {"limits": limits(study) or "none"}


def _best(study: Study) -> Html:
    if study.best is None:
        return paragraph(f"No architecture has a finite {study.objective} score. {study.explanation}".strip())
    best = study.best
    row = next(row for row in study.rows if row.same_as is None and row.arch == best.arch)
    pairs: list[tuple[str, Content]] = [(study.objective, f"{best.score.value:,.6g}")]
    pairs += [(COSTS.get(name, name), f"{value:,.0f}") for name, value in best.costs.items()]
    others = {name: score for name, score in row.scores.items() if name != study.objective}
    pairs += [(name, f"{score.value:,.6g}" if score.ok else score.status) for name, score in others.items()]
    told = element("div", facts(pairs), listing(explain(study)))
    space = str(study.settings["space"])
    beside = element("div", element("div", drawings.with_text(space, best.arch)), told, attributes={"class": "beside"})
    return joined([beside, _own(study, best)])


def _own(study: Study, best: Found) -> Html:
    """The user's own model beside the best, where the search was around one."""
    own = own_model(study)
    if own is None:
        return NOTHING
    names = [name for name in COSTS if name in best.costs and name in own.costs]
    shown = f"{own.score.value:,.6g}" if own.score.ok else own.score.status
    rows: list[list[Content | Cell]] = [
        ["the best", Cell(f"{best.score.value:,.6g}", best.score.value)],
        ["your own model", Cell(shown, own.score.value if own.score.ok else None)],
    ]
    for row, costs in zip(rows, (best.costs, own.costs), strict=True):
        row += [Cell(magnitude(costs[name]), float(costs[name])) for name in names]
    rows[0] += [Cell("1", 1), code(best.arch)]
    rows[1] += [Cell(str(own.rank or "-"), own.rank or None), code(own.arch)]
    head = ["network", study.objective, *(COSTS[name] for name in names), "rank", "architecture"]
    label = "The best beside your own model"
    return joined([element("h3", label), table(head, rows, label=label, texts=[0, len(head) - 1])])


def _unbeaten(study: Study) -> Html:
    label = f"The {len(study.front)} unbeaten in {unbeaten_in(study.objectives)} together"
    return joined([element("h3", label), _found_table(study, study.front, label)])


def _found_table(study: Study, found: Sequence[Found], label: str) -> Html:
    names = [name for name in COSTS if found and all(name in one.costs for one in found)]
    rows: list[list[Content | Cell]] = [
        [
            Cell(str(rank), rank),
            Cell(f"{one.score.value:,.6g}", one.score.value),
            *(Cell(magnitude(one.costs[name]), float(one.costs[name])) for name in names),
            code(one.arch),
        ]
        for rank, one in enumerate(found, start=1)
    ]
    head = ["rank", study.objective, *(COSTS[name] for name in names), "architecture"]
    return table(head, rows, label=label, texts=[len(head) - 1])


def _candidates(study: Study) -> Html:
    top = study.top(_TOP)
    return _found_table(study, top, f"The best {len(top)}")


def _progress_facts(study: Study) -> list[Content]:
    rows = distinct(study)
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
    failed = [row.scores[study.objective] for row in distinct(study) if not row.scores[study.objective].ok]
    counts = Counter((score.status, score.reason) for score in failed)
    rows: list[list[Content | Cell]] = [
        [Cell(f"{count:,}", count), status, reason or "-"] for (status, reason), count in counts.most_common()
    ]
    label = "Architectures without a finite score, which are never chosen"
    return joined(
        [paragraph(f"{label}."), table(["architectures", "status", "reason"], rows, label=label, texts=[1, 2])]
    )


def _cost(study: Study) -> Html:
    rows = distinct(study)
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
