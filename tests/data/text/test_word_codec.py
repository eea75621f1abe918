"""Captions as ids of words: the recorded ids, which vocabulary a run goes by, and what lies beside its checkpoint."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark.data import load as load_module
from benchmark.data.load import load_dataset, make_codec
from benchmark.data.splits import Dataset
from benchmark.data.text import word_codec as module
from benchmark.data.text.codec import vocabulary_size_of
from benchmark.data.text.vocabulary import Vocabulary, read_words, write_words
from benchmark.data.text.word_codec import (
    KEPT,
    WordCodec,
    make_word_codec,
)
from benchmark.data.text.words import OWN, Tokeniser
from benchmark.errors import UserError
from benchmark.inputs import WordPieceText, WordText
from tests.paths import ROOT

GOLDEN = json.loads((ROOT / "tests/golden/rcar/text.json").read_text(encoding="utf-8"))
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
WORDS = WordText()


def golden_codec(name: str, max_length: int | None = None) -> WordCodec:
    """The recorded ids; the words that aren't recorded have names that no caption can hold."""
    facts = GOLDEN["vocab"][name]
    ids = {number: word for word, number in facts["subset"].items()} | dict(enumerate(SPECIAL))
    words = tuple(ids.get(number, f"word {number}") for number in range(facts["size_in_file"]))
    return WordCodec(Vocabulary(words, name).with_mask(), OWN, max_length)


@pytest.mark.parametrize("name", ["f30k", "coco"])
def test_recorded_ids(name: str) -> None:
    codec = golden_codec(name)
    ids, lengths = codec.encode([case["caption"] for case in GOLDEN["cases"]])
    for case, row, length in zip(GOLDEN["cases"], ids.tolist(), lengths.tolist(), strict=True):
        assert row[:length] == case[f"ids_{name}"]
        assert not any(row[length:])
    assert ids.shape[1] == int(lengths.max())
    facts = GOLDEN["vocab"][name]
    assert (codec.vocab_size, codec.mask_id) == (facts["size_after_adding_mask"], facts["mask"])
    assert codec.pad_id == facts["pad"]


def test_one_caption_or_many_is_the_same() -> None:
    codec, captions = golden_codec("coco"), [case["caption"] for case in GOLDEN["cases"]]
    together, lengths = codec.encode(captions)
    for caption, row, length in zip(captions, together, lengths, strict=True):
        alone, (one,) = codec.encode([caption])
        assert one == length
        assert torch.equal(alone[0], row[:length])
    empty, none = codec.encode([])
    assert (empty.shape, none.shape) == ((0, 0), (0,))


def test_tokens_for_people() -> None:
    codec = golden_codec("f30k")
    assert codec.tokens("A zzzqqq dog's") == ["<start>", "a", "<unk>", "dog", "'s", "<end>"]
    assert codec.tokens("") == ["<start>", "<end>"]


def test_captions_are_cut_only_where_asked() -> None:
    caption = "a dog " * 300
    assert golden_codec("f30k").encode([caption])[1].tolist() == [602]
    cut = golden_codec("f30k", 5)
    assert cut.tokens(caption) == ["<start>", "a", "dog", "a", "<end>"]
    assert cut.tokens("a dog") == ["<start>", "a", "dog", "<end>"]
    with pytest.raises(UserError, match="max_length': found 1"):
        golden_codec("f30k", 1)


def test_identity_names_all_that_decides_the_ids() -> None:
    codec = golden_codec("f30k")
    other = Tokeniser("NLTK 3.6.2 with Punkt", OWN.split)
    identities = {
        codec.identity,
        golden_codec("coco").identity,
        golden_codec("f30k", 9).identity,
        WordCodec(codec.vocabulary, other).identity,
        WordCodec(Vocabulary(codec.vocabulary.words[:-1], "f30k")).identity,
    }
    assert len(identities) == 5
    assert codec.identity.startswith("words:f30k:8482:")
    assert OWN.name in codec.identity


# ------------------------------------------------------------------------------------------ scenes


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return load_dataset("scenes", {"n_train": 300, "n_val": 40, "n_test": 40})


