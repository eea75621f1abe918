"""Datasets with region features through the one door: what is verified, cut, noted, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.data.batches import image_batches, train_batches
from benchmark.data.inputs import check_input
from benchmark.data.load import load_dataset, make_codec
from benchmark.data.published.catalogue import CATALOG
from benchmark.data.published.karpathy import flickr30k_names, mscoco_ids
from benchmark.data.regions.grid import FeatureStore
from benchmark.data.regions.random_cells import DIM, RandomCells
from benchmark.data.regions.scan import flickr30k_by_id
from benchmark.data.splits import Dataset, SplitName
from benchmark.errors import UserError
from benchmark.inputs import InputSpec, PixelInput, RegionInput, WordPieceText
from benchmark.recipe.schema import GridRegions, RegionSettings, StoredRegions
from tests.data.published.splits import flickr, naive_facts
from tests.data.published.test_captions import (
    as_html,
    changed,
    generate,
    rewritten,
    shuffled,
    tokenised,
    translated,
)
from tests.data.region_files import boxes_of, features, scan_part, tsv_line
from tests.tiny import Outcome, rematch

SCAN, TSV = StoredRegions(source="scan"), StoredRegions(source="tsv")
GRID = GridRegions(source="grid")
TEXT = WordPieceText(20, "letters")


def load(name: str, folder: Path | None, split: SplitName, regions: RegionSettings, **more: Any) -> Dataset:
    store = FeatureStore((folder or Path()) / "features")
    return load_dataset(
        name, splits=[split], data_dir=folder, regions=regions, store=store, show_progress=False, **more
    )


def narrow(images: int) -> np.ndarray:
    return features([k % 100 for k in range(images)], regions=2, width=1)


def flickr_ids(split: SplitName) -> list[int]:
    numbers = {name: int(number) for number, name in flickr30k_by_id().items()}
    return [numbers[name] for name in flickr30k_names(split)]


def texts_of(names: Sequence[object]) -> list[str]:
    return [f"caption {k} of {name} ." for name in names for k in range(5)]


@pytest.fixture(autouse=True)
def unknown_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The captions here are made up: the published ones are not known, but for tests that say which they are."""
    for name in ("flickr30k", "mscoco"):
        entry = CATALOG[name]
        facts = {split: replace(known, captions=None) for split, known in entry.facts.items()}
        monkeypatch.setitem(CATALOG, name, replace(entry, facts=facts, other_captions={}))


# -------------------------------------------------------------------------------------------- scan


@pytest.mark.parametrize("repeated", [False, True], ids=["once", "five times"])
def test_flickr30k_is_verified_whole_and_validated_on_a_thousand(tmp_path: Path, repeated: bool) -> None:
    scan_part(tmp_path, "dev", 1_014, array=narrow(1_014), ids=flickr_ids("val"), repeated=repeated)
    dataset = load("flickr30k", tmp_path, "val", SCAN)
    split = dataset.splits["val"]
    assert (len(split), len(split.captions)) == (1_000, 5_000)
    assert split.filenames == list(flickr30k_names("val")[:1_000])
    assert split.regions is not None
    np.testing.assert_array_equal(split.regions.regions([999]), narrow(1_014)[[999]])
    assert (dataset.revision, dataset.source) == ("local", "SCAN region features, a local folder")
    assert dataset.departures == []
    assert dataset.notes == [
        "split 'val', words of captions: cannot be checked: no hash of this split's captions is known",
        f"regions of 'val': SCAN features dev_ims.npy (identity {split.regions.identity().decode()[:12]})",
    ]
    assert len(load("flickr30k", tmp_path, "val", SCAN, first_images={"val": 40}).splits["val"]) == 40


def test_the_test_split_of_flickr30k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOG, "flickr30k", flickr())
    texts = texts_of(flickr30k_names("test"))
    scan_part(tmp_path, "test", 1_000, array=narrow(1_000), ids=flickr_ids("test"), texts=texts)
    assert load("flickr30k", tmp_path, "test", SCAN).departures == []


