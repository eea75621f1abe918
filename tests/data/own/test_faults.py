"""One message names everything that is missing, in every layout; nothing is written then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from benchmark.data.own.index import read_index
from benchmark.errors import UserError
from tests.data.own.sources import (
    NAMES,
    bring_in,
    captions_folder,
    captions_of,
    coco_document,
    coco_folder,
    encoded,
    features_folder,
    karpathy_folder,
    metadata_folder,
    parquet_file,
    rows,
    shard_folder,
    write_pictures,
    write_table,
)


def spoil_captions(folder: Path) -> Path:
    captions_folder(folder)
    for name in NAMES[:5]:
        (folder / name).unlink()
    (folder / NAMES[8]).write_bytes(encoded(8)[:50])
    write_table(folder / "captions.csv", [*rows(), {"image": "", "caption": "of nothing"}])
    with (folder / "captions.csv").open("a") as handle:
        handle.write('p07.png,\nnew.png," "\n')
    return folder


def spoil_metadata(folder: Path) -> Path:
    metadata_folder(folder)
    lines = (folder / "metadata.jsonl").read_text().splitlines()
    lines[0] = json.dumps({"file_name": NAMES[0], "text": [3]})
    lines[1] = json.dumps({"file_name": NAMES[1], "text": ["fine"], "split": "trian"})
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def spoil_coco(folder: Path) -> Path:
    document = coco_document()
    document["images"][0].pop("file_name")
    document["annotations"][3]["image_id"] = 777
    document["annotations"][4].pop("caption")
    document["images"][6]["id"] = document["images"][5]["id"]
    return coco_folder(folder, document)


def spoil_karpathy(folder: Path) -> Path:
    karpathy_folder(folder)
    path = folder / "dataset_mine.json"
    document = json.loads(path.read_text())
    document["images"][1]["split"] = "testing?"
    document["images"][2]["sentences"] = []
    path.write_text(json.dumps(document))
    (folder / NAMES[3]).unlink()
    return folder


def spoil_parquet(folder: Path) -> Path:
    folder.mkdir()
    pq.write_table(pa.table({"photo": [b"x"], "words": ["y"]}), folder / "a.parquet")
    return folder


def spoil_shards(folder: Path) -> Path:
    import io
    import tarfile

    shard_folder(folder)
    with tarfile.open(folder / "data-0002.tar", "w") as archive:
        for name, content in (("a.png", encoded(0)), ("b.txt", b"no picture"), ("c.json", b"[1]")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return folder


def spoil_features(folder: Path) -> Path:
    features_folder(folder)
    (folder / "dev_ims.npy").unlink()
    (folder / "test_caps.txt").unlink()
    return folder


SPOILT: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "captions": (
        spoil_captions,
        [
            "column 'image' names no picture",
            "pictures that are not there: 6 (p00.png, p01.png, p02.png and 3 more)",
            "pictures that cannot be decoded: 1 (p08.png: ",
        ],
    ),
    "metadata": (
        spoil_metadata,
        ["found 3 for a caption, expected text", "split 'trian', expected train, val"],
    ),
    "coco": (
        spoil_coco,
        [
            "image 1: no 'id' and 'file_name'",
            "'image_id' is that of no image",
            "annotations of another kind",
            "image 7: 'id' 5 is that of another image, too",
        ],
    ),
    "karpathy": (
        spoil_karpathy,
        [
            "split 'testing?'",
            "pictures that are not there: 1 (p03.png)",
            "images without a caption: 1 (p02.png)",
        ],
    ),
    "parquet": (
        spoil_parquet,
        [
            "no column of images (found photo, words; expected one such as",
            "no column of captions (found photo",
        ],
    ),
    "webdataset": (
        spoil_shards,
        [
            "c.json: found a list, expected a mapping",
            "pictures that are not there: 2 (data-0002/b",
            "images without a caption: 1",
        ],
    ),
    "features": (
        spoil_features,
        ["found no dev_ims.npy of split 'val'", "found no test_caps.txt beside test_ims"],
    ),
}


@pytest.mark.parametrize(("spoil", "expected"), SPOILT.values(), ids=list(SPOILT))
def test_one_message_names_everything(
    tmp_path: Path, own_folder: Path, spoil: Callable[[Path], Path], expected: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        bring_in(spoil(tmp_path / "source"))
    said = str(error.value)
    assert "\n" not in said
    assert [part for part in expected if part not in said] == [], said
    assert not (own_folder / "datasets").exists()


def test_what_is_missing_can_be_left_out_and_is_said(tmp_path: Path) -> None:
    source = captions_folder(tmp_path / "source")
    (source / NAMES[0]).unlink()
    with pytest.raises(
        UserError, match=r"that are not there: 1 \(p00.png\); --skip-missing leaves these images out"
    ):
        bring_in(source)
    done = bring_in(source, skip_missing=True)
    assert done.own.card.left_out == ["pictures that are not there: 1 (p00.png)"]
    assert "left out: pictures that are not there: 1 (p00.png)" in done.notes
    assert NAMES[0] not in [item.file for items in read_index(done.own).values() for item in items]


def test_a_picture_that_no_caption_names_is_no_fault(tmp_path: Path) -> None:
    source = captions_folder(tmp_path / "source")
    (source / "more.png").write_bytes(encoded(3))
    assert "pictures that no caption names: 1" in bring_in(source).notes


def test_names_of_one_picture_are_one_image(tmp_path: Path) -> None:
    source = captions_folder(tmp_path / "source")
    more = [{"image": name, "caption": "once more"} for name in ("P03.PNG", "p03", "./p03.png")]
    write_table(source / "captions.csv", [*rows(), *more])
    own = bring_in(source).own
    found = {item.file: item.captions for items in read_index(own).values() for item in items}
    assert len(found) == len(NAMES)
    assert found["p03.png"] == (*captions_of(3), *["once more"] * 3)
    split = [{**row, "split": "test" if row["image"] == "P03.PNG" else "train"} for row in [*rows(), *more]]
    write_table(source / "captions.csv", split)
    with pytest.raises(UserError, match=r"pictures p03.png and P03.PNG are one file in two splits"):
        bring_in(source, force=True)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["train"] * 10 + ["val", "test"], "found 10 train, 1 val, 1 test images, expected 2 of each"),
        (["train"] * 6 + [""] * 6, "6 of 12 images name no split"),
        (["val"] * 6 + ["test"] * 6, "found splits val, test, expected one to train on"),
    ],
)
def test_splits_that_cannot_be_are_refused_before_anything_is_written(
    tmp_path: Path, own_folder: Path, parts: list[str], message: str
) -> None:
    source = write_pictures(tmp_path / "source")
    names = dict(zip(NAMES, parts, strict=True))
    write_table(source / "captions.csv", [{**row, "split": names[row["image"]]} for row in rows()])
    with pytest.raises(UserError, match=message):
        bring_in(source)
    assert not list(own_folder.iterdir())


def test_columns_are_named_by_the_user(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "source")
    found = [{"who": row["image"], "what": row["caption"], "text": "not this"} for row in rows()]
    write_table(source / "captions.csv", found)
    with pytest.raises(UserError, match="no column of images") as error:
        bring_in(source)
    assert "found who, what, text" in str(error.value)
    own = bring_in(source, image_column="who", caption_columns=("what",)).own
    assert own.card.columns == {"image": "who", "caption": "what"}
    with pytest.raises(UserError, match="option --image-column: no column 'whom'; did you mean 'who'"):
        bring_in(source, "other", image_column="whom")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found no rows"),
        (b"image,caption\na.png,x\xff\n", "line 2 is not UTF-8"),
        (b'image,caption\np00.png,"x","y"\n', "line 2: found 3 cells, expected 2 as in the head"),
        (b"image,caption\np00.png\n", "line 2: found 1 cells, expected 2"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    source = write_pictures(tmp_path / "source")
    (source / "captions.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        bring_in(source)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    captions_folder(tmp_path / "source")
    with pytest.raises(UserError, match=r"no such folder or file, .*; did you mean 'source'\?$"):
        bring_in(tmp_path / "sorce")


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path, own_folder: Path) -> None:
    (own_folder / "datasets").write_text("a file")
    with pytest.raises(NotADirectoryError, match="datasets"):
        bring_in(captions_folder(tmp_path / "source"))
    assert [path.name for path in own_folder.iterdir()] == ["datasets"]


def test_a_table_of_semicolons(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "source")
    write_table(source / "captions.csv", [{**row, "caption": f"{row['caption']}; so"} for row in rows()], ";")
    texts = [
        text
        for items in read_index(bring_in(source).own).values()
        for item in items
        for text in item.captions
    ]
    assert f"{captions_of(0)[0]}; so" in texts


def test_captions_twice_are_said(tmp_path: Path) -> None:
    source = captions_folder(tmp_path / "source")
    write_table(source / "captions.csv", [*rows(), *rows()[:3]])
    assert "captions that their image has twice: 3" in bring_in(source).notes


def test_commas_of_an_unquoted_caption(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "source")
    lines = [f"{name},a thing, red, in {name}" for name in NAMES]
    (source / "captions.csv").write_text("image,caption\n" + "\n".join(lines) + "\n")
    own = bring_in(source).own
    texts = [item.captions for items in read_index(own).values() for item in items]
    assert ("a thing, red, in p00.png",) in texts


def test_a_picture_with_two_files_of_its_name(tmp_path: Path) -> None:
    source = captions_folder(tmp_path / "source")
    (source / "small").mkdir()
    (source / "large").mkdir()
    for folder in ("small", "large"):
        (source / folder / "twice.png").write_bytes(encoded(1))
    write_table(source / "captions.csv", [*rows(), {"image": "twice.png", "caption": "a thing"}])
    with pytest.raises(UserError, match=r"picture twice.png: .*large/twice.png and small/twice.png both fit"):
        bring_in(source)


@pytest.mark.parametrize("spoil", ["cut", "compressed"])
def test_a_damaged_shard(tmp_path: Path, spoil: str) -> None:
    source = shard_folder(tmp_path / "source")
    path = source / "data-0001.tar"
    content = path.read_bytes()
    if spoil == "cut":
        path.write_bytes(content[: len(content) // 3])
    else:
        import gzip

        path.write_bytes(gzip.compress(content))
    with pytest.raises(UserError, match=r"data-0001.tar: (not a readable .tar|ends early)"):
        bring_in(source)


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    path = parquet_file(tmp_path / "source" / "a.parquet")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"a.parquet"):
        bring_in(path)


def test_features_of_other_counts(tmp_path: Path) -> None:
    source = features_folder(tmp_path / "source")
    ids = (source / "train_ids.txt").read_text().splitlines()
    (source / "train_ids.txt").write_text("\n".join([ids[-1], *ids[1:]]) + "\n")
    with pytest.raises(UserError, match=r"train_ids.txt: found 'name"):
        bring_in(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "My-Data"}, "expected a name of small letters"),
        ({"name": "scenes"}, "dataset 'scenes' is there already"),
        ({"pictures": Path("nowhere")}, "option --pictures: nowhere: no such folder"),
    ],
)
def test_names_that_cannot_be_had(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bring_in(captions_folder(tmp_path / "source"), **change)


def test_a_card_is_replaced_only_when_asked(tmp_path: Path) -> None:
    source = captions_folder(tmp_path / "source")
    first = bring_in(source).own
    with pytest.raises(UserError, match="there already; --force takes its place"):
        bring_in(source)
    again = bring_in(source, force=True, rule={"seed": 1, "val": 0.2, "test": 0.2}).own
    assert again.card.fingerprint != first.card.fingerprint
