"""IDX files and Fashion-MNIST."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from subshot.data import load_images, take
from subshot.data.idx import read_idx
from subshot.errors import DataError


def write(path: Path, array: np.ndarray) -> Path:
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_set(
    folder: Path, *, suffix: str = ".gz", train: int = 30, test: int = 10, side: int = 28
) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {}
    for part, stem, count in (("train", "train", train), ("test", "t10k", test)):
        made[f"{part}_x"] = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
        made[f"{part}_y"] = np.arange(count) % 5
        write(folder / f"{stem}-images-idx3-ubyte{suffix}", made[f"{part}_x"])
        write(folder / f"{stem}-labels-idx1-ubyte{suffix}", made[f"{part}_y"])
    return made


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)),
    st.sampled_from(["a.gz", "a"]),
    st.none() | st.integers(1, 10),
)
@settings(max_examples=40, deadline=None)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, name: str, limit: int | None) -> None:
    path = write(tmp_path_factory.mktemp("idx") / name, array)
    np.testing.assert_array_equal(read_idx(path, dimensions=array.ndim, limit=limit), array[:limit])


def test_damage_names_the_file(tmp_path: Path) -> None:
    good = struct.pack(">HBB3I", 0, 8, 3, 2, 4, 4) + bytes(32)
    cases = {
        "empty": (b"", "is no IDX file of unsigned bytes: it starts with 0x"),
        "other": (b"\x89PNG" + good, "is no IDX file of unsigned bytes: it starts with 0x89504e47"),
        "floats": (b"\0\0\x0d\x03" + good[4:], r"is no IDX file .* 0x00000d03.* It has to start with 0x00000803"),
        "flat": (b"\0\0\x08\x01" + good[4:], "has 1 dimensions, and 3 are needed"),
        "cut": (good[:10], "ends within its header"),
        "short": (good[:-1], r"announces 32 bytes \(shape \(2, 4, 4\)\) and holds 31"),
        "long": (good + b"\0", "announces 32 bytes .* and holds more"),
        "none": (struct.pack(">HBB3I", 0, 8, 3, 0, 4, 4), r"announces the shape \(0, 4, 4\)"),
        "huge": (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**16, 2**16), "which no set of images has"),
        "large": (struct.pack(">HBB3I", 0, 8, 3, 2**31, 1, 2), "announces 4,294,967,296 bytes .* and holds 0"),
        "packed.gz": (gzip.compress(good)[:-9], r"packed\.gz can't be read"),
        "unpacked.gz": (good, r"unpacked\.gz can't be read: Not a gzipped file"),
        "crc.gz": (gzip.compress(good)[:-8] + bytes(8), r"crc\.gz can't be read: CRC check failed"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"(?s){name}.*|{message}") as caught:
            read_idx(tmp_path / name, dimensions=3)
        assert caught.match(message)
        assert str(tmp_path / name) in caught.value.message
    with pytest.raises(DataError, match="is missing"):
        read_idx(tmp_path / "absent", dimensions=3)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_of_idx_files(tmp_path: Path, suffix: str) -> None:
    made = write_set(tmp_path / "kmnist", suffix=suffix)
    train, test = (load_images(tmp_path / "kmnist", split=part) for part in (None, "test"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(train.images[..., 0], made["train_x"])
    np.testing.assert_array_equal(test.images[..., 0], made["test_x"])
    np.testing.assert_array_equal(test.labels, made["test_y"])
    assert train.name == "kmnist"
    assert train.classes == test.classes == tuple("01234")
    assert (train.mean, train.std) == (test.mean, test.std)
    assert train.mean == pytest.approx([made["train_x"].mean() / 255], abs=1e-4)
    assert take(train, 3)[0].shape == (3, 3, 32, 32)
    assert len(load_images(tmp_path / "kmnist", limit=7)) == 7


def test_images_of_another_size_keep_it(tmp_path: Path) -> None:
    write_set(tmp_path, side=20)
    assert take(load_images(tmp_path), 3)[0].shape == (3, 3, 20, 20)


def test_incomplete_sets_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    write(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(9))
    with pytest.raises(DataError, match="10 images, and its labels are 9"):
        load_images(tmp_path, split="test")
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"has no file t10k-labels-idx\*-ubyte"):
        load_images(tmp_path, split="test")


def test_fashion_mnist_is_found_below_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_set(tmp_path / "fashion-mnist")
    data = load_images("fashion_mnist", root=tmp_path, split="train", limit=8)
    assert data.name == "fashion_mnist"
    assert data.classes[9] == "Ankle boot"
    assert (data.mean, data.std) == ((0.286,), (0.353,))
    np.testing.assert_array_equal(data.images[..., 0], made["train_x"][:8])
    monkeypatch.setattr("subshot.data.fashion_mnist._DEBIAN", tmp_path / "absent")
    with pytest.raises(DataError, match=r"'fashion_mnist' is not here.*apt-get install dataset-fashion-mnist"):
        load_images("fashion_mnist", root=tmp_path / "other")


def test_the_real_fashion_mnist_has_its_published_statistics() -> None:
    try:
        data = load_images("fashion_mnist")
    except DataError as error:
        pytest.skip(error.message)
    assert data.images.shape == (60_000, 28, 28, 1)
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [6_000] * 10
    assert data.images.mean() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert data.images.std() / 255 == pytest.approx(0.3530, abs=5e-5)
    assert len(load_images("fashion_mnist", split="test")) == 10_000
