"""What a pickle may name, and what each name means to subshot's own reader: words, never Python objects.

A pickle builds whatever isn't a plain value by naming a function and giving it arguments. Here each name that some file
needs stands for a word, and :func:`say` knows the few ways in which a word may be used.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from subshot.data._byte_source import Malformed

Words = Mapping[tuple[str, str], str]

# By module and name, old and new.
ARRAY_WORDS: Final[Words] = {
    ("numpy.core.multiarray", "_reconstruct"): "array",
    ("numpy._core.multiarray", "_reconstruct"): "array",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
}
PLAIN_WORDS: Final[Words] = {
    **ARRAY_WORDS,
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("collections", "OrderedDict"): "ordered",
    ("__builtin__", "set"): "set",
    ("builtins", "set"): "set",
    ("__builtin__", "bytes"): "bytes",
    ("copy_reg", "_reconstructor"): "reconstructor",
    ("copyreg", "_reconstructor"): "reconstructor",
    ("__builtin__", "object"): "object",
    ("builtins", "object"): "object",
}
RECORD: Final = "record:"
_DTYPES: Final = frozenset({"b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"})
_MOST_SIDES: Final = 8


def record_words(*classes: str) -> Words:
    """Words for the classes of a file, given as ``module.name``; their instances become :class:`Record`."""
    return {(one.rpartition(".")[0], one.rpartition(".")[2]): f"{RECORD}{one}" for one in classes}


@dataclass(frozen=True)
class Word:
    """One of the names a file may use."""

    meaning: str


@dataclass(eq=False)
class Record:
    """An instance of some class, as far as the file describes it: the class's name and the attributes, no behaviour.

    Attributes:
        kind: Module and name of the class.
        state: The attributes.
    """

    kind: str
    state: dict[str, Any] = field(default_factory=dict)


class Ordered(dict[Any, Any]):
    """What the file calls an ordered dictionary; it may have attributes, which are dropped."""


class ElementType:
    """An element type, in two steps: the code, then the byte order."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "|"

    def dtype(self) -> np.dtype[Any]:
        """As NumPy's."""
        return np.dtype(self.order + self.code)


class Array:
    """An array, in two steps: an empty one, then its content."""

    def __init__(self, value: NDArray[Any] | None = None) -> None:
        self.value: NDArray[Any] = np.empty(0, dtype=np.uint8) if value is None else value


@dataclass(frozen=True, eq=False)
class Storage:
    """Elements in a row, which tensors are views of; a file may bring them after the tensors."""

    array: NDArray[Any]


