"""Whole runs of the methods that read words and regions, from a SCAN folder as the authors' code has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.data.text.vocabulary import read_words
from tests.data.region_files import PLANTED_THINGS
from tests.recipe.scan_runs import CHANGES, least_r1, make_scan_home, record_of, run_of, shrink
from tests.recipe.scan_runs import reproduce as on_scan_folder
from tests.tiny import rematch

RUNS = [  # what is run, of which members, and what it must reach at least
    ("sgraf/flickr30k-ensemble", ["saf", "sgr"], 25),
    ("sgraf/mscoco-ensemble", ["saf", "sgr"], 25),
    ("rcar/flickr30k-ensemble", ["t2i", "i2t"], 25),
    ("rcar/mscoco-i2t", [], 25),
    ("rcar/flickr30k-t2i-baseline", [], 15),  # variants without reported values
    ("rcar/flickr30k-i2t-rcr", [], 15),
    ("rcar/flickr30k-t2i-rar", [], 15),
]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with planted data, to work in."""
    monkeypatch.chdir(make_scan_home(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("recipe", "members", "least"), RUNS, ids=[run[0] for run in RUNS])
def test_a_run_from_a_scan_folder_learns(work: Path, recipe: str, members: list[str], least: float) -> None:
    start = recipe.removesuffix("ensemble")
    singles = [start + member for member in members] or [recipe]
    runs = list(dict.fromkeys([*singles, recipe]))
    for name in runs:
        shrink(work, name, CHANGES[name.partition("/")[0]])
    outcome = on_scan_folder(recipe, "--no-tables")
    assert outcome.code == 0, outcome.err
    for name in runs:
        record = record_of(name)
        dataset = record.dataset.name
        assert record.dataset.source == "SCAN region features, a local folder"
        assert record.codec.startswith(f"words:built-{dataset}-min4:")
        assert any("no _ids.txt" in reason for reason in record.departures)
        assert any(
            note.startswith("regions of 'test': SCAN features testall_ims.npy") for note in record.notes
        )
        assert least_r1(record) >= least, name
        if name in singles:
            kept = read_words(work / f".rematch/{run_of(name)}/0/vocabulary.json")
            assert set(kept.words[4:]) == set(PLANTED_THINGS)  # <mask> is the method's, not in the file


STORED = {"data.regions": {"source": "scan"}}
"""A recipe of one's own that takes nothing but SCAN's features."""


def dry(recipe: str, *arguments: str) -> tuple[str, ...]:
    return ("reproduce", f"recipes/{recipe}.yaml", "--no-latency", "--no-tables", "--no-progress", *arguments)


def test_without_a_folder_the_error_says_what_to_name(work: Path) -> None:
    shrink(work, "sgraf/flickr30k-saf", CHANGES["sgraf"] | STORED)
    error = rematch(*dry("sgraf/flickr30k-saf", "--device", "cpu")).error
    assert error.startswith("recipes/sgraf/flickr30k-saf.yaml: field 'data.regions.source': found 'scan'")
    assert "--data-dir" in error


def test_a_dry_run_fetches_no_features(work: Path) -> None:
    shrink(work, "sgraf/mscoco-sgr", CHANGES["sgraf"] | STORED)
    text = rematch(*dry("sgraf/mscoco-sgr", "--device", "cpu", "--dry-run")).good
    assert "nothing: the features are in the folder that --data-dir names" in text
    assert "train 113,287, val 1,000, test 5,000 images" in text
