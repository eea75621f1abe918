"""Drawing of `scenes`: objects stamped on a grainy background, in integer arithmetic only.

No floating point and no font or graphics library takes part, so the same scene has the same pixels on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Drawn = tuple[str, str, str, str, int, int]
"""Shape, colour, size, texture, and the centre's x and y in 64ths of the image side."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 40),
    "orange": (245, 130, 20),
    "yellow": (240, 216, 40),
    "green": (36, 150, 60),
    "cyan": (40, 196, 214),
    "blue": (40, 76, 214),
    "purple": (134, 52, 176),
    "pink": (248, 140, 190),
    "brown": (124, 74, 34),
    "lime": (158, 224, 48),
    "teal": (12, 122, 124),
    "magenta": (212, 30, 150),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
TEXTURES = ("plain", "striped", "dotted")
SIZES: dict[str, int] = {"small": 7, "large": 10}
"""Radius in 64ths of the image side."""
BACKGROUNDS: dict[str, tuple[int, int, int]] = {"light": (222, 222, 216), "dark": (44, 46, 54)}
CENTRES = (11, 32, 53)
"""The centres of the three columns and rows, in 64ths: large neighbours meet, but never hide each other."""

# A five-pointed star with its point up, outer radius 1000, inner radius 430.
_STAR = ((0, -1000), (253, -348), (951, -309), (409, 133), (588, 809), (0, 430))  # right half, top to bottom


def stamp_mask(shape: str, radius: int) -> Array:
    """Return the coverage of each pixel in sixteenths, (2 radius, 2 radius) int64: 4 x 4 samples a pixel."""
    n = 8 * radius
    axis = np.arange(1 - n, n, 2)
    x, y = np.abs(axis)[None, :], axis[:, None]
    far, near, square = np.maximum(x, np.abs(y)), np.minimum(x, np.abs(y)), x * x + y * y
    if shape == "circle":
        inside = square <= n * n
    elif shape == "square":
        inside = 100 * far <= 86 * n
    elif shape == "triangle":
        inside = (20 * x <= 10 * y + 9 * n) & (10 * y <= 9 * n)
    elif shape == "cross":
        inside = 100 * near <= 34 * n
    elif shape == "ring":
        inside = (square <= n * n) & (100 * square >= 30 * n * n)
    else:
        inside = _in_star(1000 * x, 1000 * y, n)
    coverage: Array = inside.reshape(2 * radius, 4, 2 * radius, 4).sum(axis=(1, 3))
    return coverage


def _in_star(x: Array, y: Array, n: int) -> Array:
    """Even-odd rule along the ray to the right; the star is its own mirror image, so only x >= 0 is asked."""
    crossings = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.int64)
    for (x0, y0), (x1, y1) in pairwise(_STAR):
        low, high = sorted(((y0, x0), (y1, x1)))
        spans = (y >= low[0] * n) & (y < high[0] * n)
        left = (x - low[1] * n) * (high[0] - low[0]) < (y - low[0] * n) * (high[1] - low[1])
        crossings += spans & left
    odd: Array = crossings % 2 == 1
    return odd


@cache
def _stamp(shape: str, radius: int, texture: str, colour: str, image_size: int) -> tuple[Array, Array]:
    """Return the factor an object leaves of the canvas and the paint it adds, both (d, d, 3) int16, in sixteenths."""
    mask = stamp_mask(shape, radius)[:, :, None].astype(np.int16)
    step = np.arange(2 * radius)
    unit = max(1, image_size // 32)  # two pixels at 64
    paint = np.empty((2 * radius, 2 * radius, 3), dtype=np.int16)
    paint[:] = COLOURS[colour]
    if texture == "striped":
        dark = ((step[:, None] + step[None, :]) // unit) % 2 == 0
        paint[dark] = paint[dark] * 45 // 100
    elif texture == "dotted":
        spot = (step // unit) % 2 == 0
        light = spot[:, None] & spot[None, :]
        paint[light] = 255 - (255 - paint[light]) * 20 // 100
    return np.repeat(16 - mask, 3, axis=2), paint * mask + 8


@cache
def _grained(background: str) -> Array:
    """Background colour for each random byte, (256, 3) int16: at most 7 of 255 off its mean."""
    shades: Array = np.arange(256)[:, None] % 15 - 7 + np.asarray(BACKGROUNDS[background])
    return np.asarray(shades, dtype=np.int16)


def render(things: Sequence[Drawn], background: str, size: int, grain: bytes) -> Array:
    """Draw things in order on a background made of `grain`, size * size random bytes: (size, size, 3) uint8."""
    canvas = _grained(background)[np.frombuffer(grain, dtype=np.uint8).reshape(size, size)]  # (size, size, 3)
    for shape, colour, extent, texture, x, y in things:
        radius = SIZES[extent] * size // 64
        keep, add = _stamp(shape, radius, texture, colour, size)
        top, left = y * size // 64 - radius, x * size // 64 - radius
        patch = canvas[top : top + 2 * radius, left : left + 2 * radius]
        patch[:] = (patch * keep + add) >> 4
    return canvas.astype(np.uint8)
