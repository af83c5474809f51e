"""Errors a user can cause, each saying what was given, what is allowed and what to do.

Everything raised on purpose is a :class:`SubshotError`; the command line prints its message and hint as one paragraph
and exits with code 2. Any other exception is a bug of ours.
"""

import difflib
from collections.abc import Iterable


class SubshotError(Exception):
    """A problem with what was given, not with the program.

    Attributes:
        message: What was given and why it can't be used.
        hint: What to do about it; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type["SubshotError"], tuple[str, str]]:
        return type(self), (self.message, self.hint)


class UnknownNameError(SubshotError):
    """A name no registry entry has; the hint offers the nearest ones."""

    @classmethod
    def of(cls, kind: str, name: str, allowed: Iterable[str]) -> "UnknownNameError":
        """Build the error for ``name``, naming near matches first and all allowed names after.

        Args:
            kind: What was looked up, for example ``"proxy"``.
            name: What was given.
            allowed: Every name that would have been accepted.
        """
        names = sorted(allowed)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        suggestion = f"Did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
        return cls(f"There is no {kind} named {name!r}.", f"{suggestion}Known: {', '.join(names) or 'none'}.")


class ArchError(SubshotError):
    """A text or value that is no architecture of the space."""


class OptionError(SubshotError):
    """An option whose name or value isn't allowed."""


class DataError(SubshotError):
    """Data that is missing, damaged, or of the wrong kind."""


class NetworkError(SubshotError):
    """A network or batch that can't be looked at."""


class InfeasibleError(SubshotError):
    """Limits that no architecture found can meet."""


class StudyError(SubshotError):
    """A run folder or store that can't be used as asked."""


class MissingDependencyError(SubshotError):
    """An optional package that is needed here and isn't installed."""
