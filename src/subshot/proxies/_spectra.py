"""Correlations, spectra and ranks of feature maps, in double precision and a slice at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from subshot._seeds import stable_rng

# Numbers that are turned to double precision at once.
_SLICE = 1 << 21


def channels_second(tensor: Tensor, *, last: bool) -> Tensor:
    """View with channels on the second axis."""
    return tensor.movedim(-1, 1) if last else tensor


def correlation(maps: Tensor) -> Tensor | None:
    """Pearson correlation of channels (C, positions), zero where one is constant; (C, C), float64.

    ``None`` where there are no more positions than channels: a null direction is certain then.
    """
    if maps.shape[1] <= maps.shape[0]:
        return None
    centred = maps.double() - maps.mean(dim=1, keepdim=True, dtype=torch.float64)
    low, high = torch.aminmax(maps, dim=1)
    constant = low == high  # its mean may be off by a rounding
    norms = torch.where(constant, torch.inf, centred.norm(dim=1))
    unit = centred / norms[:, None]
    return unit @ unit.T


def covariance(maps: Tensor) -> Tensor:
    """Covariance of channels (N, C, ...) over all else, divided by the number of rows; (C, C), float64."""
    flat = maps.flatten(2) if maps.dim() > 2 else maps.unsqueeze(2)
    mean = flat.mean(dim=(0, 2), dtype=torch.float64)[:, None]
    parts = torch.split(flat, max(1, _SLICE // flat[0].numel()))
    total = torch.zeros(flat.shape[1], flat.shape[1], dtype=torch.float64, device=flat.device)
    for part in parts:
        centred = _by_channel(part) - mean
        total += centred @ centred.T
    return total / (flat.shape[0] * flat.shape[2])


def _by_channel(flat: Tensor) -> Tensor:
    """(N, C, positions) to (C, N * positions), float64."""
    return flat.transpose(0, 1).double().flatten(1)


def eigenvalues(matrices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Eigenvalues of symmetric matrices, ascending; NaN for one that isn't finite."""
    return batched(torch.linalg.eigvalsh, matrices)


def effective_ranks(rows: Tensor) -> Tensor:
    """Exponential of the entropy of singular values over their sum (Roy and Vetterli, 2007), (B, n, C) to (B,).

    Zero for a matrix of zeros.
    """
    values = torch.linalg.svdvals(rows)
    total = values.sum(dim=1, keepdim=True)
    entropy = torch.special.entr(values / torch.where(total > 0, total, 1)).sum(dim=1)
    return torch.where(total[:, 0] > 0, entropy.exp(), 0)


def batched(function: Callable[[Tensor], Tensor], matrices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """A function of matrices for each of them, those of one shape at once; a ``None`` stays one.

    On the CPU, whatever the device: the matrices are small, and each is treated by itself there.
    """
    found: list[Tensor | None] = [None] * len(matrices)
    shapes: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    for index, matrix in enumerate(matrices):
        if matrix is not None:
            shapes.setdefault(tuple(matrix.shape), []).append((index, matrix))
    for several in shapes.values():
        stack = torch.stack([matrix for _, matrix in several]).cpu()
        finite = torch.isfinite(stack).flatten(1).all(dim=1)
        values = function(torch.where(finite[:, None, None], stack, 0))
        values[~finite] = torch.nan
        for (index, _), value in zip(several, values, strict=True):
            found[index] = value
    return found


def random_signs(like: Tensor, seed: int, index: int) -> Tensor:
    """Numbers -1 and 1 in the shape of ``like``, the same on every device."""
    count = like.numel()
    bits = np.frombuffer(stable_rng(seed, "directions", index).bytes(-(-count // 8)), dtype=np.uint8)
    signs = torch.from_numpy(np.unpackbits(bits, count=count)).to(like.device, like.dtype)
    return (2 * signs - 1).reshape(like.shape)


def common_grid(before: Tensor, after: Tensor, *, fold: bool) -> tuple[Tensor, Tensor] | None:
    """Bring two maps (N, C, ...) to the same positions: neighbours of the finer one become channels of one position.

    ``None`` if they have no common grid.

    Args:
        before: One map.
        after: The other.
        fold: Whether neighbouring positions may be joined; tokens have no order that would allow it.
    """
    if before.shape[0] != after.shape[0] or before.dim() != after.dim():
        return None
    if before.shape[2:] == after.shape[2:]:
        return before, after
    if not fold:
        return None
    grid = [min(sizes) for sizes in zip(before.shape[2:], after.shape[2:], strict=True)]
    return fold_to(before, grid), fold_to(after, grid)


def fold_to(maps: Tensor, grid: Sequence[int]) -> Tensor:
    """Make neighbours channels, (N, C, ...) to (N, C * neighbours, *grid); what is missing at the edges is zero."""
    for axis, size in enumerate(grid, start=2):
        stride = -(-maps.shape[axis] // size)
        short = stride * size - maps.shape[axis]
        if short:
            edge = [*maps.shape[:axis], short, *maps.shape[axis + 1 :]]
            maps = torch.cat([maps, maps.new_zeros(edge)], dim=axis)
        maps = (
            maps.reshape(*maps.shape[:axis], size, stride, *maps.shape[axis + 1 :]).movedim(axis + 1, 2).flatten(1, 2)
        )
    return maps


def largest_singular_value(a: Tensor, b: Tensor) -> float:
    """Largest singular value of the product of two maps, rows by channels, over the number of rows."""
    first, second = (tensor.flatten(2) if tensor.dim() > 2 else tensor.unsqueeze(2) for tensor in (a, b))
    rows = first.shape[0] * first.shape[2]
    if rows < min(first.shape[1], second.shape[1]):
        # Thousands of channels over a few pixels: an orthogonal change of basis leaves a matrix of rows by rows.
        one, two = (torch.linalg.qr(_by_channel(tensor).cpu(), mode="r").R for tensor in (first, second))
        total = one @ two.T
    else:
        step = max(1, _SLICE // max(first[0].numel(), second[0].numel()))
        total = torch.zeros(first.shape[1], second.shape[1], dtype=torch.float64, device=first.device)
        for one, two in zip(torch.split(first, step), torch.split(second, step), strict=True):
            total += _by_channel(one) @ _by_channel(two).T
    (values,) = batched(torch.linalg.svdvals, [total / rows])
    assert values is not None
    return float(values.max())
