"""A machine for pickles that can't call, import or alter anything.

A pickle is a program for a small stack machine, and Python's own reader runs it with all of Python at hand. This one
knows the instructions that data files are made of, as Python's ``pickletools`` describes them, protocols 2 to 5. Names
in a file are looked up in a list of words (``_pickle_words.py``); every instruction that could do more is refused.
"""

import struct
from collections.abc import Callable, Sized
from typing import Any, Final

from subshot.data._byte_source import ByteSource, Malformed
from subshot.data._pickle_words import Array, Word, Words, give_state, key, new_record, say

_DOUBLE: Final = struct.Struct(">d").unpack
_STOP: Final = 0x2E
# Texts as short as these recur: one copy of each is kept, up to so many.
_SHORT: Final = 128
_MOST_SHORT: Final = 1 << 17
_MOST_SETS: Final = 10_000  # an empty set takes 216 bytes of memory and one of the file

Persistent = Callable[[object], Any]
Filled = Callable[[dict[Any, Any]], None]


class Machine:
    """Runs the instructions of one pickle; what follows it in the source is left there.

    Args:
        source: Where the pickle begins.
        words: What it may name.
        persistent: What an id of something outside the pickle stands for; without it there may be none.
        filled: Called with a dictionary each time items were put into it. It may take items out again, so that a file
            far larger than memory can be read for a few of its values.
    """

    def __init__(
        self, source: ByteSource, words: Words, *, persistent: Persistent | None = None, filled: Filled | None = None
    ) -> None:
        self._source = source
        self._words = words
        self._persistent = persistent
        self._filled = filled
        self._stack: list[Any] = []
        self._marks: list[int] = []
        # Notes are numbered from 0 almost always; a list takes a tenth of a dictionary's memory.
        self._notes: list[Any] = []
        self._other_notes: dict[int, Any] = {}
        self._texts: dict[bytes, str] = {}
        self._encoded = 0
        self._sets = 0

    def run(self) -> Any:
        """The one value that is left at the end.

        Raises:
            Malformed: It holds what is not allowed, or ends early. Damaged files may also raise one of
                ``DAMAGE``.
        """
        take_byte = self._source.byte
        actions = _ACTIONS
        while (code := take_byte()) != _STOP:
            action = actions.get(code)
            if action is None:
                raise Malformed(f"it holds the instruction {bytes([code])!r} at byte {self._source.position - 1}")
            action(self)
        (result,) = self._stack
        return _plain(result)

    def _number(self, form: str) -> int:
        (value,) = struct.unpack("<" + form, self._source.take(struct.calcsize("<" + form)))
        return int(value)

    # --- values ---

    def skip(self, count: int) -> None:
        self._source.take(count)

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def push_byte(self) -> None:
        self._stack.append(self._source.byte())

    def push_number(self, form: str) -> None:
        self._stack.append(self._number(form))

    def push_double(self) -> None:
        self._stack.append(_DOUBLE(self._source.take(8))[0])

    def push_long(self) -> None:
        self._stack.append(int.from_bytes(self._source.take(self._source.byte()), "little", signed=True))

    def push_bytes(self, form: str) -> None:
        self._stack.append(self._source.take(self._number(form)))

    def push_short_bytes(self) -> None:
        self._stack.append(self._source.take(self._source.byte()))

    def push_text(self, form: str) -> None:
        self._stack.append(self._text(self._number(form)))

    def push_short_text(self) -> None:
        self._stack.append(self._text(self._source.byte()))

    def push_set(self) -> None:
        self._sets += 1
        if self._sets > _MOST_SETS:
            raise Malformed(f"it holds more than {_MOST_SETS:,} sets")
        self._stack.append(set())

    def _text(self, length: int) -> str:
        raw = self._source.take(length)
        if length > _SHORT:
            return raw.decode("utf-8", "surrogatepass")
        text = self._texts.get(raw)
        if text is None:
            text = raw.decode("utf-8", "surrogatepass")
            if len(self._texts) < _MOST_SHORT:
                self._texts[raw] = text
        return text

    # --- the stack ---

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
        self._stack.append(tuple(map(_plain, reversed(items))))

    def tuple_since_mark(self) -> None:
        self._stack.append(tuple(map(_plain, self.since_mark())))

    def append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise Malformed(f"it appends to a {type(target).__name__}")
        target.extend(map(_plain, items))

    def add(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, set):
            raise Malformed(f"it adds to a {type(target).__name__}")
        target.update(map(key, items))

    def set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise Malformed(f"it sets items of a {type(target).__name__}")
        for name, value in zip(items[::2], items[1::2], strict=True):
            target[name if type(name) is str else key(name)] = _plain(value)
        if self._filled is not None:
            self._filled(target)

    def set_item(self) -> None:
        value, name = self._stack.pop(), self._stack.pop()
        self.set_items([name, value])

    # --- notes: what is used again ---

    def _remember(self, number: int) -> None:
        if number == len(self._notes):
            self._notes.append(self._stack[-1])
        elif number < len(self._notes):
            self._notes[number] = self._stack[-1]
        else:
            self._other_notes[number] = self._stack[-1]

    def _recall(self, number: int) -> None:
        self._stack.append(self._notes[number] if number < len(self._notes) else self._other_notes[number])

    def remember_short(self) -> None:
        self._remember(self._source.byte())

    def remember(self) -> None:
        self._remember(self._number("I"))

    def remember_next(self) -> None:
        self._remember(len(self._notes) + len(self._other_notes))

    def recall_short(self) -> None:
        self._recall(self._source.byte())

    def recall(self) -> None:
        self._recall(self._number("I"))

    # --- words ---

    def name_line(self) -> None:
        module = self._source.line().decode("latin-1")
        self._name(module, self._source.line().decode("latin-1"))

    def name_from_stack(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise Malformed("it asks for a name that is no text")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        meaning = self._words.get((module, name))
        if meaning is None:
            raise Malformed(f"it asks for {module[:60]}.{name[:60]}, which is not allowed")
        self._stack.append(Word(meaning))

    def reduce(self) -> None:
        arguments, word = self._stack.pop(), self._stack.pop()
        if isinstance(word, Word) and word.meaning == "encode" and isinstance(arguments, tuple) and arguments:
            self._copies(arguments[0] if isinstance(arguments[0], str) else "")
        if isinstance(word, Word) and word.meaning == "set":
            self._sets += 1
            if self._sets > _MOST_SETS:
                raise Malformed(f"it holds more than {_MOST_SETS:,} sets")
            if isinstance(arguments, tuple) and arguments and isinstance(arguments[0], list):
                self._copies(arguments[0])
        self._stack.append(say(word, arguments))

    def _copies(self, content: Sized) -> None:
        """A short file could have one long text, list or state copied over and over."""
        self._encoded += len(content)
        if self._encoded > self._source.position:
            raise Malformed("it grows beyond its own size")

    def new_object(self) -> None:
        arguments, word = self._stack.pop(), self._stack.pop()
        if not isinstance(word, Word) or not isinstance(arguments, tuple) or arguments:
            raise Malformed("it makes an instance in a way that is not allowed")
        self._stack.append(new_record(word.meaning))

    def build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(state, dict):
            self._copies(state)
        give_state(target, state)

    def outside(self) -> None:
        if self._persistent is None:
            raise Malformed("it refers to something outside of itself")
        self._stack.append(self._persistent(self._stack.pop()))


def _plain(value: Any) -> Any:
    return value.value if type(value) is Array else value


# What a damaged pickle may raise beside Malformed.
DAMAGE = (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error, RecursionError, MemoryError)

_BY_NAME: Final[dict[bytes, Callable[[Machine], None]]] = {
    b"\x80": lambda m: m.skip(1),  # PROTO
    b"\x95": lambda m: m.skip(8),  # FRAME
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": Machine.push_byte,  # BININT1
    b"M": lambda m: m.push_number("H"),  # BININT2
    b"J": lambda m: m.push_number("i"),  # BININT
    b"\x8a": Machine.push_long,  # LONG1
    b"G": Machine.push_double,  # BINFLOAT
    b"U": Machine.push_short_bytes,  # SHORT_BINSTRING: a text of Python 2
    b"T": lambda m: m.push_bytes("i"),  # BINSTRING
    b"C": Machine.push_short_bytes,  # SHORT_BINBYTES
    b"B": lambda m: m.push_bytes("I"),  # BINBYTES
    b"\x8e": lambda m: m.push_bytes("Q"),  # BINBYTES8
    b"\x96": lambda m: m.push_bytes("Q"),  # BYTEARRAY8
    b"\x8c": Machine.push_short_text,  # SHORT_BINUNICODE
    b"X": lambda m: m.push_text("I"),  # BINUNICODE
    b"\x8d": lambda m: m.push_text("Q"),  # BINUNICODE8
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"\x8f": Machine.push_set,  # EMPTY_SET
    b"(": Machine.mark,
    b"t": Machine.tuple_since_mark,
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.since_mark()),  # APPENDS
    b"\x90": lambda m: m.add(m.since_mark()),  # ADDITEMS
    b"u": lambda m: m.set_items(m.since_mark()),  # SETITEMS
    b"s": Machine.set_item,
    b"q": Machine.remember_short,  # BINPUT
    b"r": Machine.remember,  # LONG_BINPUT
    b"\x94": Machine.remember_next,  # MEMOIZE
    b"h": Machine.recall_short,  # BINGET
    b"j": Machine.recall,  # LONG_BINGET
    b"c": Machine.name_line,  # GLOBAL
    b"\x93": Machine.name_from_stack,  # STACK_GLOBAL
    b"R": Machine.reduce,
    b"\x81": Machine.new_object,  # NEWOBJ
    b"b": Machine.build,
    b"Q": Machine.outside,  # BINPERSID
}
_ACTIONS: Final = {code[0]: action for code, action in _BY_NAME.items()}
