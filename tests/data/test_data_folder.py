"""Folders of a user's own images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from subshot.data import load_images, take
from subshot.errors import DataError


def save(path: Path, image: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def picture(seed: int, height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def fill(
    folder: Path, *, classes: str = "abc", each: int = 10, suffix: str = ".png", start: int = 0
) -> dict[bytes, str]:
    """Class of each image by its pixels."""
    made = {}
    for number, name in enumerate(classes):
        for i in range(each):
            image = picture(start + number * each + i)
            save(folder / name / f"{i}{suffix}", image)
            made[image.tobytes()] = name
    return made


def test_class_folders(tmp_path: Path) -> None:
    made = fill(tmp_path / "pets")
    data = load_images(tmp_path / "pets")
    assert data.name == "pets"
    assert data.images.shape == (30, 6, 9, 3)
    assert data.classes == ("a", "b", "c")
    assert data.labels is not None
    assert {image.tobytes(): data.classes[y] for image, y in zip(data.images, data.labels, strict=True)} == made
    assert data.notes == ()
    # The first images are of all classes: the order is random, and always the same.
    assert set(data.labels[:10].tolist()) == {0, 1, 2}
    assert data.digest == load_images(tmp_path / "pets").digest
    everything = np.stack([np.frombuffer(key, dtype=np.uint8).reshape(6, 9, 3) for key in made])
    np.testing.assert_allclose(data.mean, everything.mean(axis=(0, 1, 2)) / 255, atol=0.02)


def test_made_parts_and_limits(tmp_path: Path) -> None:
    fill(tmp_path)
    train, test = (load_images(tmp_path, split=part) for part in ("train", "test"))  # type: ignore[arg-type]
    assert (len(train), len(test)) == (24, 6)
    assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}
    assert (train.mean, train.std) == (test.mean, test.std)
    few = load_images(tmp_path, split="train", limit=5)
    np.testing.assert_array_equal(few.images, train.images[:5])
    assert (few.mean, few.std) == (train.mean, train.std)


@pytest.mark.parametrize("test_name", ["test", "val", "Validation"])
def test_train_and_test_folders_are_respected(tmp_path: Path, test_name: str) -> None:
    made = fill(tmp_path / "train")
    tested = fill(tmp_path / test_name, classes="ac", each=2, start=100)
    for split in (None, "train"):
        assert {image.tobytes() for image in load_images(tmp_path, split=split).images} == set(made)  # type: ignore[arg-type]
    data = load_images(tmp_path, split="test")
    assert data.labels is not None
    assert data.classes == ("a", "b", "c")
    assert {image.tobytes(): data.classes[y] for image, y in zip(data.images, data.labels, strict=True)} == tested
    assert data.mean == load_images(tmp_path).mean


def test_a_test_folder_without_classes_is_no_part(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    save(tmp_path / "test" / "loose.png", picture(0))
    assert len(load_images(tmp_path, split="test")) == 6


def test_deeper_and_other_files(tmp_path: Path) -> None:
    fill(tmp_path, each=2)
    for suffix in (".jpg", ".JPEG", ".bmp", ".webp"):
        save(tmp_path / "a" / "deeper" / f"x{suffix}", picture(7))
    (tmp_path / "a" / "notes.txt").write_text("hello")
    (tmp_path / "b" / "boxes.xml").write_text("<x/>")
    (tmp_path / "b" / ".DS_Store").write_text("")
    (tmp_path / ".cache").mkdir()
    data = load_images(tmp_path)
    assert len(data) == 10
    assert data.notes == ("2 files that are no .bmp, .jpeg, .jpg, .png, .webp images were ignored",)


def test_grey_palette_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    fill(tmp_path, classes="ab", each=1)
    (tmp_path / "c").mkdir()
    grey = np.full((6, 9), 77, dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "c" / "grey.png")
    clear = Image.fromarray(np.full((6, 9, 4), 77, dtype=np.uint8))
    clear.save(tmp_path / "c" / "clear.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "c" / "palette.png", transparency=b"\x00\x01")
    data = load_images(tmp_path)
    assert data.labels is not None
    assert (data.images[data.labels == 2] == 77).all()
    assert np.count_nonzero(data.labels == 2) == 3


def test_images_of_different_sizes_get_the_median_size(tmp_path: Path) -> None:
    for number, side in enumerate([20, 30, 30, 30, 60] * 8):
        save(tmp_path / "ab"[number % 2] / f"{number}.png", picture(number, side, side + 10))
    data = load_images(tmp_path)
    assert data.images.shape == (40, 30, 40, 3)
    assert data.notes == ("images differ in size; each was brought to 30 x 40 pixels",)
    assert take(data, 2)[0].shape == (2, 3, 30, 40)


def test_a_given_size_wins_and_pads_a_thin_frame(tmp_path: Path) -> None:
    fill(tmp_path)
    data = load_images(tmp_path, image_size=(8, 11))
    assert data.images.shape == (30, 8, 11, 3)
    assert not data.images[:, 0].any()
    plain = load_images(tmp_path)
    np.testing.assert_array_equal(data.images[:, 1:-1, 1:-1], plain.images)
    assert data.mean == plain.mean
    assert load_images(tmp_path, image_size=32).images.shape == (30, 32, 32, 3)
    assert take(load_images("digits", image_size=16, limit=2), 2)[0].shape == (2, 3, 16, 16)


def test_too_many_large_images_are_refused_before_they_are_read(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(DataError, match=r"30 images of 40000 x 40000 pixels, 134\.1 GiB in memory\. Give a smaller"):
        load_images(tmp_path, image_size=40_000)


def test_what_is_no_set_of_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty: it has no class folders"):
        load_images(tmp_path)
    save(tmp_path / "loose.png", picture(0))
    with pytest.raises(DataError, match=r"has 1 images and no class folders.*each class in a folder of its own"):
        load_images(tmp_path)
    save(tmp_path / "cat" / "1.png", picture(1))
    with pytest.raises(DataError, match="has a single class, 'cat'"):
        load_images(tmp_path)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "readme.txt").write_text("none")
    with pytest.raises(DataError, match=r"The class folder .*dog holds no image \(1 other files\)"):
        load_images(tmp_path)


def test_a_test_class_nobody_trained_on(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test", classes="ad", each=1)
    with pytest.raises(DataError, match="has the class 'd', which the training part hasn't"):
        load_images(tmp_path, split="test")


def test_images_that_cannot_be_decoded_are_counted_and_named(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    folder = tmp_path / "train"
    for i in range(4):
        (folder / "a" / f"{i}.png").write_bytes((folder / "a" / f"{i}.png").read_bytes()[:70])
    (folder / "b" / "3.png").write_bytes(b"no image at all")
    Image.fromarray(np.full((6, 9), 40_000, dtype=np.uint16)).save(folder / "c" / "2.png")
    fill(tmp_path / "test")
    with pytest.raises(DataError) as caught:
        load_images(tmp_path)
    assert caught.value.message.startswith(f"6 of 30 images read from {tmp_path} can't be decoded: train/")
    assert caught.value.message.endswith(") and 3 more.")
    for i in range(4):
        (folder / "a" / f"{i}.png").unlink()
    with pytest.raises(DataError, match=r"2 of 26 images .*b/3\.png \(it is no image\)"):
        load_images(tmp_path)
    with pytest.raises(DataError, match=r"c/2\.png \(its pixels are of mode I;16, not 8 bits a channel\)"):
        load_images(tmp_path)


def test_a_decompression_bomb_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(DataError, match=r"24 of 24 images .* can't be decoded: .*decompression bomb"):
        load_images(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(DataError, match=r"24 of 24 images .* can't be decoded: .*decompression bomb"):
        load_images(tmp_path)
