"""A batch from whatever a user already has: arrays, tensors, or a loader that yields them."""

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot.data._labels import check_labels
from subshot.errors import DataError, OptionError

_HINT = "Give inputs, (inputs, labels), or an iterable of either, such as a DataLoader."


def batch_from(
    source: object, batch_size: int | None = None
) -> tuple[NDArray[np.floating | np.integer], NDArray[Any] | None]:
    """The first ``batch_size`` samples of a user's own arrays, tensors or loader.

    Args:
        source: Inputs as a NumPy array or torch tensor (S, ...); a tuple ``(inputs, labels)``; or an iterable, such
            as a DataLoader, that yields batches of either form (a list of two counts as a tuple there). Inputs are
            floats as the network expects them, already normalised, or int32 / int64 tokens.
        batch_size: Number of samples; ``None`` for all given, or the first batch of a loader.

    Returns:
        Inputs, (S, ...) of the type given (half-precision tensors become float32), and labels or ``None``: (S,) int64
        for classes, (S, K) float32 for values, (S, H, W) int64 or (S, C, H, W) float32 for each pixel.

    Raises:
        DataError: Another kind of object, inputs that aren't finite, uint8 images, labels that don't match, or too few
            samples; says what was given.
        OptionError: A batch size below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"The batch size was given as {batch_size}.", "It is a whole number from 1 on.")
    if is_array(source) or isinstance(source, tuple):
        inputs, labels = _pair(source)
    else:
        inputs, labels = _gather(source, 1 if batch_size is None else batch_size)
    if batch_size is not None and len(inputs) < batch_size:
        raise DataError(
            f"A batch of {batch_size:,} was asked for, and {len(inputs):,} samples were given.",
            f"Ask for at most {len(inputs):,}.",
        )
    return inputs[:batch_size], None if labels is None else labels[:batch_size]


def samples_from(source: object, *, most: int | None = None) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """All samples of a user's own arrays, tensors or loader, which is read until there are ``most``.

    Raises:
        DataError: As :func:`batch_from`.
    """
    if is_array(source) or isinstance(source, tuple):
        inputs, labels = _pair(source)
    else:
        inputs, labels = _gather(source, most)
    return inputs[:most], None if labels is None else labels[:most]


def _gather(source: object, enough: int | None) -> tuple[NDArray[Any], NDArray[Any] | None]:
    if not isinstance(source, Iterable) or isinstance(source, (str, bytes, dict)):
        raise DataError(f"A batch can't be taken from a {type(source).__name__}.", _HINT)
    inputs: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    for item in source:
        some, their_labels = _pair(tuple(item) if isinstance(item, list) else item)
        if inputs and (some.shape[1:] != inputs[0].shape[1:] or (their_labels is None) != (not labels)):
            raise DataError("The loader yields batches of different shapes, or labels with some batches only.", _HINT)
        inputs.append(some)
        if their_labels is not None:
            labels.append(their_labels)
        if enough is not None and sum(map(len, inputs)) >= enough:
            break
    if not inputs:
        raise DataError("The loader yields no batch.", _HINT)
    return np.concatenate(inputs), np.concatenate(labels) if labels else None


def _pair(value: object) -> tuple[NDArray[Any], NDArray[Any] | None]:
    if isinstance(value, tuple):
        if len(value) != 2:
            raise DataError(f"A tuple of {len(value)} was given as a batch.", _HINT)
        inputs = _inputs(value[0])
        return inputs, None if value[1] is None else _labels(value[1], inputs)
    return _inputs(value), None


def _inputs(value: object) -> NDArray[Any]:
    if not is_array(value):
        raise DataError(f"The inputs of a batch are a {type(value).__name__}.", _HINT)
    array = to_numpy(value)
    if array.ndim < 2 or 0 in array.shape:
        raise DataError(f"The inputs of a batch have shape {array.shape}.", "The first dimension counts the samples.")
    if array.dtype in (np.int32, np.int64):
        return array
    if array.dtype.kind != "f":
        raise DataError(
            f"The inputs of a batch are of type {array.dtype}.",
            "Give floats, normalised as the network expects them, or use images_from_arrays for uint8 images.",
        )
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise DataError(f"{bad:,} of the {array.size:,} input values of a batch are not finite numbers.")
    return array


def _labels(value: object, inputs: NDArray[Any]) -> NDArray[Any]:
    if not is_array(value):
        raise DataError(f"The labels of a batch are a {type(value).__name__}.", _HINT)
    grid = (inputs.shape[2], inputs.shape[3]) if inputs.ndim == 4 else None
    # A batch may happen to have one class only.
    return check_labels(to_numpy(value), len(inputs), name="a batch", grid=grid, several=False)


def is_array(value: object) -> bool:
    """Whether a value is a NumPy array or a torch tensor."""
    # A tensor can't be given where torch was never imported.
    torch = sys.modules.get("torch")
    return isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor))


def to_numpy(value: Any) -> NDArray[Any]:
    """An array or tensor as an array on the CPU; half-precision tensors become float32."""
    if isinstance(value, np.ndarray):
        return value
    tensor = value.detach().cpu()
    # NumPy has no bfloat16, and half precision is of no use on a CPU.
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()
    return array
