"""WebDataset: shards (.tar) in which files of one stem are an image and its captions."""

from __future__ import annotations

import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from benchmark.data.own.columns import CAPTION
from benchmark.data.own.files import PICTURES, told_split
from benchmark.data.own.items import Collection, Faults, Gatherer, Item, Place, Reading
from benchmark.data.own.readers.text_tables import texts_of
from benchmark.errors import UserError, nearest
from benchmark.guarded import MIB, DocumentError, parse_json

TEXTS = {".txt", ".caption", ".text"}


@dataclass
class _Sample:
    """The files of one stem."""

    picture: Place | None = None
    captions: tuple[object, ...] = ()


def read_shards(reading: Reading, files: Sequence[str]) -> Collection:
    """Read shards: the captions of an image are the lines of a .txt, or a field of a .json.

    Names of shards or their folders tell splits. Raises UserError for a shard that cannot be read.
    """
    faults = Faults()
    gatherer = Gatherer(faults)
    told = {file: told_split(Path(file)) for file in files}
    several = len({split for split in told.values() if split is not None}) > 1
    places: dict[str, Place] = {}
    field = reading.caption_columns[0] if reading.caption_columns else None
    used: set[str] = set()
    for file in files:
        path = reading.source if reading.source.is_file() else reading.source / file
        for key, sample in _samples(path, file, field, used, faults).items():
            name = f"{PurePosixPath(file).with_suffix('').as_posix()}/{key}"
            if sample.picture is not None:
                places[name] = sample.picture
            gatherer.add(name, sample.captions, told[file] if several else None, f"{file}: {key[:80]}")
    columns = {"image": "picture files", "caption": ", ".join(sorted(used)) or "none"}
    return Collection(_named(gatherer.items(places)), faults, columns, list(files))


def _named(items: list[Item]) -> list[Item]:
    """Call images by their stems alone where these are all different."""
    stems = [item.id.rpartition("/")[2] for item in items]
    if len(set(stems)) < len(stems):
        return items
    return [
        Item(stem, stem, item.place, item.captions, item.split)
        for stem, item in zip(stems, items, strict=True)
    ]


def _samples(path: Path, file: str, field: str | None, used: set[str], faults: Faults) -> dict[str, _Sample]:
    found: dict[str, _Sample] = defaultdict(_Sample)
    for name, offset, size in members(path):
        stem, suffix = _parted(name)
        if suffix in PICTURES:
            found[stem].picture = (file, offset, size)
        elif suffix in TEXTS or suffix == ".json":
            if size > MIB:
                raise UserError(f"{path.as_posix()}: {name[:80]} has {size:,} bytes, expected a caption")
            content = read_part(path, offset, size)
            captions = _captions(content, suffix, field, used, f"{file}: {name[:80]}", faults)
            found[stem].captions = (*found[stem].captions, *captions)
    return found


def _parted(name: str) -> tuple[str, str]:
    """Return stem and suffix; as WebDataset has it, the stem ends at the first dot of the file's name."""
    folder, _, last = name.rpartition("/")
    stem, dot, suffix = last.partition(".")
    return f"{folder}/{stem}" if folder else stem, f"{dot}{suffix}".lower()


def _captions(
    content: bytes, suffix: str, field: str | None, used: set[str], where: str, faults: Faults
) -> list[object]:
    try:
        if suffix != ".json":
            lines = [line for line in content.decode("utf-8-sig").split("\n") if line.strip()]
            used.add(f"*{suffix}")
            return list(lines)
        document = parse_json(content)
    except (UnicodeDecodeError, DocumentError) as error:
        faults.wrong.append(f"{where}: cannot be read: {error}")
        return []
    if not isinstance(document, dict):
        faults.wrong.append(f"{where}: found a {type(document).__name__}, expected a mapping")
        return []
    names = [field] if field is not None else [name for name in CAPTION if name in document]
    if field is not None and field not in document:
        faults.wrong.append(f"{where}: no field '{field}'{nearest(field, map(str, document))}")
        return []
    if not names:
        return []  # a .txt beside it may have them
    used.add(f"*.json {names[0]}")
    return texts_of(document[names[0]])


def members(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and size of every file in a shard; raises UserError for what is no plain .tar."""
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile():
                    yield member.name, member.offset_data, member.size
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path.as_posix()}: not a readable .tar ({reason}); compressed ones are not read"
        ) from None


def read_part(path: Path, offset: int, size: int) -> bytes:
    """Return a part of a file; raises UserError where it cannot be read in full."""
    try:
        with path.open("rb", buffering=0) as handle:
            handle.seek(offset)
            content = handle.read(size)
    except OSError as error:
        raise UserError(f"{path.as_posix()}: cannot be read ({error.strerror})") from None
    if len(content) < size:
        raise UserError(f"{path.as_posix()}: ends early, at byte {offset + len(content):,}")
    return content
