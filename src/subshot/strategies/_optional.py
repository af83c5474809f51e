"""Packages of other search algorithms, imported where they are used."""

from importlib import import_module
from typing import Any

from subshot.errors import MissingDependencyError


def optional(module: str) -> Any:
    """Import a module of an optional package, which is also the name of our extra.

    Raises:
        MissingDependencyError: It can't be imported; the message says how to install it.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"The strategy {package!r} needs {package}, which can't be imported: {error}.",
            f"Install it with: pip install 'subshot[{package}]' -c constraints.txt",
        ) from error
