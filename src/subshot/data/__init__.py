"""Real images, from a user's files or from packages the install brings. Nothing is ever downloaded."""

from subshot.data._arrays import images_from_arrays
from subshot.data._batches import batch_from
from subshot.data._dataset import DATASETS, DataRow, DataSet, data_root, data_table
from subshot.data._images import ImageData, digest, prepare, take
from subshot.data._load import load_images

__all__ = [
    "DATASETS",
    "DataRow",
    "DataSet",
    "ImageData",
    "batch_from",
    "data_root",
    "data_table",
    "digest",
    "images_from_arrays",
    "load_images",
    "prepare",
    "take",
]
