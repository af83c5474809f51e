"""Read the text of a DARTS genotype without running it.

The syntax tree is turned into plain values, and what isn't expected is refused.
"""

import ast
import re

# The order of DARTS' own list; an operation's code is its position.
OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
CONCAT = (2, 3, 4, 5)

Pair = tuple[int, int]
Cell = tuple[Pair, ...]

# Far above the 420 characters of a genotype, and low enough that the parser can't be made to work for long.
_LONGEST_TEXT = 4000
# All that the accepted forms need; without operators, dots and backslashes little is left to parse.
_TEXT = re.compile(r"[A-Za-z0-9_'\"\[\](),=\s]*", re.ASCII)
_FIELDS = {"normal", "normal_concat", "reduce", "reduce_concat"}


FORM = (
    f"Write Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat={list(CONCAT)}, reduce=..., "
    f"reduce_concat={list(CONCAT)}) with eight pairs in each cell."
)


def read_cells(text: str) -> tuple[Cell, ...]:
    """The normal and the reduction cell of a ``Genotype(...)`` text or of NASLib's compact form.

    Lengths and sources of the cells are for the space to check.

    Raises:
        ValueError: What is wrong, as all the functions here do.
    """
    return _cells(_read(text))


def _read(text: str) -> object:
    """The text as plain values: a dict of fields for ``Genotype(...)``, tuples, whole numbers and names."""
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"it has {len(text)} characters, more than {_LONGEST_TEXT}")
    text = text.strip().removeprefix("naslib:").strip()
    if not _TEXT.fullmatch(text):
        raise ValueError("it has characters that no genotype needs")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError("it can't be read") from None
    match tree:
        case ast.Call(func=ast.Name(id="Genotype"), args=[], keywords=keywords):
            if sorted(str(keyword.arg) for keyword in keywords) != sorted(_FIELDS):
                raise ValueError(f"its fields must be {', '.join(sorted(_FIELDS))}, each once")
            return {keyword.arg: _plain(keyword.value) for keyword in keywords}
        case _:
            return _plain(tree)


def _plain(node: ast.expr) -> object:
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return tuple(_plain(item) for item in items)
        case ast.Constant(value=str() | int() as value) if not isinstance(value, bool):
            return value
        case ast.Call(func=ast.Name(id="list"), args=[ast.Call(func=ast.Name(id="range")) as inner], keywords=[]):
            return _plain(inner)
        case ast.Call(func=ast.Name(id="range"), args=bounds, keywords=[]):
            if tuple(_plain(bound) for bound in bounds) == (CONCAT[0], CONCAT[-1] + 1):
                return CONCAT
    raise ValueError("it may hold lists, tuples, whole numbers, names in quotes and range(2, 6), nothing else")


def _cells(plain: object) -> tuple[Cell, ...]:
    if isinstance(plain, dict):
        for name in ("normal_concat", "reduce_concat"):
            if plain[name] != CONCAT:
                raise ValueError(f"{name} must be {list(CONCAT)}, as the output is made of all four nodes")
        return tuple(_cell(plain[name], OPERATIONS, op_at=0) for name in ("normal", "reduce"))
    if not isinstance(plain, tuple) or len(plain) != 2:
        raise ValueError("it is neither Genotype(...) nor two cells of (source, code) pairs")
    # NASLib's codes have no `none`, so that 0 is our 1.
    return tuple(_cell(cell, (None, *range(len(OPERATIONS) - 1)), op_at=1) for cell in plain)


def _cell(pairs: object, operations: tuple[object, ...], *, op_at: int) -> Cell:
    cell: list[Pair] = []
    for pair in pairs if isinstance(pairs, tuple) else (pairs,):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ValueError(f"{pair!r:.60} is no pair of an operation and a source")
        op, source = pair[op_at], pair[1 - op_at]
        if op not in operations or not isinstance(source, int):
            known = ", ".join(str(name) for name in operations if name is not None)
            raise ValueError(f"{pair!r:.60} has no operation out of {known}, or no source")
        cell.append((operations.index(op), source))
    return tuple(cell)
