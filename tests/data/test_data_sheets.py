"""Image sheets: the real ones, and miniatures that can be damaged."""

import csv
import gzip
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from subshot.data import ImageData, data_table, load_images, take
from subshot.data._images import statistics
from subshot.errors import DataError


def write_sheets(
    folder: Path, *, train: int = 130, test: int = 50, side: int = 8, classes: int = 4
) -> dict[str, np.ndarray]:
    """A folder of sheets of at most two rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {}
    rows = []
    for part, count in (("train", train), ("test", test)):
        images = made[part] = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        labels = made[f"{part}_labels"] = rng.integers(0, classes, count)
        rows += [(part, i, label, f"{part}/{i}.png") for i, label in enumerate(labels)]
        for number, start in enumerate(range(0, count, 80)):
            chunk = images[start : start + 80]
            sheet = np.zeros((-(-len(chunk) // 40) * side, 40 * side, 3), dtype=np.uint8)
            for i, image in enumerate(chunk):
                top, left = i // 40 * side, i % 40 * side
                sheet[top : top + side, left : left + side] = image
            Image.fromarray(sheet).save(folder / f"{part}_{number:03}.webp", lossless=True, exact=True)
    text = io.StringIO()
    csv.writer(text).writerows([("split", "position", "label", "source_file"), *rows])
    (folder / "index.csv.gz").write_bytes(gzip.compress(text.getvalue().encode()))
    (folder / "classes.txt").write_text("".join(f"n{i:05}\tclass {i}\n" for i in range(classes)))
    sign(folder)
    return made


def sign(folder: Path) -> None:
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (folder / "SHA256SUMS").write_text("".join(lines))


# --- miniatures ------------------------------------------------------------------------------------------------------


def test_sheets_give_their_images(tmp_path: Path) -> None:
    made = write_sheets(tmp_path / "mine")
    for part in ("train", "test"):
        data = load_images(tmp_path / "mine", split=part)  # type: ignore[arg-type]
        np.testing.assert_array_equal(data.images, made[part])
        np.testing.assert_array_equal(data.labels, made[f"{part}_labels"])
        assert data.name == "mine"
        assert data.classes == ("class 0", "class 1", "class 2", "class 3")
        assert (data.mean, data.std) == statistics(made["train"], name="mine")


def test_a_limit_decodes_no_further_sheet(tmp_path: Path) -> None:
    made = write_sheets(tmp_path / "cifar10-25k")
    (tmp_path / "cifar10-25k" / "train_001.webp").write_bytes(b"damaged")
    data = load_images("cifar10", root=tmp_path, limit=80)
    np.testing.assert_array_equal(data.images, made["train"][:80])
    with pytest.raises(DataError, match=r"train_001\.webp is damaged: its SHA-256 is not the one in SHA256SUMS"):
        load_images("cifar10", root=tmp_path, limit=81)


def test_damage_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "mine"

    def damage(name: str, content: bytes | None, message: str, *, signed: bool = True) -> None:
        write_sheets(folder)
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)
        if signed:
            sign(folder)
        else:
            (folder / "SHA256SUMS").unlink()
        with pytest.raises(DataError, match=message):
            load_images(folder)

    def index(*rows: str) -> bytes:
        return gzip.compress("\n".join(["split,position,label", *rows]).encode())

    write_sheets(folder)
    whole = (folder / "train_000.webp").read_bytes()
    picture = io.BytesIO()
    Image.new("RGB", (100, 10)).save(picture, "WEBP", lossless=True)
    other_size = io.BytesIO()
    Image.new("RGB", (160, 8)).save(other_size, "WEBP", lossless=True)
    damage("train_000.webp", whole[: len(whole) // 2], r"train_000\.webp can't be read", signed=False)
    damage("train_000.webp", picture.getvalue(), r"train_000\.webp has 10 x 100 pixels, not rows of 40 square images")
    damage("train_001.webp", other_size.getvalue(), "train sheets of .* images of different sizes")
    damage("train_001.webp", None, "train sheets of .* hold 80 of 130 images")
    damage("index.csv.gz", b"damaged", r"index\.csv\.gz can't be read")
    damage("index.csv.gz", index("test,0,1"), "lists no train image")
    damage("index.csv.gz", index("train,1,1"), "doesn't count the train images from 0 on")
    damage("index.csv.gz", index("train,0,4"), "has labels from 4 to 4, and 4 classes are named")
    damage("index.csv.gz", index("train,0,one"), "has no whole columns split, position and label")
    damage("index.csv.gz", gzip.compress(b"a,b\n1,2\n"), "has no whole columns split, position and label")
    damage("classes.txt", b"one\n\nthree\nfour\n", r"classes\.txt is empty or has an empty line")
    damage("classes.txt", None, r"classes\.txt can't be read: No such file")


# --- the real ones ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cifar10(data_root: Path) -> ImageData:
    return load_images("cifar10", root=data_root)


def test_real_cifar10(cifar10: ImageData, data_root: Path) -> None:
    assert cifar10.images.shape == (25_000, 32, 32, 3)
    assert cifar10.labels is not None
    assert np.bincount(cifar10.labels).tolist() == [2_500] * 10
    # A half of the published training part: its statistics are near the published ones.
    mean, std = statistics(cifar10.images, name="cifar10")
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=1e-3)
    np.testing.assert_allclose(std, [0.2470, 0.2435, 0.2616], atol=1e-3)
    inputs, _ = take(cifar10, 2_000, seed=1)
    np.testing.assert_allclose(inputs.mean(axis=(0, 2, 3)), 0, atol=0.04)
    np.testing.assert_allclose(inputs.std(axis=(0, 2, 3)), 1, atol=0.04)
    few = load_images(data_root / "images" / "cifar10-25k", limit=1_001)
    assert few.name == "cifar10"
    np.testing.assert_array_equal(few.images, cifar10.images[:1_001])
    np.testing.assert_array_equal(few.labels, cifar10.labels[:1_001])


def test_real_labels_are_those_of_the_source_files(cifar10: ImageData, data_root: Path) -> None:
    with gzip.open(data_root / "images" / "cifar10-25k" / "index.csv.gz", "rt") as file:
        sources = [row["source_file"] for row in csv.DictReader(file) if row["split"] == "train"]
    assert cifar10.labels is not None
    assert [source.split("/")[1] for source in sources] == [cifar10.classes[label] for label in cifar10.labels]


def test_the_first_images_are_oriented_like_the_sheets(cifar10: ImageData, data_root: Path) -> None:
    first = load_images("cifar10_first", root=data_root)
    assert first.images.shape == (256, 32, 32, 3)
    assert first.labels is None
    assert first.task().outputs == 10
    stored = np.load(data_root / "images" / "cifar10-first" / "images.npy")
    inputs, labels = take(first, 16, samples="first")
    assert labels is None
    expected = (stored[:16] / 255 - np.reshape(first.mean, (3, 1, 1))) / np.reshape(first.std, (3, 1, 1))
    np.testing.assert_allclose(inputs, expected, atol=1e-5)
    # The sheets hold a random half of the training part, so about 128 of these 256 images: pixel by pixel the same.
    known = {image.tobytes() for image in cifar10.images}
    assert 90 < sum(image.tobytes() in known for image in first.images) < 166


@pytest.mark.parametrize(
    ("name", "split", "count", "side", "classes"),
    [
        ("cifar10", "test", 10_000, 32, 10),
        ("cifar100", "test", 2_000, 32, 100),
        ("tinyimagenet16_120", "train", 14_400, 16, 120),
        ("tinyimagenet16_120", "test", 3_000, 16, 120),
    ],
)
def test_real_sets_have_as_many_images_of_each_class(
    name: str, split: str, count: int, side: int, classes: int, data_root: Path
) -> None:
    data = load_images(name, root=data_root, split=split)  # type: ignore[arg-type]
    assert data.images.shape == (count, side, side, 3)
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [count // classes] * classes
    assert len(data.classes) == classes
    mean, std = statistics(data.images, name=name)
    np.testing.assert_allclose(mean, data.mean, atol=0.01)
    np.testing.assert_allclose(std, data.std, atol=0.01)
    if name == "tinyimagenet16_120" and split == "train":
        assert (mean, std) == (data.mean, data.std)


def test_the_first_ten_classes_of_cifar100(data_root: Path) -> None:
    data = load_images("cifar100", root=data_root, limit=5)
    assert data.classes[:3] == ("apple", "aquarium_fish", "baby")
    assert load_images("tinyimagenet16_120", root=data_root, limit=1).classes[0] == "goldfish"


def test_the_table_finds_them(data_root: Path) -> None:
    rows = {row.name: row for row in data_table(data_root)}
    for name in ("cifar10", "cifar100", "tinyimagenet16_120", "cifar10_first"):
        assert rows[name].found
        assert rows[name].path is not None
        assert Path(rows[name].path).exists()
