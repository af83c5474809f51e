"""A user's own folder of images, one subfolder for each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng
from subshot.data._dataset import FORMATS, Format
from subshot.data._geometry import Size
from subshot.data._images import ImageData
from subshot.data._pictures import SUFFIXES, Pictures, decode, digest_files, read_image
from subshot.data._split import Split
from subshot.errors import DataError

# Names that parts beside ``train`` may have, the likeliest first.
_TEST_NAMES = ("test", "val", "valid", "validation")
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
    ``val``, ``valid`` or ``validation``, each with a folder for each class, these are the parts (of two beside
    ``train``, the first in this order is for testing and the other for validation); else a fifth of each class is for
    testing. Images are RGB (transparency is dropped, grey is repeated), in a random order fixed by their number. Mean,
    deviation and, where no size is given, the common size (the median if they differ) are those of the first 100
    training images.

    Args:
        path: The folder.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise; no other image but those 100 is decoded.
        image_size: Size to bring the images to.

    Raises:
        DataError: No class folders or only one, an empty one, an image that can't be read, test classes that aren't
            trained on, or more images than fit in memory.
    """
    return decode(open_folder(path), split=split, limit=limit, image_size=image_size)


def open_folder(path: Path) -> Pictures:
    """List a folder of images without decoding any.

    Raises:
        DataError: No class folders or only one, or an empty one, in the training part.
    """
    folders = _parts(path)
    training = _list(folders["train"])
    listings, broken = {"train": training}, {}
    for part in sorted({*folders} - {"train"}):
        try:
            listings[part] = _list(folders[part], classes=training.classes)
        except DataError as error:
            broken[part] = error
    parts, start = {}, 0
    for part, listing in listings.items():
        parts[part] = np.arange(start, start + len(listing.files))
        start += len(listing.files)
    files = [file for listing in listings.values() for file in listing.files]
    labels = np.concatenate([listing.labels for listing in listings.values()])
    names = [file.relative_to(path).as_posix() for file in files]
    return Pictures(
        name=path.resolve().name,
        where=str(path),
        read=lambda position: read_image(files[position]),
        describe=lambda position: names[position],
        parts=parts,
        labels=labels,
        classes=training.classes,
        broken=broken,
        digest=digest_files(files, names, labels.tolist()),
        ignored=sum(listing.ignored for listing in listings.values()),
    )


def _parts(path: Path) -> dict[str, Path]:
    folders = {folder.name.lower(): folder for folder in _folders(path)}
    if "train" not in folders:
        return {"train": path}
    others = [folders[name] for name in _TEST_NAMES if name in folders and _folders(folders[name])]
    return {"train": folders["train"], **dict(zip(("test", "validation"), others, strict=False))}


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


FORMATS.register(
    "image_folder",
    Format(
        "image_folder",
        f"folder with one folder of {', '.join(sorted(SUFFIXES))} images for each class",
        recognises=Path.is_dir,
        load=load_folder,
        open=open_folder,
        sizes_differ=True,
        fallback=True,
    ),
)
