"""Archives that are damaged or mean harm: one clear error, and nothing runs."""

import base64
import bz2
import json
import os
import pickle
import shutil
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subshot.benchmarks.archives import read_archive
from subshot.benchmarks.archives._protobuf import number, read_message
from subshot.benchmarks.archives._tfrecord import _masked, records
from subshot.data._byte_source import ByteSource, Malformed
from subshot.errors import DataError, SubshotError

HERE = Path(__file__).parent.parent / "miniatures"
TORCH = "NAS-Bench-201-v1_0-mini.pth"
RECORDS = "nasbench_only108-mini.tfrecord"
FOLDER = "NATS-tss-v1_0-mini-simple"


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


@pytest.fixture
def nats(tmp_path: Path) -> Path:
    """A copy of the folder to be spoilt."""
    return Path(shutil.copytree(HERE / FOLDER, tmp_path / FOLDER, copy_function=shutil.copyfile))


@pytest.mark.parametrize("file", ["meta.pickle.pbz2", "000000.pickle.pbz2"])
def test_a_packed_pickle_runs_nothing(file: str, nats: Path, tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    content = pickle.dumps({"meta_archs": [Calls(os.system, f"touch {canary}")]}, protocol=4)
    (nats / file).write_bytes(bz2.compress(content))
    with pytest.raises(DataError, match=rf"{file} can't be read: it asks for .*\.system.*Nothing in it was run"):
        read_archive(nats)
    lone = tmp_path / "NATS-tss-v1_0-x.pickle.pbz2"
    lone.write_bytes(bz2.compress(content))
    with pytest.raises(DataError, match=r"asks for .*\.system"):
        read_archive(lone)
    assert not canary.exists()


def test_a_packed_bomb_does_not_go_off(nats: Path) -> None:
    # 4 MB of one text, or of instructions, in some hundred bytes.
    text = b"\x80\x04\x8d" + struct.pack("<Q", 4 * 10**6)
    packer = bz2.BZ2Compressor()
    bomb = packer.compress(text) + packer.compress(bytes(4 * 10**6)) + packer.flush()
    lists = bz2.compress(b"\x80\x04" + b"]" * 4 * 10**6 + b"N.")
    for content in (bomb, lists):
        (nats / "000000.pickle.pbz2").write_bytes(content)
        tracemalloc.start()
        try:
            with pytest.raises(DataError, match=r"more than the [\d,]+ bytes that such a file may take"):
                read_archive(nats)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 100e6


def test_damaged_packing_is_noticed(nats: Path) -> None:
    path = nats / "000000.pickle.pbz2"
    content = path.read_bytes()
    for length in (0, 1, 3, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"000000\.pickle\.pbz2 (can't be read|is damaged)"):
            read_archive(nats)
    wrong = bytearray(content)
    wrong[-6] ^= 0x40  # in the checksum of the whole
    path.write_bytes(wrong)
    with pytest.raises(DataError, match=r"000000\.pickle\.pbz2 is damaged"):
        read_archive(nats)


def test_a_file_of_another_architecture_is_noticed(nats: Path) -> None:
    shutil.copyfile(nats / "000002.pickle.pbz2", nats / "000000.pickle.pbz2")
    with pytest.raises(DataError, match="is of another architecture than"):
        read_archive(nats)


def test_a_folder_without_architectures(nats: Path) -> None:
    for file in nats.glob("0*"):
        file.unlink()
    with pytest.raises(DataError, match="holds no architectures"):
        read_archive(nats)


@pytest.mark.parametrize(
    "content",
    [{}, [], {"meta_archs": None}, {"meta_archs": []}, {"meta_archs": [1]}, {"meta_archs": ["a"], "arch2infos": 3}]
    + [{"meta_archs": ["a"], "arch2infos": {index: state}} for index in (0, 5, "x") for state in (None, {}, {"12": {}})]
    + [
        {"meta_archs": ["a"], "arch2infos": {0: {"12": {"arch_str": "a", "all_results": results}}}}
        for results in (None, {1: 2}, {("cifar10", 7): {}}, {("cifar10", 7): {"epochs": "x", "eval_acc1es": {}}})
    ],
)
def test_pickles_with_other_content(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "NATS-tss.pickle.pbz2"
    path.write_bytes(bz2.compress(pickle.dumps(content, protocol=4)))
    with pytest.raises(DataError, match=r"NATS-tss\.pickle\.pbz2"):
        read_archive(path)


def test_torch_files_with_other_content(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "x.pth"
    for content in ([1], {"model": {}}, {"arch2infos": {}}, {"arch2infos": {0: {"full": {}}}, "meta_archs": ["a"]}):
        for new in (True, False):
            torch.save(content, path, _use_new_zipfile_serialization=new)
            with pytest.raises(DataError, match=r"x\.pth"):
                read_archive(path)


# --- records ---------------------------------------------------------------------------------------------------------


def framed(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + _masked(length) + record + _masked(record)


def rows_of(path: Path) -> Iterator[list[Any]]:
    with path.open("rb") as file:
        for record in records(ByteSource(file, limit=path.stat().st_size), longest=10_000):
            yield json.loads(record)


def test_checksums_are_the_known_ones() -> None:
    # Known answers of CRC-32C, as RFC 3720 gives them.
    known = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E, b"123456789": 0xE3069283}
    for data, crc in known.items():
        assert _masked(data) == struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def test_a_wrong_checksum_is_noticed(tmp_path: Path) -> None:
    content = (HERE / RECORDS).read_bytes()
    path = tmp_path / "x.tfrecord"
    (length,) = struct.unpack("<Q", content[:8])
    for place, problem in (
        (12, "checksum of the record at byte 0"),
        (11 + length, "checksum of the record at byte 0"),
        (13 + length, "checksum of the record at byte 0"),
        (17 + length, "checksum of the length at byte"),
        (26 + length, "checksum of the length at byte"),
    ):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"x\.tfrecord can't be read: the {problem}"):
            read_archive(path)


def test_records_cut_short_or_far_too_long(tmp_path: Path) -> None:
    content = (HERE / RECORDS).read_bytes()
    path = tmp_path / "x.tfrecord"
    for length in (13, 100, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="truncated"):
            read_archive(path)
    header = struct.pack("<Q", 2**60)
    path.write_bytes(header + _masked(header) + b"x")
    with pytest.raises(DataError, match="announces a record of"):
        read_archive(path)


def test_records_with_other_content(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord"
    key, epochs, matrix, operations, packed = next(rows_of(HERE / RECORDS))
    row = [key, epochs, matrix, operations, packed]
    message = base64.b64decode(packed)
    others: list[Any] = [[*row[:place], other, *row[place + 1 :]] for place in range(5) for other in (None, [], {})]
    others += [{}, 3, row[:4], [*row, 1]]
    others += [
        [key, epochs, matrix[:-1], operations, packed],
        [key, epochs, matrix.replace("1", "2"), operations, packed],
    ]
    others += [[key, epochs, matrix, "input,output", packed], [key, epochs, "1" * 64, ",".join("a" * 8), packed]]
    for spoilt in (
        b"",
        message[:-3],
        message[: len(message) // 2],
        b"\xff" * 20,
        b"\x0b",
        b"\x0a\x02\x20",
        b"\x12\x02ab",
    ):
        others.append([key, epochs, matrix, operations, base64.b64encode(spoilt).decode()])
    others += [[key, epochs, matrix, operations, "no base64!"]]
    for other in others:
        path.write_bytes(framed(json.dumps(other).encode()))
        with pytest.raises(DataError, match=r"x\.tfrecord"):
            read_archive(path)
    for record in (b"", b"{", b"[" * 9_000, b"\xff\xfe"):
        path.write_bytes(framed(record))
        with pytest.raises(DataError, match=r"x\.tfrecord"):
            read_archive(path)


def test_messages() -> None:
    # field 1: 150; field 2: "testing"; field 3: 2.5; field 4: 4 bytes; field 1 again: 1
    data = b"\x08\x96\x01\x12\x07testing\x19" + struct.pack("<d", 2.5) + b"\x25abcd\x08\x01"
    fields = read_message(data)
    assert fields == {1: [150, 1], 2: [b"testing"], 3: [struct.pack("<d", 2.5)], 4: [b"abcd"]}
    assert number(fields, 3) == 2.5
    assert number(fields, 9) == 0.0
    for field in (1, 2, 4):
        with pytest.raises(Malformed, match="no number of 8 bytes"):
            number(fields, field)


# --- scores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"nasbench201": 3}',
        '{"nasbench201": {}}',
        '{"nasbench201": {"cifar10": [1]}}',
        '{"nasbench201": {"cifar10": {"(1, 2)": {}}}}',
        '{"nasbench201": {"cifar10": {"(0, 0, 0, 0, 0, 0)": 1}}}',
        '{"nasbench201": {"cifar10": {"__import__(0)": {"val_accuracy": 1}}}}',
        '{"a": ' + "[" * 100_000,
    ],
    ids=range(9),
)
def test_scores_with_other_content(text: str, tmp_path: Path) -> None:
    path = tmp_path / "zc_nasbench201.json"
    path.write_text(text)
    with pytest.raises(SubshotError):
        read_archive(path)


# --- damage of every kind --------------------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_gives_a_table_or_one_error(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    name = data.draw(st.sampled_from([TORCH, "NATS-tss-v1_0-mini.pickle.pbz2", RECORDS, "zc_nasbench201.json"]))
    content = (HERE / name).read_bytes()
    packed = name.endswith(".pbz2")
    spoilt = bytearray(bz2.decompress(content) if packed else content)
    for _ in range(data.draw(st.integers(1, 3))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(bz2.compress(spoilt) if packed else spoilt)
    try:
        table = read_archive(path)
    except SubshotError:
        return
    assert len({len(column) for column in table.columns.cells.values()}) == 1
