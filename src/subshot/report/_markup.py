"""HTML from plain texts: whatever isn't :class:`Html` already is escaped, so no name or architecture can add markup."""

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_VOID = frozenset({"meta", "wbr"})

# Where a long name may go on in the next line.
_BREAKS = re.compile(r"(?<=[_,(|/])")


@dataclass(frozen=True)
class Html:
    """Text that is markup already; only this module, and drawings made of numbers and escaped texts, make it.

    Attributes:
        text: The markup.
    """

    text: str


NOTHING = Html("")

Content = str | Html


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is sorted by another value than it shows.

    Attributes:
        shown: What stands there.
        value: What it is sorted by; ``None`` stands last.
    """

    shown: Content
    value: float | None


def element(name: str, *children: Content, attributes: Mapping[str, str] | None = None) -> Html:
    """An element with its content.

    Args:
        name: Tag.
        children: Texts, which are escaped, and markup.
        attributes: Values are escaped; names are ours.
    """
    shown = "".join(f' {key}="{html.escape(value)}"' for key, value in (attributes or {}).items())
    if name in _VOID:
        return Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{joined(children).text}</{name}>")


def joined(parts: Iterable[Content]) -> Html:
    """Texts and markup one after the other."""
    return Html("".join(part.text if isinstance(part, Html) else html.escape(part, quote=False) for part in parts))


def paragraph(*children: Content) -> Html:
    """A paragraph."""
    return element("p", *children)


def listing(lines: Iterable[Content]) -> Html:
    """A list with bullets; nothing where there are no lines."""
    items = [element("li", line) for line in lines]
    return element("ul", *items) if items else NOTHING


def facts(pairs: Iterable[tuple[str, Content]]) -> Html:
    """Names and values, one pair a line."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs))


def name(text: str) -> Html:
    """A name that may be broken at its joints instead of anywhere."""
    first, *rest = _BREAKS.split(text)
    return joined([first, *(part for piece in rest for part in (element("wbr"), piece))])


def code(text: str) -> Html:
    """An architecture or a command."""
    return element("code", text)


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[Content | Cell]],
    *,
    label: str,
    marked: Iterable[int] = (),
    texts: Iterable[int] = (0,),
) -> Html:
    """A table whose rows are sorted by a click on a head.

    Args:
        head: Titles of the columns.
        rows: Cells; a bare text is sorted by alphabet.
        label: What the table shows, for screen readers.
        marked: Numbers of rows that stand out.
        texts: Numbers of the columns that hold words; the others are numbers, to the right.
    """
    special, words = frozenset(marked), frozenset(texts)

    def cell(column: int, content: Content | Cell) -> Html:
        attributes = {} if column in words else {"class": "number"}
        if not isinstance(content, Cell):
            return element("td", content, attributes=attributes)
        value = "" if content.value is None else repr(content.value)
        return element("td", content.shown, attributes={**attributes, "data-value": value})

    heads = [
        element(
            "th",
            element("button", title, attributes={"type": "button"}),
            attributes={"scope": "col"} | ({} if column in words else {"class": "number"}),
        )
        for column, title in enumerate(head)
    ]
    body = [
        element(
            "tr",
            *(cell(column, content) for column, content in enumerate(row)),
            attributes={"class": "marked"} if number in special else {},
        )
        for number, row in enumerate(rows)
    ]
    made = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *body),
        attributes={"class": "sortable", "aria-label": label},
    )
    # Keyboards reach what is wider than the page, too.
    return element("div", made, attributes={"class": "scroll", "tabindex": "0", "role": "region", "aria-label": label})


def embedded(name: str, values: Any) -> Html:
    """Data for the page's script, in a block that no value can close.

    Raises:
        ValueError: A number that isn't finite.
    """
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    for char in "<>&":  # the same in JSON, and no markup
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Html(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')