def test_mscocos_test_split_has_five_thousand_images_in_order(tmp_path: Path) -> None:
    ids = list(mscoco_ids("test"))
    scan_part(tmp_path, "test", 1_000, array=narrow(1_000), ids=ids[:1_000])
    with pytest.raises(UserError, match="found 1,000, expected 5,000"):
        load("mscoco", tmp_path, "test", SCAN)
    assert len(load("mscoco", tmp_path, "test", SCAN, unverified=True).departures) > 0
    scan_part(tmp_path, "testall", 5_000, array=narrow(5_000), ids=ids)
    dataset = load("mscoco", tmp_path, "test", SCAN)
    assert len(dataset.splits["test"]) == 5_000
    assert dataset.departures == []
    scan_part(tmp_path, "testall", 5_000, array=narrow(5_000), ids=sorted(ids))
    with pytest.raises(UserError, match="order of images"):
        load("mscoco", tmp_path, "test", SCAN)


@pytest.mark.parametrize("repeated", [False, True], ids=["5,000 images", "1,000 images"])
def test_either_form_of_mscocos_dev_will_do(tmp_path: Path, repeated: bool) -> None:
    count = 1_000 if repeated else 5_000
    ids = list(mscoco_ids("val"))[:count]
    scan_part(tmp_path, "dev", count, array=narrow(count), ids=ids, repeated=repeated)
    dataset = load("mscoco", tmp_path, "val", SCAN)
    assert len(dataset.splits["val"]) == 1_000
    assert dataset.departures == []


def test_other_images_are_refused(tmp_path: Path) -> None:
    scan_part(tmp_path, "dev", 1_014, array=narrow(1_014), ids=flickr_ids("train")[:1_014])
    with pytest.raises(UserError, match="split 'val', file names: found 1,014 missing"):
        load("flickr30k", tmp_path, "val", SCAN)


def test_without_ids_nothing_says_which_images_they_are(tmp_path: Path) -> None:
    scan_part(tmp_path, "dev", 1_014, array=narrow(1_014))
    (tmp_path / "dev_ids.txt").unlink()
    dataset = load("flickr30k", tmp_path, "val", SCAN)
    assert dataset.splits["val"].image_ids[:2] == ["dev-0", "dev-1"]
    assert dataset.departures == ["split 'val': no _ids.txt, so nothing says which images these are"]


def test_a_folder_is_needed() -> None:
    with pytest.raises(UserError, match="name it with --data-dir; SCAN's features are to be had"):
        load("flickr30k", None, "val", SCAN)
    with pytest.raises(UserError, match="found 'tsv', scenes is made by code; valid: grid"):
        load("scenes", None, "val", TSV)


# ---------------------------------------------------------------------------- SCAN's own captions


def scan_folder(folder: Path, images: Sequence[Sequence[str]]) -> Path:
    """Flickr30K's test split in SCAN's layout with these captions."""
    texts = [caption for five in images for caption in five]
    scan_part(folder, "test", 1_000, array=narrow(1_000), ids=flickr_ids("test"), texts=texts)
    return folder


@pytest.fixture(scope="module")
def written() -> list[list[str]]:
    return generate(1_000, seed=3)


