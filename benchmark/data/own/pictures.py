"""Pictures inside shards, read where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmark.data.images.decoding import decode
from benchmark.data.own.readers.shards import read_part
from benchmark.data.splits import Images
from benchmark.files import sha256_bytes


@dataclass(frozen=True, eq=False)
class ShardImages(Images):
    """Pictures of a split: shard, offset and size of each below `folder` (n,), and their names."""

    folder: Path
    parts: Sequence[tuple[str, int, int]]
    filenames: Sequence[str]

    def __len__(self) -> int:
        return len(self.parts)

    def encoded(self, row: int) -> bytes:
        """Return the picture's file. Raises UserError where the shard cannot be read."""
        shard, offset, size = self.parts[row]
        return read_part(self.folder / shard, offset, size)

    def __getitem__(self, row: int) -> Image.Image:
        """Decode the RGB picture of a row. Raises BrokenPictureError, in one line, where that fails."""
        return decode(
            self.encoded(row), f"image {self.filenames[row]} (row {row}, from {self.parts[row][0]})"
        )

    def select(self, rows: Sequence[int]) -> ShardImages:
        return ShardImages(
            self.folder, [self.parts[row] for row in rows], [self.filenames[row] for row in rows]
        )

    def digests(self) -> list[bytes]:
        """Return the sha256 of each picture's file."""
        return [hashlib.sha256(self.encoded(row)).digest() for row in range(len(self))]

    def identity(self) -> bytes:
        return sha256_bytes(*self.digests()).encode()
