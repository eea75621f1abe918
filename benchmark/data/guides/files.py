"""Guides from files: `<part>_clip.npy` beside SCAN's `<part>_ims.npy`.

A row for each image, or each image's row repeated for its five captions, as SCAN stores features; only the count tells
which. The vectors are small, so that all of them are read and checked at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.regions.scan import CAPTIONS, part_of
from benchmark.data.splits import Guides, Split
from benchmark.errors import UserError

Array = np.ndarray[Any, Any]


def stored_guides(split: Split, folder: Path) -> Guides:
    """Return the vectors of a split of a SCAN folder that has not been cut down yet.

    Raises UserError, in one line, for a file that is missing or damaged, of another shape or type than float32
    (images, width), of another number of images, with rows that should repeat each other and do not, and with numbers
    that are not finite.
    """
    path = folder / f"{part_of(split.name, folder)}_clip.npy"
    array = _read(path)
    images = len(split)
    if len(array) == CAPTIONS * images:
        array = _once(array, path.name)
    elif len(array) != images:
        raise UserError(
            f"{path.name}: found vectors of {len(array):,} images, expected {images:,} as {_part(path)}_caps.txt has "
            f"them, or {CAPTIONS * images:,} where each is repeated for its {CAPTIONS} captions"
        )
    _check_finite(array, path.name)
    return Guides(array, f"vectors of {path.name}")


def _part(path: Path) -> str:
    return path.name.removesuffix("_clip.npy")


def _read(path: Path) -> Array:
    """Return an array (n, D) of float32."""
    wanted = "expected float32 (images, width)"
    if not path.is_file():
        raise UserError(
            f"{path.as_posix()}: no such file, {wanted}: CLIP's vector of each image of {_part(path)}_ims.npy; or "
            "compute them from pictures (data.guides: {source: clip})"
        )
    try:
        array: Array = np.load(path, allow_pickle=False)
    except Exception as error:  # damaged files make numpy raise nearly anything
        reason = " ".join(str(error).split()).replace(path.as_posix(), path.name)
        raise UserError(f"{path.name}: not a readable .npy file ({reason}), {wanted}") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path.name}: found an archive of arrays, {wanted}")
    if array.dtype.str != "<f4":
        raise UserError(
            f"{path.name}: found an array of {array.dtype.str.lstrip('<|')}, {wanted}; save it again with "
            ".astype('float32')"
        )
    if array.ndim != 2 or 0 in array.shape:
        raise UserError(f"{path.name}: found an array of shape {array.shape}, {wanted}")
    return np.ascontiguousarray(array)


def _once(array: Array, name: str) -> Array:
    """Return one row of each five, which must be the same."""
    copies = array.reshape(-1, CAPTIONS, array.shape[1])  # (n, 5, D)
    same = (copies == copies[:, :1]) | (np.isnan(copies) & np.isnan(copies[:, :1]))
    odd = np.flatnonzero(~same.all(axis=(1, 2)))
    if len(odd):
        first = CAPTIONS * int(odd[0])
        raise UserError(
            f"{name}: found as many rows as captions ({len(array):,}) but rows {first:,} to {first + CAPTIONS - 1:,} "
            f"differ, expected every image {CAPTIONS} times in a row"
        )
    return np.ascontiguousarray(copies[:, 0])


def _check_finite(array: Array, name: str) -> None:
    odd = np.argwhere(~np.isfinite(array))
    if len(odd):
        image, place = odd[0].tolist()
        raise UserError(
            f"{name}: image {image:,}: place {place} holds {array[image, place]}, expected finite numbers; make the "
            "file again"
        )
