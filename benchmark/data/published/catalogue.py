"""The datasets this suite knows: the content of each published split, its sources, and its terms.

Source of every number and hash: data.md sections 1.1, 1.2, 1.5, 1.6, 1.7 and 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import field_validator

from benchmark.data.cards import Located, card_names, find_card
from benchmark.data.published import sources
from benchmark.data.published.captions import CaptionFacts
from benchmark.data.published.sources import Source
from benchmark.data.scenes.captions import vocabulary as scenes_pieces
from benchmark.data.scenes.captions import words as scenes_words
from benchmark.data.scenes.dataset import VERSION, ScenesOptions, scenes_split
from benchmark.data.splits import DatasetOptions, OwnVocabulary, Split, SplitName
from benchmark.errors import UserError, nearest
from benchmark.inputs import ListedSplit
from benchmark.registry import declared_split
from benchmark.strict import LATER, Grown

KARPATHY = "karpathy"
"""The value of `data.options.split` that stands for the published splits."""


class FlickrOptions(DatasetOptions, Grown):
    """Options of `flickr30k`."""

    split: Annotated[str, LATER] = KARPATHY
    """`karpathy`, or the name of a split of the whole corpus that a registered method declares (`ListedSplit`), which
    needs that split's two lists of file names (listed_splits.py)."""

    @field_validator("split")
    @classmethod
    def _declared(cls, name: str) -> str:
        """Refuse a name that no method declares."""
        if name != KARPATHY:
            declared_split("flickr30k", name)
        return name


RESTVAL = 113_287
"""The training images of MSCOCO with restval."""


class CocoOptions(DatasetOptions):
    """Options of `mscoco`."""

    restval: bool = False
    """Train on 113,287 images (train and restval) instead of the 82,783 of train2014 (data.md 1.2)."""

    def counts(self, published: Mapping[SplitName, int]) -> Mapping[SplitName, int]:
        """Return the images of each split, of `train` with restval where it is asked for."""
        return {**published, "train": RESTVAL} if self.restval else published


@dataclass(frozen=True)
class Facts:
    """The facts about a published split; None: not known."""

    images: int
    checked: Literal["filenames", "image_ids"] = "filenames"
    """The items that are hashed: file names as strings, or image ids as integers."""
    ids_sha256: str | None = None
    """The sha256 of the ids, sorted, one a line."""
    ordered_sha256: str | None = None
    """The sha256 of the ids in protocol order, one a line; the order of Flickr30K is string order."""
    caption_ids_sha256: str | None = None
    """The sha256 of the first five caption ids of each image, in protocol order, one a line."""
    captions: CaptionFacts | None = None
    """The facts about the first five captions of each image, whatever their packaging."""


@dataclass(frozen=True)
class Entry:
    """A dataset as `rematch list` shows it."""

    name: str
    title: str
    license: str
    options: type[DatasetOptions]
    counts: dict[SplitName, int]
    """Images of each split with default options."""
    revision: str
    terms: str = ""
    """The terms, said once, before the first download."""
    facts: Mapping[SplitName, Facts] = field(default_factory=dict)
    train_images_with_restval: int | None = None
    """Images of `train` with option `restval`; None: the dataset has no such part."""
    sources: tuple[Source, ...] = ()
    """The sources, tried in this order; none: made by code."""
    generate: Callable[[Any, SplitName, int], Split] | None = None
    """Makes a split with so many captions an image, of the options; None: the sources have it."""
    other_captions: Mapping[str, CaptionFacts] = field(default_factory=dict)
    """Captions of parts that are no split here, by the part's name."""
    declared: ListedSplit | None = None
    """The split of the whole corpus by lists that a method declares; None: the published splits."""
    vocabulary: OwnVocabulary | None = None
    """The words that the dataset brings along; None: none."""
    own: Located | None = None
    """The card of an own dataset; None: it is one of the catalog's."""

    @property
    def embedded(self) -> bool:
        """True where the dataset is made by code and comes with the package."""
        return not self.sources and self.own is None

    @property
    def local(self) -> bool:
        """True where nothing of the dataset is fetched: it is made by code, or somebody's own."""
        return not self.sources


