"""Captions as ids of whole words (data.md 7.2), and which vocabulary they go by.

A dataset that brings its words along has our own tokeniser too, so that its numbers hang on nothing that is installed.
For the other datasets a training takes the authors' file, or builds the vocabulary from the captions it has loaded;
what it took lies beside its checkpoint, so that an evaluation needs the test split alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from benchmark.data.splits import Dataset, OwnVocabulary, SplitName
from benchmark.data.text.augmentation import padded
from benchmark.data.text.vocabulary import (
    END_ID,
    PAD_ID,
    PUBLISHED_SIZES,
    SPECIAL,
    START_ID,
    UNKNOWN_ID,
    Vocabulary,
    build_vocabulary,
    read_words,
    write_words,
)
from benchmark.data.text.words import OWN, Tokeniser, tokeniser
from benchmark.errors import UserError
from benchmark.inputs import Codec, WordText

KEPT = "vocabulary.json"
"""The file beside a checkpoint with the vocabulary it was trained with."""

BUILT = "built-"
"""The beginning of the names of vocabularies that were built."""

RULE_COUNT, RULE_CAPTIONS = 4, 5
"""The published rule: the least count of a word, and the captions of each image that are counted."""

COUNTED: tuple[SplitName, SplitName] = ("train", "val")
"""The splits whose words are counted."""

OTHER_CAPTIONS = "-not-five-captions"
"""The end of the names of vocabularies that were built from another number of captions an image."""

WORDS_DIFFER = "vocabulary"
"""The beginning of departures because of words."""


class WordCodec(Codec):
    """<start>, the ids of a caption's words; what the vocabulary lacks is `<unk>`. Then <end>.

    An empty caption is <start> <end>, as the published programs have it. Published data have none: a split that
    does is refused when it is loaded (verify.py). max_length: start and end included; None: no caption is cut.
    """

    def __init__(
        self, vocabulary: Vocabulary, tokeniser: Tokeniser = OWN, max_length: int | None = None
    ) -> None:
        if max_length is not None and max_length < 2:
            raise UserError(f"field 'text.max_length': found {max_length}, expected 2 or more, or none")
        self.vocabulary = vocabulary
        self.tokeniser = tokeniser
        self.max_length = max_length
        self.vocab_size = len(vocabulary)
        self.pad_id = PAD_ID
        self.mask_id = vocabulary.mask_id
        cut = "" if max_length is None else f":max{max_length}"
        digest = vocabulary.sha256[:16]
        self.identity = f"words:{vocabulary.name}:{len(vocabulary)}:{digest}:{tokeniser.name}{cut}"

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Turn n captions into ids (n, L) int64, L being the longest of them, and lengths (n,) int64."""
        return padded([self._row(caption) for caption in captions])

    def tokens(self, caption: str) -> list[str]:
        """Words of one caption with start and end, as the model reads them; for people to look at."""
        return [self.vocabulary.words[number] for number in self._row(caption)]

    @property
    def given_vocabulary(self) -> str:
        return f"the vocabulary {self.vocabulary.name}"

    def keep(self, folder: Path, *, resume: bool) -> None:
        """Lay the vocabulary into `folder`; that of an earlier training moves to `previous/`, as its weights do.

        Raises UserError where a training would go on with other words than it began with.
        """
        path = folder / KEPT
        if path.is_file():
            before = read_words(path)
            same = before.with_mask().words == self.vocabulary.with_mask().words
            if resume and not same:
                raise UserError(
                    f"{path.as_posix()}: the training began with {len(before):,} words, sha256 {before.sha256[:12]}, "
                    f"and would go on with {self.vocabulary.describe()}; give that file (--vocab), or train anew"
                )
            if resume:
                return
            (folder / "previous").mkdir(exist_ok=True)
            path.replace(folder / "previous" / KEPT)
        write_words(path, self.vocabulary)

    def departures(self, dataset: str) -> list[str]:
        """Return reasons as Codec does; the order of words does not matter to a training, the set of words does."""
        vocabulary = self.vocabulary
        if vocabulary.name == f"authors-{dataset}":
            return []
        size = len(vocabulary) - (vocabulary.mask_id is not None)
        theirs = PUBLISHED_SIZES.get(dataset)
        beside = f"; the authors' has {theirs:,}" if theirs else ""
        if vocabulary.name == f"{BUILT}{dataset}-min{RULE_COUNT}":
            return [f"{WORDS_DIFFER} built by the published rule, {size:,} words{beside}"]
        return [f"{WORDS_DIFFER} {vocabulary.name}, {size:,} words{beside}"]

    def known_words(self, sentence: str) -> list[tuple[str, bool]]:
        ids = self.vocabulary.ids
        return [(word, ids.get(word, UNKNOWN_ID) != UNKNOWN_ID) for word in self.tokeniser.words(sentence)]

    def _row(self, caption: str) -> list[int]:
        ids = self.vocabulary.ids
        words = [ids.get(word, UNKNOWN_ID) for word in self.tokeniser.words(caption)]
        if self.max_length is not None:
            words = words[: self.max_length - 2]
        return [START_ID, *words, END_ID]


