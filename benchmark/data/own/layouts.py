"""The layouts that `rematch data import` understands: how each is recognised, read, and opened again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.data.cards import LayoutName, Located
from benchmark.data.images.decoding import EncodedImages, FileImages
from benchmark.data.own.files import relative_files
from benchmark.data.own.items import Collection, Item, Reading
from benchmark.data.own.pictures import ShardImages
from benchmark.data.own.readers.annotations import kind_of_json, read_coco_folder, read_karpathy_folder
from benchmark.data.own.readers.features import feature_parts, read_features
from benchmark.data.own.readers.parquet_files import damages, open_hub, open_parquet, read_hub, read_parquet
from benchmark.data.own.readers.shards import read_shards
from benchmark.data.own.readers.text_tables import METADATA, SUFFIXES, TABLES, read_text_table
from benchmark.data.regions.arrays import ArrayRegions, open_npy
from benchmark.data.splits import Images, NoPictures, Regions
from benchmark.errors import UserError, nearest

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
"""The names of repositories on the Hub."""


@dataclass(frozen=True)
class Layout:
    """One way in which captions and pictures lie in a source."""

    title: str
    """The kind of source, in words."""
    looks_for: str
    """The files of a folder of it, in words."""
    files: Callable[[Path], list[str]]
    """Finds the files to read in a source that may be of the layout; []: it is not."""
    read: Callable[[Reading, Sequence[str]], Collection]


def _named(*names: str) -> Callable[[Path], list[str]]:
    """Find files of these names at the top of a folder."""
    return lambda source: [name for name in names if (source / name).is_file()]


def _json(kind: str) -> Callable[[Path], list[str]]:
    """Find JSON files of annotations at the top of a folder, or in its folder `annotations`."""

    def find(source: Path) -> list[str]:
        places = [*sorted(source.glob("*.json")), *sorted(source.glob("annotations/*.json"))]
        named = [path for path in places if re.search("caption|annotation|dataset|karpathy", path.stem)]
        return [path.relative_to(source).as_posix() for path in named if kind_of_json(path) == kind]

    return find


LAYOUTS: dict[LayoutName, Layout] = {
    "captions": Layout(
        "pictures with a table of captions", "captions.csv, .tsv or .txt", _named(*TABLES), read_text_table
    ),
    "metadata": Layout(
        "an image folder with metadata",
        "metadata.csv or .jsonl",
        lambda source: [
            name for name in relative_files(source, *METADATA) if name.rpartition("/")[2] in METADATA
        ],
        read_text_table,
    ),
    "karpathy": Layout(
        "pictures with Karpathy's annotations",
        "Karpathy's dataset_*.json",
        _json("karpathy"),
        read_karpathy_folder,
    ),
    "coco": Layout(
        "pictures with COCO's annotations",
        "COCO's captions_*.json or annotations.json",
        _json("coco"),
        read_coco_folder,
    ),
    "features": Layout(
        "region features in SCAN's layout", "train_ims.npy and train_caps.txt", feature_parts, read_features
    ),
    "webdataset": Layout(
        "WebDataset shards", "*.tar", lambda source: relative_files(source, ".tar"), read_shards
    ),
    "parquet": Layout(
        "parquet files", "*.parquet", lambda source: relative_files(source, ".parquet"), read_parquet
    ),
    "hub": Layout("a repository on the Hub", "OWNER/NAME", lambda _: [], read_hub),
}

_SUFFIXES: dict[str, LayoutName] = {
    ".parquet": "parquet",
    ".tar": "webdataset",
    ".jsonl": "metadata",
    **dict.fromkeys((".csv", ".tsv", ".txt"), "captions"),
}


def recognise(source: str, told: LayoutName | None = None) -> tuple[LayoutName, list[str]]:
    """Return the layout of a source and its files of captions; raises UserError that says what was looked for.

    told: the layout that the user names.
    """
    path = Path(source)
    if told == "hub" or (told is None and not path.exists() and REPOSITORY.fullmatch(source)):
        return "hub", []
    if path.is_file():
        return _of_file(path, told), [path.name]
    if not path.is_dir():
        beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, beside)
        meant = near if near.startswith("; did you mean") else ""  # a folder's whole content is no help
        raise UserError(f"{source}: no such folder or file, and no name of a repository (OWNER/NAME){meant}")
    chosen = {told: LAYOUTS[told]} if told is not None else LAYOUTS
    found = {name: files for name, layout in chosen.items() if (files := layout.files(path))}
    # a folder's metadata may lie beside shards or tables of the same images: the reading of pictures goes first
    if not found:
        looked = "; ".join(layout.looks_for for name, layout in chosen.items() if name != "hub")
        held = ", ".join(sorted(item.name for item in path.iterdir())[:6]) or "nothing"
        raise UserError(f"{source}: found no captions: looked for {looked}; the folder holds {held}")
    if len(found) > 1:
        names = ", ".join(f"{name} ({files[0]})" for name, files in found.items())
        raise UserError(f"{source}: may be read in several ways: {names}; say which with --layout")
    return next(iter(found.items()))


def _of_file(path: Path, told: LayoutName | None) -> LayoutName:
    if told is not None:
        return told
    if path.suffix.lower() == ".json":
        kind = kind_of_json(path)
        if kind is not None:
            return kind
        raise UserError(
            f"{path.as_posix()}: neither COCO's annotations ('images' and 'annotations') nor Karpathy's ('images' with "
            "'sentences')"
        )
    if path.suffix.lower() not in _SUFFIXES:
        known = ", ".join((*SUFFIXES, ".json", ".parquet", ".tar"))
        raise UserError(f"{path.as_posix()}: found a file '{path.suffix}', expected one of {known}")
    return _SUFFIXES[path.suffix.lower()]


# ------------------------------------------------------------------------------------ opened again


def open_images(own: Located, items: Sequence[Item], data_dir: Path | None = None) -> Images:
    """Return the pictures of some images of an own dataset; raises UserError where the source is not there."""
    card, names = own.card, [item.file for item in items]
    source = own.place(data_dir)
    if card.layout != "hub" and not source.exists():
        raise UserError(
            f"{source.as_posix()}: no such folder or file, expected the source of {card.name} as {own.path.as_posix()} "
            "says; --data-dir names where it is now"
        )
    if card.layout == "features":
        return NoPictures(len(items))
    if card.layout == "webdataset":
        folder = source.parent if source.is_file() else source
        parts = [(str(item.place[0]), int(item.place[1]), int(item.place[2])) for item in items]
        return ShardImages(folder, parts, names)
    if all(isinstance(item.place[0], str) for item in items):
        return FileImages(own.picture_folder(data_dir), [str(item.place[0]) for item in items], names)
    rows = np.asarray([int(item.place[0]) for item in items], dtype=np.int64)
    if card.layout == "hub":
        assert card.revision is not None
        table = open_hub(card.source, card.revision, card.config, card.files, card.columns["image"])
        return EncodedImages(table, card.columns["image"], rows, names, f"{card.source}@{card.revision}")
    paths = [source] if source.is_file() else [source / file for file in card.files]
    with damages(paths):
        table = open_parquet(paths, card.columns)
    return EncodedImages(table, card.columns["image"], rows, names, tuple(paths))


def open_regions(own: Located, items: Sequence[Item], data_dir: Path | None = None) -> Regions:
    """Return the stored features of some images of a dataset of features, all of one part."""
    part = str(items[0].place[0])
    file = open_npy(own.place(data_dir) / f"{part}_ims.npy")
    rows = np.asarray([int(item.place[1]) for item in items], dtype=np.int64)
    return ArrayRegions((file,), rows, f"own features {part}_ims.npy")