@pytest.fixture
def published(written: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The generated captions are the published ones of the test split, others those of val."""
    facts = dict(CATALOG["flickr30k"].facts)
    facts["test"] = replace(facts["test"], captions=naive_facts(chain(*written)))
    facts["val"] = replace(facts["val"], captions=naive_facts(chain(*generate(1_000, seed=4))))
    monkeypatch.setitem(CATALOG, "flickr30k", replace(CATALOG["flickr30k"], facts=facts))


PACKAGINGS: dict[str, Callable[[str], str]] = {"as written": str, "tokenised": tokenised, "HTML": as_html}


@pytest.mark.parametrize("name", PACKAGINGS)
@pytest.mark.usefixtures("published")
def test_a_scan_folder_is_accepted_in_any_packaging(
    tmp_path: Path, written: list[list[str]], name: str
) -> None:
    images = changed(written, PACKAGINGS[name])
    dataset = load("flickr30k", scan_folder(tmp_path, images), "test", SCAN)
    assert dataset.departures == []
    characters = sum(map(len, chain(*images)))
    start = f"split 'test', words of captions: the same words; {characters:,} characters as written"
    assert dataset.notes[0].startswith(start)
    assert ("blanks before punctuation" in dataset.notes[0]) == (name == "tokenised")


@pytest.mark.usefixtures("published")
def test_a_scan_folder_with_captions_moved_within_images_is_accepted_and_noted(
    tmp_path: Path, written: list[list[str]]
) -> None:
    dataset = load("flickr30k", scan_folder(tmp_path, [five[::-1] for five in written]), "test", SCAN)
    assert dataset.departures == []
    assert "noted: the same words, in another order within the images" in dataset.notes[0]
    moved = [written[0][::-1], *written[1:]]
    dataset = load("flickr30k", scan_folder(tmp_path, moved), "test", SCAN)
    assert dataset.departures == []
    assert "cannot be checked: the published counts with another hash" in dataset.notes[0]


WRONG: dict[str, Callable[[list[list[str]]], list[list[str]]]] = {
    "translated": translated,
    "rewritten": rewritten,
    "shuffled": shuffled,
    "another split": lambda _: generate(1_000, seed=4),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.usefixtures("published")
def test_a_scan_folder_with_other_captions_is_refused_with_what_differs(
    tmp_path: Path, written: list[list[str]], name: str
) -> None:
    folder = scan_folder(tmp_path, WRONG[name](written))
    with pytest.raises(UserError, match=rf"split 'test', words of captions: found 5,000 captions.*: {name}"):
        load("flickr30k", folder, "test", SCAN)
    (departure,) = load("flickr30k", folder, "test", SCAN, unverified=True).departures
    assert departure.startswith("not verified: split 'test', words of captions: found 5,000 captions")


# --------------------------------------------------------------------------------------------- tsv


def annotate(folder: Path) -> None:
    """Karpathy's JSON with two test images."""
    images = [
        {
            "filename": f"COCO_val2014_{number:012d}.jpg",
            "imgid": place,
            "cocoid": number,
            "split": "test",
            "sentences": [{"raw": f"caption {k} of {number}", "sentid": 10 * number + k} for k in range(6)],
        }
        for place, number in enumerate((42, 7))
    ]
    (folder / "dataset_coco.json").write_text(json.dumps({"images": images}))


def test_tsv_files_beside_karpathys_annotations(tmp_path: Path) -> None:
    annotate(tmp_path)
    with pytest.raises(UserError, match=r"found no \.tsv file"):
        load("mscoco", tmp_path, "test", TSV, unverified=True)
    (tmp_path / "trainval.tsv").write_text(
        "".join(tsv_line(number, boxes_of(number)) for number in (1, 7, 42))
    )
    dataset = load("mscoco", tmp_path, "test", TSV, unverified=True)
    split = dataset.splits["test"]
    assert split.image_ids == ["42", "7"]
    assert split.captions[5] == "caption 0 of 7"
    assert split.regions is not None
    np.testing.assert_array_equal(split.regions.regions([0, 1]), np.stack([boxes_of(42), boxes_of(7)]))
    assert dataset.source == "local features with dataset_coco.json, region features from local TSV files"
    assert str(tmp_path) not in json.dumps(
        [dataset.source, dataset.revision, dataset.notes, dataset.departures]
    )
    (tmp_path / "dataset_coco.json").unlink()
    with pytest.raises(UserError, match="expected Karpathy's annotations beside the features"):
        load("flickr30k", tmp_path, "test", TSV)


# ------------------------------------------------------------------------------------ `data verify`


def verify(folder: Path, source: str) -> Outcome:
    where = ("--data-dir", folder, "--regions", source)
    return rematch("data", "verify", "flickr30k", *where, "--split", "val", "--no-progress")


def test_features_can_be_verified_before_anything_is_trained(tmp_path: Path) -> None:
    scan_part(tmp_path, "dev", 1_014, array=narrow(1_014), ids=flickr_ids("val"))
    said = verify(tmp_path, "scan").good
    assert "val: 2 regions of width 1 an image, all finite, the largest value 9.9e+04" in said
    assert "differs" not in said
    unknown = verify(tmp_path, "scam").error
    assert unknown == "option --regions: unknown source 'scam'; did you mean 'scan'?"
    array = narrow(1_014)
    array[998, 0, 0] = np.inf
    np.save(tmp_path / "dev_ims.npy", array)
    assert "dev_ims.npy: row 998: region 0 holds inf" in verify(tmp_path, "scan").error


# -------------------------------------------------------------------------------------------- grid


def test_scenes_through_fixed_filters(tmp_path: Path) -> None:
    options = {"n_train": 6, "n_val": 4, "n_test": 5}
    store = FeatureStore(tmp_path)
    plain = load_dataset("scenes", options)
    dataset = load_dataset("scenes", options, regions=GRID, store=store, show_progress=False)
    assert len(list(tmp_path.iterdir())) == 3
    assert len(dataset.departures) == 1
    assert dataset.departures[0].startswith("proxy region features: 6 x 6 cells through fixed random filters")
    assert [note.split(" (")[0] for note in dataset.notes] == [
        f"regions of '{name}': 6 x 6 cells through fixed random filters" for name in ("train", "val", "test")
    ]
    for name, split in dataset.splits.items():
        assert split.fingerprint != plain.splits[name].fingerprint
        assert split.regions is not None
        expected = RandomCells().cells([split.images[row] for row in range(len(split))])
        np.testing.assert_array_equal(split.regions.regions(range(len(split))), expected)


def test_batches_of_regions(tmp_path: Path) -> None:
    dataset = load_dataset(
        "scenes",
        {"n_train": 6, "n_test": 5},
        splits=["train", "test"],
        regions=GRID,
        store=FeatureStore(tmp_path),
    )
    spec = InputSpec(RegionInput(36, DIM), TEXT)
    codec = make_codec(TEXT, dataset)
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert train.regions is not None
    assert test.regions is not None
    for workers in (0, 1):
        batches = list(train_batches(train, spec, codec, seed=1, epoch=0, batch_size=8, workers=workers))
        assert sorted(int(row) for batch in batches for row in batch.captions.index) == list(range(30))
        for batch in batches:
            assert batch.images.pixels.dtype == torch.float32
            rows = batch.images.index.tolist()
            assert rows == [train.caption_image[row] for row in batch.captions.index]
            np.testing.assert_array_equal(batch.images.pixels.numpy(), train.regions.regions(rows))
        found = list(image_batches(test, spec, batch_size=2, workers=workers))
        assert [batch.index.tolist() for batch in found] == [[0, 1], [2, 3], [4]]
        every = torch.cat([batch.pixels for batch in found]).numpy()
        np.testing.assert_array_equal(every, test.regions.regions(range(5)))


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_features_are_one_line_from_any_process(tmp_path: Path, workers: int) -> None:
    array = narrow(1_014)
    scan_part(tmp_path, "dev", 1_014, array=array, ids=flickr_ids("val"))
    split = load("flickr30k", tmp_path, "val", SCAN).splits["val"]
    array[3, 1, 0] = np.nan
    np.save(tmp_path / "dev_ims.npy", array)
    spec = InputSpec(RegionInput(2, 1), TEXT)
    with pytest.raises(UserError, match=r"^dev_ims.npy: row 3: region 1 holds nan, expected finite numbers"):
        list(image_batches(split, spec, batch_size=4, workers=workers))


def test_what_a_model_reads_is_checked(tmp_path: Path) -> None:
    scan_part(tmp_path, "dev", 1_014, array=narrow(1_014), ids=flickr_ids("val"))
    split = load("flickr30k", tmp_path, "val", SCAN).splits["val"]
    check_input(split, InputSpec(RegionInput(2, 1), TEXT))
    for wanted in (RegionInput(3, 1), RegionInput(2, 2048)):
        said = (
            rf"^field 'data.regions': split 'val' has 2 regions of width 1 an image \(SCAN features dev_ims.npy\), "
            rf"the model reads {wanted.n_regions} of width {wanted.dim}$"
        )
        with pytest.raises(UserError, match=said):
            check_input(split, InputSpec(wanted, TEXT))
        with pytest.raises(UserError, match=said):
            next(iter(image_batches(split, InputSpec(wanted, TEXT), batch_size=4)))
    pixels = InputSpec(PixelInput(64, "plain", "resize", 64), TEXT)
    with pytest.raises(UserError, match="the model reads pixels; leave the field out"):
        check_input(split, pixels)
    scenes = load_dataset("scenes", {"n_test": 2}, splits=["test"]).splits["test"]
    check_input(scenes, pixels)
    with pytest.raises(UserError, match=r"^field 'data.regions' is missing: the model reads 36 x 2048"):
        check_input(scenes, InputSpec(RegionInput(36, 2048), TEXT))


@pytest.mark.parametrize("count", [35, 37])
def test_another_number_of_regions(tmp_path: Path, count: int) -> None:
    array = features([0] * 1_014, regions=count, width=1)
    scan_part(tmp_path, "dev", 1_014, array=array, ids=flickr_ids("val"))
    split = load("flickr30k", tmp_path, "val", SCAN).splits["val"]
    with pytest.raises(
        UserError, match=f"has {count} regions of width 1 an image .* the model reads 36 of width 1"
    ):
        next(iter(image_batches(split, InputSpec(RegionInput(36, 1), TEXT), batch_size=4)))
