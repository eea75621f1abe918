"""Vocabularies: built by the rule, kept in the authors' layout, refused where a file is at odds with itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.data.text import vocabulary as module
from benchmark.data.text.vocabulary import (
    PUBLISHED_SHA256,
    PUBLISHED_SIZES,
    Vocabulary,
    build_vocabulary,
    check_embedding,
    read_words,
    write_words,
)
from benchmark.errors import UserError
from benchmark.files import sha256_file
from tests.paths import ROOT

SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
CAPTIONS = ["a cat sits", "a dog sits .", "a cat and a dog .", "a cat , a cat"]


def test_built_from_counts_in_alphabetical_order() -> None:
    counts: dict[str, int] = {}
    for caption in CAPTIONS:
        for word in caption.split():
            counts[word] = counts.get(word, 0) + 1
    for least in (1, 2, 4, 6):
        expected = sorted(word for word in counts if counts[word] >= least)
        found = build_vocabulary(CAPTIONS, str.split, least, "tiny")
        assert found.words == (*SPECIAL, *expected)
        assert found == build_vocabulary(reversed(CAPTIONS), str.split, least, "tiny")
    with pytest.raises(UserError, match="vocabulary tiny: no word comes 7 times"):
        build_vocabulary(CAPTIONS, str.split, 7, "tiny")


def test_special_tokens_are_never_counted_as_words() -> None:
    found = build_vocabulary(["<unk> <mask> a"], str.split, 1, "tiny")
    assert found.words == (*SPECIAL, "a")


def test_mask_comes_last_and_once() -> None:
    plain = Vocabulary((*SPECIAL, "a", "b"), "tiny")
    masked = plain.with_mask()
    assert plain.mask_id is None
    assert masked.words == (*plain.words, "<mask>")
    assert masked.mask_id == masked.ids["<mask>"] == 6
    assert masked.with_mask() is masked
    assert masked.describe() == "vocabulary tiny (7 words with <mask>)"


def test_identity_is_of_words_and_order_not_of_the_name() -> None:
    one = Vocabulary((*SPECIAL, "a", "b"), "one")
    assert one.sha256 == Vocabulary(one.words, "two").sha256
    assert len({one.sha256, Vocabulary((*SPECIAL, "b", "a"), "one").sha256, one.with_mask().sha256}) == 3


# ------------------------------------------------------------------------------------------- files


def test_files_keep_words_order_and_name(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    vocabulary = Vocabulary((*SPECIAL, "zebra", "``", "'s", "a"), "built-tiny-min4")
    write_words(path, vocabulary.with_mask())
    assert read_words(path) == vocabulary
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["word2idx"]["zebra"] == 4
    assert document["idx2word"]["4"] == "zebra"
    assert document["idx"] == 8


def authors_file(path: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> Path:
    """A file as the authors have it, with a change."""
    words = [*SPECIAL, "zebra", "a", "``"]
    document: dict[str, Any] = {
        "idx2word": {str(number): word for number, word in enumerate(words)},
        "idx": len(words),
        "word2idx": {word: number for number, word in reversed(list(enumerate(words)))},
    }
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_authors_files_are_read_and_known_by_their_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = authors_file(tmp_path / "f30k_precomp_vocab.json")
    assert read_words(path).words == (*SPECIAL, "zebra", "a", "``")
    assert read_words(path).name == "f30k_precomp_vocab.json"
    monkeypatch.setitem(module.PUBLISHED_SHA256, sha256_file(path), "authors-tiny")
    assert read_words(path).name == "authors-tiny"
    write_words(tmp_path / "kept.json", read_words(path))
    assert read_words(tmp_path / "kept.json") == read_words(path)


def test_the_published_files_are_those_that_are_described() -> None:
    golden = ROOT / "tests/golden/rcar/text.json"
    sizes = {name: facts["size_in_file"] for name, facts in json.loads(golden.read_text())["vocab"].items()}
    assert sizes == {"f30k": PUBLISHED_SIZES["flickr30k"], "coco": PUBLISHED_SIZES["mscoco"]}
    assert {name.removeprefix("authors-") for name in PUBLISHED_SHA256.values()} == PUBLISHED_SIZES.keys()
    assert [digest[:8] for digest in PUBLISHED_SHA256] == ["ece46633", "91b208d4"]  # rcar.md 6


def drop(field: str) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.pop(field)


def put(field: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document[field].update(values)


def swap_specials(document: dict[str, Any]) -> None:
    document["word2idx"].update({"<end>": 3, "<unk>": 2})


def mask_inside(document: dict[str, Any]) -> None:
    document["word2idx"] = {("<mask>" if k == "zebra" else k): v for k, v in document["word2idx"].items()}
    document["idx2word"]["4"] = "<mask>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("word2idx"), "field 'word2idx' is missing"),
        (drop("idx"), "field 'idx' is missing"),
        (lambda document: document.update(idx2word=[]), "field 'idx2word': found list, expected an object"),
        (put("word2idx", a="5"), "field 'word2idx.a': found \"5\", expected an integer"),
        (put("word2idx", a=True), "field 'word2idx.a': found true, expected an integer"),
        (put("word2idx", b=5), "both have id 5"),
        (put("word2idx", a=9), "found no id 5 among 7 words, expected each from 0 to 6 once"),
        (swap_specials, "found '<unk>' for id 2, expected '<end>'"),
        (lambda document: document.update(idx=8), "field 'idx': found 8, expected 7"),
        (put("idx2word", **{"5": "the"}), "field 'idx2word.5': found \"the\", word2idx says 'a'"),
        (put("idx2word", **{"7": "the"}), "field 'idx2word': found 8 words, word2idx has 7"),
        (mask_inside, "found '<mask>' for id 4, expected it last or not at all"),
    ],
)
def test_files_at_odds_with_themselves_are_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = authors_file(tmp_path / "vocab.json", change)
    with pytest.raises(UserError) as caught:
        read_words(path)
    assert str(caught.value).startswith(f"{path.as_posix()}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_vocabulary_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    with pytest.raises(UserError, match="no such vocabulary file"):
        read_words(path)
    for content in (b"", b'{"word2idx": {', b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a vocabulary in JSON") as caught:
            read_words(path)
        assert "\n" not in str(caught.value)
    path.write_text("[1]", encoding="utf-8")
    with pytest.raises(UserError, match="found list, expected an object with word2idx"):
        read_words(path)


def test_an_embedding_of_another_size_names_both() -> None:
    check_embedding(8_482, "vocabulary f", 8_482, "best.safetensors")
    with pytest.raises(UserError) as caught:
        check_embedding(8_482, "vocabulary f", 11_354, "best.safetensors")
    assert str(caught.value) == (
        "best.safetensors: a word embedding of 11,354 rows, but vocabulary f has 8,482 words; "
        "give the vocabulary it was trained with (--vocab)"
    )
