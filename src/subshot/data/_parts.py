"""Training, validation and test part of any data: drawn once by a seed, and kept in a file.

The file, ``split.json``, names the data by digest, the seed, the shares and the position of every sample in the data's
own order. It is made once and read from then on; where the data is no longer the same, it is refused.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng
from subshot.data._dataset import Data
from subshot.data._geometry import Size
from subshot.data._images import ImageData, statistics
from subshot.data._labels import label_kind
from subshot.data._load import DataLike, load_data
from subshot.errors import DataError, OptionError

FILE_NAME = "split.json"
PARTS = ("train", "validation", "test")
_FORMAT = 1
_AGAIN = "Remove the file to draw new parts, or name another folder."


@dataclass(frozen=True, eq=False)
class Partition:
    """Which sample belongs to which part.

    Attributes:
        data: Name of the data.
        digest: Of the data, by which it is known again.
        seed: Seed of the draw.
        shares: Of validation and test, of all samples that were divided.
        positions: For each part that was drawn its samples' positions, ascending. Parts that the data comes with aren't
            among them.
        own_parts: Parts that the data comes with.
    """

    data: str
    digest: str
    seed: int
    shares: Mapping[str, float]
    positions: Mapping[str, NDArray[np.int64]]
    own_parts: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Samples of each part that was drawn."""
        return {part: len(chosen) for part, chosen in self.positions.items()}


@dataclass(frozen=True, eq=False)
class DataParts:
    """The three parts of some data.

    Attributes:
        train: To fit weights on.
        validation: To choose by.
        test: To judge by, once.
        partition: How they were drawn.
    """

    train: Data
    validation: Data
    test: Data
    partition: Partition


def load_parts(
    data: DataLike,
    *,
    seed: int | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    folder: str | Path | None = None,
    root: str | Path | None = None,
    limit: int | None = None,
    image_size: Size | None = None,
) -> DataParts:
    """Read data in three parts that don't overlap.

    Parts that the data comes with are kept as they are; the others are drawn from the rest, the same share of every
    class. Where a test part is drawn, mean and deviation of images are those of the training part that is left.

    Args:
        data: As for :func:`subshot.data.load_data`.
        seed: Seed of the draw; that of the file if not given, else 0.
        validation: Share for validation, of the samples that are divided.
        test: Share for testing.
        folder: Folder of the file that keeps the parts, ``split.json``: read if it is there, else written. Without one
            the same arguments still give the same parts.
        root: Folder of data; SUBSHOT_DATA if not given.
        limit: Divide at most this many samples, the first; a test part of the data's own is cut likewise.
        image_size: Bring the images to this size while they are read.

    Raises:
        DataError: Data that can't be read or is too small, or a file of other data or other parts.
        OptionError: Shares out of range.
    """
    everything = load_data(data, root=root, limit=limit, image_size=image_size)
    own = {
        part: load_data(data, split=part, root=root, limit=limit, image_size=image_size)  # type: ignore[arg-type]
        for part in everything.own_parts
    }
    digest = joint_digest([everything.identity, *(own[part].identity for part in sorted(own))])
    partition = partition_of(
        everything.labels,
        len(everything),
        data=everything.name,
        digest=digest,
        own_parts=everything.own_parts,
        seed=seed or 0,
        validation=validation,
        test=test,
    )
    if folder is not None:
        partition = kept(partition, Path(folder) / FILE_NAME, any_seed=seed is None)
    parts = {part: everything.select(chosen) for part, chosen in partition.positions.items()} | own
    if "test" in partition.positions:
        parts = _with_own_statistics(parts)
    return DataParts(parts["train"], parts["validation"], parts["test"], partition)


