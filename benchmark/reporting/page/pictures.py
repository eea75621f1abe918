"""Pictures of the page: each one once, as a small GIF in the page itself.

Pillow's PNGs depend on the zlib that it was built with, and JPEGs on the decoder; its GIFs are compressed by its own
code, and so the bytes are the same on every machine. Colours are rounded to multiples of 8 of 255, which also
leaves few shades to noise; a picture larger than SIDE is thinned out.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.data.splits import Split

SIDE = 96
"""Pictures are at most this wide and high, in pixels."""
STEPS = (8, 16, 32, 64)
"""Colours are rounded to multiples of the first of these that leaves no more than 256."""
Bytes = NDArray[np.uint8]


@dataclass
class Album:
    """The pictures that the page shows, numbered as they are asked for."""

    shown: dict[tuple[str, int], int] = field(default_factory=dict)
    """The numbers of the pictures, by dataset's key and row."""
    files: list[bytes] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Width and height."""

    def number(self, key: str, split: Split, row: int) -> int:
        """The number of a split's picture; `key` names the data."""
        if (key, row) not in self.shown:
            pixels = np.asarray(split.images[row].convert("RGB"), dtype=np.uint8)
            pixels = thinned(pixels)
            self.shown[key, row] = len(self.files)
            self.files.append(gif(pixels))
            self.sizes.append((pixels.shape[1], pixels.shape[0]))
        return self.shown[key, row]

    @property
    def addresses(self) -> list[str]:
        """Each picture as a data address."""
        return [f"data:image/gif;base64,{base64.b64encode(content).decode()}" for content in self.files]


def thinned(pixels: Bytes) -> Bytes:
    """Every k-th row and column, so that no side is over SIDE."""
    step = -(-max(pixels.shape[:2]) // SIDE)
    return pixels[::step, ::step]


def gif(pixels: Bytes) -> bytes:
    """A picture (height, width, 3) as a GIF of at most 256 colours."""
    colours, indices = palette(pixels)
    picture = Image.frombytes("P", (pixels.shape[1], pixels.shape[0]), indices.tobytes())
    picture.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "GIF", optimize=False)
    return buffer.getvalue()


def palette(pixels: Bytes) -> tuple[Bytes, Bytes]:
    """Colours (k, 3) in ascending order, k <= 256, and the number of each pixel's (height * width,)."""
    flat = pixels.reshape(-1, 3).astype(np.int64)
    weights = np.array((65536, 256, 1), dtype=np.int64)
    for step in STEPS:
        rounded = np.minimum((flat + step // 2) // step * step, 255)
        codes, indices = np.unique(rounded @ weights, return_inverse=True)
        if len(codes) <= 256:
            break
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    return colours.astype(np.uint8), indices.astype(np.uint8)
