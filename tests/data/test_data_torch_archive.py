"""The reader of ``torch.save``'s files: it agrees with torch on tensors and runs nothing of hostile archives."""

import contextlib
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from subshot.data._torch_archive import is_torch_file, read_torch
from subshot.errors import DataError

NEW = pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])


def save(value: Any, path: Path, *, new: bool, protocol: int = 2) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    return path


def sample() -> dict[str, Any]:
    shared = torch.arange(24, dtype=torch.float32)
    return {
        "net": OrderedDict(weight=shared.view(4, 6).t(), part=shared[5:9], step=shared[::5]),
        "kinds": [
            torch.tensor([1.5, -2], dtype=torch.float64),
            torch.tensor([[1], [2]]),
            torch.tensor([True, False]),
            torch.tensor([0.5], dtype=torch.float16),
            torch.tensor([-3], dtype=torch.int8),
            torch.tensor([200], dtype=torch.uint8),
            torch.zeros(0, 3),
            torch.tensor(7.0),
        ],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "plain": {("cifar10", 777): [1, 2.5, None, "text", np.float64(0.25)], 3: {4}},
    }


def compare(ours: Any, theirs: Any) -> int:
    """Equal, tensors as arrays; how many of those there are."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, np.ndarray)
        assert ours.shape == tuple(theirs.shape)
        np.testing.assert_array_equal(ours, theirs.detach().numpy())
        assert ours.dtype == theirs.detach().numpy().dtype
        return 1
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        return sum(compare(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        return sum(map(compare, ours, theirs))
    assert ours == theirs
    return 0


@NEW
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_agrees_with_torch(new: bool, protocol: int, tmp_path: Path) -> None:
    path = save(sample(), tmp_path / "x.pth", new=new, protocol=protocol)
    assert compare(read_torch(path), sample()) == 12
    assert is_torch_file(path) == (new or protocol == 2)  # the old layout's usual protocol


@NEW
def test_agrees_with_torch_on_the_weights_of_a_network(new: bool, tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(5, 2))
    path = save(network.state_dict(), tmp_path / "weights", new=new)
    assert compare(read_torch(path), dict(network.state_dict())) == 9


@NEW
def test_tensors_can_not_be_written_to(new: bool, tmp_path: Path) -> None:
    array = read_torch(save([torch.ones(3)], tmp_path / "x", new=new))[0]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 2


def test_other_files_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for content in (b"", b"PK\x03\x04", b"\x80\x02}.", b"column,other\n1,2\n", bytes(100)):
        path.write_bytes(content)
        assert not is_torch_file(path)
        with pytest.raises(DataError, match=r"x\.pth"):
            read_torch(path)


# --- hostile files ---------------------------------------------------------------------------------------------------


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


@NEW
def test_runs_nothing(new: bool, tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    for call in (Calls(eval, "1 + 1"), Calls(os.system, f"touch {canary}")):
        path = save({"arch2infos": [call]}, tmp_path / "x.pth", new=new)
        with pytest.raises(DataError, match=r"asks for .*\.(system|eval), which is not allowed. Nothing in it was run"):
            read_torch(path)
        assert not canary.exists()
    torch.load(path, weights_only=False)
    assert canary.exists()  # so the file was a real one


def test_the_small_pickles_of_the_old_layout_are_guarded_too(tmp_path: Path) -> None:
    path, canary = tmp_path / "x.pth", tmp_path / "ran"
    hostile = pickle.dumps(Calls(os.system, f"touch {canary}"), protocol=2)
    genuine = save([1], path, new=False).read_bytes()
    starts = [0, *(genuine.index(mark) for mark in (b"\x80\x02M\xe9\x03.", b"\x80\x02}", b"\x80\x02]"))]
    for start in starts:
        path.write_bytes(genuine[:start] + hostile)
        with pytest.raises(DataError, match=r"asks for|doesn't begin"):
            read_torch(path)
    path.write_bytes(genuine[: genuine.rindex(b"\x80\x02]")] + hostile)  # in place of the list of storages
    with pytest.raises(DataError, match="asks for"):
        read_torch(path)
    assert not canary.exists()


def archive(entries: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as made:
        for name, data in entries.items():
            made.writestr(name, data)
    return content.getvalue()


def tensor(count: int, *, reference: bytes | None = None, size: int = 2, step: int = 1, start: int = 0) -> bytes:
    """The pickle of one tensor over a storage that claims ``count`` elements."""

    def integer(value: int) -> bytes:
        raw = value.to_bytes(9, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw

    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    storage += integer(count) + b"tQ"
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        + (reference or storage)
        + integer(start)
        + integer(size)
        + b"\x85"
        + integer(step)
        + b"\x85\x89ccollections\nOrderedDict\n)RtR."
    )


def test_the_hand_made_tensor_is_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(archive({"a/data.pkl": tensor(4, start=1), "a/data/0": np.arange(4, dtype="<f4").tobytes()}))
    np.testing.assert_array_equal(read_torch(path), [1, 2])


@pytest.mark.parametrize(
    ("problem", "entries"),
    [
        ("larger than itself", {"a/data.pkl": tensor(2**40), "a/data/0": b""}),
        ("no storage", {"a/data.pkl": tensor(-1), "a/data/0": b""}),
        ("has no entry 'a/data/0'", {"a/data.pkl": tensor(2)}),
        ("has 4 bytes in place of 8", {"a/data.pkl": tensor(2), "a/data/0": bytes(4)}),
        ("more than 8", {"a/data.pkl": tensor(2), "a/data/0": bytes(12)}),
        ("larger than its storage", {"a/data.pkl": tensor(2, size=3), "a/data/0": bytes(8)}),
        ("larger than its storage", {"a/data.pkl": tensor(2, step=2), "a/data/0": bytes(8)}),
        ("larger than its storage", {"a/data.pkl": tensor(2, start=1), "a/data/0": bytes(8)}),
        ("larger than its storage", {"a/data.pkl": tensor(2, size=2**60, step=0), "a/data/0": bytes(8)}),
        ("no short list of sizes", {"a/data.pkl": tensor(2, step=-1, start=1), "a/data/0": bytes(8)}),
        ("don't fit", {"a/data.pkl": tensor(2, start=-1), "a/data/0": bytes(8)}),
        ("no storage", {"a/data.pkl": tensor(2, reference=b"X\x02\x00\x00\x00osQ"), "a/data/0": bytes(8)}),
        ("no storage", {"a/data.pkl": tensor(2, reference=b"(X\x07\x00\x00\x00storageNNNNtQ")}),
        ("no single NAME/data.pkl", {"a/data.pkl": b"\x80\x02N.", "b/data.pkl": b"\x80\x02N."}),
        ("no single NAME/data.pkl", {"../../data.pkl": b"\x80\x02N."}),
        ("no single NAME/data.pkl", {"data.pkl": b"\x80\x02N."}),
        ("not little-endian", {"a/data.pkl": b"\x80\x02N.", "a/byteorder": b"big"}),
    ],
)
def test_archives_that_lie(problem: str, entries: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(archive(entries))
    with pytest.raises(DataError, match=rf"x\.pth can't be read: .*{problem}"):
        read_torch(path)
    assert [one.name for one in tmp_path.iterdir()] == ["x.pth"]


def test_nothing_is_unpacked_that_torch_would_not_pack(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path.write_bytes(archive({"a/data.pkl": b"\x80\x02" + b"N0" * 1_000_000 + b"N."}, compression=method))
        with pytest.raises(DataError, match="is compressed, which torch never does"):
            read_torch(path)


def test_two_entries_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/data.pkl", b"\x80\x02N.")
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("a/data.pkl", b"\x80\x02N.")
    with pytest.raises(DataError, match="two entries of one name"):
        read_torch(path)


def test_checksums_are_compared(tmp_path: Path) -> None:
    path = save([torch.arange(100.0), "text"], tmp_path / "x.pth", new=True)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as made:
        entries = [entry for entry in made.infolist() if entry.filename.endswith(("data.pkl", "data/0"))]
    assert len(entries) == 2
    for entry in entries:
        (name, extra) = struct.unpack("<HH", content[entry.header_offset + 26 : entry.header_offset + 30])
        last = entry.header_offset + 30 + name + extra + entry.file_size - 2
        damaged = bytearray(content)
        damaged[last - 4] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"x\.pth"):
            read_torch(path)


@NEW
def test_every_truncation_is_noticed(new: bool, tmp_path: Path) -> None:
    path = save({"a": torch.arange(5), "b": "text"}, tmp_path / "x.pth", new=new)
    content = path.read_bytes()
    for length in range(0, len(content), 1 if len(content) < 800 else 13):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"x\.pth (can't be read|is damaged)"):
            read_torch(path)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    path = tmp_path_factory.mktemp("genuine") / "x.pth"
    return [save(sample(), path, new=new).read_bytes() for new in (True, False)]


def test_an_archive_of_several_disks_is_damaged(tmp_path: Path) -> None:
    path = save({"a": torch.arange(5)}, tmp_path / "x.pth", new=True)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x06\x07") + 16] = 2  # how many disks there are
    path.write_bytes(content)
    assert is_torch_file(path)
    with pytest.raises(DataError, match=r"x\.pth (can't be read|is damaged)"):
        read_torch(path)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_gives_values_or_one_error(
    data: st.DataObject, genuine: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(data.draw(st.sampled_from(genuine)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(content)
    is_torch_file(path)
    with contextlib.suppress(DataError):  # and nothing else
        read_torch(path)
