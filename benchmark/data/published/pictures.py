"""Pictures in a local folder: every file below it, links to folders included, and the file of each annotated picture.

A picture is found by `filepath/filename` of its annotation, else as the one file of its name. Where several files of
that name differ, such as a picture and its thumbnail, none of them is taken.
"""

from __future__ import annotations

import filecmp
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath

from benchmark.data.images.decoding import FileImages
from benchmark.data.published.adapters import Rows
from benchmark.errors import UserError

PICTURES = (".jpg", ".jpeg", ".png")


def files_below(folder: Path) -> list[Path]:
    """Every file at any depth, in the order of their paths; a folder counts once, and first where it really is."""
    links: list[str] = []
    known: set[str] = set()
    found = list(_walk(str(folder), known, links))
    while links:  # after all that is no link: a folder is then called by its own place
        found += _walk(links.pop(0), known, links)
    return sorted(found)


def _walk(top: str, known: set[str], links: list[str]) -> Iterator[Path]:
    """The files below `top` but for folders in `known`, which grows; links to folders are added to `links`."""
    for where, folders, names in os.walk(top):
        real = os.path.realpath(where)
        if real in known:
            folders.clear()
            continue
        known.add(real)
        yield from (Path(where) / name for name in names)
        links += [f"{where}/{name}" for name in sorted(folders) if Path(where, name).is_symlink()]


@lru_cache(maxsize=2)
def pictures_of(folder: Path) -> dict[str, list[Path]]:
    """Paths of pictures below the folder by file name, in lower case."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in files_below(folder):
        if path.suffix.lower() in PICTURES:
            found[path.name.casefold()].append(path.relative_to(folder))
    return dict(found)


def find_pictures(folder: Path, rows: Rows, kept: Sequence[int]) -> FileImages:
    """The pictures of some rows: by path, by file name, for MSCOCO also by the cocoid at the end of the name.

    Raises UserError that names the first picture that is not there and says how many there are, and for several files
    of one name that differ.
    """
    by_name = pictures_of(folder)
    by_number: dict[str, list[Path]] = defaultdict(list)
    for name, paths in by_name.items():
        by_number[_number(name)] += paths
    places = {_place(rows, row) for row in range(len(rows))}
    same, folded = (Counter(map(key, places)) for key in (_name, _folded))
    found: list[Path | None] = []
    for row in kept:
        place = _place(rows, row)
        path = _by_path(folder, by_name, place)
        if path is None and same[place.name] == 1:  # else the name alone says too little
            there = by_name.get(_folded(place), [])
            if folded[_folded(place)] > 1:
                there = [path for path in there if path.name == place.name]
            path = _only(folder, there or by_number.get(rows.image_ids[row].zfill(12), []), place)
        found.append(path)
    absent = [row for row, path in zip(kept, found, strict=True) if path is None]
    if absent:
        where = rows.folders[absent[0]] if rows.folders is not None else ""
        raise UserError(
            f"data folder {folder.as_posix()}: {len(absent):,} of {len(kept):,} pictures are missing, the first is "
            f"{rows.filenames[absent[0]]}{f' of {where}' if where else ''}"
        )
    return FileImages(
        folder, [path for path in found if path is not None], [rows.filenames[row] for row in kept]
    )


def _place(rows: Rows, row: int) -> PurePosixPath:
    """`filepath/filename` as annotated, below whatever folder: nothing that leads out of it."""
    folder = rows.folders[row] if rows.folders is not None else ""
    parts = PurePosixPath(folder, rows.filenames[row].lstrip("/")).parts
    return PurePosixPath(*(part for part in parts if part not in ("/", "..")))


def _name(place: PurePosixPath) -> str:
    return place.name


def _folded(place: PurePosixPath) -> str:
    return place.name.casefold()


def _by_path(folder: Path, by_name: Mapping[str, list[Path]], place: PurePosixPath) -> Path | None:
    """The file at the annotated path, or the one whose path ends so; None where no folder is annotated."""
    if len(place.parts) < 2:
        return None
    with suppress(OSError):  # a name that is too long for the system
        if (folder / place).is_file():
            return Path(place)
    wanted = f"/{place.as_posix().casefold()}"
    named = by_name.get(_folded(place), [])
    ending = [path for path in named if f"/{path.as_posix().casefold()}".endswith(wanted)]
    whole = [path for path in ending if f"/{path.as_posix().casefold()}" == wanted]
    return _only(folder, whole if len(whole) == 1 else ending, place)


def _only(folder: Path, paths: Sequence[Path], place: PurePosixPath) -> Path | None:
    """The one file of these, or the first of copies; raises UserError where two differ. None where there is none."""
    exact = [path for path in paths if path.name == place.name]
    if exact and len({path.parent for path in paths}) == 1:  # a.jpg and A.jpg side by side are two names
        paths = exact
    for other in paths[1:]:
        if not filecmp.cmp(folder / paths[0], folder / other, shallow=False):
            raise UserError(
                f"data folder {folder.as_posix()}: found {paths[0].as_posix()} and {other.as_posix()}, which differ, "
                f"expected one file for picture {place}; move the other away, or name the folder in the annotation's "
                "'filepath'"
            )
    return paths[0] if paths else None


def _number(name: str) -> str:
    """The twelve digits at the end of an MSCOCO file name (2014 and 2017 releases); else the whole stem."""
    stem = Path(name).stem
    return stem[-12:] if stem[-12:].isdigit() else stem
