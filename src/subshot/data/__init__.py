"""Data, from a user's files or objects, or from packages the install brings. Nothing is ever downloaded."""

from subshot.data._arrays import images_from_arrays, tensors_from_arrays
from subshot.data._balance import ClassBalance, class_balance
from subshot.data._batches import batch_from
from subshot.data._dataset import DATASETS, Data, DataRow, DataSet, data_root, data_table
from subshot.data._describe import DataDescription, describe_data
from subshot.data._images import ImageData, digest, prepare, take
from subshot.data._labels import label_kind
from subshot.data._load import DataLike, load_data, load_images
from subshot.data._parts import DataParts, Partition, load_parts
from subshot.data._take import TakenBatch, take_batch
from subshot.data._tensors import TensorData
from subshot.data._unreal import KINDS as UNREAL_KINDS

__all__ = [
    "DATASETS",
    "UNREAL_KINDS",
    "ClassBalance",
    "Data",
    "DataDescription",
    "DataLike",
    "DataParts",
    "DataRow",
    "DataSet",
    "ImageData",
    "Partition",
    "TakenBatch",
    "TensorData",
    "batch_from",
    "class_balance",
    "data_root",
    "data_table",
    "describe_data",
    "digest",
    "images_from_arrays",
    "label_kind",
    "load_data",
    "load_images",
    "load_parts",
    "prepare",
    "take",
    "take_batch",
    "tensors_from_arrays",
]
