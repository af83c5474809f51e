"""What a pickle may say beyond plain values, and that no trick gets anything else out of the machine."""

import copyreg
import io
import os
import pickle
import struct
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from subshot.data._byte_source import ByteSource, Malformed
from subshot.data._pickle_words import PLAIN_WORDS, Record, Words, record_words
from subshot.data._safe_pickle import guarded, run_pickle
from subshot.errors import DataError

EXTENSION = 0x7A


def read(content: bytes, words: Words = PLAIN_WORDS, **options: Any) -> Any:
    source = ByteSource(io.BytesIO(content), limit=len(content))
    return guarded(lambda: run_pickle(source, words, **options), name="file")


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


class Plain:
    """Pickles as an instance with attributes."""

    def __init__(self) -> None:
        self.name = "seven"
        self.parts = {("a", 1): [np.float64(0.5)]}


# --- what may be said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numbers_of_numpy_sets_and_ordered_dictionaries(protocol: int) -> None:
    value = {
        "scalars": [np.float64(0.1), np.int64(-7), np.float32(0.5), np.bool_(True), np.float16(2)],
        "ordered": OrderedDict([("b", 1.5), ("a", np.arange(3.0))]),
        "set": {1, 2, ("x", 3)},
        "bytes": b"",
        ("key", 5): {6: None},
    }
    got = read(pickle.dumps(value, protocol=protocol))
    assert list(got) == list(value)
    assert got["scalars"] == [0.1, -7, 0.5, True, 2.0]
    assert [type(one) for one in got["scalars"]] == [float, int, float, bool, float]
    assert list(got["ordered"]) == ["b", "a"]
    np.testing.assert_array_equal(got["ordered"]["a"], [0.0, 1.0, 2.0])
    assert got["set"] == value["set"]
    assert got["bytes"] == b""
    assert got["key", 5] == {6: None}


def test_an_array_deep_inside_is_an_array() -> None:
    value = {"a": [(np.arange(4).reshape(2, 2), [np.array([True])])]}
    got = read(pickle.dumps(value, protocol=4))
    np.testing.assert_array_equal(got["a"][0][0], value["a"][0][0])
    assert isinstance(got["a"][0][1][0], np.ndarray)


@pytest.mark.parametrize("protocol", [2, 4])
def test_an_allowed_class_becomes_a_record(protocol: int) -> None:
    name = f"{Plain.__module__}.{Plain.__qualname__}"
    content = pickle.dumps([Plain(), 1], protocol=protocol)
    record, one = read(content, {**PLAIN_WORDS, **record_words(name)})
    assert one == 1
    assert type(record) is Record
    assert (record.kind, record.state) == (name, {"name": "seven", "parts": {("a", 1): [0.5]}})
    with pytest.raises(DataError, match=r"asks for .*Plain, which is not allowed\. Nothing in it was run"):
        read(content)


def test_attributes_of_an_ordered_dictionary_are_dropped() -> None:
    value = OrderedDict(weight=1)
    value._metadata = {"version": 1}  # type: ignore[attr-defined]
    assert read(pickle.dumps(value, protocol=2)) == {"weight": 1}


def test_several_pickles_in_a_row() -> None:
    content = b"".join(pickle.dumps(value, protocol=2) for value in (1, "two", [3.0]))
    source = ByteSource(io.BytesIO(content + b"rest"), limit=1000)
    assert [run_pickle(source, {}) for _ in range(3)] == [1, "two", [3.0]]
    assert source.take(4) == b"rest"
    with pytest.raises(Malformed, match="truncated: 1 bytes are announced"):
        source.take(1)


def test_what_is_not_needed_can_be_dropped_on_the_way() -> None:
    seen = []

    def drop(one: dict[Any, Any]) -> None:
        seen.append(len(one))
        one.pop("big", None)

    value = [{"big": list(range(100)), "small": number} for number in range(3)]
    assert read(pickle.dumps(value, protocol=2), filled=drop) == [{"small": number} for number in range(3)]
    assert seen == [2, 2, 2]


# --- hostile files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def _extension() -> Iterator[None]:
    # An entry of the registry by which a pickle may name a function with a number.
    copyreg.add_extension("os", "system", EXTENSION)
    yield
    copyreg.remove_extension("os", "system", EXTENSION)


