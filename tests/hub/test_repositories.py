"""The twins of the repositories: what their cards say, and what published data must be (data.md 1.1, 1.2, 1.5, 2.1)."""

from __future__ import annotations

import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import datasets
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from PIL import Image

from tests.data.published.splits import naive_facts
from tests.hub.repositories import LAYOUTS, karpathy_folder, repository, tiny_repositories, write_parquet
from tests.hub.rows import (
    COLOURS,
    TINY,
    WHOLE,
    WHOLE_COCO,
    Row,
    captions_of,
    colours_of,
    flickr8k_rows,
    flickr30k_rows,
    mscoco_rows,
    picture,
)
from tests.paths import ROOT


def sha256(items: Iterable[object]) -> str:
    return hashlib.sha256("".join(f"{item}\n" for item in items).encode()).hexdigest()


# ------------------------------------------------------------------------------------------ tiny


def test_every_twin_loads_as_its_card_says(tmp_path: Path) -> None:
    for item in tiny_repositories(tmp_path / "twins"):
        layout = LAYOUTS[item.name]
        folder = item.commits[item.commit_of(layout.branch) or ""]
        assert folder.is_dir()
        loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache" / item.name))
        assert set(loaded) == set(layout.parts)
        for split in loaded.values():
            assert split.features == datasets.Features(layout.features), item.name
            for row in split:
                assert "image" not in row or row["image"].size == (48, 32)


def test_a_twin_has_the_commit_that_was_described(tmp_path: Path) -> None:
    for item in tiny_repositories(tmp_path):
        layout = LAYOUTS[item.name]
        commit = item.commit_of(layout.branch)
        assert commit is not None
        assert re.fullmatch("[0-9a-f]{40}", commit)
        assert commit.startswith(layout.commit)
        assert (item.main == commit) == (layout.branch == "main")


@pytest.mark.parametrize("rows", [flickr30k_rows(), flickr8k_rows(), mscoco_rows()])
def test_a_tiny_set_has_what_trips_readers(rows: list[Row]) -> None:
    for split in ("train", "val", "test"):
        chosen = [row for row in rows if row.split == split]
        modes = Counter(Image.open(io.BytesIO(row.image)).mode for row in chosen)
        assert modes["L"] == modes["CMYK"] == 1
        captions = [caption for row in chosen for caption in row.captions]
        assert len(captions) - len(set(captions)) >= 1
        assert any(caption != caption.rstrip() for caption in captions)
        assert any("\n" in caption.strip() for caption in captions)
        assert max(len(row.captions) for row in chosen) == (6 if chosen[0].cocoid else 5)


def test_captions_say_what_the_picture_shows() -> None:
    for number in (0, 1, 77, 31_013, 581_929):
        image = Image.open(io.BytesIO(picture(number)))
        corners = []
        for place in ((5, 5), (40, 5), (5, 25), (40, 25)):
            seen = image.getpixel(place)
            assert isinstance(seen, tuple)
            distance = {
                name: sum(abs(a - b) for a, b in zip(seen, value, strict=True))
                for name, value in COLOURS.items()
            }
            corners.append(min(distance, key=lambda name: distance[name]))
        assert tuple(corners) == colours_of(number)
        a, b, c, d = corners
        assert captions_of(number)[0] == f"{a} and {b} above {c} and {d}"
    assert len({colours_of(number) for number in range(4096)}) == 4096


def test_shards_and_chosen_splits(tmp_path: Path) -> None:
    rows = flickr30k_rows()
    folder = write_parquet("AnyModal/flickr30k", rows, tmp_path, shards=2, splits=["test"])
    files = sorted(folder.rglob("*.parquet"))
    assert [file.name for file in files] == ["test-00000-of-00002.parquet", "test-00001-of-00002.parquet"]
    found = [name for file in files for name in pq.read_table(file)["filename"].to_pylist()]
    assert found == [row.filename for row in rows if row.split == "test"]


def test_karpathy_folder(tmp_path: Path) -> None:
    rows = mscoco_rows()
    karpathy_folder("coco", rows, tmp_path)
    document = json.loads((tmp_path / "dataset_coco.json").read_text())
    assert [image["imgid"] for image in document["images"]] == list(range(len(rows)))
    for image in document["images"]:
        assert (tmp_path / image["filepath"] / image["filename"]).is_file()
        assert image["sentids"] == [sentence["sentid"] for sentence in image["sentences"]]
    assert document["images"][0]["cocoid"] == 391895
    assert document["images"][0]["sentids"][:5] == [770337, 771687, 772707, 776154, 781998]


