"""Flickr30K and MSCOCO, tested on tiny folders and caches with the repositories' own layout and column types."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import Features, List, Value
from huggingface_hub import constants
from PIL import Image

from benchmark.baseline import InputSpec, PixelInput, TextInput
from benchmark.data import image_batches, load_dataset
from benchmark.data.catalog import CATALOG, CocoOptions, Entry, HubOptions
from benchmark.data.hub import download_estimate, hub_split, lines_sha256
from benchmark.data.scenes import ScenesOptions
from benchmark.data.splits import SplitName
from benchmark.errors import UserError

COMMIT = "d775c63" + "0" * 33
FLICKR = Features(
    {
        "image": datasets.Image(),
        "caption": List(Value("string")),
        "sentids": List(Value("string")),
        "split": Value("string"),
        "img_id": Value("string"),
        "filename": Value("string"),
    }
)
COCO = Features(
    {
        "image": datasets.Image(),
        "filepath": Value("string"),
        "sentids": List(Value("int32")),
        "filename": Value("string"),
        "imgid": Value("int32"),
        "split": Value("string"),
        "sentences_tokens": List(List(Value("string"))),
        "sentences_raw": List(Value("string")),
        "sentences_sentid": List(Value("int32")),
        "cocoid": Value("int32"),
        "id": Value("int64"),
    }
)


def picture(number: int, mode: str = "RGB") -> dict[str, Any]:
    image = Image.new("RGB", (40 + number, 30), (10 * number, 200, 30)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return {"bytes": buffer.getvalue(), "path": f"{number}.jpg"}


def flickr_rows(split: str, numbers: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "image": picture(n, "L" if n == 2 else "RGB"),
            "caption": [f"caption {k} of picture {n} ." for k in range(5)],
            "sentids": [str(5 * n + k) for k in range(5)],
            "split": split,
            "img_id": str(n),
            "filename": f"{1000 + n}.jpg",
        }
        for n in numbers
    ]


def coco_rows(parts: list[tuple[int, str]]) -> list[dict[str, Any]]:
    """(imgid, part) of each row; cocoid runs against imgid; imgid 3 has six captions, one with a line end."""
    rows = []
    for n, part in parts:
        raw = [f"Caption {k} of image {n}" for k in range(6 if n == 3 else 5)]
        raw[1] = " Two lines\nof text. "
        rows.append(
            {
                "image": picture(n, "CMYK" if n == 4 else "RGB"),
                "filepath": "val2014",
                "sentids": [100 * n + k for k in range(len(raw))],
                "filename": f"COCO_{n}.jpg",
                "imgid": n,
                "split": part,
                "sentences_tokens": [text.lower().split() for text in raw],
                "sentences_raw": raw,
                "sentences_sentid": [100 * n + k for k in range(len(raw))],
                "cocoid": 9000 - n,
                "id": n,
            }
        )
    return rows


def write(rows: list[dict[str, Any]], features: Features, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(path)


def flickr_folder(folder: Path) -> Path:
    write(flickr_rows("train", [5, 1, 3]), FLICKR, folder / "data/train-00000-of-00002-ab.parquet")
    write(flickr_rows("train", [4, 2]), FLICKR, folder / "data/train-00001-of-00002-cd.parquet")
    write(flickr_rows("val", [6]), FLICKR, folder / "data/val-00000-of-00001.parquet")
    write(flickr_rows("test", [8, 7]), FLICKR, folder / "data/test-00000-of-00001.parquet")
    return folder


def coco_folder(folder: Path) -> Path:
    parts = [(2, "restval"), (5, "train"), (1, "train"), (9, "restval"), (4, "train")]
    write(coco_rows(parts), COCO, folder / "COCO_captions_train/data/train-00000-of-00001.parquet")
    write(coco_rows([(7, "val"), (6, "val")]), COCO, folder / "v/data/validation-00000-of-00001.parquet")
    write(coco_rows([(8, "test"), (3, "test")]), COCO, folder / "t/data/test-00000-of-00001.parquet")
    return folder


def twin(name: str, split: SplitName, **expected: Any) -> Entry:
    """The catalog's entry with what the twin's split holds in place of the real counts and hashes."""
    entry = CATALOG[name]
    assert entry.hub is not None
    bare = {"ids_sha256": None, "ordered_sha256": None, "caption_ids_sha256": None}
    changed = replace(entry.hub.splits[split], **{**bare, **expected})
    hub = replace(entry.hub, splits={**entry.hub.splits, split: changed})
    return replace(entry, hub=replace(hub, train_images_with_restval=5 if name == "mscoco" else None))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty Hugging Face caches, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "prepared")
    return tmp_path / "hub"


def test_flickr_in_the_order_of_file_names(tmp_path: Path) -> None:
    folder = flickr_folder(tmp_path / "twin")
    entry = twin(
        "flickr30k", "train", images=5, ids_sha256=lines_sha256(f"{1000 + n}.jpg" for n in range(1, 6))
    )
    split, revision, notes = hub_split(entry, "train", HubOptions().model_dump(), 5, folder)
    assert (revision, notes) == ("local", [])
    assert split.image_ids == ["1", "2", "3", "4", "5"]
    assert split.filenames[0] == "1001.jpg"
    assert split.captions[5:7] == ["caption 0 of picture 2 .", "caption 1 of picture 2 ."]
    assert split.caption_ids[5] == "10"
    assert split.caption_image.tolist() == [row // 5 for row in range(25)]
    for row in range(5):
        image = split.images[row]
        assert (image.mode, image.size) == ("RGB", (41 + row, 30))  # row 1 is grey in the file


@pytest.mark.parametrize(("restval", "imgids"), [(False, [1, 4, 5]), (True, [1, 2, 4, 5, 9])])
def test_coco_in_the_order_of_imgid_with_or_without_restval(
    tmp_path: Path, restval: bool, imgids: list[int]
) -> None:
    entry = twin("mscoco", "train", images=3)
    options = CocoOptions(restval=restval).model_dump()
    split, _, notes = hub_split(entry, "train", options, 5, coco_folder(tmp_path / "twin"))
    assert split.image_ids == [str(9000 - n) for n in imgids]
    assert split.caption_ids[:2] == ["100", "101"]
    assert notes == []
    assert split.images[imgids.index(4)].mode == "RGB"


def test_coco_keeps_the_first_five_captions_and_single_lines(tmp_path: Path) -> None:
    ids = [300 + k for k in range(5)] + [800 + k for k in range(5)]
    entry = twin(
        "mscoco",
        "test",
        images=2,
        ordered_sha256=lines_sha256([8997, 8992]),
        caption_ids_sha256=lines_sha256(ids),
    )
    split, _, notes = hub_split(entry, "test", CocoOptions().model_dump(), 5, coco_folder(tmp_path / "twin"))
    assert split.image_ids == ["8997", "8992"]
    assert split.caption_ids == [str(item) for item in ids]
    assert split.captions[1] == "Two lines of text."
    assert notes == []


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"images": 3}, "found 2 images, expected 3"),
        ({"images": 2, "ids_sha256": "0" * 64}, "the cocoids are not those of the published split"),
        ({"images": 2, "ordered_sha256": "0" * 64}, "not in the published order"),
    ],
)
def test_other_data_are_refused_or_noted(tmp_path: Path, expected: dict[str, Any], message: str) -> None:
    folder, entry = coco_folder(tmp_path / "twin"), twin("mscoco", "test", **expected)
    with pytest.raises(UserError, match=message):
        hub_split(entry, "test", CocoOptions().model_dump(), 5, folder)
    _, _, notes = hub_split(entry, "test", CocoOptions(verify=False).model_dump(), 5, folder)
    assert len(notes) == 1
    assert message in notes[0]


def test_other_captions_are_noted(tmp_path: Path) -> None:
    entry = twin("mscoco", "test", images=2, caption_ids_sha256="0" * 64)
    _, _, notes = hub_split(entry, "test", CocoOptions().model_dump(), 5, coco_folder(tmp_path / "twin"))
    assert "may not be the papers' five" in notes[0]
    _, _, notes = hub_split(entry, "test", CocoOptions().model_dump(), 2, coco_folder(tmp_path / "twin"))
    assert notes == []


def test_whole_door_with_a_local_folder(tmp_path: Path) -> None:
    folder = coco_folder(tmp_path / "twin")
    options = {"verify": False}
    data = load_dataset("mscoco", options, splits=["val", "test"], validation_images=1, data_dir=folder)
    assert data.splits["val"].image_ids == ["8994"]
    assert (data.revision, data.source) == ("local", "local parquet files")
    assert data.options == {"verify": False, "restval": False}
    assert len(data.notes) == 5  # counts and ids of both, captions of test
    spec = InputSpec(PixelInput(16, "plain", "resize_center_crop", 20), TextInput("wordpiece", 8))
    (batch,) = image_batches(data.splits["test"], spec, batch_size=8, workers=1)
    assert batch.pixels.shape == (2, 3, 16, 16)
    other = load_dataset("mscoco", options, splits=["val", "test"], validation_images=1, data_dir=folder)
    assert other.fingerprint == data.fingerprint
    write(coco_rows([(8, "test"), (4, "test")]), COCO, folder / "t/data/test-00000-of-00001.parquet")
    changed = load_dataset("mscoco", options, splits=["val", "test"], validation_images=1, data_dir=folder)
    assert changed.fingerprints["val"] == data.fingerprints["val"]
    assert changed.fingerprints["test"] != data.fingerprints["test"]


def test_cached_snapshot_serves_offline_and_pins(cache: Path) -> None:
    repository = cache / "datasets--umaru97--flickr30k_train_val_test"
    flickr_folder(repository / "snapshots" / COMMIT)
    flickr_folder(repository / "snapshots" / ("e" * 40))
    entry = twin("flickr30k", "val", images=1)
    split, revision, _ = hub_split(entry, "val", HubOptions().model_dump(), 5)
    assert revision == f"umaru97/flickr30k_train_val_test@{COMMIT}"
    assert split.image_ids == ["6"]
    assert split.images.identity() == revision.encode()


def test_newest_commit_is_what_the_cache_last_saw(cache: Path) -> None:
    repository = cache / "datasets--Multimodal-Fatima--COCO_captions_test"
    coco_folder(repository / "snapshots" / ("a" * 40))
    coco_folder(repository / "snapshots" / ("b" * 40))
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("b" * 40, encoding="utf-8")
    _, revision, _ = hub_split(twin("mscoco", "test", images=2), "test", CocoOptions().model_dump(), 5)
    assert revision.endswith("b" * 40)


@pytest.mark.parametrize("name", ["flickr30k", "mscoco"])
def test_offline_without_a_cache_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE.*HF_HOME.*scenes") as caught:
        load_dataset(name, splits=["test"])
    assert "\n" not in str(caught.value)


def test_no_network_is_one_line_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    start = time.monotonic()
    with pytest.raises(UserError, match="cannot be reached"):
        load_dataset("flickr30k", splits=["test"])
    assert time.monotonic() - start < 10


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def damage_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)


def damage_column(path: Path) -> None:
    datasets.Dataset.from_list(flickr_rows("test", [7]), features=FLICKR).remove_columns(
        "sentids"
    ).to_parquet(path)


def damage_captions(path: Path) -> None:
    rows = flickr_rows("test", [7])
    rows[0]["caption"] = rows[0]["caption"][:4]
    write(rows, FLICKR, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncate, "cannot read test-"),
        (damage_middle, "cannot read test-"),
        (damage_column, "column 'sentids' is missing"),
        (damage_captions, "image 1007.jpg: found 4 captions, expected 5"),
        (Path.unlink, r"split 'test': no file test-\*"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    folder = flickr_folder(tmp_path / "twin")
    damage(folder / "data/test-00000-of-00001.parquet")
    with pytest.raises(UserError, match=message) as caught:
        load_dataset("flickr30k", {"verify": False}, splits=["test"], data_dir=folder)
    assert "\n" not in str(caught.value)


def test_a_broken_picture_names_itself(tmp_path: Path) -> None:
    rows = flickr_rows("test", [7, 8])
    rows[1]["image"]["bytes"] = rows[1]["image"]["bytes"][:100]
    write(rows, FLICKR, tmp_path / "twin/test-0.parquet")
    data = load_dataset("flickr30k", {"verify": False}, splits=["test"], data_dir=tmp_path / "twin")
    assert data.splits["test"].images[0].mode == "RGB"
    with pytest.raises(UserError, match=r"image 1008\.jpg: cannot be decoded"):
        data.splits["test"].images[1]


def test_download_estimate(cache: Path) -> None:
    estimate = download_estimate("flickr30k", ["val", "test"])
    assert estimate.bytes == 280_000_000
    assert estimate.disk_bytes == 560_000_000
    assert all("to download" in line for line in estimate.items)
    flickr_folder(cache / "datasets--umaru97--flickr30k_train_val_test/snapshots" / COMMIT)
    assert download_estimate("flickr30k", ["val", "test"]).bytes == 0
    assert download_estimate("scenes", ["train"]).bytes == 0


def test_catalog_counts_are_the_published_ones() -> None:
    assert CATALOG["flickr30k"].counts == {"train": 29_000, "val": 1_014, "test": 1_000}
    assert CATALOG["mscoco"].counts == {"train": 82_783, "val": 5_000, "test": 5_000}
    assert CATALOG["mscoco"].hub is not None
    assert CATALOG["mscoco"].hub.train_images_with_restval == 82_783 + 30_504
    options = ScenesOptions().model_dump()
    assert CATALOG["scenes"].counts == {name: options[f"n_{name}"] for name in ("train", "val", "test")}


def test_hash_of_lines_ends_every_line() -> None:
    assert lines_sha256([1, "b"]) == hashlib.sha256(b"1\nb\n").hexdigest()
    assert lines_sha256(np.array([1, 2])) == hashlib.sha256(b"1\n2\n").hexdigest()


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


def test_other_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="captions_per_image"):
        load_dataset("scenes", captions_per_image=6)
    with pytest.raises(UserError, match="captions_per_image"):
        load_dataset("scenes", captions_per_image=0)
    with pytest.raises(UserError, match="validation_images"):
        load_dataset("scenes", validation_images=0)
    with pytest.raises(UserError, match="reads no folder"):
        load_dataset("scenes", data_dir=tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        load_dataset("flickr30k", data_dir=tmp_path / "absent")
