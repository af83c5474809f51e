"""What there is in a set or path: samples, classes and how often they occur, sizes, damaged files, parts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot.data._balance import ClassBalance, class_balance
from subshot.data._dataset import DATASETS, Data
from subshot.data._images import ImageData
from subshot.data._labels import head_of, label_kind
from subshot.data._load import format_of, load_data
from subshot.data._parts import FILE_NAME, joint_digest, kept, partition_of
from subshot.data._pictures import Pictures, reason
from subshot.errors import DataError

_TASKS = {
    None: "none",
    "classes": "classification",
    "numbers": "regression",
    "mask": "classification of pixels",
    "map": "regression of pixels",
}


@dataclass(frozen=True)
class Damaged:
    """An image that can't be decoded.

    Attributes:
        name: Its path or number.
        reason: Why.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class DataDescription:
    """What was found in a set or path.

    Attributes:
        name: Of the data.
        form: Of a path, the format's name; of a set known by name ``"set"``.
        holds: ``images``, ``tokens`` or ``inputs``.
        samples: Of all parts.
        task: ``classification``, ``regression``, either of pixels, or ``none`` without labels.
        outputs: Width of a network's head; 0 where only reading everything would tell.
        classes: How often each class occurs in what is not a test or validation part of the data's own; ``None`` where
            labels are no classes.
        values: Smallest, mean and largest value of each output of a regression.
        shapes: Sample shapes and how often each occurs, the most frequent first: (height, width) of images.
        files: Image files by suffix; empty for other data.
        damaged: Images that can't be decoded.
        ignored: Files that are no images.
        vocabulary: Number of distinct tokens.
        parts: Samples of the training, validation and test part.
        own_parts: Parts that the data comes with; the others are drawn by the seed.
        seed: Of the parts.
        digest: By which the data is known again.
        licence: Terms of use.
        notes: What a reader should know.
        warnings: What a user should mend or mind.
        split_file: Where the parts are kept, if they are.
    """

    name: str
    form: str
    holds: str
    samples: int
    task: str
    outputs: int
    classes: ClassBalance | None
    values: tuple[tuple[float, float, float], ...]
    shapes: Mapping[tuple[int, ...], int]
    files: Mapping[str, int]
    damaged: tuple[Damaged, ...]
    ignored: int
    vocabulary: int | None
    parts: Mapping[str, int]
    own_parts: tuple[str, ...]
    seed: int
    digest: str
    licence: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    split_file: Path | None


