"""Flickr30K, MSCOCO and Flickr8K from a twin of the Hub: which source serves, what is asked for, what is locked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest

from benchmark.data.load import SPLITS, load_dataset
from benchmark.data.published.hub import download_estimate
from benchmark.data.published.revisions import keep, read_revisions
from benchmark.data.splits import Dataset, SplitName
from benchmark.errors import UserError
from tests.hub import server, store
from tests.hub.client import RESUMED_BY, pointed_at
from tests.hub.repositories import karpathy_folder, write_parquet
from tests.hub.rows import flickr8k_rows, flickr30k_rows, mscoco_rows
from tests.hub.server import HubTwin
from tests.hub.store import Repository, made_up_commit
from tests.tiny import rematch

FLICKR = ("umaru97/flickr30k_train_val_test", "AnyModal/flickr30k", "nlphuji/flickr30k")
FATIMA = "Multimodal-Fatima/COCO_captions_"
pytestmark = pytest.mark.usefixtures("hub")

KOREAN = "jp1924/KoreanImageCaptioningDataset"


def load(name: str, *splits: SplitName, restval: bool = False, data_dir: Path | None = None) -> Dataset:
    options = {"restval": True} if restval else {}
    return load_dataset(name, options, splits=splits, data_dir=data_dir, unverified=True, show_progress=False)


def expected_captions(name: str, split: str, parts: tuple[str, ...]) -> list[str]:
    """The first five captions of each image in Karpathy's order, as the rows of the twins have them."""
    makers = {"flickr30k": flickr30k_rows, "mscoco": mscoco_rows, "flickr8k": flickr8k_rows}
    rows = [row for row in makers[name]() if row.split in parts]
    if name != "flickr8k":
        rows = sorted(rows, key=lambda row: row.imgid)
    assert rows, split
    return [" ".join(text.strip().splitlines()) for row in rows for text in row.captions[:5]]


# ---------------------------------------------------------------------------------- what is loaded


