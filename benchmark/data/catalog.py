"""The datasets this suite knows: where they live, at which commit, how many images and captions, under what terms.

Source of every number and hash: data.md sections 0, 1.1, 1.2, 1.5, 1.6 and 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmark.baseline import Strict
from benchmark.data.scenes import VERSION, ScenesOptions
from benchmark.data.splits import SplitName
from benchmark.errors import UserError, nearest

SPLIT_FILES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "validation", "dev"),
    "test": ("test",),
}
"""Names that repositories give to a split."""


class HubOptions(Strict):
    """Options of every dataset from the Hub."""

    verify: bool = True
    """Refuse data whose counts or ids are not the published split's. Off: it is noted in the run record."""


class CocoOptions(HubOptions):
    """Options of `mscoco`."""

    restval: bool = False
    """Train on 113,287 images (train and restval) instead of the 82,783 of train2014 (hat.md 2)."""


@dataclass(frozen=True)
class HubSplit:
    """One split in a dataset repository, and what must be found there."""

    repo: str
    commit: str
    """First digits of the commit whose files were described."""
    images: int
    download_bytes: int
    ids_sha256: str | None = None
    """Of the ids, sorted, one a line."""
    ordered_sha256: str | None = None
    """Of the ids in protocol order, one a line."""
    caption_ids_sha256: str | None = None
    """Of the first five caption ids of each image, in protocol order, one a line."""


@dataclass(frozen=True)
class Columns:
    """What a repository calls things. `checked` is the column the hashes are about."""

    image_id: str
    captions: str
    caption_ids: str
    checked: str
    order: str
    """Images are sorted by it: as integers where it holds integers, else as strings."""
    filename: str = "filename"
    image: str = "image"
    part: str = "split"
    """The split of the original annotation file (`train` or `restval`)."""

    def names(self) -> list[str]:
        """All columns, each once."""
        values = (self.image, self.image_id, self.captions, self.caption_ids, self.checked, self.order)
        return list(dict.fromkeys([*values, self.filename, self.part]))


@dataclass(frozen=True)
class HubEntry:
    """A dataset of the Hugging Face Hub."""

    columns: Columns
    splits: dict[SplitName, HubSplit]
    train_images_with_restval: int | None = None
    """Images of `train` with option `restval`; None: the dataset has no such part."""


@dataclass(frozen=True)
class Entry:
    """A dataset as `rematch list` shows it."""

    name: str
    title: str
    license: str
    options: type[Strict]
    counts: dict[SplitName, int]
    """Images of each split with default options."""
    revision: str
    hub: HubEntry | None = field(default=None)
    """None: made by code."""


_FLICKR = "umaru97/flickr30k_train_val_test"
_COCO = "Multimodal-Fatima/COCO_captions_"

FLICKR30K = HubEntry(
    Columns(image_id="img_id", captions="caption", caption_ids="sentids", checked="filename", order="filename"),
    {
        "train": HubSplit(
            _FLICKR, "d775c63", 29_000, 4_026_000_000,
            "97ee57e160a46c7d0e75298ebf57967e1245698a6f8806436ff07e61d1a41221",
        ),
        "val": HubSplit(
            _FLICKR, "d775c63", 1_014, 141_000_000,
            "db26f03eaf833ec47bfaea129ed053b68cbcfc5d1f9a09c4cdf7c88fbfea7108",
        ),
        "test": HubSplit(
            _FLICKR, "d775c63", 1_000, 139_000_000,
            "871e8ecafc66fb13e044ecccf669d04a865b4c58553227df86b933f0337a1563",
        ),
    },
)  # fmt: skip
"""Karpathy's order is the string order of the file names. Bytes: 4,305,964,964 in all, shared out by images."""

MSCOCO = HubEntry(
    Columns(
        image_id="cocoid",
        captions="sentences_raw",
        caption_ids="sentences_sentid",
        checked="cocoid",
        order="imgid",
    ),
    {
        "train": HubSplit(_COCO + "train", "6e270e9", 82_783, 18_500_000_000),
        "val": HubSplit(
            _COCO + "validation", "", 5_000, 820_000_000,
            "b7a7a89dd86f75f60dc1984613bde9048118c37bc5246e028c7b22aeb4199477",
        ),
        "test": HubSplit(
            _COCO + "test", "", 5_000, 820_000_000,
            "d20da3dd48646d91a7ff7837c1c1f591d52c75e72921b2fd7f6854dc1093339f",
            ordered_sha256="7bc285f5d29e0240c138f0adff1a2a4c3a4a4569522ea2a1607631f9ffe62108",
            caption_ids_sha256="f80641277519ca01c71720575a015c3c71453da1125e2f6e09409d1b82fb7284",
        ),
    },
    train_images_with_restval=113_287,
)  # fmt: skip
"""Karpathy's order is ascending `imgid`, which fixes the five folds of the 1K protocol. An empty commit: the newest."""

CATALOG: dict[str, Entry] = {
    "scenes": Entry(
        "scenes",
        "coloured shapes with relations, made by code",
        "Apache-2.0, as this project",
        ScenesOptions,
        {"train": 2_000, "val": 200, "test": 400},
        VERSION,
    ),
    "flickr30k": Entry(
        "flickr30k",
        "Flickr30K, Karpathy split",
        "images under Flickr's terms, for non-commercial research and education; captions CC BY 3.0",
        HubOptions,
        {name: split.images for name, split in FLICKR30K.splits.items()},
        f"{_FLICKR}@d775c63",
        FLICKR30K,
    ),
    "mscoco": Entry(
        "mscoco",
        "MSCOCO captions 2014, Karpathy split",
        "annotations CC BY 4.0; images under the Flickr licence named for each",
        CocoOptions,
        {name: split.images for name, split in MSCOCO.splits.items()},
        f"{_COCO}train@6e270e9, {_COCO}validation, {_COCO}test",
        MSCOCO,
    ),
}


def dataset_names() -> list[str]:
    """Names of all datasets."""
    return list(CATALOG)


def get_entry(name: str) -> Entry:
    """The catalog's entry of `name`; raises UserError that names the nearest one."""
    if name not in CATALOG:
        raise UserError(f"unknown dataset '{name}'{nearest(name, CATALOG)}")
    return CATALOG[name]
