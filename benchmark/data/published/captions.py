"""Checks that a split's captions are the published ones, whatever their packaging (data.md 1.7).

Packagings of the same captions differ in blanks, quotes, punctuation, case and HTML's way of writing signs. What none
of them changes is compared: the letters and digits of each caption, in order. Where the sha256 is another, counts
tell a packaging with a few other words from other texts, and the words say what those are.
"""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Literal

from benchmark.files import sha256_bytes

Verdict = Literal["ok", "noted", "cannot be checked", "differs"]

TOLERANCE = 0.001
"""Share by which each count of another packaging may differ."""

TOGETHER = 1.25
"""The factor by which the words shared within an image must outweigh the words shared between two images."""

ENGLISH = frozenset(["a", "an", "and", "at", "in", "is", "of", "on", "the", "to", "with"])
ENGLISH_SHARE = 0.15
"""Share of these words in English captions at least; about a third is usual (an estimate, not measured)."""

_OTHER = re.compile("[^a-z0-9]+")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class CaptionFacts:
    """The facts about a split's captions that are the same in every packaging."""

    sha256: str
    """The sha256 of the plain captions in order, a newline after each."""
    captions: int
    distinct: int
    characters: int
    """The number of characters of all plain captions."""

    def counts(self) -> dict[str, int]:
        return {"captions": self.captions, "distinct": self.distinct, "characters": self.characters}

    def describe(self) -> str:
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts().items())
        return f"{counts} (sha256 {self.sha256[:8]})"


@dataclass(frozen=True)
class Judgement:
    """The comparison of captions with the published ones."""

    verdict: Verdict
    found: str
    hint: str = ""
    """The difference; empty where the captions are accepted."""


def plain(caption: str) -> str:
    """Return the caption's letters and digits, in lower case."""
    return _OTHER.sub("", html.unescape(caption).lower())


def caption_facts(captions: Iterable[str]) -> CaptionFacts:
    """Hash and counts of captions as they are written."""
    return _facts([plain(caption) for caption in captions])


def _facts(texts: Sequence[str]) -> CaptionFacts:
    digest = sha256_bytes("".join(f"{text}\n" for text in texts).encode())
    return CaptionFacts(digest, len(texts), len(set(texts)), sum(map(len, texts)))


def describe_packaging(captions: Sequence[str]) -> str:
    """Describe how captions are written, which tells one packaging from another, for the run record."""
    signs = [f"{sum(map(len, captions)):,} characters as written"]
    if any(caption != caption.lower() for caption in captions):
        signs.append("capital letters")
    if any(re.search(r"\S [.,]", caption) for caption in captions):
        signs.append("blanks before punctuation")
    if not any(re.search(r"[.,!?\"']", caption) for caption in captions):
        signs.append("no punctuation")
    if any(html.unescape(caption) != caption for caption in captions):
        signs.append("signs written as in HTML")
    return ", ".join(signs)


# ---------------------------------------------------------------------------------------- judging


def judge(
    images: Sequence[Sequence[str]],
    expected: CaptionFacts,
    others: Mapping[str, CaptionFacts],
    caption_ids: Sequence[Sequence[str]] = (),
) -> Judgement:
    """Compare the captions of all images, in published order, with the facts known of them.

    others: captions that may pass for them, by what they are. caption_ids: of each image, for the order within it.
    """
    captions = [caption for five in images for caption in five]
    texts = [[plain(caption) for caption in five] for five in images]
    found = _facts([text for five in texts for text in five])
    if found.sha256 == expected.sha256:
        return Judgement("ok", f"the same words; {describe_packaging(captions)}")
    named = next((what for what, facts in others.items() if facts.sha256 == found.sha256), "")
    if named:
        return Judgement("differs", found.describe(), f"another split: these are the captions of {named}")
    far = _first_far(found, expected)
    if far:
        return Judgement("differs", found.describe(), _what_differs(captions, found, others, far))
    if not belong_together(images):
        return Judgement("differs", found.describe(), f"shuffled: {_SHUFFLED}")
    if found.counts() == expected.counts():
        return _in_another_order(texts, expected.sha256, caption_ids, describe_packaging(captions))
    said = f"another packaging, not word for word: {found.describe()}; {describe_packaging(captions)}"
    return Judgement("noted", said)