def describe_data(
    name_or_path: str | Path,
    *,
    root: str | Path | None = None,
    seed: int | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    folder: str | Path | None = None,
) -> DataDescription:
    """Look at everything in a set or path; every image file is decoded, one at a time.

    Args:
        name_or_path: As for :func:`subshot.data.load_images`.
        root: Folder of data; SUBSHOT_DATA if not given.
        seed: Seed of the parts, as for :func:`subshot.data.load_parts`, which draws the same.
        validation: Share for validation.
        test: Share for testing.
        folder: Folder in which to keep the parts; the file there is read if there is one.

    Raises:
        DataError: There is no such data, or it can't be used at all.
        SubshotError: As of :func:`subshot.data.load_parts`.
    """
    path = Path(name_or_path)
    named = isinstance(name_or_path, str) and (name_or_path in DATASETS or not path.exists())
    form = None if named else format_of(path)
    if form is not None and form.open is not None:
        try:
            found = _of_pictures(form.open(path), form.name)
        except OSError as error:
            raise DataError(f"{path} can't be read: {error}.") from error
    else:
        found = _of_data(name_or_path, root, "set" if form is None else form.name)
    partition, warnings = None, list(found.warnings)
    try:
        partition = partition_of(
            found.labels,
            found.training,
            data=found.name,
            digest=found.digest,
            own_parts=found.own_parts,
            seed=seed or 0,
            validation=validation,
            test=test,
        )
    except DataError as error:
        if folder is not None:
            raise
        warnings.append(error.message.rstrip("."))
    if partition is not None and folder is not None:
        partition = kept(partition, Path(folder) / FILE_NAME, any_seed=seed is None)
    drawn = {} if partition is None else partition.sizes
    sizes = found.own_sizes | drawn
    kind = label_kind(found.labels)
    return DataDescription(
        name=found.name,
        form=found.form,
        holds=found.holds,
        samples=found.training + sum(found.own_sizes.values()),
        task=_TASKS["mask" if found.masked else kind],
        outputs=found.outputs,
        classes=found.balance,
        values=_values(found.labels) if kind in ("numbers", "map") else (),
        shapes=dict(found.shapes.most_common()),
        files=dict(found.files.most_common()),
        damaged=found.damaged,
        ignored=found.ignored,
        vocabulary=found.vocabulary,
        parts={part: sizes[part] for part in ("train", "validation", "test") if part in sizes},
        own_parts=found.own_parts,
        seed=partition.seed if partition is not None else seed or 0,
        digest=found.digest,
        licence=found.licence,
        notes=found.notes,
        warnings=tuple(warnings),
        split_file=None if folder is None else Path(folder) / FILE_NAME,
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """What the two ways of looking have in common; labels are those of the samples that are divided."""

    name: str
    form: str
    holds: str
    labels: NDArray[Any] | None
    training: int
    own_sizes: dict[str, int]
    own_parts: tuple[str, ...]
    outputs: int
    balance: ClassBalance | None
    shapes: Counter[tuple[int, ...]]
    files: Counter[str]
    damaged: tuple[Damaged, ...]
    ignored: int
    vocabulary: int | None
    digest: str
    licence: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    masked: bool = False


def _of_pictures(pictures: Pictures, form: str) -> _Found:
    """Images that are files of their own: each is decoded and forgotten."""
    train = pictures.parts["train"]
    labels = None if pictures.labels is None else pictures.labels[train]
    shapes: Counter[tuple[int, ...]] = Counter()
    files: Counter[str] = Counter()
    damaged: list[Damaged] = []
    pixels: Counter[int] = Counter()
    for position in map(int, np.concatenate(list(pictures.parts.values()))):
        name = pictures.describe(position)
        files[PurePosixPath(name).suffix.lower()] += 1
        try:
            shapes[pictures.read(position).shape[:2]] += 1
            if pictures.masks is not None:
                classes, counts = np.unique(pictures.masks(position), return_counts=True)
                pixels.update(dict(zip(classes.tolist(), counts.tolist(), strict=True)))
        except Exception as error:  # a damaged file can make a decoder raise anything
            damaged.append(Damaged(name, reason(error)))
    balance = class_balance(labels, pictures.classes)
    if pixels and min(pixels) >= 0:
        balance = ClassBalance({str(one): pixels[one] for one in range(max(pixels) + 1)}, "pixels")
    warnings = list(balance.warnings) if balance is not None else []
    if damaged:
        warnings.insert(0, f"{len(damaged):,} of {files.total():,} images can't be decoded; replace or remove them")
    warnings += [error.message for error in pictures.broken.values()]
    values = 0 if labels is None else head_of(labels, len(pictures.classes))[0]
    return _Found(
        name=pictures.name,
        form=form,
        holds="images",
        labels=labels,
        training=len(train),
        own_sizes={part: len(pictures.parts[part]) for part in pictures.own_parts if part in pictures.parts},
        own_parts=pictures.own_parts,
        outputs=values if balance is None else len(balance.counts),
        balance=balance,
        shapes=shapes,
        files=Counter({suffix or "none": count for suffix, count in files.items()}),
        damaged=tuple(damaged),
        ignored=pictures.ignored,
        vocabulary=None,
        digest=joint_digest([pictures.digest] * (1 + len(pictures.own_parts))),
        licence=pictures.licence,
        notes=pictures.notes,
        warnings=tuple(warnings),
        masked=pictures.masks is not None,
    )


def _of_data(name_or_path: str | Path, root: str | Path | None, form: str) -> _Found:
    """Anything else, read whole."""
    data: Data = load_data(name_or_path, root=root)
    own = {part: load_data(name_or_path, split=part, root=root) for part in data.own_parts}  # type: ignore[arg-type]
    task = data.task()
    (spec,) = task.inputs
    shape = data.images.shape[1:3] if isinstance(data, ImageData) else data.inputs.shape[1:]
    balance = class_balance(data.labels, data.classes)
    total = len(data) + sum(map(len, own.values()))
    return _Found(
        name=data.name,
        form=form,
        holds=spec.name,
        labels=data.labels,
        training=len(data),
        own_sizes={part: len(one) for part, one in own.items()},
        own_parts=data.own_parts,
        outputs=0 if data.labels is None else task.outputs,
        balance=balance,
        shapes=Counter({tuple(shape): total}),
        files=Counter(),
        damaged=(),
        ignored=0,
        vocabulary=spec.vocabulary,
        digest=joint_digest([data.identity, *(own[part].identity for part in sorted(own))]),
        licence=data.licence,
        notes=data.notes,
        warnings=() if balance is None else balance.warnings,
    )


def _values(labels: NDArray[Any] | None) -> tuple[tuple[float, float, float], ...]:
    assert labels is not None
    by_output = np.moveaxis(labels, 1, 0).reshape(labels.shape[1], -1).astype(np.float64)
    return tuple((float(one.min()), float(one.mean()), float(one.max())) for one in by_output)
