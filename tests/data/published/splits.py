"""Splits as large as the published ones, made from Karpathy's lists with made-up captions and no pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from html import unescape
from itertools import chain
from string import ascii_lowercase, digits

from PIL import Image

from benchmark.data.published.captions import CaptionFacts
from benchmark.data.published.catalogue import Entry, get_entry
from benchmark.data.published.karpathy import flickr30k_names, mscoco_ids, mscoco_test_captions
from benchmark.data.published.verification import Check, check_dataset
from benchmark.data.splits import Images, Split, SplitName, flatten_captions

NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": flickr30k_names("train"),
    "val": flickr30k_names("val"),
    "test": flickr30k_names("test"),
}
LETTERS = ascii_lowercase + digits
COCO_TEST = [str(item) for item in mscoco_ids("test")]


class NoPictures(Images):
    """Verification looks at no picture."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, row: int, /) -> Image.Image:
        raise AssertionError

    def select(self, rows: Sequence[int]) -> NoPictures:
        assert all(row >= 0 for row in rows)
        return self

    def identity(self) -> bytes:
        return b""


def texts_of(item: str, count: int = 5) -> list[str]:
    return [f"caption {k} of {item} ." for k in range(count)]


def make_split(
    name: SplitName,
    ids: Iterable[str],
    *,
    filenames: Sequence[str] | None = None,
    texts: Sequence[Sequence[str]] | None = None,
    caption_ids: Sequence[Sequence[str]] | None = None,
) -> Split:
    """Images called by their ids; five captions each unless others are given."""
    ids = list(ids)
    texts = texts or [texts_of(item) for item in ids]
    caption_ids = caption_ids or [
        [f"{item}#{k}" for k in range(len(five))] for item, five in zip(ids, texts, strict=True)
    ]
    flat, flat_ids, rows = flatten_captions(ids, texts, caption_ids)
    return Split(name, ids, list(filenames or ids), flat, flat_ids, rows, NoPictures())


def naive_facts(texts: Iterable[str]) -> CaptionFacts:
    """Hash and counts in the way of data.md 1.7, letter by letter."""
    kept = []
    for text in texts:
        kept.append("".join(letter for letter in unescape(text).lower() if letter in LETTERS))
    digest, characters = sha256(), 0
    for text in kept:
        digest.update(text.encode() + b"\n")
        characters += len(text)
    return CaptionFacts(digest.hexdigest(), len(kept), len(set(kept)), characters)


def made_up(name: str, lists: Mapping[SplitName, Sequence[str]]) -> Entry:
    """A dataset of the catalog, but for its captions: those here are `texts_of` the images of each list."""
    entry, facts = get_entry(name), dict(get_entry(name).facts)
    for split, ids in lists.items():
        captions = naive_facts(chain.from_iterable(texts_of(item) for item in ids))
        facts[split] = replace(facts[split], captions=captions)
    return replace(entry, facts=facts)


@cache
def flickr() -> Entry:
    """The catalog's Flickr30K with made-up captions."""
    return made_up("flickr30k", NAMES)


@cache
def coco() -> Entry:
    """The catalog's MSCOCO with made-up captions of the test split."""
    return made_up("mscoco", {"test": COCO_TEST})


def flickr_split(name: SplitName, ids: Sequence[str] | None = None) -> Split:
    return make_split(name, NAMES[name] if ids is None else ids)


def coco_test(order: Sequence[int] | None = None) -> Split:
    rows = range(5_000) if order is None else order
    five = mscoco_test_captions()
    return make_split(
        "test", [COCO_TEST[row] for row in rows], caption_ids=[[str(i) for i in five[row]] for row in rows]
    )


def coco_train(count: int, *, leaked: Sequence[str] = ()) -> Split:
    """Made-up cocoids that no list holds; the first ones give way to `leaked`."""
    taken = {*mscoco_ids("val"), *mscoco_ids("test")}
    free = (str(number) for number in range(1, 600_000) if number not in taken)
    return make_split("train", [*leaked, *(next(free) for _ in range(count - len(leaked)))])


def verify(entry: Entry, *splits: Split, restval: bool = False, captions: int = 5) -> list[Check]:
    return check_dataset(entry, {split.name: split for split in splits}, {"restval": restval}, captions)


def failed(checks: Iterable[Check]) -> dict[tuple[str, str], Check]:
    return {(check.split, check.what): check for check in checks if check.differs}


def only_fault(checks: Iterable[Check]) -> Check:
    (fault,) = failed(checks).values()
    return fault


def range_ids(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def entities_like() -> tuple[Split, Split]:
    """29,783 and 1,000 images that share with Karpathy's what the Entities partition shares (data.md 1.4)."""
    train, val, test = NAMES["train"], NAMES["val"], NAMES["test"]
    outside = [
        f"{number}.jpg" for number in range(769)
    ]  # the corpus has 769 images more than Karpathy's file
    trained_on = [*train[:27_181], *test[:944], *val[:900], *outside[:758]]
    tested_on = [*test[-25:], *train[-970:], *outside[-5:]]
    return flickr_split("train", sorted(trained_on)), flickr_split("test", sorted(tested_on))
