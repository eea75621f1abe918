"""Words of captions: the recorded tokens, Punkt's decisions, the short way and the long, and whose rules they are."""

from __future__ import annotations

import json
import random
import sys
from hashlib import sha256
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from benchmark.data.text import words as module
from benchmark.data.text.sentences import ABBREVIATIONS, sentences
from benchmark.data.text.words import OWN, SAMPLES, normalised, own_words, tokeniser
from tests.paths import ROOT

GOLDEN = json.loads((ROOT / "tests/golden/rcar/text.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["caption"] or "empty")
def test_recorded_tokens(case: dict[str, Any]) -> None:
    assert OWN.words(case["caption"]) == case["tokens"]


def test_the_abbreviations_are_the_official_list() -> None:
    # rcar.md 6: number and sha256 of the model's file, an entry a line
    assert len(ABBREVIATIONS) == len(set(ABBREVIATIONS)) == 156
    assert sha256("\n".join(ABBREVIATIONS).encode()).hexdigest() == (
        "92a3e070f43d9b4c5534758ca40ad7343b04e7e29bfe0c2eb658a39445a4f779"
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("a man", ["a man"]),
        ("a man. a dog", ["a man.", "a dog"]),
        ("a man.a dog", ["a man.a dog"]),
        ("wow!what?no", ["wow!what?no"]),
        ("is it?(yes)", ["is it?", "(yes)"]),
        ("mr. smith waits... then he goes", ["mr. smith waits... then he goes"]),
        ("on the u.s. flag, at 3 p.m. a train", ["on the u.s. flag, at 3 p.m. a train"]),
        ("a car-st. here", ["a car-st. here"]),
        ("e.g. a truck", ["e.g.", "a truck"]),
        ("number 5. it is", ["number 5. it is"]),
        ("number 5. 6 are", ["number 5.", "6 are"]),
        ("a letter x. it is", ["a letter x. it is"]),
        ("a letter x. ! it", ["a letter x. !", "it"]),
        ("(it is red.) it runs", ["(it is red.)", "it runs"]),
        ('he says "go." and goes', ['he says "go."', "and goes"]),
        ("it runs. ) it", ["it runs. )", "it"]),
    ],
)
def test_where_sentences_end(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


def test_short_way_and_long_way_agree() -> None:
    rng = random.Random(0)
    pieces = ("a", "man", "mr", "t-shirt", "2", "1,000", "cannot", "gonna", "gonna-be", "wanna", "not", "can")
    blanks = (" ", " ", ", ", " , ", ",  ", ",", " .")
    plain = 0
    for _ in range(6000):
        text = "".join(rng.choice(pieces) + rng.choice(blanks) for _ in range(rng.randint(1, 7)))
        text = normalised(text + rng.choice(("", ".", " .")))
        long = [word for sentence in sentences(text) for word in module._sentence_words(sentence)]
        assert own_words(text) == long, text
        plain += module._PLAIN.fullmatch(text) is not None
    assert plain > 300


def test_captions_are_normalised_first() -> None:
    assert normalised("\t A man\r\nIN a\n\nÉcole. \n") == "a man in a école."
    assert OWN.words("A man's\nhat") == ["a", "man", "'s", "hat"]
    assert OWN.words(" \n ") == []


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ('"stop" it says', ["``", "stop", "''", "it", "says"]),
        ('a sign that says "stop".', ["a", "sign", "that", "says", "``", "stop", "''", "."]),
        ("a sign reading 'free hugs'", ["a", "sign", "reading", "'free", "hugs", "'"]),
        ("a sign with a ` on it", ["a", "sign", "with", "a", "`", "on", "it"]),
        ("a sign that says `stop `.", ["a", "sign", "that", "says", "`", "stop", "`", "."]),
        ("a sign says ' stop `. '", ["a", "sign", "says", "'", "stop", "`", ".", "'"]),
    ],
)
def test_quotes_by_which_our_vocabulary_differs_from_the_authors(caption: str, tokens: list[str]) -> None:
    # data.md 1.7: `''`, `'free` and a lone back-tick are tokens of ours, a back-tick with its full stop never is
    assert OWN.words(caption) == tokens


@pytest.mark.parametrize("mark", [*"&;@#$%?!*[](){}<>«“‘„»”’", "--", "...", ".."])
def test_marks_are_words_by_themselves(mark: str) -> None:
    assert OWN.words(f"salt{mark}pepper") == ["salt", mark, "pepper"]


@pytest.mark.parametrize("mark", [":", ","])
def test_colons_and_commas_stay_between_digits_only(mark: str) -> None:
    assert OWN.words(f"12{mark}30 a{mark}b") == [f"12{mark}30", "a", mark, "b"]
    assert OWN.words(f"it's red{mark}") == ["it", "'s", "red", mark]


@pytest.mark.parametrize(
    "words",
    ["can not", "d 'ye", "gim me", "lem me", "gon na", "got ta", "more 'n", "wan na", "'t is", "'t was"],
)
def test_words_that_are_two(words: str) -> None:
    assert OWN.words(f"so {words.replace(' ', '')} go") == ["so", *words.split(), "go"]


# ------------------------------------------------------------------------------------------ NLTK


def install(monkeypatch: pytest.MonkeyPatch, word_tokenize: Any) -> None:
    """A stand-in for NLTK."""
    nltk = ModuleType("nltk")
    nltk.__spec__ = ModuleSpec("nltk", None)
    nltk.__dict__.update(__version__="3.6.2", word_tokenize=word_tokenize)
    monkeypatch.setitem(sys.modules, "nltk", nltk)


def test_without_nltk_the_tokeniser_is_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _name: None)
    assert tokeniser() is OWN
    assert "own tokeniser" in OWN.name


def test_nltk_is_taken_where_it_agrees_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def word_tokenize(text: str) -> list[str]:
        asked.append(text)
        return own_words(text)

    install(monkeypatch, word_tokenize)
    found = tokeniser()
    assert found.name == "NLTK 3.6.2 with Punkt"
    assert asked == list(SAMPLES)
    assert found.words(" A man.\nHe runs ") == ["a", "man", ".", "he", "runs"]
    assert asked[-1] == "a man. he runs"


def test_nltk_without_its_punkt_data_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def word_tokenize(text: str) -> list[str]:
        raise LookupError(f"no punkt for {text}")

    install(monkeypatch, word_tokenize)
    assert tokeniser() is OWN


@pytest.mark.parametrize("sample", SAMPLES)
def test_nltk_that_splits_otherwise_is_left_alone(monkeypatch: pytest.MonkeyPatch, sample: str) -> None:
    install(monkeypatch, lambda text: text.split() if text == sample else own_words(text))
    assert tokeniser() is OWN


def test_the_samples_tell_newer_versions_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = [case for case in GOLDEN["cases"] if "tokens_nltk_3_10_4" in case]
    assert len(newer) == 2  # both are about a quote in front of a word

    def newest(text: str) -> list[str]:
        text = text.replace("'tis", "' tis").replace("'hello", "' hello")
        return [word for part in text.split("' ") for word in own_words(part)]

    install(monkeypatch, newest)
    assert tokeniser() is OWN
