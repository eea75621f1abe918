"""Exported folders: SCAN's layout as our own reader and other people's code read it, marked as no files of SCAN."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.load import load_dataset
from benchmark.data.published.karpathy import flickr30k_names, mscoco_ids
from benchmark.data.regions.exported import MARK, check_target, export_scan
from benchmark.data.regions.scan import flickr30k_by_id, scan_split
from benchmark.data.splits import Dataset, Images, NoPictures, Split, SplitName
from benchmark.errors import UserError
from benchmark.recipe.schema import DETECTED, StoredRegions
from tests.data.region_files import features
from tests.paths import ROOT

SCAN = StoredRegions(source="scan")


class Stored:
    """Region features in memory."""

    description = "made up"

    def __init__(self, images: Sequence[int]) -> None:
        self.images = list(images)

    @property
    def shape(self) -> tuple[int, int]:
        return (36, 4)

    def __len__(self) -> int:
        return len(self.images)

    def regions(self, rows: Sequence[int], /) -> np.ndarray:
        return features([self.images[row] for row in rows]) / 7

    def heads(self) -> list[bytes]:
        raise NotImplementedError

    def select(self, rows: Sequence[int]) -> Stored:
        return Stored([self.images[row] for row in rows])

    def identity(self) -> bytes:
        return b"made up"


def split_of(name: SplitName, names: Sequence[str], ids: Sequence[str], captions: int = 5) -> Split:
    texts = [f"caption {k} of {item}" for item in names for k in range(captions)]
    texts[0] = "first line\nand second  "
    images: Images = NoPictures(len(names))
    rows = np.repeat(np.arange(len(names)), captions)
    return Split(name, list(ids), list(names), texts, texts, rows, images, Stored(range(len(names))))


def dataset_of(name: str, *splits: Split) -> Dataset:
    return Dataset(
        name,
        "local",
        "made up",
        "none",
        {split.name: split for split in splits},
        departures=["not verified: x", f"{DETECTED} (caffe mode), not the published ones"],
        features="detector-caffe-0a1b2c3d",
    )


def flickr(count: int) -> Dataset:
    parts: tuple[SplitName, ...] = ("train", "val", "test")
    return dataset_of(
        "flickr30k",
        *(split_of(name, flickr30k_names(name)[:count], flickr30k_names(name)[:count]) for name in parts),
    )


def test_our_own_reader_reads_what_was_exported(tmp_path: Path) -> None:
    dataset = flickr(7)
    written = export_scan(dataset, tmp_path, show_progress=False)
    assert sorted(written) == sorted(path.name for path in tmp_path.iterdir())
    for name, part in (("train", "train"), ("val", "dev"), ("test", "test")):
        split = dataset.splits[name]  # type: ignore[index]  # of the three
        found = scan_split("flickr30k", split.name, tmp_path)
        assert found.filenames == split.filenames
        assert found.captions[0] == "first line and second"
        assert found.captions[1:] == split.captions[1:]
        assert [flickr30k_by_id()[item] for item in found.image_ids] == split.filenames
        assert found.regions is not None
        np.testing.assert_array_equal(found.regions.regions(range(7)), features(range(7)) / 7)
        # as other people's code reads it
        array = np.load(tmp_path / f"{part}_ims.npy", mmap_mode="r")
        assert (array.dtype, array.shape) == (np.float32, (7, 36, 4))
        assert len((tmp_path / f"{part}_caps.txt").read_bytes().splitlines()) == 35
        ids = [int(line) for line in (tmp_path / f"{part}_ids.txt").read_text().split()]
        mapping = json.loads((tmp_path / "id_mapping.json").read_text())
        assert [mapping[str(number)] for number in ids] == split.filenames


def test_mscocos_test_split_is_there_whole_and_as_its_first_fold(tmp_path: Path) -> None:
    ids = [str(number) for number in mscoco_ids("test")[:1_003]]
    names = [f"val2014/COCO_val2014_{int(number):012d}.jpg" for number in ids]
    export_scan(dataset_of("mscoco", split_of("test", names, ids)), tmp_path, show_progress=False)
    assert np.load(tmp_path / "testall_ims.npy", mmap_mode="r").shape[0] == 1_003
    assert np.load(tmp_path / "test_ims.npy", mmap_mode="r").shape[0] == 1_000
    assert (tmp_path / "test_ids.txt").read_text().split() == ids[:1_000]


def test_a_run_from_an_exported_folder_departs_as_the_features_do(tmp_path: Path) -> None:
    export_scan(flickr(7), tmp_path, show_progress=False)
    found = load_dataset(
        "flickr30k", splits=["test"], data_dir=tmp_path, regions=SCAN, unverified=True, show_progress=False
    )
    assert found.departures[1] == f"{DETECTED} (caffe mode), not the published ones"
    assert found.features == "detector-caffe-0a1b2c3d"
    assert found.source == f"{DETECTED}, a local folder"


def test_images_of_another_number_of_captions_are_refused(tmp_path: Path) -> None:
    split = split_of("test", ["a.jpg"], ["1"], captions=4)
    with pytest.raises(UserError, match="split 'test' has images without 5 captions"):
        export_scan(dataset_of("mscoco", split), tmp_path, show_progress=False)


def test_only_an_empty_folder_or_an_export_of_the_same_dataset_is_written_to(tmp_path: Path) -> None:
    check_target(tmp_path / "new", "flickr30k")
    check_target(tmp_path, "flickr30k")
    export_scan(flickr(2), tmp_path, show_progress=False)
    check_target(tmp_path, "flickr30k")  # which may have been interrupted
    with pytest.raises(UserError, match="holds features of flickr30k, expected mscoco"):
        check_target(tmp_path, "mscoco")
    (tmp_path / MARK).unlink()
    with pytest.raises(UserError, match="holds other files; name an empty folder"):
        check_target(tmp_path, "flickr30k")


def test_ids_of_a_dataset_without_numbers(tmp_path: Path) -> None:
    names = ["a_8k.jpg", "b_8k.jpg"]
    dataset = dataset_of("flickr8k", split_of("val", names, names), split_of("test", names, names))
    export_scan(dataset, tmp_path, show_progress=False)
    assert (tmp_path / "dev_ids.txt").read_text().split() == ["1000000", "1000001"]
    assert scan_split("flickr8k", "test", tmp_path).filenames == names
    assert replace(dataset, features=None).features is None
    assert ROOT.is_dir()