_FLICKR_TERMS = (
    "The pictures come from Flickr and stay under Flickr's terms of use: non-commercial research and education "
    "only. The origin (University of Illinois) hands them out on request, by a form; none of the repositories on "
    "the Hub states a clear licence."
)


def _by_name(images: int, names_sha256: str, captions: CaptionFacts) -> Facts:
    """Return a split whose order is the string order of its file names."""
    return Facts(images, ids_sha256=names_sha256, ordered_sha256=names_sha256, captions=captions)


FLICKR30K: dict[SplitName, Facts] = {
    "train": _by_name(
        29_000,
        "97ee57e160a46c7d0e75298ebf57967e1245698a6f8806436ff07e61d1a41221",
        CaptionFacts(
            "821a424a0fb00d88eacfea50015213091226861999c3223b2e29f11acedb5e3d", 145_000, 144_475, 7_350_761
        ),
    ),
    "val": _by_name(
        1_014,
        "db26f03eaf833ec47bfaea129ed053b68cbcfc5d1f9a09c4cdf7c88fbfea7108",
        CaptionFacts(
            "00185f9490bb0a333c5cd4ec24381f93ba4bc8d546d0dd3e0ac594b29c9789a4", 5_070, 5_068, 260_019
        ),
    ),
    "test": _by_name(
        1_000,
        "871e8ecafc66fb13e044ecccf669d04a865b4c58553227df86b933f0337a1563",
        CaptionFacts(
            "d9367aedd30e83f0431e6cd1c5f5a932811448b9db720c2560c2e5b662a9c83d", 5_000, 4_998, 255_274
        ),
    ),
}
"""Karpathy's order is the string order of the file names."""

MSCOCO: dict[SplitName, Facts] = {
    "train": Facts(82_783, "image_ids"),
    "val": Facts(5_000, "image_ids", "b7a7a89dd86f75f60dc1984613bde9048118c37bc5246e028c7b22aeb4199477"),
    "test": Facts(
        5_000,
        "image_ids",
        "d20da3dd48646d91a7ff7837c1c1f591d52c75e72921b2fd7f6854dc1093339f",
        ordered_sha256="7bc285f5d29e0240c138f0adff1a2a4c3a4a4569522ea2a1607631f9ffe62108",
        caption_ids_sha256="f80641277519ca01c71720575a015c3c71453da1125e2f6e09409d1b82fb7284",
        captions=CaptionFacts(
            "990158f0a4cf676a8b095bdc35ccdda61d11a67cd42996d8302bbf3242fd35ff", 25_000, 24_793, 1_048_337
        ),
    ),
}
"""Ids are cocoids. Karpathy's order is ascending `imgid`, which fixes the five folds of the 1K protocol."""

SCAN_DEV = "SCAN's part dev, 1,000 images of val"
MSCOCO_PARTS = {
    "SCAN's part test, a fifth of the test split": CaptionFacts(
        "a612ad488f7e7146b930ea2a5ba9bc3e329ba2f930c8c52996fe5591e75767c5", 5_000, 4_993, 208_967
    ),
    SCAN_DEV: CaptionFacts(
        "77779b2ee7e2015ef4c5f8e6f6f87004d53b11edb4c8d6856eea04d115a1a32c", 5_000, 4_992, 210_414
    ),
}
"""Parts of SCAN's MSCOCO folder. Karpathy's whole val has 25,000 captions, and no hash of them is known."""

FLICKR8K: dict[SplitName, Facts] = {
    "train": Facts(6_000, ids_sha256="0e91c191ca46f050a5d6b5d5a37c053516599d8659cf3bc2ff1b4161bee1bc46"),
    "val": Facts(1_000, ids_sha256="09aa9e58d277fd21d3e4c0f22d9698f53fd1f7ee87b86e9f7a532dd61fd18b87"),
    "test": Facts(1_000, ids_sha256="fad160651f84c5737670587f6d888435dd5ef10c81b9a35fde81df8937e3bce8"),
}
"""The official lists."""


def _counts(facts: Mapping[SplitName, Facts]) -> dict[SplitName, int]:
    return {split: found.images for split, found in facts.items()}


