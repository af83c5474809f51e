"""CIFAR batches, in miniatures written the way the original files are."""

import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from subshot.data import load_images
from subshot.data.cifar import CIFAR10_STATISTICS, CIFAR100_STATISTICS
from subshot.errors import DataError

PER_BATCH = 4


def short(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text


def texts(values: list[bytes]) -> bytes:
    return b"](" + b"".join(map(short, values)) + b"e"


def python2(entries: dict[bytes, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(short(key) + value for key, value in entries.items()) + b"u."


def array(pixels: np.ndarray) -> bytes:
    raw = pixels.tobytes()
    shape = b"".join(b"M" + size.to_bytes(2, "little") for size in pixels.shape)
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape + b"\x86"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    )


def numbers(values: list[int]) -> bytes:
    return b"](" + b"".join(b"K" + bytes([value]) for value in values) + b"e"


def write_cifar10(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All images in order (five training batches, then the test batch), channel first, and their labels."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    pixels = np.random.default_rng(0).integers(0, 256, (len(names) * PER_BATCH, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(len(pixels)) % 10
    for position, name in enumerate(names):
        part = slice(position * PER_BATCH, (position + 1) * PER_BATCH)
        content = python2(
            {
                b"batch_label": short(b"training batch 1 of 5"),
                b"labels": numbers(labels[part].tolist()),
                b"data": array(pixels[part].reshape(PER_BATCH, -1)),
                b"filenames": texts([b"leptodactylus_pentadactylus_s_000004.png"] * PER_BATCH),
            }
        )
        (folder / name).write_bytes(content)
    meta = {
        b"num_cases_per_batch": b"M\x10\x27",
        b"label_names": texts([b"class_%d" % i for i in range(10)]),
        b"num_vis": b"M\x00\x0c",
    }
    (folder / "batches.meta").write_bytes(python2(meta))
    return pixels, labels


def write_cifar100(folder: Path) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(1).integers(0, 256, (6, 3072), dtype=np.uint8)
    for name in ("train", "test"):
        content = python2(
            {
                b"filenames": texts([b"bos_taurus_s_000507.png"] * 6),
                b"batch_label": short(b"training batch 1 of 1"),
                b"fine_labels": numbers([19, 29, 0, 11, 1, 99]),
                b"coarse_labels": numbers([11, 15, 4, 14, 1, 5]),
                b"data": array(pixels),
            }
        )
        (folder / name).write_bytes(content)
    meta = {
        b"fine_label_names": texts([b"fine_%d" % i for i in range(100)]),
        b"coarse_label_names": texts([b"coarse_%d" % i for i in range(20)]),
    }
    (folder / "meta").write_bytes(python2(meta))
    return pixels


def pack(archive: Path, folder: Path, *, leave_out: str = "") -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir(), reverse=True):
            if path.name != leave_out:
                tar.add(path, f"{folder.name}/{path.name}")
    return archive


def test_cifar10_keeps_the_official_order(tmp_path: Path) -> None:
    pixels, labels = write_cifar10(tmp_path / "cifar-10-batches-py")
    train = load_images("cifar10", root=tmp_path)
    np.testing.assert_array_equal(train.images, pixels[:20].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(train.labels, labels[:20])
    assert train.classes == tuple(f"class_{number}" for number in range(10))
    assert (train.mean, train.std) == CIFAR10_STATISTICS
    test = load_images(tmp_path / "cifar-10-batches-py", split="test")
    assert test.name == "cifar10"
    np.testing.assert_array_equal(test.images, pixels[20:].transpose(0, 2, 3, 1))


def test_cifar100_has_fine_labels(tmp_path: Path) -> None:
    pixels = write_cifar100(tmp_path / "images" / "cifar-100-python")
    data = load_images("cifar100", root=tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [19, 29, 0, 11, 1, 99]
    assert data.classes[99] == "fine_99"
    assert (data.mean, data.std) == CIFAR100_STATISTICS
    np.testing.assert_array_equal(data.images[2, 31, 30], pixels[2].reshape(3, 32, 32)[:, 31, 30])


def test_a_limit_reads_no_further_batch(tmp_path: Path) -> None:
    pixels, _ = write_cifar10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(b"damaged")
    data = load_images(tmp_path, limit=7)
    np.testing.assert_array_equal(data.images, pixels[:7].transpose(0, 2, 3, 1))
    with pytest.raises(DataError, match="data_batch_3"):
        load_images(tmp_path, limit=9)


def test_the_archive_is_read_without_unpacking(tmp_path: Path) -> None:
    folder = tmp_path / "unpacked" / "cifar-10-batches-py"
    write_cifar10(folder)
    archive = pack(tmp_path / "cifar-10-python.tar.gz", folder)
    for split in ("train", "test"):
        assert load_images(archive, split=split).digest == load_images(folder, split=split).digest  # type: ignore[arg-type]
    assert load_images("cifar10", root=tmp_path, limit=5).digest == load_images(folder, limit=5).digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar-10-python.tar.gz", "unpacked"]


def test_damaged_archives(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar10(folder)
    archive = pack(tmp_path / "cifar-10-python.tar.gz", folder, leave_out="test_batch")
    with pytest.raises(DataError, match=r"lacks cifar-10-batches-py/test_batch"):
        load_images(archive, split="test")
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz (can't be read|lacks)"):
        load_images(archive)
    archive.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz can't be read"):
        load_images(archive)


def test_an_archive_cannot_announce_gigabytes(tmp_path: Path) -> None:
    info = tarfile.TarInfo("cifar-10-batches-py/batches.meta")
    info.size = 2**40
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(gzip.compress(info.tobuf() + bytes(2048)))
    with pytest.raises(DataError, match="announces 1,099,511,627,776 bytes"):
        load_images(archive)


def test_a_link_in_an_archive_is_no_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(python2({b"label_names": texts([b"secret"])}))
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo("cifar-10-batches-py/batches.meta")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link, io.BytesIO())
    with pytest.raises(DataError, match=r"lacks cifar-10-batches-py/batches\.meta"):
        load_images(archive)


def test_a_hostile_batch_runs_nothing(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    canary = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {canary}",)

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": Hostile()}, protocol=2))
    with pytest.raises(DataError, match=r"data_batch_1 can't be read: it asks for \w+\.system, which is not allowed"):
        load_images(tmp_path)
    assert not canary.exists()


def test_wrong_contents_are_named(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    good = {b"labels": numbers([1, 2]), b"data": array(np.zeros((2, 3072), dtype=np.uint8))}
    cases = [
        ({b"data": b"N"}, r"no images under 'data': found NoneType"),
        ({b"data": array(np.zeros((2, 100), dtype=np.uint8))}, r"found uint8 \(2, 100\), not uint8 \(N, 3072\)"),
        ({b"labels": numbers([1])}, "has 2 images, and 1 labels"),
        ({b"labels": texts([b"1", b"2"])}, "has 2 images, and no list of numbers under 'labels'"),
        ({b"labels": numbers([1, 10])}, "has labels from 1 to 10, and there are 10 classes"),
    ]
    for change, message in cases:
        (tmp_path / "data_batch_1").write_bytes(python2({**good, **change}))
        with pytest.raises(DataError, match=f"data_batch_1 .*{message}"):
            load_images(tmp_path)
    (tmp_path / "batches.meta").write_bytes(python2({b"label_names": b"N"}))
    with pytest.raises(DataError, match=r"batches\.meta has no list of class names under 'label_names'"):
        load_images(tmp_path)
    (tmp_path / "batches.meta").unlink()
    with pytest.raises(DataError, match=r"batches\.meta can't be read: No such file"):
        load_images(tmp_path)


def test_copies_saved_again_by_python_3(tmp_path: Path) -> None:
    pixels, labels = write_cifar10(tmp_path)
    flat = np.asfortranarray(pixels[:4].reshape(4, -1))
    for protocol in (2, 4, 5):
        values = {"labels": np.arange(4), "data": flat, "filenames": ["a.png"] * 4}
        (tmp_path / "data_batch_1").write_bytes(pickle.dumps(values, protocol=protocol))
        data = load_images(tmp_path, limit=4)
        np.testing.assert_array_equal(data.images, pixels[:4].transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(data.labels, labels[:4])
