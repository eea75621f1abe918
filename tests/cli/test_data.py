"""`rematch data`: what it fetches, what it says of it, and how it ends, on scenes and on a local twin of the Hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
import yaml
from rich.filesize import decimal

from benchmark.checks import doctor
from benchmark.cli import data as cli_data
from benchmark.data.published import hub
from benchmark.data.published.catalogue import CATALOG, Facts
from benchmark.data.published.revisions import read_revisions
from benchmark.data.splits import SplitName
from benchmark.errors import UserError
from tests.hub.client import pointed_at
from tests.hub.repositories import repository, write_parquet
from tests.hub.rows import flickr8k_rows, flickr30k_rows
from tests.hub.server import HubTwin
from tests.hub.store import made_up_commit
from tests.tiny import refused, rematch

REPO = "jxie/flickr8k"
FILE = "data/test-00000-of-00001.parquet"
COUNTS = {"train": 6, "val": 3, "test": 3}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flickr8K in little, as its repository keeps it; not to be written to."""
    return write_parquet(REPO, flickr8k_rows(COUNTS), tmp_path_factory.mktemp("old"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in, and terms that nobody has read."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(hub, "_terms_said", set())
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "prepared")


@pytest.fixture
def twin(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubTwin]:
    """The Hub with that repository, and empty caches."""
    with HubTwin([repository(REPO, old)]) as served:
        pointed_at(served, monkeypatch, tmp_path / "cache")
        yield served


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what the repository holds be the published dataset."""
    facts: dict[SplitName, Facts] = {split: Facts(COUNTS[split]) for split in ("train", "val", "test")}
    monkeypatch.setitem(CATALOG, "flickr8k", replace(CATALOG["flickr8k"], facts=facts))


UNKNOWN = "cannot be checked: file names, words of captions"
"""Of the Hub's Flickr8k, which names no image and whose captions have no known hash."""


def add_commit(twin: HubTwin, folder: Path) -> str:
    """A newer commit of the repository."""
    commit = made_up_commit("abc1234", "newer")
    before = twin.repositories[REPO]
    twin.add(replace(before, commits={commit: folder, **before.commits}, main=commit))
    return commit


# --------------------------------------------------------------------------------------- download


@pytest.mark.usefixtures("published")
def test_download_fetches_the_wanted_split_and_says_from_where(twin: HubTwin, old: Path) -> None:
    outcome = rematch("data", "download", "flickr8k", "--split", "test", "--no-progress")
    commit = twin.repositories[REPO].main
    assert twin.downloads() == [FILE]
    assert "licence: images under Flickr's terms" in outcome.good
    assert f"{REPO} test: about 0.14 GB to download" in outcome.good
    size = decimal((old / FILE).stat().st_size)
    assert f"test: {size} of {REPO}@{commit} in " in outcome.good
    assert f"snapshots/{commit}\n" in outcome.good
    assert outcome.good.splitlines()[-1].startswith("test: 3 images, 15 captions; ")
    assert outcome.good.splitlines()[-1].endswith(f"6 of 8 checks agree; {UNKNOWN}")
    assert read_revisions().commits == {REPO: commit}


@pytest.mark.usefixtures("published")
def test_terms_are_printed_once_and_only_for_a_download(twin: HubTwin) -> None:
    first = rematch("data", "download", "flickr8k", "--no-progress")
    assert first.err.count(CATALOG["flickr8k"].terms) == 1
    hub._terms_said.clear()  # as in another process
    before = len(twin.downloads())
    again = rematch("data", "download", "flickr8k", "--no-progress")
    assert CATALOG["flickr8k"].terms not in again.err
    assert again.good.count("in the cache") == 3
    assert "to download" not in again.good
    assert len(twin.downloads()) == before


def test_download_of_other_data_says_what_differs_and_exits_with_1(twin: HubTwin) -> None:
    outcome = rematch("data", "download", "flickr8k", "--split", "val", "--split", "test", "--no-progress")
    assert outcome.code == 1
    *_, val, test, advice = outcome.out.splitlines()
    assert val.startswith("val: 3 images, 15 captions; 2 of ")
    assert val.endswith(f"checks differ: images, captions; {UNKNOWN}")
    assert test.startswith("test: 3 images")
    assert advice == "`rematch data verify flickr8k` says what differs"
    assert len(twin.downloads()) == 2


@pytest.mark.usefixtures("published")
def test_scenes_and_local_folders_have_nothing_to_download(old: Path) -> None:
    assert "nothing to download: made by code" in rematch("data", "download", "scenes").good
    local = rematch("data", "download", "flickr8k", "--data-dir", old, "--no-progress").good
    assert "nothing to download: read from a local folder" in local
    assert [line.split(":")[0] for line in local.splitlines()[-3:]] == ["train", "val", "test"]


@pytest.mark.usefixtures("published")
def test_update_takes_the_newest_commit_and_locks_it(twin: HubTwin, tmp_path: Path) -> None:
    rematch("data", "download", "flickr8k", "--no-progress").good  # noqa: B018 (asserts that it ended well)
    rows = [
        replace(row, captions=[f"newer {k} of {row.filename}" for k in range(5)])
        for row in flickr8k_rows(COUNTS)
    ]
    newest = add_commit(twin, write_parquet(REPO, rows, tmp_path / "new"))
    shown = rematch("data", "show", "flickr8k", "--no-progress")  # the lock holds the old one
    assert "newer 0" not in Path(shown.good.strip()).read_text(encoding="utf-8")
    outcome = rematch("data", "download", "flickr8k", "--update", "--no-progress")
    assert f"{REPO}@{newest} in " in outcome.good
    assert read_revisions().commits == {REPO: newest}
    shown = rematch("data", "show", "flickr8k", "--no-progress")
    assert "newer 0" in Path(shown.good.strip()).read_text(encoding="utf-8")


def no_columns(twin: HubTwin, folder: Path) -> None:
    """A newest commit that nothing here can read."""
    rows = flickr8k_rows(COUNTS)
    write_parquet("yerevann/coco-karpathy", [replace(row, split="test") for row in rows], folder)
    add_commit(twin, folder)


def no_network(twin: HubTwin, _: Path) -> None:
    twin.stop()


def no_file(twin: HubTwin, folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    add_commit(twin, folder)


@pytest.mark.parametrize("break_it", [no_columns, no_network, no_file])
@pytest.mark.usefixtures("published")
def test_an_update_that_fails_leaves_the_lock_as_it_was(
    twin: HubTwin, tmp_path: Path, break_it: Callable[[HubTwin, Path], None]
) -> None:
    rematch("data", "download", "flickr8k", "--no-progress").good  # noqa: B018
    lock = (tmp_path / "cache" / "revisions.yaml").read_bytes()
    break_it(twin, tmp_path / "new")
    assert rematch("data", "download", "flickr8k", "--split", "test", "--update", "--no-progress").code == 2
    assert (tmp_path / "cache" / "revisions.yaml").read_bytes() == lock
    assert "3 images" in rematch("data", "download", "flickr8k", "--split", "test", "--no-progress").good


def test_update_goes_on_to_the_next_source(twin: HubTwin, tmp_path: Path) -> None:
    name = "AnyModal/flickr30k"
    second = twin.add(repository(name, write_parquet(name, flickr30k_rows(), tmp_path / "second")))
    newest = replace(second, commits={"b" * 40: tmp_path / "second", **second.commits}, main="b" * 40)
    twin.add(newest)
    outcome = rematch("data", "download", "flickr30k", "--split", "test", "--update", "--no-progress")
    assert outcome.code == 1  # it is not the published split
    assert read_revisions().sources == {"flickr30k/test": name}
    assert read_revisions().commits == {name: "b" * 40}
    assert f"a fallback of {CATALOG['flickr30k'].sources[0].files['test'].repo}" in outcome.out


def test_update_without_the_hub_names_the_remedy(twin: HubTwin, tmp_path: Path) -> None:
    twin.stop()
    error = rematch("data", "download", "flickr8k", "--update").error
    assert error.startswith("option --update: the Hub cannot be asked")
    assert "go online" in error
    assert not (tmp_path / "cache" / "revisions.yaml").exists()


@pytest.mark.usefixtures("twin", "published")
def test_a_small_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("data", "download", "flickr8k", "--split", "test", "--no-progress")
    monkeypatch.setattr(doctor, "free_gib", lambda _: 0.2)
    assert "warning: only 0.2 GB are free: set HF_HOME to a larger disk" in rematch(*command).good
    assert "are free" not in rematch(*command).good  # nothing is left to fetch


# ----------------------------------------------------------------------------------------- verify


def test_verify_scenes_prints_counts_and_fingerprint() -> None:
    outcome = rematch("data", "verify", "scenes", "--split", "test", "--option", "n_test=6", "--pictures")
    assert "test: 6 images, 30 captions; " in outcome.good
    assert "differ" not in outcome.good
    assert "test: every picture decodes" in outcome.good
    command = ("data", "verify", "scenes", "--split", "test", "--option", "n_test=6", "--format", "json")
    checks, splits = json.loads(rematch(*command).good)
    assert checks["passed"]
    assert (splits["rows"][0]["images"], splits["rows"][0]["captions"]) == (6, 30)
    fingerprint = splits["rows"][0]["fingerprint"]
    again = rematch("data", "verify", "scenes", "--split", "test", "--option", "n_test=6")
    assert fingerprint in again.good
    assert len(fingerprint) == 64
    assert (
        fingerprint not in rematch("data", "verify", "scenes", "--split", "test", "--option", "n_test=7").good
    )


@pytest.mark.usefixtures("published")
def test_verify_ends_with_1_where_a_check_differs(old: Path) -> None:
    command = ("data", "verify", "flickr8k", "--data-dir", old, "--no-progress")
    assert "differs" not in rematch(*command).good
    facts = {**CATALOG["flickr8k"].facts, "val": Facts(4)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CATALOG, "flickr8k", replace(CATALOG["flickr8k"], facts=facts))
        outcome = rematch(*command)
        assert rematch(*command, "--split", "test").code == 0
    assert outcome.code == 1
    (row,) = [
        line
        for line in outcome.out.splitlines()
        if "val" in line and " images " in line and "differs" in line
    ]
    assert "4" in row
    assert "val: 3 images, 15 captions; 2 of " in outcome.out


@pytest.mark.usefixtures("published")
def test_verify_names_damaged_pictures(tmp_path: Path) -> None:
    rows = flickr8k_rows(COUNTS)
    damaged = [replace(row, image=row.image[:100]) if row.split == "val" else row for row in rows]
    folder = write_parquet(REPO, damaged, tmp_path / "damaged")
    command = ("data", "verify", "flickr8k", "--data-dir", folder, "--no-progress")
    assert "decode" not in rematch(*command).good  # the files alone are as published
    outcome = rematch(*command, "--pictures")
    assert outcome.code == 1
    assert "val: 3 of 3 pictures are damaged" in outcome.out
    assert "test: every picture decodes" in outcome.out
    (pictures,) = json.loads(rematch(*command, "--pictures", "--format", "json").out)[2:]
    assert not pictures["passed"]
    assert [(row["split"], row["file"], row["row"]) for row in pictures["rows"]] == [
        ("val", f"val-{row}", row) for row in range(3)
    ]


# ------------------------------------------------------------------------------------------- show


def test_show_writes_a_page_and_prints_its_path() -> None:
    command = ("data", "show", "scenes", "--count", 4, "--option", "n_test=8")
    assert rematch(*command).good == ".rematch/data/scenes-test.html\n"
    first = Path(".rematch/data/scenes-test.html").read_bytes()
    assert first.count(b"<img") == 4
    assert rematch(*command).good
    assert Path(".rematch/data/scenes-test.html").read_bytes() == first
    assert rematch(*command, "--seed", 1, "--output", "other/seed.html").good == "other/seed.html\n"
    assert Path("other/seed.html").read_bytes() != first
    assert rematch(*command, "--first", "--captions", 2, "--output", "first.HTML").good
    page = Path("first.HTML").read_text(encoding="utf-8")
    assert all(f"image test-0000{row}," in page for row in range(4))
    assert page.count("<li>") == 8
    (listed,) = json.loads(rematch(*command, "--first", "--captions", 2, "--format", "json").good)
    assert [(row["row"], row["image_id"]) for row in listed["rows"]] == [
        (row, f"test-0000{row}") for row in range(4) for _ in range(2)
    ]


def test_show_refuses_other_data_or_marks_them(old: Path) -> None:
    command = ("data", "show", "flickr8k", "--data-dir", old, "--no-progress")
    assert "--unverified" in refused(*command)
    page = Path(rematch(*command, "--unverified").good.strip()).read_text(encoding="utf-8")
    assert "Not verified" in page
    assert "images: found 3, expected 1,000" in page
    assert old.as_posix() not in page


# --------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("command", ["download", "verify", "show", "speed"])
def test_unknown_names_get_the_nearest_one(command: str) -> None:
    assert refused("data", command, "scens") == "unknown dataset 'scens'; did you mean 'scenes'?"
    assert (
        refused("data", command, "scenes", "--split", "tset") == "unknown split 'tset'; did you mean 'test'?"
    )
    assert "did you mean 'n_test'" in refused("data", command, "scenes", "--option", "n_tset=3")
    assert "expected NAME=VALUE" in refused("data", command, "scenes", "--option", "n_test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "scenes", "--count", "0"), "option --count: found 0, expected 1 or more"),
        (
            ("show", "scenes", "--output", "a.pdf"),
            "option --output: found 'a.pdf', expected a name that ends in",
        ),
        (("show", "scenes", "--first", "--seed", "1"), "options --first and --seed: found both"),
        (("show", "scenes", "--captions", "6"), "scenes has 5 an image"),
        (("download", "scenes", "--update"), "option --update: nothing of scenes would come from the Hub"),
        (
            ("download", "flickr8k", "--update", "--data-dir", "."),
            "nothing of flickr8k would come from the Hub",
        ),
        (("verify", "flickr8k", "--data-dir", "absent"), "absent"),
        (("speed", "scenes", "--workers", "-1"), "found workers [-1]"),
        (("speed", "scenes", "--images", "0"), "0 images"),
        (("verify", "mscoco", "--option", "restval=maybe"), "data.options.restval"),
    ],
)
def test_other_mistakes(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("data", *arguments)


@pytest.mark.parametrize("command", ["download", "verify", "show", "speed"])
def test_help_has_examples(command: str) -> None:
    called = {"speed": "time loading"}.get(command, f"data {command}")  # the former name shows the new one
    said = rematch("data", command, "--help").good
    assert "Examples:" in said
    assert f"rematch {called} flickr30k" in said


def test_speed_times_every_step_with_every_number_of_workers() -> None:
    said = rematch(
        "data", "speed", "scenes", "--images", "64", "--workers", "0", "1", "--option", "n_train=8"
    ).good
    rows = [line.split()[1:4:2] for line in said.splitlines() if line.startswith("│")]
    assert rows == [[step, workers] for step in ("decode", "train", "evaluate") for workers in ("0", "1")]


def test_splits_come_once_and_in_order() -> None:
    assert cli_data.split_names(["test", "train", "test"]) == ["train", "test"]
    assert cli_data.split_names(None) == ["train", "val", "test"]


def test_options_are_read_as_in_a_recipe() -> None:
    given = ["restval=true", "n_test=40", "hard_share=0.5", "name=a=b", "odd={"]
    expected = {"restval": True, "n_test": 40, "hard_share": 0.5, "name": "a=b", "odd": "{"}
    assert cli_data.parse_options(given) == expected
    assert expected["restval"] is yaml.safe_load("true")
    with pytest.raises(UserError, match="found '=3'"):
        cli_data.parse_options(["=3"])
