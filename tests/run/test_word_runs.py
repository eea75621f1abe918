"""Whole runs of a method that reads words: its vocabulary lies beside the weights, and another one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.data.published.catalogue import get_entry
from benchmark.data.text.vocabulary import Vocabulary, read_words, write_words
from benchmark.data.text.word_codec import own_vocabulary
from benchmark.files import sha256_file
from benchmark.inputs import WordText
from benchmark.method import DataFacts
from tests.tiny import Outcome, record_of, rematch, write_recipe
from tests.toy import ToyConfig
from tests.toy_method import TOY_RECIPE, build, reading, register

SCENES = own_vocabulary(get_entry("scenes").vocabulary)  # type: ignore[arg-type]  # it has one
RECIPE = Path("recipes/hat/scenes-words.yaml")
WORK = Path(".rematch/scenes/hat-words/0")


@pytest.fixture(autouse=True)
def words(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe for the toy."""
    register(monkeypatch, toy=reading(WordText(mask_token=True, augment="word_drop")))
    write_recipe(RECIPE, TOY_RECIPE)
    return fresh


def command(name: str, *arguments: object) -> Outcome:
    return rematch(name, *arguments, "--no-progress", "--device", "cpu")


def reproduce(*arguments: object) -> Outcome:
    return command("reproduce", RECIPE, *arguments, "--no-latency", "--no-tables")


def authors_file(path: Path, *words: str) -> Path:
    write_words(path, Vocabulary((*SCENES.words[:4], *words), path.name))
    return path


def test_a_run_records_its_codec_and_keeps_its_vocabulary() -> None:
    assert reproduce().code == 0
    codec = record_of("hat-words").codec
    size = len(SCENES) + 1
    assert codec.startswith(f"words:scenes:{size}:")
    assert codec.endswith("own tokeniser 1 (rules of NLTK 3.6.2)")
    assert read_words(WORK / "vocabulary.json") == SCENES
    assert command("evaluate", "--recipe", RECIPE).code == 0


def test_a_named_vocabulary_goes_with_the_weights(words: Path) -> None:
    given = authors_file(words / "authors.json", "red", "blue", "circle", "a")
    assert reproduce("--vocab", given).code == 0
    record = record_of("hat-words")
    assert record.codec.startswith("words:authors.json:9:")
    said = command("evaluate", "--recipe", RECIPE, "--save-sims", "sims.npy")
    assert said.code == 0, said.err
    assert sha256_file(Path("sims.npy")) == sha256_file(WORK / "sims.npy")
    (words / "elsewhere").mkdir()
    for name in ("best.safetensors", "vocabulary.json"):
        (WORK / name).rename(words / "elsewhere" / name)
    weights = ("--checkpoint", words / "elsewhere" / "best.safetensors")
    assert command("evaluate", "--recipe", RECIPE, *weights, "--save-sims", "other.npy").code == 0
    assert sha256_file(Path("other.npy")) == sha256_file(Path("sims.npy"))


def test_weights_of_another_vocabulary_are_one_line(words: Path) -> None:
    reproduce("--vocab", authors_file(words / "authors.json", "red", "blue"))
    other = authors_file(words / "other.json", "red", "blue", "green")
    assert command("evaluate", "--recipe", RECIPE, "--vocab", other).error == (
        f"{(WORK / 'best.safetensors').as_posix()}: a word embedding of 7 rows, but the vocabulary other.json "
        "has 8 words; give the vocabulary it was trained with (--vocab)"
    )


def test_a_training_does_not_go_on_with_other_words(words: Path) -> None:
    reproduce("--vocab", authors_file(words / "authors.json", "red", "blue"))
    other = authors_file(words / "other.json", "blue", "red")
    error = reproduce("--vocab", other, "--resume").error
    assert "vocabulary.json: the training began with 6 words" in error
    assert reproduce("--vocab", words / "authors.json", "--resume").code == 0
    assert reproduce("--vocab", other).code == 0
    assert read_words(WORK / "previous" / "vocabulary.json").words[4:] == ("red", "blue")
    assert read_words(WORK / "vocabulary.json").words[4:] == ("blue", "red")


def test_a_named_file_that_is_none_is_said_before_anything_is_done(words: Path) -> None:
    before = sorted(words.rglob("*"))
    assert "nothing.json: no such vocabulary file" in reproduce("--vocab", "nothing.json").error
    broken = words / "broken.json"
    broken.write_text(json.dumps({"word2idx": {}}), encoding="utf-8")
    assert "broken.json: field 'idx2word' is missing" in reproduce("--vocab", broken, "--dry-run").error
    broken.unlink()
    hat = Path("recipes/hat/scenes-i2t.yaml")
    given = authors_file(words / "authors.json", "red")
    error = command("reproduce", hat, "--vocab", given).error
    assert error == "option '--vocab': the recipe reads captions as wordpiece, which takes no such file"
    given.unlink()
    assert sorted(words.rglob("*")) == before


def test_a_dry_run_counts_the_named_vocabulary(words: Path) -> None:
    given = authors_file(words / "authors.json", *(f"word{number}" for number in range(995)))
    plain, named = (
        reproduce("--dry-run").good,
        reproduce("--dry-run", "--vocab", given).good,
    )
    others = sum(p.numel() for p in build(ToyConfig(), DataFacts(vocab_size=1)).parameters()) - 16
    assert f"{others + 16 * 1000:,} parameters" in named
    assert f"{others + 16 * (len(SCENES) + 1):,} parameters" in plain


def test_scenes_needs_no_file_beside_its_weights() -> None:
    reproduce()
    (WORK / "vocabulary.json").unlink()
    assert command("evaluate", "--recipe", RECIPE, "--save-sims", "sims.npy").code == 0
    assert sha256_file(Path("sims.npy")) == sha256_file(WORK / "sims.npy")
