"""Read files of ``torch.save`` without torch and without unpickling: tensors become NumPy arrays.

Two layouts are known. Since torch 1.6 a file is a ZIP archive: ``NAME/data.pkl`` is a pickle, and ``NAME/data/KEY``
holds the elements of one storage, all without compression. Before, a file was several things in a row: three small
pickles (a magic number, a version, the sizes of types), the pickle of the value, a pickle of the storages' keys, and
the elements of each storage. In both the pickle refers to storages by persistent ids, and a tensor is a view of one.
"""

import zipfile
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from subshot.data._byte_source import ByteSource, Malformed
from subshot.data._pickle_machine import Filled
from subshot.data._pickle_words import PLAIN_WORDS, Storage, Word, Words
from subshot.data._safe_pickle import guarded, run_pickle

ZIP_START: Final = b"PK\x03\x04"
_MAGIC: Final = 0x1950A86A20F9469CFC6C
# The magic number as a pickle of protocol 2: how every file of the old layout begins.
OLD_START: Final = b"\x80\x02\x8a\n" + _MAGIC.to_bytes(10, "little") + b"."
_OLD_VERSION: Final = 1001
_STORAGE: Final = "storage:"
_STORAGES: Final = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}
_WORDS: Final[Words] = {
    **PLAIN_WORDS,
    ("torch._utils", "_rebuild_tensor_v2"): "tensor",
    ("torch._utils", "_rebuild_parameter"): "parameter",
    **{("torch", name): f"{_STORAGE}{code}" for name, code in _STORAGES.items()},
}
_HINT = "Take the file from its original source again, or save it again with torch.save."


def is_torch_file(path: Path) -> bool:
    """Whether a file begins as files of ``torch.save`` do, in either layout."""
    with path.open("rb") as file:
        start = file.read(len(OLD_START))
    if not start.startswith(ZIP_START):
        return start == OLD_START
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # some kinds of damage; reading it says what
        return True


def read_torch(path: Path, *, words: Words | None = None, filled: Filled | None = None) -> Any:
    """Read what ``torch.save`` wrote.

    Args:
        path: The file; it is read from front to back and not held in memory.
        words: Further names it may use.
        filled: Called with each dictionary that was filled, to drop what isn't needed while the file is read.

    Returns:
        Plain values and NumPy arrays.

    Raises:
        DataError: It is no such file, names what isn't allowed, or is truncated or damaged.
    """
    allowed = {**_WORDS, **(words or {})}

    def read() -> Any:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(ZIP_START)) == ZIP_START:
                return _read_zip(file, size, allowed, filled)
            file.seek(0)
            return _read_old(file, size, allowed, filled)

    return guarded(read, name=str(path), hint=_HINT)


class _Storages:
    """The storages a pickle refers to, by key; together they are never larger than the file."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.arrays: dict[str, NDArray[Any]] = {}

    def find(self, reference: object) -> Storage:
        """The storage of a persistent id, still without content if it is new."""
        match reference:
            case ("storage", Word(meaning=meaning), str() as key, str(), int() as count, *rest) if (
                meaning.startswith(_STORAGE) and count >= 0 and rest in ([], [None])
            ):
                dtype = np.dtype("<" + meaning.removeprefix(_STORAGE))
            case _:
                raise Malformed("it refers to something that is no storage")
        found = self.arrays.get(key)
        if found is None:
            self._limit -= count * dtype.itemsize
            if self._limit < 0:
                raise Malformed("its storages are larger than itself")
            found = self.arrays[key] = np.zeros(count, dtype=dtype)
        if found.dtype != dtype or len(found) != count:
            raise Malformed(f"it describes the storage {key[:20]!r} in two ways")
        return Storage(found)


def _read_zip(file: BinaryIO, size: int, words: Words, filled: Filled | None) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if len(entries) != len(archive.infolist()):
                raise Malformed("it has two entries of one name")
            pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
            if len(pickles) != 1:
                raise Malformed("it is no archive of torch: it has no single NAME/data.pkl")
            root = pickles[0].removesuffix("data.pkl")
            if f"{root}byteorder" in entries and _entry(archive, entries, f"{root}byteorder", 16) != b"little":
                raise Malformed("its byte order is not little-endian")
            storages = _Storages(size)
            entry = _checked(entries, pickles[0], size)
            with archive.open(entry) as stream:
                source = ByteSource(stream, limit=entry.file_size)
                result = run_pickle(source, words, persistent=storages.find, filled=filled)
                source.rest()  # to the end, where the checksum is compared
            for key, array in storages.arrays.items():
                raw = _entry(archive, entries, f"{root}data/{key}", array.nbytes)
                if len(raw) != array.nbytes:
                    raise Malformed(f"its storage {key[:20]!r} has {len(raw):,} bytes in place of {array.nbytes:,}")
                array[:] = np.frombuffer(raw, dtype=array.dtype)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise Malformed(f"it is a damaged archive ({error})") from None
    return result


def _entry(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], name: str, most: int) -> bytes:
    return archive.read(_checked(entries, name, most))


def _checked(entries: dict[str, zipfile.ZipInfo], name: str, most: int) -> zipfile.ZipInfo:
    """The entry, if it is stored as it is: torch never compresses, so nothing can unpack to more than the file."""
    entry = entries.get(name)
    if entry is None:
        raise Malformed(f"it has no entry {name[:60]!r}")
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise Malformed(f"its entry {name[:60]!r} is compressed, which torch never does")
    if entry.file_size > most:
        raise Malformed(f"its entry {name[:60]!r} has {entry.file_size:,} bytes, more than {most:,}")
    return entry


def _read_old(file: BinaryIO, size: int, words: Words, filled: Filled | None) -> Any:
    source = ByteSource(file, limit=size)
    if run_pickle(source, {}) != _MAGIC or run_pickle(source, {}) != _OLD_VERSION:
        raise Malformed("it doesn't begin as files of torch.save do")
    system = run_pickle(source, {})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Malformed("its byte order is not little-endian")
    storages = _Storages(size)
    result = run_pickle(source, words, persistent=storages.find, filled=filled)
    keys = run_pickle(source, {})
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Malformed("it has no list of storages")
    if sorted(keys) != sorted(storages.arrays):
        raise Malformed("it lists other storages than it uses")
    for key in keys:
        array = storages.arrays[key]
        if int.from_bytes(source.take(8), "little") != len(array):
            raise Malformed(f"its storage {key[:20]!r} has another size than announced")
        array[:] = np.frombuffer(source.take(array.nbytes), dtype=array.dtype)
    return result
