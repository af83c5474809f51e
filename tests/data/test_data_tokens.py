"""Samples that are no images: tokens and rows of features."""

from pathlib import Path

import numpy as np
import pytest

from subshot._types import InputSpec
from subshot.data import TensorData, load_data, load_images, load_parts, take_batch, tensors_from_arrays
from subshot.errors import DataError, OptionError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 90, (20, 12))
Y = np.arange(20) % 4


def test_tokens_of_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "text.npz", x=X.astype(np.int32), y=Y, vocabulary=100)
    data = load_data(tmp_path / "text.npz")
    assert isinstance(data, TensorData)
    assert data.inputs.dtype == np.int64
    np.testing.assert_array_equal(data.inputs, X)
    task = data.task()
    assert task.inputs == (InputSpec("tokens", (12,), "int64", 100),)
    assert (task.outputs, task.loss) == (4, "cross_entropy")
    batch = take_batch(tmp_path / "text.npz", 8, seed=3)
    assert (batch.name, batch.samples, batch.task) == ("text.npz", "random", task)
    rows = [X.tolist().index(row) for row in batch.inputs.tolist()]
    assert len(set(rows)) == 8
    np.testing.assert_array_equal(batch.labels, Y[rows])
    assert take_batch(tmp_path / "text.npz", 8, seed=3).digest == batch.digest
    assert take_batch(tmp_path / "text.npz", 8, seed=4).digest != batch.digest
    first = take_batch(tmp_path / "text.npz", 8, samples="first")
    np.testing.assert_array_equal(first.inputs, X[:8])
    with pytest.raises(DataError, match=r"text\.npz holds no images, but tokens of shape \(12,\)"):
        load_images(tmp_path / "text.npz")
    with pytest.raises(OptionError, match="image_size"):
        take_batch(tmp_path / "text.npz", 8, image_size=8)
    with pytest.raises(DataError, match=r"A batch of 21 was asked for, and text\.npz has 20 samples"):
        take_batch(tmp_path / "text.npz", 21)


def test_without_a_vocabulary_the_largest_token_tells(tmp_path: Path) -> None:
    np.savez(tmp_path / "text.npz", x=X)
    data = load_data(tmp_path / "text.npz")
    assert data.task().inputs[0].vocabulary == X.max() + 1
    assert data.notes == (f"the vocabulary isn't named: {X.max() + 1}, by the largest token",)
    assert data.task().loss == "none"


def test_rows_of_features() -> None:
    x = RNG.normal(size=(20, 5))
    data = tensors_from_arrays(x, x[:, 0])
    assert data.task().inputs == (InputSpec("inputs", (5,), "float32"),)
    assert (data.task().outputs, data.task().loss) == (1, "mse")
    assert load_data((x, Y)).task().outputs == 4


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X - 1}, "tokens of bad.npz run from -1 to"),
        ({"x": X, "vocabulary": 50}, r"run from 0 to 89, and the vocabulary has 50\. Tokens are numbered"),
        ({"x": X, "vocabulary": 0}, "vocabulary in .*bad.npz is no whole number from 1 on"),
        ({"x": X, "vocabulary": np.ones(3, int)}, "is no whole number from 1 on"),
        ({"x": X / 7, "vocabulary": 5}, "holds floats and a vocabulary"),
        ({"x": np.where(X > 50, np.nan, 1.0)}, r"\d+ of the 240 input values of bad.npz are not finite"),
        ({"x": X > 3}, "samples of bad.npz are of type bool"),
        ({"x": X[:0]}, r"samples of bad.npz have shape \(0, 12\)"),
        ({"x": X, "y": Y[:3]}, "bad.npz has 20 samples and 3 labels"),
    ],
)
def test_what_are_no_tokens(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / "bad.npz")


@pytest.mark.parametrize("name", ["random_tokens", "zipf_tokens"])
def test_made_tokens(name: str) -> None:
    data = load_data(name)
    assert isinstance(data, TensorData)
    assert data.inputs.shape == (1024, 128)
    assert data.task().inputs == (InputSpec("tokens", (128,), "int64", 30_522),)
    assert data.task().outputs == 2
    assert data.digest == load_data(name).digest
    counts = np.sort(np.bincount(data.inputs.ravel(), minlength=30_522))[::-1]
    # Of Zipf's law, the share of the 130 most frequent is the quotient of two harmonic numbers.
    harmonic = np.cumsum(1 / np.arange(1, 30_523))
    expected = harmonic[129] / harmonic[-1] if name == "zipf_tokens" else 130 / 30_522
    assert counts[:130].sum() / counts.sum() == pytest.approx(expected, abs=0.012)
    assert data.labels is not None
    assert abs(data.labels.mean() - 0.5) < 0.05
    assert len(load_data(name, split="test")) == 205
    parts = load_parts(name)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (716, 103, 205)
