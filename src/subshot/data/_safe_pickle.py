"""Read the pickles that CIFAR comes as, without unpickling.

A pickle is a program, and Python's own reader runs it: it can call anything. This reader is a machine of its own that
knows the instructions such files are made of. It builds numbers, texts, lists, tuples, dictionaries and numeric NumPy
arrays. The few functions a file may name are words to it, never Python objects: nothing in a file can be called,
imported or altered. Memory stays in proportion to the file.

Instructions are described in Python's ``pickletools``; protocols 2 to 5, whatever wrote them (the original files are
Python 2's, copies saved again may be any later version's).
"""

import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from subshot.errors import DataError

# What a file may name, by module and name, old and new, and what this machine makes of it.
_GLOBALS: Final = {
    ("numpy.core.multiarray", "_reconstruct"): "array",
    ("numpy._core.multiarray", "_reconstruct"): "array",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
}
_DTYPES: Final = frozenset({"b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"})
_HINT = "Take the file from its original source again."


class _Word:
    """One of the functions a file may name."""

    def __init__(self, meaning: str) -> None:
        self.meaning = meaning


class _Type:
    """An element type, in two steps: the code, then the byte order."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "|"

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """An array, in two steps: an empty one, then its content."""

    def __init__(self) -> None:
        self.value = np.empty(0, dtype=np.uint8)


class _Malformed(Exception):
    """The file isn't what it should be; turned into a DataError that names it."""


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
    try:
        result = _Machine(data).run()
    except _Malformed as error:
        raise DataError(f"{name} can't be read: {error}. Nothing in it was run.", _HINT) from None
    except (IndexError, KeyError, TypeError, ValueError, struct.error, RecursionError, MemoryError) as error:
        raise DataError(f"{name} is damaged or no pickle: {error}.", _HINT) from None
    if not isinstance(result, dict):
        raise DataError(f"{name} holds a {type(result).__name__}, not a dictionary.", _HINT)
    return {_text(key): value.value if isinstance(value, _Array) else value for key, value in result.items()}


def _text(key: bytes | str) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else key


