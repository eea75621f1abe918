"""Every layout gives the same images and captions, is recognised, and is opened again by its card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.cards import find_card
from benchmark.data.load import load_dataset
from benchmark.data.own.index import SPLITS, read_index
from benchmark.data.own.layouts import LAYOUTS, recognise
from benchmark.errors import UserError
from benchmark.recipe.schema import StoredRegions
from tests.data.own.sources import (
    EXPECTED,
    NAMES,
    PARTS,
    bring_in,
    captions_folder,
    captions_of,
    coco_folder,
    encoded,
    features_folder,
    karpathy_folder,
    metadata_folder,
    parquet_file,
    rows,
    shard_folder,
    told,
    write_pictures,
    write_table,
)

Maker = Callable[[Path], Path]


def kaggle(folder: Path) -> Path:
    """Kaggle's folder: pictures in `Images`, captions.txt beside it; captions with commas are quoted."""
    write_pictures(folder / "Images")
    write_table(folder / "captions.txt", rows())
    return folder


def tabs(folder: Path) -> Path:
    write_table(write_pictures(folder) / "captions.tsv", rows(), "\t")
    return folder


def numbered(folder: Path) -> Path:
    """A column a caption, blank where an image has fewer."""
    found = [
        {"filename": name} | {f"caption_{k}": (captions_of(number)[k : k + 1] or [""])[0] for k in range(7)}
        for number, name in enumerate(NAMES)
    ]
    write_table(write_pictures(folder) / "metadata.csv", found)
    return folder


def one_parquet(folder: Path) -> Path:
    return parquet_file(folder / "table.parquet")


def row_a_caption(folder: Path) -> Path:
    return parquet_file(folder / "table.parquet", repeated=True).parent


def parquet_of_paths(folder: Path) -> Path:
    """Pictures of `datasets` by their paths: to_parquet writes these and no pictures."""
    import datasets

    write_pictures(folder)
    columns = {"image": [str(folder / name) for name in NAMES], "caption": list(EXPECTED.values())}
    table = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    table.to_parquet(str(folder / "table.parquet"))
    return folder


LAYOUT_MAKERS = {
    "captions.csv": (captions_folder, "captions"),
    "captions.tsv": (tabs, "captions"),
    "captions.txt": (kaggle, "captions"),
    "metadata.jsonl": (metadata_folder, "metadata"),
    "metadata.csv": (numbered, "metadata"),
    "coco": (coco_folder, "coco"),
    "karpathy": (karpathy_folder, "karpathy"),
    "parquet, a row an image": (one_parquet, "parquet"),
    "parquet, a row a caption": (row_a_caption, "parquet"),
    "parquet, paths of pictures": (parquet_of_paths, "parquet"),
    "webdataset": (shard_folder, "webdataset"),
}


@pytest.mark.parametrize(("make", "layout"), LAYOUT_MAKERS.values(), ids=list(LAYOUT_MAKERS))
def test_every_layout_gives_the_same_images_and_captions(tmp_path: Path, make: Maker, layout: str) -> None:
    own = bring_in(make(tmp_path / "source")).own
    assert own.card.layout == layout
    found = {Path(name).name.removesuffix(".png"): texts for name, texts in told(own).items()}
    expected = {name.removesuffix(".png"): texts for name, texts in EXPECTED.items()}
    if layout == "webdataset":
        expected = {f"{number:06}": captions_of(number) for number in range(len(NAMES))}
    assert found == expected
    loaded = load_dataset("mine", captions_per_image=None, show_progress=False)
    for split in loaded.splits.values():
        for row, name in enumerate(split.filenames):
            number = next(k for k in range(len(NAMES)) if Path(name).stem in (Path(NAMES[k]).stem, f"{k:06}"))
            assert split.images[row].getpixel((0, 0)) == (20 * number, 255 - 20 * number, 7)
            assert [split.captions[k] for k in split.rows_of_images()[row]] == captions_of(number)
    assert sum(len(split) for split in loaded.splits.values()) == len(NAMES)


def test_the_same_pictures_have_one_fingerprint_whatever_they_lie_in(tmp_path: Path) -> None:
    prints = set()
    for number, make in enumerate((captions_folder, metadata_folder, one_parquet)):
        bring_in(make(tmp_path / str(number)), f"mine{number}")
        loaded = load_dataset(f"mine{number}", captions_per_image=None, show_progress=False)
        prints.add(loaded.fingerprint)
    assert len(prints) == 1


