"""Local data as people have them: names that are there twice, splits told by folders, fields of other kinds.

Each table has what a folder holds and what is right: a file that is taken, or the words of one line.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from PIL import Image

from benchmark.data.load import load_dataset
from benchmark.data.published.adapters import Rows, assemble, rows_in_order
from benchmark.data.published.annotations import karpathy_file, read_karpathy
from benchmark.data.published.catalogue import get_entry
from benchmark.data.published.hub import Request
from benchmark.data.published.local import parquet_files
from benchmark.data.published.pictures import find_pictures
from benchmark.data.splits import NoPictures, SplitName
from benchmark.errors import UserError


def refusal(caught: pytest.ExceptionInfo[UserError], *words: str) -> None:
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


# -------------------------------------------------------------------------------------- pictures

ONE = "1018.jpg"


def table(*images: tuple[str, str]) -> Rows:
    """Annotated images by folder and name, with nothing said about them."""
    ids = [str(number) for number in range(len(images))]
    folders, names = [folder for folder, _ in images], [name for _, name in images]
    return Rows(ids, names, [None] * len(ids), [()] * len(ids), None, None, folders)


@pytest.mark.parametrize(
    ("files", "images", "found"),
    [
        ([f"a/b/{ONE}"], [("", ONE)], [f"a/b/{ONE}"]),
        ([f"a_thumbs/{ONE}", f"images/{ONE}"], [("images", ONE)], [f"images/{ONE}"]),
        (["a/train/1.jpg", "a/test/1.jpg"], [("train", "1.jpg"), ("test", "1.jpg")], ["a/train/1.jpg", "a/test/1.jpg"]),
        ([f"small/train/{ONE}", f"train/{ONE}"], [("train", ONE)], [f"train/{ONE}"]),
        (["images/1018.JPG"], [("", ONE)], ["images/1018.JPG"]),
        (["Train2014/1018.JPG"], [("train2014", ONE)], ["Train2014/1018.JPG"]),
        (["a.jpg", "A.jpg"], [("", "A.jpg"), ("", "a.jpg")], ["A.jpg", "a.jpg"]),
        ([f"moved/{ONE}"], [("train2014", ONE)], [f"moved/{ONE}"]),
        ([f"images/{ONE}"], [("/../images", ONE)], [f"images/{ONE}"]),
        ([f"images/{ONE}"], [("x" * 300, ONE)], [f"images/{ONE}"]),
    ],
)  # fmt: skip
def test_the_annotated_path_comes_first_then_the_only_file_of_the_name(
    files: Sequence[str], images: Sequence[tuple[str, str]], found: Sequence[str], tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    pictures = find_pictures(tmp_path, table(*images), range(len(images)))
    assert [pictures.encoded(row).decode() for row in range(len(images))] == found


@pytest.mark.parametrize(
    ("files", "images", "words"),
    [
        ([f"a_thumbs/{ONE}", f"images/{ONE}"], [("", ONE)], (f"a_thumbs/{ONE} and images/{ONE}", "differ")),
        ([f"images/{ONE.upper()}", f"thumbs/{ONE}"], [("", ONE)], (f"thumbs/{ONE}", "differ")),
        ([ONE, f"thumbs/{ONE}"], [("", ONE)], (f"thumbs/{ONE}", "differ")),
        ([f"a/train/{ONE}", f"b/train/{ONE}"], [("train", ONE)], (f"a/train/{ONE} and b/train/{ONE}", "differ")),
        ([f"{0:012}.jpg", f"t/{0:012}.jpg"], [("", f"COCO_val2014_{0:012}.jpg")], (f"t/{0:012}.jpg", "differ")),
        ([f"images/{ONE}"], [("train", ONE), ("test", ONE)], ("2 of 2 pictures are missing", f"{ONE} of train")),
    ],
)  # fmt: skip
def test_what_is_not_told_apart_is_refused_and_named(
    files: Sequence[str], images: Sequence[tuple[str, str]], words: Sequence[str], tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    with pytest.raises(UserError) as caught:
        find_pictures(tmp_path, table(*images), range(len(images)))
    refusal(caught, *words)


def test_a_copy_of_a_picture_is_the_same_picture(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ONE).write_bytes(b"the same")
    assert find_pictures(tmp_path, table(("", ONE)), [0]).paths == [Path("a") / ONE]


def test_links_to_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    folder, store = tmp_path / "mine", tmp_path / "store"
    for path in (folder / "own", store):
        path.mkdir(parents=True)
    (store / ONE).write_bytes(b"linked")
    (folder / "own" / "a.jpg").write_bytes(b"own")
    for link, target in (("images", store), ("again", folder), ("b/twice", folder / "own")):
        (folder / link).parent.mkdir(exist_ok=True)
        (folder / link).symlink_to(target)
    (store / "itself").symlink_to(store)
    found = find_pictures(folder, table(("images", ONE), ("", "a.jpg")), [0, 1])
    assert [found.encoded(row) for row in (0, 1)] == [b"linked", b"own"]
    assert [Path(path).as_posix() for path in found.paths] == [f"images/{ONE}", "own/a.jpg"]


# --------------------------------------------------------------------------------------- parquet


def picture(number: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 6), (number, 0, 0)).save(content, "PNG")
    return content.getvalue()


def flickr(parts: Sequence[str], *, column: bool = False, first: int = 0, **other: Any) -> pa.Table:
    """A table of Flickr30K's columns with an image a part; `other` replaces columns."""
    rows = range(first, first + len(parts))
    columns: dict[str, Any] = {
        "image": [{"bytes": picture(row), "path": f"{row}.jpg"} for row in rows],
        "caption": [[f"caption {k} of {row}" for k in range(5)] for row in rows],
        "sentids": [[str(5 * row + k) for k in range(5)] for row in rows],
        "img_id": [str(row) for row in rows],
        "filename": [f"{row}.jpg" for row in rows],
    }
    return pa.table({**columns, **({"split": list(parts)} if column else {}), **other})