# ------------------------------------------------------------------------------------------ choice


def make_word_codec(
    spec: WordText, dataset: Dataset, given: Path | None = None, kept: Path | None = None
) -> WordCodec:
    """Return the codec of a dataset. given: a vocabulary file, which goes before all; kept: beside a checkpoint.

    Raises UserError for a file that is missing or damaged, and where there is no vocabulary and the splits to build
    one from are not loaded.
    """
    splitter = tokeniser() if dataset.vocabulary is None else OWN
    vocabulary = read_words(given) if given is not None else _vocabulary(spec, dataset, kept, splitter)
    return WordCodec(vocabulary.with_mask() if spec.mask_token else vocabulary, splitter, spec.max_length)


def _vocabulary(spec: WordText, dataset: Dataset, kept: Path | None, splitter: Tokeniser) -> Vocabulary:
    training = "train" in dataset.splits
    if not training and kept is not None and kept.is_file():
        return read_words(kept)
    if dataset.vocabulary is not None:
        return own_vocabulary(dataset.vocabulary)
    if training and "val" in dataset.splits:
        return _built(spec, dataset, splitter)
    where = f"{kept.as_posix()}: no such file; " if kept is not None else ""
    raise UserError(
        f"{where}the vocabulary of {dataset.name} is built when a recipe is trained: "
        "train it first, or give the authors' file (--vocab)"
    )


def _built(spec: WordText, dataset: Dataset, splitter: Tokeniser) -> Vocabulary:
    """Words of all captions of train and dev; the cut of dev to 5,000 captions is for validation (data.md 2.2)."""
    captions = [text for name in COUNTED for text in dataset.captions_of(name)]
    five = all(
        len(dataset.splits[name].captions) == RULE_CAPTIONS * len(dataset.splits[name]) for name in COUNTED
    )
    name = f"{BUILT}{dataset.name}-min{spec.min_count}{'' if five else OTHER_CAPTIONS}"
    return build_vocabulary(captions, splitter.words, spec.min_count, name)


def own_vocabulary(own: OwnVocabulary) -> Vocabulary:
    """Return the words that a dataset brings along, after the special tokens."""
    return Vocabulary((*SPECIAL[:4], *own.signs, *own.words), own.name)


def word_vocabulary_size(
    spec: WordText,
    dataset_name: str,
    own: OwnVocabulary | None,
    given: Path | None = None,
    captions: Mapping[SplitName, Sequence[str]] | None = None,
) -> int:
    """Return ids that `make_word_codec` can give, before any data are loaded. own: what the dataset brings along.

    captions: those that a vocabulary is built from; None: they are not known, and the authors' number is taken, or
    Flickr30K's, an upper bound, for Flickr8K.
    """
    if given is not None:
        vocabulary = read_words(given)
    elif own is not None:
        vocabulary = own_vocabulary(own)
    elif captions is not None:
        counted = [text for name in COUNTED for text in captions[name]]
        vocabulary = build_vocabulary(counted, tokeniser().words, spec.min_count, dataset_name)
    else:
        return PUBLISHED_SIZES.get(dataset_name, PUBLISHED_SIZES["flickr30k"]) + spec.mask_token
    return len(vocabulary.with_mask() if spec.mask_token else vocabulary)
