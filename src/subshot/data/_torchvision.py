"""Data sets of torchvision by name, ``torchvision:CIFAR10``, from files that are here already."""

import importlib
import inspect
from pathlib import Path
from typing import Any

from subshot.data._dataset import Data
from subshot.data._geometry import Size
from subshot.data._map_style import from_data_sets
from subshot.data._split import Split
from subshot.errors import DataError, MissingDependencyError, UnknownNameError

PREFIX = "torchvision:"
# What torchvision's sets call their parts.
_PARTS = {"train": ("train",), "validation": ("val", "valid"), "test": ("test",)}


def load_torchvision(
    name: str, root: Path | None, *, split: Split = None, limit: int | None = None, image_size: Size | None = None
) -> Data:
    """Read one part of a set of torchvision; nothing is downloaded.

    Args:
        name: Of a class of ``torchvision.datasets``, for example ``CIFAR10``.
        root: The folder that torchvision would download to.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise.
        image_size: Size to bring images to.

    Raises:
        MissingDependencyError: torchvision isn't installed or can't be imported.
        UnknownNameError: It has no such set.
        DataError: No folder of data is named, or the set isn't in it.
    """
    try:
        datasets = importlib.import_module("torchvision.datasets")
    except (ImportError, RuntimeError) as error:  # one built for another torch raises RuntimeError
        raise MissingDependencyError(
            f"torchvision can't be imported: {error}.",
            "Install it beside this torch: pip install torchvision -c constraints.txt",
        ) from error
    known = {one: getattr(datasets, one) for one in datasets.__all__ if inspect.isclass(getattr(datasets, one))}
    if name not in known:
        raise UnknownNameError.of("torchvision data set", name, known)
    if root is None:
        raise DataError(
            f"SUBSHOT_DATA names no folder to look for torchvision's {name} in.", "Let it name the one that has it."
        )
    parts = _parts(known[name], name, root)
    return from_data_sets(parts, name=f"torchvision_{name.lower()}", split=split, limit=limit, image_size=image_size)


def _parts(make: Any, name: str, root: Path) -> dict[str, Any]:
    settings = inspect.signature(make).parameters
    if "root" not in settings or not {"train", "split"} & {*settings}:
        raise DataError(f"torchvision's {name} has no training part by name.", "Make it in Python and give the object.")
    common = {"root": str(root), **({"download": False} if "download" in settings else {})}
    parts: dict[str, Any] = {}
    problem: Exception | None = None
    for part, words in _PARTS.items():
        options = [{"split": word} for word in words] if "train" not in settings else [{"train": part == "train"}]
        if "train" in settings and part == "validation":
            continue
        for option in options:
            try:
                parts[part] = make(**common, **option)
                break
            except Exception as error:  # a missing file, or a part that this set doesn't have
                problem = problem or error
    if "train" not in parts:
        raise DataError(
            f"torchvision's {name} is not in {root}: {problem}.", "Put its files there; subshot downloads nothing."
        )
    return parts
