"""The authors' Flickr30K split: exactly the code's rule, told apart from Karpathy's, and every fault of its lists."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from baselines.dualpath.split import FLICKR8K
from benchmark.data.load import load_dataset
from benchmark.data.published import listed_splits
from benchmark.data.published.catalogue import entry_under, get_entry
from benchmark.data.published.listed_splits import karpathy_parts, number_of, read_lists
from benchmark.data.published.revisions import read_revisions
from benchmark.data.splits import Dataset
from benchmark.errors import UserError
from benchmark.places import WORK
from benchmark.recipe.faults import check_fields
from benchmark.recipe.schema import FileGuides, StoredRegions
from benchmark.registry import declared_split
from tests.data.published.splits import NAMES, failed, flickr, make_split, verify
from tests.hub.repositories import write_parquet
from tests.hub.rows import Row, captions_of, flickr30k_rows, picture

CORPUS = "lmms-lab/flickr30k"
LISTS = FLICKR8K.lists
SMALL = replace(FLICKR8K, list_images=3)
OUTSIDE = Row("77.jpg", picture(77), captions_of(77), [901, 902, 903, 904, 905], 40_000, "test")
"""A picture of the corpus that Karpathy's splits do not have."""
ROWS = [*flickr30k_rows(), OUTSIDE]
DEV = [ROWS[7].filename, ROWS[0].filename, ROWS[10].filename]
TEST = [OUTSIDE.filename, ROWS[3].filename, ROWS[1].filename]


def as_flickr8k(name: str) -> str:
    return f"{name.removesuffix('.jpg')}_0a1b2c3d4e.jpg"


def write_lists(folder: Path, dev: list[str] | None = None, test: list[str] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in (("val", dev or DEV), ("test", test or TEST)):
        text = "".join(f"{as_flickr8k(name)}\n" for name in names)
        (folder / LISTS[split]).write_text(text, encoding="utf-8")  # type: ignore[index]
    return folder


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of three names, an empty folder to work in, and a cache of prepared tables of the test's own."""
    monkeypatch.setattr("benchmark.data.published.catalogue.declared_split", lambda *_asked: SMALL)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "prepared")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The corpus of thirteen as parquet, with the lists beside it."""
    return write_lists(write_parquet(CORPUS, ROWS, tmp_path / "corpus"))


def load(folder: Path | None, **settings: object) -> Dataset:
    settings = {"unverified": True, "show_progress": False, **settings}
    return load_dataset("flickr30k", {"split": "flickr8k"}, data_dir=folder, **settings)  # type: ignore[arg-type]


def refused(folder: Path | None, **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_split_is_the_rule_s(folder: Path) -> None:
    """Rebuilt with loops: lists in their order, the rest in string order, captions and pictures with their image."""
    data = load(folder)
    by_name = {row.filename: row for row in ROWS}
    expected = {
        "val": DEV,
        "test": TEST,
        "train": sorted(name for name in by_name if name not in DEV and name not in TEST),
    }
    for name, split in data.splits.items():
        assert split.name == name
        assert split.filenames == expected[name]
        assert split.image_ids == [str(by_name[item].imgid) for item in expected[name]]
        texts = [text for item in expected[name] for text in by_name[item].captions[:5]]
        assert split.captions == [" ".join(text.strip().splitlines()) for text in texts]
        ids = [str(number) for item in expected[name] for number in by_name[item].sentids]
        assert split.caption_ids == ids
        assert split.caption_image.tolist() == [row for row in range(len(split)) for _ in range(5)]
        assert [split.images.encoded(row) for row in range(len(split))] == [  # type: ignore[attr-defined]
            by_name[item].image for item in expected[name]
        ]


def test_the_record_says_which_split_and_what_it_lacks(folder: Path) -> None:
    data = load(folder)
    assert (data.name, data.options) == ("flickr30k", {"split": "flickr8k"})
    assert data.notes == [
        "split by the rule of the dual-path's code: val and test are Flickr8k's dev and test images, train the other 7"
    ]
    assert data.departures[0] == (
        "not verified: found 13 images, expected the whole corpus of 31,783; 7 are left to train on, the authors "
        "have 31,777"
    )
    assert all(line.startswith("not verified: split") for line in data.departures[1:])
    assert list(load(folder, splits=["test"]).splits) == ["test"]


def test_fingerprints_tell_the_splits_apart(folder: Path, tmp_path: Path) -> None:
    other = write_lists(write_parquet(CORPUS, ROWS, tmp_path / "other"), test=[TEST[1], TEST[0], TEST[2]])
    one, two = load(folder), load(other)
    assert one.fingerprints["test"] != two.fingerprints["test"]  # the order counts
    assert one.fingerprints["val"] == two.fingerprints["val"]
    assert one.fingerprint == load(folder).fingerprint != two.fingerprint


def test_the_default_says_nothing_new() -> None:
    """Digests of resolved recipes hold the options: those of Karpathy's splits stay."""
    schema = get_entry("flickr30k").options
    assert check_fields("data.options", {}, schema).model_dump(mode="json") == {}
    assert check_fields("data.options", {"split": "karpathy"}, schema).model_dump() == {}


