"""A set of samples that are no images, in memory: tokens, rows of features, a user's own tensors."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from subshot._types import InputSpec, TaskSpec
from subshot.data._images import digest
from subshot.data._labels import head_of


@dataclass(frozen=True, eq=False)
class TensorData:
    """Samples of one part of a set as networks get them, and what is needed to use them.

    Attributes:
        name: What the set is called in protocols and reports.
        inputs: (N, ...), int64 tokens or finite float32 values, in the set's own order.
        labels: As :attr:`ImageData.labels`.
        classes: Names of the classes; empty if unknown.
        vocabulary: Number of distinct tokens; ``None`` for floats.
        licence: Terms of use, in one line.
        notes: What a reader should know about how the set was read or made.
        own_parts: As :attr:`ImageData.own_parts`.
    """

    name: str
    inputs: NDArray[Any]
    labels: NDArray[Any] | None
    classes: tuple[str, ...] = ()
    vocabulary: int | None = None
    licence: str = "the user's own"
    notes: tuple[str, ...] = ()
    own_parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Loaders check what they read; these are our own invariants.
        assert self.inputs.ndim >= 2
        assert (self.vocabulary is None) == (self.inputs.dtype.kind == "f")
        assert self.labels is None or len(self.labels) == len(self.inputs)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of inputs and labels."""
        return digest(self.inputs, self.labels)

    @property
    def identity(self) -> str:
        """Digest that tells whether this is the same data."""
        return self.digest

    def task(self) -> TaskSpec:
        """What a network for these samples is built for: one input, and a head for the labels."""
        spec = input_spec(self.inputs, self.vocabulary)
        return TaskSpec((spec,), *head_of(self.labels, len(self.classes)))

    def select(self, indices: NDArray[np.integer]) -> "TensorData":
        """The samples at these positions, in this order."""
        return replace(self, inputs=self.inputs[indices], labels=None if self.labels is None else self.labels[indices])


def input_spec(inputs: NDArray[Any], vocabulary: int | None = None) -> InputSpec:
    """The input that samples (N, ...) are: ``images`` (C, H, W), ``tokens``, or ``inputs`` of another shape."""
    if inputs.dtype.kind == "i":
        known = int(inputs.max()) + 1 if vocabulary is None else vocabulary
        return InputSpec("tokens", inputs.shape[1:], str(inputs.dtype), known)
    if inputs.ndim == 4:
        return InputSpec("images", inputs.shape[1:])
    return InputSpec("inputs", inputs.shape[1:], str(inputs.dtype))
