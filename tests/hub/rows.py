"""Images with captions for the twin of the Hub: four coloured corners each, with the true names and ids of Karpathy's
splits, so that what checks the published datasets can be run on them.

`flickr30k_rows()`, `mscoco_rows()` and `flickr8k_rows()` make a dozen; with other counts, any number up to all.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count

from PIL import Image

from benchmark.data.published.captions import CaptionFacts, plain
from benchmark.data.published.catalogue import get_entry
from benchmark.data.published.karpathy import flickr30k_names, mscoco_ids, mscoco_test_captions
from benchmark.data.splits import SplitName

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (40, 60, 220),
    "yellow": (240, 220, 40),
    "purple": (140, 40, 160),
    "orange": (250, 140, 20),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
}

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")

TINY = {"train": 6, "val": 3, "test": 3}
TINY_COCO = {"train": 4, "restval": 2, "val": 3, "test": 3}
WHOLE = {"train": 29_000, "val": 1_014, "test": 1_000}
WHOLE_COCO = {"train": 82_783, "restval": 30_504, "val": 5_000, "test": 5_000}

SIX = {"train": 198, "restval": 114, "val": 10, "test": 10}
"""MSCOCO images with a sixth caption in each part: 566,747, 25,010 and 25,010 captions in all (data.md 2.1)."""

INVENTED = 1_000_000
"""Caption ids from here on belong to no true caption."""


@dataclass(frozen=True, slots=True)
class Row:
    """An image as Karpathy's files describe it."""

    filename: str
    image: bytes
    captions: list[str]
    sentids: list[int]
    imgid: int
    split: str
    """train, restval, val or test."""
    cocoid: int = 0
    filepath: str = ""


# -------------------------------------------------------------------------------------- pictures


def colours_of(number: int) -> tuple[str, str, str, str]:
    """Colours of the corners of image `number`: top left, top right, bottom left, bottom right."""
    return _corners(number * 1657 % 4096)  # neighbours look different, and 4,096 images in a row all do


@cache
def _corners(mixed: int) -> tuple[str, str, str, str]:
    names = list(COLOURS)
    first, second, third, fourth = (names[mixed >> shift & 7] for shift in (0, 3, 6, 9))
    return first, second, third, fourth


@cache
def _picture(colours: tuple[str, str, str, str], width: int, height: int, mode: str) -> bytes:
    small = Image.new("RGB", (2, 2))
    small.putdata([COLOURS[colour] for colour in colours])
    picture = small.resize((width, height), Image.Resampling.NEAREST).convert(mode)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=75, optimize=True, **({} if mode == "L" else {"subsampling": 0}))
    return stream.getvalue()


def picture(number: int, width: int = 48, height: int = 32, mode: str = "RGB") -> bytes:
    """JPEG of image `number`; `mode` RGB, L (grayscale) or CMYK."""
    return _picture(colours_of(number), width, height, mode)


def captions_of(number: int, how_many: int = 5) -> list[str]:
    """What the picture shows, in up to six ways, each at most 46 characters."""
    a, b, c, d = colours_of(number)
    return [
        f"{a} and {b} above {c} and {d}",
        f"{c} and {d} below {a} and {b}",
        f"{a} over {c} left of {b} over {d}",
        f"{b} over {d} right of {a} over {c}",
        f"corners of {a}, {b}, {c} and {d}",
        f"{d} is opposite to {a}",
    ][:how_many]


# ------------------------------------------------------------------------------------- Flickr30K


def flickr30k_rows(counts: Mapping[str, int] = TINY) -> list[Row]:
    """The first images of each Karpathy split, in the order of their names; a few are odd (`_oddity`)."""
    names = sorted(name for split in SPLITS for name in flickr30k_names(split))
    imgids = {name: number for number, name in enumerate(names)}
    rows = []
    for split in SPLITS:
        for place, name in enumerate(flickr30k_names(split)[: counts[split]]):
            number = imgids[name]
            captions = _odd_captions(place, captions_of(number), counts)
            sentids = list(range(5 * number, 5 * number + 5))
            rows.append(Row(name, _image(place, number, counts), captions, sentids, number, split))
    if not _is_tiny(counts):
        for split in SPLITS:
            facts = get_entry("flickr30k").facts[split].captions
            assert facts is not None
            _give_published_counts([row for row in rows if row.split == split], facts)
    return rows


def flickr8k_rows(counts: Mapping[str, int] = TINY) -> list[Row]:
    """Images with invented names, five captions each."""
    rows: list[Row] = []
    for split in SPLITS:
        for place in range(counts[split]):
            number = len(rows)
            captions = _odd_captions(place, captions_of(number), counts)
            sentids = list(range(5 * number, 5 * number + 5))
            name = f"{90_000 + number}_8k.jpg"
            rows.append(Row(name, _image(place, number, counts), captions, sentids, number, split))
    return rows


