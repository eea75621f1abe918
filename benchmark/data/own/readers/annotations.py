"""Annotation files beside pictures: COCO's captions, and Karpathy's splits with their sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from benchmark.data.own.files import PictureFolder, told_split
from benchmark.data.own.items import PARTS, Collection, Faults, Gatherer, Reading
from benchmark.data.own.readers.text_tables import unused
from benchmark.data.published.annotations import read_karpathy
from benchmark.errors import UserError, shown
from benchmark.guarded import ANNOTATIONS, DocumentError, read_json


def kind_of_json(path: Path) -> Literal["coco", "karpathy"] | None:
    """Return `coco` or `karpathy` by what a JSON file holds; None: it is neither. Raises UserError for no JSON."""
    try:
        document = read_json(path, limit=ANNOTATIONS)
    except (OSError, DocumentError) as error:
        raise UserError(f"{path.as_posix()}: not readable JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        return None
    if isinstance(document.get("annotations"), list):
        return "coco"
    sentences = [image.get("sentences") for image in document["images"][:10] if isinstance(image, dict)]
    return "karpathy" if any(item is not None for item in sentences) else None


def read_karpathy_folder(reading: Reading, files: Sequence[str]) -> Collection:
    """Read Karpathy's JSON, with any number of sentences an image, and the pictures; `restval` is training."""
    faults, notes = Faults(), list[str]()
    gatherer = Gatherer(faults)
    for file in files:
        rows = read_karpathy(_path(reading, file))
        order = (
            range(len(rows)) if rows.order is None else sorted(range(len(rows)), key=rows.order.__getitem__)
        )
        for row in order:
            folder = rows.folders[row] if rows.folders is not None else ""
            image = f"{folder}/{rows.filenames[row]}".lstrip("/")
            part = rows.parts[row] if rows.parts is not None else None
            gatherer.add(image, rows.captions[row] or [], part, f"{file}: image {image[:80]}")
            if part == "restval" and not notes:
                notes.append("images of part 'restval' are in the training split")
    pictures = PictureFolder(reading.picture_folder)
    items = gatherer.items(pictures.places(gatherer.found, faults))
    return Collection(
        items,
        faults,
        {"image": "filepath, filename", "caption": "sentences.raw", "split": "split"},
        list(files),
        notes=[*notes, *unused(pictures, items)],
    )


def read_coco_folder(reading: Reading, files: Sequence[str]) -> Collection:
    """Read COCO's caption annotations and the pictures; the names of several files tell the splits."""
    faults = Faults()
    gatherer = Gatherer(faults)
    told = {file: told_split(Path(Path(file).name)) for file in files}
    several = len({split for split in told.values() if split is not None}) > 1
    for file in files:
        _gather_coco(reading, file, gatherer, told[file] if several else None)
    pictures = PictureFolder(reading.picture_folder)
    items = gatherer.items(pictures.places(gatherer.found, faults))
    columns = {"image": "images.file_name", "caption": "annotations.caption"}
    return Collection(items, faults, columns, list(files), notes=unused(pictures, items))


def _gather_coco(reading: Reading, file: str, gatherer: Gatherer, split: str | None) -> None:
    path = _path(reading, file)
    try:
        document = read_json(path, limit=ANNOTATIONS)
    except (OSError, DocumentError) as error:
        raise UserError(f"{path.as_posix()}: not readable JSON: {error}") from None
    names: dict[Any, str] = {}
    faults = gatherer.faults
    for number, image in enumerate(document.get("images", []), start=1):
        name = image.get("file_name") if isinstance(image, dict) else None
        identity = image.get("id") if isinstance(image, dict) else None
        if not isinstance(name, str) or not isinstance(identity, int | str):
            faults.wrong.append(f"{file}: image {number:,}: no 'id' and 'file_name'")
            continue
        if names.get(identity, name) != name:
            faults.wrong.append(
                f"{file}: image {number:,}: 'id' {shown(identity)} is that of another image, too"
            )
        names[identity] = name
        gatherer.add(name, [], split or _own_split(image), f"{file}: image {name[:80]}")
    for number, note in enumerate(document.get("annotations", []), start=1):
        where = f"{file}: annotation {number:,}"
        identity = note.get("image_id") if isinstance(note, dict) else None
        if not isinstance(identity, int | str) or identity not in names:
            faults.wrong.append(f"{where}: 'image_id' is that of no image")
        elif "caption" not in note:
            faults.wrong.append(f"{where}: no 'caption': these are annotations of another kind")
        else:
            name = names[identity]
            gatherer.add(name, [note["caption"]], gatherer.splits[name], where)


def _own_split(image: dict[str, Any]) -> str | None:
    """Return the split that an image's own field names."""
    found = image.get("split")
    return found if isinstance(found, str) and found.lower() in PARTS else None


def _path(reading: Reading, file: str) -> Path:
    return reading.source if reading.source.is_file() else reading.source / file
