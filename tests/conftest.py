"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Two threads on a small shared machine are erratic, and the worker processes use one as well.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of benchmark tables and images named by SUBSHOT_DATA."""
    root = os.environ.get("SUBSHOT_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("SUBSHOT_DATA names no folder: the benchmark tables and images are not here")
    return Path(root)
