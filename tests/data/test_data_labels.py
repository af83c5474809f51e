"""Labels that are no classes: numbers to predict, and a label for every pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch

from subshot.data import batch_from, images_from_arrays, label_kind, load_images, prepare, take_batch
from subshot.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
CLASSES = np.arange(12) % 3
VALUES = RNG.normal(size=12)
SEVERAL = RNG.normal(size=(12, 4))
MASKS = RNG.integers(0, 5, (12, 8, 8))
MAPS = RNG.normal(size=(12, 2, 8, 8))


@pytest.mark.parametrize(
    ("y", "kind", "shape", "outputs", "loss"),
    [
        (None, None, None, 10, "none"),
        (CLASSES, "classes", (12,), 3, "cross_entropy"),
        (VALUES, "numbers", (12, 1), 1, "mse"),
        (SEVERAL, "numbers", (12, 4), 4, "mse"),
        (MASKS, "mask", (12, 8, 8), 5, "cross_entropy"),
        (MAPS[:, 0], "map", (12, 1, 8, 8), 1, "mse"),
        (MAPS, "map", (12, 2, 8, 8), 2, "mse"),
    ],
)
def test_the_labels_decide_the_task(
    tmp_path: Path,
    y: np.ndarray | None,
    kind: str | None,
    shape: tuple[int, ...] | None,
    outputs: int,
    loss: str,
) -> None:
    np.savez(tmp_path / "x.npz", x=X, **({} if y is None else {"y": y}))
    data = load_images(tmp_path / "x.npz")
    assert label_kind(data.labels) == kind
    assert (data.labels is None) if shape is None else (data.labels is not None and data.labels.shape == shape)
    task = data.task()
    assert (task.outputs, task.loss) == (outputs, loss)
    # The same from tensors in memory, and as a batch of a path.
    tensors = torch.from_numpy(X).permute(0, 3, 1, 2).float()
    own = take_batch(tensors if y is None else (tensors, torch.from_numpy(y)), 12)
    of_path = take_batch(tmp_path / "x.npz", 12, samples="first")
    for batch in (own, of_path):
        assert (batch.task.outputs, batch.task.loss) == (outputs, loss)
        if data.labels is not None:
            assert batch.labels is not None
            assert batch.labels.dtype == data.labels.dtype
            np.testing.assert_array_equal(batch.labels, data.labels)


def test_a_network_learns_from_each_kind() -> None:
    """The shapes are those that torch's losses take, without a warning."""
    from torch.nn import functional as F

    for y in (CLASSES, VALUES, SEVERAL, MASKS, MAPS):
        data = images_from_arrays(X, y)
        inputs, labels = prepare(data, range(12))
        dense = label_kind(labels) in ("mask", "map")
        network = torch.nn.Conv2d(3, data.task().outputs, 3, padding=1)
        output = network(torch.from_numpy(inputs))
        output = output if dense else output.mean(dim=(2, 3))
        loss = {"cross_entropy": F.cross_entropy, "mse": F.mse_loss}[data.task().loss]
        assert torch.isfinite(loss(output, torch.from_numpy(labels)))


def test_values_are_divided_into_parts() -> None:
    train, test = (images_from_arrays(X, VALUES, split=part) for part in ("train", "test"))  # type: ignore[arg-type]
    assert (len(train), len(test)) == (10, 2)
    assert train.labels is not None
    assert test.labels is not None
    assert sorted([*train.labels[:, 0], *test.labels[:, 0]]) == sorted(VALUES.astype(np.float32))


def test_labels_of_pixels_follow_their_image() -> None:
    """A pixel's class is told by its colour, before and after any change of size."""
    corners = np.zeros((2, 28, 28, 3), np.uint8)
    corners[:, :14, 14:] = 200
    masks = (corners[..., 0] > 0).astype(np.int64)
    maps = np.float32(corners[:, None, :, :, 0])
    for size in (56, 32, 14, (28, 42)):
        data = images_from_arrays(corners, masks).resized(size)
        assert data.labels is not None
        assert data.images.shape[1:3] == data.labels.shape[1:]
        bright = data.images[..., 0] > 100
        np.testing.assert_array_equal(bright, data.labels == 1)
        inputs, labels = prepare(images_from_arrays(corners, masks), [1], image_size=size)
        assert inputs.shape[2:] == labels.shape[1:]  # type: ignore[union-attr]
        np.testing.assert_array_equal(labels, data.labels[1:])
        # Values change as those of the image do: no frame of pixels without a label.
        values = images_from_arrays(corners, maps).resized(size).labels
        assert values is not None
        np.testing.assert_allclose(values[:, 0], data.images[..., 0], atol=1)


def test_unreal_data_has_classes_only() -> None:
    data = images_from_arrays(X, VALUES)
    with pytest.raises(DataError, match=r"labels of arrays are no classes but of shape \(12, 1\).*keep the batch"):
        take_batch(data, 12, unreal="random_labels")
    assert take_batch(images_from_arrays(X, CLASSES), 12, unreal="random_labels").labels is not None


def test_labels_of_pixels_need_pixels() -> None:
    with pytest.raises(DataError, match=r"shape \(12, 8, 8\), and its samples are no images"):
        batch_from((np.zeros((12, 5), np.float32), MASKS))