_SHUFFLED = "captions of one image have hardly more words in common than those of different images"


def _in_another_order(
    texts: Sequence[Sequence[str]], sha256: str, caption_ids: Sequence[Sequence[str]], packaging: str
) -> Judgement:
    """Return captions whose counts are all the published ones: moved within their images, if that can be shown."""
    lines = tuple(tuple(f"{text}\n".encode() for text in five) for five in texts)
    if _has_order(lines, sha256, tuple(map(tuple, caption_ids))):
        return Judgement("noted", f"the same words, in another order within the images; {packaging}")
    said = (
        "the published counts with another hash: another order, or other words; whether captions stand with the wrong "
        "image cannot be told from them"
    )
    return Judgement("cannot be checked", f"{said}; {packaging}")


@lru_cache(maxsize=4)  # the runs of one command read the same captions, and 121 hashes of them take seconds
def _has_order(
    lines: tuple[tuple[bytes, ...], ...], sha256: str, caption_ids: tuple[tuple[str, ...], ...]
) -> bool:
    """Return whether one of `_orders_within` gives the captions, each with its newline, this hash."""
    return any(
        sha256_bytes(b"".join([five[k] for five, places in zip(lines, order, strict=True) for k in places]))
        == sha256
        for order in _orders_within(lines, caption_ids)
    )


def _orders_within(
    images: Sequence[Sequence[object]], caption_ids: Sequence[Sequence[str]]
) -> Iterable[list[Sequence[int]]]:
    """Orders that a packaging may have changed: that of the caption ids, and one and the same for all images."""
    if caption_ids and all(item.isdecimal() for five in caption_ids for item in five):
        yield [sorted(range(len(five)), key=lambda k, ids=five: int(ids[k])) for five in caption_ids]  # type: ignore[misc]
    sizes = {len(five) for five in images}
    if len(sizes) == 1 and max(sizes) <= 5:
        for order in permutations(range(max(sizes))):
            yield [order] * len(images)


def _first_far(found: CaptionFacts, expected: CaptionFacts) -> str:
    """Return the first count that is further off than a packaging makes it, in words; "" where none is."""
    for name, count in expected.counts().items():
        ours = found.counts()[name]
        if abs(ours - count) > TOLERANCE * count:
            return f"{name} {ours:,} in place of {count:,}"
    return ""


def _what_differs(
    captions: Sequence[str], found: CaptionFacts, others: Mapping[str, CaptionFacts], far: str
) -> str:
    """Say which texts with other counts these are, as far as that can be told, and the first count that is off."""
    split = next((what for what, facts in others.items() if not _first_far(found, facts)), "")
    if split:
        return f"another split: the counts are those of the captions of {split} ({far})"
    words = [word for caption in captions for word in _WORD.findall(html.unescape(caption).lower())]
    english = sum(word in ENGLISH for word in words) / max(1, len(words))
    if english < ENGLISH_SHARE:
        return (
            f"translated, or not in sentences: {english:.0%} of the words are English 'a', 'the', 'in' and the like, "
            f"expected about a third ({far})"
        )
    return f"rewritten, or of other images: {far}"


# ------------------------------------------------------------------------------ captions of an image


def belong_together(images: Sequence[Sequence[str]]) -> bool:
    """Return True if captions of one image share more words than those of two images; rare words weigh more.

    True where there are too few to tell.
    """
    sets = [[set(_WORD.findall(html.unescape(text).lower())) for text in five] for five in images]
    sets = [five for five in sets if len(five) > 1]
    if len(sets) < 2:
        return True
    counts = Counter(word for five in sets for words in five for word in words)
    total = sum(map(len, sets))
    weights = {word: math.log(total / count) for word, count in counts.items()}
    apart = [sets[(row + len(sets) // 2) % len(sets)] for row in range(len(sets))]
    within = sum(_shared(five[0], five[k], weights) for five in sets for k in range(1, len(five)))
    across = sum(
        _shared(five[0], other[k], weights)
        for five, other in zip(sets, apart, strict=True)
        for k in range(1, min(len(five), len(other)))
    )
    return within > TOGETHER * across


def _shared(one: set[str], other: set[str], weights: Mapping[str, float]) -> float:
    return sum(weights[word] for word in one & other)
