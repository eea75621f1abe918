"""Data that are often taken for the published splits are called by their names."""

from __future__ import annotations

import pytest

from benchmark.data.published.catalogue import CATALOG
from benchmark.data.published.karpathy import mscoco_ids
from benchmark.data.splits import SplitName
from tests.data.published.splits import (
    COCO_TEST,
    NAMES,
    coco_train,
    entities_like,
    failed,
    flickr,
    flickr_split,
    make_split,
    only_fault,
    range_ids,
    texts_of,
    verify,
)


def test_the_entities_partition_is_named_by_its_count_and_by_its_ids() -> None:
    train, test = entities_like()
    assert (len(train), len(test)) == (29_783, 1_000)
    faults = failed(verify(flickr(), train))
    assert "Flickr30K Entities" in faults["train", "images"].hint
    assert faults["train", "images of the published 'test'"].found.startswith("944 of 1,000 (")
    fault = failed(verify(flickr(), test))["test", "file names"]
    assert fault.found.startswith("975 missing (")
    assert "Flickr30K Entities" in fault.hint
    assert "970 of 'train', 25 of 'test'" in fault.hint


def test_an_entities_like_swap_is_named_where_the_counts_are_right() -> None:
    train, test = list(NAMES["train"]), list(NAMES["test"])
    train[:944], test[:944] = test[:944], train[:944]
    faults = failed(
        verify(flickr(), flickr_split("train", sorted(train)), flickr_split("test", sorted(test)))
    )
    assert ("train", "images") not in faults
    assert "Flickr30K Entities" in faults["train", "file names"].hint
    assert "Flickr30K Entities" in faults["test", "file names"].hint


def test_a_few_swapped_images_are_not_called_entities() -> None:
    test = sorted([*NAMES["test"][10:], *NAMES["train"][:10]])
    fault = only_fault(verify(flickr(), flickr_split("test", test)))
    assert "Entities" not in fault.hint
    assert "a partition other than Karpathy's; found here of Karpathy's images: 10 of 'train'" in fault.hint


@pytest.mark.parametrize(
    ("dataset", "split", "count", "says"),
    [
        ("flickr30k", "train", 29_783, "Flickr30K Entities"),
        ("flickr30k", "test", 31_014, "the whole corpus under one name"),
        ("flickr30k", "test", 31_783, "all 31,783 images"),
        ("flickr30k", "train", 6_000, "Flickr8K"),
        ("mscoco", "train", 118_287, "2017 partition"),
        ("mscoco", "train", 123_287, "all of train2014 and val2014"),
        ("mscoco", "val", 40_504, "all of val2014"),
        ("mscoco", "train", 113_293, "MS-COCO-unique"),
        ("mscoco", "val", 5_004, "MS-COCO-unique"),
        ("mscoco", "test", 5_006, "MS-COCO-unique"),
        ("mscoco", "train", 566_747, "one row a caption"),
        ("mscoco", "test", 25_010, "one row a caption"),
        ("mscoco", "test", 1_000, "a fifth of the test split"),
    ],
)
def test_traps_with_a_count_of_their_own(dataset: str, split: SplitName, count: int, says: str) -> None:
    made_up = make_split(split, range_ids(count), texts=[[]] * count)
    fault = failed(verify(CATALOG[dataset], made_up))[split, "images"]
    assert fault.found == f"{count:,}"
    assert says in fault.hint
    assert "leave out --data-dir" in fault.hint


@pytest.mark.parametrize("restval", [False, True])
def test_the_other_training_split_of_mscoco(restval: bool) -> None:
    fault = failed(verify(CATALOG["mscoco"], coco_train(82_783 if restval else 113_287), restval=restval))
    assert f"option restval: {str(not restval).lower()}" in fault["train", "images"].hint


def test_captions_without_repeats() -> None:
    texts = [texts_of(item, 4 if row < 191 else 5) for row, item in enumerate(COCO_TEST)]
    faults = failed(verify(CATALOG["mscoco"], make_split("test", COCO_TEST, texts=texts)))
    assert faults["test", "captions"].found == "24,809"
    assert "captions without repeats" in faults["test", "captions"].hint


def test_a_split_under_the_name_of_another() -> None:
    fault = failed(verify(flickr(), flickr_split("val", NAMES["test"])))["val", "file names"]
    assert "the published 'test' images under the name 'val'" in fault.hint


def test_another_dataset_and_the_val_split_of_2017() -> None:
    split = make_split("test", [f"{number}_1.jpg" for number in range(1_000)])
    assert "another dataset" in failed(verify(flickr(), split))["test", "file names"].hint
    some = sorted(mscoco_ids("val"))[:617]
    ids = [*map(str, some), *coco_train(4_383).image_ids]
    assert (
        "perhaps that of 2017"
        in failed(verify(CATALOG["mscoco"], make_split("val", ids)))["val", "image ids"].hint
    )
