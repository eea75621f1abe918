"""Twins of the repositories that data.md 1.1 and 1.2 describe: the same columns, file names, splits and branches.

`tiny_repositories(folder)` writes them all with a dozen images each, `whole_repositories(folder)` the first source of
Flickr30K and MSCOCO with all ids; both give what HubTwin serves. `write_parquet` and `karpathy_folder` make single
folders of chosen rows, for `--data-dir`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import yaml
from datasets import Features, Image, List, Value

from tests.hub.rows import (
    WHOLE,
    WHOLE_COCO,
    Row,
    captions_of,
    flickr8k_rows,
    flickr30k_rows,
    mscoco_rows,
    picture,
)
from tests.hub.store import Repository, made_up_commit

TEXT, NUMBER = Value("string"), Value("int32")

FLICKR_PARTS = {"train": ("train",), "val": ("val",), "test": ("test",)}
KARPATHY_PARTS = {"train": ("train", "restval"), "validation": ("val",), "test": ("test",)}


@dataclass(frozen=True)
class Layout:
    """How a repository keeps its rows."""

    features: dict[str, Any]
    values: Callable[[Row], dict[str, Any]]
    """A row's columns, without `image`."""
    parts: Mapping[str, Sequence[str]]
    """Split as the repository calls it -> Karpathy's parts in it."""
    pattern: str = "data/{split}-{shard:05d}-of-{shards:05d}.parquet"
    commit: str = ""
    """The first digits of the commit that data.md 1.1 and 1.2 describe."""
    branch: str = "main"
    beside: dict[str, bytes] = field(default_factory=dict)
    """Other files that lie there, which nobody should download."""


def _flickr(row: Row) -> dict[str, Any]:
    return {
        "sentids": [str(number) for number in row.sentids],
        "split": row.split,
        "img_id": str(row.imgid),
        "filename": row.filename,
    }


def _coco(row: Row) -> dict[str, Any]:
    return {
        "filepath": row.filepath,
        "sentids": row.sentids,
        "filename": row.filename,
        "split": row.split,
        "sentences_tokens": [tokens(text) for text in row.captions],
        "sentences_sentid": row.sentids,
        "cocoid": row.cocoid,
    }


def _fatima(row: Row) -> dict[str, Any]:
    return {**_coco(row), "imgid": row.imgid, "sentences_raw": row.captions, "id": row.imgid}


def _korean(row: Row) -> dict[str, Any]:
    texts = [f"한국어 설명 {number}" for number in row.sentids]
    return {
        **_coco(row),
        "id": row.cocoid,
        "caption": texts[0],
        "caption_ls": texts,
        "category": "",
        "en_sentences_raw": row.captions,
    }


def _yerevann(row: Row) -> dict[str, Any]:
    return {
        "filepath": row.filepath,
        "sentids": row.sentids,
        "filename": row.filename,
        "imgid": row.imgid,
        "split": row.split,
        "sentences": row.captions,
        "cocoid": row.cocoid,
        "url": f"http://images.cocodataset.org/{row.filepath}/{row.filename}",
    }


def _numbered(row: Row) -> dict[str, Any]:
    return {f"caption_{index}": row.captions[index] for index in range(5)}


@cache
def tokens(text: str) -> list[str]:
    """Words as Karpathy's files have them: lower case, without punctuation. Kept, so not to be changed."""
    return text.lower().replace(",", "").replace(".", "").split()


_FLICKR = {"sentids": List(TEXT), "split": TEXT, "img_id": TEXT, "filename": TEXT}
_CORPUS = {"sentids": List(TEXT), "img_id": TEXT, "filename": TEXT}
_COCO = {
    "filepath": TEXT,
    "sentids": List(NUMBER),
    "filename": TEXT,
    "imgid": NUMBER,
    "split": TEXT,
    "sentences_tokens": List(List(TEXT)),
    "sentences_raw": List(TEXT),
    "sentences_sentid": List(NUMBER),
    "cocoid": NUMBER,
    "id": Value("int64"),
}
_KOREAN = {
    "id": NUMBER,
    "image": Image(),
    "caption": TEXT,
    "caption_ls": List(TEXT),
    "category": TEXT,
    "filepath": TEXT,
    "sentids": List(NUMBER),
    "filename": TEXT,
    "split": TEXT,
    "sentences_tokens": List(List(TEXT)),
    "en_sentences_raw": List(TEXT),
    "sentences_sentid": List(NUMBER),
    "cocoid": NUMBER,
}
_NO_IMAGES = {
    "filepath": TEXT,
    "sentids": List(Value("int64")),
    "filename": TEXT,
    "imgid": Value("int64"),
    "split": TEXT,
    "sentences": List(TEXT),
    "cocoid": Value("int64"),
    "url": TEXT,
}
_NUMBERED = {f"caption_{index}": TEXT for index in range(5)}


