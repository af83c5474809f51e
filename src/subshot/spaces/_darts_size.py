"""What the networks of DARTS weigh, by arithmetic: their layout, and parameters and MACs of two cells in it."""

from dataclasses import dataclass
from typing import Literal

from subshot.spaces._genotype import CONCAT, OPERATIONS, Cell
from subshot.spaces._space import Size

# Weights of an operation at width C and stride 1: depthwise (times C), pointwise (times C * C), batch norms.
_WEIGHTS = {
    "sep_conv_3x3": (2 * 9, 2, 2),
    "sep_conv_5x5": (2 * 25, 2, 2),
    "dil_conv_3x3": (9, 1, 1),
    "dil_conv_5x5": (25, 1, 1),
}
_FACTORIZED_REDUCE = (0, 1, 1)


@dataclass(frozen=True)
class Layout:
    """What surrounds the two cells: the stem, and ``(width, reduction)`` of every cell."""

    stem: Literal["none", "cifar", "imagenet"]
    stem_width: int
    cells: tuple[tuple[int, bool], ...]


def stack(channels: int, layers: int) -> tuple[tuple[int, bool], ...]:
    """``(width, reduction)`` of each cell: reductions, which double the width, at one and two thirds of the depth."""
    reductions = {layers // 3, 2 * layers // 3}
    return tuple((channels * 2 ** sum(r <= i for r in reductions), i in reductions) for i in range(layers))


def size_of(cells: tuple[Cell, Cell], layout: Layout, *, image_shape: tuple[int, int, int], classes: int) -> Size:
    """Exactly the size of the network of these cells.

    Args:
        cells: Normal and reduction cell.
        layout: What surrounds them.
        image_shape: Channels, height and width.
        classes: Outputs.
    """
    channels, height, width = image_shape
    parameters = macs = 0

    def halve() -> None:
        nonlocal height, width
        height, width = (height + 1) // 2, (width + 1) // 2

    def add(weights: int, normalised: int) -> None:
        # Everything is counted at the resolution it writes; a norm has two vectors and no multiplications.
        nonlocal parameters, macs
        parameters += weights + 2 * normalised
        macs += weights * height * width

    stem_width = layout.stem_width
    if layout.stem == "cifar":
        add(9 * channels * stem_width, stem_width)
    elif layout.stem == "imagenet":
        half = stem_width // 2
        for c_in, c_out in ((channels, half), (half, stem_width), (stem_width, stem_width)):
            halve()
            add(9 * c_in * c_out, c_out)
    before_last = last = channels if layout.stem == "none" else stem_width
    weights_of = {reduction: _cell_weights(cells[reduction], reduction=reduction) for reduction in (False, True)}
    for cell_width, reduction in layout.cells:
        # Both inputs are brought to the resolution of the last cell, so the first may be a FactorizedReduce or not.
        add((before_last + last) * cell_width, 2 * cell_width)
        if reduction:
            halve()
        depthwise, pointwise, norms = weights_of[reduction]
        add(depthwise * cell_width + pointwise * cell_width**2, norms * cell_width)
        before_last, last = last, len(CONCAT) * cell_width
    return Size(parameters + (last + 1) * classes, macs + last * classes)


def _cell_weights(cell: Cell, *, reduction: bool) -> tuple[int, int, int]:
    """Depthwise weights (times the width), pointwise weights (times its square) and batch norms of a cell's edges."""
    depthwise = pointwise = norms = 0
    for op, source in cell:
        weights = _WEIGHTS.get(OPERATIONS[op], (0, 0, 0))
        if OPERATIONS[op] == "skip_connect" and reduction and source < 2:
            weights = _FACTORIZED_REDUCE
        depthwise, pointwise, norms = depthwise + weights[0], pointwise + weights[1], norms + weights[2]
    return depthwise, pointwise, norms
