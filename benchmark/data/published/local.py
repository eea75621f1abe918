"""Data in a local folder (`--data-dir`): parquet files of any known schema, or pictures with Karpathy's JSON file.

What the folder holds is found out by looking: parquet files first, then `dataset_*.json` (data.md 2.1), and for
datasets whose captions can be had without pictures (MSCOCO), a folder of nothing but pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from benchmark.data.images.decoding import FileImages
from benchmark.data.published.adapters import PARTS, Rows, assemble, rows_in_order
from benchmark.data.published.hub import Loaded, PicturesOf, Request, hub_split, read_split
from benchmark.data.published.sources import Files, wanted
from benchmark.data.splits import NoPictures, SplitName
from benchmark.errors import UserError
from benchmark.guarded import ANNOTATIONS, read_json

PICTURES = (".jpg", ".jpeg", ".png")


def local_split(request: Request, folder: Path) -> Loaded:
    """Return one split from a local folder; raises UserError where it holds nothing that can be read."""
    if not folder.is_dir():
        raise UserError(f"data folder {folder.as_posix()}: no such folder")
    parquet = parquet_files(folder, request.split, restval=request.restval)
    if parquet:
        split, _ = read_split(request, parquet, folder.as_posix(), tuple(parquet))
        return Loaded(split, "local", "local parquet files", [])
    annotations = karpathy_file(folder)
    if annotations is not None:
        return _karpathy_split(
            request, annotations, "pictures", lambda rows, kept: find_pictures(folder, rows, kept)
        )
    if any(source.needs_pictures for source in request.entry.sources) and pictures_of(folder):
        return hub_split(request, lambda rows, kept: find_pictures(folder, rows, kept))
    raise UserError(
        f"data folder {folder.as_posix()}: found no parquet file of split '{request.split}' "
        f"({request.split}-*.parquet) and no dataset_*.json; expected one of the two"
    )


def captions_split(request: Request, folder: Path) -> Loaded:
    """Load one split without pictures: by Karpathy's JSON in the folder, else captions that the Hub has alone.

    Raises UserError where there are neither.
    """
    annotations = karpathy_file(folder)
    if annotations is not None:
        return _karpathy_split(request, annotations, "features", lambda _rows, kept: NoPictures(len(kept)))
    if any(source.needs_pictures for source in request.entry.sources):
        return hub_split(request, lambda _rows, kept: NoPictures(len(kept)))
    raise UserError(
        f"data folder {folder.as_posix()}: found no dataset_*.json, expected Karpathy's annotations beside the features"
    )


def parquet_files(folder: Path, split: SplitName, *, restval: bool) -> list[Path]:
    """Parquet files of a split at any depth; where none is named after it, all (a corpus with a split column)."""
    everything = sorted(folder.rglob("*.parquet"))
    files = Files("", 0, with_restval=("restval",))
    named = [path for path in everything if wanted(path.name, split, files, restval=restval)]
    others: tuple[SplitName, ...] = ("train", "val", "test")
    if named or any(wanted(path.name, other, files, restval=True) for path in everything for other in others):
        return named
    return everything


def karpathy_file(folder: Path) -> Path | None:
    """Return the folder's `dataset_*.json`; raises UserError where there are several."""
    found = sorted(folder.glob("dataset_*.json"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"data folder {folder.as_posix()}: found {names}, expected one dataset_*.json")
    return found[0] if found else None


def _karpathy_split(request: Request, annotations: Path, what: str, pictures: PicturesOf) -> Loaded:
    rows = _read_karpathy(annotations, annotations.stat().st_mtime_ns)
    kept = rows_in_order(rows, request.split, restval=request.restval, published=(), where=annotations.name)
    images = pictures(rows, kept)
    split = assemble(request.split, rows, kept, images, request.captions_per_image)
    return Loaded(split, "local", f"local {what} with {annotations.name}", [])


@lru_cache(maxsize=2)
def _read_karpathy(path: Path, _modified: int) -> Rows:
    """Karpathy's JSON as the normalised table; `cocoid` is the id where there is one, else `imgid`."""
    try:
        images = read_json(path, limit=ANNOTATIONS)["images"]
        return Rows(
            image_ids=[str(image.get("cocoid", image["imgid"])) for image in images],
            filenames=[str(image["filename"]) for image in images],
            captions=[[sentence["raw"] for sentence in image["sentences"]] for image in images],
            caption_ids=[[str(sentence["sentid"]) for sentence in image["sentences"]] for image in images],
            parts=[PARTS.get(image["split"], image["split"]) for image in images],
            order=[image["imgid"] for image in images],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(repr(error).split())[:160]
        raise UserError(
            f"{path.name}: not a Karpathy annotation file ({reason}); expected 'images' with filename, imgid, split "
            "and sentences"
        ) from None


# -------------------------------------------------------------------------------------- pictures


@lru_cache(maxsize=2)
def pictures_of(folder: Path) -> dict[str, Path]:
    """Return pictures at any depth by file name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURES:
            found.setdefault(path.name, path)
    return found


def find_pictures(folder: Path, rows: Rows, kept: Sequence[int]) -> FileImages:
    """Return the pictures of some rows: by file name, for MSCOCO also by the cocoid at the end of the name.

    Raises UserError that names the first picture that is not there and says how many there are.
    """
    by_name = pictures_of(folder)
    by_number = {_number(name): path for name, path in by_name.items()}
    paths: list[Path | None] = []
    for row in kept:
        name = Path(rows.filenames[row]).name
        paths.append(by_name.get(name) or by_number.get(rows.image_ids[row].zfill(12)))
    absent = [row for row, path in zip(kept, paths, strict=True) if path is None]
    if absent:
        raise UserError(
            f"data folder {folder.as_posix()}: {len(absent):,} of {len(kept):,} pictures are missing, the first is "
            f"{rows.filenames[absent[0]]}"
        )
    there = [path.relative_to(folder) for path in paths if path is not None]
    return FileImages(folder, there, [rows.filenames[row] for row in kept])


def _number(name: str) -> str:
    """Return the twelve digits at the end of an MSCOCO file name (2014 and 2017 releases); else the whole stem."""
    stem = Path(name).stem
    return stem[-12:] if stem[-12:].isdigit() else stem