def tricks(command: str) -> dict[str, bytes]:
    """Pickles that run a command in Python's own reader."""
    say = text(command)
    module = os.system.__module__.encode()
    return {
        "reduce": b"\x80\x02c" + module + b"\nsystem\n" + say + b"\x85R.",
        "inst": b"(" + say + b"i" + module + b"\nsystem\n.",
        "obj": b"(c" + module + b"\nsystem\n" + say + b"o.",
        "newobj": b"\x80\x02csubprocess\nPopen\n" + text("/bin/true") + b"\x85\x81.",
        "newobj_ex": b"\x80\x04csubprocess\nPopen\n" + text("/bin/true") + b"\x85}\x92.",
        "stack_global": b"\x80\x04" + text(module.decode()) + text("system") + b"\x93" + say + b"\x85R.",
        "ext1": b"\x80\x02\x82" + bytes([EXTENSION]) + say + b"\x85R.",
        "ext2": b"\x80\x02\x83" + struct.pack("<H", EXTENSION) + say + b"\x85R.",
        "ext4": b"\x80\x02\x84" + struct.pack("<i", EXTENSION) + say + b"\x85R.",
        "getattr": b"\x80\x02c__builtin__\ngetattr\ncos\n__dict__\n" + text("system") + b"\x86R" + say + b"\x85R.",
        "eval": b"\x80\x02c__builtin__\neval\n" + text(f"__import__('os').system({command!r})") + b"\x85R.",
        "dotted": b"\x80\x04" + text("os") + text("path.os.system") + b"\x93" + say + b"\x85R.",
        "build": b"\x80\x02ccollections\nOrderedDict\n)R}" + text("__class__") + b"cos\nsystem\nsb" + say + b"\x85R.",
        "memo": b"\x80\x02c" + module + b"\nsystem\nq\x000h\x00" + say + b"\x85R.",
        "functools": b"\x80\x02cfunctools\npartial\ncos\nsystem\n" + say + b"\x86R)R.",
        "persistent": b"\x80\x02" + say + b"Q.",
        "persistent_line": b"P" + command.encode() + b"\n.",
        "reconstructor": b"\x80\x02ccopy_reg\n_reconstructor\ncos\nsystem\nc__builtin__\nobject\nN\x87R.",
        "object_state": b"\x80\x02c__builtin__\nobject\n}" + text("__reduce__") + b"Nsb.",
        "importlib": b"\x80\x02cimportlib\nimport_module\n" + text("os") + b"\x85R.",
        "torch": b"\x80\x02ctorch.storage\n_load_from_bytes\n" + say + b"\x85R.",
    }


@pytest.mark.usefixtures("_extension")
@pytest.mark.parametrize("trick", tricks(""))
def test_no_trick_runs_anything(trick: str, tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    content = tricks(f"touch {canary}")[trick]
    for words in ({}, PLAIN_WORDS, {**PLAIN_WORDS, **record_words("some.Class")}):
        with pytest.raises(DataError, match=r"^file can't be read: it .*\. Nothing in it was run\."):
            read(content, words)
    assert not canary.exists()


def test_the_tricks_are_real(tmp_path: Path) -> None:
    # Else the test above would prove nothing.
    canary = tmp_path / "ran"
    for trick in ("reduce", "obj", "stack_global", "memo"):
        pickle.loads(tricks(f"touch {canary}")[trick])  # noqa: S301 - written above, in a folder of its own
        assert canary.exists(), trick
        canary.unlink()


@pytest.mark.parametrize(
    "code",
    [
        # allowed words with arguments of the wrong kind
        b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
        b"\x80\x02c__builtin__\nset\n]]a\x85R.",
        b"\x80\x02c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02O8K\x00K\x01\x87RU\x01a\x86R.",
        b"\x80\x02ccopy_reg\n_reconstructor\ncnumpy\ndtype\nc__builtin__\nobject\nN\x87R.",
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        b"\x80\x02ccollections\nOrderedDict\n)R]b.",
        # a list as a member of a set, a deep tuple as a key
        b"\x80\x04\x8f(]\x90.",
        b"\x80\x04\x8f(" + b"K\x01" + b"\x85" * 50_000 + b"\x90.",
        b"\x80\x02}((K\x01K\x02\x86K\x03tK\x01u.",
        b"\x80\x02}" + b"(" + b"K\x01" * 9 + b"tK\x01s.",
        # numbers that end early
        b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f8K\x00K\x01\x87RU\x04abcd\x86R.",
    ],
)
def test_words_are_used_in_their_own_way_only(code: bytes) -> None:
    with pytest.raises(DataError, match="file can't be read: "):
        read(code)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x80\x04" + b"\x8f" * 20_000 + b".",  # empty sets, 216 bytes for one
        b"\x80\x02" + b"c__builtin__\nset\nq\x00]q\x01\x85q\x02" + b"h\x00h\x02R" * 20_000 + b".",
        b"\x80\x02}" + b"r\xfe\xff\xff\xff" * 1000 + b"J",
        b"\x80\x02(" + b"K\x01" * 100_000,
        b"\x80\x04\x8e" + b"\xff" * 8 + b".",
        b"\x80\x04\x8d" + b"\xff" * 7 + b"\x0f.",
        b"\x80\x02" + b"(" * 100_000 + b"t" * 100_001 + b".",
    ],
)
def test_bombs_do_not_go_off(bomb: bytes) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 15e6


def test_a_stream_has_a_limit() -> None:
    content = pickle.dumps(list(range(1000)), protocol=2)
    source = ByteSource(io.BytesIO(content), limit=len(content) - 1)
    with pytest.raises(DataError, match=r"more than the [\d,]+ bytes that such a file may take"):
        guarded(lambda: run_pickle(source, {}), name="file")
