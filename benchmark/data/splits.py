"""The result of every data source: a split is a table of images with their captions, a dataset a few splits."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

from benchmark.errors import UserError
from benchmark.strict import Strict

SplitName = Literal["train", "val", "test"]

UNVERIFIED = "not verified"
"""How a departure begins that says what of the data is not as published."""


@dataclass(frozen=True)
class OwnVocabulary:
    """The words of a dataset that brings its own: nothing is built of its captions, and no paper has others."""

    name: str
    words: tuple[str, ...]
    """Every word that a caption may hold, in alphabetical order."""
    signs: tuple[str, ...]
    """Punctuation that a caption may hold."""
    pieces: tuple[str, ...]
    """The pieces of WordPiece, special tokens included, in the order of their ids."""


class DatasetOptions(Strict):
    """Options of a dataset in a recipe's `data.options`."""

    def counts(self, published: Mapping[SplitName, int]) -> Mapping[SplitName, int]:
        """Return the images of each split; `published` has them at the default options."""
        return published


class Images(ABC):
    """Pictures of a split by row, decoded when asked for. They can be pickled, for loader processes."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def __getitem__(self, row: int, /) -> Image.Image:
        """Return the RGB picture of one row."""

    @abstractmethod
    def select(self, rows: Sequence[int]) -> Images:
        """Return the same pictures, fewer rows."""

    @abstractmethod
    def identity(self) -> bytes:
        """Return the identity of the pictures for the fingerprint: pixels, or the place they come from."""

    def digests(self) -> list[bytes] | None:
        """Return the sha256 of each picture: of its file, or of its pixels where code makes it; None: there is none."""
        return [hashlib.sha256(self[row].tobytes()).digest() for row in range(len(self))]

    def files(self) -> list[Path] | None:
        """Return the prepared files that the pictures are read from; None: they were not prepared."""
        return None


class Regions(Protocol):
    """Region features of a split's images by row, read when asked for. They can be pickled, for loader processes."""

    @property
    def shape(self) -> tuple[int, int]:
        """The regions of an image, and their width."""
        ...

    @property
    def description(self) -> str:
        """A description of the features for the run record, without a path."""
        ...

    def __len__(self) -> int: ...

    def regions(self, rows: Sequence[int], /) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return features (n, R, D) of some rows; raises UserError where they cannot be read or are not finite."""
        ...

    def heads(self) -> list[bytes]:
        """Return a key of the first region of each image, which equal features share; b"": it is all zeros."""
        ...

    def select(self, rows: Sequence[int]) -> Regions:
        """Return the features of fewer images."""
        ...

    def identity(self) -> bytes:
        """Return the identity of the features for the fingerprint: the features, or their making from the pictures."""
        ...


@dataclass(frozen=True, eq=False)
class Guides:
    """A vector of each image (n, D), made by a model that is not trained, all in memory: 232 MB at most for MSCOCO."""

    vectors: np.ndarray[Any, np.dtype[np.float32]]
    description: str
    """A description of the vectors for the run record, without a path."""
    made_by: str = ""
    """The identity of the vectors that are made of the pictures. Empty: the vectors are their own identity."""

    def __len__(self) -> int:
        return len(self.vectors)

    def select(self, rows: Sequence[int]) -> Guides:
        """Return the vectors of fewer images."""
        return replace(self, vectors=self.vectors[np.asarray(rows, dtype=np.int64)])

    def identity(self) -> bytes:
        """Return the sha256 over how they are made, or over the vectors."""
        content = self.made_by.encode() if self.made_by else self.vectors.astype("<f4").tobytes()
        return hashlib.sha256(f"guides {self.vectors.shape}\n".encode() + content).hexdigest().encode()


@dataclass(frozen=True)
class NoPictures(Images):
    """Pictures of a split that has none, such as one of region features."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Image.Image:
        raise UserError(f"image {row}: these data hold region features and no pictures")

    def select(self, rows: Sequence[int]) -> NoPictures:
        return NoPictures(len(rows))

    def identity(self) -> bytes:
        return b""

    def digests(self) -> None:
        """Return None: there is no picture."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images in protocol order and their captions, flat, in image order.

    `caption_image` (n_captions,) int64 holds the row of each caption's image, in ascending order.
    """

    name: SplitName
    image_ids: list[str]
    filenames: list[str]
    captions: list[str]
    caption_ids: list[str]
    caption_image: np.ndarray[Any, np.dtype[np.int64]]
    images: Images
    regions: Regions | None = None
    """Region features of the same images, for methods that read them; `images` may then be `NoPictures`."""
    guides: Guides | None = None
    """Vectors of the whole images, for methods that read them beside the regions."""
    ids_decide: bool = True
    """True where ids are part of the fingerprint; False where containers of the same data call the images otherwise."""

    def __len__(self) -> int:
        return len(self.image_ids)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 over captions, the caption-to-image map and the identity of pictures, regions and guides.

        Over ids too where they decide.
        """
        digest = hashlib.sha256()
        ids = (self.image_ids, self.caption_ids) if self.ids_decide else ()
        for texts in (*ids, self.captions):
            digest.update("".join(f"{text}\n" for text in texts).encode())
        digest.update(self.caption_image.astype("<i8").tobytes())
        digest.update(self.images.identity())
        if self.regions is not None:
            digest.update(self.regions.identity())
        if self.guides is not None:
            digest.update(self.guides.identity())
        return digest.hexdigest()

    def rows_of_images(self) -> list[range]:
        """Return caption rows of each image, in image order."""
        ends = np.searchsorted(self.caption_image, np.arange(len(self) + 1))
        return [range(int(start), int(stop)) for start, stop in pairwise(ends)]

    def select_images(self, rows: Sequence[int]) -> Split:
        """These images, in ascending order, with their captions."""
        kept = np.zeros(len(self), dtype=bool)
        kept[np.asarray(rows, dtype=np.int64)] = True
        captions = np.flatnonzero(kept[self.caption_image])
        new_rows = np.cumsum(kept) - 1
        ascending = np.flatnonzero(kept).tolist()
        return replace(
            self,
            image_ids=[self.image_ids[row] for row in ascending],
            filenames=[self.filenames[row] for row in ascending],
            captions=[self.captions[row] for row in captions],
            caption_ids=[self.caption_ids[row] for row in captions],
            caption_image=new_rows[self.caption_image[captions]],
            images=self.images.select(ascending),
            regions=None if self.regions is None else self.regions.select(ascending),
            guides=None if self.guides is None else self.guides.select(ascending),
        )

    def first_images(self, count: int) -> Split:
        """Return the first `count` images with their captions; all where there are fewer."""
        return self if count >= len(self) else self.select_images(range(count))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Splits of one dataset, with what a run record says about them."""

    name: str
    revision: str
    """The version: a commit of each repository, or the version of the generator."""
    source: str
    """The origin of the data, in words; never a path of the user's machine."""
    license: str
    splits: dict[SplitName, Split]
    options: dict[str, Any] = field(default_factory=dict)
    """Every option with its value, defaults included."""
    notes: list[str] = field(default_factory=list)
    """Remarks for a reader of the record (for example, that a fallback repository was used)."""
    departures: list[str] = field(default_factory=list)
    """The reasons why this is not the published data; its scores cannot be compared with a paper's."""
    whole_captions: Mapping[SplitName, Sequence[str]] = field(default_factory=dict)
    """Captions of splits as they were before images were left out; absent: the split was not cut."""
    vocabulary: OwnVocabulary | None = None
    """The words that it brings along; None: they are the authors', or built of its captions."""
    features: str | None = None
    """The maker of region features as a signature names it, where it is the project's detector; None: it is not."""

    def captions_of(self, name: SplitName) -> Sequence[str]:
        """Return all captions of a loaded split, left-out images included: words are counted in them."""
        return self.whole_captions.get(name, self.splits[name].captions)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 over the fingerprints of all splits that were loaded; `fingerprints` has each."""
        lines = "".join(f"{name} {value}\n" for name, value in sorted(self.fingerprints.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def fingerprints(self) -> dict[str, str]:
        """The sha256 of each split."""
        return {name: split.fingerprint for name, split in self.splits.items()}


def flatten_captions(
    image_ids: Sequence[str], captions: Sequence[Sequence[str]], caption_ids: Sequence[Sequence[str]]
) -> tuple[list[str], list[str], np.ndarray[Any, np.dtype[np.int64]]]:
    """Lists per image -> flat captions, flat ids, and the row of each caption's image (n_captions,)."""
    assert len(image_ids) == len(captions) == len(caption_ids)
    flat = [text for texts in captions for text in texts]
    ids = [name for names in caption_ids for name in names]
    rows = np.repeat(np.arange(len(image_ids), dtype=np.int64), [len(texts) for texts in captions])
    return flat, ids, rows
