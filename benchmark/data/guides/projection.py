"""Fixed random projections of pictures, for `scenes`: no weights, no training, the same numbers on every machine.

A picture is shrunk to 16 x 16 by the means of its squares, and its colours go through one random matrix. The matrix
comes from a generator whose numbers NumPy promises never to change; all arithmetic is in float64, then rounded to what
float16 holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

Floats = np.ndarray[Any, np.dtype[np.float32]]
Doubles = np.ndarray[Any, np.dtype[np.float64]]

DIM = 512
"""Width of CLIP's vectors, in whose place they stand."""

SIDE, SQUARES = 64, 16
"""Pictures are taken at 64 x 64, and shrunk to 16 x 16."""


class RandomProjection:
    """Vectors (n, 512) of pictures; a `GuideExtractor` of sources.py."""

    identity = f"random-projection-1 {SQUARES} x {SQUARES} to {DIM}"
    proxy = True
    description = f"a fixed random projection of {SQUARES} x {SQUARES} colours"

    def vectors(self, pictures: Sequence[Image.Image]) -> Floats:
        """(n, 512) float32 that float16 can hold, of a deviation about that of the colours."""
        colours = np.stack([_colours(picture) for picture in pictures])  # (n, 768)
        # a product for each picture: a larger one may round in another order
        found = np.stack([self._matrix @ row for row in colours])
        return found.astype(np.float16).astype(np.float32)

    @cached_property
    def _matrix(self) -> Doubles:
        draws = np.random.RandomState(2_301)
        matrix: Doubles = draws.standard_normal((DIM, 3 * SQUARES**2)) / np.sqrt(3 * SQUARES**2)
        return matrix


def _colours(picture: Image.Image) -> Doubles:
    """Return the mean colours of the squares, from -1 to 1, (768,)."""
    taken = (
        picture if picture.size == (SIDE, SIDE) else picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    )
    each = SIDE // SQUARES
    pixels = np.asarray(taken, dtype=np.float64).reshape(SQUARES, each, SQUARES, each, 3)
    means: Doubles = pixels.mean(axis=(1, 3)).ravel() / 127.5 - 1
    return means
