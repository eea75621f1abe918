"""What a method reads, declared and not fetched: pixels or regions, a codec, and what an epoch runs over.

The harness's codecs, transforms and samplers live in `benchmark/data`; a method may bring a codec of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:  # lists read what a recipe may say, and need no torch for it
    from torch import Tensor


@dataclass(frozen=True)
class PixelInput:
    """Images as normalised RGB tensors of shape (3, size, size); evaluated whole, (3, height, width)."""

    size: int
    train: Literal["random_resized_crop_flip", "scale_crop_flip", "plain"]
    """`random_resized_crop_flip`: torchvision's defaults; `scale_crop_flip`: large bicubic crops
    (data.md 7.6); `plain`: the evaluation transform, where that is whole straight to size."""
    evaluate: Literal["resize_center_crop", "resize", "whole"]
    """`resize_center_crop`: shorter side to `resize_to`, bilinear, then the centre; `resize`: straight to size;
    `whole`: shorter side to `resize_to`, bicubic, nothing cut off: pictures differ in shape."""
    resize_to: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    divisor: float = 255.0
    """What values of 0..255 are divided by, before mean and deviation."""
    stored_quality: int | None = None
    """With `whole` and `scale_crop_flip`: pictures go through a JPEG file of this quality at `resize_to`."""


@dataclass(frozen=True)
class RegionInput:
    """Images as region features of shape (n_regions, dim)."""

    n_regions: int
    dim: int
    drop: float = 0.0
    """Share of an image's regions left out in training, drawn anew every time."""
    guide_dim: int | None = None
    """Width of a vector of the whole image beside its regions, from a model that is not trained (data.md 7.8)."""


class Codec(ABC):
    """Turns captions into ids, and answers for itself: what it keeps, what it departs from, which words it knows.

    A method that brings its own says how captions are encoded and sets the three attributes; the rest is given.
    """

    vocab_size: int
    pad_id: int
    identity: str
    """What decides the ids, for the run record."""
    mask_id: int | None = None
    """Stands for a hidden word; None: words cannot be hidden."""
    inside: Container[int] = ()
    """Ids of pieces that go on a word; any other begins one."""

    @abstractmethod
    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Turn n captions into ids (n, L) int64, padded at the end, and lengths (n,) int64, special tokens included."""

    @property
    def word_vectors(self) -> Tensor | None:
        """Vectors that the words begin with, (n_words, dim); None: none."""
        return None

    @property
    def given_vocabulary(self) -> str | None:
        """What messages call a vocabulary that weights must fit, one row a word; None: no file of words is read."""
        return None

    def keep(self, folder: Path, *, resume: bool) -> None:  # noqa: B027  # most have nothing to keep
        """Lay what an evaluation needs beside the checkpoint of a training that begins, or goes on (`resume`).

        Raises UserError where a training would go on with other words than it began with.
        """

    def departures(self, dataset: str) -> list[str]:  # noqa: ARG002  # most depart from nothing
        """Why the words are not those of the published runs on `dataset`, which brings none of its own."""
        return []

    def known_words(self, sentence: str) -> list[tuple[str, bool]]:
        """The words of a sentence, and whether there is an id for each."""
        return [(word, True) for word in plain_words(sentence)]


def plain_words(sentence: str) -> list[str]:
    """The parts of a sentence between blanks that have a letter or a digit."""
    return [word for word in sentence.split() if any(sign.isalnum() for sign in word)]


@dataclass(frozen=True)
class WordPieceText:
    """Captions as the ids of word pieces, as BERT reads them."""

    codec: ClassVar[str] = "wordpiece"
    max_length: int | None = None
    """Longest caption in tokens, special tokens included; longer captions are cut. None: none is."""
    vocabulary: Literal["dataset", "letters"] = "dataset"
    """`dataset`: that of bert-base-uncased, or what the dataset brings along; `letters`: made by code."""
    augment: Literal["none", "word_drop", "word_drop_ends"] = "none"
    """In training. `word_drop`: some words, all pieces of each, are hidden, replaced or left out (data.md
    7.3). `word_drop_ends`: start and end are among them."""

    @property
    def cut_to_longest(self) -> bool:
        """Whether a training batch is as wide as its longest caption; else all are as wide as the codec makes them."""
        return self.max_length is None


@dataclass(frozen=True)
class WordText:
    """Captions as the ids of whole words, by a vocabulary of the authors', of the dataset, or built of captions."""

    codec: ClassVar[str] = "words"
    max_length: int | None = None
    """Longest caption in words, start and end included; longer captions are cut. None: none is."""
    min_count: int = 4
    """How often a word must come in the training and validation captions to be in a vocabulary that is built."""
    mask_token: bool = False
    """`<mask>` is added at the end of the vocabulary."""
    augment: Literal["none", "word_drop", "word_drop_ends"] = "none"
    """In training, as of WordPieceText; it needs `mask_token`."""

    @property
    def cut_to_longest(self) -> bool:
        """A training batch is as wide as its longest caption."""
        return True


