"""One generic registry: names to entries of one kind, filled by importing the content files of one folder."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Generic, TypeVar

from subshot.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named entries of one kind.

    The first look-up imports every content file (no leading underscore) of ``package``, and each registers its entries
    while it is imported. Adding a file to the folder is all it takes; no list is kept by hand. Content files import
    torch inside functions only, so a look-up stays fast.

    Args:
        kind: What an entry is called in messages, for example ``"proxy"``.
        package: Dotted name of the folder whose content files hold the entries.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str, entry: T) -> T:
        """Add ``entry`` under ``name`` and return it.

        Raises:
            ValueError: The name is taken already.
        """
        if name in self._entries:
            raise ValueError(f"the {self.kind} name {name!r} is taken already")
        self._entries[name] = entry
        return entry

    def get(self, name: str) -> T:
        """Return the entry called ``name``.

        Raises:
            UnknownNameError: No entry has that name; near matches are offered.
        """
        self._load()
        if name not in self._entries:
            raise UnknownNameError.of(self.kind, name, self._entries)
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def _load(self) -> None:
        if self._loaded:
            return
        # Set first: a content file may look another entry up while it is imported.
        self._loaded = True
        try:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                if not module.name.startswith("_"):
                    importlib.import_module(f"{self._package}.{module.name}")
        except BaseException:
            self._loaded = False  # else the next look-up would miss entries without saying why
            raise
