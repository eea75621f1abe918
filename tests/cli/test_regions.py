"""Damaged region features, captions and vocabularies on the command line: one line, exit code 2, nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.text.vocabulary import SPECIAL, Vocabulary, write_words
from benchmark.records.record import read_record
from tests.data.region_files import features, scan_part
from tests.paths import ROOT
from tests.tiny import contents, rematch, write_recipe

HAT_RECIPES = ROOT / "recipes/hat"
SAF = Path("recipes/sgraf/flickr30k-saf.yaml")
WEIGHTS = Path("elsewhere/best.safetensors")
IMAGES = {"train": 8, "dev": 4, "test": 6}

Damage = Callable[[Path], object]


def recipe() -> dict[str, Any]:
    return {
        "summary": "a tiny SAF",
        "method": "sgraf",
        "departures": ["a model for tests"],
        "paper_row": {"method": "sgraf", "variant": "SAF (paper)"},
        "data": {"name": "flickr30k", "regions": {"source": "scan"}},
        "model": {"module": "SAF", "region_dim": 4, "dim": 8, "sim_dim": 4, "word_dim": 4},
        "pretrained": False,
        "training": {
            "batch_size": 16,
            "optimizer": {"name": "adam", "lr": 0.001},
            "schedule": {"name": "cosine", "warmup_steps": 2},
            "stages": [{"epochs": 1}],
        },
    }


def command(name: str, *arguments: object) -> Any:
    given = ("--data-dir", "precomp", "--unverified", "--no-progress", "--device", "cpu")
    return rematch(name, *arguments, *given)


def reproduce(*arguments: object) -> Any:
    return command("reproduce", SAF, "--no-latency", "--no-tables", *arguments)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after a training that went well."""
    folder = tmp_path_factory.mktemp("sound")
    results = ROOT / "results" / "paper"
    (folder / "results").mkdir()
    (folder / "results" / "paper").symlink_to(results)
    write_recipe(folder / SAF, recipe())
    for number, (part, images) in enumerate(IMAGES.items()):
        first = 100 * number
        array = features(range(first, first + images)) / 1e5
        scan_part(folder / "precomp", part, images, array=array, ids=range(first, first + images))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert reproduce().code == 0, reproduce().err
    (folder / WEIGHTS).parent.mkdir()
    for name in ("best.safetensors", "vocabulary.json"):
        (folder / ".rematch/flickr30k/sgraf-saf/0" / name).rename(folder / WEIGHTS.parent / name)
    return folder


