"""Architectures that are published as JSON: reading them from text that nobody vouches for, and writing them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from subshot.errors import ArchError

T = TypeVar("T")

# What reading and checking of a text may raise.
PROBLEMS = (ValueError, TypeError, OverflowError, RecursionError)


def read_json(text: str) -> Any:
    """Read JSON, or what Python prints of the same dictionaries and lists, such as in the authors' logs.

    Raises:
        ValueError: Neither.
        RecursionError: Lists in lists without end.
    """
    return json.loads(text.replace("'", '"') if '"' not in text else text)


def write_json(names: Sequence[str], values: Sequence[object]) -> str:
    """An object with ``names`` in this order and without blanks, as the tables have it."""
    return json.dumps(dict(zip(names, values, strict=True)), separators=(",", ":"))


def members(given: object, names: Sequence[str], *, aliases: Mapping[str, str] | None = None) -> list[Any]:
    """The values of an object that has exactly these names, in the order of ``names``.

    Args:
        given: What was read.
        names: Canonical names.
        aliases: Other names and what they stand for.

    Raises:
        ValueError: It is no object or has other names.
    """
    if not isinstance(given, dict):
        raise ValueError(f"{_short(given)} is no object with {', '.join(names)}")
    named = {(aliases or {}).get(key, key): value for key, value in given.items()}
    if set(named) != set(names) or len(named) != len(given):
        raise ValueError(f"its names are {', '.join(map(_short, sorted(given))) or 'none'}")
    return [named[name] for name in names]


def listed(value: object, read: Callable[[object], T]) -> tuple[T, ...]:
    """A list, each member of it read by ``read``.

    Raises:
        ValueError: It is no list, or a member can't be read.
    """
    if not isinstance(value, list):
        raise ValueError(f"{_short(value)} is no list")
    return tuple(read(member) for member in value)


def whole(value: object) -> int:
    """A whole number, also one written like 4.0.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise ValueError(f"{_short(value)} is no whole number")
    return int(value)


def refusal(space: str, text: str, problem: Exception, form: str) -> ArchError:
    """The error for a text that is no architecture of a space.

    Args:
        space: Name of the space.
        text: What was given.
        problem: What is wrong with it.
        form: What to write instead.
    """
    start = text if len(text) <= 60 else f"{text[:57]}..."
    if isinstance(problem, json.JSONDecodeError):
        return ArchError(f"{start!r} is no {space} architecture: it is no JSON.", form)
    return ArchError(f"{start!r} is no {space} architecture: {problem}.", form)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 30 else f"{text[:27]}..."
