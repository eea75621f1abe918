"""Regions that the detector found, kept once a picture: safetensors files named by the sha256 of their content.

A picture is known by its own sha256, so that its features are found for whatever holds it: a split, the first images of
one, another container. A file appears by renaming, whole, and is never changed, so that an interrupted extraction goes
on with the pictures that are missing, and processes that detect at the same time only do work twice. Each file is
checked before it is read for the first time; a damaged one is removed, and its pictures are detected again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from benchmark.data.regions.arrays import Integers, NpyFile
from benchmark.data.regions.cache import narrowed
from benchmark.errors import UserError
from benchmark.files import sha256_bytes, sha256_file, sweep, write_bytes
from benchmark.guarded import check_safetensors, parse_json

Array = np.ndarray[Any, Any]

KINDS = {"F32": "<f4", "F16": "<f2"}
"""Types of features, by what safetensors calls them."""

TENSORS = ("features", "boxes", "scores", "objects", "found")
"""The tensors of a file, besides the `pictures`: (n, R, D), (n, R, 4), (n, R), (n, R), (n,)."""


class KeptRegions:
    """The regions of pictures in a folder; `what` names them in messages."""

    def __init__(self, folder: Path, dtype: str, what: str) -> None:
        """Look at the folder's files. Features are kept as `dtype`, `<f4` or `<f2`."""
        self.folder, self.dtype, self.what = folder, dtype, what
        sweep(folder, "*.safetensors")  # what another process writes now stays
        self._checked: dict[Path, NpyFile] = {}
        self._places: dict[bytes, tuple[Path, int]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            self._index(path)

    def __len__(self) -> int:
        """Return the number of pictures, those in damaged files included."""
        return len(self._places)

    def __contains__(self, picture: bytes) -> bool:
        """Return True where the regions of a picture, known by its sha256, lie in a file that is whole."""
        while (place := self._places.get(picture)) is not None:
            if self._is_sound(place[0]):
                return True
        return False

    def keep(
        self, pictures: Sequence[bytes], names: Sequence[str], tensors: Mapping[str, Array], made_by: str
    ) -> None:
        """Write the regions of some pictures, `tensors` as TENSORS has them.

        Raises UserError for features that are not finite as `dtype`, and where the file cannot be written.
        """
        features = narrowed(tensors["features"], self.dtype, self.what, names)
        digests = np.frombuffer(b"".join(pictures), np.uint8).reshape(-1, 32)
        notes = {"rematch": json.dumps({"made_by": made_by, "names": list(names)})}
        whole = {
            **{name: np.ascontiguousarray(array) for name, array in tensors.items()},
            "features": features,
        }
        content = save({**whole, "pictures": digests}, notes)
        path = self.folder / f"{sha256_bytes(content)[:32]}.safetensors"
        try:
            write_bytes(path, content)
        except OSError as error:
            raise UserError(
                f"{self.what}: {path.name} cannot be written ({error.strerror}); files that are whole are kept, make "
                "room and run the same command again"
            ) from None
        self._checked[path] = features_in(path)
        self._index(path)

    def places(self, pictures: Sequence[bytes]) -> tuple[tuple[NpyFile, ...], Integers]:
        """Return the files of some pictures, all kept, and the row (n,) of each picture, counted through them."""
        paths = [path for path, _ in self._by_file(pictures)]
        files = tuple(self._checked[path] for path in paths)
        starts = dict(zip(paths, np.cumsum([0, *(file.shape[0] for file in files)]).tolist(), strict=False))
        rows = [starts[path] + row for path, row in (self._places[picture] for picture in pictures)]
        return files, np.array(rows, dtype=np.int64)

    def tensor(self, name: str, pictures: Sequence[bytes]) -> Array:
        """Return one of TENSORS (n, ...) of some pictures, all kept."""
        rows: list[Any] = [None] * len(pictures)
        for path, places in self._by_file(pictures):
            with safe_open(path, framework="numpy") as file:
                whole = file.get_tensor(name)
            for place in places:
                rows[place] = whole[self._places[pictures[place]][1]]
        return np.stack(rows)

    def checksum(self, pictures: Sequence[bytes]) -> str:
        """Return the sha256 over the regions of some pictures, all kept, in whatever files they lie."""
        ordered = sorted(set(pictures))
        lines = [""] * len(ordered)
        for path, places in self._by_file(ordered):
            with safe_open(path, framework="numpy") as file:
                tensors = [file.get_tensor(name) for name in TENSORS]
            for place in places:
                row = self._places[ordered[place]][1]
                lines[place] = sha256_bytes(ordered[place], *(tensor[row].tobytes() for tensor in tensors))
        return sha256_bytes("\n".join(lines).encode())

    def _by_file(self, pictures: Sequence[bytes]) -> Iterator[tuple[Path, list[int]]]:
        """Yield each file that some pictures are in, with their places among `pictures`."""
        found: dict[Path, list[int]] = {}
        for place, picture in enumerate(pictures):
            found.setdefault(self._places[picture][0], []).append(place)
        yield from found.items()

    # ------------------------------------------------------------------------------------- files

    def _index(self, path: Path) -> None:
        """Note the pictures of a file, but for those that are known; a file of another sort is removed."""
        try:
            check_safetensors(path)
            with safe_open(path, framework="numpy") as file:
                pictures = file.get_tensor("pictures")
        except Exception:  # a damaged file makes the library raise nearly anything
            self._drop(path)
            return
        for row, picture in enumerate(pictures):
            self._places.setdefault(picture.tobytes(), (path, row))

    def _is_sound(self, path: Path) -> bool:
        """Return True where a file has the checksum of its name; a damaged one is said, removed and forgotten."""
        if path in self._checked:
            return True
        try:
            if is_whole(path):
                self._checked[path] = features_in(path)
                return True
        except (OSError, ValueError, KeyError):
            pass
        self._drop(path)
        self._places = {}
        for other in sorted(self.folder.glob("*.safetensors")):
            self._index(other)
        return False

    def _drop(self, path: Path) -> None:
        print(f"{self.what}: {path.name} is damaged; its pictures are looked at again", file=sys.stderr)
        path.unlink(missing_ok=True)


def read_notes(path: Path) -> tuple[str, list[str]]:
    """Return the identity of the features in a file of the store, and the file name of each picture.

    Raises ValueError for a file that is none of the store.
    """
    check_safetensors(path)
    try:
        with safe_open(path, framework="numpy") as file:
            notes = parse_json((file.metadata() or {})["rematch"])
        return str(notes["made_by"]), [str(name) for name in notes["names"]]
    except Exception as error:  # as above
        raise ValueError(" ".join(str(error).split())) from None


def count_kept(folder: Path) -> int:
    """Return the number of pictures that the files of a folder are of; nothing is checked or removed."""
    count = 0
    for path in folder.glob("*.safetensors"):
        with suppress(OSError, ValueError):
            count += len(read_notes(path)[1])
    return count


def is_whole(path: Path) -> bool:
    """Return True where a file has the checksum of its name. Raises OSError where it cannot be read."""
    return sha256_file(path)[:32] == path.stem


def features_in(path: Path) -> NpyFile:
    """Return where the features lie in a file of the store; ValueError or KeyError where it has none."""
    check_safetensors(path)
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        entry = parse_json(handle.read(length))["features"]
    images, regions, width = entry["shape"]
    return NpyFile(
        path, (images, regions, width), KINDS[entry["dtype"]], 8 + length + entry["data_offsets"][0]
    )
