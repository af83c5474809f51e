"""Data sets of other libraries, and what a user has in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from subshot.data import (
    ImageData,
    TensorData,
    describe_data,
    label_kind,
    load_data,
    load_images,
    load_parts,
    take_batch,
)
from subshot.errors import DataError, OptionError, UnknownNameError

COUNT = 20
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 8, 3), dtype=np.uint8)


class Pictures(Dataset):  # type: ignore[type-arg]
    """As torchvision's sets are: sorted by class, with ``targets`` and ``classes``; counts what is decoded."""

    classes = ("cat", "dog")

    def __init__(self, form: str = "pillow", label: Any = None) -> None:
        self.form = form
        self.targets = [number // 10 for number in range(COUNT)]
        self.label = label or (lambda number: number // 10)
        self.read = 0

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        self.read += 1
        image = PIXELS[number]
        forms = {
            "pillow": lambda: Image.fromarray(image),
            "array": lambda: image,
            "tensor": lambda: torch.from_numpy(image).permute(2, 0, 1),
            "floats": lambda: torch.from_numpy(image).permute(2, 0, 1) / 99 - 1,
        }
        return forms[self.form](), self.label(number)


def rows(images: np.ndarray) -> list[int]:
    known = {image.tobytes(): number for number, image in enumerate(PIXELS)}
    return [known[image.tobytes()] for image in images]


@pytest.mark.parametrize("form", ["pillow", "array", "tensor"])
def test_images(form: str) -> None:
    source = Pictures(form)
    data = load_data(source, limit=8)
    assert isinstance(data, ImageData)
    assert data.classes == ("cat", "dog")
    found = rows(data.images)
    assert data.labels is not None
    assert data.labels.tolist() == [number // 10 for number in found]
    assert set(data.labels.tolist()) == {0, 1}  # the order is random
    assert rows(load_data(source, limit=8).images) == found  # type: ignore[union-attr]
    parts = load_parts(source, image_size=12)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (14, 2, 4)
    batch = take_batch(source, 6, seed=1)
    assert (batch.name, batch.samples, batch.inputs.shape) == ("given", "random", (6, 3, 6, 8))
    assert batch.task.outputs == 2


def test_labels_are_those_of_the_entries() -> None:
    """Where entries are changed as they are taken, what the set keeps apart is no longer true."""
    data = load_data(Pictures(label=lambda number: 1 - number // 10))
    assert data.labels is not None
    assert data.labels.tolist() == [1 - number // 10 for number in rows(data.images)]  # type: ignore[union-attr]
    values = load_data(Pictures(label=lambda number: number / 7))
    assert label_kind(values.labels) == "numbers"
    masks = load_data(Pictures(label=lambda number: Image.fromarray((PIXELS[number, :, :, 0] > 99).astype(np.uint8))))
    assert isinstance(masks, ImageData)
    assert masks.labels is not None
    np.testing.assert_array_equal(masks.labels, masks.images[..., 0] > 99)


def test_a_subset_and_a_dict_of_parts() -> None:
    half = Subset(Pictures(), range(0, COUNT, 2))
    assert sorted(rows(load_data(half).images)) == list(range(0, COUNT, 2))  # type: ignore[union-attr]
    parts = {"train": half, "valid": Subset(Pictures(), [1, 3]), "test": Subset(Pictures(), [5])}
    assert load_data(parts).own_parts == ("test", "validation")
    assert sorted(rows(load_data(parts, split="validation").images)) == [1, 3]  # type: ignore[union-attr]
    assert len(load_parts(parts).test) == 1
    assert take_batch(parts, 4).inputs.shape == (4, 3, 6, 8)


def test_tensors_are_left_as_they_are() -> None:
    data = load_data(Pictures("floats"))
    assert isinstance(data, TensorData)
    assert data.inputs.min() < -0.9
    assert data.task().image_shape == (3, 6, 8)
    tokens = TensorDataset(torch.arange(60).reshape(20, 3), torch.arange(20) % 2)
    assert load_data(tokens).task().inputs[0].vocabulary == 60
    with pytest.raises(DataError, match=r"inputs of given have different shapes: \(1,\), \(2,\)"):
        load_data(Subset([torch.zeros(1), torch.zeros(2)], [0, 1]))  # type: ignore[arg-type]


def test_a_loader_is_read_to_its_end() -> None:
    x, y = torch.arange(60.0).reshape(20, 3), torch.arange(20) % 2
    loader = DataLoader(TensorDataset(x, y), batch_size=8)
    data = load_data(loader)
    assert isinstance(data, TensorData)
    np.testing.assert_array_equal(data.inputs, x)
    np.testing.assert_array_equal(data.labels, y)
    assert len(load_data(loader, limit=11)) == 11
    parts = load_parts(loader)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (14, 2, 4)
    assert load_data(parts.train) is parts.train
    with pytest.raises(OptionError, match="which is read already"):
        load_data(parts.train, split="test")
    with pytest.raises(OptionError, match="It holds no images"):
        load_data(loader, image_size=8)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "given has no entries"),
        ([(1, 2, 3)], "An entry of given has 3 members"),
        ([{"picture": 1, "name": 2}], "entries of given have the keys picture, name. An entry is"),
        ([object()], "given have shape"),
    ],
)
def test_entries_of_another_form(entries: list[Any], message: str) -> None:
    class Entries:
        def __len__(self) -> int:
            return len(entries)

        def __getitem__(self, number: int) -> Any:
            return entries[number]

    with pytest.raises(DataError, match=message):
        load_data(Entries())


def test_entries_that_raise() -> None:
    class Broken(Pictures):
        def __getitem__(self, number: int) -> tuple[Any, Any]:
            raise RuntimeError("gone")

    with pytest.raises(DataError, match="given can't be read: RuntimeError: gone"):
        load_data(Broken())


def test_hugging_face(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", exc_type=Exception)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    columns = {
        "image": [Image.fromarray(image) for image in PIXELS],
        "label": [number // 10 for number in range(COUNT)],
    }
    whole = datasets.Dataset.from_dict(columns, features=features)
    both = datasets.DatasetDict({"train": whole.select(range(0, 20, 2)), "validation": whole.select([1, 3, 11])})
    whole.save_to_disk(str(tmp_path / "whole"))
    both.save_to_disk(str(tmp_path / "both"))
    for source in (whole, tmp_path / "whole"):
        data = load_data(source)
        assert isinstance(data, ImageData)
        assert data.classes == ("cat", "dog")
        assert data.labels is not None
        assert data.labels.tolist() == [number // 10 for number in rows(data.images)]
        assert len(data) == COUNT
    for source in (both, tmp_path / "both"):
        assert len(load_data(source)) == 10
        assert sorted(rows(load_data(source, split="validation").images)) == [1, 3, 11]  # type: ignore[union-attr]
    assert describe_data(tmp_path / "both").own_parts == ("validation",)
    assert take_batch(tmp_path / "whole", 4, folder_size=(12, 12)).inputs.shape == (4, 3, 12, 12)
    text = datasets.Dataset.from_dict({"input_ids": [[1, 2, 3], [4, 5, 6], [7, 8, 9]], "label": [0, 1, 0]})
    assert load_data(text).task().inputs[0].shape == (3,)
    (tmp_path / "whole" / "state.json").write_text("{")
    with pytest.raises(DataError, match=r"whole can't be read: "):
        load_data(tmp_path / "whole")


def test_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision = pytest.importorskip("torchvision", exc_type=Exception)
    fake = torchvision.datasets.FakeData(12, (3, 9, 9), num_classes=3)
    assert load_data(fake).images.shape == (12, 9, 9, 3)  # type: ignore[union-attr]
    monkeypatch.delenv("SUBSHOT_DATA", raising=False)
    with pytest.raises(DataError, match="SUBSHOT_DATA names no folder to look for torchvision's CIFAR10 in"):
        load_images("torchvision:CIFAR10")
    with pytest.raises(DataError, match=r"torchvision's CIFAR10 is not in .*; subshot downloads nothing"):
        load_images("torchvision:CIFAR10", root=tmp_path)
    with pytest.raises(UnknownNameError, match=r"no torchvision data set named 'CIFAR1'\. Did you mean 'CIFAR10'"):
        load_images("torchvision:CIFAR1", root=tmp_path)
    for part, count in (("train", 6), ("t10k", 3)):
        folder = tmp_path / "FashionMNIST" / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        header = (b"\0\0\x08\x03", count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            header[0] + b"".join(int(one).to_bytes(4, "big") for one in header[1:]) + images.tobytes()
        )
        labels = bytes(number % 3 for number in range(count))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + count.to_bytes(4, "big") + labels)
    data = load_images("torchvision:FashionMNIST", root=tmp_path)
    assert (len(data), data.own_parts, data.classes[0]) == (6, ("test",), "T-shirt/top")
    assert len(load_images("torchvision:FashionMNIST", root=tmp_path, split="test")) == 3
