"""Pictures in a folder by the names that captions give them, and the split that a file's or folder's name tells."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from benchmark.data.own.items import PARTS, Faults, Place
from benchmark.data.published.pictures import files_below
from benchmark.data.splits import SplitName

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
"""Ends of names of picture files."""


def told_split(path: PurePosixPath | Path) -> SplitName | None:
    """Return the one split that a file's name tells, else the nearest of its folders' that tells one."""
    for name in (path.stem, *reversed(path.parts[:-1])):
        found = {PARTS[word] for word in re.split("[^a-z]+", name.lower()) if word in PARTS}
        if len(found) == 1:
            return next(iter(found))
    return None


class PictureFolder:
    """The pictures below a folder."""

    def __init__(self, folder: Path) -> None:
        """Look at every file below `folder`."""
        self.folder = folder
        self.paths = [
            path.relative_to(folder) for path in files_below(folder) if path.suffix.lower() in PICTURES
        ]
        self._whole = {path.as_posix().casefold(): path for path in self.paths}
        self._ends: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self._ends[path.name.casefold()].append(path)
            self._ends[path.stem.casefold()].append(path)

    def places(self, names: Iterable[str], faults: Faults) -> dict[str, Place]:
        """Return the place of each picture that is there; several files that fit a name are a fault."""
        found: dict[str, Place] = {}
        for name in dict.fromkeys(names):
            paths = self._fitting(name)
            if len(paths) > 1:
                told = " and ".join(path.as_posix() for path in paths[:2])
                faults.wrong.append(f"picture {name[:80]}: {told} both fit; write the path from the folder")
            if paths:
                found[name] = (paths[0].as_posix(),)
        return found

    def _fitting(self, name: str) -> list[Path]:
        """The files that a name may mean: by its path, else by its end, else by the file's name, perhaps its stem."""
        parts = [
            part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")
        ]
        if not parts:
            return []
        path = "/".join(parts).casefold()
        if path in self._whole:
            return [self._whole[path]]
        named = self._ends.get(parts[-1].casefold(), [])
        ending = [item for item in named if f"/{item.as_posix().casefold()}".endswith(f"/{path}")]
        return ending or named


def relative_files(folder: Path, *suffixes: str) -> list[str]:
    """Return the files below a folder with one of these ends, as paths from it, sorted."""
    found = [path.relative_to(folder) for path in files_below(folder)]
    return [path.as_posix() for path in found if path.name.lower().endswith(suffixes)]
