"""The door to all images, and the table of sets."""

import pkgutil
from pathlib import Path

import numpy as np
import pytest

import subshot.data
from subshot.data import DATASETS, data_root, data_table, load_images
from subshot.data._dataset import FORMATS
from subshot.errors import DataError, OptionError

# Files that hold a set or a format each; `_` files are machinery.
CONTENT = [module.name for module in pkgutil.iter_modules(subshot.data.__path__) if not module.name.startswith("_")]


def test_every_content_file_registers_something() -> None:
    entries = [DATASETS.get(name) for name in DATASETS] + [FORMATS.get(name) for name in FORMATS]
    owners = {entry.load.__module__.rpartition(".")[2] for entry in entries}  # type: ignore[attr-defined]
    assert owners == set(CONTENT)


def test_names() -> None:
    assert DATASETS.names() == [
        "cifar10",
        "cifar100",
        "cifar10_first",
        "digits",
        "fashion_mnist",
        "mnist_sample",
        "photographs",
        "random_tokens",
        "tinyimagenet16_120",
        "zipf_tokens",
    ]
    for name in DATASETS:
        entry = DATASETS.get(name)
        assert entry.name == name
        assert entry.kind == ("tokens" if name.endswith("tokens") else "images")
        assert entry.licence
        assert entry.how_to_get


def test_names_that_are_neither_set_nor_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no data set named 'cifar_10', and no file.*Did you mean 'cifar10'"):
        load_images("cifar_10")
    with pytest.raises(DataError, match=r"no file or folder of that name.*Known sets: cifar10, cifar100"):
        load_images(tmp_path / "absent.npz")
    with pytest.raises(DataError, match="There is no data set named ''"):
        load_images("")


def test_a_file_of_another_form_lists_the_forms(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a,b\n")
    with pytest.raises(DataError, match=r"notes\.txt is no image data that subshot can read") as caught:
        load_images(tmp_path / "notes.txt")
    forms = ("CIFAR batches", "IDX", ".npz file", "image sheets", ".webp images for each class", "datasets", ".parquet")
    assert all(form in caught.value.hint for form in forms)


def test_a_name_wins_over_a_file_and_a_path_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / "digits" / name).mkdir(parents=True)
    assert load_images("digits", limit=3).name == "digits"
    with pytest.raises(DataError, match=r"class folder .* holds no image"):
        load_images("./digits")


def test_a_set_that_is_not_here_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError, match=r"'cifar10' is not here: it is not in the data folder .*Put the folder cifar-10"
    ):
        load_images("cifar10", root=tmp_path)
    monkeypatch.delenv("SUBSHOT_DATA", raising=False)
    with pytest.raises(DataError, match="'cifar10' is not here: SUBSHOT_DATA names no folder"):
        load_images("cifar10")


def test_options(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no part 'valid'"):
        load_images("digits", split="valid")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"digits has no validation part of its own.*load_parts"):
        load_images("digits", split="validation")
    for limit in (0, -1, 1.5, True):
        with pytest.raises(OptionError, match="limit was given as"):
            load_images("digits", limit=limit)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="is no image size"):
        load_images("digits", image_size=0)


def test_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBSHOT_DATA", str(tmp_path))
    assert data_root() == tmp_path
    assert data_root("other") == Path("other")
    monkeypatch.setenv("SUBSHOT_DATA", "")
    assert data_root() is None


def test_the_table_tells_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBSHOT_DATA", str(tmp_path))
    (tmp_path / "images" / "cifar10-first").mkdir(parents=True)
    np.save(tmp_path / "images" / "cifar10-first" / "images.npy", np.zeros((2, 3, 32, 32), np.uint8))
    # An empty folder of the right name is no set.
    (tmp_path / "cifar10-25k").mkdir()
    (tmp_path / "cifar-100-python").mkdir()
    rows = {row.name: row for row in data_table()}
    assert list(rows) == DATASETS.names()
    found = {name for name, row in rows.items() if row.found} - {"fashion_mnist"}
    assert found == {
        "cifar10_first",
        "digits",
        "mnist_sample",
        "photographs",
        "random_tokens",
        "zipf_tokens",
    }
    for row in rows.values():
        assert row.found == (row.path is not None)
    assert rows["cifar10_first"].path == str(tmp_path / "images" / "cifar10-first" / "images.npy")
    assert len(load_images("cifar10_first")) == 2
    with pytest.raises(DataError, match="cifar10_first has no labels, so it has no test part"):
        load_images("cifar10_first", split="test")
    np.save(tmp_path / "images" / "cifar10-first" / "images.npy", np.zeros((2, 3, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"holds uint8 \(2, 3, 16, 16\), not uint8 \(N, 3, 32, 32\)"):
        load_images("cifar10_first")
