"""The reader of pickles: it agrees with Python's on harmless files and runs nothing of hostile ones."""

import os
import pickle
import pickletools
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from subshot.data._safe_pickle import read_pickle
from subshot.errors import DataError

PIXELS = np.arange(2 * 12, dtype=np.uint8).reshape(2, 12)


def short(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text


def python2(pixels: np.ndarray, labels: list[int], *, key: bytes = b"labels") -> bytes:
    """A batch byte for byte as Python 2 wrote the original files."""
    raw = pixels.tobytes()
    rows, columns = (b"M" + size.to_bytes(2, "little") for size in pixels.shape)
    return b"".join(
        [
            b"\x80\x02}q\x01(" + short(b"batch_label") + b"q\x02" + short(b"training batch 1 of 5") + b"q\x03",
            short(key) + b"q\x04]q\x05(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e",
            short(b"data") + b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08",
            b"K\x00\x85U\x01b\x87Rq\x09(K\x01" + rows + columns + b"\x86cnumpy\ndtype\nq\n" + short(b"u1"),
            b"K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
            b"T" + len(raw).to_bytes(4, "little") + raw + b"tb" + short(b"filenames") + b"q\x0c]q\r(",
            b"".join(short(b"image_%d.png" % i) + b"r" + (14 + i).to_bytes(4, "little") for i in range(len(labels))),
            b"eu.",
        ]
    )


# --- agreement with Python's own reader ------------------------------------------------------------------------------


def test_reads_what_python_2_wrote() -> None:
    content = python2(PIXELS, [3, 9])
    ours = read_pickle(content, name="batch")
    theirs = pickle.loads(content, encoding="bytes")  # noqa: S301 - written above
    assert list(ours) == [key.decode() for key in theirs] == ["batch_label", "labels", "data", "filenames"]
    np.testing.assert_array_equal(ours["data"], theirs[b"data"])
    np.testing.assert_array_equal(ours["data"], PIXELS)
    assert ours["labels"] == [3, 9]
    assert ours["filenames"] == [b"image_0.png", b"image_1.png"]


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.integers(-(2**300), 2**300)
    | st.text(max_size=300)
    | st.binary(min_size=1, max_size=300),
    lambda inner: st.lists(inner, max_size=5) | st.lists(inner, max_size=5).map(tuple),
    max_leaves=10,
)
arrays = hnp.arrays(
    dtype=st.sampled_from(["|b1", "|u1", "|i1", "<u2", ">i2", "<i4", ">u4", "<i8", "<f4", ">f8"]),
    shape=hnp.array_shapes(max_dims=4, max_side=5),
).map(lambda array: np.asfortranarray(array) if array.size % 2 else array)


@given(st.dictionaries(st.text(max_size=20), plain | arrays, max_size=5), st.sampled_from([2, 3, 4, 5]))
@settings(max_examples=150, deadline=None)
def test_reads_what_any_protocol_writes(values: dict[str, Any], protocol: int) -> None:
    got = read_pickle(pickle.dumps(values, protocol=protocol), name="file")
    assert list(got) == list(values)
    for key, value in values.items():
        if isinstance(value, np.ndarray):
            assert got[key].dtype == value.dtype
            np.testing.assert_array_equal(got[key], value)
        else:
            assert got[key] == value
            assert type(got[key]) is type(value)


def test_reads_old_and_new_names_of_numpys_modules() -> None:
    content = python2(PIXELS, [1, 2])
    for old, new in ((b"numpy.core.multiarray", b"numpy._core.multiarray"),):
        np.testing.assert_array_equal(read_pickle(content.replace(old, new), name="batch")["data"], PIXELS)


