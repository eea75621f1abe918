"""The inputs of a method, declared and not fetched: pixels or regions, a codec, and the unit of an epoch.

The harness's codecs, transforms and samplers live in `benchmark/data`; a method may bring its own codec and transform.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from benchmark.errors import UserError

if TYPE_CHECKING:  # lists read what a recipe may say, and need no torch for it
    from PIL.Image import Image
    from torch import Tensor


class PictureInput:
    """The facts that all inputs made of pictures share: nothing but the picture is read, and all of it."""

    regions: ClassVar[tuple[int, int] | None] = None
    guide_dim: ClassVar[int | None] = None
    drop: ClassVar[float] = 0.0

    @property
    def identity(self) -> str | None:
        """The identity of a method's own transform, for the run record; None: the recipe says all."""
        return None


@dataclass(frozen=True)
class PixelInput(PictureInput):
    """Images as normalised RGB tensors of shape (3, size, size), cut and scaled as torchvision does."""

    size: int
    train: Literal["random_resized_crop_flip", "plain"]
    """`random_resized_crop_flip`: torchvision's defaults; `plain`: the evaluation transform."""
    evaluate: Literal["resize_center_crop", "resize"]
    """`resize_center_crop`: shorter side to `resize_to`, bilinear, then the centre; `resize`: straight to size."""
    resize_to: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    divisor: ClassVar[float] = 255.0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image that is trained on."""
        return (3, self.size, self.size)


@dataclass(frozen=True)
class WholePixelInput(PictureInput):
    """Images as RGB tensors: trained on as (3, size, size), evaluated whole as (3, height, width) (data.md 7.6)."""

    size: int
    train: Literal["scale_crop_flip", "plain"]
    """`scale_crop_flip`: large bicubic crops; `plain`: straight to size, bicubic."""
    resize_to: int
    """The shorter side of the stored pictures, bicubic, which are cut in training and evaluated as they are."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    divisor: float = 1.0
    """The number that values of 0..255 are divided by, before mean and deviation."""
    stored_quality: int | None = None
    """The quality of a JPEG file that stored pictures go through; None: they go through no file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image that is trained on."""
        return (3, self.size, self.size)


class ImageTransform(ABC):
    """Turns RGB pictures into float tensors. Loader processes get a pickled copy where they are not forked."""

    identity: str
    """Everything that decides the tensors, for the run record."""

    @abstractmethod
    def train(self, picture: Image) -> Tensor:
        """Return a picture as it is trained on; all have one shape.

        Numbers that are drawn from torch's generator depend on seed, epoch and sample alone; no other generator is
        seeded.
        """

    @abstractmethod
    def evaluate(self, picture: Image) -> Tensor:
        """Return a picture as it is evaluated; shapes may differ, and pictures of one shape come together."""


@dataclass(frozen=True)
class OwnPixelInput(PictureInput):
    """Images as the tensors of a transform that the method brings."""

    make: Callable[[], ImageTransform]
    """Makes the transform; called once a run."""
    shape: tuple[int, ...]
    """The shape of an image that is trained on, for estimates."""

    @cached_property
    def transform(self) -> ImageTransform:
        """The method's transform."""
        return self.make()

    @property
    def identity(self) -> str:
        """The identity of the transform."""
        return self.transform.identity


@dataclass(frozen=True)
class RegionInput:
    """Images as region features of shape (n_regions, dim)."""

    n_regions: int
    dim: int
    drop: float = 0.0
    """The share of an image's regions that is left out in training, drawn anew every time."""
    guide_dim: int | None = None
    """The width of a vector of the whole image beside its regions, from a model that is not trained (data.md 7.8)."""
    identity: ClassVar[None] = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image that is trained on, where no region is left out."""
        return self.regions

    @property
    def regions(self) -> tuple[int, int]:
        """The number of regions, and their width."""
        return (self.n_regions, self.dim)


ImageInput = PixelInput | WholePixelInput | OwnPixelInput | RegionInput
"""The ways in which a method reads images."""


class Codec(ABC):
    """Turns captions into ids, and answers for itself: what it keeps, what it departs from, which words it knows.

    A method that brings its own says how captions are encoded and sets the three attributes; the rest is given.
    """

    vocab_size: int
    pad_id: int
    identity: str
    """Everything that decides the ids, for the run record."""
    mask_id: int | None = None
    """The id that stands for a hidden word; None: words cannot be hidden."""
    inside: Container[int] = ()
    """The ids of pieces that continue a word; any other begins one."""

    @abstractmethod
    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids (n, L) int64 of n captions, padded at the end, and lengths (n,) int64, special tokens included."""

    @property
    def word_vectors(self) -> Tensor | None:
        """The vectors that the words begin with, (n_words, dim); None: they begin at random."""
        return None

    @property
    def given_vocabulary(self) -> str | None:
        """The name that messages have for a vocabulary that weights must fit; None: no file of words is read."""
        return None

    def keep(self, folder: Path, *, resume: bool) -> None:  # noqa: B027  # most have nothing to keep
        """Keep in `folder` all that an evaluation needs, as a training begins or goes on (`resume`).

        Raises UserError where a training would go on with other words than it began with.
        """

    def departures(self, dataset: str) -> list[str]:  # noqa: ARG002  # most depart from nothing
        """Return the reasons why the words are not those of the published runs on `dataset`."""
        return []

    def known_words(self, sentence: str) -> list[tuple[str, bool]]:
        """Return the words of a sentence, and whether there is an id for each."""
        return [(word, True) for word in plain_words(sentence)]


