"""NAS-Bench-201's cell as a graph: operations, edges, what reaches the output, and which cells count as one."""

import functools
import itertools
from collections.abc import Sequence

from subshot._types import Arch
from subshot.errors import ArchError

NAME = "nasbench201"

# A gene is an index into OPERATIONS; its position is that of the edge (node, source) in EDGES.
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
NONE, SKIP, CONV_1X1, CONV_3X3 = range(4)

_CODES = frozenset(range(len(OPERATIONS)))


def arch_of(genes: Sequence[int]) -> Arch:
    """The cell of six genes."""
    return Arch(NAME, tuple(genes))


def genes_of(arch: Arch) -> tuple[int, ...]:
    """The six genes of a cell, checked."""
    genes = arch.genes
    if arch.space != NAME or len(genes) != len(EDGES) or not _CODES.issuperset(genes):
        raise ArchError(f"{arch} is no {NAME} architecture.", f"Its genes are {len(EDGES)} numbers from 0 to 4.")
    return genes


def has_path(arch: Arch) -> bool:
    """Whether any path leads from the input to the output; in 341 cells none does, and their output is constant."""
    return 3 in _reachable(genes_of(arch))


def is_live(arch: Arch) -> bool:
    """Whether every edge that isn't ``none`` lies on a path from input to output.

    True of 9,445 cells, for which thirteen zero-cost scores are published; the cell that is ``none`` everywhere is one.
    """
    genes = genes_of(arch)
    edges = [edge for edge, code in zip(EDGES, genes, strict=True) if code != NONE]
    reachable = _reachable(genes)
    ends = {3}  # nodes that reach the output
    for node, source in reversed(edges):
        if node in ends:
            ends.add(source)
    return all(source in reachable and node in ends for node, source in edges)


def published_class(arch: Arch) -> str:
    """A text that two cells share if and only if the benchmark counts them as one: 6,466 classes.

    It folds skips and zeros into a nested sum, so it is close to isomorphism, but isn't it, and parameter counts differ
    within a class. By our count the cells compute 5,260 different functions of input and weights:

    - 430 classes hold several. The text writes a node out wherever it is used, so a convolution used twice looks like
      two convolutions.
    - 688 functions are spread over several classes. A skip hands on a node's text as one piece, so the order of a sum
      depends on the way its terms came, and a ``none`` stays a term.

    Use it to name a population, never as a key for scores.
    """
    genes = genes_of(arch)
    # "#" is zero. The marks and names sort as in the benchmark's code; any other order gives other classes.
    nodes = ["0"]
    for codes in (genes[:1], genes[1:3], genes[3:]):
        terms = []
        for source, code in zip(nodes, codes, strict=True):
            if code == NONE or source == "#":
                terms.append("#")
            else:
                terms.append(source if code == SKIP else f"({source}){OPERATIONS[code]}")
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def _reachable(genes: Sequence[int]) -> set[int]:
    nodes = {0}
    for (node, source), code in zip(
        EDGES, genes, strict=True
    ):  # by node, so that a source is settled before it is used
        if code != NONE and source in nodes:
            nodes.add(node)
    return nodes


@functools.cache
def all_cells() -> tuple[Arch, ...]:
    """Every cell, in ascending order of genes."""
    return tuple(map(arch_of, itertools.product(range(len(OPERATIONS)), repeat=len(EDGES))))


@functools.cache
def _unique() -> tuple[Arch, ...]:
    first: dict[str, Arch] = {}
    for arch in all_cells():
        first.setdefault(published_class(arch), arch)
    return tuple(first.values())


@functools.cache
def _live() -> tuple[Arch, ...]:
    return tuple(filter(is_live, all_cells()))


# The sets that published figures refer to.
POPULATIONS = {"all": all_cells, "unique": _unique, "live": _live}
