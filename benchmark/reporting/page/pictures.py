"""Pictures of the page: each one once, as a small GIF in the page itself.

Pillow's PNGs depend on the zlib that it was built with, and JPEGs on the decoder; GIF's compression (LZW) is a page
of code, and so the bytes are the same on every machine. Colours are rounded to multiples of 8 of 255, which also
leaves few shades to noise; a picture larger than SIDE is thinned out.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """By dataset's key and row."""
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
    bits = max(2, (len(colours) - 1).bit_length())
    table = colours.tobytes().ljust(3 << bits, b"\0")
    height, width = pixels.shape[:2]
    head = b"GIF87a" + struct.pack("<HHBBB", width, height, 0xF0 | bits - 1, 0, 0) + table
    data = lzw(indices.tobytes(), bits)
    blocks = b"".join(
        bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255)
    )
    return head + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + bytes([bits]) + blocks + b"\0;"


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


def lzw(indices: bytes, bits: int) -> bytes:
    """GIF's variant of LZW: codes of growing width, lowest bit first, begun anew when 4096 are in use."""
    clear, out = 1 << bits, _Bits()
    known: dict[bytes, int] = {}

    def restart() -> int:
        known.clear()
        known.update({bytes([index]): index for index in range(clear)})
        return bits + 1

    width = restart()
    out.put(clear, width)
    seen = b""
    for index in indices:
        longer = seen + bytes([index])
        if longer in known:
            seen = longer
            continue
        out.put(known[seen], width)
        code = len(known) + 2  # clear and end have codes of their own
        known[longer] = code
        width += code >> width
        if code == 4095:
            out.put(clear, 12)
            width = restart()
        seen = longer[-1:]
    out.put(known[seen], width)
    out.put(clear + 1, width)
    return out.done()


class _Bits:
    """Numbers of a few bits each, packed into bytes from the lowest bit on."""

    def __init__(self) -> None:
        self._held, self._count = 0, 0
        self._bytes = bytearray()

    def put(self, number: Any, width: int) -> None:
        self._held |= number << self._count
        self._count += width
        while self._count >= 8:
            self._bytes.append(self._held & 255)
            self._held >>= 8
            self._count -= 8

    def done(self) -> bytes:
        return bytes(self._bytes) + (bytes([self._held]) if self._count else b"")
