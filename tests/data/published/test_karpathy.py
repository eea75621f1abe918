"""Karpathy's lists: every sha256, count and landmark that is known of them (data.md 1.5)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib import resources

import pytest

from benchmark.data.published.karpathy import flickr30k_names, mscoco_ids, mscoco_test_captions
from benchmark.data.splits import SplitName


def sha256(items: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(str(item).encode() + b"\n")
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("split", "count", "first", "expected"),
    [
        (
            "train",
            29_000,
            "1000092795.jpg",
            "97ee57e160a46c7d0e75298ebf57967e1245698a6f8806436ff07e61d1a41221",
        ),
        (
            "val",
            1_014,
            "1018148011.jpg",
            "db26f03eaf833ec47bfaea129ed053b68cbcfc5d1f9a09c4cdf7c88fbfea7108",
        ),
        (
            "test",
            1_000,
            "1007129816.jpg",
            "871e8ecafc66fb13e044ecccf669d04a865b4c58553227df86b933f0337a1563",
        ),
    ],
)
def test_flickr30k(split: SplitName, count: int, first: str, expected: str) -> None:
    names = flickr30k_names(split)
    assert len(names) == len(set(names)) == count
    assert names[0] == first
    assert sha256(names) == expected
    assert list(names) == sorted(names)  # Karpathy's order is string order


def test_flickr30k_test_begins_and_ends_as_published() -> None:
    names = flickr30k_names("test")
    assert names[:3] == ("1007129816.jpg", "1009434119.jpg", "101362133.jpg")
    assert names[-2:] == ("97233789.jpg", "97234558.jpg")


def test_flickr30k_splits_are_the_corpus_without_overlap() -> None:
    names = sorted([*flickr30k_names("train"), *flickr30k_names("val"), *flickr30k_names("test")])
    assert len(set(names)) == 31_014
    # keys 0, 25 and 31013 of the region features' id_mapping.json (data.md 2.2)
    assert (names[0], names[25], names[31_013]) == ("1000092795.jpg", "1007129816.jpg", "998845445.jpg")


@pytest.mark.parametrize(
    ("split", "total", "expected"),
    [
        ("val", 1_460_856_072, "b7a7a89dd86f75f60dc1984613bde9048118c37bc5246e028c7b22aeb4199477"),
        ("test", 1_446_347_644, "d20da3dd48646d91a7ff7837c1c1f591d52c75e72921b2fd7f6854dc1093339f"),
    ],
)
def test_mscoco(split: SplitName, total: int, expected: str) -> None:
    assert split != "train"
    ids = mscoco_ids(split)
    assert len(ids) == len(set(ids)) == 5_000
    assert sum(ids) == total
    assert sha256(sorted(ids)) == expected


def test_mscoco_test_is_in_the_order_that_fixes_the_folds() -> None:
    ids = mscoco_ids("test")
    assert sha256(ids) == "7bc285f5d29e0240c138f0adff1a2a4c3a4a4569522ea2a1607631f9ffe62108"
    assert ids[:10] == (391895, 60623, 483108, 384213, 386164, 223648, 403385, 294832, 462565, 436141)
    ends = [(ids[1000 * fold], ids[1000 * fold + 999]) for fold in range(5)]
    assert ends == [(391895, 369771), (53267, 307511), (354165, 58232), (566717, 235274), (82935, 74478)]


def test_mscoco_splits_do_not_overlap() -> None:
    assert not set(mscoco_ids("val")) & set(mscoco_ids("test"))


def test_mscoco_captions_are_five_an_image_in_test_order() -> None:
    captions = mscoco_test_captions()
    assert len(captions) == len(mscoco_ids("test"))
    assert all(len(five) == 5 and list(five) == sorted(five) for five in captions)
    flat = [item for five in captions for item in five]
    assert len(set(flat)) == 25_000
    assert sha256(flat) == "f80641277519ca01c71720575a015c3c71453da1125e2f6e09409d1b82fb7284"
    assert captions[0] == (770337, 771687, 772707, 776154, 781998)  # of cocoid 391895 (data.md 2.1)


def test_the_readme_names_every_list_with_its_sha256() -> None:
    folder = resources.files("benchmark.data.published") / "split_lists"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    lists = [file for file in folder.iterdir() if file.name.endswith(".txt")]
    assert len(lists) == 6
    for file in lists:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert any(file.name in line and digest in line for line in readme.splitlines()), file.name
