"""Choices as a chain: those that share the part of their names before the last dot are a block, in their order.

Where a space has a start, what differs from it stands out and says what it was.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence

from subshot._choice import Value
from subshot._types import Arch
from subshot.report._draw_chain import Block
from subshot.spaces._chosen_space import ChosenSpace

# Of longer chains, what is as in the start is told as a number.
_LONG = 12


def choices(space: ChosenSpace, arch: Arch) -> tuple[str, Sequence[Block]]:
    """What is chosen for all blocks, and the blocks; none where no name has a dot, and so nothing says their order."""
    start: Arch | None = getattr(space, "start", None)
    was = {} if start is None else space.values(start)
    groups: dict[str, dict[str, Value]] = {}
    for name, value in space.values(arch).items():
        place, _, key = name.rpartition(".")
        groups.setdefault(place, {})[key] = value
    shared = groups.pop("", {})
    title = ", ".join(_words(key, value, was.get(key, value)) for key, value in shared.items()) or "Blocks"
    made = [_block(place, groups[place], was) for place in _in_order(groups)]
    if start is None or len(made) <= _LONG:
        return title, made
    shortened = []
    for changed, several in itertools.groupby(made, key=lambda block: block.changed):
        some = list(several)
        shortened += some if changed or len(some) == 1 else [Block(f"{len(some)} unchanged")]
    return title, shortened


def _in_order(places: Iterable[str]) -> list[str]:
    """Parts of a module together where its first layer comes, whatever kind of choice was listed first."""
    parts = {place: tuple(place.split(".")) for place in places}
    wholes = {path[:end] for path in parts.values() for end in range(1, len(path))}
    first: dict[tuple[str, ...], int] = {}
    for number, path in enumerate(path for path in parts.values() if path not in wholes):
        for end in range(1, len(path) + 1):
            first.setdefault(path[:end], number)
    return sorted(parts, key=lambda place: [first[parts[place][:end]] for end in range(1, len(parts[place]) + 1)])


def _block(place: str, values: Mapping[str, Value], was: Mapping[str, Value]) -> Block:
    """A block of a stage is as deep and as wide as it says; around a model, words say it."""
    known = {key: was[name] for key in values if (name := f"{place}.{key}" if place else key) in was}
    said = {key: value for key, value in values.items() if key != "depth" or was or not _times(value)}
    # What is switched off says nothing, unless it was on.
    words = ", ".join(
        _words(key, value, known.get(key, value)) for key, value in said.items() if value is not False or known.get(key)
    )
    depth, width = values.get("depth", 1), values.get("width", 0)
    return Block(
        words or "block",
        times=1 if was else _times(depth) or 1,
        width=float(width) if isinstance(width, int | float) and not was else 0.0,
        side=place,
        changed=any(values[key] != value for key, value in known.items()),
    )


def _times(depth: Value) -> int:
    """How often a block is repeated; 0 if that is no number of times."""
    return depth if isinstance(depth, int) and not isinstance(depth, bool) and depth >= 1 else 0


def _words(key: str, value: Value, before: Value) -> str:
    shown = key if value is True else f"no {key}" if value is False else f"{key.replace('_', ' ')} {value}"
    return shown if value == before else f"{shown} (was {before})"