@pytest.fixture
def home(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data and recipe of that folder, its weights elsewhere; no run."""
    for name in ("recipes", "precomp", "elsewhere"):
        shutil.copytree(sound / name, tmp_path / name)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "paper").symlink_to((sound / "results" / "paper").resolve())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def array_of(part: str) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = np.load(f"precomp/{part}_ims.npy")
    return found


def regions(count: int, width: int = 4) -> Damage:
    return lambda folder: np.save(folder / "test_ims.npy", features(range(6), count, width) / 1e5)


def numbers(value: float) -> Damage:
    def damage(folder: Path) -> None:
        array = array_of("test")
        array[3, 17, 2] = value
        np.save(folder / "test_ims.npy", array)

    return damage


def line(number: int, text: bytes) -> Damage:
    def damage(folder: Path) -> None:
        lines = (folder / "test_caps.txt").read_bytes().split(b"\n")
        lines[number - 1] = text
        (folder / "test_caps.txt").write_bytes(b"\n".join(lines))

    return damage


def cut(folder: Path) -> None:
    whole = (folder / "test_ims.npy").read_bytes()
    (folder / "test_ims.npy").write_bytes(whole[:-10])


DAMAGES: dict[str, tuple[Damage, str]] = {
    "counts": (
        lambda folder: np.save(folder / "test_ims.npy", array_of("test")[:5]),
        "test_ims.npy and test_caps.txt: found features of 5 images and 30 captions, expected 6 images, or 30",
    ),
    "35 regions": (
        regions(35),
        "field 'data.regions': split 'test' has 35 regions of width 4 an image (SCAN features test_ims.npy), the model "
        "reads 36 of width 4",
    ),
    "37 regions": (
        regions(37),
        "split 'test' has 37 regions of width 4 an image (SCAN features test_ims.npy)",
    ),
    "width": (regions(36, 5), "split 'test' has 36 regions of width 5 an image (SCAN features test_ims.npy)"),
    "NaN": (numbers(np.nan), "test_ims.npy: row 3: region 17 holds nan, expected finite numbers"),
    "infinity": (numbers(-np.inf), "test_ims.npy: row 3: region 17 holds -inf, expected finite numbers"),
    "empty caption": (line(7, b"  "), "test_caps.txt: line 7 is empty, expected a caption"),
    "no UTF-8": (line(9, b"a \xff dog"), "test_caps.txt: line 9 is not UTF-8"),
    "cut short": (cut, "test_ims.npy: found 3,574 bytes, expected 3,584 for 6 images; fetch it again"),
    "integers": (
        lambda folder: np.save(folder / "test_ims.npy", array_of("test").astype(np.int32)),
        "test_ims.npy: found an array of int32, expected float32 (images, regions, width)",
    ),
    "no features": (
        lambda folder: (folder / "test_ims.npy").unlink(),
        "found no testall_ims.npy or test_ims.npy, expected a SCAN folder",
    ),
    "no captions": (lambda folder: (folder / "test_caps.txt").unlink(), "test_caps.txt cannot be read"),
    "ids": (
        lambda folder: (folder / "test_ids.txt").write_text("1\n2\n"),
        "test_ids.txt: found 2 ids, expected 6, one an image, or 30, one a caption",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_data_are_one_line(home: Path, name: str) -> None:
    """In a training and in an evaluation of weights; the test split is read before anything is trained."""
    damage, message = DAMAGES[name]
    damage(home / "precomp")
    before = contents()
    for found in (reproduce(), command("evaluate", "--recipe", SAF, "--checkpoint", WEIGHTS)):
        assert message in found.error
        assert contents() == before


def test_the_weights_can_be_evaluated_where_nothing_is_damaged(home: Path) -> None:
    said = command("evaluate", "--recipe", SAF, "--checkpoint", WEIGHTS)
    assert said.code == 0, home
    reason = "vocabulary built by the published rule, 16 words; the authors' has 8,481"
    assert f"not comparable with the paper: {reason}" in said.out


def test_words_that_are_not_the_authors_are_a_departure_of_the_record(sound: Path) -> None:
    record = read_record(sound / "results/runs/flickr30k/sgraf-saf/0.json")
    assert record.departures[-1] == "vocabulary built by the published rule, 16 words; the authors' has 8,481"


def test_an_ensemble_names_its_members_words_and_all_read_the_named_file(home: Path) -> None:
    sgr = recipe()
    sgr["model"]["module"] = "SGR"
    write_recipe(SAF.with_name("flickr30k-sgr.yaml"), sgr)
    both = SAF.with_name("flickr30k-ensemble.yaml")
    row = {"method": "sgraf", "variant": "SGRAF (paper)"}
    members = ["flickr30k-saf", "flickr30k-sgr"]
    write_recipe(both, {"summary": "x", "ensemble": members, "departures": [], "paper_row": row})
    write_words(home / "vocab.json", Vocabulary((*SPECIAL[:4], "caption", "image"), "ours"))
    said = command("reproduce", both, "--vocab", "vocab.json", "--no-latency", "--no-tables")
    assert said.code == 0, said.err
    runs = home / "results/runs/flickr30k"
    for name in ("sgraf-saf", "sgraf-sgr", "sgraf-ensemble"):
        record = read_record(runs / name / "0.json")
        assert record.codec.startswith("words:ours:6:")
        assert " + " not in record.codec
        assert record.departures.count("vocabulary ours, 6 words; the authors' has 8,481") == 1


def test_a_folder_that_is_lacking_is_said_before_anything_is_trained(home: Path) -> None:
    shutil.copytree(HAT_RECIPES, "recipes/hat")
    before = contents()
    error = rematch("reproduce", "all", "flickr30k", "--device", "cpu").error
    assert error == (
        f"{SAF.as_posix()}: field 'data.regions.source': found 'scan', which reads a folder: name it with --data-dir"
    )
    assert contents() == before, home
    assert rematch("reproduce", SAF, "--dry-run", "--device", "cpu").code == 0


def documents() -> dict[str, tuple[dict[str, Any], str]]:
    words = [*SPECIAL[:4], "a", "dog"]
    ids = {word: number for number, word in enumerate(words)}
    whole = {"word2idx": ids, "idx2word": {str(number): word for word, number in ids.items()}, "idx": 6}
    gap = {**ids, "dog": 6}
    other = {"<unk" if word == "<unk>" else word: number for word, number in ids.items()}
    return {
        "gap": ({**whole, "word2idx": gap}, "field 'word2idx': found no id 5 among 6 words"),
        "no <unk>": (
            {**whole, "word2idx": other},
            "field 'word2idx': found '<unk' for id 3, expected '<unk>'",
        ),
        "reverse": (
            {**whole, "idx2word": {**whole["idx2word"], "5": "cat"}},  # type: ignore[dict-item]
            "field 'idx2word.5': found \"cat\", word2idx says 'dog'",
        ),
        "size": ({**whole, "idx": 9}, "field 'idx': found 9, expected 6, the number of words"),
    }


@pytest.mark.parametrize("name", documents())
def test_a_damaged_vocabulary_is_one_line(home: Path, name: str) -> None:
    document, message = documents()[name]
    (home / "vocab.json").write_text(json.dumps(document), encoding="utf-8")
    before = contents()
    for found in (
        reproduce("--vocab", "vocab.json"),
        command("evaluate", "--recipe", SAF, "--checkpoint", WEIGHTS, "--vocab", "vocab.json"),
    ):
        assert found.error.startswith("vocab.json: ")
        assert message in found.error
        assert contents() == before


def test_a_vocabulary_of_another_size_is_refused_with_weights(home: Path) -> None:
    write_words(home / "vocab.json", Vocabulary((*SPECIAL[:4], "a", "dog"), "other"))
    before = contents()
    found = command("evaluate", "--recipe", SAF, "--checkpoint", WEIGHTS, "--vocab", "vocab.json")
    assert found.error.startswith("elsewhere/best.safetensors: a word embedding of ")
    assert "has 6 words; give the vocabulary it was trained with (--vocab)" in found.error
    assert contents() == before
