"""A user's own images in a CSV or Parquet file: a row for each image, with its path and its label.

Columns are found by name, in any case:

- the image: ``image``, ``path``, ``file``, ``filename``, ``file_name``, ``filepath``, ``file_path``, ``image_path`` or
  ``img``: a path, from the table's folder on where it is relative; Parquet may hold the file itself (``bytes``);
- the label: ``label``, ``class``, ``class_name`` or ``category`` for classes, by name or number; ``target``, ``value``
  or columns ``target_...`` for numbers to predict; ``mask`` or ``mask_path`` for an image of pixel classes; or none;
- the part, if the table tells: ``split``, ``part`` or ``subset``, with ``train``, ``validation`` (``val``, ``valid``,
  ``dev``) and ``test``.
"""

import csv
import gzip
import hashlib
import importlib
import io
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng
from subshot.data._dataset import FORMATS, Format
from subshot.data._geometry import Size
from subshot.data._images import ImageData
from subshot.data._labels import check_labels
from subshot.data._pictures import Pictures, decode, digest_files, read_image, read_mask
from subshot.data._split import Split, by_part
from subshot.errors import DataError, MissingDependencyError

FORMS = (".csv", ".csv.gz", ".tsv", ".parquet")
IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "img")
CLASS_COLUMNS = ("label", "class", "class_name", "category")
VALUE_COLUMNS = ("target", "value")
MASK_COLUMNS = ("mask", "mask_path")
PART_COLUMNS = ("split", "part", "subset")
_SEVERAL = "target_"
_HINT = f"Name the column of image paths {IMAGE_COLUMNS[0]!r} and that of labels {CLASS_COLUMNS[0]!r} or 'target'."

# A path, or the content of an image file.
Source = Path | bytes
Columns = Mapping[str, Sequence[Any]]


def load_table(
    path: Path, *, split: Split = None, limit: int | None = None, image_size: Size | None = None
) -> ImageData:
    """Read the images of a table.

    Images are RGB, in a random order fixed by their number; see :func:`subshot.data.folder.load_folder` for size and
    statistics.

    Args:
        path: The table.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise; no more images are decoded, but for the first 100.
        image_size: Size to bring the images to.

    Raises:
        DataError: The table is damaged or has no column of images, labels are missing or of mixed kinds, there is one
            class only, images are missing or can't be decoded, or don't fit in memory.
        MissingDependencyError: It is Parquet and pyarrow isn't installed.
    """
    return decode(open_table(path), split=split, limit=limit, image_size=image_size)


def open_table(path: Path) -> Pictures:
    """Read a table without decoding images; see :func:`load_table`."""
    columns = _read(path)
    home = _find(columns, IMAGE_COLUMNS)
    if home is None:
        raise DataError(f"{path} has no column of images; it has {', '.join(columns) or 'none'}.", _HINT)
    count = len(columns[home])
    if not count:
        raise DataError(f"{path} has no rows.", _HINT)
    sources = [_source(cell, path, row) for row, cell in enumerate(columns[home], start=1)]
    names = [str(cell) if isinstance(source, Path) else f"row {row}" for row, (cell, source) in
             enumerate(zip(columns[home], sources, strict=True), start=1)]  # fmt: skip
    labels, classes, masks = _labels(columns, path)
    parts = _parts(columns, path, count)
    if labels is not None and labels.dtype.kind == "i" and len(np.unique(labels[parts["train"]])) == 1:
        name = classes[int(labels[parts["train"]][0])]
        raise DataError(f"{path} has a single class, {name!r}.", "Leave the labels out for scores that need none.")
    told = [""] * count if labels is None else labels.tolist()
    return Pictures(
        name=path.name,
        where=str(path),
        read=lambda position: read_image(sources[position]),
        describe=lambda position: names[position],
        parts=parts,
        labels=labels,
        classes=classes,
        masks=None if masks is None else (lambda position: read_mask(masks[position])),
        digest=_digest(sources, masks, names, told, parts),
    )


def _digest(
    sources: Sequence[Source],
    masks: Sequence[Source] | None,
    names: Sequence[str],
    labels: Sequence[object],
    parts: Mapping[str, NDArray[np.int64]],
) -> str:
    sha = hashlib.sha256()
    for several in (sources, masks or ()):
        files = [one for one in several if isinstance(one, Path)]
        if files:
            sha.update(digest_files(files, names, labels).encode())
        for content in several:
            if isinstance(content, bytes):
                sha.update(hashlib.sha256(content).digest())
    sha.update(repr([(part, sorted(parts[part].tolist())) for part in sorted(parts)]).encode())
    sha.update(repr(list(labels)).encode())
    return sha.hexdigest()[:16]


def is_table(path: Path) -> bool:
    """Whether a file has the name of a table."""
    return path.is_file() and path.name.lower().endswith(FORMS)


# --- cells -----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> Columns:
    content = path.read_bytes()
    return _parquet(path, content) if path.suffix.lower() == ".parquet" else _csv(path, content)


def _csv(path: Path, content: bytes) -> Columns:
    try:
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")  # spreadsheets put a mark in front
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if row]
    except (EOFError, OSError, zlib.error, csv.Error) as error:
        raise DataError(f"{path} is damaged or no table: {error}.", "Save it as CSV with a header line.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: {error}.", "Save it as UTF-8.") from error
    if not rows:
        raise DataError(f"{path} is empty.", _HINT)
    header = [name.strip() for name in rows[0]]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has several columns named {', '.join(map(repr, repeated))}.", "Rename all but one.")
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise DataError(
                f"Row {number} of {path} has {len(row)} cells, its header has {len(header)}.",
                "The file may be cut short; cells with separators stand in quotes.",
            )
    return {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(header)}


