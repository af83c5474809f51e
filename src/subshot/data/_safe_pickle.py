"""Read the pickles that data comes as, without unpickling.

A pickle is a program, and Python's own reader runs it: it can call anything. The machine of ``_pickle_machine.py``
builds numbers, texts, lists, tuples, sets, dictionaries and numeric NumPy arrays, and knows no more. What a file may
name are words to it, never Python objects: nothing in a file can be called, imported or altered. Memory stays in
proportion to the file. It reads protocols 2 to 5, whatever wrote them (the original CIFAR files are Python 2's, copies
saved again may be any later version's).
"""

import io
from collections.abc import Callable
from typing import Any, TypeVar

from subshot.data._byte_source import ByteSource, Malformed
from subshot.data._pickle_machine import DAMAGE, Filled, Machine, Persistent
from subshot.data._pickle_words import ARRAY_WORDS, Words, text_of
from subshot.errors import DataError

T = TypeVar("T")

_HINT = "Take the file from its original source again."


def read_pickle(data: bytes, *, name: str) -> dict[str, Any]:
    """Read a pickled dictionary of plain values and numeric arrays.

    Args:
        data: The file's content.
        name: What to call the file in messages.

    Returns:
        The dictionary, its keys as text; texts of Python 2 are bytes.

    Raises:
        DataError: The file names a function that isn't allowed, holds an instruction no such file needs, is damaged or
            truncated, or holds something else than a dictionary.
    """
    source = ByteSource(io.BytesIO(data), limit=len(data))
    result = guarded(lambda: run_pickle(source, ARRAY_WORDS), name=name)
    if not isinstance(result, dict):
        raise DataError(f"{name} holds a {type(result).__name__}, not a dictionary.", _HINT)
    if not all(isinstance(key, str | bytes) for key in result):
        raise DataError(f"{name} holds a dictionary whose keys are no texts.", _HINT)
    return {text_of(key): value for key, value in result.items()}


def run_pickle(
    source: ByteSource, words: Words, *, persistent: Persistent | None = None, filled: Filled | None = None
) -> Any:
    """Read one pickle from a source; :class:`subshot.data._pickle_machine.Machine` describes the arguments."""
    return Machine(source, words, persistent=persistent, filled=filled).run()


def guarded(read: Callable[[], T], *, name: str, hint: str = _HINT) -> T:
    """What ``read`` returns.

    Raises:
        DataError: The file called ``name`` holds what is not allowed, is truncated or damaged.
    """
    try:
        return read()
    except Malformed as error:
        raise DataError(f"{name} can't be read: {error}. Nothing in it was run.", hint) from None
    except (*DAMAGE, EOFError, OSError) as error:
        raise DataError(f"{name} is damaged or no such file: {_first_line(error)}.", hint) from None


def _first_line(error: BaseException) -> str:
    return (str(error).partition("\n")[0] or type(error).__name__)[:200].rstrip(".")
