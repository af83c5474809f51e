"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28 x 28, 10 classes (Xiao, Rasul and Vollgraf, 2017)."""

from pathlib import Path

from subshot.data._dataset import DATASETS, DataSet, find_below
from subshot.data._images import ImageData
from subshot.data._split import Split
from subshot.data.idx import find_idx, read_part

# Where Debian's package puts it.
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def locate(root: Path | None) -> Path | None:
    """The folder ``fashion-mnist`` of the user's data, else of Debian's package."""
    places = [folder for folder in (find_below(root, "fashion-mnist"), _DEBIAN) if folder is not None]
    return next((folder for folder in places if find_idx(folder, "train", "images") is not None), None)


def load_fashion_mnist(where: Path, *, split: Split = None, limit: int | None = None) -> ImageData:
    """Read it from its IDX files, in file order; used as 32 x 32.

    Args:
        where: The folder.
        split: See :func:`subshot.data.load_images`.
        limit: Likewise.

    Raises:
        DataError: A file is missing or damaged.
    """
    images, labels = read_part(where, split=split, limit=limit)
    return ImageData(
        "fashion_mnist",
        images,
        labels,
        _CLASSES,
        (0.2860,),
        (0.3530,),
        DATASETS.get("fashion_mnist").licence,
        preferred_size=(32, 32),
        own_parts=("test",),
    )


DATASETS.register(
    "fashion_mnist",
    DataSet(
        "fashion_mnist",
        "images",
        licence="MIT (Zalando SE)",
        how_to_get=(
            "apt-get install dataset-fashion-mnist, or put its four IDX files in the folder fashion-mnist of "
            "SUBSHOT_DATA."
        ),
        locate=locate,
        load=load_fashion_mnist,
    ),
)