def _parquet(path: Path, content: bytes) -> Columns:
    try:
        reader = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is a Parquet file, and pyarrow can't be imported: {error}.",
            "Install it with pip install pyarrow, or save the table as CSV.",
        ) from error
    try:
        table = reader.read_table(io.BytesIO(content))
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these two kinds
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{path} is damaged or no Parquet file: {reason}.", "Get it again.") from error
    return {str(name): table.column(i).to_pylist() for i, name in enumerate(table.column_names)}


def _find(columns: Columns, names: Sequence[str]) -> str | None:
    """The column that has the likeliest of these names."""
    ours = {column.lower(): column for column in columns}
    return next((ours[name] for name in names if name in ours), None)


def _source(cell: Any, path: Path, row: int) -> Source:
    if isinstance(cell, Mapping):  # as Hugging Face's Parquet files have it
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return cell
    if not isinstance(cell, str) or not cell:
        what = "is empty" if not cell else f"is a {type(cell).__name__}"
        raise DataError(f"The image in row {row} of {path} {what}.", _HINT)
    return path.parent / cell  # an absolute path stays as it is


# --- labels and parts ------------------------------------------------------------------------------------------------


def _labels(columns: Columns, path: Path) -> tuple[NDArray[Any] | None, tuple[str, ...], list[Source] | None]:
    """Labels, names of the classes, and the masks."""
    mask = _find(columns, MASK_COLUMNS)
    several = [name for name in columns if name.lower().startswith(_SEVERAL)]
    value = _find(columns, VALUE_COLUMNS)
    values = [value] if value is not None else several
    label = _find(columns, CLASS_COLUMNS)
    given = [name for name in (mask, *values[:1], label) if name is not None]
    if len(given) > 1:
        raise DataError(
            f"{path} has labels of several kinds: {', '.join(map(repr, given))}.", "Rename all but one of them."
        )
    if mask is not None:
        return None, (), [_source(cell, path, row) for row, cell in enumerate(columns[mask], start=1)]
    if values:
        count = len(columns[values[0]])
        numbers = np.array([_numbers(columns[name], name, path) for name in values], dtype=np.float64).T
        return check_labels(numbers, count, name=str(path)), (), None
    if label is None:
        return None, (), None
    return *_classes(columns[label], label, path), None


def _numbers(cells: Sequence[Any], name: str, path: Path) -> list[float]:
    return [_converted(cell, float, f"{name!r} in row {row} of {path}") for row, cell in enumerate(cells, start=1)]


def _converted(cell: Any, kind: Callable[[Any], float], what: str) -> float:
    try:
        found = kind(cell)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{what} is {cell!r}, not a number.", "Leave such rows out.")
    return found


def _classes(cells: Sequence[Any], name: str, path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Numbers of the classes: the cells themselves if all are whole numbers from 0 on without large gaps."""
    empty = [row for row, cell in enumerate(cells, start=1) if cell is None or str(cell).strip() == ""]
    if empty:
        raise DataError(
            f"{len(empty):,} of {len(cells):,} labels in {path} are empty, first in row {empty[0]}.",
            "Label these rows or leave them out.",
        )
    if any(isinstance(cell, float) and cell != int(cell) for cell in cells) or all(map(_is_decimal, cells)):
        raise DataError(
            f"The column {name!r} of {path} holds decimal numbers, for example {cells[0]!r}.",
            "Name the column 'target' to predict numbers.",
        )
    texts = [str(int(cell)) if isinstance(cell, float) else str(cell) for cell in cells]
    found = sorted(set(texts))
    if all(text.isascii() and text.isdigit() for text in found) and max(map(int, found)) < 2 * len(found):
        labels = np.array(list(map(int, texts)), dtype=np.int64)
        return labels, tuple(map(str, range(int(labels.max()) + 1)))
    number = {text: position for position, text in enumerate(found)}
    return np.array([number[text] for text in texts], dtype=np.int64), tuple(found)


def _is_decimal(cell: Any) -> bool:
    if not isinstance(cell, str) or not any(mark in cell for mark in ".eE"):
        return False
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _parts(columns: Columns, path: Path, count: int) -> dict[str, NDArray[np.int64]]:
    """Positions of each part, in a random order fixed by their number."""
    home = _find(columns, PART_COLUMNS)
    if home is None:
        return {"train": stable_rng("image table").permutation(count)}
    words = [str(cell) for cell in columns[home]]
    ours = {word: next(iter(by_part({word: None})), "") for word in set(words)}
    unknown = sorted(word for word, part in ours.items() if not part)
    if unknown:
        raise DataError(f"The column {home!r} of {path} has {unknown[0]!r}.", "Write train, validation or test.")
    parts = {}
    for part in ("train", "validation", "test"):
        members = np.array([row for row, word in enumerate(words) if ours[word] == part], dtype=np.int64)
        if len(members):
            parts[part] = stable_rng("image table").permutation(members)
    if "train" not in parts:
        raise DataError(f"{path} has no row of the training part.", f"Write 'train' in the column {home!r}.")
    return parts


FORMATS.register(
    "image_table",
    Format(
        "image_table",
        f"{', '.join(FORMS)} table with a column of image paths",
        recognises=is_table,
        load=load_table,
        open=open_table,
        sizes_differ=True,
    ),
)
