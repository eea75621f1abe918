"""Features computed once: a folder of chunks, each an .npy file with the sha256 of its content in its name.

A chunk appears by renaming, whole and with its checksum, so that an interrupted computation goes on at the first
chunk that is missing, and processes that compute the same features at the same time only do work twice. Every
chunk is checked when the folder is opened; a damaged one is made again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmark.data.regions.arrays import Floats, NpyFile, open_npy
from benchmark.errors import UserError
from benchmark.files import replacing, sha256_bytes, sweep

CHUNK = 256
"""Images of a chunk, at most 75 MB of features; a constant, since it is part of the layout on disk."""

BATCH = 32
"""Images that are computed at once."""

Produce = Callable[[Sequence[int]], Floats]
"""Features (n, R, D) of some rows."""


@dataclass(frozen=True)
class Chunks:
    """Features (images, R, D) in a folder; `what` names them in messages."""

    folder: Path
    images: int
    dtype: str
    what: str

    def rows(self, number: int) -> range:
        """Return the rows of a chunk."""
        return range(number * CHUNK, min((number + 1) * CHUNK, self.images))

    def fetch(
        self,
        produce: Produce,
        ahead: Callable[[Sequence[int]], object] | None = None,
        *,
        show_progress: bool = True,
    ) -> tuple[NpyFile, ...]:
        """Return all chunks, those that are missing or damaged computed by `produce`.

        ahead: is called with the rows of each chunk before it is looked at.
        Raises UserError where features cannot be written or are not finite as `dtype`.
        """
        files = []
        sweep(self.folder, "chunk-*.npy")  # what another process writes now stays
        count = -(-self.images // CHUNK)
        with tqdm(
            total=self.images, desc=self.what, unit=" images", disable=None if show_progress else True
        ) as bar:
            for number in range(count):
                if ahead is not None:
                    ahead(self.rows(number))
                file = self.sound(number)
                if file is None:
                    file = self._make(number, produce, bar)
                else:
                    bar.update(len(self.rows(number)))
                files.append(file)
        return tuple(files)

    def sound(self, number: int) -> NpyFile | None:
        """Return a chunk whose content has the checksum of its name; a damaged one is said and removed."""
        for path in sorted(self.folder.glob(f"chunk-{number:05d}-*.npy")):
            try:
                features = np.load(path, allow_pickle=False)
                if path.name == _name(number, features) and len(features) == len(self.rows(number)):
                    return open_npy(path)
            except Exception:  # a damaged file makes numpy raise nearly anything; it is made again below
                pass
            rows = self.rows(number)
            print(
                f"{self.what}: {path.name} (images {rows[0]:,} to {rows[-1]:,}) is damaged; computing it again",
                file=sys.stderr,
            )
            path.unlink(missing_ok=True)
        return None

    def _make(self, number: int, produce: Produce, bar: tqdm) -> NpyFile:  # type: ignore[type-arg]  # no type at run time
        rows, parts = self.rows(number), []
        for start in range(rows.start, rows.stop, BATCH):
            batch = range(start, min(start + BATCH, rows.stop))
            parts.append(self._narrowed(produce(batch), start))
            bar.update(len(batch))
        features = np.concatenate(parts)  # (n, R, D)
        path = self.folder / _name(number, features)
        try:
            with replacing(path) as handle:
                np.save(handle, features)
        except OSError as error:
            raise UserError(
                f"{self.what}: {path.name} cannot be written ({error.strerror}); chunks that are whole are kept, make "
                "room and run the same command again"
            ) from None
        return open_npy(path)

    def _narrowed(self, features: Floats, first: int) -> np.ndarray:
        return narrowed(features, self.dtype, self.what, [f"{first + k:,}" for k in range(len(features))])


def narrowed(features: Floats, dtype: str, what: str, names: Sequence[str]) -> np.ndarray:
    """Return the features (n, R, D) of some images as `dtype`; raises UserError where one is not finite as that."""
    with np.errstate(over="ignore"):
        narrow = features.astype(dtype)
    if not np.isfinite(narrow).all():
        image = names[int(np.argwhere(~np.isfinite(narrow))[0][0])]
        raise UserError(f"{what}: image {image}: the features hold NaN, infinity or numbers beyond {dtype}")
    return narrow


def _name(number: int, features: np.ndarray) -> str:
    """Return the file name of a chunk, with 32 digits of the sha256 of its type, shape and values."""
    head = f"{features.dtype.str} {features.shape}\n".encode()
    digest = sha256_bytes(head, np.ascontiguousarray(features).data.cast("B"))
    return f"chunk-{number:05d}-{digest[:32]}.npy"
