"""Data sets of other libraries, read entry by entry: torchvision's, Hugging Face's, any with a length and entries.

An entry is ``(input, label)``, the input alone, or a dict with keys such as ``image`` and ``label``. Pillow images and
uint8 arrays are images; whole numbers in a row are tokens; floats are taken as the network expects them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot._seeds import stable_rng
from subshot.data._arrays import tensors_from_arrays
from subshot.data._batches import is_array, to_numpy
from subshot.data._dataset import Data
from subshot.data._geometry import Size
from subshot.data._images import digest
from subshot.data._labels import check_labels
from subshot.data._pictures import Pictures, decode, rgb
from subshot.data._split import Split
from subshot.errors import DataError, SubshotError

INPUT_KEYS = ("image", "img", "images", "pixel_values", "input_ids", "tokens", "x")
LABEL_KEYS = ("label", "labels", "fine_label", "class", "target", "y")
# Where torchvision's sets keep their labels, so that no image need be decoded for them.
_TARGETS = ("targets", "labels")
# A set is known again by its labels and so many images.
_TOLD_BY = 16
_FORMS = (
    f"An entry is (input, label), an input, or a dict with one of {', '.join(INPUT_KEYS)} and, if there are labels, "
    f"one of {', '.join(LABEL_KEYS)}."
)


def is_map_style(source: object) -> bool:
    """Whether an object is a data set with a length and numbered entries, and no array or collection of batches."""
    plain = isinstance(source, (str, bytes, Mapping, list, tuple)) or is_array(source)
    return not plain and hasattr(source, "__getitem__") and hasattr(source, "__len__")


def from_data_sets(
    parts: Mapping[str, Any],
    *,
    name: str,
    split: Split = None,
    limit: int | None = None,
    image_size: Size | None = None,
    licence: str = "the user's own",
) -> Data:
    """Read one part of a set that another library has.

    Entries are taken in a random order fixed by their number, as sets are often sorted. Images are brought to a common
    size and normalised as those of an image folder are; nothing else is changed.

    Args:
        parts: The data sets: ``train``, and ``validation`` and ``test`` if there are.
        name: What to call the set.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise; no more entries are read where the set knows its labels.
        image_size: Size to bring images to.
        licence: Terms of use.

    Raises:
        DataError: An empty set, entries of another form, or without a common one.
    """
    if "train" not in parts:
        raise DataError(f"{name} has the parts {', '.join(parts) or 'none'}.", "A training part, 'train', is needed.")
    counts = {part: len(one) for part, one in parts.items()}
    if not counts["train"]:
        raise DataError(f"{name} has no entries.", "Give a set with entries.")
    entries = _Entries(parts, counts, name)
    try:
        first = entries.at(0)[0]
    except SubshotError:
        raise
    except Exception as error:  # the user's own code runs here
        raise DataError(f"{name} can't be read: {type(error).__name__}: {error}.") from error
    if _is_picture(first):
        return decode(_pictures(entries, name, licence), split=split, limit=limit, image_size=image_size)
    return _tensors(entries, name, licence, split, limit)


class _Entries:
    """The entries of all parts, numbered through, each part in a random order of its own."""

    def __init__(self, parts: Mapping[str, Any], counts: Mapping[str, int], name: str) -> None:
        self.name = name
        self._sets = parts
        self._places: list[tuple[str, int]] = []
        self.parts: dict[str, NDArray[np.int64]] = {}
        for part, count in sorted(counts.items(), key=lambda item: item[0] != "train"):
            start = len(self._places)
            self.parts[part] = np.arange(start, start + count)
            self._places += [(part, int(one)) for one in stable_rng("data set", part).permutation(count)]

    def __len__(self) -> int:
        return len(self._places)

    def at(self, position: int) -> tuple[Any, Any]:
        """Input and label, ``None`` for none."""
        part, place = self._places[position]
        entry = self._sets[part][place]
        if isinstance(entry, Mapping):
            found = next((key for key in INPUT_KEYS if key in entry), None)
            if found is None:
                raise DataError(f"The entries of {self.name} have the keys {', '.join(map(str, entry))}.", _FORMS)
            label = next((entry[key] for key in LABEL_KEYS if key in entry), None)
            return entry[found], label
        if isinstance(entry, (tuple, list)):
            if len(entry) != 2:
                raise DataError(f"An entry of {self.name} has {len(entry)} members.", _FORMS)
            return entry[0], entry[1]
        return entry, None

    def describe(self, position: int) -> str:
        """What an entry is called in messages."""
        part, place = self._places[position]
        return f"entry {place:,} of {part}"

    def labels(self) -> list[Any] | None:
        """All labels in order; entries are read where the set doesn't keep them apart."""
        kept = {part: _kept(one, len(self.parts[part])) for part, one in self._sets.items()}
        first_part, first_place = self._places[0]
        known = kept[first_part]
        if known is not None and not np.array_equal(_plain(known[first_place]), _plain(self.at(0)[1])):
            kept = dict.fromkeys(kept)  # entries are changed when they are taken
        found = []
        for position, (part, place) in enumerate(self._places):
            known = kept[part]
            label = self.at(position)[1] if known is None else known[place]
            if label is None:
                return None
            found.append(_plain(label))
        return found

    def classes(self) -> tuple[str, ...]:
        """Names of the classes, where the set knows them."""
        train = self._sets["train"]
        features = getattr(train, "features", None)
        if isinstance(features, Mapping):
            key = next((key for key in LABEL_KEYS if key in features), None)
            names = getattr(features[key], "names", None) if key else None
        else:
            names = getattr(train, "classes", None)
        return tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()