@dataclass(frozen=True)
class VectorText:
    """Captions as places for word vectors, by a dictionary."""

    codec: ClassVar[str] = "word_vectors"
    max_length: int | None = None
    """Longest caption in words; longer captions are cut. None: none is."""
    augment: Literal["none", "position_shift"] = "none"
    """In training. `position_shift`: a caption begins at a random place of `max_length`, zeros around it."""
    vectors: Literal["word2vec", "random"] = "random"
    """`word2vec`: of a file, whose words are the only ones that are read; `random`: drawn."""
    word_dim: int = 300
    """Width of the vectors."""
    delimiters: str = "- .,()"
    """What captions are split at."""
    dictionary: Literal["whitespace", "delimiters"] = "delimiters"
    """What captions are split at when the dictionary is made of them (data.md 7.5)."""

    @property
    def cut_to_longest(self) -> bool:
        """Whether a training batch is as wide as its longest caption; else all are as wide as the codec makes them."""
        return self.max_length is None


@dataclass(frozen=True)
class OwnText:
    """Captions as the ids of a codec that the method brings."""

    codec: ClassVar[str] = "own"
    make: Callable[[], Codec]
    """Makes the codec; called once a run."""
    max_length: int | None = None
    """Longest caption in tokens, for estimates; the codec cuts by itself."""
    augment: Literal["none", "word_drop", "word_drop_ends"] = "none"
    """In training, as of WordPieceText; it needs the codec's `mask_id`."""

    @property
    def cut_to_longest(self) -> bool:
        """A training batch is as wide as its longest caption."""
        return True


TextInput = WordPieceText | WordText | VectorText | OwnText
"""How a method reads captions."""


@dataclass(frozen=True)
class InputSpec:
    """What a method reads of images and captions, and what an epoch runs over."""

    image: PixelInput | RegionInput
    text: TextInput
    unit: Literal["caption", "image"] = "caption"
    """What an epoch runs over: every caption with its image, or every image with one random caption."""
    last_batch: Literal["keep", "drop"] = "keep"
    candidates: int = 0
    """Training captions of other images that come with a batch, to mine from: `extra` then has `candidates` (K, L) as
    a caption is trained on, `candidate_captions` and `candidate_images` (K,), the rows they come from."""
    exclude: Literal["batch", "anchors"] = "batch"
    """Images that candidates do not come from: those of the batch, or of its first half."""


@dataclass(frozen=True)
class ListedSplit:
    """A split of a dataset's whole corpus by lists of file names, as a method's authors made it.

    `val` and `test` are the pictures that the lists name, found by the number that a file name begins with; `train` is
    the rest. A recipe asks for it with `data.options.split: NAME`.
    """

    dataset: str
    """The dataset whose corpus is split: `flickr30k`."""
    name: str
    """The value of `data.options.split`."""
    title: str
    """Whose split it is, in a few words: `split of the authors' code`."""
    rule: str
    """How the authors split, in a sentence for the notes of a record."""
    lists: Mapping[Literal["val", "test"], str]
    """File names of the two lists, one file name of a picture a line."""
    origin: str
    """Whose lists they are: `Flickr8k`."""
    list_images: int
    """Images of val, and of test."""
    corpus_images: int
    """Images of the whole corpus."""

    @property
    def train_images(self) -> int:
        """Images that are left to train on."""
        return self.corpus_images - 2 * self.list_images
