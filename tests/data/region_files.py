"""Tiny SCAN folders and TSV files, with features that say which image and region they are of."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]

PLANTED_THINGS = [f"thing{letter}" for letter in "abcdefghijkl"]
PLANTED_WIDTH = 16


def features(images: Sequence[int], regions: int = 36, width: int = 4) -> Array:
    """(n, R, D): 1000 * image + region + a fraction for each dimension."""
    image = 1000 * np.asarray(images, dtype=np.float32)[:, None, None]
    region = np.arange(regions, dtype=np.float32)[None, :, None]
    return np.asarray(image + region + np.arange(width) / 16, dtype=np.float32)


def scan_part(
    folder: Path,
    part: str,
    images: int,
    *,
    repeated: bool = False,
    array: Array | None = None,
    ids: Sequence[int] | None = None,
    texts: Sequence[str] | None = None,
) -> Array:
    """Write a part of a SCAN folder, five captions an image; returns the features, one row an image."""
    folder.mkdir(parents=True, exist_ok=True)
    found = features(range(images)) if array is None else array
    np.save(folder / f"{part}_ims.npy", np.repeat(found, 5, axis=0) if repeated else found)
    lines = texts or [f"caption {k} of image {image} ." for image in range(images) for k in range(5)]
    (folder / f"{part}_caps.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    numbers = range(10, 10 + images) if ids is None else ids
    (folder / f"{part}_ids.txt").write_text("".join(f"{number}\n" for number in numbers))
    return found


def planted_part(folder: Path, part: str, images: int, seed: int) -> None:
    """A part whose captions name the three things that an image's regions show; `part_ids.txt` is left out."""
    draws = np.random.default_rng(seed)
    looks = np.random.default_rng(0).standard_normal((len(PLANTED_THINGS), PLANTED_WIDTH))
    shown = [draws.choice(len(PLANTED_THINGS), 3, replace=False) for _ in range(images)]
    array = np.stack([np.repeat(looks[things], 12, axis=0) for things in shown])  # (n, 36, PLANTED_WIDTH)
    noise = 0.1 * draws.standard_normal(array.shape)
    texts = [
        " ".join(PLANTED_THINGS[k] for k in draws.permutation(things)) for things in shown for _ in range(5)
    ]
    scan_part(folder, part, images, array=np.asarray(array + noise, dtype=np.float32), texts=texts)
    (folder / f"{part}_ids.txt").unlink()


def boxes_of(image: int) -> Array:
    """Features (36, 2048) of one image, as they are in a TSV."""
    return np.random.default_rng(image).random((36, 2048), dtype=np.float32)


def tsv_line(image: str | int, found: Array, boxes: int | None = None) -> str:
    """One line of a bottom-up-attention TSV."""
    count = len(found) if boxes is None else boxes
    encoded = [
        base64.b64encode(part.tobytes()).decode() for part in (np.zeros((count, 4), np.float32), found)
    ]
    return "\t".join([str(image), "640", "480", str(count), *encoded]) + "\n"
