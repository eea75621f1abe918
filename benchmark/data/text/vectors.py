"""Captions as places for word vectors (data.md 7.5): a dictionary in the order of a file of vectors, and its codec.

Words are found as they are written: nothing is lower-cased or stemmed, and there are no special tokens. What the
dictionary lacks is left out, and captions may end up empty. With GoogleNews word2vec that goes for many function words
("a", "and", "of", "to") and all punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmark.data.splits import Dataset, OwnVocabulary, SplitName
from benchmark.data.text.augmentation import padded
from benchmark.data.text.dictionary_files import read_dictionary, write_dictionary
from benchmark.data.text.vector_files import fetch_vectors, read_vectors
from benchmark.data.text.word_codec import KEPT
from benchmark.errors import UserError
from benchmark.files import sha256_bytes
from benchmark.inputs import Codec, VectorText, plain_words

PUBLISHED_WORDS = {"flickr30k": 20_074, "mscoco": 29_972}
"""Words of the authors' dictionaries."""

MARKS = re.compile(r"""([.,()!?;:"])""")

Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Words in the order of their ids, which begin at 1; 0 is no word."""

    words: tuple[str, ...]
    name: str
    """The origin of the dictionary, in words."""
    vectors: Floats | None = None
    """(n_words, dim), raw; None: random ones are trained, or the weights are there already."""


class WordVectorCodec(Codec):
    """The ids of a caption's known words, the first `max_length` of them; no start, no end.

    delimiters: what words are split at. spaced: blanks are put around punctuation first, as in the tokenised file
    that the authors read for Flickr30K; raw captions lack them. begins: what the word layer begins with.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        max_length: int | None,
        delimiters: str = "- .,()",
        *,
        spaced: bool = False,
        begins: Literal["word2vec", "random"] = "word2vec",
    ) -> None:
        self.dictionary = dictionary
        self.begins = begins
        self.max_length = max_length
        self.vocab_size = len(dictionary.words)
        self.pad_id = 0
        self._ids = {word: number for number, word in enumerate(dictionary.words, start=1)}
        self._split, self._spaced = splitter(delimiters), spaced
        digest = sha256_bytes("".join(f"{word}\n" for word in dictionary.words).encode())[:16]
        signs = delimiters.replace(" ", "_") + ("+spaced" if spaced else "")
        cut = "uncut" if max_length is None else f"max{max_length}"
        self.identity = f"word_vectors:{dictionary.name}:{self.vocab_size}:{digest}:{signs}:{cut}"

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Turn n captions into ids (n, L) int64, padded with 0 to the longest, and lengths (n,) int64, perhaps 0."""
        return padded([self._row(caption) for caption in captions])

    def tokens(self, caption: str) -> list[str]:
        """Words of one caption as the model reads them; for people to look at."""
        return [self.dictionary.words[number - 1] for number in self._row(caption)]

    @property
    def word_vectors(self) -> Tensor | None:
        vectors = self.dictionary.vectors
        return None if vectors is None else torch.from_numpy(vectors)

    def keep(self, folder: Path, *, resume: bool) -> None:
        """Lay the dictionary into `folder`; that of an earlier training moves to `previous/`.

        Raises UserError where a training would go on with other words than it began with.
        """
        path = folder / KEPT
        if path.is_file():
            words, _ = read_dictionary(path)
            if resume and words != self.dictionary.words:
                raise UserError(
                    f"{path.as_posix()}: the training began with {len(words):,} words and would go on with "
                    f"{self.vocab_size:,}; give that file (--dictionary), or train anew"
                )
            if resume:
                return
            (folder / "previous").mkdir(exist_ok=True)
            path.replace(folder / "previous" / KEPT)
        write_dictionary(path, self.dictionary.words, self.dictionary.name)

    def departures(self, dataset: str) -> list[str]:
        theirs = PUBLISHED_WORDS.get(dataset)
        if self.begins == "random":
            return [
                f"a word layer that begins at random, not with word2vec, and reads all {self.vocab_size:,} words"
            ]
        beside = f"; the authors' has {theirs:,}" if theirs else ""
        return [] if self.vocab_size == theirs else [f"dictionary of {self.vocab_size:,} words{beside}"]

    def known_words(self, sentence: str) -> list[tuple[str, bool]]:
        return [(word, bool(self.tokens(word))) for word in plain_words(sentence)]

    def _row(self, caption: str) -> list[int]:
        words = self._split(spaced(caption) if self._spaced else caption)
        return [self._ids[word] for word in words if word in self._ids][: self.max_length]


def splitter(delimiters: str) -> Callable[[str], list[str]]:
    """Cuts a caption at any of the signs; runs of them count once."""
    pattern = re.compile(f"[{re.escape(delimiters)}]+")
    return lambda caption: [word for word in pattern.split(caption) if word]


def spaced(caption: str) -> str:
    """Return a caption with blanks around its punctuation."""
    return MARKS.sub(r" \1 ", caption)


def dictionary_words(
    ordered: Iterable[str], captions: Iterable[str], split: Callable[[str], list[str]]
) -> list[str]:
    """Return the words of `ordered` that captions have, in its order; exactly as they are written."""
    found = {word for caption in captions for word in split(caption)}
    return [word for word in ordered if word in found]


# ------------------------------------------------------------------------------------------- choice


def make_vector_codec(
    spec: VectorText,
    dataset: Dataset,
    given: Path | None = None,
    kept: Path | None = None,
    vectors: Path | None = None,
) -> WordVectorCodec:
    """Return the codec of a dataset. given: a dictionary file, which goes before all; kept: beside a checkpoint.

    vectors: a file of word vectors in place of the Hub's, read where a training begins with them. Raises UserError for
    a file that is missing or damaged, and where the captions to build a dictionary from are not loaded.
    """
    dictionary = _dictionary(spec, dataset, given, kept, vectors)
    return WordVectorCodec(
        dictionary,
        spec.max_length,
        spec.delimiters,
        spaced=spec.dictionary == "whitespace",
        begins=spec.vectors,
    )


def _dictionary(
    spec: VectorText, dataset: Dataset, given: Path | None, kept: Path | None, vectors: Path | None
) -> Dictionary:
    training = "train" in dataset.splits
    path = given if given is not None else kept
    if path is not None and (given is not None or (not training and path.is_file())):
        words, name = read_dictionary(path)
        if not (training and spec.vectors == "word2vec"):
            return Dictionary(words, name)
        return _in_order(words, *_vectors(spec, set(words), vectors), name)
    corpus = _corpus(spec, dataset, kept)
    if spec.vectors == "random":
        own = dataset.vocabulary
        return Dictionary(tuple(corpus), f"random-{dataset.name}" if own is None else own.name)
    words, table, name = _vectors(spec, set(corpus), vectors)
    return Dictionary(words, f"{name}-{dataset.name}", table)


def _corpus(spec: VectorText, dataset: Dataset, kept: Path | None) -> list[str]:
    """Return all words of the captions that a dictionary is made of, sorted."""
    if dataset.vocabulary is not None:
        return list(dataset.vocabulary.words)
    names = corpus_splits(spec)
    if not all(name in dataset.splits for name in names):
        where = f"{kept.as_posix()}: no such file; " if kept is not None else ""
        raise UserError(
            f"{where}the dictionary of {dataset.name} is built when a recipe is trained: train it first, or give the "
            "authors' (--dictionary)"
        )
    found = corpus_words(spec, {name: dataset.captions_of(name) for name in names})
    if not found:
        raise UserError(f"dictionary of {dataset.name}: the captions have no word")
    return found


def corpus_splits(spec: VectorText) -> tuple[SplitName, ...]:
    """Name the splits whose words a dictionary has: Flickr30K's training and validation, MSCOCO's training (7.5)."""
    return ("train", "val") if spec.dictionary == "whitespace" else ("train",)


def corpus_words(spec: VectorText, captions: Mapping[SplitName, Sequence[str]]) -> list[str]:
    """Return all words of the captions of those splits, sorted; cut at blanks, or at MSCOCO's signs (7.5)."""
    split = _at_blanks if spec.dictionary == "whitespace" else splitter("- .,()")
    texts = (text for name in corpus_splits(spec) for text in captions[name])
    return sorted({word for text in texts for word in split(text)})


