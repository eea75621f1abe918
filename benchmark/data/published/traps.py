"""Data often taken for the published splits: their nature, and the data to take instead (data.md 1.1, 1.2, 1.4).

Recognised by their counts, and by how their images spread over Karpathy's lists.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.data.splits import SplitName

TAKE = "leave out --data-dir to take the Hub's copy, or give a folder in which Karpathy's split is marked"
"""The advice that helps against nearly everything."""

ENTITIES = (
    "the Flickr30K Entities partition (29,783 / 1,000 / 1,000 images), not Karpathy's (29,000 / 1,014 / 1,000): "
    "25 of its test images are Karpathy test images, and it trains on 944 of them"
)
CORPUS = (
    "the whole corpus under one name, as in nlphuji/flickr30k: which split a row is of must be kept with it"
)
NO_SPLIT = "all 31,783 images of Flickr30K, as in lmms-lab/flickr30k, which knows no Karpathy split"
FLICKR8K = "Flickr8K, which is a dataset of its own here: `flickr8k`"
COCO_2017 = "the 2017 partition of MSCOCO, which trains on at least half of Karpathy's val and test images"
COCO_CORPUS = "all of train2014 and val2014, Karpathy's val and test images included"
VAL2014 = "all of val2014, of which Karpathy's val and test are 5,000 images each"
UNIQUE = "bitmind/MS-COCO-unique, whose counts (113,293 / 5,004 / 5,006) exceed the published ones"
CAPTION_ROWS = (
    "a table with one row a caption, not one an image, as in bitmind/MS-COCO and jxie/coco_captions"
)
FOLD = "a fifth of the test split, where the 1K protocol is the mean over all five"
DISTINCT = "captions without repeats, as in M-BEIR and MIEB, not the 25,000 of the papers"
ALL_CAPTIONS = "all captions, of which the papers take the first five of each image"


@dataclass(frozen=True)
class Trap:
    """Images or captions of a split that give such data away."""

    what: str
    images: Mapping[SplitName, int] = field(default_factory=dict)
    captions: Mapping[SplitName, int] = field(default_factory=dict)


def _anywhere(count: int) -> dict[SplitName, int]:
    return {"train": count, "val": count, "test": count}


TRAPS: dict[str, tuple[Trap, ...]] = {
    "flickr30k": (
        Trap(ENTITIES, {"train": 29_783}),
        Trap(CORPUS, _anywhere(31_014)),
        Trap(NO_SPLIT, _anywhere(31_783)),
        Trap(FLICKR8K, {"train": 6_000}),
    ),
    "mscoco": (
        Trap(COCO_2017, {"train": 118_287}),
        Trap(COCO_CORPUS, _anywhere(123_287)),
        Trap(VAL2014, _anywhere(40_504)),
        Trap(UNIQUE, {"train": 113_293, "val": 5_004, "test": 5_006}),
        Trap(CAPTION_ROWS, {"train": 566_747, "val": 25_010, "test": 25_010}),
        Trap(CAPTION_ROWS, {"train": 566_435, "val": 25_000, "test": 25_000}),
        Trap(FOLD, {"test": 1_000}),
        Trap(DISTINCT, captions={"test": 24_809}),
        Trap(ALL_CAPTIONS, captions={"train": 566_747, "val": 25_010, "test": 25_010}),
    ),
}
"""Traps by dataset. The Entities partition and Flickr8K have 1,000 images in val and test: only ids give those away."""


def known_count(dataset: str, split: SplitName, *, images: int = -1, captions: int = -1) -> str:
    """Name the data with so many images or captions; "" where no trap has that count."""
    for trap in TRAPS.get(dataset, ()):
        if trap.images.get(split) == images or trap.captions.get(split) == captions:
            return trap.what
    return ""


def known_spread(
    dataset: str, split: SplitName, ids: Collection[str], lists: Mapping[SplitName, Sequence[str]]
) -> str:
    """Name the data whose images spread over the published splits (`lists`) like this; "" where nothing fits."""
    own = set(ids)
    shared = {name: len(own.intersection(items)) for name, items in lists.items()}
    for name, items in lists.items():
        if name != split and shared[name] == len(own) == len(items):
            return f"the published '{name}' images under the name '{split}'"
    whole = lists.keys() >= {"train", "val", "test"}
    if whole and not any(shared.values()):
        return "another dataset: none of its images is in a published split"
    if whole and dataset == "flickr30k" and _like_entities(split, len(own), shared):
        return f"{ENTITIES}; {_spread(shared)}"
    if dataset == "mscoco" and split != "train" and len(own) == 5_000 and 0 < shared.get(split, 0) < 1_250:
        return f"another partition, perhaps that of 2017, whose val has 5,000 images too; {_spread(shared)}"
    if any(count for name, count in shared.items() if name != split):
        return f"a partition other than Karpathy's; {_spread(shared)}"
    return ""


def _like_entities(split: SplitName, count: int, shared: Mapping[SplitName, int]) -> bool:
    """Training: most of Karpathy's test images are in it. Else: few of its own, but nearly all from the corpus."""
    if split == "train":
        return shared["test"] > 800
    return 900 <= count <= 1_100 and shared[split] < 0.1 * count and sum(shared.values()) > 0.9 * count


def _spread(shared: Mapping[SplitName, int]) -> str:
    """`found here of Karpathy's images: 975 of 'train', 25 of 'test'`."""
    counted = [f"{count:,} of '{name}'" for name, count in shared.items() if count]
    return f"found here of Karpathy's images: {', '.join(counted) or 'none'}"