def _kept(data_set: Any, count: int) -> Any:
    """Labels by entry without reading entries: an attribute of torchvision's sets, a column of Hugging Face's."""
    columns = getattr(data_set, "column_names", None)
    if isinstance(columns, list):
        key = next((key for key in LABEL_KEYS if key in columns), None)
        return None if key is None else list(data_set[key])
    for name in _TARGETS:
        values: Any = getattr(data_set, name, None)
        if (isinstance(values, (list, tuple)) or is_array(values)) and len(values) == count:
            return list(values)
    return None


def _plain(label: Any) -> NDArray[Any]:
    array = to_numpy(label) if is_array(label) else np.asarray(label)
    return array.astype(np.int64) if array.dtype == bool else array


def _stacked(values: list[NDArray[Any]], name: str, what: str) -> NDArray[Any]:
    shapes = {value.shape for value in values}
    if len(shapes) > 1:
        raise DataError(
            f"The {what} of {name} have different shapes: {', '.join(map(str, sorted(shapes)[:3]))}.",
            "Bring them to one length or size first.",
        )
    return np.stack(values)


def _is_picture(value: Any) -> bool:
    if hasattr(value, "convert") and hasattr(value, "mode"):  # Pillow's
        return True
    return is_array(value) and to_numpy(value).dtype == np.uint8 and value.ndim in (2, 3)


def _pixels(value: Any) -> NDArray[np.uint8]:
    """An image as (H, W, 3)."""
    if not _is_picture(value):
        raise ValueError(f"it is a {type(value).__name__}, not an image")
    if not is_array(value):
        return rgb(value)
    array: NDArray[np.uint8] = to_numpy(value)
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[2] not in (1, 3) and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.shape[2] not in (1, 3):
        raise ValueError(f"its shape is {array.shape}")
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def _pictures(entries: _Entries, name: str, licence: str) -> Pictures:
    found = entries.labels()
    dense = found is not None and found[0].ndim >= 2
    labels = None
    if found is not None and not dense:
        labels = check_labels(_stacked(found, name, "labels"), len(entries), name=name)
    classes = () if labels is not None and labels.dtype.kind == "f" else entries.classes()
    if labels is not None and labels.dtype.kind == "i":
        classes = classes or tuple(map(str, range(int(labels.max()) + 1)))
        if labels.max() >= len(classes):
            raise DataError(f"{name} has the label {labels.max()}, and {len(classes)} classes are named.")
    return Pictures(
        name=name,
        where=name,
        read=lambda position: _pixels(entries.at(position)[0]),
        describe=entries.describe,
        parts=entries.parts,
        labels=labels,
        classes=classes,
        masks=(lambda position: _plain(entries.at(position)[1])) if dense else None,
        digest=digest(labels, *(_pixels(entries.at(one)[0]) for one in range(min(len(entries), _TOLD_BY)))),
        licence=licence,
    )


def _tensors(entries: _Entries, name: str, licence: str, split: Split, limit: int | None) -> Data:
    own = tuple(sorted({*entries.parts} - {"train"}))
    part = None if split in entries.parts or "test" in own else split
    wanted = entries.parts.get(split or "train", entries.parts["train"])
    rows = [entries.at(int(position)) for position in (wanted[:limit] if part is None else wanted)]
    inputs = _stacked([_plain(one) for one, _ in rows], name, "inputs")
    given = [label for _, label in rows]
    labels = None if any(label is None for label in given) else _stacked(list(map(_plain, given)), name, "labels")
    made = tensors_from_arrays(
        inputs, labels, name=name, classes=entries.classes() or None, split=part, limit=limit, licence=licence
    )
    return replace(made, own_parts=own)
