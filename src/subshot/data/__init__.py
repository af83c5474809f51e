"""Real images, from a user's files or from packages the install brings. Nothing is ever downloaded."""

from subshot.data._arrays import images_from_arrays
from subshot.data._batches import batch_from
from subshot.data._dataset import DATASETS, DataRow, DataSet, data_root, data_table
from subshot.data._images import ImageData, digest, prepare, take
from subshot.data._load import load_images
from subshot.data._take import DataLike, TakenBatch, take_batch
from subshot.data._unreal import KINDS as UNREAL_KINDS

__all__ = [
    "DATASETS",
    "UNREAL_KINDS",
    "DataLike",
    "DataRow",
    "DataSet",
    "ImageData",
    "TakenBatch",
    "batch_from",
    "data_root",
    "data_table",
    "digest",
    "images_from_arrays",
    "load_images",
    "prepare",
    "take",
    "take_batch",
]
