"""A repository of the Hub as an own dataset, through `datasets`, against the local twin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import yaml

from benchmark.data.load import load_dataset
from benchmark.data.own.index import read_index
from benchmark.errors import UserError
from tests.data.own.sources import NAMES, PARTS, bring_in, captions_of, encoded
from tests.hub.client import pointed_at
from tests.hub.server import HubTwin
from tests.hub.store import Repository, made_up_commit

NAME = "somebody/pictures"
COMMIT = made_up_commit("abc", NAME)


def write_repository(folder: Path) -> Repository:
    """Three splits of parquet files with a column of type Image, and a README that says so."""
    for part in ("train", "validation", "test"):
        numbers = [n for n in range(len(NAMES)) if PARTS[n] == {"validation": "val"}.get(part, part)]
        pictures = [{"bytes": encoded(number), "path": NAMES[number]} for number in numbers]
        texts = [captions_of(number) for number in numbers]
        path = folder / "data" / f"{part}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"photo": pictures, "sentences": texts}), path)
    features = [
        {"name": "photo", "dtype": "image"},
        {"name": "sentences", "list": "string"},
    ]
    files = [{"split": part, "path": f"data/{part}-*"} for part in ("train", "validation", "test")]
    head = {
        "dataset_info": {"features": features},
        "configs": [{"config_name": "default", "data_files": files}],
    }
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(head)}---\n")
    return Repository(NAME, {COMMIT: folder})


@pytest.fixture
def twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubTwin]:
    with HubTwin([write_repository(tmp_path / "repository")]) as twin:
        pointed_at(twin, monkeypatch, tmp_path / "cache")
        yield twin


def test_a_repository_is_a_dataset_at_its_commit(twin: HubTwin) -> None:
    own = bring_in(NAME).own
    card = own.card
    assert (card.layout, card.source, card.revision) == ("hub", NAME, COMMIT)
    assert card.columns == {"image": "photo", "caption": "sentences"}
    assert card.splits.given == ["train", "val", "test"]
    found = {item.file: list(item.captions) for items in read_index(own).values() for item in items}
    assert found == {name: captions_of(number) for number, name in enumerate(NAMES)}
    loaded = load_dataset("mine", captions_per_image=None, show_progress=False)
    assert loaded.splits["test"].images[0].getpixel((0, 0)) == (200, 55, 7)
    assert NAME in loaded.source
    assert twin.downloads(NAME)


def test_a_repository_that_is_not_there(twin: HubTwin) -> None:
    with pytest.raises(UserError, match=r"nobody/nothing: no such repository"):
        bring_in("nobody/nothing")
    assert twin.repositories


def loose_pictures(folder: Path, names: list[str]) -> Repository:
    """Pictures as files, and a table of their captions."""
    folder.mkdir()
    rows = ["file_name,text"]
    for number, name in enumerate(names):
        (folder / name).write_bytes(encoded(number))
        rows.append(f"{name},a picture of number {number}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return Repository(NAME, {COMMIT: folder})


def test_loose_pictures_are_a_dataset_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}.png" for number in range(9)]
    with HubTwin([loose_pictures(tmp_path / "plain", names)]) as twin:
        pointed_at(twin, monkeypatch, tmp_path / "cache")
        own = bring_in(NAME).own
        assert sorted(item.file for items in read_index(own).values() for item in items) == names
        loaded = load_dataset("mine", captions_per_image=None, show_progress=False)
        assert all(split.images[0].size[0] > 1 for split in loaded.splits.values())


def test_pictures_that_the_library_leaves_out_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash-test-dummy among other pictures makes a split of its own, and the others are in none."""
    names = ["crash-test-dummy.png", *(f"cat {letter}.png" for letter in "abcdefgh")]
    with HubTwin([loose_pictures(tmp_path / "words", names)]) as twin:
        pointed_at(twin, monkeypatch, tmp_path / "cache")
        with pytest.raises(UserError, match=r"words like test or val, .*: 8 \(cat a.png, .* and \d more\)"):
            bring_in(NAME)
