"""Fixed random features of 6 x 6 cells, for `scenes`: no weights, no training, the same numbers on every machine.

A cell sees its neighbourhood through random filters, in four groups: colour (random directions in colour space,
squashed), texture (5 x 5 filters on brightness), shape (7 x 7 filters at half size on how far a pixel is from grey)
and its own row and column. Filters come from a generator whose numbers NumPy promises never to change, and all
arithmetic is in float64 and then rounded to float16, so that threads and processors make no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.regions.arrays import Floats
from benchmark.data.scenes.dataset import VERSION, SceneImages, ScenesOptions

CELLS = 6
"""Rows and columns."""

SIDE = 64
"""Pictures are taken at this size."""

COLOURS, TEXTURES, SHAPES, PLACES = 20, 12, 84, 2 * CELLS
DIM = COLOURS + TEXTURES + SHAPES + PLACES

REACH = 5.0
"""Standard deviation, in pixels, of the window that a cell averages over; cells are 10.7 pixels apart."""

CALIBRATION = ScenesOptions(n_train=64, seed=2_101)
"""Pictures, drawn by code, over which every feature has mean 0 and deviation 1."""


class RandomCells:
    """Features (n, 36, 128) of pictures; an `Extractor` of grid.py."""

    dim = DIM
    identity = f"random-cells-1 {DIM} ({VERSION})"
    description = "6 x 6 cells through fixed random filters"

    def cells(self, pictures: Sequence[Image.Image]) -> Floats:
        """(n, 36, 128) float32 that float16 can hold, cells row by row."""
        found = self._standardised(_pixels(pictures))
        return found.numpy().astype(np.float16).astype(np.float32)

    def _standardised(self, pixels: Tensor) -> Tensor:
        mean, deviation = self._calibration
        features = (self._filtered(pixels) - mean) / deviation
        return torch.cat([features, _places().expand(len(features), -1, -1)], dim=2)  # (n, 36, 128)

    @cached_property
    def _calibration(self) -> tuple[Tensor, Tensor]:
        scenes = SceneImages(CALIBRATION, "train", range(CALIBRATION.n_train))
        features = self._filtered(_pixels([scenes[row] for row in range(len(scenes))])).flatten(0, 1)
        return features.mean(0), features.std(0)  # (116,) each

    @cached_property
    def _filters(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        draws = np.random.RandomState(2_101)
        directions = 3 / 3**0.5 * draws.standard_normal((COLOURS, 3, 1, 1))
        offsets = 1.5 * draws.standard_normal(COLOURS)
        textures = draws.standard_normal((TEXTURES, 1, 5, 5))
        shapes = _smooth(draws.standard_normal((SHAPES, 1, 7, 7)))
        thresholds = draws.uniform(-0.3, 0.3, SHAPES)
        parts = (directions, offsets, _balanced(textures), _balanced(shapes), thresholds)
        first, second, third, fourth, fifth = (torch.from_numpy(part) for part in parts)
        return first, second, third, fourth, fifth

    def _filtered(self, pixels: Tensor) -> Tensor:
        """Return the filters' answers to pixels (n, 3, 64, 64) from 0 to 1, averaged in each cell: (n, 36, 116)."""
        directions, offsets, textures, shapes, thresholds = self._filters
        colour = torch.tanh(F.conv2d(2 * pixels - 1, directions, offsets))  # (n, 20, 64, 64)
        brightness = F.pad(pixels.mean(1, keepdim=True), [2] * 4, mode="replicate")
        texture = F.conv2d(brightness, textures).abs()  # (n, 12, 64, 64)
        spread = pixels.amax(1, keepdim=True) - pixels.amin(1, keepdim=True)  # (n, 1, 64, 64), 0 where grey
        coloured = F.avg_pool2d(
            spread / (spread + 0.15), 2
        )  # (n, 1, 32, 32), nearly the same for all colours
        shape = F.conv2d(F.pad(coloured, [3] * 4), shapes, thresholds).relu()  # (n, 84, 32, 32)
        return torch.cat([_cell_means(part) for part in (colour, texture, shape)], dim=2)


def _pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """(n, 3, 64, 64) float64 from 0 to 1; other sizes are resized, bilinear."""
    arrays = [
        np.asarray(
            image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        )
        for image in pictures
    ]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(torch.float64) / 255


def _smooth(filters: np.ndarray) -> np.ndarray:
    """Blur filters (K, 1, k, k) a little: shapes are larger than pixels."""
    bell = np.exp(-0.5 * (np.arange(-2, 3) / 0.8) ** 2)
    window = torch.from_numpy(np.outer(bell, bell) / bell.sum() ** 2)[None, None]
    return F.conv2d(torch.from_numpy(filters), window, padding=2).numpy()


def _balanced(filters: np.ndarray) -> np.ndarray:
    """Return each filter with sum 0 and norm 1."""
    centred = filters - filters.mean(axis=(1, 2, 3), keepdims=True)
    balanced: np.ndarray = centred / np.sqrt((centred**2).sum(axis=(1, 2, 3), keepdims=True))
    return balanced


def _cell_means(maps: Tensor) -> Tensor:
    """Maps (n, K, S, S) -> (n, 36, K): weighted means around the centre of each cell."""
    side = maps.shape[-1]
    centres = (torch.arange(CELLS, dtype=maps.dtype) + 0.5) * side / CELLS
    distance = torch.arange(side, dtype=maps.dtype) + 0.5 - centres[:, None]  # (6, S)
    weights = torch.exp(-0.5 * (distance / (REACH * side / SIDE)) ** 2)
    weights = weights / weights.sum(1, keepdim=True)
    means = weights @ maps @ weights.mT  # (n, K, 6, 6)
    return means.flatten(2).mT


def _places() -> Tensor:
    """Return the row and column of each cell as ones among zeros, (36, 12), as strong as the other features."""
    row, column = torch.arange(CELLS**2) // CELLS, torch.arange(CELLS**2) % CELLS
    both = torch.cat([F.one_hot(row, CELLS), F.one_hot(column, CELLS)], dim=1)
    return 1.5 * both.to(torch.float64)
