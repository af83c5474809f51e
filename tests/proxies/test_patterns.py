"""Packing and counting of sign patterns: exact, streamed, and never the whole matrix."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from subshot.proxies import _patterns
from subshot.proxies._patterns import PatternCounter, SignRecorder

CPU = torch.device("cpu")
SLICE = 64


@contextmanager
def small_slices() -> Iterator[None]:
    """Slices so small that every layer is cut and merged many times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_patterns, "_SLICE", SLICE)
        yield


def distinct_columns(mask: np.ndarray) -> int:
    """The definition: the number of different columns."""
    return len({column.tobytes() for column in np.ascontiguousarray(mask.T)})


def random_bits(bits: int, units: int, seed: int) -> np.ndarray:
    """Bit columns with many duplicates, and pairs that differ in one bit only."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 2, (bits, max(1, units // 3)), dtype=np.uint8)
    mask = kinds[:, rng.integers(0, kinds.shape[1], units)]
    flips = rng.random(units) < 0.3
    mask[rng.integers(0, bits, units)[flips], np.nonzero(flips)[0]] ^= 1
    return mask


# --- counting --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(bits=st.integers(1, 140), units=st.integers(1, 300), slices=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_count_is_the_number_of_different_columns(bits: int, units: int, slices: int, seed: int) -> None:
    mask = random_bits(bits, units, seed)
    counter = PatternCounter(bits, CPU)
    with small_slices():
        for part in np.array_split(mask, slices, axis=1):
            counter.add(torch.from_numpy(part.astype(np.float32)))
            if seed % 2:
                counter.count()  # asking in between must not change anything
    assert counter.count() == distinct_columns(mask)
    assert counter.count() <= min(2**bits, units)


@pytest.mark.parametrize("bits", [*range(1, 141)])
def test_every_bit_counts(bits: int) -> None:
    """The zero pattern, each single bit, each bit left out, and all bits: all told apart, at every length."""
    single = np.eye(bits, dtype=np.float32)
    mask = np.concatenate([single, 1 - single, np.zeros((bits, 1)), np.ones((bits, 1))], axis=1).astype(np.float32)
    counter = PatternCounter(bits, CPU)
    counter.add(torch.from_numpy(mask))
    assert counter.count() == distinct_columns(mask.astype(np.uint8))
    assert counter.count() == (2 * bits + 2 if bits > 2 else 2**bits)


def test_all_patterns_of_sixteen_bits() -> None:
    mask = (np.arange(2**16)[None, :] >> np.arange(16)[:, None]) & 1
    counter = PatternCounter(16, CPU)
    counter.add(torch.from_numpy(mask.astype(np.float32)))
    assert counter.count() == 2**16


def test_nothing_added_counts_nothing() -> None:
    for bits in (3, 40, 100):
        assert PatternCounter(bits, CPU).count() == 0


# --- recording -------------------------------------------------------------------------------------------------------


def recorder(samples: int, *, binary: bool = True, ternary: bool = True, agreement: bool = True) -> SignRecorder:
    return SignRecorder(samples, CPU, binary=binary, ternary=ternary, agreement=agreement)


@settings(deadline=None, max_examples=100)
@given(
    samples=st.integers(1, 70),
    shapes=st.lists(st.lists(st.integers(1, 6), max_size=4), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_recorder_equals_the_definitions(samples: int, shapes: list[list[int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    layers = [torch.randint(-1, 2, (samples, *shape), generator=generator).float() for shape in shapes]
    with small_slices():
        seen = recorder(samples)
        for layer in layers:
            seen.add(layer)
    matrix = torch.cat([layer.reshape(samples, -1) for layer in layers], dim=1).numpy().astype(np.int8)
    assert seen.units == matrix.shape[1]
    assert seen.calls == len(layers)
    assert seen.distinct == distinct_columns((matrix > 0).astype(np.uint8))
    assert seen.distinct_ternary == distinct_columns(matrix)
    on = matrix > 0
    assert np.array_equal(seen.agreement, [[(a == b).sum() for b in on] for a in on])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_any_floating_type_and_memory_layout(dtype: torch.dtype) -> None:
    layer = torch.randn(5, 6, 4, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = recorder(5)
    expected.add(layer)
    for other in (
        layer.to(memory_format=torch.channels_last),
        layer.transpose(2, 3).contiguous().transpose(2, 3),
        layer.requires_grad_(),
    ):
        seen = recorder(5)
        seen.add(other)
        assert (seen.units, seen.distinct, seen.distinct_ternary) == (
            expected.units,
            expected.distinct,
            expected.distinct_ternary,
        )
        assert torch.equal(seen.agreement, expected.agreement)


@pytest.mark.parametrize("values", ["0.0", "-0.0", "1e-45", "-1e-45", "inf", "-inf"])
def test_extreme_values_have_the_sign_they_have(values: str) -> None:
    layer = torch.tensor([[float(values)], [1.0]])
    seen = recorder(2)
    seen.add(layer)
    seen.add(torch.sign(layer))
    assert (seen.distinct, seen.distinct_ternary) == (1, 1)


def test_samples_are_found_on_other_axes() -> None:
    samples, width = 4, 3
    layer = torch.randn(samples, 6, width, generator=torch.Generator().manual_seed(0))
    expected = recorder(samples)
    expected.add(layer)
    folded = layer.reshape(samples * 6, width)
    tokens_first = layer.transpose(0, 1)
    longer = torch.randn(samples, 8, width, generator=torch.Generator().manual_seed(1))  # 8 tokens are 2 x 4 samples
    for other in (folded, tokens_first):
        seen = recorder(samples)
        seen.add(other)
        assert seen.distinct == expected.distinct
        assert torch.equal(seen.agreement, expected.agreement)
    first, second = recorder(samples), recorder(samples)
    first.add(longer)
    second.add(longer.transpose(0, 1))
    assert torch.equal(first.agreement, second.agreement)


@pytest.mark.parametrize("shape", [(), (3,), (3, 5), (0, 5)])
def test_maps_without_samples_are_skipped(shape: tuple[int, ...]) -> None:
    seen = recorder(4)
    seen.add(torch.ones(shape))
    assert (seen.skipped, seen.calls, seen.units) == (1, 0, 0)


def test_an_empty_map_adds_no_units() -> None:
    seen = recorder(4)
    seen.add(torch.ones(4, 0, 3))
    assert (seen.skipped, seen.units, seen.distinct) == (0, 0, 0)


@pytest.mark.parametrize("samples", [12, 20, 40])
def test_half_precision_regions_do_not_blur_the_words(samples: int) -> None:
    layer = torch.randn(samples, 500, generator=torch.Generator().manual_seed(0))
    expected, seen = recorder(samples), recorder(samples)
    expected.add(layer)
    with torch.autocast("cpu", torch.bfloat16):
        seen.add(layer)
    assert (seen.distinct, seen.distinct_ternary) == (expected.distinct, expected.distinct_ternary)
    assert torch.equal(seen.agreement, expected.agreement)


def test_does_not_depend_on_torchs_default_type() -> None:
    layer = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    expected = recorder(20)
    expected.add(layer)
    torch.set_default_dtype(torch.float64)
    try:
        seen = recorder(20)
        seen.add(layer)
        assert seen.distinct == expected.distinct
    finally:
        torch.set_default_dtype(torch.float32)


# --- memory ----------------------------------------------------------------------------------------------------------


class Allocations(TorchDispatchMode):
    """Bytes of the largest storage that an operation made, views and in-place results left out."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in given:
                self.largest = max(self.largest, tensor.untyped_storage().nbytes())
        return out