def test_a_split_that_no_method_declares_is_refused() -> None:
    assert declared_split("flickr30k", "flickr8k") == FLICKR8K
    with pytest.raises(
        UserError, match=r"field 'data.options.split': found 'flickr8', .*did you mean 'flickr8k'"
    ):
        declared_split("flickr30k", "flickr8")


@pytest.mark.usefixtures("hub")
def test_from_the_hub_with_the_lists_in_the_work_folder() -> None:
    names = [row.filename for row in flickr30k_rows()]
    write_lists(WORK / FLICKR8K.name, names[:3], names[3:6])
    data = load(None)
    assert data.source == "Hugging Face Hub"
    assert data.revision == f"{CORPUS}@0d6d9049be2e08261be315e731e0d8054c1d1c03"
    assert data.splits["val"].filenames == names[:3]
    assert data.splits["train"].filenames == sorted([*names[6:], "extra.jpg"])
    assert read_revisions().sources == {"flickr30k-corpus/test": CORPUS}  # Karpathy's lock is left alone


def test_the_data_folder_s_lists_come_first(folder: Path) -> None:
    write_lists(WORK / FLICKR8K.name, TEST, DEV)
    assert [as_flickr8k(name) for name in DEV] == read_lists(SMALL, folder)["val"]
    (folder / LISTS["val"]).unlink()
    assert [as_flickr8k(name) for name in TEST] == read_lists(SMALL, None)["val"]


# ----------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_missing_list(folder: Path, split: str) -> None:
    name = LISTS[split]  # type: ignore[index]
    (folder / name).unlink()
    said = refused(folder)
    assert f"{folder.as_posix()}/{name} or .rematch/flickr8k/{name}" in said
    assert f"Flickr8k's list of its 3 {split} images, one file name a line" in said


@pytest.mark.parametrize(
    ("dev", "expected"),
    [
        (DEV[:2], "found 2 names, expected Flickr8k's 3"),
        ([*DEV, "5.jpg"], "found 4 names, expected Flickr8k's 3"),
        ([DEV[0], DEV[1], DEV[0]], "is there more than once, expected every picture once"),
        ([DEV[0], "photo.jpg", DEV[1]], "name 2: found 'photo_0a1b2c3d4e.jpg', expected one such as"),
        ([DEV[0], DEV[1], TEST[2]], "1 pictures are in both, the first is " + as_flickr8k(TEST[2])),
        ([DEV[0], "5.jpg", "6.jpg"], "2 of its 3 names are not in the loaded flickr30k, the first is 5_"),
    ],
)
def test_faults_of_a_list(folder: Path, dev: list[str], expected: str) -> None:
    write_lists(folder, dev)
    said = refused(folder)
    assert expected in said
    assert LISTS["val"] in said


def test_a_list_that_is_no_text(folder: Path) -> None:
    (folder / LISTS["test"]).write_bytes(b"\xff\xfe\x00")
    assert f"{LISTS['test']}: cannot be read" in refused(folder)


def test_a_corpus_of_another_size_is_refused(folder: Path) -> None:
    said = refused(folder, unverified=False)
    assert "found 13 images, expected the whole corpus of 31,783" in said
    assert "--unverified" in said


def test_a_picture_that_is_there_twice(tmp_path: Path) -> None:
    twice = write_lists(write_parquet(CORPUS, [*ROWS, OUTSIDE], tmp_path / "twice"))
    assert "1 images are there more than once" in refused(twice)


def test_features_in_files_are_refused(folder: Path) -> None:
    stored = StoredRegions.model_validate({"source": "scan"})
    assert "data.regions.source" in refused(folder, regions=stored)
    guides = FileGuides.model_validate({"source": "file"})
    assert "data.guides.source" in refused(folder, guides=guides)


# -------------------------------------------------------------------------------------- full size


def test_at_full_size_the_counts_are_the_authors_and_karpathy_s_part_is_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "benchmark.data.published.catalogue.declared_split", declared_split
    )  # at its true size
    outside = [f"{number}.jpg" for number in range(1, 770)]
    names = sorted([*outside, *NAMES["train"], *NAMES["val"], *NAMES["test"]])
    corpus = make_split("test", names)
    assert listed_splits.corpus_departures(FLICKR8K, corpus, unverified=False) == []
    assert not failed(verify(flickr(), *karpathy_parts(corpus).values()))
    lists = {"val": [*outside[:80], *NAMES["train"][:920]], "test": list(NAMES["train"][-1_000:])}
    made = listed_splits.split_by_lists(FLICKR8K, corpus, lists)  # type: ignore[arg-type]
    assert {name: len(split) for name, split in made.items()} == {
        "train": 29_783,
        "val": 1_000,
        "test": 1_000,
    }
    found = {number_of(name) for split in made.values() for name in split.filenames}
    assert found == {number_of(name) for name in names}
    assert not failed(verify(entry_under(get_entry("flickr30k"), {"split": "flickr8k"}), *made.values()))
