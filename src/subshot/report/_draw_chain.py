"""Networks that are one block after another: a column of boxes, each as full as it is wide among the others."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from subshot.report._draw_graph import LETTER, escaped, short
from subshot.report._markup import Html, element

_BOX, _GAP = 26, 14
_LEAST = 90  # of a box, so that its filling can be seen
_BEHIND = 3  # how far the boxes of repeated blocks stand out behind the first
_MOST_BLOCKS = 80


@dataclass(frozen=True)
class Block:
    """A block, or several equal ones in a row.

    Attributes:
        words: What it is.
        times: How many.
        width: Channels that it hands on, or the like; nothing is filled where none has one.
        side: What stands beside it, for example its stage.
        changed: Whether it stands out.
    """

    words: str
    times: int = 1
    width: float = 0.0
    side: str = ""
    changed: bool = False


def chain(title: str, blocks: Sequence[Block]) -> Html | None:
    """A column of blocks from input to output, equal neighbours as one; ``None`` if there is none, or too many.

    Args:
        title: What all blocks share; it is always shown.
        blocks: From the input on.
    """
    merged = _merged(blocks)
    if not merged or len(merged) > _MOST_BLOCKS:
        return None
    rows = [Block("input"), *merged, Block("output")]
    widest = max(block.width for block in merged)
    half = max(_LEAST, *(LETTER * len(short(block.words)) + 20 for block in rows)) / 2
    left = -half - max(LETTER * len(short(block.side)) + 10 * bool(block.side) for block in rows)
    right = half + max(LETTER * len(_times(block)) + 14 * (block.times > 1) for block in rows)
    step = _BOX + _GAP
    drawn = [_row(block, place * step, half, widest) for place, block in enumerate(rows)]
    arrows = [_arrow(place * step) for place in range(len(rows) - 1)]
    width, height = math.ceil(right - left) + 8, len(rows) * step - _GAP + 8
    svg = element(
        "svg",
        Html("".join([*arrows, *drawn])),
        attributes={
            "viewBox": f"{math.floor(left) - 4} {-_BOX // 2 - 4} {width} {height}",
            "width": str(width),
            "height": str(height),
            "role": "img",
            "aria-label": "; ".join(filter(None, (_plain(block) for block in rows))),
        },
    )
    return element("figure", element("figcaption", title, attributes={"class": "said"}), svg)


def _merged(blocks: Sequence[Block]) -> list[Block]:
    found: list[Block] = []
    for _, group in itertools.groupby(blocks, key=lambda block: replace(block, times=1)):
        several = list(group)
        found.append(replace(several[0], times=sum(block.times for block in several)))
    return found


def _row(block: Block, y: int, half: float, widest: float) -> str:
    top = y - _BOX / 2
    frame = f'x="{-half:g}" y="{top:g}" width="{2 * half:g}" height="{_BOX}" rx="6"'
    parts = []
    if block.times > 1:
        parts.append(f'<rect class="behind" transform="translate({_BEHIND} {-_BEHIND})" {frame}/>')
    if block.width and widest:
        parts.append(f'<rect class="ground" {frame}/>')
        full = max(12.0, 2 * half * block.width / widest)
        parts.append(f'<rect class="full" x="{-half:g}" y="{top:g}" width="{full:g}" height="{_BOX}" rx="6"/>')
        parts.append(f'<rect class="line" {frame}/>')
    else:
        parts.append(f"<rect {frame}/>")
    parts.append(f'<text class="node" y="{y + 4}">{escaped(short(block.words))}</text>')
    if block.side:
        parts.append(f'<text class="end" x="{-half - 8:g}" y="{y + 4}">{escaped(short(block.side))}</text>')
    if block.times > 1:
        parts.append(f'<text class="start" x="{half + 10:g}" y="{y + 4}">{_times(block)}</text>')
    return f'<g class="changed">{"".join(parts)}</g>' if block.changed else "".join(parts)


def _arrow(y: int) -> str:
    end = y + _BOX / 2 + _GAP
    return (
        f'<g class="named"><path d="M0 {y + _BOX / 2:g}V{end - 5:g}"/><path class="tip" d="M0 {end:g}l-4 -7h8z"/></g>'
    )


def _times(block: Block) -> str:
    return f"\N{MULTIPLICATION SIGN} {block.times}" if block.times > 1 else ""


def _plain(block: Block) -> str:
    side = f"{block.side}: " if block.side else ""
    return f"{side}{f'{block.times} times ' if block.times > 1 else ''}{block.words}"
