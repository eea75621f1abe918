"""Captions beside the published ones: packagings of the same words pass, and other texts are told apart.

The captions are generated; their hashes are made in the way of data.md 1.7, by other code than the product's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import pytest

from benchmark.data.published.captions import (
    CaptionFacts,
    belong_together,
    caption_facts,
    describe_packaging,
    judge,
)
from benchmark.data.published.catalogue import CATALOG
from tests.data.published.splits import naive_facts
from tests.paths import ROOT

WHO = re.findall(
    r"\w+", "man woman boy girl dog cat horse child skier rider cook singer worker player crowd couple"
)
WHERE = re.findall(
    r"\w+", "street park beach kitchen field river snow stage roof market bus pool court garden road wall"
)
DOING = re.findall(
    r"\w+", "runs sits jumps waits sleeps sings cooks plays climbs rides smiles reads eats paints works looks"
)

Images = list[list[str]]


def generate(images: int, seed: int) -> Images:
    """Five English captions an image, about what is in it, with signs that packagings write in other ways."""
    draw = random.Random(seed)
    found = []
    for number in range(images):
        who, where, doing = draw.choice(WHO), draw.choice(WHERE), draw.choice(DOING)
        found.append(
            [
                f"A {who} {doing} in the {where}, near house {number + 7}.",
                f'The {who} by the {where} wears a shirt with "No. {number + 7}" on it.',
                f"A {who} and a friend at the {where}: one of them {doing}!",
                f"Rock & roll: a {who} {doing} on the {where}.",
                f"It is a {who}'s day out in the {where}; someone {doing} with a hat.",
            ]
        )
    return found


GENUINE = generate(200, seed=1)
OTHER = generate(200, seed=2)
FACTS = naive_facts(chain(*GENUINE))
OTHERS = {"'val'": naive_facts(chain(*OTHER))}


def changed(images: Images, change: Callable[[str], str]) -> Images:
    return [[change(caption) for caption in five] for five in images]


def tokenised(caption: str) -> str:
    return re.sub(r"([.,:;!&\"])", r" \1 ", caption).strip().lower()


def as_html(caption: str) -> str:
    return caption.replace("&", "&amp;").replace('"', "&quot;").replace("'", "&#39;")


def bare(caption: str) -> str:
    return re.sub(r"[^A-Za-z0-9 ]", "", caption).upper()


# ----------------------------------------------------------------------------------- what passes


@pytest.mark.parametrize("packaging", [str, tokenised, as_html, bare])
def test_a_packaging_changes_nothing(packaging: Callable[[str], str]) -> None:
    found = judge(changed(GENUINE, packaging), FACTS, OTHERS)
    assert (found.verdict, found.hint) == ("ok", "")
    assert caption_facts(chain(*changed(GENUINE, packaging))) == FACTS


def test_the_packaging_is_told() -> None:
    ways: list[Callable[[str], str]] = [str, tokenised, as_html, bare]
    told = [describe_packaging(list(chain(*changed(GENUINE, way)))) for way in ways]
    assert len(set(told)) == 4
    assert "blanks before punctuation" in told[1]
    assert "blanks before punctuation" not in told[0]
    assert "capital letters" not in told[1]
    assert "signs written as in HTML" in told[2]
    assert "no punctuation" in told[3]
    assert told[0].startswith(f"{sum(map(len, chain(*GENUINE))):,} characters as written, capital letters")


def test_a_word_or_two_more_is_another_packaging() -> None:
    images = [list(five) for five in GENUINE]
    images[7][2] = images[7][2].replace("friend", "mate")
    found = judge(images, FACTS, OTHERS)
    assert found.verdict == "noted"
    assert found.found.startswith("another packaging, not word for word: 1,000 captions, ")


def test_an_order_that_is_the_same_in_every_image_is_shown_to_be_one() -> None:
    found = judge([five[::-1] for five in GENUINE], FACTS, OTHERS)
    assert found.verdict == "noted"
    assert found.found.startswith("the same words, in another order within the images")


def test_an_order_of_each_image_is_shown_by_the_caption_ids() -> None:
    draw, images, ids = random.Random(0), [], []
    for number, five in enumerate(GENUINE):
        order = draw.sample(range(5), 5)
        images.append([five[k] for k in order])
        ids.append([str(5 * number + k) for k in order])
    assert judge(images, FACTS, OTHERS, ids).found.startswith("the same words, in another order within the")
    found = judge(images, FACTS, OTHERS)
    assert found.verdict == "cannot be checked"
    assert "whether captions stand with the wrong image cannot be told" in found.found


def test_two_captions_of_one_image_in_each_others_place_are_accepted() -> None:
    images = [list(five) for five in GENUINE]
    images[3][0], images[3][1] = images[3][1], images[3][0]
    assert judge(images, FACTS, OTHERS).verdict == "cannot be checked"


# ---------------------------------------------------------------------------------- what does not


def shuffled(images: Images) -> Images:
    flat = list(chain(*images))
    random.Random(5).shuffle(flat)
    return [flat[k : k + 5] for k in range(0, len(flat), 5)]


GERMAN = {
    "a": "ein",
    "the": "das",
    "in": "im",
    "on": "auf",
    "at": "bei",
    "and": "und",
    "with": "mit",
    "of": "von",
}


def translated(images: Images) -> Images:
    return changed(
        images, lambda text: " ".join(GERMAN.get(word.lower(), f"{word}en") for word in text.split())
    )


def rewritten(images: Images) -> Images:
    return changed(images, lambda text: f"In the picture, {text}")


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (shuffled(GENUINE), "shuffled: captions of one image have hardly more words in common"),
        (translated(GENUINE), "translated, or not in sentences: "),
        (rewritten(GENUINE), "rewritten, or of other images: characters "),
        (OTHER, "another split: these are the captions of 'val'"),
        (changed(OTHER, tokenised), "another split: these are the captions of 'val'"),
        (GENUINE[:100], "rewritten, or of other images: captions 500 in place of 1,000"),
    ],
    ids=["shuffled", "translated", "rewritten", "another split", "another split, tokenised", "half"],
)
def test_other_texts_are_refused_with_what_differs(images: Images, says: str) -> None:
    found = judge(images, FACTS, OTHERS)
    assert found.verdict == "differs"
    assert found.hint.startswith(says)


def test_another_split_shows_in_the_counts_too() -> None:
    images = [list(five) for five in OTHER]
    images[0][2] = images[0][2].replace("friend", "friemd")
    assert judge(images, FACTS, OTHERS).hint.startswith(
        "another split: the counts are those of the captions of 'val' ("
    )


def test_each_count_may_be_a_thousandth_off() -> None:
    for name, count in FACTS.counts().items():
        for share, verdict in (
            (0.0009, "noted"),
            (-0.0009, "noted"),
            (0.002, "differs"),
            (-0.002, "differs"),
        ):
            expected = replace(FACTS, sha256="0" * 64, **{name: count + int(share * count)})
            judged = judge(GENUINE, expected, {})
            if expected.counts() != FACTS.counts():
                assert judged.verdict == verdict, (name, share)


def test_whether_captions_belong_together() -> None:
    assert belong_together(GENUINE)
    assert not belong_together(shuffled(GENUINE))
    assert belong_together([["a dog"]])  # one cannot tell


# --------------------------------------------------------------------------------- the published


def rows_of_the_table() -> dict[str, CaptionFacts]:
    """The table of data.md 1.7."""
    text = (ROOT / "docs/papers/data.md").read_text(encoding="utf-8")
    found = re.findall(r"\| ([\w ]+) \| ([0-9a-f]{64}) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", text)
    return {
        name: CaptionFacts(digest, *(int(count.replace(",", "")) for count in counts))
        for name, digest, *counts in found
    }


def test_the_catalog_has_the_hashes_of_its_source() -> None:
    table, flickr, coco = rows_of_the_table(), CATALOG["flickr30k"].facts, CATALOG["mscoco"]
    assert len(table) == 6
    held: Sequence[CaptionFacts | None] = [
        *(flickr[split].captions for split in ("test", "val", "train")),
        *coco.other_captions.values(),
        coco.facts["test"].captions,
    ]
    names = [
        "Flickr30K test",
        "Flickr30K dev",
        "Flickr30K train",
        "MSCOCO test",
        "MSCOCO dev",
        "MSCOCO testall",
    ]
    assert held == [table[name] for name in names]
    assert coco.facts["val"].captions is None  # Karpathy's 25,000 are not SCAN's 5,000
