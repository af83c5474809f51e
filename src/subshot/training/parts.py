"""The parts of the data that a training needs: to learn from, to watch, and to judge at the end."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from subshot._types import TaskSpec
from subshot.data._images import ImageData
from subshot.data._labels import head_of
from subshot.data._load import DataLike, is_image_folder
from subshot.data._parts import load_parts
from subshot.errors import DataError
from subshot.training._samples import Samples, samples_from


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one set.

    Attributes:
        task: What networks for it are built and trained for.
        train: What weights are learnt from.
        validation: What decides when they are best.
        test: What they are judged by in the end; ``None`` if there is no such part.
        grey: Whether the samples are grey images, which may be written and aren't mirrored.
        dense: Whether there is a label for every pixel, which augmentation would have to move too.
        facts: What a user of the network needs: means, deviations and names of classes, as far as they are known.
    """

    task: TaskSpec
    train: Samples
    validation: Samples
    test: Samples | None = None
    grey: bool = False
    dense: bool = False
    facts: Mapping[str, Any] | None = None


def parts_from(
    data: DataLike, task: TaskSpec, *, seed: int = 0, validation: float = 0.1, limit: int | None = None
) -> Parts:
    """Read data in three parts; see :func:`subshot.data.load_parts`.

    Args:
        data: Name of a set, path, data that was read already, or ``(inputs, labels)``.
        task: What the network was built for; its loss is what the labels call for.
        seed: Seed of the parts that the data doesn't come with.
        validation: Share of the samples that is for validation.
        limit: Divide at most this many samples, the first.

    Raises:
        OptionError: A share that is none, or leaves one of the parts empty.
        DataError: No labels, or data that can't be read or doesn't fit the task.
    """
    folder = isinstance(data, (str, Path)) and is_image_folder(Path(data))
    size = task.image_shape[1:] if folder else None
    read = load_parts(data, seed=seed, validation=validation, limit=limit, image_size=size)
    task = replace(task, loss=head_of(read.train.labels)[1])
    classes = read.train.classes
    wanted, _ = head_of(read.train.labels, len(classes) or task.outputs)
    if wanted != task.outputs:
        raise DataError(
            f"{read.train.name} needs {wanted} outputs, and the network has {task.outputs}.",
            "Give the data that the search was for.",
        )
    train, watched, test = (samples_from(one, task) for one in (read.train, read.validation, read.test))
    facts: dict[str, Any] = {"classes": list(classes)}
    grey = False
    if isinstance(read.train, ImageData):
        grey = read.train.images.shape[3] == 1
        facts |= {"mean": list(read.train.mean), "std": list(read.train.std)}
    return Parts(task, train, watched, test, grey=grey, dense=train.labels.ndim > 2, facts=facts)
