"""Images a user has as arrays, in memory or in a .npz file."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subshot.data import images_from_arrays, load_images, take
from subshot.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (10, 5, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (10, 5, 7, 3), dtype=np.uint8)
LABELS = np.arange(10) % 3


def save(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@given(
    count=st.integers(2, 6),
    height=st.integers(4, 8),
    width=st.integers(4, 8),
    form=st.sampled_from(["NHW", "NHWC", "NCHW"]),
    channels=st.sampled_from([1, 3]),
    floats=st.sampled_from([None, np.float16, np.float32, np.float64]),
    compressed=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    height: int,
    width: int,
    form: str,
    channels: int,
    floats: type | None,
    compressed: bool,
    seed: int,
) -> None:
    channels = 1 if form == "NHW" else channels
    images = np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    x = images[..., 0] if form == "NHW" else images if form == "NHWC" else images.transpose(0, 3, 1, 2)
    x = x if floats is None else (x / 255).astype(floats)
    path = tmp_path_factory.mktemp("npz") / "mine.npz"
    (np.savez_compressed if compressed else np.savez)(path, x=x, y=np.arange(count, dtype=np.int16))
    data = load_images(path)
    np.testing.assert_array_equal(data.images, images)
    assert data.labels is not None
    assert data.labels.tolist() == list(range(count))
    assert data.name == "mine.npz"


def test_labels_are_optional(tmp_path: Path) -> None:
    data = load_images(save(tmp_path / "x.npz", x=COLOUR))
    assert data.labels is None
    assert data.classes == ()
    assert take(data, 10)[0].shape == (10, 3, 5, 7)


def test_everything_is_there_for_scoring_and_parts_for_training(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", x=COLOUR, y=LABELS)
    whole, train, test = (load_images(path, split=part) for part in (None, "train", "test"))  # type: ignore[arg-type]
    assert (len(whole), len(train), len(test)) == (10, 7, 3)
    assert whole.classes == ("0", "1", "2")
    assert (whole.mean, whole.std) == (train.mean, train.std) == (test.mean, test.std)
    np.testing.assert_allclose(whole.mean, train.images.mean(axis=(0, 1, 2)) / 255, atol=1e-4)
    assert len(load_images(path, limit=4)) == 4


def test_named_classes() -> None:
    data = images_from_arrays(GREY, LABELS, classes=["cat", "dog", "fox", "owl"], name="zoo")
    assert data.classes == ("cat", "dog", "fox", "owl")
    assert data.task(channels=1).outputs == 4
    with pytest.raises(DataError, match="zoo has the label 2, and 2 classes are named"):
        images_from_arrays(GREY, LABELS, classes=["cat", "dog"], name="zoo")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (COLOUR[0, 0], r"have 2 dimensions, shape \(7, 3\)"),
        (COLOUR[None], "have 5 dimensions"),
        (np.zeros((10, 5, 5, 7), np.uint8), r"shape \(10, 5, 5, 7\): neither 7 nor 5 is a number of channels"),
        (np.zeros((10, 7, 32, 32), np.uint8), "neither 32 nor 7 is a number of channels"),
        (np.zeros((10, 3, 8, 1), np.uint8), "whose channels may be the second or the last number"),
        (np.zeros((0, 5, 5), np.uint8), r"holds no image: its shape is \(0, 5, 5\)"),
        (COLOUR.astype(np.int64), "are of type int64. Give uint8, or floats"),
        (COLOUR.astype(np.float32), r"are floats from 0 to 255"),
        (COLOUR / 255 - 0.5, r"are floats from -0\.5 to 0\.5\. .*not normalised"),
        (np.where(COLOUR > 250, np.nan, 0.5), r"\d+ of the 1,050 pixels of arrays are not finite"),
        (np.full((4, 5, 5), np.inf), "100 of the 100 pixels"),
        (np.full((4, 5, 5), 3, np.uint8), "All pixels of arrays have the same value"),
        (np.array(["a", "b"]), "have 1 dimensions"),
    ],
)
def test_images_that_cannot_be_used(x: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        images_from_arrays(x)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (LABELS[:9], "arrays has 10 samples and 9 labels"),
        (LABELS.astype(str), "labels of arrays are of type <U"),
        (np.full(10, 0.5), r"All labels of arrays are 0\.5"),
        (np.where(LABELS > 1, np.inf, 0.5), r"3 of the 10 labels of arrays are not finite"),
        (np.zeros((10, 6, 7)), r"shape \(10, 6, 7\), and its images 5 x 7 pixels"),
        (np.zeros((10, 2, 6, 7)), r"shape \(10, 2, 6, 7\), and its images 5 x 7 pixels"),
        (np.zeros((10, 2, 5, 7), int), r"have shape \(10, 2, 5, 7\) and type int64"),
        (np.zeros((10, 0)), r"have shape \(10, 0\)"),
        (LABELS > 0, "are of type bool"),
        (np.eye(10, dtype=int), r"labels of arrays have shape \(10, 10\)"),
        (LABELS - 1, "run from -1 to 1"),
        (LABELS * 10**6, "run from 0 to 2000000"),
        (LABELS * 0, "All labels of arrays are 0: a single class"),
    ],
)
def test_labels_that_cannot_be_used(y: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        images_from_arrays(COLOUR, y)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no array named x; it has images, labels"):
        load_images(save(tmp_path / "names.npz", images=COLOUR, labels=LABELS))
    with pytest.raises(DataError, match=r"objects\.npz can't be read: .*[Oo]bject.* plain arrays, without objects"):
        load_images(save(tmp_path / "objects.npz", x=np.array([{"a": 1}], dtype=object)))
    whole = save(tmp_path / "whole.npz", x=COLOUR).read_bytes()
    for name, content in {
        "cut.npz": whole[:300],
        "text.npz": b"hello",
        "none.npz": b"",
        "pickle.npz": pickle.dumps({"x": 1}),
        "bits.npz": whole[:200] + bytes([whole[200] ^ 255]) + whole[201:],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} can't be read"):
            load_images(tmp_path / name)
    np.save(tmp_path / "array.npy", COLOUR)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(DataError, match=r"array\.npz is a single array"):
        load_images(tmp_path / "array.npz")
