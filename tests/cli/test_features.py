"""`rematch data features`: an extraction alone, what it says, what it exports, and how it ends where it must."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.recipe.schema import DETECTED
from tests.data.regions.fake_detector import FakeDetector, put_in_place
from tests.hub.client import pointed_at
from tests.hub.repositories import repository, write_parquet
from tests.hub.rows import flickr8k_rows, flickr30k_rows
from tests.hub.server import HubTwin
from tests.tiny import contents, refused, rematch

COUNTS = {"train": 12, "val": 4, "test": 6}
GIVEN = ("--data-dir", "pictures", "--unverified", "--no-progress", "--device", "cpu")


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[FakeDetector]:
    """A folder of pictures, and detectors that are fakes."""
    write_parquet("AnyModal/flickr30k", flickr8k_rows(COUNTS), tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    return put_in_place(monkeypatch)


def extract(*arguments: object) -> list[dict[str, str]]:
    """The rows that the command prints."""
    said = rematch("data", "features", "flickr30k", *GIVEN, "--format", "csv", *arguments).good
    return list(csv.DictReader(io.StringIO(said)))


def test_each_picture_is_looked_at_once(loaded: list[FakeDetector]) -> None:
    few = extract("--limit", 3)
    assert [(row["split"], row["images"]) for row in few] == [("train", "3"), ("val", "3"), ("test", "3")]
    assert len(loaded[-1].seen) == 9
    whole = extract()
    assert [row["images"] for row in whole] == ["12", "4", "6"]
    assert sum(len(fake.seen) for fake in loaded) == 22
    before = contents()
    assert extract() == whole
    assert contents() == before
    assert sum(len(fake.seen) for fake in loaded) == 22
    # the command counts what its own detector found
    counts = [min(36, int(picture[0, 0, 0])) for fake in loaded for picture in fake.seen]
    assert sum(int(row["under_36"]) for row in whole) == sum(count < 36 for count in counts)
    assert min(int(row["fewest"]) for row in whole) == min(counts)


def test_the_report_says_whose_features_they_are(loaded: list[FakeDetector]) -> None:
    said = rematch("data", "features", "flickr30k", *GIVEN, "--split", "test").good
    assert f"{DETECTED} (caffe mode, " in said
    assert "kept in .rematch/features/detector-" in said
    assert "36 of 300 proposals at 600/1000" in said
    assert len(loaded) == 1


def test_other_settings_have_features_of_their_own(loaded: list[FakeDetector]) -> None:
    for more in ((), ("--mode", "hub"), ("--precision", "float32")):
        extract("--split", "val", *more)
    assert [len(fake.seen) for fake in loaded] == [4, 4, 4]
    assert len(list(Path(".rematch/features").iterdir())) == 3


def test_an_exported_folder_is_like_what_was_kept(loaded: list[FakeDetector]) -> None:
    said = rematch("data", "features", "flickr30k", *GIVEN, "--export-scan", "scan").good
    assert "wrote scan: rematch.json, train_ims.npy" in said
    (kept,) = Path(".rematch/features").iterdir()
    found = rematch("data", "compare-features", "scan", kept, "--format", "csv", "--no-progress").good
    last = found.splitlines()[-1].split(",")
    assert last[0] == "all"
    assert [float(value) for value in last[1:]] == pytest.approx([1, 1, 1], abs=1e-9)
    again = contents()
    extract("--export-scan", "scan")  # which may have been interrupted
    assert contents() == again
    assert len(loaded) == 1


def test_a_folder_with_other_files_is_not_exported_to(loaded: list[FakeDetector]) -> None:
    Path("precomp").mkdir()
    Path("precomp/test_ims.npy").write_bytes(b"of somebody")
    error = refused("data", "features", "flickr30k", *GIVEN, "--export-scan", "precomp")
    assert error == "option --export-scan: precomp holds other files; name an empty folder"
    assert not loaded


def test_a_broken_picture_is_named_and_left_out_when_asked(
    tmp_path: Path, loaded: list[FakeDetector]
) -> None:
    rows = flickr8k_rows(COUNTS)
    rows[7] = replace(rows[7], image=rows[7].image[:200])
    write_parquet("AnyModal/flickr30k", rows, tmp_path / "damaged")
    command = ("data", "features", "flickr30k", *GIVEN, "--data-dir", "damaged", "--split", "train")
    said = rematch(*command)
    assert said.code == 2
    assert rows[7].filename in said.err.splitlines()[-1]
    assert "--skip-corrupt leaves such pictures out" in said.err
    found = rematch(*command, "--skip-corrupt", "--format", "csv").good
    (row,) = csv.DictReader(io.StringIO(found))
    assert row["images"] == "11"
    assert sum(len(fake.seen) for fake in loaded) == 11  # none a second time


def test_only_the_files_of_the_wanted_splits_are_fetched(
    tmp_path: Path, loaded: list[FakeDetector], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "umaru97/flickr30k_train_val_test"
    with HubTwin([repository(name, write_parquet(name, flickr30k_rows(), tmp_path / "twin"))]) as twin:
        pointed_at(twin, monkeypatch, tmp_path / "cache")
        monkeypatch.setenv("REMATCH_REVISIONS", str(tmp_path / "cache/revisions.yaml"))
        options = ("--split", "test", "--limit", "2", "--unverified", "--no-progress", "--device", "cpu")
        rematch("data", "features", "flickr30k", *options).good  # noqa: B018  # it ends well
        assert [file for file in twin.downloads(name) if file.endswith(".parquet")] == [
            "data/test-00000-of-00001-f4c5570f14a435eb.parquet"
        ]
    assert len(loaded[0].seen) == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("features", "flickr31k"), "unknown dataset 'flickr31k'; did you mean 'flickr30k'?"),
        (("features", "flickr30k", "--split", "tset"), "unknown split 'tset'; did you mean 'test'?"),
        (("compare-features", "pictures", "nowhere"), "nowhere: no such folder, nor a .tsv file"),
        (("compare-features", "a", "b", "--dataset", "flickr31k"), "unknown dataset 'flickr31k'"),
    ],
)
def test_mistakes_are_one_line(loaded: list[FakeDetector], arguments: tuple[str, ...], error: str) -> None:
    said = rematch("data", *arguments, "--device", "cpu")
    assert said.code == 2
    assert error in said.err.splitlines()[-1]
    assert len(loaded) <= 1
