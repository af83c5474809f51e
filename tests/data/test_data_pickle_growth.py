"""A short pickle must not grow: copies of one list or state are counted against the file's own size."""

import io

import pytest

from subshot.data._byte_source import ByteSource, Malformed
from subshot.data._pickle_words import PLAIN_WORDS, record_words
from subshot.data._safe_pickle import run_pickle


def test_sets_of_one_long_list():
    numbers = b"](" + b"".join(b"K" + bytes([n % 256]) for n in range(5_000)) + b"e"
    content = b"\x80\x02c__builtin__\nset\nq\x01" + numbers + b"q\x02" + b"h\x01h\x02\x85R" * 500 + b"."
    with pytest.raises(Malformed, match="beyond its own size"):
        run_pickle(ByteSource(io.BytesIO(content), limit=len(content)), PLAIN_WORDS)


def test_records_with_one_large_state():
    state = b"}(" + b"".join(b"X\x04\x00\x00\x00" + b"%04d" % n + b"K\x00" for n in range(2_000)) + b"u"
    content = b"\x80\x02cmine\nThing\nq\x01" + state + b"q\x02" + b"h\x01)\x81h\x02b" * 500 + b"."
    with pytest.raises(Malformed, match="beyond its own size"):
        run_pickle(ByteSource(io.BytesIO(content), limit=len(content)), record_words("mine.Thing"))
