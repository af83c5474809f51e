"""The text form of the authors of Zen-NAS: names of blocks, each with its numbers in brackets.

    SuperConvK3BNRELU(3,8,2,1)SuperResIDWE6K3(8,32,2,8,1) ... SuperConvK1BNRELU(128,2048,1,1)

A residual block's numbers are channels in and out, stride, inner channels and how often it repeats. A block may carry a
name, which ends in ``|`` and is dropped.
"""

import re
from collections.abc import Sequence
from typing import Any

from subshot.errors import ArchError

# A block: expansion, kernel, inner width, outer width, pairs of bottlenecks, stride.
Block = tuple[int, int, int, int, int, int]

# Lengths are bounded so that a long text of another kind is refused at once.
_PART = re.compile(r"([A-Za-z0-9]{1,24})\((?:[^()|]{0,99}\|)?([0-9]{1,4}(?:,[0-9]{1,4}){0,9})\)")
_RESIDUAL = re.compile("SuperResIDWE([1246])K([357])")
_HINT = (
    "Write SuperConvK3BNRELU(3,c,2,1), blocks SuperResIDWE6K3(in,out,stride,inner,repeats) of expansion 1, 2, 4 or 6 "
    "and kernel 3, 5 or 7, and SuperConvK1BNRELU(in,{features},1,1), where each begins with the width that the one "
    "before ends with."
)


def read_plainnet(text: str, *, features: int) -> tuple[Any, ...]:
    """The stem's width and the blocks.

    Args:
        text: The authors' text, without spaces.
        features: What the width of the last convolution has to be.

    Raises:
        ArchError: The text is none, has other kinds of blocks, or widths that don't meet.
    """
    hint = _HINT.format(features=features)
    found = list(_PART.finditer(text))
    if "".join(match[0] for match in found) != text or len(found) < 2:
        raise ArchError(f"{text[:60]!r} is no sequence of blocks.", hint)
    (first, stem), *blocks, (last, head) = ((match[1], [int(one) for one in match[2].split(",")]) for match in found)
    if first != "SuperConvK3BNRELU" or len(stem) != 4 or [stem[0], *stem[2:]] != [3, 2, 1]:
        raise ArchError(f"{found[0][0][:60]!r} is no stem of this space.", hint)
    width, read = stem[1], []
    for name, numbers in blocks:
        kind = _RESIDUAL.fullmatch(name)
        if not kind or len(numbers) != 5 or numbers[0] != width:
            raise ArchError(f"{name}({','.join(map(str, numbers))}) can't follow a width of {width}.", hint)
        _, width, stride, inner, repeats = numbers
        read.append((int(kind[1]), int(kind[2]), inner, width, repeats, stride))
    if last != "SuperConvK1BNRELU" or head != [width, features, 1, 1]:
        raise ArchError(f"{found[-1][0][:60]!r} can't end a network of width {width}.", hint)
    return (stem[1], *read)


def write_plainnet(genes: Sequence[Any], *, features: int) -> str:
    """The inverse of :func:`read_plainnet`."""
    width, *blocks = genes
    parts = [f"SuperConvK3BNRELU(3,{width},2,1)"]
    for expansion, kernel, inner, outer, repeats, stride in blocks:
        parts.append(f"SuperResIDWE{expansion}K{kernel}({width},{outer},{stride},{inner},{repeats})")
        width = outer
    return "".join([*parts, f"SuperConvK1BNRELU({width},{features},1,1)"])
