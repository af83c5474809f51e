"""Supernets so small that a pass takes milliseconds."""

import numpy as np
import pytest
import torch

from subshot._types import TaskSpec
from subshot.supernets._supernet import make_supernet

# Every space with a supernet, in a size for tests; test_supernet.py checks that none is missing.
SMALL = {
    "nasbench201": ("nasbench201(channels=2, cells=1)", "official"),
    "darts": ("darts", "swap_pair"),
    "darts stack": ("darts(channels=2, layers=2, with_none=true)", "cifar"),
    "nasbench_macro": ("nasbench_macro(channels=2, features=4)", "official"),
}
TASK = TaskSpec.images(3, 8, 8, classes=4)


@pytest.fixture(params=SMALL)
def supernet(request):
    space, variant = SMALL[request.param]
    return make_supernet(space, TASK, variant=variant)


@pytest.fixture
def cells():
    return make_supernet(SMALL["nasbench201"][0], TASK)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 3, 8, 8, generator=generator), torch.randint(4, (8,), generator=generator)


@pytest.fixture
def data():
    # Learnable: the label is the brightest quadrant.
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(4, (96,), generator=generator)
    images = torch.randn(96, 3, 8, 8, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 2
    return images, labels
