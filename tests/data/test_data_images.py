"""Batches: which images, what size, what numbers."""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from subshot._types import InputSpec, TaskSpec
from subshot.data import ImageData, digest, prepare, take
from subshot.data._geometry import WIDEST_FRAME, check_memory, fit
from subshot.data._images import statistics
from subshot.data._split import divide
from subshot.errors import DataError, OptionError


def make(count: int = 20, side: int = 4, channels: int = 3, *, labels: bool = True, **changes: object) -> ImageData:
    """Images whose first pixel tells their number."""
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    values: dict[str, object] = {
        "name": "made",
        "images": images,
        "labels": np.arange(count, dtype=np.int64) % 7 if labels else None,
        "classes": tuple("abcdefg"),
        "mean": (0.5, 0.4, 0.3)[:channels],
        "std": (0.25, 0.2, 0.1)[:channels],
        "licence": "none",
    }
    return ImageData(**{**values, **changes})  # type: ignore[arg-type]


def numbers(inputs: NDArray[np.float32], data: ImageData) -> list[int]:
    return [round(float(value * data.std[0] + data.mean[0]) * 255) for value in inputs[:, 0, 0, 0]]


# --- which images ----------------------------------------------------------------------------------------------------


def test_first_takes_the_first_in_order() -> None:
    data = make()
    inputs, labels = take(data, 9, samples="first", seed=5)
    assert numbers(inputs, data) == list(range(9))
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]


@given(batch_size=st.integers(1, 20), seed=st.integers(0, 2**40))
def test_random_takes_different_images_with_their_labels(batch_size: int, seed: int) -> None:
    data = make()
    inputs, labels = take(data, batch_size, seed=seed)
    taken = numbers(inputs, data)
    assert len(set(taken)) == batch_size
    assert labels is not None
    assert labels.tolist() == [number % 7 for number in taken]
    again, _ = take(data, batch_size, seed=seed)
    np.testing.assert_array_equal(inputs, again)


def test_random_depends_on_the_seed_and_reaches_every_image() -> None:
    data = make()
    draws = [tuple(numbers(take(data, 3, seed=seed)[0], data)) for seed in range(60)]
    assert len(set(draws)) > 50
    assert set().union(*draws) == set(range(20))


def test_without_labels_there_are_none() -> None:
    assert take(make(labels=False), 4)[1] is None


@pytest.mark.parametrize("samples", ["first", "random"])
def test_more_than_there_are_names_both_numbers(samples: str) -> None:
    with pytest.raises(
        DataError, match=r"A batch of 21 was asked for, and made has 20 images here\. Ask for at most 20"
    ):
        take(make(), 21, samples=samples)  # type: ignore[arg-type]


def test_refuses_what_it_cannot_understand() -> None:
    with pytest.raises(OptionError, match="batch size was given as 0"):
        take(make(), 0)
    with pytest.raises(OptionError, match="'last'"):
        take(make(), 1, samples="last")  # type: ignore[arg-type]
    for size in (0, (3,), (2, -1), (1.5, 2), True):
        with pytest.raises(OptionError, match="is no image size"):
            take(make(), 1, image_size=size)  # type: ignore[arg-type]


# --- what numbers ----------------------------------------------------------------------------------------------------


def test_normalises_each_channel() -> None:
    data = make()
    inputs, _ = prepare(data, [3, 1])
    assert inputs.dtype == np.float32
    assert inputs.shape == (2, 3, 4, 4)
    for row, index in enumerate((3, 1)):
        for channel in range(3):
            expected = (data.images[index, :, :, channel] / 255.0 - data.mean[channel]) / data.std[channel]
            np.testing.assert_allclose(inputs[row, channel], expected, rtol=1e-6, atol=1e-6)


def test_grey_is_repeated_unless_one_channel_is_asked_for() -> None:
    data = make(channels=1)
    three, _ = take(data, 5, samples="first")
    one, _ = take(data, 5, samples="first", channels=1)
    assert three.shape == (5, 3, 4, 4)
    assert one.shape == (5, 1, 4, 4)
    for channel in range(3):
        np.testing.assert_array_equal(three[:, channel], one[:, 0])


@pytest.mark.parametrize(("own", "asked"), [(3, 1), (3, 4), (1, 7)])
def test_another_number_of_channels_is_refused(own: int, asked: int) -> None:
    with pytest.raises(DataError, match=f"made have {own} channels?, and {asked} were asked for"):
        take(make(channels=own), 2, channels=asked)


def test_a_frame_is_black_before_normalisation() -> None:
    data = make(side=4)
    inputs, _ = take(data, 2, samples="first", image_size=6)
    expected = -np.array(data.mean) / np.array(data.std)
    np.testing.assert_allclose(inputs[0, :, 0, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(inputs[0, :, -1, -1], expected, rtol=1e-6)


def test_preferred_size_is_the_default() -> None:
    data = make(side=4, preferred_size=(8, 8))
    assert take(data, 2)[0].shape == (2, 3, 8, 8)
    assert take(data, 2, image_size=5)[0].shape == (2, 3, 5, 5)
    assert data.task().image_shape == (3, 8, 8)


def test_statistics_are_those_of_numpy() -> None:
    images = np.random.default_rng(1).integers(0, 256, (50, 5, 6, 3), dtype=np.uint8)
    mean, std = statistics(images, name="made")
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), atol=5.1e-5)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), atol=5.1e-5)


