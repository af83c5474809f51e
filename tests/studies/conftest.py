"""A small search that takes about a second."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def images():
    """Sixteen smooth random images with labels; (S, C, H, W), float32."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(16, 3, 4, 4))
    smooth = np.kron(coarse, np.ones((1, 1, 4, 4))).astype(np.float32)
    return smooth, np.arange(16) % 10


@pytest.fixture
def small(images):
    """Keyword arguments of a quick search."""
    return {
        "space": "nasbench201(channels=2,cells=1)",
        "data": images,
        "strategy": "swap_evolution(population=10,sample=4,mutations=4)",
        "budget": 40,
        "batch_size": 12,
    }