def written(folder: Path, files: Mapping[str, pa.Table]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(content, folder / name)
    return folder


def of_split(folder: Path, split: SplitName, *, restval: bool = False) -> list[str]:
    request = Request(get_entry("flickr30k"), split, restval, 5)
    return [path.relative_to(folder).as_posix() for path in parquet_files(folder, request)]


THREE = ("train", "val", "test")


@pytest.mark.parametrize(
    "names",
    [
        ("train.parquet", "val.parquet", "test.parquet"),
        ("default/train/0000.parquet", "default/val/0000.parquet", "default/test/0000.parquet"),
        ("partial-train/0.parquet", "validation/0.parquet", "Test/0.parquet"),
        ("flickr30k_train_0.parquet", "flickr30k_dev_0.parquet", "flickr30k_test_0.parquet"),
        ("test/train-00000-of-00001.parquet", "test/val-00000-of-00001.parquet", "test/test-00000-of-00001.parquet"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("column", [False, True])
def test_a_name_or_a_folder_says_the_split(names: Sequence[str], column: bool, tmp_path: Path) -> None:
    parts = enumerate(zip(names, THREE, strict=True))
    tables = {name: flickr([part], column=column, first=number) for number, (name, part) in parts}
    written(tmp_path, tables)
    assert [of_split(tmp_path, part) for part in ("train", "val", "test")] == [[name] for name in names]


def test_a_column_says_the_split_where_the_files_do_not(tmp_path: Path) -> None:
    for name in ("all.parquet", "TEST/test/0000.parquet"):
        folder = written(tmp_path / name[:3], {name: flickr(THREE, column=True)})
        assert [of_split(folder, part) for part in ("train", "val", "test")] == [[name]] * 3


def test_what_says_no_split_is_refused(tmp_path: Path) -> None:
    written(tmp_path, {"train_val_test/part-0.parquet": flickr(THREE)})
    with pytest.raises(UserError) as caught:
        of_split(tmp_path, "test")
    refusal(caught, "part-0.parquet", "nothing says which split", "column 'split'")
    with pytest.raises(UserError, match="nothing says which split"):  # and so it is with --unverified
        load_dataset("flickr30k", data_dir=tmp_path, unverified=True, show_progress=False)


@pytest.mark.parametrize("how", ["link", "copy"])
def test_one_file_is_never_two_splits(how: str, tmp_path: Path) -> None:
    written(tmp_path, {"test.parquet": flickr(["test"]), "val.parquet": flickr(["val"], first=1)})
    if how == "link":
        (tmp_path / "train.parquet").symlink_to(tmp_path / "test.parquet")
    else:
        (tmp_path / "train.parquet").write_bytes((tmp_path / "test.parquet").read_bytes())
    for split in ("train", "test"):
        with pytest.raises(UserError) as caught:
            load_dataset("flickr30k", splits=[split], data_dir=tmp_path, unverified=True, show_progress=False)
        refusal(caught, "train.parquet", "test.parquet", "same file")
    assert of_split(tmp_path, "val") == ["val.parquet"]


FIVE = [f"caption {k}" for k in range(5)]
ENDS, LETTERS = pa.py_buffer(np.arange(0, 12, 2, dtype=np.int32)), pa.py_buffer(b"\xff\xfe" * 5)
BROKEN = pa.ListArray.from_arrays([0, 5], pa.StringArray.from_buffers(5, ENDS, LETTERS))


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("caption", [str(FIVE)], ("'caption' holds text, expected lists of text",)),
        ("caption", [[1, 2, 3, 4, 5]], ("'caption' holds lists of whole numbers, expected lists of text",)),
        ("caption", pa.array([None], pa.list_(pa.string())), ("image 7.jpg", "captions are missing")),
        ("caption", [[None, *FIVE[1:]]], ("image 7.jpg", "caption 1 is missing")),
        ("caption", [FIVE[:4]], ("image 7.jpg", "found 4 captions, expected 5")),
        ("caption", BROKEN, ("'caption'", "not UTF-8")),
        ("sentids", [["1", "2", "3"]], ("image 7.jpg", "3 caption ids, expected 5")),
        ("sentids", [["1", "2", None, "4", "5"]], ("image 7.jpg", "4 caption ids, expected 5")),
        ("img_id", pa.array([None], pa.string()), ("image 7.jpg", "'img_id' holds nothing")),
        ("img_id", [7.0], ("'img_id' holds double, expected text or whole numbers",)),
        ("filename", pa.array([None], pa.string()), ("image row 0", "'filename' holds nothing")),
        ("split", pa.array([None], pa.string()), ("image 7.jpg", "'split' holds nothing")),
        ("split", [2], ("'split' holds whole numbers, expected text",)),
    ],
)  # fmt: skip
def test_columns_of_another_kind_are_one_line(
    column: str, values: Any, words: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "prepared")
    folder = written(tmp_path / "mine", {"test.parquet": flickr(["test"], first=7, **{column: values})})
    with pytest.raises(UserError) as caught:
        load_dataset("flickr30k", splits=["test"], data_dir=folder, unverified=True, show_progress=False)
    refusal(caught, *words)


# ---------------------------------------------------------------------------- Karpathy's annotations


def image(number: int, **other: Any) -> dict[str, Any]:
    sentences = [{"raw": f"caption {k}", "sentid": 5 * number + k} for k in range(5)]
    return {"imgid": number, "split": "test", "filename": f"{number}.jpg", "sentences": sentences, **other}


def split_of(path: Path) -> Any:
    rows = read_karpathy(path)
    kept = rows_in_order(rows, "test", restval=False, published=(), where=path.name)
    return assemble("test", rows, kept, NoPictures(len(kept)), 5)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in image(7).items() if key != name}


def sentences(**other: Any) -> list[dict[str, Any]]:
    return [{"raw": "a dog", "sentid": 1, **other}] * 5


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([image(6), 7], ("image 2 is 7, expected a mapping",)),
        ([image(7, imgid=None)], ("image 1, '7.jpg'", "'imgid' is missing", "expected a whole number")),
        ([image(6), image(7, imgid="7")], ("'imgid' is a number for some images and text for others",)),
        ([image(7, imgid=7.5)], ("'7.jpg'", "'imgid' is 7.5")),
        ([image(7, imgid=True)], ("'7.jpg'", "'imgid' is True")),
        ([image(6, cocoid=42), image(7)], ("image 2, '7.jpg'", "'cocoid' is missing")),
        ([image(7, cocoid=None)], ("'7.jpg'", "'cocoid' is missing")),
        ([image(7, filename=None)], ("image 1", "'filename' is missing, expected text")),
        ([image(7, filename=7)], ("image 1", "'filename' is 7, expected text")),
        ([image(7, filepath=3)], ("'7.jpg'", "'filepath' is 3, expected text")),
        ([image(7, split=None)], ("'7.jpg'", "'split' is missing, expected text")),
        ([image(7, split=["test"])], ("'7.jpg'", "'split' is ['test'], expected text")),
        ([without("sentences")], ("image 7.jpg", "captions are missing")),
        ([image(7, sentences="a dog")], ("image 7.jpg", "captions are missing")),
        ([image(7, sentences=["a dog"] * 5)], ("image 7.jpg", "caption 1 is missing")),
        ([image(7, sentences=sentences(raw=None))], ("image 7.jpg", "caption 1 is missing")),
        ([image(7, sentences=sentences(raw=3))], ("image 7.jpg", "caption 1 is 3, expected text")),
        ([image(7, sentences=sentences(raw="a \ud83d dog"))], ("7.jpg: caption 1", "place 3", "half of a character")),
        ([image(7, filename="\ud83d.jpg")], ("image \\ud83d.jpg", "half of a character")),
        ([image(7, sentences=sentences(sentid=None))], ("image 7.jpg", "0 caption ids, expected 5")),
    ],
)  # fmt: skip
def test_annotations_of_another_kind_are_one_line(
    images: list[Any], words: Sequence[str], tmp_path: Path
) -> None:
    path = tmp_path / "dataset_flickr30k.json"
    path.write_text(json.dumps({"images": images}), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        split_of(path)
    refusal(caught, *words)


def test_a_mark_before_the_annotations_and_numbers_as_text(tmp_path: Path) -> None:
    path = tmp_path / "dataset_flickr30k.json"
    document = {"images": [image(10, imgid="10"), image(9, imgid="9")]}
    path.write_text(json.dumps(document), encoding="utf-8-sig")
    assert split_of(path).filenames == ["9.jpg", "10.jpg"], "as numbers, not as text"


ARCHIVE = ("dataset_coco.json", "dataset_flickr30k.json", "dataset_flickr8k.json")


@pytest.mark.parametrize(
    ("files", "dataset", "taken"),
    [
        (ARCHIVE, "flickr30k", "dataset_flickr30k.json"),
        (ARCHIVE, "mscoco", "dataset_coco.json"),
        (("dataset_mine.json", "dataset.json"), "flickr30k", "dataset_mine.json"),
        (("dataset.json",), "mscoco", "dataset.json"),
        ((), "mscoco", None),
    ],
)  # fmt: skip
def test_the_annotations_of_the_dataset_are_taken(
    files: Sequence[str], dataset: str, taken: str | None, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    assert karpathy_file(tmp_path, dataset) == (None if taken is None else tmp_path / taken)
