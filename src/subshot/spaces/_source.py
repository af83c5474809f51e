"""Load a space from a file of the user's: ``FILE.py:FUNCTION``, with settings ``FILE.py:FUNCTION(width=8)``."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from subshot._choice import Choice, check_options, option_defaults
from subshot.errors import DataError, OptionError, SubshotError, UnknownNameError

if TYPE_CHECKING:
    from subshot.spaces._space import Space

_FORM = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*\s*(\(.*\))?)\s*", re.DOTALL)


def is_source(text: str) -> bool:
    """Whether ``text`` names something in a Python file."""
    return _FORM.fullmatch(text.strip()) is not None


def load_space(text: str) -> "Space":
    """The space that a function of a file returns; the file is executed.

    The file is imported by its name, its folder being put first on the path, as when Python runs it: so worker
    processes can import what they need from it.

    Args:
        text: ``FILE.py:NAME`` or ``FILE.py:NAME(key=value)``: a function without required parameters, whose
            keyword-only ones are its settings, or a space.

    Raises:
        DataError: There is no such file, or it raised an exception.
        UnknownNameError: The file has nothing of that name, or the function no such setting.
        OptionError: What the name stands for is no space.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise OptionError(f"{text[:100]!r} names no space in a file.", "Write FILE.py:FUNCTION.")
    path, choice = Path(match["file"]), Choice.parse(match["function"])
    module = _import(path)
    found = getattr(module, choice.name, None)
    if found is None:
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise UnknownNameError.of(f"function in {path}", choice.name, names)
    if not hasattr(found, "sample") or isinstance(found, type):
        found = _call(found, choice, path)
    elif choice.options:
        raise OptionError(f"{text[:100]!r} gives settings to a space that is made already.", "Name a function.")
    if not hasattr(found, "sample") or not hasattr(found, "build"):
        raise OptionError(
            f"{path}:{choice.name} returned an object of type {type(found).__name__}, which is no space.",
            "Return subshot.Space(choices=..., build=...) or subshot.Space.around(model, example).",
        )
    # Named by where it came from, so that a stored name brings it back.
    renamed = getattr(found, "renamed", None)
    space: Space = renamed(f"{match['file']}:{choice}") if callable(renamed) else found
    return space


def _call(function: Any, choice: Choice, path: Path) -> Any:
    if not callable(function):
        raise OptionError(
            f"{path}:{choice.name} is of type {type(function).__name__}.", "Name a function that returns a space."
        )
    options = check_options(f"{path}:{choice.name}", choice.options, option_defaults(function))
    try:
        return function(**options)
    except SubshotError:
        raise
    except Exception as error:
        raise DataError(
            f"{path}:{choice.name} raised {type(error).__name__}: {error}.",
            "It is called without arguments, but for keyword-only ones given as settings.",
        ) from error


def _import(path: Path) -> ModuleType:
    """The file as a module of its own name.

    Raises:
        DataError: There is no such file, its name is taken, or it raised an exception.
    """
    path = path.resolve()
    if not path.is_file():
        raise DataError(f"There is no file {path}.", "Write FILE.py:FUNCTION.")
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(path.stem)
    except (Exception, SystemExit) as error:
        raise DataError(f"{path} raised {type(error).__name__}: {error}.", "Mend the file first.") from error
    origin = getattr(module, "__file__", None)
    if origin is None or Path(origin).resolve() != path:
        raise DataError(
            f"{path} can't be imported: {path.stem!r} is the name of another module, {origin or 'a built-in one'}.",
            "Give the file another name.",
        )
    return module
