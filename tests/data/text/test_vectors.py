"""Dictionaries over word vectors: which words, in which order, files in every format, and what is refused."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from benchmark.data.load import load_dataset
from benchmark.data.text.augmentation import shift_words
from benchmark.data.text.dictionary_files import read_dictionary, write_dictionary
from benchmark.data.text.vector_files import read_vectors
from benchmark.data.text.vectors import (
    Dictionary,
    WordVectorCodec,
    dictionary_words,
    make_vector_codec,
    spaced,
    splitter,
)
from benchmark.errors import UserError
from benchmark.inputs import VectorText

WORDS = {"the": [1.0, 2.0], "Dog": [0.5, -1.0], "dog": [3.0, 4.0], "Übung": [0.0, 0.25]}


def as_text() -> bytes:
    lines = [f"{word} {' '.join(map(str, vector))}" for word, vector in WORDS.items()]
    return "\n".join([f"{len(WORDS)} 2", *lines, ""]).encode()


def as_binary(end: bytes = b"") -> bytes:
    rows = [word.encode() + b" " + struct.pack("<2f", *vector) + end for word, vector in WORDS.items()]
    return b"%d 2\n" % len(WORDS) + b"".join(rows)


def as_plain() -> bytes:
    rows = [
        struct.pack("<H", len(word.encode())) + word.encode() + struct.pack("<2f", *v)
        for word, v in WORDS.items()
    ]
    return struct.pack("<II", len(WORDS), 2) + b"".join(rows)


FORMATS = {"text": as_text(), "binary": as_binary(), "lines": as_binary(b"\n"), "plain": as_plain()}


@pytest.mark.parametrize("name", FORMATS)
def test_vectors_of_the_wanted_words_in_the_file_s_order(name: str, tmp_path: Path) -> None:
    (tmp_path / "vectors").write_bytes(FORMATS[name])
    words, table = read_vectors(tmp_path / "vectors", {"Übung", "dog", "the", "cat"})
    assert words == ["the", "dog", "Übung"]
    np.testing.assert_array_equal(table, np.array([WORDS[word] for word in words], dtype=np.float32))


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_vectors_that_is_cut_short_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "vectors").write_bytes(FORMATS[name][:-9])
    with pytest.raises(UserError, match="not a whole file of word vectors"):
        read_vectors(tmp_path / "vectors", {"the", "Übung"})


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["binary", "lines"])
@pytest.mark.parametrize("place", range(3))
def test_a_word_with_a_blank_is_refused_in_a_binary_file(place: int, end: bytes, tmp_path: Path) -> None:
    """Its vector would be that of another place, and the next word would be lost."""
    names = ["the", "dog", "Übung"]
    names[place] = "New York"
    rows = [name.encode() + b" " + struct.pack("<3f", 0.1, -0.2, 0.3) + end for name in names]
    (tmp_path / "vectors").write_bytes(b"3 3\n" + b"".join(rows))
    with pytest.raises(UserError, match="blank"):
        read_vectors(tmp_path / "vectors", {"the", "New"})


def test_a_word_that_was_cut_off_within_a_letter_is_passed_over(tmp_path: Path) -> None:
    rows = [name + b" " + struct.pack("<2f", 1, 2) for name in ("ü".encode()[:1], b"dog", b"red")]
    (tmp_path / "vectors").write_bytes(b"3 2\n" + b"".join(rows))
    assert read_vectors(tmp_path / "vectors", {"dog"})[0] == ["dog"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    for content, message in (
        (b"\x1f\x8b" + b"0" * 20, "unpack it first"),
        (b"hello, these are words", "header"),
    ):
        (tmp_path / "vectors").write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_vectors(tmp_path / "vectors", {"the"})
    with pytest.raises(UserError, match="no such file"):
        read_vectors(tmp_path / "absent", {"the"})


def test_dictionaries_in_three_formats(tmp_path: Path) -> None:
    words = ("the", "Dog", "red-haired")
    write_dictionary(tmp_path / "ours.json", words, "mine")
    assert read_dictionary(tmp_path / "ours.json") == (words, "mine")
    (tmp_path / "list.txt").write_text("the\nDog\nred-haired\n")
    assert read_dictionary(tmp_path / "list.txt") == (words, "list.txt")
    cell = np.empty((3, 1), dtype=object)
    cell[:, 0] = words
    savemat(tmp_path / "words.mat", {"dictionary": cell, "vectors": np.ones((3, 2))})
    assert read_dictionary(tmp_path / "words.mat") == (words, "words.mat")
    savemat(tmp_path / "matrix.mat", {"dictionary": np.array(words), "vectors": np.ones((3, 2))})
    assert read_dictionary(tmp_path / "matrix.mat")[0] == words, "rows that MATLAB pads with blanks"
    cell[1, 0] = ""
    savemat(tmp_path / "hole.mat", {"dictionary": cell})
    assert read_dictionary(tmp_path / "hole.mat")[0] == ("the", "", "red-haired"), "others keep their ids"
    cell[1, 0] = 3.0
    savemat(tmp_path / "number.mat", {"dictionary": cell})
    with pytest.raises(UserError, match="cell 2 of dictionary is no string: save it as a cell array"):
        read_dictionary(tmp_path / "number.mat")
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "new.mat").write_bytes(head + bytes(512))
    with pytest.raises(UserError, match=r"new\.mat: a \.mat file of version 7\.3; save it as version 7"):
        read_dictionary(tmp_path / "new.mat")
    (tmp_path / "twice.txt").write_text("the\nthe\n")
    with pytest.raises(UserError, match="'the' twice"):
        read_dictionary(tmp_path / "twice.txt")
    with pytest.raises(UserError, match="no such dictionary"):
        read_dictionary(tmp_path / "absent.txt")
    for content, message in (('{"dictionary": [', "not a dictionary in JSON"), ("[1]", "a list of words")):
        (tmp_path / "odd.json").write_text(content)
        with pytest.raises(UserError, match=rf"odd\.json: .*{message}"):
            read_dictionary(tmp_path / "odd.json")


def test_words_are_found_as_they_are_written_and_cut_at_the_end() -> None:
    codec = WordVectorCodec(Dictionary(("dog", "Dog", "red"), "x"), 2)
    ids, lengths = codec.encode(["A Dog-red, (dog) dog", "nothing known", ""])
    assert ids.tolist() == [[2, 3], [0, 0], [0, 0]]
    assert lengths.tolist() == [2, 0, 0]
    assert codec.tokens("red dogs dog") == ["red", "dog"]
    assert WordVectorCodec(Dictionary(("dog",), "x"), 4).tokens("dog?") == []
    assert WordVectorCodec(Dictionary(("dog",), "x"), 4, spaced=True).tokens("dog?") == ["dog"]


def test_the_order_is_that_of_the_vectors_file() -> None:
    split = splitter("- .,()")
    assert dictionary_words(["b", "a", "c"], ["a-b.", "(b)"], split) == ["b", "a"]
    assert spaced("a man, (old)").split() == ["a", "man", ",", "(", "old", ")"]


def test_scenes_has_its_own_words_and_word2vec_restricts_them(tmp_path: Path) -> None:
    dataset = load_dataset("scenes", {"n_train": 20, "n_val": 5, "n_test": 5})
    spec = VectorText(20, vectors="random", word_dim=2)
    codec = make_vector_codec(spec, dataset)
    assert all(
        set(codec.tokens(text)) <= set(codec.dictionary.words) for text in dataset.splits["train"].captions
    )
    assert codec.encode(dataset.splits["train"].captions)[1].min() >= 3
    assert dataset.vocabulary is not None
    assert codec.dictionary.words == dataset.vocabulary.words
    (tmp_path / "w.txt").write_text("2 2\nred 1 2\ncircle 3 4\n")
    spec = VectorText(20, vectors="word2vec", word_dim=2)
    few = make_vector_codec(spec, dataset, vectors=tmp_path / "w.txt")
    assert few.dictionary.words == ("red", "circle")
    assert few.dictionary.vectors is not None
    assert few.dictionary.vectors.tolist() == [[1, 2], [3, 4]]
    assert few.departures("flickr30k") == ["dictionary of 2 words; the authors' has 20,074"]
    with pytest.raises(UserError, match="width 2, expected 300"):
        make_vector_codec(VectorText(20, vectors="word2vec"), dataset, vectors=tmp_path / "w.txt")


def test_a_dictionary_is_made_of_the_splits_that_the_authors_took(tmp_path: Path) -> None:
    dataset = load_dataset("scenes", {"n_train": 3, "n_val": 2, "n_test": 2})
    splits = {
        name: replace(split, captions=[f"{name}. -{name}x"] * len(split.captions))
        for name, split in dataset.splits.items()
    }
    bare = replace(dataset, vocabulary=None, splits=splits, whole_captions={})
    both = VectorText(20, vectors="random", word_dim=2, dictionary="whitespace")
    assert make_vector_codec(both, bare).dictionary.words == ("-trainx", "-valx", ".", "train", "val")
    assert make_vector_codec(both, bare).begins == "random"
    alone = make_vector_codec(replace(both, dictionary="delimiters"), bare)
    assert alone.dictionary.words == ("train", "trainx")
    tested = replace(bare, splits={"test": splits["test"]})
    with pytest.raises(UserError, match="train it first"):
        make_vector_codec(both, tested)
    write_dictionary(tmp_path / "vocabulary.json", ["kept"], "kept")
    for data, words in ((tested, ("kept",)), (bare, alone.dictionary.words)):  # training makes it anew
        spec = replace(both, dictionary="delimiters")
        assert make_vector_codec(spec, data, kept=tmp_path / "vocabulary.json").dictionary.words == words


def test_a_given_dictionary_keeps_its_order_and_needs_all_its_vectors(tmp_path: Path) -> None:
    dataset = load_dataset("scenes", {"n_train": 2, "n_val": 2, "n_test": 2})
    spec = VectorText(20, vectors="word2vec", word_dim=2)
    (tmp_path / "w.txt").write_text("2 2\nred 1 2\ncircle 3 4\n")
    (tmp_path / "d.txt").write_text("circle\nred\n")
    found = make_vector_codec(spec, dataset, given=tmp_path / "d.txt", vectors=tmp_path / "w.txt").dictionary
    assert found.words == ("circle", "red")
    assert found.vectors is not None
    assert found.vectors.tolist() == [[3, 4], [1, 2]]
    (tmp_path / "d.txt").write_text("circle\nblue\n")
    with pytest.raises(UserError, match=r"found none for 'blue' of the dictionary \(1 such\)"):
        make_vector_codec(spec, dataset, given=tmp_path / "d.txt", vectors=tmp_path / "w.txt")
    names = {WordVectorCodec(found, 4, spaced=flag).identity for flag in (False, True)}
    assert len(names) == 2
    assert sum("+spaced:max4" in name for name in names) == 1


def test_a_dictionary_stays_with_its_checkpoint(tmp_path: Path) -> None:
    first, second = (WordVectorCodec(Dictionary(words, "x"), 4) for words in (("a", "b"), ("a",)))
    first.keep(tmp_path, resume=False)
    first.keep(tmp_path, resume=True)
    with pytest.raises(UserError, match="began with 2 words"):
        second.keep(tmp_path, resume=True)
    second.keep(tmp_path, resume=False)
    assert read_dictionary(tmp_path / "previous/vocabulary.json")[0] == ("a", "b")


def test_captions_are_shifted_whole() -> None:
    ids, lengths = torch.tensor([[1, 2, 3], [4, 0, 0], [0, 0, 0]]), torch.tensor([3, 1, 0])
    assert shift_words(ids, lengths, [0.0, 0.999, 0.5], 4).tolist() == [
        [1, 2, 3, 0],
        [0, 0, 0, 4],
        [0, 0, 0, 0],
    ]
    assert shift_words(ids, lengths, [0.5, 0.25, 0.0], 4).tolist() == [
        [0, 1, 2, 3],
        [0, 4, 0, 0],
        [0, 0, 0, 0],
    ]
    assert shift_words(ids[:1], lengths[:1], [0.99], 3).tolist() == [[1, 2, 3]]
