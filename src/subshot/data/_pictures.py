"""Images that are decoded one by one when they are wanted: files of a folder or table, entries of a data set."""

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot.data._geometry import Size, check_memory, check_size, fit
from subshot.data._images import ImageData, statistics_of_histogram
from subshot.data._labels import check_labels, fit_labels
from subshot.data._split import Split, divide
from subshot.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
# Statistics and common size are those of so many training images, whatever else is read.
_SAMPLE = 100

Reader = Callable[[int], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Pictures:
    """A set of images that aren't decoded yet.

    Attributes:
        name: What the set is called in protocols and reports.
        where: What it is called in messages, for example the folder's path.
        read: Position to image, (H, W, 3) uint8; raises anything for one that can't be decoded.
        describe: Position to what an image is called in messages.
        parts: Positions of the images of each part in the order they are taken in, a random one; ``train`` is there
            always, ``validation`` and ``test`` if the set comes with them.
        labels: As :attr:`ImageData.labels`, of all positions; ``None`` without labels or with masks.
        classes: Names of the classes.
        masks: Position to the class of each pixel, (H, W) whole numbers.
        broken: What is wrong with a part, raised when it is asked for.
        notes: What a reader should know.
        digest: Of the list of images and labels.
        ignored: Files that are no images.
        licence: Terms of use.
    """

    name: str
    where: str
    read: Reader
    describe: Callable[[int], str]
    parts: Mapping[str, NDArray[np.int64]]
    labels: NDArray[Any] | None
    classes: tuple[str, ...]
    masks: Reader | None = None
    broken: Mapping[str, DataError] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    digest: str = ""
    ignored: int = 0
    licence: str = "the user's own"

    @property
    def own_parts(self) -> tuple[str, ...]:
        """Parts beside the training part that the set comes with."""
        return tuple(sorted({*self.parts, *self.broken} - {"train"}))

    def positions(self, split: Split) -> NDArray[np.int64]:
        """The images of a part, in order.

        Raises:
            DataError: There is no such part, or something is wrong with it.
        """
        if split is not None and split in self.broken:
            raise self.broken[split]
        if split is not None and split != "train" and split in self.parts:
            return self.parts[split]
        train = self.parts["train"]
        if split is None or "test" in self.own_parts:
            if split == "validation":
                raise DataError(f"{self.where} has no validation part of its own.", "load_parts sets one aside.")
            return train
        labels = self.labels[train] if self.labels is not None else None
        if self.masks is not None:
            labels = np.zeros((len(train), 0), dtype=np.float32)  # a fifth of all
        return train[divide(len(train), labels, split, name=self.where)]


def decode(pictures: Pictures, *, split: Split, limit: int | None, image_size: Size | None) -> ImageData:
    """Read one part.

    Mean, deviation and, where no size is given, the common size (the median if they differ) are those of the first 100
    training images; beside those, no more than ``limit`` images are decoded.

    Raises:
        DataError: An image that can't be read, no such part, or more images than fit in memory.
    """
    chosen = pictures.positions(split)[:limit]
    mean, std, sizes = _survey(pictures, pictures.positions("train")[:_SAMPLE])
    size = check_size(image_size) if image_size is not None else _median(sizes)
    check_memory(pictures.where, len(chosen), size)
    images = np.empty((len(chosen), *size, 3), dtype=np.uint8)
    labels = None if pictures.labels is None else pictures.labels[chosen]
    if pictures.masks is not None:
        images, labels = _with_masks(pictures, chosen, size, images)
    else:
        for row, image in _read_all(pictures, chosen):
            images[row] = fit(image[None], size)[0]
    notes = list(pictures.notes)
    if pictures.ignored:
        notes.append(f"{pictures.ignored:,} files that are no {', '.join(sorted(SUFFIXES))} images were ignored")
    if len(sizes) > 1:
        notes.append(f"images differ in size; each was brought to {size[0]} x {size[1]} pixels")
    return ImageData(
        pictures.name,
        images,
        labels,
        pictures.classes,
        mean,
        std,
        pictures.licence,
        notes=tuple(notes),
        own_parts=pictures.own_parts,
        source_digest=pictures.digest,
    )


def _with_masks(
    pictures: Pictures, chosen: NDArray[np.int64], size: tuple[int, int], images: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    assert pictures.masks is not None
    labels = np.empty((len(chosen), *size), dtype=np.int64)
    for row, image in _read_all(pictures, chosen):
        name = pictures.describe(int(chosen[row]))
        try:
            mask = np.asarray(pictures.masks(int(chosen[row])))
        except Exception as error:  # a damaged file can make a decoder raise anything
            raise DataError(
                f"The mask of {name} in {pictures.where} can't be read: {error}.", "A mask is a grey or palette image."
            ) from error
        if mask.shape != image.shape[:2]:
            raise DataError(
                f"The mask of {name} in {pictures.where} has shape {mask.shape}, the image {image.shape[:2]}.",
                "A mask has the class of each pixel of its image.",
            )
        images[row] = fit(image[None], size, frame=False)[0]
        labels[row] = fit_labels(mask[None].astype(np.int64), size)[0]
    checked = check_labels(labels, len(chosen), name=pictures.where, grid=size, several=False)
    if pictures.classes and int(checked.max(initial=0)) >= len(pictures.classes):
        raise DataError(
            f"The masks of {pictures.where} have the class {int(checked.max())}, and {len(pictures.classes)} are named."
        )
    return images, checked


# --- one image -------------------------------------------------------------------------------------------------------


def read_image(source: Path | bytes) -> NDArray[np.uint8]:
    """One image file, (H, W, 3); transparency is dropped, grey is repeated.

    Raises:
        Exception: It can't be decoded; a damaged file can make a decoder raise anything.
    """
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        # Pillow only warns of pictures that are suspiciously large for their file, and of odd palettes.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as picture:
                return rgb(picture)
        except UnidentifiedImageError:
            raise ValueError("it is no image") from None  # Pillow's own words repeat the path


def read_mask(source: Path | bytes) -> NDArray[np.int64]:
    """The class of each pixel, (H, W), from a grey or palette image.

    Raises:
        Exception: It can't be decoded or has colours.
    """
    from PIL import Image

    with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as picture:
        if picture.mode not in ("1", "L", "P", "I", "I;16"):
            raise ValueError(f"its pixels are of mode {picture.mode}, not one number each")
        return np.asarray(picture).astype(np.int64)


def rgb(picture: Any) -> NDArray[np.uint8]:
    """A Pillow image as (H, W, 3).

    Raises:
        ValueError: It has more than 8 bits a channel.
    """
    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"its pixels are of mode {picture.mode}, not 8 bits a channel")
    return np.asarray(picture.convert("RGB"), dtype=np.uint8)


def reason(error: Exception) -> str:
    """Why an image can't be decoded, without the path that is said beside it."""
    system = error.strerror if isinstance(error, OSError) else None
    return system or str(error) or type(error).__name__


def digest_files(files: Sequence[Path], names: Sequence[str], labels: Sequence[object]) -> str:
    """First 16 hex digits of the SHA-256 of names, lengths and labels of files, which change when the data does."""
    sha = hashlib.sha256()
    for file, name, label in zip(files, names, labels, strict=True):
        sha.update(f"{name}\t{file.stat().st_size if file.is_file() else 'missing'}\t{label}\n".encode())
    return sha.hexdigest()[:16]


# --- many ------------------------------------------------------------------------------------------------------------


def _read_all(pictures: Pictures, positions: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Each image with its place in ``positions``; a :class:`DataError` at the end names those that fail."""
    bad: list[str] = []
    for row, position in enumerate(map(int, positions)):
        try:
            image = pictures.read(position)
        except Exception as error:  # a damaged file can make a decoder raise anything
            bad.append(f"{pictures.describe(position)} ({reason(error)})")
        else:
            yield row, image
    if bad:
        more = f" and {len(bad) - 3:,} more" if len(bad) > 3 else ""
        raise DataError(
            f"{len(bad):,} of {len(positions):,} images read from {pictures.where} can't be decoded: "
            f"{', '.join(bad[:3])}{more}.",
            "Replace or remove them.",
        )


def _survey(
    pictures: Pictures, positions: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...], Counter[tuple[int, int]]]:
    """Mean and deviation of each channel, and how often each size occurs."""
    histogram = np.zeros((3, 256), dtype=np.int64)
    sizes: Counter[tuple[int, int]] = Counter()
    for _, image in _read_all(pictures, positions):
        sizes[image.shape[0], image.shape[1]] += 1
        for channel in range(3):
            histogram[channel] += np.bincount(image[..., channel].ravel(), minlength=256)
    mean, std = statistics_of_histogram(histogram, name=pictures.where)
    return mean, std, sizes


def _median(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    heights, widths = zip(*sizes.elements(), strict=True)
    return int(np.median(heights)), int(np.median(widths))
