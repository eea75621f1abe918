"""`scenes`: the embedded dataset, made by code from a seed; nothing is downloaded.

A picture holds two to four objects (shape, colour, size, texture) in the cells of a 3 x 3 grid, and has five captions.
A share of the images comes in pairs that differ in one attribute, or in which two objects swapped colours or
places ("a red circle above a blue square" / "a blue circle above a red square").
Image `i` of a split depends on (seed, split, i) and `hard_share` only, so a larger split begins with the smaller one.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from benchmark.data.scenes.captions import captions
from benchmark.data.scenes.drawing import BACKGROUNDS, CENTRES, COLOURS, SHAPES, SIZES, TEXTURES, render
from benchmark.data.splits import DatasetOptions, Images, Split, SplitName, flatten_captions
from benchmark.strict import Seed

VERSION = "scenes-1"
"""Changes when the same options give other pixels or captions."""

MOST = 1_000_000
"""Images of a split at most: beyond any that a test could score."""


class ScenesOptions(DatasetOptions):
    """Options of `scenes` in a recipe's `data.options`."""

    n_train: int = Field(default=2000, ge=2, le=MOST)
    n_val: int = Field(default=200, ge=2, le=MOST)
    n_test: int = Field(default=400, ge=2, le=MOST)
    image_size: int = Field(default=64, ge=32, le=1024)
    """Side in pixels."""
    seed: Seed = 0
    """The seed of the dataset; the training seed is another one."""
    hard_share: float = Field(default=0.25, ge=0, le=1)
    """Share of images that come in hard pairs (rows 2k and 2k + 1)."""

    def counts(self, published: Mapping[SplitName, int] | None = None) -> Mapping[SplitName, int]:  # noqa: ARG002
        """Return the images of each split, which the options say themselves."""
        return {"train": self.n_train, "val": self.n_val, "test": self.n_test}


