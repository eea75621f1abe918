"""Karpathy's annotation file in a local folder: which file it is, and its images as the normalised table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark.data.published.adapters import PARTS, Rows
from benchmark.errors import UserError
from benchmark.guarded import ANNOTATIONS, read_json

FILES = {"mscoco": "coco"}
"""The name of a dataset in `dataset_<name>.json`, where it is another than ours."""

_KINDS = {
    "filename": "text",
    "filepath": "text",
    "split": "text",
    "imgid": "a whole number",
    "cocoid": "an id",
}


def karpathy_file(folder: Path, dataset: str) -> Path | None:
    """The folder's `dataset_*.json`: the only one, or that of the dataset; else a `dataset.json`.

    Raises UserError where there are several and none is the dataset's.
    """
    found = sorted(path for path in folder.glob("dataset_*.json") if path.is_file())
    if len(found) > 1:
        own = f"dataset_{FILES.get(dataset, dataset)}.json"
        names = ", ".join(path.name for path in found)
        found = [path for path in found if path.name == own]
        if not found:
            raise UserError(
                f"data folder {folder.as_posix()}: found {names}, expected one dataset_*.json, or {own} among them"
            )
    plain = folder / "dataset.json"
    return found[0] if found else plain if plain.is_file() else None


def read_karpathy(path: Path) -> Rows:
    """Karpathy's JSON as the normalised table; `cocoid` is the id where there is one, else `imgid`.

    Raises UserError that names the first image and field that are none of it. Captions are checked where they are
    used (`assemble`).
    """
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read(path: Path, _modified: int) -> Rows:
    try:
        document = read_json(path, limit=ANNOTATIONS)
    except ValueError as error:
        raise _refusal(path, " ".join(str(error).split())[:160]) from None
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list):
        raise _refusal(path, f"field 'images' is {_named(images)}, expected a list")
    by_cocoid = sum("cocoid" in image for image in images if isinstance(image, dict))
    needed = ("filename", "imgid", "split", *(["cocoid"] if by_cocoid else []))
    for fault in (fault for row, image in enumerate(images) for fault in _faults(image, row, needed)):
        raise _refusal(path, fault)
    order = [image["imgid"] for image in images]
    if len({type(number) for number in order}) > 1:
        raise _refusal(path, "field 'imgid' is a number for some images and text for others")
    if all(isinstance(number, str) and number.isdecimal() for number in order):
        order = [int(number) for number in order]
    sentences = [image.get("sentences") for image in images]
    return Rows(
        image_ids=[str(image["cocoid" if by_cocoid else "imgid"]) for image in images],
        filenames=[image["filename"] for image in images],
        captions=[_each(five, "raw") for five in sentences],
        caption_ids=[
            [None if item is None else str(item) for item in _each(five, "sentid") or ()]
            for five in sentences
        ],
        parts=[PARTS.get(image["split"], image["split"]) for image in images],
        order=order,
        folders=[image.get("filepath", "") for image in images],
    )


def _faults(image: Any, row: int, needed: tuple[str, ...]) -> Iterator[str]:
    """The fields of an image that are missing or of another kind, each in a few words."""
    if not isinstance(image, dict):
        yield f"image {row + 1:,} is {_named(image)}, expected a mapping"
        return
    name = image.get("filename")
    what = f"image {row + 1:,}" + (f", {name[:80]!a}" if isinstance(name, str) else "")
    for field in (*needed, *(["filepath"] if "filepath" in image else [])):
        value = image.get(field)
        kinds = str if _KINDS[field] == "text" else int | str
        if not isinstance(value, kinds) or isinstance(value, bool):
            yield f"{what}: field '{field}' is {_named(value)}, expected {_KINDS[field]}"


def _each(sentences: Any, field: str) -> list[Any] | None:
    """A field of each sentence, None where it lacks it; None in place of what is no list."""
    if not isinstance(sentences, list):
        return None
    return [item.get(field) if isinstance(item, dict) else None for item in sentences]


def _named(value: Any) -> str:
    return "missing" if value is None else repr(value)[:60]


def _refusal(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path.name}: not a Karpathy annotation file ({reason}); expected 'images' with filename, imgid, split and "
        "sentences"
    )