def test_a_channel_that_never_varies_has_deviation_one() -> None:
    images = np.random.default_rng(1).integers(0, 256, (50, 5, 6, 3), dtype=np.uint8)
    images[..., 1] = 51
    mean, std = statistics(images, name="made")
    assert (mean[1], std[1]) == (0.2, 1.0)
    with pytest.raises(DataError, match="All pixels of made have the same value"):
        statistics(np.full((3, 2, 2, 1), 9, dtype=np.uint8), name="made")


# --- size ------------------------------------------------------------------------------------------------------------


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    rows=st.integers(0, 2 * WIDEST_FRAME),
    columns=st.integers(0, 2 * WIDEST_FRAME),
    channels=st.sampled_from([1, 3]),
)
@settings(max_examples=50)
def test_a_thin_frame_is_black_and_central(height: int, width: int, rows: int, columns: int, channels: int) -> None:
    images = np.random.default_rng(height * 31 + width).integers(1, 256, (2, height, width, channels), dtype=np.uint8)
    fitted = fit(images, (height + rows, width + columns))
    assert fitted.shape == (2, height + rows, width + columns, channels)
    top, left = rows // 2, columns // 2
    np.testing.assert_array_equal(fitted[:, top : top + height, left : left + width], images)
    assert np.count_nonzero(fitted) == images.size


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (7, 5), (5, 40), (16, 32)])
def test_resizing_is_bilinear_with_antialiasing(channels: int, size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 14, 23, channels), dtype=np.uint8)
    tensor = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32))
    expected = F.interpolate(tensor, size, mode="bilinear", align_corners=False, antialias=True)
    got = fit(images, size).transpose(0, 3, 1, 2).astype(np.float64)
    # Pillow rounds to whole levels after each of its two passes.
    assert np.abs(got - expected.numpy()).max() <= 1.01


def test_nothing_is_done_where_the_size_is_right() -> None:
    images = make().images
    assert fit(images, (4, 4)) is images


def test_memory_is_checked_before_it_is_taken() -> None:
    check_memory("made", 1000, (32, 32))
    with pytest.raises(DataError, match=r"made would hold 10,000 images of 500 x 375 pixels, 5\.2 GiB in memory"):
        check_memory("made", 10_000, (500, 375))


# --- task and digest -------------------------------------------------------------------------------------------------


def test_task() -> None:
    images = (InputSpec("images", (3, 4, 4)),)
    assert make().task() == TaskSpec(images, 7, "cross_entropy")
    assert make(labels=False).task() == TaskSpec(images, 7, "none")
    assert make(labels=False, classes=()).task() == TaskSpec(images, 10, "none")
    assert make(channels=1).task((5, 6), channels=1).image_shape == (1, 5, 6)


def test_digest_tells_values_shapes_types_and_labels_apart() -> None:
    data = make()
    assert data.digest == make().digest == digest(data.images, data.labels)
    images = data.images.copy()
    images[-1, -1, -1, -1] ^= 1
    others = [
        digest(images, data.labels),
        digest(data.images, None),
        digest(data.images, data.labels[::-1]),  # type: ignore[index]
        digest(data.images.reshape(20, 4, 12), data.labels),
        digest(data.images.view(np.int8), data.labels),
    ]
    assert len({data.digest, *others}) == 6
    expected = hashlib.sha256(b"|u1(2, 2);" + bytes(range(4)) + b"none;").hexdigest()[:16]
    assert digest(np.arange(4, dtype=np.uint8).reshape(2, 2), None) == expected
    # A transposed view holds the same values in another order of memory.
    assert digest(images.transpose(1, 0, 2, 3)) == digest(images.transpose(1, 0, 2, 3).copy())


# --- parts -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5), min_size=2, max_size=200))
@settings(max_examples=60)
def test_made_parts_share_nothing_and_hold_a_fifth_of_each_class(values: list[int]) -> None:
    labels = np.array(values, dtype=np.int64)
    counts = np.bincount(labels)
    if counts.max() < 2:
        with pytest.raises(DataError, match="one image of each class"):
            divide(len(labels), labels, "test", name="made")
        return
    train, test = (divide(len(labels), labels, part, name="made") for part in ("train", "test"))  # type: ignore[arg-type]
    assert sorted([*train, *test]) == list(range(len(labels)))
    assert list(train) == sorted(train)
    for label, count in enumerate(counts):
        expected = 0 if count < 2 else max(1, round(0.2 * int(count)))
        assert np.count_nonzero(labels[test] == label) == expected


def test_everything_may_be_looked_at_before_training() -> None:
    labels = np.arange(10, dtype=np.int64) % 2
    assert divide(10, labels, None, name="made").tolist() == list(range(10))
    assert divide(10, None, "train", name="made").tolist() == list(range(10))
    with pytest.raises(DataError, match="made has no labels, so it has no test part"):
        divide(10, None, "test", name="made")