def plain_words(sentence: str) -> list[str]:
    """Return the parts of a sentence between blanks that have a letter or a digit."""
    return [word for word in sentence.split() if any(sign.isalnum() for sign in word)]


@dataclass(frozen=True)
class WordPieceText:
    """Captions as the ids of word pieces, as BERT reads them."""

    codec: ClassVar[str] = "wordpiece"
    max_length: int | None = None
    """The longest caption in tokens, special tokens included; longer captions are cut. None: none is."""
    vocabulary: Literal["dataset", "letters"] = "dataset"
    """`dataset`: that of bert-base-uncased, or what the dataset brings along; `letters`: made by code."""
    augment: Literal["none", "word_drop", "word_drop_ends"] = "none"
    """Changes in training. `word_drop`: some words, all pieces of each, are hidden, replaced or left out (data.md
    7.3). `word_drop_ends`: start and end are among them."""

    @property
    def cut_to_longest(self) -> bool:
        """True where a training batch is as wide as its longest caption, and not as the codec makes it."""
        return self.max_length is None


@dataclass(frozen=True)
class WordText:
    """Captions as the ids of whole words, by a vocabulary of the authors', of the dataset, or built of captions."""

    codec: ClassVar[str] = "words"
    max_length: int | None = None
    """The longest caption in words, start and end included; longer captions are cut. None: none is."""
    min_count: int = 4
    """The count in training and validation captions from which a word is in a vocabulary that is built."""
    mask_token: bool = False
    """True where `<mask>` is added at the end of the vocabulary."""
    augment: Literal["none", "word_drop", "word_drop_ends"] = "none"
    """Changes in training, as WordPieceText has them; they need `mask_token`."""

    @property
    def cut_to_longest(self) -> bool:
        """True: a training batch is as wide as its longest caption."""
        return True


@dataclass(frozen=True)
class VectorText:
    """Captions as places for word vectors, by a dictionary."""

    codec: ClassVar[str] = "word_vectors"
    max_length: int | None = None
    """The longest caption in words; longer captions are cut. None: none is."""
    augment: Literal["none", "position_shift"] = "none"
    """Changes in training. `position_shift`: a caption begins at a random place of `max_length`, zeros around it."""
    vectors: Literal["word2vec", "random"] = "random"
    """`word2vec`: those of a file, whose words are the only ones that are read; `random`: drawn at random."""
    word_dim: int = 300
    """The width of the vectors."""
    delimiters: str = "- .,()"
    """The characters that captions are split at."""
    dictionary: Literal["whitespace", "delimiters"] = "delimiters"
    """The separators in captions that the dictionary is made of (data.md 7.5)."""

    @property
    def cut_to_longest(self) -> bool:
        """True where a training batch is as wide as its longest caption, and not as the codec makes it."""
        return self.max_length is None


@dataclass(frozen=True)
class OwnText:
    """Captions as the ids of a codec that the method brings."""

    codec: ClassVar[str] = "own"
    make: Callable[[], Codec]
    """Makes the codec; called once a run."""
    max_length: int | None = None
    """The longest caption in tokens, for estimates; the codec cuts by itself."""
    augment: Literal["none", "word_drop", "word_drop_ends"] = "none"
    """Changes in training, as WordPieceText has them; they need the codec's `mask_id`."""
    vocab_size: int | None = None
    """The size of its vocabulary, where it is known before the codec is made, for estimates."""

    @property
    def cut_to_longest(self) -> bool:
        """True: a training batch is as wide as its longest caption."""
        return True


TextInput = WordPieceText | WordText | VectorText | OwnText
"""The ways in which a method reads captions."""


@dataclass(frozen=True)
class InputSpec:
    """The inputs of a method: its images and captions, and the unit of an epoch."""

    image: ImageInput
    text: TextInput
    unit: Literal["caption", "image"] = "caption"
    """The unit of an epoch: every caption with its image, or every image with one random caption."""
    last_batch: Literal["keep", "drop"] = "keep"
    least_batch: int = 1
    """Fewest pairs of a training batch: 2 where statistics of the batch need two."""
    candidates: int = 0
    """The number of training captions of other images that come with a batch, to mine from: `extra` then has
    `candidates` (K, L) as a caption is trained on, and the rows that they come from, `candidate_captions` and
    `candidate_images` (K,)."""
    exclude: Literal["batch", "anchors"] = "batch"
    """The images that candidates do not come from: those of the batch, or of its first half."""

    def check_epoch(self, images: int, captions: int, batch_size: int) -> None:
        """Raise UserError where an epoch over so many ends in a batch that is too small to be trained on."""
        units = captions if self.unit == "caption" else images
        last = units % batch_size
        if self.last_batch == "keep" and 0 < last < self.least_batch:
            pairs = "a single pair" if last == 1 else f"{last} pairs"
            raise UserError(
                f"field 'training.batch_size': found {batch_size}, and the last batch of {units:,} {self.unit}s has "
                f"{pairs}, expected {self.least_batch} or more, since batch norm needs them; choose another batch size"
            )


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
    """The origin of the split in a few words: `split of the authors' code`."""
    rule: str
    """The authors' way of splitting, in a sentence for the notes of a record."""
    lists: Mapping[Literal["val", "test"], str]
    """The names of the two lists, which hold the file name of a picture a line."""
    origin: str
    """The dataset that the lists come from: `Flickr8k`."""
    list_images: int
    """The number of images of val, and of test."""
    corpus_images: int
    """The number of images of the whole corpus."""

    @property
    def train_images(self) -> int:
        """The number of images that are left to train on."""
        return self.corpus_images - 2 * self.list_images
