"""Three parts by a seed, and the file that keeps them."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from subshot.data import ImageData, class_balance, images_from_arrays, load_images, load_parts
from subshot.data._parts import partition_of
from subshot.errors import DataError, OptionError

X = np.random.default_rng(0).integers(0, 256, (60, 5, 5, 3), dtype=np.uint8)
Y = np.arange(60) % 3


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    seed=st.integers(0, 9),
    validation=st.floats(0.01, 0.45),
    test=st.floats(0.01, 0.45),
)
@settings(max_examples=60, deadline=None)
def test_parts_of_classes(counts: list[int], seed: int, validation: float, test: float) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    wanted = {"data": "x", "digest": "d", "seed": seed, "validation": validation, "test": test}
    if max(counts) < 3:
        with pytest.raises(DataError, match=r"too few of each class for a (validation|test) part"):
            partition_of(labels, len(labels), **wanted)  # type: ignore[arg-type]
        return
    parts = partition_of(labels, len(labels), **wanted).positions  # type: ignore[arg-type]
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(labels)))
    for label, count in enumerate(counts):
        sizes = {part: int(np.count_nonzero(labels[chosen] == label)) for part, chosen in parts.items()}
        assert sizes["train"] >= 1
        assert sizes["validation"] + sizes["test"] < count
        for part, share in (("test", test), ("validation", validation)):
            if count >= 3:
                assert abs(sizes[part] - share * count) <= 1
            if count >= 10 and validation + test < 0.8:
                assert sizes[part] == max(1, round(share * count))
        assert (sizes["test"] >= 1) == (count >= 2)
        assert (sizes["validation"] >= 1) == (count >= 3)


def test_another_seed_draws_others_and_the_same_the_same() -> None:
    one, same, other = (load_parts((X / 255, Y), seed=seed).partition.positions for seed in (1, 1, 2))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(one[part], same[part])
        assert not np.array_equal(one[part], other[part])


def test_images_and_labels_stay_together_and_statistics_are_of_the_training_part() -> None:
    data = images_from_arrays(X, Y)
    parts = load_parts(data, seed=5)
    of_image = {image.tobytes(): label for image, label in zip(X, Y, strict=True)}
    seen = set()
    for part in (parts.train, parts.validation, parts.test):
        assert isinstance(part, ImageData)
        assert part.labels is not None
        for image, label in zip(part.images, part.labels, strict=True):
            assert of_image[image.tobytes()] == label
            seen.add(image.tobytes())
    assert len(seen) == 60
    assert isinstance(parts.train, ImageData)
    assert isinstance(parts.test, ImageData)
    np.testing.assert_allclose(parts.train.mean, parts.train.images.mean(axis=(0, 1, 2)) / 255, atol=1e-4)
    assert parts.test.mean == parts.train.mean


def fill(folder: Path, start: int = 0, each: int = 8) -> Path:
    for name in "ab":
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = np.random.default_rng(start + number).integers(0, 256, (6, 7, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_made_once_and_read_back(tmp_path: Path) -> None:
    path = fill(tmp_path / "pets")
    made = load_parts(path, seed=3, folder=tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "split.json").read_text())
    assert (stored["seed"], stored["samples"]) == (3, 16)
    assert stored["sizes"] == {"train": 10, "test": 4, "validation": 2}
    # The file decides: with two samples exchanged, they are.
    a, b = stored["positions"]["train"][0], stored["positions"]["test"][0]
    stored["positions"]["train"][0], stored["positions"]["test"][0] = b, a
    (tmp_path / "run" / "split.json").write_text(json.dumps(stored))
    for seed in (3, None):  # without one, the file's
        read = load_parts(path, seed=seed, folder=tmp_path / "run", image_size=12)
        assert read.partition.seed == 3
        assert b in read.partition.positions["train"]
        assert a in read.partition.positions["test"]
        assert read.partition.digest == made.partition.digest
    assert b not in made.partition.positions["train"]


def test_what_is_refused(tmp_path: Path) -> None:
    path = fill(tmp_path / "pets")
    run = tmp_path / "run"
    load_parts(path, folder=run)
    with pytest.raises(DataError, match=r"split\.json has seed 0, and 1 was asked for\. Remove the file"):
        load_parts(path, seed=1, folder=run)
    with pytest.raises(DataError, match=r"split\.json has shares .*0\.3"):
        load_parts(path, test=0.3, folder=run)
    with pytest.raises(DataError, match=r"'pets', 16 samples .*'pets' has 9 of digest"):
        load_parts(path, limit=9, folder=run)
    content = (path / "a" / "0.png").read_bytes()
    Image.fromarray(np.zeros((6, 7, 3), np.uint8)).save(path / "a" / "0.png")
    with pytest.raises(DataError, match=r"it is other data, or has changed\. Remove the file to draw new parts"):
        load_parts(path, folder=run)
    (path / "a" / "0.png").rename(path / "a" / "x.png")
    (path / "a" / "x.png").write_bytes(content)
    with pytest.raises(DataError, match="has changed"):  # another name is another order
        load_parts(path, folder=run)
    (path / "a" / "x.png").rename(path / "a" / "0.png")
    good = (run / "split.json").read_text()
    assert load_parts(path, folder=run).partition.seed == 0
    for bad, message in {
        "{": "can't be read",
        "[]": "keeps no parts that this version can read",
        good.replace('"format": 1', '"format": 2'): "keeps no parts that this version can read",
        good.replace('"test": [', '"test": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, '): "its parts overlap or leave samples out",
        good.replace('"test": [', '"tests": ['): "is damaged",
    }.items():
        (run / "split.json").write_text(bad)
        with pytest.raises(DataError, match=message):
            load_parts(path, folder=run)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"split\.json can't be written: "):
        load_parts(path, folder=tmp_path / "file" / "deeper")
    for shares in ({"test": 0.0}, {"test": 0.5, "validation": 0.5}, {"validation": -0.1}):
        with pytest.raises(OptionError, match="share was given as"):
            load_parts(path, **shares)


def test_own_parts_are_kept(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test", start=50, each=2)
    parts = load_parts(tmp_path)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (14, 2, 4)
    assert set(parts.partition.positions) == {"train", "validation"}
    own = load_images(tmp_path, split="test")
    assert isinstance(parts.test, ImageData)
    np.testing.assert_array_equal(parts.test.images, own.images)
    fill(tmp_path / "val", start=80, each=3)
    parts = load_parts(tmp_path, folder=tmp_path / "run")
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (16, 6, 4)
    Image.fromarray(np.zeros((6, 7, 3), np.uint8)).save(tmp_path / "test" / "a" / "0.png")
    with pytest.raises(DataError, match="has changed"):
        load_parts(tmp_path, folder=tmp_path / "run")


def test_official_test_parts(data_root: Path) -> None:
    parts = load_parts("tinyimagenet16_120", root=data_root)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (12_960, 1_440, 3_000)
    assert isinstance(parts.train, ImageData)
    assert parts.train.mean == load_images("tinyimagenet16_120", root=data_root, limit=1).mean


# --- how often each class occurs -------------------------------------------------------------------------------------


def test_balance() -> None:
    found = class_balance(np.repeat([0, 1, 3], [5, 30, 3]), ("a", "b", "c", "d"))
    assert found is not None
    assert dict(found.counts) == {"a": 5, "b": 30, "c": 0, "d": 3}
    assert (found.smallest, found.largest, found.ratio) == ("d", "b", 10)
    assert found.warnings == ("1 of 4 classes don't occur: 'c'",)
    found = class_balance(np.repeat([0, 1], [21, 2]))
    assert found is not None
    assert found.warnings == (
        "the classes are imbalanced, 10 to 1: '0' has 21 samples, '1' has 2; '0' alone is right for 91%",
    )
    assert class_balance(Y).warnings == ()  # type: ignore[union-attr]
    masks = class_balance(np.array([[[0, 0], [0, 1]]]))
    assert masks is not None
    assert (dict(masks.counts), masks.unit) == ({"0": 3, "1": 1}, "pixels")
    assert class_balance(None) is None
    assert class_balance(np.zeros((3, 1), np.float32)) is None