def _fatima_layout(split: str, commit: str = "") -> Layout:
    parts = {split: KARPATHY_PARTS[split]}
    return Layout({"image": Image(), **_COCO}, _fatima, parts, commit=commit)


LAYOUTS: dict[str, Layout] = {
    "umaru97/flickr30k_train_val_test": Layout(
        {"image": Image(), "caption": List(TEXT), **_FLICKR},
        lambda row: {**_flickr(row), "caption": row.captions},
        FLICKR_PARTS,
        pattern="data/{split}-{shard:05d}-of-{shards:05d}-f4c5570f14a435eb.parquet",
        commit="d775c63",
    ),
    "AnyModal/flickr30k": Layout(
        {"image": Image(), "alt_text": List(TEXT), **_FLICKR, "original_alt_text": List(TEXT)},
        lambda row: {
            **_flickr(row),
            "alt_text": [f"Rewritten: {text.strip()}" for text in row.captions],
            "original_alt_text": row.captions,
        },
        {"train": ("train",), "validation": ("val",), "test": ("test",)},
        commit="4e67daf",
    ),
    "nlphuji/flickr30k": Layout(
        {"image": Image(), "caption": List(TEXT), **_FLICKR},
        lambda row: {**_flickr(row), "caption": row.captions},
        {"test": ("train", "val", "test")},
        pattern="TEST/test/{shard:04d}.parquet",
        commit="f5fbeaae027ee156ec0e2c6c5317dccc3e758b83",
        branch="refs/convert/parquet",
        beside={"TEST/test/index.duckdb": b"not to be downloaded" * 100},
    ),
    "lmms-lab/flickr30k": Layout(
        {"image": Image(), "caption": List(TEXT), **_CORPUS},
        lambda row: {
            "caption": row.captions,
            **{name: value for name, value in _flickr(row).items() if name != "split"},
        },
        {"test": ("train", "val", "test")},
        commit="0d6d9049be2e08261be315e731e0d8054c1d1c03",
    ),
    "Multimodal-Fatima/COCO_captions_train": _fatima_layout("train", "6e270e9"),
    "Multimodal-Fatima/COCO_captions_validation": _fatima_layout("validation"),
    "Multimodal-Fatima/COCO_captions_test": _fatima_layout("test"),
    "jp1924/KoreanImageCaptioningDataset": Layout(_KOREAN, _korean, KARPATHY_PARTS, commit="d4fad56"),
    "yerevann/coco-karpathy": Layout(
        _NO_IMAGES,
        _yerevann,
        {"train": ("train",), "restval": ("restval",), "validation": ("val",), "test": ("test",)},
        commit="03528ca",
    ),
    "jxie/flickr8k": Layout(
        {"image": Image(), **_NUMBERED},
        _numbered,
        {"train": ("train",), "validation": ("val",), "test": ("test",)},
        commit="56f58c9",
    ),
    "intro/flickr8k": Layout(
        {"image": Image(), "file_name": TEXT, "split": TEXT, **_NUMBERED},
        lambda row: {
            "file_name": row.filename,
            "split": {"val": "dev"}.get(row.split, row.split),
            **_numbered(row),
        },
        {"train": ("train",), "dev": ("val",), "test": ("test",)},
        commit="f01e436",
    ),
}


# --------------------------------------------------------------------------------------- writing