class Draws:
    """Random choices that are the same on every platform: a hash of the key, read 32 bits at a time."""

    def __init__(self, *key: str | int) -> None:
        self._key = "/".join(map(str, key))
        self._words = self._stream()

    def _stream(self) -> Iterator[int]:
        block = 0
        while True:
            yield from struct.unpack("<32I", hashlib.shake_256(f"{self._key}#{block}".encode()).digest(128))
            block += 1

    def below(self, n: int) -> int:
        """Return a number from 0 to n - 1."""
        return next(self._words) * n >> 32

    def shuffled(self, n: int) -> list[int]:
        """0 .. n - 1 in random order."""
        order = list(range(n))
        for last in range(n - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


@dataclass(frozen=True)
class Object:
    """One object; `cell` counts row by row from 0 to 8, `shift` moves it by a 64th of the side in x and y."""

    shape: str
    colour: str
    size: str
    texture: str
    cell: int
    shift: tuple[int, int]


@dataclass(frozen=True)
class Scene:
    """Objects in the order they are drawn and spoken of, and the background."""

    things: tuple[Object, ...]
    background: str
    change: str | None = None
    """The change that made this scene of its twin, the row before; None: it was not made so."""


def _kind(draws: Draws) -> tuple[str, str]:
    return tuple(COLOURS)[draws.below(len(COLOURS))], SHAPES[draws.below(len(SHAPES))]


def make_scene(draws: Draws) -> Scene:
    """Return two to four objects in different cells, no two of the same colour and shape."""
    count = (2, 3, 3, 4)[draws.below(4)]
    things: list[Object] = []
    for cell in draws.shuffled(9)[:count]:
        taken = {(thing.colour, thing.shape) for thing in things}
        colour, shape = _kind(draws)
        while (colour, shape) in taken:
            colour, shape = _kind(draws)
        size = tuple(SIZES)[draws.below(2)]
        texture = TEXTURES[draws.below(3)]
        things.append(Object(shape, colour, size, texture, cell, (draws.below(3) - 1, draws.below(3) - 1)))
    return Scene(tuple(things), tuple(BACKGROUNDS)[draws.below(2)])


CHANGES = ("swap colours", "swap places", "colour", "shape", "size", "texture", "place")
_TRIED = ("swap colours", "swap places", "swap colours", "swap places", *CHANGES[2:])  # swaps come more often

_VALUES: dict[str, Iterable[str]] = {"colour": COLOURS, "shape": SHAPES, "size": SIZES, "texture": TEXTURES}


def twin(scene: Scene, draws: Draws) -> Scene:
    """Return a hard negative: the first object changes in one attribute, or swaps colour or place with the second."""
    first, second, *rest = scene.things
    while True:
        change = _TRIED[draws.below(len(_TRIED))]
        a, b = first, second
        if change == "swap colours":
            a, b = replace(a, colour=second.colour), replace(b, colour=first.colour)
        elif change == "swap places":
            a, b = replace(a, cell=second.cell), replace(b, cell=first.cell)
        elif change == "place":
            a = replace(a, cell=draws.below(9))
        else:
            values = tuple(_VALUES[change])
            other: dict[str, Any] = {change: values[draws.below(len(values))]}
            a = replace(a, **other)
        things = (a, b, *rest)
        looks = {(thing.colour, thing.shape) for thing in things}
        cells = {thing.cell for thing in things}
        changed = {(t.colour, t.shape, t.size, t.texture, t.cell) for t in things} != {
            (t.colour, t.shape, t.size, t.texture, t.cell) for t in scene.things
        }
        # colours swapped between two circles would only look like two circles that swapped places
        same_kind = change == "swap colours" and (
            first.shape == second.shape or first.colour == second.colour
        )
        if changed and not same_kind and len(looks) == len(cells) == len(things):
            return Scene(things, scene.background, change)


def scene_at(options: ScenesOptions, split: SplitName, row: int) -> Scene:
    """Return the scene of one row; in a hard pair the odd row is the twin of the even one."""
    pair = Draws(options.seed, split, "pair", row // 2)
    hard = pair.below(10_000) < round(options.hard_share * 10_000)
    if hard and row % 2:
        return twin(make_scene(Draws(options.seed, split, "scene", row - 1)), pair)
    return make_scene(Draws(options.seed, split, "scene", row))


@dataclass(frozen=True)
class SceneImages(Images):
    """Pictures of a split, drawn when asked for (about a tenth of a millisecond at 64 pixels)."""

    options: ScenesOptions
    split: SplitName
    rows: range

    def __len__(self) -> int:
        return len(self.rows)

    def array(self, row: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return pixels of one row, (size, size, 3) uint8."""
        number = self.rows[row]
        scene, size = scene_at(self.options, self.split, number), self.options.image_size
        things = [
            (t.shape, t.colour, t.size, t.texture, CENTRES[t.cell % 3] + t.shift[0], CENTRES[t.cell // 3] + t.shift[1])
            for t in scene.things
        ]  # fmt: skip
        grain = hashlib.shake_256(f"{self.options.seed}/{self.split}/grain/{number}".encode())
        return render(things, scene.background, size, grain.digest(size * size))

    def __getitem__(self, row: int) -> Image.Image:
        return Image.fromarray(self.array(row))

    def select(self, rows: Sequence[int]) -> SceneImages:
        picked = self.rows[: len(rows)]
        assert list(rows) == list(range(len(rows))), "scenes are cut at the end only"
        return replace(self, rows=picked)

    @cached_property
    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        for row in range(len(self)):
            digest.update(self.array(row).tobytes())
        return digest.digest()

    def identity(self) -> bytes:
        return self._digest


def scenes_split(options: ScenesOptions, split: SplitName, captions_per_image: int = 5) -> Split:
    """Return one split of `scenes`, captions written, pictures not drawn yet."""
    count = options.counts()[split]
    scenes = [scene_at(options, split, row) for row in range(count)]
    texts = [
        captions(scene.things, scene.background, Draws(options.seed, split, "text", row))[:captions_per_image]
        for row, scene in enumerate(scenes)
    ]
    image_ids = [f"{split}-{row:05d}" for row in range(count)]
    ids = [[f"{image}-{k}" for k in range(len(text))] for image, text in zip(image_ids, texts, strict=True)]
    flat, caption_ids, caption_image = flatten_captions(image_ids, texts, ids)
    filenames = [f"scenes_{image}.png" for image in image_ids]
    images = SceneImages(options, split, range(count))
    return Split(split, image_ids, filenames, flat, caption_ids, caption_image, images)
