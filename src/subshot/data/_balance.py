"""How often each class of a set occurs, and a warning where classes differ much."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot.data._labels import label_kind

# Above this ratio of the largest class to the smallest there is a warning.
FAR_APART = 10.0


@dataclass(frozen=True)
class ClassBalance:
    """How often each class occurs.

    Attributes:
        counts: By class, in the order of their numbers.
        unit: What was counted: ``samples``, or ``pixels`` where each has a label.
    """

    counts: Mapping[str, int]
    unit: str = "samples"

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes that don't occur."""
        return tuple(name for name, count in self.counts.items() if not count)

    @property
    def smallest(self) -> str:
        """The rarest class that occurs, the first of several."""
        return min((name for name, count in self.counts.items() if count), key=self.counts.__getitem__)

    @property
    def largest(self) -> str:
        """The most frequent class, the first of several."""
        return max(self.counts, key=self.counts.__getitem__)

    @property
    def ratio(self) -> float:
        """The largest class to the smallest that occurs."""
        return self.counts[self.largest] / self.counts[self.smallest]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before trusting an accuracy; nothing for balanced classes."""
        found = []
        if self.absent:
            names = ", ".join(map(repr, self.absent[:3])) + (" ..." if len(self.absent) > 3 else "")
            found.append(f"{len(self.absent):,} of {len(self.counts):,} classes don't occur: {names}")
        if self.ratio > FAR_APART:
            large, small = self.largest, self.smallest
            share = self.counts[large] / sum(self.counts.values())
            found.append(
                f"the classes are imbalanced, {math.floor(self.ratio):,} to 1: {large!r} has {self.counts[large]:,} "
                f"{self.unit}, {small!r} has {self.counts[small]:,}; {large!r} alone is right for {share:.0%}"
            )
        return tuple(found)


def class_balance(labels: NDArray[Any] | None, classes: tuple[str, ...] = ()) -> ClassBalance | None:
    """Count the classes.

    Args:
        labels: Of classes, (N,), or of pixels, (N, H, W); for others there is nothing to count.
        classes: Their names; numbers if not given.

    Returns:
        The counts, or ``None`` where labels are no classes.
    """
    kind = label_kind(labels)
    if labels is None or kind not in ("classes", "mask") or not labels.size:
        return None
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    names = classes or tuple(map(str, range(len(counts))))
    return ClassBalance(dict(zip(names, map(int, counts), strict=True)), "samples" if kind == "classes" else "pixels")
