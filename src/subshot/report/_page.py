"""What a page is made of, and which kinds of runs have one: chapters of sections, found by what a run folder holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from subshot._registry import Registry
from subshot.report._markup import NOTHING, Html
from subshot.report.figures import Figure


@dataclass(frozen=True)
class Section:
    """A part of a page, in its order: words and tables, figures, and what comes below them.

    Attributes:
        title: Its head, also in the list of contents.
        body: What stands above the figures.
        figures: Interactive figures; their names are unique in the chapter.
        below: What stands below them.
    """

    title: str
    body: Html = NOTHING
    figures: tuple[Figure, ...] = ()
    below: Html = NOTHING


@dataclass(frozen=True)
class Chapter:
    """What one kind of run has to tell.

    Attributes:
        title: For example ``Search of nasbench201``.
        summary: A few words below the title.
        sections: Its parts.
    """

    title: str
    summary: Html
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class PageKind:
    """A kind of run that a report can be made of; a folder that holds several gets the chapters of each.

    Attributes:
        name: Of the command that leaves such runs.
        found_in: Whether a folder holds such a run, or a file is one; looks, and reads little.
        chapters: Reads the run and tells it.
        place: Chapters of one page stand by rising place.
    """

    name: str
    found_in: Callable[[Path], bool]
    chapters: Callable[[Path], Sequence[Chapter]]
    place: int


PAGES: Registry[PageKind] = Registry("kind of run", "subshot.report.pages")
