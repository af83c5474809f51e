"""One batch, with the name and digest that go into a protocol, from whatever the user has."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot._types import InputSpec, TaskSpec
from subshot.data._batches import batch_from
from subshot.data._dataset import DATASETS
from subshot.data._geometry import Size, check_memory, check_size
from subshot.data._images import OUTPUTS_WITHOUT_CLASSES, ImageData, Samples, digest, take
from subshot.data._load import is_image_folder, load_images
from subshot.data._unreal import REAL, check_kind
from subshot.data._unreal import unreal as replace_batch
from subshot.errors import DataError, OptionError

# A random batch is drawn from this many images, the first in the set's order, which is random itself.
_POOL = 5_000
_FOLDER_POOL = 256

# A name, a path, an ImageData, or a user's own arrays, tensors or loader.
DataLike = Any


@dataclass(frozen=True, eq=False)
class TakenBatch:
    """One batch and where it is from.

    Attributes:
        name: Name of the data.
        samples: ``random``, ``first`` or ``given``.
        inputs: (S, ...), float32 images (S, C, H, W) or tokens.
        labels: (S,) int64, or ``None``.
        task: What a network for it is built for.
        digest: First 16 hex digits of the SHA-256 of inputs and labels.
    """

    name: str
    samples: str
    inputs: NDArray[Any]
    labels: NDArray[np.int64] | None
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
        data: Name of a set, path, :class:`ImageData`, a user's arrays or tensors ``inputs`` or ``(inputs, labels)``, or
            a loader that yields such batches.
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
    if isinstance(data, (str, Path)):
        folder = not (isinstance(data, str) and data in DATASETS) and is_image_folder(Path(data))
        image_size = image_size or (folder_size if folder else None)
        pool = _FOLDER_POOL if folder else _POOL
        limit = _limit(Path(data), batch_size, samples, pool)
        # Photographs are shrunk while they are read, and no more of them are read than a fair draw needs.
        data = load_images(data, limit=limit, image_size=image_size if folder else None)
    if isinstance(data, ImageData):
        how: Samples = "first" if samples == "first" else "random"
        check_memory(f"A batch of {data.name}", batch_size, check_size(image_size or data.image_size))
        inputs, labels = take(data, batch_size, samples=how, seed=seed, image_size=image_size)
        return TakenBatch(data.name, samples, inputs, labels, data.task(image_size), digest(inputs, labels))
    if image_size is not None:
        raise OptionError(f"image_size {image_size} was given for tensors.", "Give tensors of the wanted size.")
    own, labels = batch_from(data, batch_size)
    return TakenBatch("given", "given", own, labels, _task(own, labels), digest(own, labels))


def _limit(path: Path, batch_size: int, samples: str, pool: int) -> int | None:
    """How many images to read; all of a file of arrays, which may be sorted by class and is read whole anyway."""
    if samples == "first":
        return max(1, batch_size)
    return None if path.suffix == ".npz" else max(batch_size, pool)


def _task(inputs: NDArray[Any], labels: NDArray[np.int64] | None) -> TaskSpec:
    """What the tensors say about the task; without labels some head is needed."""
    outputs = OUTPUTS_WITHOUT_CLASSES if labels is None else max(2, int(labels.max()) + 1)
    loss = "none" if labels is None else "cross_entropy"
    if inputs.ndim == 4:
        if inputs.shape[1] not in (1, 3) and inputs.shape[3] in (1, 3):
            raise DataError(
                f"The images of shape {inputs.shape} look like (N, H, W, C).", "Permute them to (N, C, H, W)."
            )
        _, channels, height, width = inputs.shape
        return replace(TaskSpec.images(channels, height, width, classes=outputs), loss=loss)
    tokens = inputs.dtype.kind == "i"
    spec = InputSpec(
        "tokens" if tokens else "inputs",
        inputs.shape[1:],
        str(inputs.dtype),
        int(inputs.max()) + 1 if tokens else None,
    )
    return TaskSpec((spec,), outputs, loss)
