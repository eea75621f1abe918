"""Captions as ids: BERT's rules, checked against recorded rows, and the vocabulary of `scenes`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from benchmark.data.load import load_dataset, make_codec
from benchmark.data.published.catalogue import get_entry
from benchmark.data.scenes.captions import vocabulary
from benchmark.data.text.codec import (
    BERT,
    BERT_REVISION,
    WordPieceCodec,
    letters,
    make_piece_codec,
    vocabulary_size_of,
)
from benchmark.errors import UserError
from benchmark.inputs import WordPieceText
from tests.paths import ROOT

SCENES = get_entry("scenes").vocabulary
GOLDEN = json.loads((ROOT / "tests/golden/hat/text_preprocess.json").read_text(encoding="utf-8"))


def golden_codec() -> WordPieceCodec:
    return WordPieceCodec(GOLDEN["vocab"], GOLDEN["max_text_len"], "golden")


def test_recorded_rows() -> None:
    codec = golden_codec()
    ids, lengths = codec.encode([row["caption"] for row in GOLDEN["rows"]])
    assert ids.tolist() == [row["input_ids"] for row in GOLDEN["rows"]]
    assert lengths.tolist() == [row["length"] for row in GOLDEN["rows"]]
    masks = (np.arange(GOLDEN["max_text_len"]) < lengths.numpy()[:, None]).astype(int)
    assert masks.tolist() == [row["attention_mask"] for row in GOLDEN["rows"]]
    assert [codec.tokens(row["caption"]) for row in GOLDEN["rows"]] == [
        row["tokens"] for row in GOLDEN["rows"]
    ]


def test_recorded_collation_order_follows_from_the_lengths() -> None:
    _, lengths = golden_codec().encode([row["caption"] for row in GOLDEN["rows"]])
    order = sorted(range(len(lengths)), key=lambda row: -int(lengths[row]))
    assert order == GOLDEN["collate"]["order"]
    assert [int(lengths[row]) for row in order] == GOLDEN["collate"]["lengths"]


def test_one_caption_or_many_is_the_same() -> None:
    codec, texts = golden_codec(), [row["caption"] for row in GOLDEN["rows"]]
    together, _ = codec.encode(texts)
    assert together.tolist() == [codec.encode([text])[0][0].tolist() for text in texts]
    empty, lengths = codec.encode([])
    assert empty.shape == (0, GOLDEN["max_text_len"])
    assert lengths.shape == (0,)


def test_scenes_words_are_whole() -> None:
    data = load_dataset("scenes", splits=["test"])
    codec = make_codec(WordPieceText(20), data)
    split = data.splits["test"]
    ids, lengths = codec.encode(split.captions)
    words = vocabulary()
    assert codec.vocab_size == len(words) == len(set(words))
    assert words[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert codec.pad_id == 0
    for caption, row, length in zip(split.captions, ids.tolist(), lengths.tolist(), strict=True):
        pieces = [words[number] for number in row]
        assert pieces == ["[CLS]", *caption.replace(",", " ,").split(), "[SEP]", *["[PAD]"] * (20 - length)]


def test_unknown_words_split_into_pieces() -> None:
    codec = WordPieceCodec(vocabulary(), 20, "scenes")
    assert codec.tokens("a greenish zebra") == [
        *("[CLS]", "a", "green", "##ish", "z", "##e", "##b", "##r", "##a", "[SEP]")
    ]  # fmt: skip
    assert codec.tokens("Über ☃") == ["[CLS]", "u", "##b", "##er", "[UNK]", "[SEP]"]


def test_identity_names_vocabulary_and_length() -> None:
    words = vocabulary()
    identities = {
        WordPieceCodec(words, 20, "scenes").identity,
        WordPieceCodec(words, 21, "scenes").identity,
        WordPieceCodec([*words, "new"], 20, "scenes").identity,
        WordPieceCodec([*words[:-2], words[-1], words[-2]], 20, "scenes").identity,
    }
    assert len(identities) == 4
    assert (
        WordPieceCodec(words, 20, "scenes").identity == make_piece_codec(WordPieceText(20), SCENES).identity
    )


def test_letters_spell_any_text_and_need_nothing() -> None:
    words = letters()
    assert len(words) == len(set(words))
    assert words[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    asked = WordPieceText(40, "letters")
    for dataset in ("flickr30k", "mscoco", "scenes"):
        codec = make_piece_codec(asked, get_entry(dataset).vocabulary)
        assert codec.vocab_size == vocabulary_size_of(asked, dataset) == len(words)
        assert codec.identity.startswith(f"wordpiece:letters:{len(words)}:")
    printable = "".join(chr(code) for code in range(33, 127))
    text = f"A Man, 2 zebras & the café: {printable} {printable[::-1]}"
    tokens = WordPieceCodec(words, 400, "letters").tokens(text)
    assert tokens[:8] == ["[CLS]", "a", "man", ",", "2", "zebra", "##s", "&"]
    assert "[UNK]" not in tokens
    spelled = "".join(token.removeprefix("##") for token in tokens[1:-1])
    assert spelled == text.lower().replace(" ", "").replace("é", "e")


def test_without_a_length_no_caption_is_cut() -> None:
    codec = make_piece_codec(WordPieceText(), SCENES)
    short, long = "a red zebra", " ".join(["a greenish red"] * 30)
    ids, lengths = codec.encode([short, long, ""])
    assert lengths.tolist() == [2 + 2 + len("zebra"), 2 + 4 * 30, 2]
    assert ids.shape == (3, 122)
    assert ids[0].tolist() == codec.encode([short])[0][0].tolist() + [0] * (122 - 9)
    assert codec.words(long) == [["a"], ["green", "##ish"], ["red"]] * 30
    assert codec.encode([])[0].shape == (0, 0)
    assert codec.identity.endswith(":uncut")
    assert codec.identity != make_piece_codec(WordPieceText(122), SCENES).identity


def test_bad_vocabulary_and_length_are_user_errors() -> None:
    with pytest.raises(UserError, match=r"expected '\[PAD\]'"):
        WordPieceCodec(["a", "[PAD]"], 10, "mine")
    with pytest.raises(UserError, match="max_length"):
        WordPieceCodec(vocabulary(), 2, "scenes")


def test_bert_vocabulary_offline_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE") as caught:
        make_piece_codec(WordPieceText(32), None)
    assert "\n" not in str(caught.value)
    assert BERT in str(caught.value)


def test_another_vocabulary_in_the_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / f"models--{BERT.replace('/', '--')}" / "snapshots" / BERT_REVISION
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n", encoding="utf-8")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="sha256"):
        make_piece_codec(WordPieceText(32), None)
