"""Captions as ids. WordPiece is transformers' BertTokenizer: [CLS] pieces [SEP], cut to length or not, padded with 0.

`scenes` has a vocabulary made by code; Flickr30K and MSCOCO use that of bert-base-uncased, from the Hub (data.md 7.4).
A method may ask for `letters` instead, which reads any text and needs no download. Whole words: word_codec.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmark.data.published.catalogue import get_entry
from benchmark.data.published.remote import fetch_file
from benchmark.data.splits import OwnVocabulary, SplitName
from benchmark.data.text.augmentation import grouped
from benchmark.data.text.vectors import dictionary_size
from benchmark.data.text.word_codec import word_vocabulary_size
from benchmark.errors import UserError
from benchmark.files import sha256_bytes
from benchmark.inputs import Codec, OwnText, TextInput, VectorText, WordPieceText, WordText, plain_words

BERT = "google-bert/bert-base-uncased"
BERT_REVISION = "86b5e0934494bd15c9632b12f734a8a67f723594"
BERT_VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
"""The sha256 of `vocab.txt`."""
BERT_VOCABULARY_SIZE = 30_522

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
COMMON_WORDS = """
a an the this that his her their its some other one two three four several many people person man men woman women boy
girl child children baby kid lady guy group player crowd team dog cat horse bird elephant zebra giraffe bear cow sheep
and or of in on at to with from by for near over under up down into out off through along across around behind beside
between front back next top side while as is are be being was has have it he she they there who which
standing sitting walking running riding holding wearing looking playing jumping eating talking smiling working laying
skateboard snowboard surfboard ski bike bicycle motorcycle car truck bus train plane airplane boat ball baseball tennis
soccer frisbee bat racket game field street road sidewalk grass park beach water ocean snow mountain sky hill tree
building house city room kitchen bathroom bedroom table chair bench couch bed desk plate bowl cup pizza sandwich cake
food fruit toilet sink window door wall floor computer laptop phone television camera clock sign traffic light umbrella
shirt hat pants jacket dress hair face hand red blue green yellow orange white black brown pink gray purple
young old little large small big long tall group outside outdoors inside air picture photo view background
"""
"""Words that captions of photographs are full of; the rest is spelled."""


class WordPieceCodec(Codec):
    """BERT's tokenisation, lower-casing and accent stripping included; an empty caption is [CLS] [SEP], length 2.

    A caption is cut to `max_length` - 2 pieces, and every row is `max_length` long; with None no caption is
    cut, and rows are as long as the longest (data.md 7.4). `vocabulary` holds [PAD] in place 0; special tokens are
    found by their names.
    """

    def __init__(self, vocabulary: Sequence[str], max_length: int | None, name: str) -> None:
        if max_length is not None and max_length < 3:
            raise UserError(f"field 'text.max_length': found {max_length}, expected 3 or more, or none")
        if not vocabulary or vocabulary[0] != "[PAD]":
            raise UserError(f"vocabulary {name}: found {list(vocabulary[:1])} in place 0, expected '[PAD]'")
        from transformers import BertTokenizer  # here, since importing it takes seconds

        ids = {piece: number for number, piece in enumerate(vocabulary)}
        self._tokenizer = BertTokenizer(vocab=ids)
        self.max_length = max_length
        self.vocab_size = len(vocabulary)
        self.pad_id = 0
        self.mask_id = ids.get("[MASK]")
        self.inside = frozenset(number for piece, number in ids.items() if piece.startswith("##"))
        digest = sha256_bytes("".join(f"{piece}\n" for piece in vocabulary).encode())
        cut = "uncut" if max_length is None else f"max{max_length}"
        self.identity = f"wordpiece:{name}:{len(vocabulary)}:{digest[:16]}:{cut}"

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Turn n captions into ids (n, L) int64 and lengths (n,) int64; L is `max_length`, or the longest of them."""
        if not captions:
            empty = torch.zeros(0, dtype=torch.int64)
            return empty.reshape(0, self.max_length or 0), empty
        uncut = self.max_length is None
        rows = self._tokenizer(
            list(captions),
            padding="longest" if uncut else "max_length",
            truncation=not uncut,
            max_length=self.max_length,
            return_attention_mask=True,
        )
        ids = torch.tensor(rows["input_ids"], dtype=torch.int64)  # (n, L)
        lengths = torch.tensor(rows["attention_mask"], dtype=torch.int64).sum(dim=1)  # (n,)
        return ids, lengths

    def tokens(self, caption: str) -> list[str]:
        """Pieces of one caption with [CLS] and [SEP], as `encode` cuts it; for people to look at."""
        ids, lengths = self.encode([caption])
        pieces: list[str] = self._tokenizer.convert_ids_to_tokens(ids[0, : int(lengths[0])].tolist())
        return pieces

    def known_words(self, sentence: str) -> list[tuple[str, bool]]:
        return [(word, "[UNK]" not in self.tokens(word)) for word in plain_words(sentence)]

    def words(self, caption: str) -> list[list[str]]:
        """Pieces of each word of one caption, special tokens left out; for people to look at."""
        ids, lengths = self.encode([caption])
        words = grouped(ids[0, 1 : int(lengths[0]) - 1].tolist(), self.inside)
        return [self._tokenizer.convert_ids_to_tokens(word) for word in words]