def _at_blanks(caption: str) -> list[str]:
    return spaced(caption).split()


def _vectors(spec: VectorText, wanted: set[str], path: Path | None) -> tuple[tuple[str, ...], Floats, str]:
    """Words that a file of vectors has of those wanted, in its order, their vectors, and what it is called."""
    found, name = (path, path.stem) if path is not None else (fetch_vectors(), "word2vec-google-news-300")
    words, table = read_vectors(found, wanted)
    if not words:
        raise UserError(f"{found.as_posix()}: has none of the {len(wanted):,} words of the captions")
    if table.shape[1] != spec.word_dim:
        raise UserError(
            f"{found.as_posix()}: found vectors of width {table.shape[1]}, expected {spec.word_dim} (field "
            "model.text.word_dim)"
        )
    return tuple(words), table, name


def _in_order(
    words: tuple[str, ...], found: tuple[str, ...], table: Floats, source: str, name: str
) -> Dictionary:
    """Return a given dictionary with the vectors of a file, which must have them all."""
    rows = {word: number for number, word in enumerate(found)}
    absent = [word for word in words if word not in rows]
    if absent:
        raise UserError(
            f"word vectors {source}: found none for '{absent[0]}' of the dictionary ({len(absent)} such)"
        )
    return Dictionary(words, name, table[[rows[word] for word in words]])


def dictionary_size(
    spec: VectorText,
    dataset_name: str,
    own: OwnVocabulary | None,
    given: Path | None = None,
    captions: Mapping[SplitName, Sequence[str]] | None = None,
) -> int:
    """Count the ids that `make_vector_codec` can give, before data are loaded.

    own: what the dataset brings along. captions: those that a dictionary is built from, whose words are an upper bound
    where a file of vectors lacks some; None: they are not known, and the authors' number is taken.
    """
    if given is not None:
        return len(read_dictionary(given)[0])
    if own is not None:
        return len(own.words)
    if captions is not None:
        return len(corpus_words(spec, captions))
    return PUBLISHED_WORDS.get(dataset_name, PUBLISHED_WORDS["flickr30k"])
