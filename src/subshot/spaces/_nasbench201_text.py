"""NAS-Bench-201's cells as text: the benchmark's own, and NASLib's numbers."""

import re

from subshot._types import Arch
from subshot.errors import ArchError, UnknownNameError
from subshot.spaces._nasbench201_cell import EDGES, OPERATIONS, arch_of

_CODE_OF = {operation: code for code, operation in enumerate(OPERATIONS)}

# NASLib numbers both edges and operations in another order.
_NASLIB_EDGES = ((1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (3, 2))
_NASLIB_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_FORM = "Write |op~0|+|op~0|op~1|+|op~0|op~1|op~2| or naslib:<six digits>."


def parse_cell(text: str) -> Arch:
    """Read either text.

    Raises:
        ArchError: It is neither. Bare digits are refused because each code base means another cell by them.
    """
    dialect, colon, rest = text.strip().partition(":")
    if colon:
        if dialect != "naslib":
            raise ArchError(f"{text!r} begins with {dialect!r}, which is no known dialect.", _FORM)
        return _parse_naslib(rest)
    if re.fullmatch(r"[\d\s,()\[\]]+", text):
        raise ArchError(
            f"{text!r} doesn't say whose digits these are, and NASLib orders edges and operations differently.",
            _FORM,
        )
    return _parse_official(text.strip())


def _parse_official(text: str) -> Arch:
    groups = text.split("+")
    if len(groups) != 3:
        raise ArchError(f"{text!r} has {len(groups)} groups of edges, a cell has 3, joined by '+'.", _FORM)
    genes: list[int] = []
    for node, group in enumerate(groups, start=1):
        edges = group[1:-1].split("|")
        if not (group.startswith("|") and group.endswith("|") and len(edges) == node):
            raise ArchError(
                f"{group!r} in {text!r} is not the group of node {node}, which has {node} edges between bars.", _FORM
            )
        for source, edge in enumerate(edges):
            operation, _, number = edge.partition("~")
            if operation not in _CODE_OF:
                unknown = UnknownNameError.of("operation", operation, OPERATIONS)
                raise ArchError(f"{unknown.message} It is in {edge!r} of {text!r}.", unknown.hint)
            if number != str(source):
                raise ArchError(
                    f"{edge!r} in {text!r} names source {number!r}, but edge {source + 1} of node {node} comes from "
                    f"node {source}.",
                    f"Write {operation}~{source}.",
                )
            genes.append(_CODE_OF[operation])
    return arch_of(genes)


def _parse_naslib(text: str) -> Arch:
    # NASLib prints its key as a tuple; its tables join the digits.
    digits = re.sub(r"[\s,()\[\]]", "", text)
    if not re.fullmatch(f"[0-4]{{{len(EDGES)}}}", digits):
        raise ArchError(
            f"'naslib:{text}' is no cell.", f"Give {len(EDGES)} digits from 0 to 4, for example naslib:423121."
        )
    operation_on = {edge: _NASLIB_OPERATIONS[int(digit)] for edge, digit in zip(_NASLIB_EDGES, digits, strict=True)}
    return arch_of([_CODE_OF[operation_on[edge]] for edge in EDGES])
