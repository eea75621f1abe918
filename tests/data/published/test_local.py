"""Local folders given as --data-dir: parquet files of any schema, pictures with Karpathy's JSON, traps of caching."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.data.batches import image_batches
from benchmark.data.load import load_dataset
from benchmark.data.splits import Dataset, SplitName
from benchmark.errors import UserError
from benchmark.inputs import InputSpec, PixelInput, WordPieceText
from tests.hub.repositories import LAYOUTS, karpathy_folder, write_parquet
from tests.hub.rows import Row, flickr8k_rows, flickr30k_rows, mscoco_rows

ANYMODAL, UMARU = "AnyModal/flickr30k", "umaru97/flickr30k_train_val_test"
FLICKR30K_LAYOUTS = [name for name in LAYOUTS if "flickr30k" in name and not name.startswith("lmms")]
MSCOCO_LAYOUTS = ["Multimodal-Fatima/COCO_captions_train", "jp1924/KoreanImageCaptioningDataset"]

pytestmark = pytest.mark.usefixtures("prepared")


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of prepared tables of the test's own."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "prepared")


def load(name: str, folder: Path, *splits: SplitName, **settings: Any) -> Dataset:
    settings = {"unverified": True, "show_progress": False, **settings}
    return load_dataset(name, splits=splits or ("train", "val", "test"), data_dir=folder, **settings)


def first_five(rows: list[Row], *parts: str) -> list[str]:
    chosen = sorted((row for row in rows if row.split in parts), key=lambda row: row.imgid)
    return [" ".join(text.strip().splitlines()) for row in chosen for text in row.captions[:5]]


@pytest.mark.parametrize("layout", FLICKR30K_LAYOUTS)
def test_every_schema_of_flickr30k_gives_the_same_captions(layout: str, tmp_path: Path) -> None:
    rows = flickr30k_rows()
    data = load("flickr30k", write_parquet(layout, rows, tmp_path / "mine"))
    for name, split in data.splits.items():
        assert split.captions == first_five(rows, name)
        assert split.images[0].size == (48, 32)
    assert (data.revision, data.source) == ("local", "local parquet files")


@pytest.mark.parametrize("layout", MSCOCO_LAYOUTS)
def test_schemas_of_mscoco(layout: str, tmp_path: Path) -> None:
    rows = mscoco_rows()
    data = load("mscoco", write_parquet(layout, rows, tmp_path / "mine"), "train")
    assert sorted(data.splits["train"].captions) == sorted(first_five(rows, "train"))


@pytest.mark.parametrize("layout", ["jxie/flickr8k", "intro/flickr8k"])
def test_both_schemas_of_flickr8k(layout: str, tmp_path: Path) -> None:
    rows = flickr8k_rows()
    data = load("flickr8k", write_parquet(layout, rows, tmp_path / "mine"))
    assert data.splits["val"].captions == first_five(rows, "val")
    ids = [name for split in data.splits.values() for name in split.image_ids]
    assert len(set(ids)) == len(ids) == 12


def test_other_contents_in_a_known_schema_are_refused_or_marked(tmp_path: Path) -> None:
    """Flickr8K in the columns of AnyModal/flickr30k, as users keep it."""
    folder = write_parquet(ANYMODAL, flickr8k_rows(), tmp_path / "mine")
    with pytest.raises(UserError, match=r"flickr30k.*expected.*--unverified") as caught:
        load("flickr30k", folder, unverified=False)
    assert "\n" not in str(caught.value)
    data = load("flickr30k", folder)
    assert data.departures
    assert all(line.startswith("not verified") for line in data.departures)
    spec = InputSpec(PixelInput(16, "plain", "resize_center_crop", 20), WordPieceText(8))
    (batch,) = image_batches(data.splits["test"], spec, batch_size=8, workers=1)
    assert batch.pixels.shape == (3, 3, 16, 16)


def test_first_images_come_after_the_verification(tmp_path: Path) -> None:
    folder = write_parquet(UMARU, flickr30k_rows(), tmp_path / "mine")
    data = load("flickr30k", folder, first_images={"train": 2, "test": 99})
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 2, "val": 3, "test": 3}
    assert data.splits["train"].captions == first_five(flickr30k_rows(), "train")[:10]


@pytest.mark.parametrize(
    ("name", "dataset", "rows"),
    [("flickr30k", "flickr30k", flickr30k_rows()), ("mscoco", "coco", mscoco_rows())],
)
def test_pictures_with_karpathys_file(name: str, dataset: str, rows: list[Row], tmp_path: Path) -> None:
    folder = karpathy_folder(dataset, rows, tmp_path / "mine")
    data = load(name, folder)
    for split_name, split in data.splits.items():
        assert split.captions == first_five(rows, split_name)
        assert [split.images[row].mode for row in range(len(split))] == ["RGB"] * len(split)
    assert data.source == f"local pictures with dataset_{dataset}.json"
    again = load(name, karpathy_folder(dataset, rows, tmp_path / "elsewhere"))
    assert again.fingerprint == data.fingerprint


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    karpathy_folder("flickr30k", flickr30k_rows(), tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert load("flickr30k", Path("mine")).splits["test"].images[2].size == (48, 32)


def test_pictures_that_are_missing_are_counted_and_named(tmp_path: Path) -> None:
    rows = mscoco_rows()
    folder = karpathy_folder("coco", rows, tmp_path / "mine")
    row = next(row for row in rows if row.split == "test")
    (folder / row.filepath / row.filename).unlink()
    with pytest.raises(UserError, match=rf"1 of 3 pictures are missing, the first is {row.filename}"):
        load("mscoco", folder, "test")


def test_pictures_under_the_names_of_the_2017_release(tmp_path: Path) -> None:
    folder = karpathy_folder("coco", mscoco_rows(), tmp_path / "mine")
    for path in list(folder.rglob("*.jpg")):
        path.rename(path.with_name(path.name[-16:]))
    assert load("mscoco", folder, "test").splits["test"].images[0].size == (48, 32)


# ------------------------------------------------------------------------------- traps of caching


def test_two_folders_of_one_name_and_card_are_told_apart(tmp_path: Path) -> None:
    rows = flickr30k_rows()
    one = write_parquet(UMARU, rows, tmp_path / "one" / "same")
    other_rows = [row for row in rows if row.split != "test"] + [row for row in rows if row.split == "test"][
        ::-1
    ]
    for row in other_rows:
        row.captions[0] = "something else"
    other = write_parquet(UMARU, other_rows, tmp_path / "two" / "same")
    shutil.copyfile(one / "README.md", other / "README.md")
    first, second = load("flickr30k", one, "test"), load("flickr30k", other, "test")
    assert "something else" not in first.splits["test"].captions
    assert "something else" in second.splits["test"].captions
    assert first.fingerprint != second.fingerprint


def test_files_rewritten_under_the_same_card_are_read_anew(tmp_path: Path) -> None:
    rows = flickr30k_rows()
    folder = write_parquet(UMARU, rows, tmp_path / "mine")
    before = load("flickr30k", folder, "val", "test")
    card = (folder / "README.md").read_bytes()
    for row in rows:
        if row.split == "test":
            row.captions[0] = "rewritten"
    write_parquet(UMARU, rows, folder)
    assert (folder / "README.md").read_bytes() == card
    after = load("flickr30k", folder, "val", "test")
    assert "rewritten" in after.splits["test"].captions
    assert after.fingerprints["test"] != before.fingerprints["test"]
    assert after.splits["val"].captions == before.splits["val"].captions


# ------------------------------------------------------------------------------------- bad input


def cut_short(folder: Path) -> None:
    path = next(folder.rglob("test-*.parquet"))
    path.write_bytes(path.read_bytes()[:-200])


def overwrite_the_middle(folder: Path) -> None:
    path = next(folder.rglob("test-*.parquet"))
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)


def remove_the_split(folder: Path) -> None:
    next(folder.rglob("test-*.parquet")).unlink()


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def four_captions(folder: Path) -> None:
    rows = flickr30k_rows()
    for row in rows:
        if row.split == "test":
            del row.captions[4], row.sentids[4]
    write_parquet(UMARU, rows, folder)


def other_split_column(folder: Path) -> None:
    shutil.copyfile(next(folder.rglob("val-*.parquet")), next(folder.rglob("test-*.parquet")))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, r"cannot read .*/test-.*fetch it again"),
        (overwrite_the_middle, r"cannot read .*/test-.*fetch it again"),
        (remove_the_split, r"found no parquet file of split 'test'"),
        (empty, r"found no parquet file of split 'test' .*no dataset_\*\.json"),
        (four_captions, r"\.jpg: found 4 captions, expected 5"),
        (other_split_column, r"no row of split 'test'; the split column holds val"),
    ],
)
def test_damaged_folders_are_one_line(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    folder = write_parquet(UMARU, flickr30k_rows(), tmp_path / "mine")
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        load("flickr30k", folder, "test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", json.dumps({"images": [{"filename": "a.jpg"}]}), '{"images": 3}']
)
def test_what_is_not_karpathys_file_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset_flickr30k.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"dataset_flickr30k\.json: not a Karpathy annotation file") as caught:
        load("flickr30k", tmp_path, "test")
    assert "\n" not in str(caught.value)


def test_two_annotation_files(tmp_path: Path) -> None:
    for name in ("dataset_coco.json", "dataset_flickr8k.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="expected one dataset_"):
        load("flickr30k", tmp_path, "test")


def break_a_picture(rows: list[Row]) -> str:
    """Cut the second test picture short; its name."""
    index = [number for number, row in enumerate(rows) if row.split == "test"][1]
    row = rows[index]
    rows[index] = Row(
        row.filename, row.image[: len(row.image) // 2], row.captions, row.sentids, row.imgid, row.split
    )
    return row.filename


def test_a_broken_picture_names_itself_and_is_left_out_on_request(tmp_path: Path) -> None:
    rows = flickr30k_rows()
    name = break_a_picture(rows)
    folder = write_parquet(UMARU, rows, tmp_path / "mine")
    images = load("flickr30k", folder, "test").splits["test"].images
    with pytest.raises(UserError, match=rf"{name}.*cannot be decoded.*--skip-corrupt"):
        images[1]
    data = load("flickr30k", folder, "test", skip_corrupt=True)
    split = data.splits["test"]
    assert len(split) == 2
    assert name not in split.filenames
    assert len(split.captions) == 10
    assert split.caption_image.tolist() == [0] * 5 + [1] * 5
    assert any(f"left out 1 that cannot be decoded: {name}" in line for line in data.departures)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("scens", {}, "unknown dataset 'scens'; did you mean 'scenes'"),
        ("scenes", {"n_tset": 5}, r"'data\.options\.n_tset' is not known; did you mean 'n_test'"),
        ("scenes", {"n_test": "many"}, r"data\.options\.n_test.*found 'many'"),
        ("scenes", {"hard_share": 2}, r"data\.options\.hard_share.*found 2"),
        ("flickr30k", {"restval": True}, r"data\.options\.restval"),
    ],
)
def test_unknown_names_and_values(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_dataset(name, options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"captions_per_image": 6}, "captions_per_image"),
        ({"captions_per_image": 0}, "captions_per_image"),
        ({"first_images": {"val": 0}}, r"data\.first_images\.val.*found 0"),
        ({"first_images": {"valid": 1}}, r"data\.first_images\.valid.*did you mean 'val'"),
        ({"data_dir": Path("anywhere")}, "reads no folder"),
    ],
)
def test_other_bad_requests(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_dataset("scenes", **settings)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load("flickr30k", tmp_path / "absent")
