"""Hypervolume: how much of the space of objectives a front dominates (Zitzler and Thiele, PPSN 1998)."""

from collections.abc import Sequence

import numpy as np

from subshot.errors import OptionError


def hypervolume(points: Sequence[Sequence[float]] | np.ndarray, reference: Sequence[float]) -> float:
    """Volume of what lies between the reference and at least one point; exact.

    Cut into slices at each point's last objective. Two objectives take time n log n, each further one a factor n.
    Scales matter: bring objectives to comparable ones first.

    Args:
        points: (points, objectives), higher is better; dominated ones add nothing, nor do those that don't beat the
            reference in everything.
        reference: The lowest corner, one number for each objective.

    Raises:
        OptionError: Numbers that aren't finite, or points of another number of objectives than the reference.
    """
    corner = np.asarray(reference, dtype=float)
    values = np.asarray(points, dtype=float)
    if values.size == 0:
        values = values.reshape(0, max(1, corner.size))
    if corner.ndim != 1 or values.ndim != 2 or values.shape[1] != corner.size or corner.size == 0:
        raise OptionError(
            f"Points of shape {values.shape} and a reference of shape {corner.shape} were given.",
            "Give (points, objectives) and one reference number for each objective.",
        )
    if not (np.isfinite(values).all() and np.isfinite(corner).all()):
        raise OptionError(
            "A point or the reference of a hypervolume is not finite.", "Leave failed architectures out first."
        )
    above = values[(values > corner).all(axis=1)] - corner
    return _volume(above)


def _volume(points: np.ndarray) -> float:
    """Of positive points above the origin."""
    if len(points) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    ordered = points[np.argsort(-points[:, -1], kind="stable")]
    # Between two neighbouring heights, what is covered is what the points from the upper one on cover.
    depths = ordered[:, -1] - np.append(ordered[1:, -1], 0.0)
    if points.shape[1] == 2:
        return float((np.maximum.accumulate(ordered[:, 0]) * depths).sum())
    return sum(float(depth) * _volume(ordered[: i + 1, :-1]) for i, depth in enumerate(depths) if depth > 0)
