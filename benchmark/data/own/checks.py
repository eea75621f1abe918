"""Checks that an own dataset is what was imported, and that its splits do not leak into each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from benchmark.data.cards import Card, Located
from benchmark.data.own.index import read_index
from benchmark.data.own.items import Item, named
from benchmark.data.published.captions import plain
from benchmark.data.published.verification import Check
from benchmark.data.splits import Split, SplitName

AGAIN = "import again (`rematch data import --force`) where the change is meant"
LEAK = "a model would be trained on what it is tested on: leave one of the two out, or let the import draw the splits"


def check_own(own: Located, splits: Mapping[SplitName, Split]) -> list[Check]:
    """Return the checks of loaded splits, those of one split together; pictures are compared with the import's.

    splits: as they are loaded, before images are left out.
    """
    items = read_index(own)
    words = {name: [_words(item) for item in items[name]] for name in splits}
    checks = []
    for name, split in splits.items():
        checks += [*_counts(own.card, name, split), _pictures(name, split, items[name])]
        checks += [_repeats(name, items[name]), _empty(name, split)]
        for one, other in combinations(splits, 2):
            if one == name:
                checks += [_shared_pictures(one, other, items), _shared_captions(one, other, items, words)]
    return checks


def _counts(card: Card, name: SplitName, split: Split) -> list[Check]:
    told = card.counts[name]
    count, expected = len(split), told.images
    hint = "" if count == expected else AGAIN
    images = Check(
        name, "images", f"{expected:,}", f"{count:,}", "ok" if count == expected else "differs", hint
    )
    each = [len(rows) for rows in split.rows_of_images()]
    span = f"{min(each)}" if min(each) == max(each) else f"{min(each)} to {max(each)}"
    found = f"{span} an image, {sum(each):,} in all"
    return [images, Check(name, "captions", "one an image at least", found, "ok")]


def _pictures(name: SplitName, split: Split, items: Sequence[Item]) -> Check:
    """Compare the sha256 of the pictures with those of the import."""
    what, expected = "pictures", "the same files as when they were imported"
    digests = split.images.digests()
    if digests is None:
        return Check(name, what, expected, "there are none: these are features", "ok")
    pairs = zip(items, digests, strict=True)
    other = [item.file for item, digest in pairs if digest.hex() != item.digest]
    if not other:
        return Check(name, what, expected, "the same", "ok")
    return Check(name, what, expected, f"{len(other):,} others ({named(other)})", "differs", AGAIN)


def _repeats(name: SplitName, items: Sequence[Item]) -> Check:
    """Note pictures that are in a split twice, as every collection has some."""
    counts = Counter(item.digest for item in items if item.digest)
    twice = [item.file for item in items if counts[item.digest] > 1]
    found = f"{len(twice):,} images have a picture that another has ({named(twice)})" if twice else "none"
    return Check(name, "repeated pictures", "none", found, "noted" if twice else "ok", recorded=bool(twice))


def _empty(name: SplitName, split: Split) -> Check:
    empty = [row for row, text in enumerate(split.captions) if not plain(text) and not text.strip()]
    found = f"{len(empty):,}" if empty else "none"
    return Check(name, "empty captions", "none", found, "differs" if empty else "ok", AGAIN if empty else "")


def _shared_pictures(one: SplitName, other: SplitName, items: Mapping[SplitName, Sequence[Item]]) -> Check:
    """Look for a picture that is in two splits, whatever it is called."""
    theirs = {item.digest for item in items[other] if item.digest}
    shared = [item.file for item in items[one] if item.digest in theirs]
    found = f"{len(shared):,} ({named(shared)})" if shared else "none"
    verdict, hint = ("differs", LEAK) if shared else ("ok", "")
    return Check(one, f"pictures shared with '{other}'", "none", found, verdict, hint)  # type: ignore[arg-type]


def _shared_captions(
    one: SplitName,
    other: SplitName,
    items: Mapping[SplitName, Sequence[Item]],
    words: Mapping[SplitName, Sequence[tuple[str, ...]]],
) -> Check:
    """Note images all of whose captions an image of another split has too: the same image, or few words."""
    theirs = {*words[other]}
    shared = [item.file for item, own in zip(items[one], words[one], strict=True) if own in theirs]
    found = f"{len(shared):,} images ({named(shared)})" if shared else "none"
    what = f"captions shared with '{other}'"
    return Check(one, what, "none", found, "noted" if shared else "ok", recorded=bool(shared))


def _words(item: Item) -> tuple[str, ...]:
    """The letters and digits of an image's captions, in any order; those without any as they are written."""
    return tuple(sorted(plain(text) or text.strip() for text in item.captions))