def test_scenes_has_every_word_of_its_captions(scenes: Dataset) -> None:
    codec = make_word_codec(WORDS, scenes)
    captions = [caption for split in scenes.splits.values() for caption in split.captions]
    for caption in captions:
        assert codec.tokens(caption) == ["<start>", *caption.replace(",", " ,").split(), "<end>"]
    used = {word for caption in captions for word in caption.replace(",", " ,").split()}
    assert set(codec.vocabulary.words) - used == {*SPECIAL, "four"}  # no sentence counts to four
    assert codec.vocab_size == vocabulary_size_of(WORDS, "scenes")
    masked = replace(WORDS, mask_token=True)
    assert (
        make_codec(masked, scenes).vocab_size == codec.vocab_size + 1 == vocabulary_size_of(masked, "scenes")
    )


def test_scenes_hangs_on_nothing_installed(scenes: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    before = make_codec(WORDS, scenes).identity
    monkeypatch.setattr(module, "tokeniser", lambda: Tokeniser("NLTK 9", str.split))
    assert make_codec(WORDS, scenes).identity == before


# ------------------------------------------------------------------------------ which vocabulary


@pytest.fixture
def published(scenes: Dataset) -> Dataset:
    """Splits under the name of a dataset whose vocabulary is built."""
    return replace(scenes, name="flickr30k", whole_captions={}, vocabulary=None)


def test_built_from_training_and_validation_captions(published: Dataset) -> None:
    counts: Counter[str] = Counter()
    for name in ("train", "val"):
        for caption in published.splits[name].captions:
            counts.update(caption.replace(",", " ,").split())
    for least in (4, 400):
        expected = sorted(word for word, count in counts.items() if count >= least)
        codec = make_word_codec(replace(WORDS, min_count=least), published)
        assert codec.vocabulary.words == (*SPECIAL, *expected)
        assert codec.vocabulary.name == f"built-flickr30k-min{least}"
    assert 0 < len(expected) < len(counts)


def with_last_word(data: Dataset, word: str) -> Dataset:
    """The data with a word in four captions of dev's last image, and nowhere else."""
    val = data.splits["val"]
    captions = [*val.captions[:-5], *(f"{text} {word}" for text in val.captions[-5:-1]), val.captions[-1]]
    changed = {**data.splits, "val": replace(val, captions=captions)}
    return replace(data, splits=changed, whole_captions={})


def test_a_word_of_devs_last_image_alone_is_in(
    scenes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = with_last_word(scenes, "zzqq")
    monkeypatch.setattr(
        load_module, "_as_published", lambda *_: replace(made, name="flickr30k", vocabulary=None)
    )
    cut = load_dataset("flickr30k", first_images={"train": 20, "val": 39}, data_dir=tmp_path)
    assert len(cut.splits["val"]) == 39
    assert not any("zzqq" in caption for caption in cut.splits["val"].captions)
    codec = make_word_codec(WORDS, cut)
    whole = make_word_codec(WORDS, replace(made, name="flickr30k", vocabulary=None))
    assert "zzqq" in codec.vocabulary.ids
    assert codec.vocabulary.words == whole.vocabulary.words
    assert len(make_word_codec(WORDS, replace(cut, whole_captions={})).vocabulary) < len(codec.vocabulary)


@pytest.mark.parametrize(
    ("captions", "least", "by_rule"), [(5, 4, True), (4, 4, False), (5, 3, False)], ids=str
)
def test_only_the_published_rule_is_called_so(captions: int, least: int, by_rule: bool) -> None:
    options = {"n_train": 60, "n_val": 10, "n_test": 4}
    scenes = load_dataset("scenes", options, captions_per_image=captions)
    data = replace(scenes, name="flickr30k", vocabulary=None)
    (said,) = make_word_codec(replace(WORDS, min_count=least), data).departures("flickr30k")
    assert said.startswith("vocabulary built by the published rule, ") == by_rule
    assert said.startswith("vocabulary built-flickr30k-min") != by_rule


def test_a_named_file_goes_before_all(published: Dataset, scenes: Dataset, tmp_path: Path) -> None:
    given, kept = tmp_path / "mine.json", tmp_path / KEPT
    write_words(given, Vocabulary((*SPECIAL, "red"), "mine"))
    write_words(kept, Vocabulary((*SPECIAL, "blue"), "kept"))
    for data in (published, scenes, without_training(published)):
        assert make_codec(WORDS, data, given, kept).identity.startswith("words:mine:5:")
    assert vocabulary_size_of(WORDS, "mscoco", given) == 5
    with pytest.raises(UserError, match=r"option '--vocab': the recipe reads captions as wordpiece"):
        make_codec(WordPieceText(9), scenes, given)


def without_training(data: Dataset) -> Dataset:
    return replace(data, splits={"test": data.splits["test"]})


def test_an_evaluation_reads_what_lies_beside_the_checkpoint(
    published: Dataset, scenes: Dataset, tmp_path: Path
) -> None:
    trained = make_word_codec(replace(WORDS, mask_token=True), published)
    trained.keep(tmp_path, resume=False)
    again = make_word_codec(
        replace(WORDS, mask_token=True), without_training(published), None, tmp_path / KEPT
    )
    assert again.identity == trained.identity
    # a training builds anew, whatever lies there
    write_words(tmp_path / KEPT, Vocabulary((*SPECIAL, "blue"), "old"))
    assert make_word_codec(WORDS, published, None, tmp_path / KEPT).vocabulary.name == "built-flickr30k-min4"
    assert make_word_codec(WORDS, without_training(scenes), None, tmp_path / KEPT).vocabulary.name == "old"


def test_without_any_vocabulary_an_evaluation_is_one_line(published: Dataset, tmp_path: Path) -> None:
    kept = tmp_path / KEPT
    with pytest.raises(UserError) as caught:
        make_word_codec(WORDS, without_training(published), None, kept)
    message = str(caught.value)
    assert message.startswith(f"{kept.as_posix()}: no such file; the vocabulary of flickr30k is built")
    assert "--vocab" in message
    assert "\n" not in message
    with pytest.raises(UserError, match=r"^the vocabulary of flickr30k"):
        make_word_codec(WORDS, without_training(published))


def test_sizes_before_any_data() -> None:
    assert vocabulary_size_of(WORDS, "flickr30k") == 8_481
    assert vocabulary_size_of(replace(WORDS, mask_token=True), "mscoco") == 11_354
    assert vocabulary_size_of(WORDS, "flickr8k") == 8_481


# ----------------------------------------------------------------------------- beside a checkpoint


def codec_of(*words: str) -> WordCodec:
    return WordCodec(Vocabulary((*SPECIAL, *words), "tiny"))


def test_a_training_keeps_its_vocabulary_and_puts_the_former_aside(tmp_path: Path) -> None:
    codec_of("a").keep(tmp_path / "run", resume=False)
    codec_of("b").keep(tmp_path / "run", resume=False)
    assert read_words(tmp_path / "run" / KEPT).words[4:] == ("b",)
    assert read_words(tmp_path / "run" / "previous" / KEPT).words[4:] == ("a",)


def test_a_training_goes_on_with_the_same_words_only(tmp_path: Path) -> None:
    codec_of("a", "b").keep(tmp_path, resume=True)
    codec_of("a", "b").keep(tmp_path, resume=True)
    assert not (tmp_path / "previous").exists()
    for words in (("b", "a"), ("a",)):
        with pytest.raises(UserError, match="the training began with 6 words") as caught:
            codec_of(*words).keep(tmp_path, resume=True)
        assert "\n" not in str(caught.value)
    assert read_words(tmp_path / KEPT).words[4:] == ("a", "b")


# ------------------------------------------------------------------------------------- departures


@pytest.mark.parametrize(
    ("dataset", "name", "reasons"),
    [
        ("flickr30k", "authors-flickr30k", []),
        (
            "flickr30k",
            "built-flickr30k-min4",
            ["vocabulary built by the published rule, 6 words; the authors' has 8,481"],
        ),
        ("mscoco", "authors-flickr30k", ["vocabulary authors-flickr30k, 6 words; the authors' has 11,353"]),
        ("flickr8k", "mine.json", ["vocabulary mine.json, 6 words"]),
    ],
)
def test_other_words_than_the_authors_are_a_departure(dataset: str, name: str, reasons: list[str]) -> None:
    vocabulary = Vocabulary((*SPECIAL[:4], "a", "dog"), name)
    assert WordCodec(vocabulary).departures(dataset) == reasons
    assert WordCodec(vocabulary.with_mask()).departures(dataset) == reasons
