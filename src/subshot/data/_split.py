"""Which images of a set are for training and which for testing."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng
from subshot.errors import DataError, OptionError

# None asks for whatever may be looked at before training: the training part of a set that comes with a test part,
# and everything of a set that doesn't.
# Only few sets come with a validation part; load_parts makes one of any set.
Split = Literal["train", "validation", "test"] | None

TEST_SHARE = 0.2

# What parts are called elsewhere.
_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


def check_split(split: str | None, limit: int | None) -> None:
    """Check what every loader is asked for.

    Raises:
        OptionError: An unknown part, or a limit below 1.
    """
    if split not in (None, "train", "validation", "test"):
        raise OptionError(f"There is no part {split!r} of a data set.", "Ask for 'train', 'validation' or 'test'.")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise OptionError(f"limit was given as {limit!r}.", "It is a whole number from 1 on, or None for all images.")


def divide(count: int, labels: NDArray[Any] | None, split: Split, *, name: str) -> NDArray[np.int64]:
    """The images of one part of a set that comes without an official test part.

    A fifth of each class is for testing, at least one image of a class that has two. Which ones depends on the number
    of images of the class only, so the parts are the same in every run and never overlap. Where labels are no classes,
    it is a fifth of all.

    Args:
        count: Number of images.
        labels: (N, ...); ``None`` for images without labels, all of which are for training.
        split: The part.
        name: The set's name, for messages.

    Returns:
        Their positions, ascending.

    Raises:
        DataError: A test part was asked for and there are no labels, or too few images of each class.
    """
    if split is None or (labels is None and split == "train"):
        return np.arange(count)
    if split == "validation":
        raise DataError(f"{name} has no validation part of its own.", "load_parts sets one aside.")
    if labels is None:
        raise DataError(f"{name} has no labels, so it has no test part.", "Use it for scores that need no labels.")
    tested = np.zeros(count, dtype=bool)
    groups = labels if labels.dtype.kind == "i" and labels.ndim == 1 else np.zeros(count, dtype=np.int64)
    for label in np.unique(groups):
        members = np.flatnonzero(groups == label)
        share = max(round(TEST_SHARE * len(members)), 1) if len(members) > 1 else 0
        tested[stable_rng("split", int(label)).permutation(members)[:share]] = True
    if split == "test" and not tested.any():
        raise DataError(f"{name} has one image of each class, so none can be set aside as a test part.")
    return np.flatnonzero(tested if split == "test" else ~tested)


def by_part(sets: Mapping[str, Any]) -> dict[str, Any]:
    """Sets by the usual names of parts, under our names: ``val``, ``valid`` and ``dev`` are ``validation``."""
    ours = {word: part for part, words in _WORDS.items() for word in words}
    return {ours[word.lower()]: one for word, one in sets.items() if word.lower() in ours}