def read_vocabulary(path: Path) -> list[str]:
    """Return lines of a `vocab.txt`; the line number is the id."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def bert_codec(max_length: int | None) -> WordPieceCodec:
    """Return the codec of bert-base-uncased at a pinned commit.

    Raises UserError where the vocabulary is neither cached nor reachable, or is not the one that is pinned.
    """
    path = fetch_file(BERT, "vocab.txt", BERT_REVISION)
    found = sha256_bytes(path.read_bytes())
    if found != BERT_VOCABULARY_SHA256:
        raise UserError(
            f"vocab.txt of {BERT}: found sha256 {found[:12]}, expected {BERT_VOCABULARY_SHA256[:12]}; "
            "remove it from the Hugging Face cache and fetch it again"
        )
    return WordPieceCodec(read_vocabulary(path), max_length, "bert-base-uncased")


def letters() -> list[str]:
    """Return a vocabulary made by code: ASCII signs, letters and digits also inside words, and COMMON_WORDS."""
    signs = [chr(code) for code in range(ord("!"), ord("~") + 1) if not chr(code).isupper()]
    inside = [f"##{sign}" for sign in signs if sign.isalnum()]
    return list(dict.fromkeys([*SPECIAL, *signs, *inside, *COMMON_WORDS.split()]))


def make_piece_codec(text: WordPieceText, own: OwnVocabulary | None) -> WordPieceCodec:
    """Return the WordPiece codec that a method's text input calls for. own: what the dataset brings along."""
    if text.vocabulary == "letters":
        return WordPieceCodec(letters(), text.max_length, "letters")
    if own is not None:
        return WordPieceCodec(own.pieces, text.max_length, own.name)
    return bert_codec(text.max_length)


def vocabulary_size_of(
    text: TextInput,
    dataset_name: str,
    given: Path | None = None,
    captions: Mapping[SplitName, Sequence[str]] | None = None,
) -> int:
    """Return ids that the codec of a dataset can give, without fetching it.

    given: the file of a word vocabulary. captions: of training and validation, where they are known beforehand.
    """
    own = get_entry(dataset_name).vocabulary
    match text:
        case WordText():
            return word_vocabulary_size(text, dataset_name, own, given, captions)
        case VectorText():
            return dictionary_size(text, dataset_name, own, given, captions)
        case WordPieceText():
            fetched = own is None and text.vocabulary != "letters"
            return BERT_VOCABULARY_SIZE if fetched else make_piece_codec(text, own).vocab_size
        case OwnText():
            return text.make().vocab_size if text.vocab_size is None else text.vocab_size
