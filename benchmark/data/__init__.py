"""Datasets, captions as ids, images as tensors, and batches of both."""

from benchmark.data.captions import Codec
from benchmark.data.catalog import dataset_names, get_entry
from benchmark.data.load import check_vocabulary, load_dataset, make_codec
from benchmark.data.loading import PairLoader, caption_batches, image_batches, train_batches
from benchmark.data.splits import Dataset, Split, SplitName

__all__ = [
    "Codec",
    "Dataset",
    "PairLoader",
    "Split",
    "SplitName",
    "caption_batches",
    "check_vocabulary",
    "dataset_names",
    "get_entry",
    "image_batches",
    "load_dataset",
    "make_codec",
    "train_batches",
]