def _is_tiny(counts: Mapping[str, int]) -> bool:
    return sum(counts.values()) < 1_000


def _image(place: int, number: int, counts: Mapping[str, int]) -> bytes:
    """The second picture of a tiny split is grayscale, the third CMYK; those of whole datasets have 16x16 pixels."""
    if _is_tiny(counts):
        return picture(number, mode={1: "L", 2: "CMYK"}.get(place, "RGB"))
    return picture(number, 16, 16)


def _odd_captions(place: int, captions: list[str], counts: Mapping[str, int]) -> list[str]:
    """Of a tiny split: trailing blanks, a line end within, and the last of the first image again with the second."""
    if _is_tiny(counts) and place == 0:
        captions[1] += "  \n"
        captions[2] = captions[2].replace(" left", "\nleft")
    if _is_tiny(counts) and place < 2:
        captions[4] = "some colours"
    return captions


def _give_published_counts(rows: list[Row], facts: CaptionFacts) -> None:
    """The first five captions of each image get as many letters and digits as the published ones have (data.md 1.7).

    Each begins with what the picture shows, as much of it as there is room for, and ends with a number of its own, but
    for as many as the published ones have repeats. Parts of a split are left as they are.
    """
    places = [(row, index) for row in rows for index in range(5)]
    if len(places) != facts.captions:
        return
    width, longer = divmod(facts.characters, facts.captions)
    repeats = facts.captions - facts.distinct
    for place, (row, index) in enumerate(places):
        room = width + (place < longer) - 7
        words = row.captions[index].split()
        while len(plain("".join(words))) > room:
            words.pop()
        digits = room + 7 - len(plain("".join(words)))
        row.captions[index] = f"{' '.join(words)} {place:0{digits}d}"
    for place in range(0, 10 * repeats, 10):  # of neighbours within an image, and as long
        (row, index), (other, other_index) = places[place], places[place + 1]
        row.captions[index] = other.captions[other_index]


# ---------------------------------------------------------------------------------------- MSCOCO


def mscoco_rows(counts: Mapping[str, int] = TINY_COCO) -> list[Row]:
    """The first images of each part, stored in no order; ascending `imgid` is Karpathy's order of the test split.

    Ids of val and test images and of the first five captions of test images are true, others are invented. As in
    the published files, the pictures of restval, val and test are mixed in val2014 and stand before train2014.
    """
    dice = random.Random(0)
    parts = [part for part in ("test", "val", "restval") for _ in range(counts[part])]
    dice.shuffle(parts)
    first = parts.index("test")  # as in Karpathy's file
    parts[0], parts[first] = parts[first], parts[0]
    parts += ["train"] * counts["train"]
    places = {part: count() for part in counts}
    cocoids, sentids = _cocoids(counts), count(INVENTED)
    rows = [
        _coco_row(imgid, part, next(places[part]), cocoids[part], sentids, counts)
        for imgid, part in enumerate(parts)
    ]
    facts = get_entry("mscoco").facts["test"].captions
    if not _is_tiny(counts) and facts is not None:
        test = [row for row in rows if row.split == "test"]
        _give_published_counts(test, facts)
    dice.shuffle(rows)
    return rows


def _cocoids(counts: Mapping[str, int]) -> dict[str, list[int]]:
    val, test = mscoco_ids("val"), mscoco_ids("test")
    held = {*val, *test}
    free = [number for number in range(9, 581_930, 5) if number not in held]
    return {
        "val": list(val[: counts["val"]]),
        "test": list(test[: counts["test"]]),
        "restval": free[: counts["restval"]],
        "train": free[counts["restval"] : counts["restval"] + counts["train"]],
    }


def _coco_row(
    imgid: int, part: str, place: int, cocoids: list[int], sentids: Iterator[int], counts: Mapping[str, int]
) -> Row:
    cocoid = cocoids[place]
    six = place < (1 if _is_tiny(counts) else SIX[part])
    captions = _odd_captions(place, captions_of(cocoid, 6 if six else 5), counts)
    if not _is_tiny(counts) and place % 100 == 0:
        captions[place // 100 % 5] += " \n"
    true = mscoco_test_captions()[place] if part == "test" else ()
    numbers = [*true, *(next(sentids) for _ in captions[len(true) :])]
    folder = "train2014" if part == "train" else "val2014"
    name = f"COCO_{folder}_{cocoid:012d}.jpg"
    return Row(name, _image(place, cocoid, counts), captions, numbers, imgid, part, cocoid, folder)