def test_tables_in_folders_of_splits_name_the_pictures_beside_them(tmp_path: Path) -> None:
    """An image folder as `datasets` knows it: every split has a 0.png and a metadata.csv of its own."""
    source = tmp_path / "source"
    for split in ("train", "validation", "test"):
        write_pictures(source / split, [f"{number}.png" for number in range(3)])
        found = [{"file_name": f"{number}.png", "text": f"{split} {number}"} for number in range(3)]
        write_table(source / split / "metadata.csv", found)
        for number in range(3):
            path = source / split / f"{number}.png"
            path.write_bytes(path.read_bytes() + split.encode())
    own = bring_in(source).own
    assert own.card.splits.given == ["train", "val", "test"]
    captions = {name: [item.captions[0] for item in items] for name, items in read_index(own).items()}
    assert captions["val"] == ["validation 0", "validation 1", "validation 2"]
    assert [item.file for item in read_index(own)["test"]] == [f"test/{number}.png" for number in range(3)]


def test_given_splits_are_kept_and_restval_is_trained_on(tmp_path: Path) -> None:
    done = bring_in(karpathy_folder(tmp_path / "source"))
    index = read_index(done.own)
    assert [item.file for name in SPLITS for item in index[name]] == NAMES
    assert [name for name in SPLITS for _ in index[name]] == PARTS
    assert done.own.card.splits.given == ["train", "val", "test"]
    assert "images of part 'restval' are in the training split" in done.notes


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("ids", ["captions", "none"])
def test_features_with_any_number_of_captions(tmp_path: Path, repeated: bool, ids: str) -> None:
    source = features_folder(tmp_path / "source", repeated=repeated, ids=ids)
    if ids == "none" and not repeated:
        with pytest.raises(UserError, match=r"which is no whole number an image; expected a train_ids.txt"):
            bring_in(source)
        return
    own = bring_in(source).own
    regions = StoredRegions(source="scan")
    loaded = load_dataset("mine", captions_per_image=None, regions=regions, show_progress=False)
    once = features_folder(tmp_path / "once")
    for part, name in (("train", "train"), ("dev", "val"), ("test", "test")):
        split = loaded.splits[name]  # type: ignore[index]
        assert split.regions is not None
        expected = np.load(once / f"{part}_ims.npy")
        np.testing.assert_array_equal(split.regions.regions(range(len(split))), expected)
        if ids == "captions":
            numbers = [number for number in range(len(NAMES)) if PARTS[number] == name]
            assert split.image_ids == [f"name {number}" for number in numbers]
    assert sorted(map(len, told(own).values())) == sorted(len(texts) for texts in EXPECTED.values())


def test_a_folder_of_nothing_says_everything_that_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "notes.docx").write_bytes(b"x")
    with pytest.raises(UserError) as error:
        recognise(str(tmp_path / "source"))
    said = str(error.value)
    assert all(layout.looks_for in said for name, layout in LAYOUTS.items() if name != "hub")
    assert "the folder holds notes.docx" in said


def test_two_layouts_in_one_folder_are_asked_about(tmp_path: Path) -> None:
    source = coco_folder(captions_folder(tmp_path / "source"))
    with pytest.raises(
        UserError, match=r"captions \(captions.csv\), coco \(annotations.json\); say which with"
    ):
        bring_in(source)
    assert bring_in(source, layout="coco").own.card.layout == "coco"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("data.xlsx", "found a file '.xlsx', expected one of .csv"),
        ("data.json", "neither COCO's annotations"),
        ("nowhere", "no such folder or file, and no name of a repository"),
    ],
)
def test_files_of_no_layout(tmp_path: Path, name: str, message: str) -> None:
    if "." in name:
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=message):
        recognise((tmp_path / name).as_posix())


def test_a_source_that_moved_is_found_by_its_new_place(tmp_path: Path) -> None:
    source = captions_folder(tmp_path / "source")
    bring_in(source)
    source.rename(tmp_path / "other")
    with pytest.raises(UserError, match="no such folder or file, expected the source of mine"):
        load_dataset("mine", captions_per_image=None)
    loaded = load_dataset("mine", captions_per_image=None, data_dir=tmp_path / "other", show_progress=False)
    assert sum(len(split) for split in loaded.splits.values()) == len(NAMES)


def test_the_card_says_where_the_source_lies_from_its_own_folder(tmp_path: Path) -> None:
    captions_folder(tmp_path / "source")
    bring_in("../source")
    own = find_card("mine")
    assert own is not None
    assert own.card.source == "../../source"
    assert own.place() == Path("../source")
    assert own.index.read_bytes().count(b"\n") == len(NAMES)
    assert encoded(0)
