"""Batches from what a user already has."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from subshot.data import batch_from, take_batch
from subshot.errors import DataError, OptionError

X = np.random.default_rng(0).normal(size=(10, 3, 4, 4)).astype(np.float32)
Y = np.arange(10) % 4


def test_arrays_and_tensors() -> None:
    for x, y in ((X, Y), (torch.from_numpy(X), torch.from_numpy(Y))):
        inputs, labels = batch_from((x, y), 6)
        np.testing.assert_array_equal(inputs, X[:6])
        np.testing.assert_array_equal(labels, Y[:6])
        assert labels is not None
        assert labels.dtype == np.int64
        inputs, labels = batch_from(x)
        np.testing.assert_array_equal(inputs, X)
        assert labels is None
        assert batch_from((x, None))[1] is None


def test_tokens_keep_their_type_and_half_precision_does_not() -> None:
    assert batch_from(np.zeros((4, 12), np.int64))[0].dtype == np.int64
    assert batch_from(torch.zeros(4, 12, dtype=torch.bfloat16))[0].dtype == np.float32
    assert batch_from(torch.zeros(4, 12, dtype=torch.float64))[0].dtype == np.float64
    assert batch_from(torch.ones(4, 12, requires_grad=True))[0].sum() == 48


def test_loaders_are_read_until_there_is_enough() -> None:
    pairs = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=4)
    inputs, labels = batch_from(pairs, 7)
    np.testing.assert_array_equal(inputs, X[:7])
    np.testing.assert_array_equal(labels, Y[:7])
    assert len(batch_from(pairs)[0]) == 4
    alone = DataLoader(torch.from_numpy(X), batch_size=4)  # type: ignore[arg-type]
    np.testing.assert_array_equal(batch_from(alone, 9)[0], X[:9])

    def endless() -> Iterator[np.ndarray]:
        while True:
            yield X

    assert len(batch_from(endless(), 25)[0]) == 25


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((X, Y), "A batch of 11 was asked for, and 10 samples were given. Ask for at most 10"),
        ([(X[:4], Y[:4]), (X[4:8], Y[4:8])], "A batch of 11 was asked for, and 8 samples were given"),
        ([], "The loader yields no batch"),
        (7, "A batch can't be taken from a int"),
        ({"x": X}, "A batch can't be taken from a dict"),
        ("data.npz", "A batch can't be taken from a str"),
        ((X, Y, Y), "A tuple of 3 was given"),
        ((X, Y[:9]), r"a batch has 10 samples and 9 labels"),
        ((X, Y.astype(str)), "of type <U"),
        ((X, np.zeros((10, 3, 3), int)), r"and its images 4 x 4 pixels"),
        ((X, [1] * 10), "The labels of a batch are a list"),
        ((X * 255).astype(np.uint8), "inputs of a batch are of type uint8.*images_from_arrays"),
        (np.where(X > 2, np.nan, X), r"\d+ of the 480 input values of a batch are not finite"),
        (np.float32(1) + X[0, 0, 0], r"inputs of a batch have shape \(4,\)"),
        ([X, X[:, :1]], "batches of different shapes"),
        ([(X, Y), X], "labels with some batches only"),
        (["ab"], "The inputs of a batch are a str"),
    ],
)
def test_what_is_no_batch(source: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        batch_from(source, 11)


def test_no_batch_is_smaller_than_one() -> None:
    with pytest.raises(OptionError, match="given as 0"):
        batch_from(X, 0)


def test_classes_that_the_batch_lacks_still_count() -> None:
    inputs, labels = np.zeros((20, 3, 4, 4), dtype=np.float32), np.arange(20)
    batch = take_batch((inputs, labels), 4)
    assert batch.task.outputs == 20
    np.testing.assert_array_equal(batch.labels, [0, 1, 2, 3])