def partition_of(
    labels: NDArray[Any] | None,
    count: int,
    *,
    data: str,
    digest: str,
    own_parts: tuple[str, ...] = (),
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.2,
) -> Partition:
    """Draw the parts of ``count`` samples.

    Every class of two samples has one for testing, every class of three one for validation too; labels that are no
    classes are divided as one.

    Raises:
        DataError: A part would be empty.
        OptionError: Shares out of range.
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0 < share < 1 or validation + test >= 1:
            raise OptionError(f"The {name} share was given as {share}.", "Both are above 0, and together below 1.")
    shares = {part: share for part, share in (("test", test), ("validation", validation)) if part not in own_parts}
    classes = labels if labels is not None and label_kind(labels) == "classes" else np.zeros(count, dtype=np.int64)
    part_of = np.zeros(count, dtype=np.int64)
    for label in np.unique(classes):
        members = stable_rng(seed, "parts", int(label)).permutation(np.flatnonzero(classes == label))
        start = 0
        for number, share in enumerate(shares.values(), start=1):
            # One at least, as long as one is left for training, and no more than leaves one for each part to come.
            left = len(members) - start - 1
            most = max(left - (len(shares) - number), min(1, left))
            size = min(max(round(share * len(members)), 1), most)
            part_of[members[start : start + size]] = number
            start += size
    positions = {part: np.flatnonzero(part_of == number) for number, part in enumerate(("train", *shares))}
    empty = [part for part, chosen in positions.items() if not len(chosen)]
    if empty:
        raise DataError(
            f"{data} has {count:,} samples here, too few of each class for a {empty[0]} part.", "Give three of a class."
        )
    return Partition(data, digest, seed, {part: shares[part] for part in sorted(shares)}, positions, own_parts)


def kept(partition: Partition, path: Path, *, any_seed: bool = False) -> Partition:
    """The partition that ``path`` keeps; it is written there if there is no such file.

    Args:
        partition: As it was drawn now.
        path: The file.
        any_seed: Whether the file may keep the parts of another seed.

    Raises:
        DataError: The file is damaged, or keeps the parts of other data, another seed or other shares; or it can't be
            written.
    """
    if not path.exists():
        _write(partition, path)
        return partition
    values = _read(path)
    count = sum(partition.sizes.values())
    if (values.get("digest"), values.get("samples")) != (partition.digest, count):
        raise DataError(
            f"{path} keeps the parts of {values.get('data')!r}, {values.get('samples')} samples of digest "
            f"{values.get('digest')}; {partition.data!r} has {count} of digest {partition.digest}: it is other data, "
            "or has changed.",
            _AGAIN,
        )
    if any_seed and isinstance(values.get("seed"), int):
        partition = replace(partition, seed=values["seed"])
    ours = {"seed": partition.seed, "shares": dict(partition.shares), "own_parts": list(partition.own_parts)}
    for key, value in ours.items():
        if values.get(key) != value:
            raise DataError(f"{path} has {key.replace('_', ' ')} {values.get(key)}, and {value} was asked for.", _AGAIN)
    try:
        positions = {part: np.array(values["positions"][part], dtype=np.int64) for part in partition.positions}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} is damaged: {error}.", _AGAIN) from error
    together = np.sort(np.concatenate(list(positions.values())))
    if not np.array_equal(together, np.arange(count)) or not all(map(len, positions.values())):
        raise DataError(f"{path} is damaged: its parts overlap or leave samples out.", _AGAIN)
    return replace(partition, positions=positions)


def joint_digest(digests: list[str]) -> str:
    """The digest of several parts together; one keeps its own."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def _write(partition: Partition, path: Path) -> None:
    values = {
        "format": _FORMAT,
        "data": partition.data,
        "digest": partition.digest,
        "seed": partition.seed,
        "shares": dict(partition.shares),
        "own_parts": list(partition.own_parts),
        "samples": sum(partition.sizes.values()),
        "sizes": partition.sizes,
        "positions": {part: chosen.tolist() for part, chosen in partition.positions.items()},
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(values) + "\n", encoding="utf-8")
        partial.replace(path)  # whole or not at all
    except OSError as error:
        raise DataError(f"{path} can't be written: {error.strerror}.", "Name another folder.") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}.", _AGAIN) from error
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise DataError(f"{path} keeps no parts that this version can read.", _AGAIN)
    return values


def _with_own_statistics(parts: dict[str, Data]) -> dict[str, Data]:
    train = parts["train"]
    if not isinstance(train, ImageData):
        return parts
    mean, std = statistics(train.images, name=train.name)
    return {part: replace(one, mean=mean, std=std) for part, one in parts.items() if isinstance(one, ImageData)}
