"""Architectures as drawings: cells as graphs, stages as chains.

A space that has ``edges(arch)`` is drawn by it, one of named choices by their names; the rules for the others here are
in ``_drawing_rules.py``. Where there is none, an architecture is its text.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from subshot._types import Arch
from subshot.errors import SubshotError
from subshot.report._draw_chain import chain
from subshot.report._draw_graph import Edge, graph
from subshot.report._drawing_rules import CHAINS, GRAPHS
from subshot.report._drawn_choices import choices
from subshot.report._markup import Html, element, joined
from subshot.spaces._chosen_space import ChosenSpace
from subshot.spaces._space import Space, get_space


@runtime_checkable
class Drawable(Protocol):
    """A space whose architectures are graphs."""

    def edges(self, arch: Arch) -> Mapping[str, Sequence[Edge]]:
        """For each cell, by name: source, target and operation of every edge, none of which leads back."""
        ...


def drawing(space: str, text: str) -> Html | None:
    """A drawing of an architecture; ``None`` where its space isn't known here, or has no rule.

    Args:
        space: Name of the space, with settings.
        text: The architecture.
    """
    try:
        found = _space(space)
        drawn = _figures(found, found.parse(text))
    except SubshotError:  # a space of the user's own, which this process hasn't registered
        return None
    whole = [figure for figure in drawn if figure is not None]
    return element("div", *whole, attributes={"class": "drawing"}) if whole and len(whole) == len(drawn) else None


# One around a model runs that model when it is made, and a page draws many architectures.
@functools.lru_cache(maxsize=4)
def _space(name: str) -> Space:
    return get_space(name)


def _figures(space: Space, arch: Arch) -> list[Html | None]:
    if isinstance(space, Drawable):
        return [graph(title, edges) for title, edges in space.edges(arch).items()]
    if space.name in GRAPHS:
        return [graph(title, edges) for title, edges in GRAPHS[space.name](arch).items()]
    if space.name in CHAINS:
        return [chain(*CHAINS[space.name](arch))]
    if isinstance(space, ChosenSpace):
        return [chain(*choices(space, arch))]
    return []


def with_text(space: str, text: str) -> Html:
    """The text of an architecture and, where there is one, its drawing."""
    drawn = drawing(space, text)
    whole = element("p", element("code", text), attributes={"class": "arch"})
    return joined([whole, drawn]) if drawn is not None else whole