@pytest.mark.parametrize("name", ["flickr30k", "mscoco", "flickr8k"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_in_karpathys_order(name: str, split: SplitName) -> None:
    data = load(name, split)
    found = data.splits[split]
    assert found.captions == expected_captions(name, split, (split,))
    assert np.array_equal(found.caption_image, np.arange(len(found.captions)) // 5)
    for row in range(len(found)):  # one is grey, one CMYK
        assert found.images[row].mode == "RGB"
    assert data.source == "Hugging Face Hub"
    assert len(data.revision.split("@")[1]) == 40


def test_pictures_that_are_grey_or_cmyk_are_converted() -> None:
    """The second picture of a tiny split is grey and the third CMYK; both come out in colour channels."""
    modes = [row.image[:2] for row in flickr30k_rows() if row.split == "test"]
    assert len(modes) == 3
    images = load("flickr30k", "test").splits["test"].images
    assert [image.mode for image in (images[0], images[1], images[2])] == ["RGB"] * 3
    grey = np.asarray(images[1])
    assert np.array_equal(grey[..., 0], grey[..., 1])


def test_restval_is_part_of_training_only_where_it_is_asked_for() -> None:
    assert load("mscoco", "train").splits["train"].captions == expected_captions(
        "mscoco", "train", ("train",)
    )
    both = load("mscoco", "train", restval=True)
    assert both.splits["train"].captions == expected_captions("mscoco", "train", ("train", "restval"))
    assert both.options == {"restval": True}


def test_the_sixth_caption_is_left_out() -> None:
    rows = [row for row in mscoco_rows() if row.split == "test"]
    assert max(len(row.captions) for row in rows) == 6
    ids = load("mscoco", "test").splits["test"].caption_ids
    assert ids == [
        str(number) for row in sorted(rows, key=lambda row: row.imgid) for number in row.sentids[:5]
    ]


# ----------------------------------------------------------------------------- which source serves


def gone(hub: HubTwin, repo: str) -> None:
    hub.repositories[repo].state = "gone"


def gated(hub: HubTwin, repo: str) -> None:
    hub.repositories[repo].state = "gated"


def other_columns(hub: HubTwin, repo: str) -> None:
    """The repository with its captions under another name."""
    found = hub.repositories[repo]
    for folder in list(found.commits.values()):
        copy = Path(f"{folder}-{repo.replace('/', '-')}-altered")
        for path in sorted(folder.rglob("*.parquet")):
            table = datasets.Dataset.from_parquet(path.as_posix(), cache_dir=str(copy / "prepared"))
            column = next(name for name in ("sentences_raw", "caption") if name in table.column_names)
            table.rename_column(column, "texts").to_parquet(copy / path.relative_to(folder))
        found.commits = dict.fromkeys(found.commits, copy)


@pytest.mark.parametrize("trouble", [gone, gated, other_columns])
@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("flickr30k", FLICKR[0], FLICKR[1]), ("mscoco", f"{FATIMA}test", KOREAN)],
)
def test_the_next_source_is_taken_and_said(
    hub: HubTwin,
    trouble: Callable[[HubTwin, str], None],
    name: str,
    first: str,
    second: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trouble(hub, first)
    data = load(name, "test")
    part = ("test",)
    assert data.splits["test"].captions == expected_captions(name, "test", part)
    assert data.revision.startswith(f"{second}@")
    assert data.notes[0] == f"split 'test': from {second}, a fallback of {first}"
    said = capsys.readouterr().err
    assert f"{first}: " in said
    assert "trying the next source" in said
    assert read_revisions().sources == {f"{name}/test": second}


def test_the_third_source_of_flickr30k_is_a_whole_corpus(hub: HubTwin) -> None:
    gone(hub, FLICKR[0])
    gated(hub, FLICKR[1])
    for split in ("train", "val", "test"):
        found = load("flickr30k", split).splits[split]
        assert found.captions == expected_captions("flickr30k", split, (split,))
    asked = hub.downloads(FLICKR[2])
    assert asked
    assert not [name for name in asked if name.endswith("duckdb")]


def test_the_third_source_of_mscoco_takes_pictures_from_a_folder(tmp_path: Path) -> None:
    for row in mscoco_rows():
        path = tmp_path / "coco" / row.filepath / row.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row.image)
    data = load("mscoco", "train", "test", restval=True, data_dir=tmp_path / "coco")
    assert data.splits["train"].captions == expected_captions("mscoco", "train", ("train", "restval"))
    assert data.splits["test"].captions == expected_captions("mscoco", "test", ("test",))
    assert data.splits["test"].images[0].size == (48, 32)
    assert data.revision.startswith("yerevann/coco-karpathy@03528ca")


def test_no_source_left_is_one_line_with_every_reason(hub: HubTwin) -> None:
    gone(hub, FLICKR[0])
    gated(hub, FLICKR[1])
    gone(hub, FLICKR[2])
    with pytest.raises(UserError, match=r"no such repository.*gated; ask for access.*--data-dir") as caught:
        load("flickr30k", "test")
    assert "\n" not in str(caught.value)
    assert read_revisions().sources == {}


def test_a_source_once_taken_stays(hub: HubTwin) -> None:
    gone(hub, FLICKR[0])
    first = load("flickr30k", "test")
    hub.repositories[FLICKR[0]].state = "present"
    second = load("flickr30k", "test")
    assert (second.revision, second.notes) == (first.revision, first.notes)
    assert second.fingerprint == first.fingerprint


# -------------------------------------------------------------------------------- which files, when


@pytest.mark.parametrize(("name", "repo"), [("flickr30k", FLICKR[0]), ("mscoco", f"{FATIMA}test")])
def test_only_the_wanted_split_is_asked_for(hub: HubTwin, name: str, repo: str) -> None:
    load(name, "test")
    asked = hub.downloads()
    assert asked
    assert all("test-" in path for path in asked if path.endswith(".parquet"))
    assert {item.repo for item in hub.requests if item.repo} == {repo}


def test_what_is_cached_and_locked_asks_nobody(hub: HubTwin) -> None:
    load("flickr30k", "test")
    hub.requests.clear()
    load("flickr30k", "test")
    assert hub.requests == []


@pytest.fixture
def large(hub: HubTwin, tmp_path: Path) -> list[Path]:
    """Flickr30K's first source with three training files of some 50 kB; the files."""
    counts = {"train": 300, "val": 1, "test": 1}
    folder = write_parquet(FLICKR[0], flickr30k_rows(counts), tmp_path / "large", shards=3)
    hub.repositories[FLICKR[0]] = Repository(FLICKR[0], {hub.repositories[FLICKR[0]].main: folder})
    return sorted((folder / "data").glob("train-*.parquet"))


def test_a_broken_connection_is_taken_up_where_it_broke(hub: HubTwin, large: list[Path]) -> None:
    size, name = large[1].stat().st_size, f"data/{large[1].name}"
    assert size > 4 * RESUMED_BY
    hub.repositories[FLICKR[0]].cuts[name] = [size // 2]
    assert len(load("flickr30k", "train").splits["train"]) == 300
    served = [item for item in hub.requests if item.method == "GET" and item.file == name]
    assert [bool(item.range) for item in served] == [False, True]
    assert sum(item.sent for item in served) <= size + RESUMED_BY


def test_files_that_came_whole_before_an_interruption_are_kept(hub: HubTwin, large: list[Path]) -> None:
    size, name = large[1].stat().st_size, f"data/{large[1].name}"
    hub.repositories[FLICKR[0]].cuts[name] = [size // 2] * 99  # more often than the library tries
    with pytest.raises(UserError, match=r"the connection broke.*run the same command again") as caught:
        load("flickr30k", "train")
    assert "\n" not in str(caught.value)
    assert read_revisions().commits == {}  # nothing was read from it yet
    hub.repositories[FLICKR[0]].cuts.clear()
    came = set(hub.downloads(FLICKR[0])) - {name}
    assert f"data/{large[0].name}" in came
    hub.requests.clear()
    assert len(load("flickr30k", "train").splits["train"]) == 300
    assert name in hub.downloads()
    assert f"data/{large[0].name}" not in hub.downloads()


def spoil(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-300])


def test_a_file_spoilt_in_the_cache_is_taken_away_and_fetched_again(hub: HubTwin, cache: Path) -> None:
    before = load("flickr30k", "test")
    (link,) = (cache / "hub").rglob("snapshots/*/data/test-*.parquet")
    spoil(link.resolve())
    with pytest.raises(
        UserError, match=r"test-.* was damaged in the Hugging Face cache.*run the same command"
    ):
        load("flickr30k", "test")
    hub.requests.clear()
    assert load("flickr30k", "test").fingerprint == before.fingerprint
    assert hub.downloads() == [f"data/{link.name}"]


def test_a_repository_with_a_damaged_file_gives_way(hub: HubTwin, tmp_path: Path) -> None:
    folder = write_parquet(FLICKR[0], flickr30k_rows(), tmp_path / "damaged")
    for path in (folder / "data").glob("test-*.parquet"):
        spoil(path)
    hub.repositories[FLICKR[0]] = Repository(FLICKR[0], {hub.repositories[FLICKR[0]].main: folder})
    assert load("flickr30k", "test").revision.startswith(FLICKR[1])
    assert load("flickr30k", "val").revision.startswith(FLICKR[0])


def test_a_file_other_than_the_announced_one_is_neither_taken_nor_locked(
    hub: HubTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    git, _ = store.identity(Path(__file__))
    with monkeypatch.context() as wrong:
        wrong.setattr(server, "identity", lambda _: (git, "0" * 64))
        with pytest.raises(UserError, match=r"test-.* was damaged in the Hugging Face cache and is removed"):
            load("flickr30k", "test")
    assert read_revisions().sources == {}
    assert load("flickr30k", "test").revision.startswith(FLICKR[0])
    assert read_revisions().sources == {"flickr30k/test": FLICKR[0]}
    assert hub.downloads()


def test_verify_reads_the_prepared_files_again(cache: Path) -> None:
    def checks() -> str:
        told = rematch("data", "verify", "flickr30k", "--split", "test", "--no-progress")
        return " ".join(told.out.replace("│", " ").split())

    assert "prepared files ok" in checks()
    (copy,) = [path for path in cache.rglob("*.arrow") if path.is_file()]
    status, content = copy.stat(), bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "prepared files differs" in checks()


def test_three_containers_of_the_same_data_have_one_fingerprint(tmp_path: Path) -> None:
    rows = flickr8k_rows()
    numbered = write_parquet("jxie/flickr8k", rows, tmp_path / "numbered")
    by_name = write_parquet("intro/flickr8k", rows, tmp_path / "named")
    pictures = karpathy_folder("flickr8k", rows, tmp_path / "pictures")
    found = {
        name: [
            load("flickr8k", name, data_dir=folder).fingerprint for folder in (numbered, by_name, pictures)
        ]
        for name in SPLITS
    }
    assert all(len(set(three)) == 1 for three in found.values())
    assert len({three[0] for three in found.values()}) == 3
    assert load("flickr8k", "val").fingerprint == found["val"][0]
    changed = [replace(row, captions=[*row.captions[1:], row.captions[0]]) for row in rows]
    other = write_parquet("jxie/flickr8k", changed, tmp_path / "captions")
    swapped = [replace(row, image=rows[0].image) for row in rows]
    pixels = write_parquet("jxie/flickr8k", swapped, tmp_path / "pixels")
    backwards = write_parquet("jxie/flickr8k", rows[::-1], tmp_path / "order")
    for folder in (other, pixels, backwards):
        assert load("flickr8k", "val", data_dir=folder).fingerprint != found["val"][0]


# ---------------------------------------------------------------------------------------- revisions


def test_the_commit_is_locked_and_taken_again(hub: HubTwin, tiny: Path, tmp_path: Path) -> None:
    repo = FLICKR[0]
    old = hub.repositories[repo].main
    load("flickr30k", "test")
    assert read_revisions().commits == {repo: old}
    newer = made_up_commit("beef", repo)
    folder = write_parquet(repo, flickr30k_rows({"train": 1, "val": 1, "test": 2}), tmp_path / "newer")
    hub.repositories[repo] = Repository(repo, {newer: folder, old: tiny / repo})
    assert load("flickr30k", "val").revision == f"{repo}@{old}"


def test_a_locked_commit_that_is_gone_is_no_reason_for_another(hub: HubTwin) -> None:
    found = hub.repositories[f"{FATIMA}test"]
    load("mscoco", "test")
    (folder,) = found.commits.values()
    hub.repositories[f"{FATIMA}test"] = Repository(f"{FATIMA}test", {made_up_commit("cafe", "x"): folder})
    assert len(load("mscoco", "test").splits["test"]) == 3  # cached
    lock_of_another_machine = read_revisions().commits[f"{FATIMA}test"]
    for path in (Path(datasets.config.HF_CACHE_HOME) / "hub").rglob(f"snapshots/{lock_of_another_machine}"):
        path.rename(path.with_name("f" * 40))
    with pytest.raises(UserError, match=r"has no revision .*--update"):
        load("mscoco", "test")


def test_a_described_commit_that_is_not_in_the_history(hub: HubTwin, tiny: Path) -> None:
    hub.repositories[FLICKR[0]] = Repository(FLICKR[0], {"e" * 40: tiny / FLICKR[0]})
    with pytest.raises(UserError, match=r"no commit d775c63 in its history of 1 commits.*--update"):
        load("flickr30k", "test")


def test_offline_takes_the_locked_commit_from_the_cache(
    hub: HubTwin, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = load("flickr30k", "test", "val")
    pointed_at(hub, monkeypatch, cache, offline=True)
    hub.requests.clear()
    assert load("flickr30k", "test", "val").fingerprint == online.fingerprint
    with pytest.raises(UserError, match=r"not in the Hugging Face cache|not whole in the Hugging Face cache"):
        load("flickr30k", "train")
    assert hub.requests == []


def test_offline_with_another_commit_cached_is_an_error(
    hub: HubTwin, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("flickr30k", "test")
    commit = read_revisions().commits[FLICKR[0]]
    for path in (cache / "hub").rglob(f"snapshots/{commit}"):
        path.rename(path.with_name("abcdef0" + "0" * 33))
    pointed_at(hub, monkeypatch, cache, offline=True)
    with pytest.raises(
        UserError, match=r"commit d775c63 is not whole .*holds abcdef0.*never taken in its place"
    ):
        load("flickr30k", "test")


@pytest.mark.parametrize("name", ["flickr30k", "mscoco"])
def test_offline_without_a_cache_is_one_line(
    hub: HubTwin, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pointed_at(hub, monkeypatch, cache, offline=True)
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE.*HF_HOME.*scenes") as caught:
        load(name, "test")
    assert "\n" not in str(caught.value)


def test_no_network_is_one_line_within_seconds(hub: HubTwin) -> None:
    hub.stop()
    start = time.monotonic()
    with pytest.raises(UserError, match=r"umaru97.*cannot be reached: go online, or set HF_HOME") as caught:
        load("flickr30k", "test")
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)


def test_a_gated_repository_opens_for_those_who_have_access(
    hub: HubTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated(hub, FLICKR[0])
    hub.repositories[FLICKR[0]].tokens.add("mine")
    monkeypatch.setenv("HF_TOKEN", "mine")
    assert load("flickr30k", "test").revision.startswith(FLICKR[0])
    monkeypatch.setenv("HF_TOKEN", "another")
    assert load("flickr30k", "val").revision.startswith(FLICKR[1])


def test_a_repository_with_a_loading_script_only_gives_way(hub: HubTwin, tmp_path: Path) -> None:
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "flickr30k_train_val_test.py").write_text("raise SystemExit", encoding="utf-8")
    hub.repositories[FLICKR[0]] = Repository(
        FLICKR[0], {hub.repositories[FLICKR[0]].main: tmp_path / "script"}
    )
    assert load("flickr30k", "test").revision.startswith(FLICKR[1])


def test_a_hub_out_of_order_is_one_line(hub: HubTwin) -> None:
    hub.repositories[FLICKR[0]].errors = [500] * 40
    with pytest.raises(UserError, match=r"the Hub answered 500 for umaru97.*run the same command again"):
        load("flickr30k", "test")


# -------------------------------------------------------------------------------------- the estimate


def test_the_estimate_knows_what_is_cached() -> None:
    before = download_estimate("flickr30k", ["val", "test"])
    assert (before.bytes, before.disk_bytes) == (280_000_000, 560_000_000)
    assert all("to download" in line for line in before.items)
    load("flickr30k", "val", "test")
    after = download_estimate("flickr30k", ["val", "test"])
    assert (after.bytes, after.disk_bytes) == (0, 280_000_000)
    assert all("in the cache" in line for line in after.items)
    assert download_estimate("scenes", ["train"]).bytes == 0


def test_the_estimate_counts_a_whole_corpus_once(hub: HubTwin) -> None:
    for split in ("train", "val", "test"):
        keep("flickr30k", split, FLICKR[2], hub.repositories[FLICKR[2]].main)
    assert download_estimate("flickr30k", ["train", "val", "test"]).bytes == 4_306_000_000
