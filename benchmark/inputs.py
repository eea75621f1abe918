"""What a method reads, declared and not fetched: pixels or regions, a codec, and what an epoch runs over.

The codecs, transforms and samplers themselves live in `benchmark/data` and are chosen by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


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


@dataclass(frozen=True)
class TextInput:
    """Captions as ids: WordPiece, a word vocabulary, or a word-vector dictionary."""

    codec: Literal["wordpiece", "words", "word_vectors"]
    max_length: int | None = None
    """Longest caption in tokens, special tokens included; longer captions are cut. None: none is."""
    vocabulary: Literal["dataset", "letters"] = "dataset"
    """Of WordPiece. `dataset`: that of bert-base-uncased, or what the dataset brings along; `letters`: made by code."""
    min_count: int = 4
    """Of words: how often one must come in the training and validation captions to be in a vocabulary that is built."""
    mask_token: bool = False
    """Of words: `<mask>` is added at the end of the vocabulary."""
    augment: Literal["none", "word_drop", "word_drop_ends", "position_shift"] = "none"
    """In training. `word_drop`: some words, all pieces of each, are hidden, replaced or left out (data.md
    7.3); a word vocabulary needs `mask_token`. `word_drop_ends`: start and end are among them.
    `position_shift`, of word vectors: a caption begins at a random place of `max_length`, zeros around it."""
    vectors: Literal["word2vec", "random"] = "random"
    """Of word vectors. `word2vec`: of a file, whose words are the only ones that are read; `random`: drawn."""
    word_dim: int = 300
    """Of word vectors: their width."""
    delimiters: str = "- .,()"
    """Of word vectors: what captions are split at."""
    dictionary: Literal["whitespace", "delimiters"] = "delimiters"
    """Of word vectors: what captions are split at when the dictionary is made of them (data.md 7.5)."""


@dataclass(frozen=True)
class InputSpec:
    """What a method reads, declared and not fetched; the codecs and transforms live in `benchmark/data`."""

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