def retained(seen: SignRecorder) -> int:
    """Bytes of the tensors a recorder holds."""
    holders = [seen, seen._binary, seen._ternary]
    values = [value for holder in holders if holder is not None for value in vars(holder).values()]
    return sum(t.nbytes for value in values for t in tree_leaves(value) if isinstance(t, Tensor))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_matrix_of_all_activations_is_never_made(
    layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_patterns, "_SLICE", 1 << 19)  # so that a layer is many slices
    samples = 64
    layer = torch.randn(samples, 32, 64, 64, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    slice_bytes = 4 * _patterns._SLICE
    assert layer.nbytes >= 16 * slice_bytes
    seen = recorder(samples)
    with Allocations() as made:
        seen.add(layer)
        seen.add(layer)
    assert 0 < made.largest <= 2 * slice_bytes
    # Two planes of buffer, and 8 bytes a pattern of 64 signs or 16 of 64 ternary ones: all units differ here.
    units = layer.numel() // samples
    assert retained(seen) <= 2 * slice_bytes + 3 * (8 + 16) * units + 100_000
    assert seen.distinct == units


def test_the_allocation_counter_sees_a_whole_copy() -> None:
    """Negative control."""
    layer = torch.randn(8, 1000)
    with Allocations() as made:
        (layer[:, 10:] > 0).float()
    assert made.largest >= 4 * 8 * 990


def test_small_batches_keep_a_table_only() -> None:
    seen = recorder(8, agreement=False)
    for _ in range(4):
        seen.add(torch.randn(8, 20_000))
    buffer = 4 * 2 * (_patterns._SLICE + 8 * _patterns._PADDING)
    assert retained(seen) <= buffer + 2**16 + 2**8 + 1000
