"""A user's own folder of images, one subfolder for each class."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng
from subshot.data._dataset import FORMATS, Format
from subshot.data._geometry import Size, check_memory, check_size, fit
from subshot.data._images import ImageData, statistics_of_histogram
from subshot.data._split import Split, divide
from subshot.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
# Names a test part may have, the likeliest first.
_TEST_NAMES = ("test", "val", "valid", "validation")
# Statistics and common size are those of so many training images, whatever else is read.
_SAMPLE = 100
_LAYOUT = "Put the images of each class in a folder of its own, named after the class."


@dataclass(frozen=True)
class _Listing:
    """The images of one part, in a random order fixed by their number."""

    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    ignored: int


def load_folder(
    path: Path, *, split: Split = None, limit: int | None = None, image_size: Size | None = None
) -> ImageData:
    """Read a folder of images.

    Each subfolder is a class, its images may lie deeper. If there is a subfolder ``train`` and one of ``test``,
    ``val``, ``valid`` or ``validation``, each with a folder for each class, these are the parts; else a fifth of each
    class is for testing. Images are RGB (transparency is dropped, grey is repeated), in a random order fixed by their
    number. Mean, deviation and, where no size is given, the common size (the median if they differ) are those of the
    first 100 training images.

    Args:
        path: The folder.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise; no other image but those 100 is decoded.
        image_size: Size to bring the images to.

    Raises:
        DataError: No class folders or only one, an empty one, an image that can't be read, test classes that aren't
            trained on, or more images than fit in memory.
    """
    train, test = _parts(path)
    listing = _list(train)
    if test is not None and split == "test":
        chosen = _list(test, classes=listing.classes)
    else:
        chosen = listing if test is not None else _select(listing, split, path)
    sample = listing if test is not None else _select(listing, "train", path)
    mean, std, sizes = _survey(sample.files[:_SAMPLE], path)
    size = check_size(image_size) if image_size is not None else _median(sizes)
    check_memory(str(path), min(len(chosen.files), limit or len(chosen.files)), size)
    images = _decode(chosen.files[:limit], size, path)
    notes = []
    if chosen.ignored:
        notes.append(f"{chosen.ignored:,} files that are no {', '.join(sorted(SUFFIXES))} images were ignored")
    if len(sizes) > 1:
        notes.append(f"images differ in size; each was brought to {size[0]} x {size[1]} pixels")
    return ImageData(
        path.resolve().name,
        images,
        chosen.labels[:limit],
        listing.classes,
        mean,
        std,
        "the user's own",
        notes=tuple(notes),
    )


def _select(listing: _Listing, split: Split, path: Path) -> _Listing:
    kept = divide(len(listing.files), listing.labels, split, name=str(path))
    files = tuple(listing.files[position] for position in kept)
    return _Listing(files, listing.labels[kept], listing.classes, listing.ignored)


def _parts(path: Path) -> tuple[Path, Path | None]:
    folders = {folder.name.lower(): folder for folder in _folders(path)}
    if "train" not in folders:
        return path, None
    tests = (folders[name] for name in _TEST_NAMES if name in folders)
    return folders["train"], next((folder for folder in tests if _folders(folder)), None)


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _list(path: Path, classes: Sequence[str] | None = None) -> _Listing:
    folders = _folders(path)
    if not folders:
        loose = sum(p.suffix.lower() in SUFFIXES for p in path.iterdir())
        what = f"has {loose:,} images and no class folders" if loose else "is empty: it has no class folders"
        raise DataError(f"The image folder {path} {what}.", _LAYOUT)
    if classes is None:
        classes = [folder.name for folder in folders]
        if len(classes) == 1:
            raise DataError(f"The image folder {path} has a single class, {classes[0]!r}.", _LAYOUT)
    elif unknown := [folder.name for folder in folders if folder.name not in classes]:
        raise DataError(f"{path} has the class {unknown[0]!r}, which the training part hasn't.", _LAYOUT)
    files: list[Path] = []
    labels: list[int] = []
    ignored = 0
    for folder in folders:
        everything = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
        images = sorted((p for p in everything if p.suffix.lower() in SUFFIXES), key=lambda p: p.as_posix())
        if not images:
            raise DataError(
                f"The class folder {folder} holds no image ({len(everything):,} other files).",
                f"Put {', '.join(sorted(SUFFIXES))} files there or remove it.",
            )
        files += images
        labels += [classes.index(folder.name)] * len(images)
        ignored += len(everything) - len(images)
    order = stable_rng("image folder").permutation(len(files))
    shuffled = tuple(files[position] for position in order)
    return _Listing(shuffled, np.asarray(labels, dtype=np.int64)[order], tuple(classes), ignored)


def _read(path: Path) -> NDArray[np.uint8]:
    """One image, (H, W, 3)."""
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow only warns of pictures that are suspiciously large for their file, and of odd palettes.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise ValueError(f"its pixels are of mode {picture.mode}, not 8 bits a channel")
            return np.asarray(picture.convert("RGB"), dtype=np.uint8)


def _read_all(files: Iterable[Path], path: Path) -> Iterable[NDArray[np.uint8]]:
    """Each image; a :class:`DataError` at the end names the first few that can't be read."""
    bad: list[str] = []
    count = 0
    for file in files:
        count += 1
        try:
            image = _read(file)
        except Exception as error:  # a damaged file can make a decoder raise anything
            bad.append(f"{file.relative_to(path).as_posix()} ({str(error).replace(str(file), 'it')})")
        else:
            yield image
    if bad:
        more = f" and {len(bad) - 3:,} more" if len(bad) > 3 else ""
        raise DataError(
            f"{len(bad):,} of {count:,} images read from {path} can't be decoded: {', '.join(bad[:3])}{more}.",
            "Replace or remove them.",
        )


def _survey(files: Sequence[Path], path: Path) -> tuple[tuple[float, ...], tuple[float, ...], Counter[tuple[int, int]]]:
    """Mean and deviation of each channel, and how often each size occurs."""
    histogram = np.zeros((3, 256), dtype=np.int64)
    sizes: Counter[tuple[int, int]] = Counter()
    for image in _read_all(files, path):
        sizes[image.shape[0], image.shape[1]] += 1
        for channel in range(3):
            histogram[channel] += np.bincount(image[..., channel].ravel(), minlength=256)
    mean, std = statistics_of_histogram(histogram, name=str(path))
    return mean, std, sizes


def _median(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    heights, widths = zip(*sizes.elements(), strict=True)
    return int(np.median(heights)), int(np.median(widths))


def _decode(files: Sequence[Path], size: tuple[int, int], path: Path) -> NDArray[np.uint8]:
    images = np.empty((len(files), *size, 3), dtype=np.uint8)
    for position, image in enumerate(_read_all(files, path)):
        images[position] = fit(image[None], size)[0]
    return images


FORMATS.register(
    "image_folder",
    Format(
        "image_folder",
        f"folder with one folder of {', '.join(sorted(SUFFIXES))} images for each class",
        recognises=Path.is_dir,
        load=load_folder,
        fallback=True,
    ),
)