class _Machine:
    """Runs the instructions of one file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._encoded = 0

    def run(self) -> Any:
        while (code := self._take(1)) != b".":
            action = _ACTIONS.get(code)
            if action is None:
                raise _Malformed(f"it holds the instruction {code!r} at byte {self._position - 1}")
            action(self)
        (result,) = self._stack
        return result

    def _take(self, count: int) -> bytes:
        end = self._position + count
        if not self._position <= end <= len(self._data):
            raise _Malformed(
                f"it is truncated: {count:,} bytes are announced at byte {self._position:,} of {len(self._data):,}"
            )
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def _number(self, form: str) -> int:
        (value,) = struct.unpack("<" + form, self._take(struct.calcsize("<" + form)))
        return int(value)

    def _line(self) -> str:
        end = self._data.find(b"\n", self._position, self._position + 256)
        if end < 0:
            raise _Malformed(f"a name is missing at byte {self._position:,}")
        line = self._take(end - self._position).decode("latin-1")
        self._position = end + 1
        return line

    # --- instructions ---

    def skip(self, count: int) -> None:
        self._take(count)

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def push_number(self, form: str) -> None:
        self._stack.append(self._number(form))

    def push_long(self) -> None:
        self._stack.append(int.from_bytes(self._take(self._number("B")), "little", signed=True))

    def push_bytes(self, form: str) -> None:
        self._stack.append(self._take(self._number(form)))

    def push_text(self, form: str) -> None:
        self._stack.append(self._take(self._number(form)).decode("utf-8"))

    def pop(self) -> Any:
        return self._stack.pop()

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def tuple_of(self, count: int) -> None:
        items = [self._stack.pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def tuple_since_mark(self) -> None:
        self._stack.append(tuple(self.since_mark()))

    def append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise _Malformed(f"it appends to a {type(target).__name__}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise _Malformed(f"it sets items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Only these: hashing a deeply nested tuple could exhaust the C stack.
            if not isinstance(key, (str, bytes)):
                raise _Malformed(f"it has a {type(key).__name__} for a key")
            target[key] = value

    def set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self.set_items([key, value])

    def remember(self, form: str) -> None:
        self._memo[self._number(form)] = self._stack[-1]

    def remember_next(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def recall(self, form: str) -> None:
        self._stack.append(self._memo[self._number(form)])

    def name_line(self) -> None:
        module = self._line()
        self._name(module, self._line())

    def name_from_stack(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise _Malformed("it asks for a name that is no text")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        meaning = _GLOBALS.get((module, name))
        if meaning is None:
            raise _Malformed(f"it asks for {module[:60]}.{name[:60]}, which is not allowed")
        self._stack.append(_Word(meaning))

    def reduce(self) -> None:
        arguments, word = self._stack.pop(), self._stack.pop()
        match word, arguments:
            case _Word(meaning="array"), (_Word(meaning="ndarray"), (0,), b"b" | "b"):
                self._stack.append(_Array())
            case _Word(meaning="dtype"), (bytes() | str() as code, 0 | False, 0 | 1):
                if _text(code) not in _DTYPES:
                    raise _Malformed(f"it holds an array of type {_text(code)[:20]!r}, which is not allowed")
                self._stack.append(_Type(_text(code)))
            case _Word(meaning="encode"), (str() as text, "latin1" | "latin-1"):
                # A short file could have one long text encoded over and over.
                self._encoded += len(text)
                if self._encoded > len(self._data):
                    raise _Malformed("it grows beyond its own size")
                self._stack.append(text.encode("latin-1"))
            case _Word(meaning="frombuffer"), (bytes() as raw, _Type() as kind, tuple() as shape, "C" | "F" as order):
                array = _Array()
                array.value = _fill(raw, kind, shape, order)
                self._stack.append(array)
            case _Word(meaning=meaning), _:
                raise _Malformed(f"it uses {meaning} in a way that is not allowed")
            case _:
                raise _Malformed(f"it calls a {type(word).__name__}")

    def build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        match target, state:
            case _Type(), (int(), bytes() | str() as order, None, None, None, int(), int(), int(), *_):
                if _text(order) not in ("|", "<", ">", "="):
                    raise _Malformed(f"it holds the byte order {_text(order)[:20]!r}")
                target.order = _text(order)
            case _Array(), (1, tuple() as shape, _Type() as kind, bool() | 0 | 1 as columns_first, bytes() as raw):
                target.value = _fill(raw, kind, shape, "F" if columns_first else "C")
            case _:
                raise _Malformed(f"it sets the state of a {type(target).__name__} in a way that is not allowed")


def _fill(raw: bytes, kind: _Type, shape: tuple[Any, ...], order: str) -> np.ndarray:
    if len(shape) > 8 or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise _Malformed("it holds an array whose shape is no short list of sizes")
    dtype = kind.dtype()
    # Compared before anything is allocated; whole numbers in Python don't overflow.
    size = dtype.itemsize
    for side in shape:
        size *= int(side)
    if size != len(raw):
        raise _Malformed(f"an array of shape {str(shape)[:60]} takes {size} bytes, and {len(raw):,} are there")
    return np.frombuffer(raw, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")


_ACTIONS: Final[dict[bytes, Callable[[_Machine], None]]] = {
    b"\x80": lambda m: m.skip(1),  # PROTO
    b"\x95": lambda m: m.skip(8),  # FRAME
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push_number("B"),  # BININT1
    b"M": lambda m: m.push_number("H"),  # BININT2
    b"J": lambda m: m.push_number("i"),  # BININT
    b"\x8a": lambda m: m.push_long(),  # LONG1
    b"U": lambda m: m.push_bytes("B"),  # SHORT_BINSTRING: a text of Python 2
    b"T": lambda m: m.push_bytes("i"),  # BINSTRING
    b"C": lambda m: m.push_bytes("B"),  # SHORT_BINBYTES
    b"B": lambda m: m.push_bytes("I"),  # BINBYTES
    b"\x8e": lambda m: m.push_bytes("Q"),  # BINBYTES8
    b"\x96": lambda m: m.push_bytes("Q"),  # BYTEARRAY8
    b"\x8c": lambda m: m.push_text("B"),  # SHORT_BINUNICODE
    b"X": lambda m: m.push_text("I"),  # BINUNICODE
    b"\x8d": lambda m: m.push_text("Q"),  # BINUNICODE8
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"(": lambda m: m.mark(),
    b"t": lambda m: m.tuple_since_mark(),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.since_mark()),  # APPENDS
    b"u": lambda m: m.set_items(m.since_mark()),  # SETITEMS
    b"s": lambda m: m.set_item(),
    b"q": lambda m: m.remember("B"),  # BINPUT
    b"r": lambda m: m.remember("I"),  # LONG_BINPUT
    b"\x94": lambda m: m.remember_next(),  # MEMOIZE
    b"h": lambda m: m.recall("B"),  # BINGET
    b"j": lambda m: m.recall("I"),  # LONG_BINGET
    b"c": lambda m: m.name_line(),  # GLOBAL
    b"\x93": lambda m: m.name_from_stack(),  # STACK_GLOBAL
    b"R": lambda m: m.reduce(),
    b"b": lambda m: m.build(),
}