CATALOG: dict[str, Entry] = {
    "scenes": Entry(
        "scenes",
        "coloured shapes with relations, made by code",
        "Apache-2.0, as this project",
        ScenesOptions,
        {"train": 2_000, "val": 200, "test": 400},
        VERSION,
        generate=scenes_split,
        vocabulary=OwnVocabulary("scenes", tuple(scenes_words()), (",",), tuple(scenes_pieces())),
    ),
    "flickr30k": Entry(
        "flickr30k",
        "Flickr30K, Karpathy split",
        "images under Flickr's terms, for non-commercial research and education; captions CC BY 3.0",
        FlickrOptions,
        _counts(FLICKR30K),
        "umaru97/flickr30k_train_val_test@d775c63",
        _FLICKR_TERMS + " The captions are described as CC BY 3.0 (a secondary source).",
        FLICKR30K,
        sources=sources.FLICKR30K,
    ),
    "mscoco": Entry(
        "mscoco",
        "MSCOCO captions 2014, Karpathy split",
        "annotations CC BY 4.0; images under the Flickr licence named for each",
        CocoOptions,
        _counts(MSCOCO),
        "Multimodal-Fatima/COCO_captions_train@6e270e9, and its validation and test",
        "The annotations are CC BY 4.0. Each picture is under the Flickr licence that its annotation names: some "
        "forbid commercial use, some forbid changes.",
        MSCOCO,
        train_images_with_restval=RESTVAL,
        sources=sources.MSCOCO,
        other_captions=MSCOCO_PARTS,
    ),
    "flickr8k": Entry(
        "flickr8k",
        "Flickr8K, a small real dataset; no paper here reports it",
        "images under Flickr's terms, for non-commercial research and education",
        DatasetOptions,
        _counts(FLICKR8K),
        "jxie/flickr8k@56f58c9",
        _FLICKR_TERMS,
        FLICKR8K,
        sources=sources.FLICKR8K,
    ),
}


def dataset_names() -> list[str]:
    """Return names of all datasets, own ones after the catalog's."""
    return [*CATALOG, *(name for name in card_names() if name not in CATALOG)]


def get_entry(name: str) -> Entry:
    """Return the entry of `name`, the catalog's or that of a card; raises UserError that names the nearest one.

    Raises UserError for a card at fault too.
    """
    found = find_entry(name)
    if found is None:
        raise UserError(f"unknown dataset '{name}'{nearest(name, dataset_names())}")
    return found


def find_entry(name: str) -> Entry | None:
    """Return the entry of `name`; None where there is none, as of a record whose card is gone."""
    if name in CATALOG:
        return CATALOG[name]
    own = find_card(name)
    if own is None:
        return None
    card = own.card
    counts: dict[SplitName, int] = {split: count.images for split, count in card.counts.items()}
    revision = f"{card.layout} {card.fingerprint[:12]}"
    return Entry(card.name, card.title, card.licence, DatasetOptions, counts, revision, own=own)


def entry_under(entry: Entry, options: Mapping[str, Any]) -> Entry:
    """Return the entry under these options: counts, facts and sources; another one only for a split of the corpus."""
    name = options.get("split", KARPATHY)
    return entry if name == KARPATHY else _corpus_entry(entry, declared_split(entry.name, name))


def _corpus_entry(entry: Entry, declared: ListedSplit) -> Entry:
    """Return the entry of the whole corpus that a declared split is made from."""
    held_out, train = Facts(declared.list_images), Facts(declared.train_images)
    facts: dict[SplitName, Facts] = {"train": train, "val": held_out, "test": held_out}
    return replace(
        entry,
        name="flickr30k-corpus",  # in the lock, beside Karpathy's splits
        title=f"Flickr30K, {declared.title}",
        counts=_counts(facts),
        revision="lmms-lab/flickr30k@0d6d904",
        facts=facts,
        sources=sources.FLICKR30K_CORPUS,
        declared=declared,
    )


def facts_of(entry: Entry, split: SplitName, options: Mapping[str, Any]) -> Facts | None:
    """Return the facts about a published split under these options; None where nothing is known (made by code)."""
    facts = entry.facts.get(split)
    if facts is not None and split == "train" and options.get("restval"):
        return replace(facts, images=entry.train_images_with_restval or facts.images)
    return facts
