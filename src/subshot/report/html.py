"""One file that tells a run: words, tables and interactive figures, readable anywhere without a network.

Everything is inside: styles, script, data, and plotly.js, most of the size of about 5 MB. The page forbids itself to
load anything and to run any script but its own two.
"""

import base64
import hashlib
import importlib.util
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from subshot import __version__
from subshot.errors import MissingDependencyError, StudyError
from subshot.report._markup import NOTHING, Html, element, embedded, joined, paragraph
from subshot.report._markup import name as breakable
from subshot.report._page import PAGES, Chapter, Section
from subshot.report.figures import Figure
from subshot.studies._files import write_whole

FILE = "report.html"


def plotly_is_there() -> bool:
    """Whether a report can be made, found without importing plotly."""
    return importlib.util.find_spec("plotly") is not None


def write_html(run: Path) -> Path:
    """Write ``report.html`` into a run folder, with the chapters of each kind of run that it holds.

    Args:
        run: The folder; or the file of a supernet, whose report stands beside it under the same name.

    Raises:
        StudyError: There is no run, what there is can't be read, or the file can't be written.
        MissingDependencyError: plotly isn't installed.
    """
    if not run.exists():
        raise StudyError(
            f"There is no folder or file {run}.",
            "Name the folder that a search, a ranking or a training has left, or the file of a warm-up.",
        )
    kinds = sorted((PAGES.get(name) for name in PAGES), key=lambda kind: kind.place)
    found = [kind for kind in kinds if kind.found_in(run)]
    if not found:
        raise StudyError(
            f"{run} holds no finished run.",
            f"Name what one of these commands has left: {', '.join(kind.name for kind in kinds)}.",
        )
    path = run / FILE if run.is_dir() else run.with_suffix(".html")
    write_whole(path, document([chapter for kind in found for chapter in kind.chapters(run)]))
    return path


def document(chapters: Sequence[Chapter]) -> str:
    """The whole page.

    Args:
        chapters: One or more; the first gives the page its title.

    Raises:
        MissingDependencyError: plotly isn't installed.
    """
    plotly, script = _plotly(), _asset("report.js")
    body = [_contents(chapters), *(_chapter(chapter, number) for number, chapter in enumerate(chapters))]
    head = [
        element("meta", attributes={"charset": "utf-8"}),
        element("meta", attributes={"http-equiv": "Content-Security-Policy", "content": _policy(plotly, script)}),
        element("meta", attributes={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", attributes={"name": "generator", "content": f"subshot {__version__}"}),
        element("title", f"{chapters[0].title} - subshot"),
        Html(f"<style>{_asset('report.css')}</style>"),
    ]
    told = paragraph(f"Made by subshot {__version__}. This file is complete: it loads nothing from anywhere.")
    noscript = element("noscript", paragraph("Figures need JavaScript; tables and text are complete without it."))
    page = element(
        "html",
        element("head", *head),
        element(
            "body",
            element("main", noscript, *body),
            element("footer", told),
            Html(f"<script>{plotly}</script><script>{script}</script>"),
        ),
        attributes={"lang": "en"},
    )
    # What UTF-8 can't hold, such as the odd bytes of a file's name, becomes a question mark.
    return f"<!DOCTYPE html>\n{page.text}\n".encode("utf-8", "replace").decode("utf-8")


def _contents(chapters: Sequence[Chapter]) -> Html:
    """Links to the sections of one chapter, or to several chapters."""
    links = [
        element("a", section.title, attributes={"href": f"#{_anchor(number, place)}"})
        for number, chapter in enumerate(chapters)
        for place, section in enumerate(chapter.sections)
        if len(chapters) == 1
    ] or [
        element("a", chapter.title, attributes={"href": f"#{_anchor(number)}"})
        for number, chapter in enumerate(chapters)
    ]
    return element("nav", *links, attributes={"aria-label": "Contents"})


def _chapter(chapter: Chapter, number: int) -> Html:
    head = element("header", element("h1", breakable(chapter.title)), chapter.summary)
    sections = [_section(section, number, place) for place, section in enumerate(chapter.sections)]
    return element("article", head, *sections, attributes={"id": _anchor(number)})


def _anchor(chapter: int, section: int | None = None) -> str:
    return f"chapter-{chapter}" if section is None else f"section-{chapter}-{section}"


def _section(section: Section, chapter: int, place: int) -> Html:
    figures = [_figure(figure, f"figure-{chapter}-{figure.name}") for figure in section.figures]
    parts = [element("h2", section.title), section.body, *figures, section.below]
    return element("section", *parts, attributes={"id": _anchor(chapter, place)})


def _figure(figure: Figure, name: str) -> Html:
    """A place to draw in, the choice of views, the data, and what a click shows."""
    plot = element("div", attributes={"class": "plot", "role": "img", "aria-label": figure.title})
    options = [element("option", view.label, attributes={"value": str(n)}) for n, view in enumerate(figure.views)]
    choice = element("label", f"{figure.title} ", element("select", *options)) if len(options) > 1 else NOTHING
    templates = [
        element("template", drawn, attributes={"id": f"{name}-drawing-{row}"}) for row, drawn in figure.drawings.items()
    ]
    invitation = element("span", " Click a point to see it.", attributes={"class": "screen"})
    detail = element("div", attributes={"class": "detail", "aria-live": "polite", "hidden": ""})
    return element(
        "figure",
        choice,
        plot,
        element("figcaption", figure.caption, invitation if figure.invites else NOTHING),
        detail if figure.invites else NOTHING,
        joined(templates),
        embedded(f"{name}-data", figure.to_dict()),
        attributes={"class": "chart", "id": name},
    )


def _policy(*scripts: str) -> str:
    """Nothing may be loaded, and no script run but these, whatever a name in the page says."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )


def _asset(name: str) -> str:
    return resources.files("subshot.report").joinpath("assets", name).read_text(encoding="utf-8")


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingDependencyError(
            f"plotly can't be imported: {error}.",
            "The report inlines its script: pip install 'subshot[report]' -c constraints.txt.",
        ) from error
    source = str(get_plotlyjs()).replace("\r\n", "\n")  # what a browser makes of line ends before it takes the digest
    if "</script" in source.lower() or "<!--" in source:
        raise MissingDependencyError("This version of plotly can't be put into a page.", "Install another one.")
    return source