def text_of(value: bytes | str) -> str:
    """Texts of Python 2 come as bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def say(word: object, arguments: object) -> Any:
    """What a word means with these arguments.

    Raises:
        Malformed: It is no word, or is used in another way than such files do.
    """
    # Types only, never values: whatever a file puts here isn't asked whether it equals something.
    match word, arguments:
        case Word(meaning="array"), (Word(meaning="ndarray"), (int(),), bytes() | str()):
            return Array()
        case Word(meaning="dtype"), (bytes() | str() as code, int(), int()):
            if text_of(code) not in _DTYPES:
                raise Malformed(f"it holds an array of type {text_of(code)[:20]!r}, which is not allowed")
            return ElementType(text_of(code))
        case Word(meaning="frombuffer"), (bytes() as raw, ElementType() as kind, tuple() as shape, str() as order):
            return Array(fill(raw, kind, shape, order))
        case Word(meaning="scalar"), (ElementType() as kind, bytes() as raw):
            return fill(raw, kind, (), "C").item()
        case Word(meaning="encode"), (str() as text, str() as coding) if coding in ("latin1", "latin-1"):
            return text.encode("latin-1")
        case Word(meaning="bytes"), ():
            return b""
        case Word(meaning="ordered"), ():
            return Ordered()
        case Word(meaning="set"), (list() as items,):
            return {key(item) for item in items}
        case Word(meaning="reconstructor"), (Word(meaning=kind), Word(meaning="object"), None):
            return new_record(kind)
        case Word(meaning="tensor"), (Storage() as of, int() as start, tuple() as shape, tuple() as steps, int(), *_):
            return Array(view(of.array, start, shape, steps))
        case Word(meaning="parameter"), (np.ndarray() as value, int(), *_):
            return Array(value)
        case Word(meaning=meaning), _:
            raise Malformed(f"it uses {meaning} in a way that is not allowed")
    raise Malformed(f"it calls a {type(word).__name__}")


def new_record(meaning: str) -> Record:
    """An empty record of the class a word stands for."""
    if not meaning.startswith(RECORD):
        raise Malformed(f"it makes an instance of {meaning}, which is not allowed")
    return Record(meaning.removeprefix(RECORD))


def give_state(target: object, state: object) -> None:
    """Set the state of what a word made.

    Raises:
        Malformed: That has none, or another.
    """
    match target, state:
        case ElementType(), (int(), bytes() | str() as order, None, None, None, int(), int(), int(), *_):
            if text_of(order) not in ("|", "<", ">", "="):
                raise Malformed(f"it holds the byte order {text_of(order)[:20]!r}")
            target.order = text_of(order)
        case Array(), (int(), tuple() as shape, ElementType() as kind, int() as columns_first, bytes() as raw):
            target.value = fill(raw, kind, shape, "F" if columns_first else "C")
        case Record(), dict():
            if not all(isinstance(name, str) for name in state):
                raise Malformed("it has an attribute whose name is no text")
            target.state.update(state)
        case Ordered(), dict():
            pass
        case _:
            raise Malformed(f"it sets the state of a {type(target).__name__} in a way that is not allowed")


def key(value: object) -> Any:
    """The value, if it may be a key: a text, bytes, a number, or a flat tuple of these.

    Hashing a deeply nested tuple could exhaust the C stack.

    Raises:
        Malformed: It is anything else.
    """
    flat = value if isinstance(value, tuple) and len(value) <= _MOST_SIDES else (value,)
    if not all(isinstance(one, str | bytes | int) for one in flat):
        raise Malformed(f"it has a {type(value).__name__} for a key")
    return value


def fill(raw: bytes, kind: ElementType, shape: tuple[Any, ...], order: str) -> NDArray[Any]:
    """An array over ``raw``.

    Raises:
        Malformed: The shape is none, or takes another number of bytes.
    """
    check_shape(shape)
    dtype = kind.dtype()
    # Compared before anything is allocated; whole numbers in Python don't overflow.
    size = dtype.itemsize
    for side in shape:
        size *= int(side)
    if size != len(raw):
        raise Malformed(f"an array of shape {str(shape)[:60]} takes {size} bytes, and {len(raw):,} are there")
    return np.frombuffer(raw, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")


def view(elements: NDArray[Any], start: int, shape: tuple[Any, ...], steps: tuple[Any, ...]) -> NDArray[Any]:
    """A read-only tensor over some elements, as far as none of them is used twice.

    Raises:
        Malformed: It reaches beyond them, or has more.
    """
    check_shape(shape)
    check_shape(steps)
    if len(shape) != len(steps) or start < 0:
        raise Malformed("it holds a tensor whose sizes and steps don't fit")
    last = start + sum((side - 1) * step for side, step in zip(shape, steps, strict=True))
    if math.prod(shape) > len(elements) or (0 not in shape and last >= len(elements)):
        raise Malformed(f"it holds a tensor larger than its storage of {len(elements):,} elements")
    if 0 in shape:
        return np.empty(shape, dtype=elements.dtype)
    strides = tuple(step * elements.itemsize for step in steps)
    return as_strided(elements[start:], shape, strides, writeable=False)


def check_shape(shape: tuple[Any, ...]) -> None:
    """A shape is a short tuple of sizes.

    Raises:
        Malformed: This one isn't.
    """
    if len(shape) > _MOST_SIDES or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise Malformed("it holds an array whose shape is no short list of sizes")
