"""One batch, with the name and digest that go into a protocol, from whatever the user has."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from subshot._types import TaskSpec
from subshot.data._batches import batch_from
from subshot.data._dataset import DATASETS, Data
from subshot.data._geometry import Size, check_memory, check_size
from subshot.data._images import ImageData, Samples, choose, digest, take
from subshot.data._labels import head_of
from subshot.data._load import DataLike as DataLike
from subshot.data._load import is_image_folder, load_data
from subshot.data._map_style import is_map_style
from subshot.data._tensors import TensorData, input_spec
from subshot.data._torchvision import PREFIX
from subshot.data._unreal import REAL, check_kind
from subshot.data._unreal import unreal as replace_batch
from subshot.errors import DataError, OptionError

# A random batch is drawn from this many images, the first in the set's order, which is random itself.
_POOL = 5_000
_FOLDER_POOL = 256


@dataclass(frozen=True, eq=False)
class TakenBatch:
    """One batch and where it is from.

    Attributes:
        name: Name of the data.
        samples: ``random``, ``first`` or ``given``.
        inputs: (S, ...), float32 images (S, C, H, W) or tokens.
        labels: (S,) int64 for classes, (S, K) float32 for values, (S, H, W) int64 or (S, C, H, W) float32 for each
            pixel, or ``None``.
        task: What a network for it is built for.
        digest: First 16 hex digits of the SHA-256 of inputs and labels.
    """

    name: str
    samples: str
    inputs: NDArray[Any]
    labels: NDArray[Any] | None
    task: TaskSpec
    digest: str


def take_batch(
    data: DataLike,
    batch_size: int,
    *,
    samples: str = "random",
    seed: int = 0,
    image_size: Size | None = None,
    folder_size: Size | None = None,
    unreal: str = REAL,
) -> TakenBatch:
    """Take one batch.

    Args:
        data: Name of a set, path, data read already, another library's data set, a user's arrays or tensors ``inputs``
            or ``(inputs, labels)``, or a loader that yields such batches; see :func:`subshot.data.load_data`.
        batch_size: Number of samples S.
        samples: ``random`` by the seed, or ``first``. A user's own tensors and loaders are taken from the front.
        seed: Seed of the draw.
        image_size: Height and width; the set's own if not given.
        folder_size: Height and width for image folders where none is given: photographs have no common size.
        unreal: What to replace the batch by, ``none`` to keep it; see :func:`subshot.data._unreal.unreal`.

    Raises:
        DataError: The data is missing, damaged, too small or of the wrong kind.
        OptionError: A setting out of range, or an image size for tensors that have theirs.
        UnknownNameError: There is no such kind of unreal data.
    """
    check_kind(unreal)
    batch = _real_batch(data, batch_size, samples, seed, image_size, folder_size)
    return replace_batch(batch, unreal, seed=seed)


def _real_batch(
    data: DataLike, batch_size: int, samples: str, seed: int, image_size: Size | None, folder_size: Size | None
) -> TakenBatch:
    if samples not in ("random", "first"):
        raise OptionError(f"samples was given as {samples!r}.", "It is 'random' or 'first'.")
    found = _read(data, batch_size, samples, image_size, folder_size)
    if isinstance(found, ImageData):
        how: Samples = "first" if samples == "first" else "random"
        check_memory(f"A batch of {found.name}", batch_size, check_size(image_size or found.image_size))
        inputs, labels = take(found, batch_size, samples=how, seed=seed, image_size=image_size)
        return TakenBatch(found.name, samples, inputs, labels, found.task(image_size), digest(inputs, labels))
    if image_size is not None:
        raise OptionError(f"image_size {image_size} was given for tensors.", "Give tensors of the wanted size.")
    if found is not None:
        chosen = choose(len(found), batch_size, samples=samples, seed=seed, name=found.name)
        some = found.select(chosen)
        return TakenBatch(found.name, samples, some.inputs, some.labels, found.task(), some.digest)
    own, labels = batch_from(data, batch_size)
    # Where all labels are at hand they say how many classes there are; a batch may lack the last ones.
    known = batch_from(data)[1] if isinstance(data, tuple) else labels
    return TakenBatch("given", "given", own, labels, _task(own, known), digest(own, labels))


def _read(
    data: DataLike, batch_size: int, samples: str, image_size: Size | None, folder_size: Size | None
) -> Data | None:
    """What a batch is drawn from; ``None`` for a user's own arrays and loaders, which are taken from the front."""
    if isinstance(data, (ImageData, TensorData)):
        return data
    named = isinstance(data, str) and (data in DATASETS or data.startswith(PREFIX))
    path = isinstance(data, (str, Path)) and not named
    if not named and not path and not is_map_style(data) and not isinstance(data, Mapping):
        return None
    # Photographs are shrunk while they are read, and no more of them are read than a fair draw needs.
    photographs = path and is_image_folder(Path(data))
    limit = _limit(data, batch_size, samples, _FOLDER_POOL if photographs else _POOL)
    return load_data(data, limit=limit, image_size=image_size or folder_size if photographs else None)


def _limit(data: DataLike, batch_size: int, samples: str, pool: int) -> int | None:
    """How many samples to read; all of a file of arrays, which may be sorted by class and is read whole anyway."""
    if samples == "first":
        return max(1, batch_size)
    return None if str(data).endswith(".npz") else max(batch_size, pool)


def _task(inputs: NDArray[Any], labels: NDArray[Any] | None) -> TaskSpec:
    """What the tensors say about the task; without labels some head is needed."""
    if inputs.ndim == 4 and inputs.shape[1] not in (1, 3) and inputs.shape[3] in (1, 3):
        raise DataError(f"The images of shape {inputs.shape} look like (N, H, W, C).", "Permute them to (N, C, H, W).")
    return TaskSpec((input_spec(inputs),), *head_of(labels))
