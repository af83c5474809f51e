"""Data that comes inside Python packages."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from subshot.errors import MissingDependencyError


def find_package(name: str) -> Path | None:
    """The folder of an installed package, found without importing it; ``None`` if it isn't installed."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@contextmanager
def bringing(data_set: str, package: str) -> Iterator[None]:
    """Say what is missing where the import of ``package`` inside the block fails.

    Raises:
        MissingDependencyError: It did.
    """
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(
            f"The data set {data_set!r} comes with {package}, which can't be imported: {error}.",
            f"Install it with: pip install {package}",
        ) from error
