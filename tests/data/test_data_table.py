"""CSV and Parquet files of a user's own images."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from subshot.data import describe_data, label_kind, load_data, load_images, load_parts, take_batch
from subshot.errors import DataError

COUNT = 12


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of pictures, each of one colour that says its number, and masks that say it too."""
    for number in range(COUNT):
        image = np.full((6, 8, 3), 20 * number, np.uint8)
        image[0, 0] = 255
        (tmp_path / "pics").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "pics" / f"{number}.png")
        mask = np.zeros((6, 8), np.uint8)
        mask[number % 6] = 1
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
    return tmp_path


def write(home: Path, header: str, row: object, name: str = "table.csv") -> Path:
    lines = [header, *(row(number) for number in range(COUNT))]  # type: ignore[operator]
    text = "\n".join(lines) + "\n"
    path = home / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode("utf-8-sig"))
    return path


def numbers(images: np.ndarray) -> list[int]:
    return (images[:, -1, -1, 0] // 20).tolist()


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz", "table.tsv"])
def test_classes_by_name(home: Path, name: str) -> None:
    mark = "\t" if name.endswith("tsv") else ","
    path = write(
        home,
        f"id{mark}Path{mark}LABEL",
        lambda n: mark.join([str(n), f"pics/{n}.png", ("cat", "dog", "fox")[n % 3]]),
        name,
    )
    data = load_images(path)
    assert data.name == name
    assert data.classes == ("cat", "dog", "fox")
    assert data.images.shape == (COUNT, 6, 8, 3)
    found = numbers(data.images)
    assert sorted(found) == list(range(COUNT))
    assert found != sorted(found)
    assert data.labels is not None
    assert data.labels.tolist() == [number % 3 for number in found]
    assert numbers(load_images(path, limit=4).images) == found[:4]
    parts = load_parts(path, folder=home / "run")
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (6, 3, 3)
    batch = take_batch(path, 4, image_size=16)
    assert batch.inputs.shape == (4, 3, 16, 16)


def test_classes_by_number_and_values(home: Path) -> None:
    data = load_images(write(home, "file,label", lambda n: f"pics/{n}.png,{n % 4}"))
    assert data.classes == ("0", "1", "2", "3")
    # Numbers with large gaps are names.
    data = load_images(write(home, "file,label", lambda n: f"pics/{n}.png,{'7' if n % 2 else '9001'}"))
    assert data.classes == ("7", "9001")
    data = load_images(write(home, "file,target", lambda n: f"pics/{n}.png,{n / 8}"))
    assert data.labels is not None
    np.testing.assert_allclose(data.labels[:, 0], np.array(numbers(data.images)) / 8)
    assert (data.task().outputs, data.task().loss, data.classes) == (1, "mse", ())
    data = load_images(write(home, "file,target_x,target_y", lambda n: f"pics/{n}.png,{n},{-n}"))
    assert data.labels is not None
    np.testing.assert_array_equal(data.labels[:, 0], -data.labels[:, 1])
    assert load_images(write(home, "file,other", lambda n: f"pics/{n}.png,{n}")).labels is None


def test_masks(home: Path) -> None:
    path = write(home, "image,mask", lambda n: f"pics/{n}.png,masks/{n}.png")
    data = load_images(path, image_size=(12, 16))
    assert label_kind(data.labels) == "mask"
    assert data.labels is not None
    for number, mask in zip(numbers(data.images), data.labels, strict=True):
        assert sorted(np.flatnonzero(mask.any(axis=1)).tolist()) == [2 * (number % 6), 2 * (number % 6) + 1]
    assert (len(load_images(path, split="train")), len(load_images(path, split="test"))) == (10, 2)
    assert load_parts(path).train.task().loss == "cross_entropy"
    found = describe_data(path)
    assert (found.task, found.outputs) == ("classification of pixels", 2)
    assert found.classes is not None
    assert dict(found.classes.counts) == {"0": COUNT * 40, "1": COUNT * 8}
    Image.fromarray(np.zeros((5, 8), np.uint8)).save(home / "masks" / "3.png")
    with pytest.raises(DataError, match=r"mask of pics/3\.png in .* has shape \(5, 8\), the image \(6, 8\)"):
        load_images(path)
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(home / "masks" / "3.png")
    with pytest.raises(DataError, match=r"mask of pics/3\.png .* can't be read: its pixels are of mode RGB"):
        load_images(path)


def test_the_table_s_own_parts(home: Path) -> None:
    words = ["train"] * 7 + ["val"] * 2 + ["TEST"] * 3
    path = write(home, "image,label,split", lambda n: f"pics/{n}.png,{n % 2},{words[n]}")
    assert load_data(path).own_parts == ("test", "validation")
    for part, members in (("train", range(7)), ("validation", (7, 8)), ("test", (9, 10, 11))):
        assert sorted(numbers(load_images(path, split=part).images)) == list(members)  # type: ignore[arg-type]
    parts = load_parts(path)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (7, 2, 3)
    found = describe_data(path)
    assert dict(found.parts) == {"train": 7, "validation": 2, "test": 3}
    assert found.digest == parts.partition.digest
    with pytest.raises(DataError, match=r"The column 'split' of .* has 'later'"):
        load_images(write(home, "image,split", lambda n: f"pics/{n}.png,later"))
    with pytest.raises(DataError, match="has no row of the training part"):
        load_images(write(home, "image,split", lambda n: f"pics/{n}.png,test"))


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("name,label", lambda n: f"pics/{n}.png,1", r"has no column of images; it has name, label\. Name the column"),
        ("image,label", lambda n: f"pics/{n}.png,cat", "has a single class, 'cat'"),
        ("image,label", lambda n: f"pics/{n}.png,{n / 4}", "column 'label' of .* holds decimal numbers, .*'target'"),
        (
            "image,label",
            lambda n: f"pics/{n}.png,{'' if n > 9 else n}",
            "2 of 12 labels in .* are empty, first in row 11",
        ),
        ("image,label,target", lambda n: f"pics/{n}.png,1,2", "labels of several kinds: 'target', 'label'"),
        (
            "image,target",
            lambda n: f"pics/{n}.png,{'?' if n == 4 else n}",
            r"'target' in row 5 of .* is '\?', not a number",
        ),
        ("image,target", lambda n: f"pics/{n}.png,nan", "row 1 of .* is 'nan', not a number"),
        ("image,target", lambda n: f"pics/{n}.png,2", "All labels of .* are 2"),
        ("image,label", lambda n: f",{n}", "The image in row 1 of .* is empty"),
        ("image,label", lambda n: f"pics/{n}.png", "Row 1 of .* has 1 cells, its header has 2"),
        ("image,image", lambda n: "a,b", "several columns named 'image'"),
        (
            "image,label",
            lambda n: f"pics/{n + 9}.png,{n}",
            r"9 of 12 images .* can't be decoded: .*No such file.* 6 more",
        ),
    ],
)
def test_tables_that_cannot_be_used(home: Path, header: str, row: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_images(write(home, header, row))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    for name, content, message in (
        ("a.csv", b"", "is empty"),
        ("a.csv", b"image,label\n", "has no rows"),
        ("a.csv", b"\xff\xfe\x00", "is no UTF-8 text"),
        ("a.csv.gz", b"no", "is damaged or no table"),
        ("a.csv", b'image\n"x', "is damaged or no table"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            load_images(tmp_path / name)


def test_parquet(home: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    paths = [f"pics/{number}.png" for number in range(COUNT)]
    labels = [number % 3 for number in range(COUNT)]
    parquet.write_table(pyarrow.table({"path": paths, "label": labels}), home / "x.parquet")
    data = load_images(home / "x.parquet")
    assert data.labels is not None
    assert data.labels.tolist() == [number % 3 for number in numbers(data.images)]
    # The form in which Hugging Face hands images out: the file itself in a cell.
    cells = [{"bytes": (home / path).read_bytes(), "path": None} for path in paths]
    parquet.write_table(pyarrow.table({"image": cells, "label": labels}), home / "y.parquet")
    inside = load_images(home / "y.parquet")
    np.testing.assert_array_equal(inside.images, data.images)
    (home / "z.parquet").write_bytes((home / "y.parquet").read_bytes()[:200])
    with pytest.raises(DataError, match="is damaged or no Parquet file"):
        load_images(home / "z.parquet")
    cells[3]["bytes"] = b"no image"
    parquet.write_table(pyarrow.table({"image": cells, "label": labels}), home / "bad.parquet")
    with pytest.raises(DataError, match=r"1 of \d+ images .* row 4 \(it is no image\)"):
        load_images(home / "bad.parquet")
    assert describe_data(home / "bad.parquet").damaged[0].name == "row 4"