# ----------------------------------------------------------------------------------------- whole


@pytest.fixture(scope="module")
def flickr30k() -> list[Row]:
    return flickr30k_rows(WHOLE)


FLICKR30K_NAMES = {
    "train": "97ee57e160a46c7d0e75298ebf57967e1245698a6f8806436ff07e61d1a41221",
    "val": "db26f03eaf833ec47bfaea129ed053b68cbcfc5d1f9a09c4cdf7c88fbfea7108",
    "test": "871e8ecafc66fb13e044ecccf669d04a865b4c58553227df86b933f0337a1563",
}


@pytest.mark.parametrize("split", FLICKR30K_NAMES)
def test_flickr30k_has_the_published_names(flickr30k: list[Row], split: str) -> None:
    names = [row.filename for row in flickr30k if row.split == split]
    assert len(names) == WHOLE[split]
    assert sha256(sorted(names)) == FLICKR30K_NAMES[split]


def test_flickr30k_has_the_published_counts(flickr30k: list[Row]) -> None:
    counts = {
        "train": (145_000, 144_475, 7_350_761),
        "val": (5_070, 5_068, 260_019),
        "test": (5_000, 4_998, 255_274),
    }
    for split, published in counts.items():  # data.md 1.7
        captions = [caption for row in flickr30k if row.split == split for caption in row.captions]
        facts = naive_facts(captions)
        found = (facts.captions, facts.distinct, facts.characters)
        assert all(
            abs(ours - theirs) <= 0.0005 * theirs for ours, theirs in zip(found, published, strict=True)
        )
    assert all(caption == " ".join(caption.split()) for caption in captions)
    assert {row.imgid: row.filename for row in flickr30k}[25] == "1007129816.jpg"


def test_mscoco_has_the_published_ids() -> None:
    rows = mscoco_rows({**WHOLE_COCO, "train": 500, "restval": 500})
    chosen = {part: [row for row in rows if row.split == part] for part in ("val", "test")}
    val = sorted(row.cocoid for row in chosen["val"])
    assert sha256(val) == "b7a7a89dd86f75f60dc1984613bde9048118c37bc5246e028c7b22aeb4199477"
    test = sorted(chosen["test"], key=lambda row: row.imgid)
    ids = [row.cocoid for row in test]
    assert [row.cocoid for row in chosen["test"]] != ids  # stored in another order
    assert sha256(sorted(ids)) == "d20da3dd48646d91a7ff7837c1c1f591d52c75e72921b2fd7f6854dc1093339f"
    assert sha256(ids) == "7bc285f5d29e0240c138f0adff1a2a4c3a4a4569522ea2a1607631f9ffe62108"
    five = [number for row in test for number in row.sentids[:5]]
    assert sha256(five) == "f80641277519ca01c71720575a015c3c71453da1125e2f6e09409d1b82fb7284"


@pytest.mark.slow
def test_mscoco_has_the_published_counts() -> None:
    rows = mscoco_rows(WHOLE_COCO)
    assert Counter(row.split for row in rows) == WHOLE_COCO
    captions = Counter[str]()
    for row in rows:
        captions[row.split] += len(row.captions)
        assert len(row.captions) == len(row.sentids)
    assert captions["train"] + captions["restval"] == 566_747
    assert captions["val"] == captions["test"] == 25_010
    assert len({row.cocoid for row in rows}) == len({row.imgid for row in rows}) == 123_287
    assert len({number for row in rows for number in row.sentids}) == 616_767


# --------------------------------------------------------------------------------------- command


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.hub", "--folder", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = ""
        while "rematch reproduce hat" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        match = re.search(r"export HF_ENDPOINT=(\S+)", said)
        assert match is not None
        with urllib.request.urlopen(f"{match[1]}/api/datasets/umaru97/flickr30k_train_val_test") as answer:
            assert json.load(answer)["sha"].startswith("d775c63")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert "requests: 1," in rest
    assert process.returncode == 0


def test_a_repository_of_another_folder(tmp_path: Path) -> None:
    folder = write_parquet("AnyModal/flickr30k", flickr8k_rows(dict.fromkeys(TINY, 2)), tmp_path)
    assert repository("AnyModal/flickr30k", folder).main.startswith("4e67daf")
