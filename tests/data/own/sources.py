"""Sources of every layout that an import understands: a dozen small pictures with one to seven captions each."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from PIL import Image

from benchmark.data.cards import Located, SplitRule
from benchmark.data.own.importing import Import, Imported, import_dataset
from benchmark.data.own.items import Reading

COUNT = 12
NAMES = [f"p{number:02}.png" for number in range(COUNT)]
PARTS = ["train"] * 8 + ["val"] * 2 + ["test"] * 2


def captions_of(number: int) -> list[str]:
    """One to seven captions of a picture."""
    return [f"picture {number} told for time {k}, a thing in it" for k in range(1 + number % 7)]


def encoded(number: int) -> bytes:
    """A picture of one colour, another for every number."""
    content = io.BytesIO()
    Image.new("RGB", (12, 10), (20 * number, 255 - 20 * number, 7)).save(content, "PNG")
    return content.getvalue()


def write_pictures(folder: Path, names: Sequence[str] = NAMES) -> Path:
    """A folder of pictures."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number))
    return folder


def rows(names: Sequence[str] = NAMES, *, split: bool = False) -> list[dict[str, Any]]:
    """A row a caption."""
    return [
        {"image": name, "caption": text} | ({"split": PARTS[number]} if split else {})
        for number, name in enumerate(names)
        for text in captions_of(number)
    ]


def write_table(path: Path, found: Sequence[dict[str, Any]], delimiter: str = ",") -> Path:
    """A table with a head."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(found[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(found)
    return path


def captions_folder(folder: Path, *, split: bool = False) -> Path:
    """Pictures with captions.csv."""
    write_table(write_pictures(folder) / "captions.csv", rows(split=split))
    return folder


def metadata_folder(folder: Path) -> Path:
    """An image folder with metadata.jsonl, lists of captions."""
    write_pictures(folder)
    lines = [
        json.dumps({"file_name": name, "text": captions_of(number)}) for number, name in enumerate(NAMES)
    ]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def coco_document() -> dict[str, Any]:
    """COCO's annotations."""
    notes = [
        {"id": 100 * number + k, "image_id": number, "caption": text}
        for number in range(COUNT)
        for k, text in enumerate(captions_of(number))
    ]
    images = [{"id": number, "file_name": name} for number, name in enumerate(NAMES)]
    return {"images": images, "annotations": notes}


def coco_folder(folder: Path, document: dict[str, Any] | None = None) -> Path:
    """Pictures with annotations.json."""
    write_pictures(folder)
    (folder / "annotations.json").write_text(json.dumps(document or coco_document()), encoding="utf-8")
    return folder


def karpathy_folder(folder: Path) -> Path:
    """Pictures with Karpathy's JSON, and `restval`."""
    write_pictures(folder)
    parts = ["restval", *PARTS[1:]]
    images = [
        {
            "filename": name,
            "imgid": number,
            "split": parts[number],
            "sentences": [
                {"raw": text, "sentid": 10 * number + k} for k, text in enumerate(captions_of(number))
            ],
        }
        for number, name in enumerate(NAMES)
    ]
    document = {"images": images, "dataset": "mine"}
    (folder / "dataset_mine.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def parquet_file(path: Path, *, repeated: bool = False) -> Path:
    """A table with pictures inside: a row an image with a list of captions, or a row a caption."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [{"bytes": encoded(number), "path": name} for number, name in enumerate(NAMES)]
    if repeated:
        places = [number for number in range(COUNT) for _ in captions_of(number)]
        texts: list[Any] = [text for number in range(COUNT) for text in captions_of(number)]
        table = pa.table({"img": [pictures[place] for place in places], "sentence": texts})
    else:
        table = pa.table({"image": pictures, "captions": [captions_of(number) for number in range(COUNT)]})
    pq.write_table(table, path)
    return path


def shard_folder(folder: Path) -> Path:
    """Two shards: captions as lines of a .txt in one, in a .json in the other."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard, numbers in enumerate((range(6), range(6, COUNT))):
        with tarfile.open(folder / f"data-{shard:04}.tar", "w") as archive:
            for number in numbers:
                texts = captions_of(number)
                beside = ("txt", "\n".join(texts)) if shard == 0 else ("json", json.dumps({"caption": texts}))
                for suffix, content in (("png", encoded(number)), (beside[0], beside[1].encode())):
                    entry = tarfile.TarInfo(f"{number:06}.{suffix}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    return folder


def features_folder(folder: Path, *, repeated: bool = False, ids: str = "captions") -> Path:
    """Region features of 4 x 6 in SCAN's layout; ids are names, one a caption or one an image, or none."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(0)
    for part, name in (("train", "train"), ("dev", "val"), ("test", "test")):
        numbers = [number for number in range(COUNT) if PARTS[number] == name]
        texts = [captions_of(number) for number in numbers]
        once = draws.random((len(numbers), 4, 6), dtype=np.float32)
        stored = np.repeat(once, [len(found) for found in texts], axis=0) if repeated else once
        np.save(folder / f"{part}_ims.npy", stored)
        flat = [text for found in texts for text in found]
        (folder / f"{part}_caps.txt").write_text("\n".join(flat) + "\n", encoding="utf-8")
        if ids == "captions":
            lines = [f"name {number}" for number, found in zip(numbers, texts, strict=True) for _ in found]
            (folder / f"{part}_ids.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def bring_in(source: Path | str, name: str = "mine", **reading: Any) -> Imported:
    """Import a source into the folder of cards below the current folder."""
    options = {key: reading.pop(key) for key in ("layout", "skip_missing", "force") if key in reading}
    rule = SplitRule(given=[], **reading.pop("rule", {"val": 0.2, "test": 0.2}))
    wanted = Import(
        name, str(source), Reading(Path(source), show_progress=False, **reading), rule=rule, **options
    )
    return import_dataset(wanted)


def told(own: Located) -> dict[str, list[str]]:
    """The captions of each image of an own dataset, by its name."""
    from benchmark.data.own.index import read_index

    return {item.file: list(item.captions) for items in read_index(own).values() for item in items}


EXPECTED = {name: captions_of(number) for number, name in enumerate(NAMES)}