def write_parquet(
    name: str, rows: Iterable[Row], folder: Path, *, shards: int = 1, splits: Sequence[str] | None = None
) -> Path:
    """Write rows as repository `name` keeps them, with a card; `splits` (the repository's names): some only."""
    layout = LAYOUTS[name]
    rows, sizes = list(rows), dict[str, tuple[int, int]]()
    for split, parts in layout.parts.items():
        if splits is not None and split not in splits:
            continue
        chosen = [row for row in rows if row.split in parts]
        sizes[split] = len(chosen), sum(len(row.image) for row in chosen)
        for shard in range(shards):
            path = folder / layout.pattern.format(split=split, shard=shard, shards=shards)
            path.parent.mkdir(parents=True, exist_ok=True)
            share = chosen[len(chosen) * shard // shards : len(chosen) * (shard + 1) // shards]
            pq.write_table(table_of(layout, share), path, row_group_size=1_000, compression="zstd")
    for extra, content in layout.beside.items():
        (folder / extra).write_bytes(content)
    (folder / "README.md").write_text(_card(layout, sizes), encoding="utf-8")
    return folder


def table_of(layout: Layout, rows: Sequence[Row]) -> pa.Table:
    """Rows as an Arrow table whose metadata name the `datasets` features."""
    values = [layout.values(row) for row in rows]
    columns: dict[str, list[Any]] = {
        name: [row[name] for row in values] for name in layout.features if name != "image"
    }
    if "image" in layout.features:
        columns["image"] = [{"bytes": row.image, "path": row.filename} for row in rows]
    return pa.Table.from_pydict(columns, schema=Features(layout.features).arrow_schema)


def _card(layout: Layout, sizes: Mapping[str, tuple[int, int]]) -> str:
    """README.md with the front matter that the Hub's cards have; `sizes`: rows and bytes of each split."""
    files = [
        {"split": split, "path": layout.pattern.split("{shard", 1)[0].format(split=split) + "*"}
        for split in sizes
    ]
    front = {
        "dataset_info": {
            "features": Features(layout.features)._to_yaml_list(),
            "splits": [
                {"name": split, "num_examples": rows, "num_bytes": size}
                for split, (rows, size) in sizes.items()
            ],
        },
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\nA twin for tests.\n"


def karpathy_folder(dataset: str, rows: Sequence[Row], folder: Path) -> Path:
    """Pictures with Karpathy's `dataset_<dataset>.json` (data.md 2.1); `dataset` flickr30k, flickr8k or coco."""
    images = []
    for row in sorted(rows, key=lambda row: row.imgid):
        path = folder / (row.filepath or f"{dataset}-images") / row.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row.image)
        sentences = [
            {"tokens": tokens(text), "raw": text, "imgid": row.imgid, "sentid": number}
            for text, number in zip(row.captions, row.sentids, strict=True)
        ]
        image = {"filename": row.filename, "imgid": row.imgid, "split": row.split, "sentids": row.sentids}
        more = {"filepath": row.filepath, "cocoid": row.cocoid} if row.filepath else {}
        images.append({**image, **more, "sentences": sentences})
    (folder / f"dataset_{dataset}.json").write_text(
        json.dumps({"images": images, "dataset": dataset}), encoding="utf-8"
    )
    return folder


# ---------------------------------------------------------------------------------- repositories


def repository(name: str, folder: Path) -> Repository:
    """What HubTwin serves of a folder of `write_parquet`, at the commit that data.md 1.1 and 1.2 describe."""
    layout = LAYOUTS[name]
    commit = made_up_commit(layout.commit, name)
    if layout.branch == "main":
        return Repository(name, {commit: folder})
    main = folder.parent / f"{folder.name}-main"
    main.mkdir(exist_ok=True)
    (main / f"{name.split('/')[1]}.py").write_text("# a loading script, which nothing runs any more\n")
    (main / "README.md").write_text("A twin for tests.\n")
    return Repository(name, {made_up_commit("2b239be", name): main, commit: folder}, {layout.branch: commit})


def tiny_repositories(folder: Path) -> list[Repository]:
    """Twins of all repositories, a dozen images each, written below `folder`."""
    flickr, flickr8k, coco = flickr30k_rows(), flickr8k_rows(), mscoco_rows()
    found = []
    for name in LAYOUTS:
        rows = flickr8k if "flickr8k" in name else flickr if "flickr30k" in name else coco
        if name == "lmms-lab/flickr30k":  # the corpus has more images than Karpathy took
            rows = [*rows, Row("extra.jpg", picture(1), captions_of(1), [9, 8, 7, 6, 5], 99_999, "test")]
        path = write_parquet(name, rows, folder / name, shards=2 if name == "nlphuji/flickr30k" else 1)
        found.append(repository(name, path))
    return found


def whole_repositories(
    folder: Path, datasets: Sequence[str] = ("flickr30k", "mscoco"), *, reuse: bool = True
) -> list[Repository]:
    """The first source of each dataset with all images, 16x16 pixels, written below `folder` unless they are there."""
    found = []
    for dataset in datasets:
        names = [name for name in FIRST_SOURCES if FIRST_SOURCES[name] == dataset]
        if not (reuse and all((folder / name / "README.md").is_file() for name in names)):
            rows = flickr30k_rows(WHOLE) if dataset == "flickr30k" else mscoco_rows(WHOLE_COCO)
            for name in names:
                write_parquet(name, rows, folder / name, shards=2 if "train" in name else 1)
        found += [repository(name, folder / name) for name in names]
    return found


FIRST_SOURCES = {
    "umaru97/flickr30k_train_val_test": "flickr30k",
    "Multimodal-Fatima/COCO_captions_train": "mscoco",
    "Multimodal-Fatima/COCO_captions_validation": "mscoco",
    "Multimodal-Fatima/COCO_captions_test": "mscoco",
}
"""Repositories that are asked first, and the dataset they hold."""