# --- hostile files ---------------------------------------------------------------------------------------------------


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.system, r"\.system"),
        (eval, r"\.eval"),
        (exec, r"\.exec"),
        (getattr, r"\.getattr"),
        (__import__, r"\.__import__"),
    ],
)
def test_runs_nothing(function: Callable[..., Any], named: str, protocol: int, tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    argument = f"touch {canary}" if function is os.system else f"open({str(canary)!r}, 'w')"
    content = pickle.dumps({"data": [{"deep": Calls(function, argument)}]}, protocol=protocol)
    with pytest.raises(DataError, match=r"Nothing in it was run|damaged") as caught:
        read_pickle(content, name="data_batch_1")
    if protocol >= 2:
        assert "data_batch_1 can't be read: it asks for " in caught.value.message
        assert __import__("re").search(named + ", which is not allowed", caught.value.message)
    assert not canary.exists()


def test_refuses_chains_through_what_is_allowed() -> None:
    codes = [
        # numpy.dtype's attributes, by name with a dot as protocol 4 allows
        b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
        b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__reduce__\x93.",
        # what an allowed name is called with
        b"\x80\x02cnumpy\nndarray\n(K\x05tR.",
        b"\x80\x02cnumpy\ndtype\nU\x01OK\x00K\x01\x87R.",
        b"\x80\x02cnumpy\ndtype\nU\x02V8K\x00K\x01\x87R.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85U\x01b\x87R.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf_7\x86R.",
        # a state for something that has none
        b"\x80\x02}}U\x01aU\x01bsb.",
        b"\x80\x02cnumpy\ndtype\n}U\x08__call__U\x01bsb.",
        b"\x80\x02cnumpy\nndarray\nN}U\x01aU\x01bs\x86b.",
        # a call of something that is no function
        b"\x80\x02U\x06system(U\x02lstR.",
    ]
    for code in codes:
        with pytest.raises(DataError, match=r"file can't be read: it .*\. Nothing in it was run\."):
            read_pickle(code, name="file")


def test_refuses_every_other_instruction() -> None:
    needed = set("\x80\x95N\x88\x89KMJ\x8aGUTCB\x8e\x96\x8cX\x8d]})\x8f(t\x85\x86\x87ae\x90usqr\x94hjc\x93R\x81bQ.")
    for opcode in pickletools.opcodes:
        if opcode.code in needed:
            continue
        content = b"\x80\x02}(" + opcode.code.encode("latin-1") + b"os\nsystem\n\x00\x00\x00\x00\x00\x00\x00\x00."
        with pytest.raises(DataError, match="it holds the instruction"):
            read_pickle(content, name=opcode.name)


@pytest.mark.parametrize(
    "bomb",
    [
        # an array far larger than its content
        python2(PIXELS, [1, 2]).replace(b"M\x02\x00M\x0c\x00", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f"),
        # more bytes than the file has, and fewer than none
        b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02(T\xfb\xff\xff\xff.",
        # a note under a very large number, for which Python's reader makes room for all below it; then no dictionary
        b"\x80\x02]r\xff\xff\xff\x7f.",
        # one text encoded ten thousand times
        b"\x80\x02c_codecs\nencode\nq\x00X\x00\x00\x01\x00"
        + b"a" * 65536
        + b"q\x01X\x06\x00\x00\x00latin1q\x02"
        + b"h\x00h\x01h\x02\x86R" * 10_000
        + b".",
        # a tuple doubled 60 times, as a key, as a shape and as a name
        b"\x80\x02}(K\x01" + b"q\x00h\x00\x86" * 60 + b"K\x01u.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01"
        + b"q\x00h\x00\x86" * 60
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R\x89U\x01xtb.",
        b"\x80\x04K\x01" + b"q\x00h\x00\x86" * 60 + b"q\x00h\x00\x93.",
        # very deep nesting
        b"\x80\x02}(" + b"K\x01" + b"\x85" * 100_000 + b"K\x01u.",
    ],
)
def test_memory_stays_in_proportion(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_pickle(bomb, name="file")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30e6


def test_every_truncation_is_noticed() -> None:
    content = python2(PIXELS, [3, 9])
    for length in range(len(content)):
        with pytest.raises(DataError, match=r"batch (can't be read|is damaged)"):
            read_pickle(content[:length], name="batch")


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damage_gives_values_or_one_error(data: st.DataObject) -> None:
    content = bytearray(python2(PIXELS, [3, 9]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(2, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = read_pickle(bytes(content), name="batch")
    except DataError:
        return
    assert all(isinstance(key, str) for key in result)


def test_only_dictionaries() -> None:
    for value in ([1, 2], "text", OrderedDict(a=1)):
        with pytest.raises(DataError, match=r"holds a (list|str), not a dictionary|asks for collections.OrderedDict"):
            read_pickle(pickle.dumps(value, protocol=2), name="file")
