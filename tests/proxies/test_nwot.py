"""NWOT against brute-force Hamming distances and exact determinants."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from subshot._types import Protocol
from subshot.proxies._evidence import look
from subshot.proxies._prepare import prepared
from subshot.proxies._proxy import Need
from subshot.proxies._score import score


def kernel(activations: Tensor) -> np.ndarray:
    """K_ij = U - Hamming(c_i, c_j), pair by pair."""
    codes = (activations > 0).numpy()
    return np.array([[codes.shape[1] - int((a != b).sum()) for b in codes] for a in codes])


def determinant(matrix: np.ndarray) -> int:
    """Exact determinant of a matrix of whole numbers, by fraction-free elimination (Bareiss)."""
    rows = [[int(entry) for entry in row] for row in matrix]
    sign, previous = 1, 1
    for k in range(len(rows) - 1):
        pivot = next((i for i in range(k, len(rows)) if rows[i][k]), None)
        if pivot is None:
            return 0
        if pivot != k:
            rows[k], rows[pivot], sign = rows[pivot], rows[k], -sign
        for i in range(k + 1, len(rows)):
            for j in range(k + 1, len(rows)):
                rows[i][j] = (rows[i][j] * rows[k][k] - rows[i][k] * rows[k][j]) // previous
        previous = rows[k][k]
    return sign * rows[-1][-1]


def test_the_exact_determinant_is_one() -> None:
    rng = np.random.default_rng(0)
    for size in range(1, 9):
        matrix = rng.integers(-5, 6, (size, size))
        assert determinant(matrix) == round(np.linalg.det(matrix))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), samples=st.integers(1, 24))
def test_equals_brute_force(specimen, seed: int, samples: int) -> None:  # type: ignore[no-untyped-def]
    network, inputs = specimen.draw(seed, max(2, samples))
    expected = kernel(specimen.activations(network, inputs))
    with prepared(network, batch_norm="batch", keep_parameters=False):
        agreement = look(network, inputs, Need.AGREEMENT).agreement
    assert np.array_equal(agreement, expected)
    result = score(network, inputs, proxies="nwot")["nwot"]
    exact = determinant(expected)
    if exact == 0:
        assert (result.value, result.status) == (-math.inf, "-inf")
    else:
        assert result.value == pytest.approx(math.log(abs(exact)), rel=1e-9)


@pytest.mark.parametrize("samples", [2, 3, 16, 64, 130])
def test_equal_samples_make_it_minus_infinity(samples: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    x = torch.randn(samples, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    assert score(network, x, proxies="nwot")["nwot"].ok
    x[-1] = x[0]
    result = score(network, x, proxies="nwot", protocol=Protocol(initialisation="normal", repeats=2))["nwot"]
    assert (result.value, result.status) == (-math.inf, "-inf")
    assert result.reason == "the proxy's value is -inf"
    assert result.to_dict()["value"] is None


def test_more_samples_than_units_can_tell_apart() -> None:
    # Nine different codes of four units: the kernel is singular although no two samples are equal.
    codes = torch.tensor([[1.0 if n >> bit & 1 else -1.0 for bit in range(4)] for n in range(9)])
    assert determinant(kernel(codes)) == 0
    assert score(nn.ReLU(), codes, proxies="nwot")["nwot"].value == -math.inf


def test_one_sample() -> None:
    assert score(nn.ReLU(), torch.randn(1, 7), proxies="nwot")["nwot"].value == pytest.approx(math.log(7))


def test_counts_its_units() -> None:
    result = score(nn.Sequential(nn.ReLU(), nn.ReLU()), torch.randn(4, 50), proxies="nwot")["nwot"]
    assert result.parts == {"units": 100.0}
