"""The twin of the Hub, asked by the Hub's own libraries; and what it serves, checked by what published data must be."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from huggingface_hub import HfApi, get_token, hf_hub_download, list_repo_commits, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub.client import pointed_at
from tests.hub.server import HubTwin
from tests.hub.store import Repository, made_up_commit

NAME = "alice/pictures"
FIRST, SECOND, PARQUET = (made_up_commit(start, NAME) for start in ("1111111", "2222222", "3333333"))
BRANCH = "refs/convert/parquet"
TEST = "data/test-00000-of-00001.parquet"


def write(folder: Path, **sizes: int) -> Path:
    """A folder with a card and `data/<split>-*.parquet` of so many bytes (no parquet files, but the Hub can't tell)."""
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(f"# {folder.name}\n")
    for split, size in sizes.items():
        content = bytes(number * len(split) % 251 for number in range(size))
        (folder / f"data/{split}-00000-of-00001.parquet").write_bytes(content)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    commits = {
        SECOND: write(tmp_path / "second", train=30_000, test=50_000),
        FIRST: write(tmp_path / "first", train=20_000),
        PARQUET: write(tmp_path / "parquet", test=10_000),
    }
    return Repository(NAME, commits, {BRANCH: PARQUET})


@pytest.fixture(autouse=True)
def twin(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubTwin]:
    with HubTwin([repository]) as twin:
        pointed_at(twin, monkeypatch, tmp_path / "cache")
        yield twin


def snapshot(revision: str = SECOND, *patterns: str, local: bool = False) -> Path:
    """Folder of the files that match, or of all; `local`: from the cache only."""
    wanted = list(patterns) or None
    found = snapshot_download(
        NAME, repo_type="dataset", revision=revision, allow_patterns=wanted, local_files_only=local
    )
    return Path(found)


# ------------------------------------------------------------------------------------- downloads


def test_only_what_was_wanted_is_downloaded(twin: HubTwin, repository: Repository, tmp_path: Path) -> None:
    folder = snapshot(SECOND, "data/test-*")
    assert twin.downloads(NAME) == [TEST]
    assert [path.name for path in folder.rglob("*.parquet")] == [Path(TEST).name]
    assert folder == tmp_path / "cache/hub/datasets--alice--pictures/snapshots" / SECOND
    assert (folder / TEST).read_bytes() == (repository.commits[SECOND] / TEST).read_bytes()
    before = len(twin.requests)
    snapshot(SECOND, "data/test-*")
    assert all(item.method == "HEAD" or not item.file for item in twin.requests[before:])


def test_a_download_that_breaks_off_goes_on_where_it_was(twin: HubTwin, repository: Repository) -> None:
    repository.cuts[TEST] = [20_000]
    folder = snapshot(SECOND, "data/test-*")
    first, second = (item for item in twin.asked(NAME) if item.method == "GET" and item.file)
    assert (first.status, first.range, first.sent) == (200, "", 20_000)
    assert (second.status, second.range, second.sent) == (206, "bytes=16384-", 50_000 - 16_384)
    assert (folder / TEST).read_bytes() == (repository.commits[SECOND] / TEST).read_bytes()
    assert repository.cuts[TEST] == []


def test_files_that_were_complete_are_kept_when_a_later_one_fails(
    twin: HubTwin, repository: Repository
) -> None:
    snapshot(SECOND, "data/test-*")
    repository.cuts["data/train-00000-of-00001.parquet"] = [100] * 7
    with pytest.raises(Exception, match="peer closed connection"):
        snapshot()
    assert not repository.cuts["data/train-00000-of-00001.parquet"][1:]
    repository.cuts.clear()
    before = len(twin.requests)
    snapshot()
    again = [item.file for item in twin.requests[before:] if item.method == "GET" and item.file]
    assert sorted(set(again) - {"README.md"}) == ["data/train-00000-of-00001.parquet"]


def test_ranges(twin: HubTwin, repository: Repository) -> None:
    whole = (repository.commits[SECOND] / TEST).read_bytes()
    url = f"{twin.url}/datasets/{NAME}/resolve/main/{TEST}"
    for header, expected in (
        ("0-0", whole[:1]),
        ("10-19", whole[10:20]),
        ("-7", whole[-7:]),
        ("49990-", whole[-10:]),
    ):
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"Range": f"bytes={header}"})
        ) as answer:
            assert (answer.status, answer.read()) == (206, expected)
            assert answer.headers["Content-Range"].endswith("/50000")
    with pytest.raises(urllib.error.HTTPError, match="416"):
        urllib.request.urlopen(urllib.request.Request(url, headers={"Range": "bytes=50000-"}))


def test_nothing_of_the_machine_but_the_repository_is_served(twin: HubTwin, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("no")
    for path in ("../secret.txt", "data/../../secret.txt", "..%2Fsecret.txt"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{twin.url}/datasets/{NAME}/resolve/main/{path}")


def test_no_header_sends_a_client_to_xet(twin: HubTwin) -> None:
    request = urllib.request.Request(f"{twin.url}/datasets/{NAME}/resolve/main/{TEST}", method="HEAD")
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["X-Repo-Commit"] == SECOND
        assert answer.headers["Content-Length"] == "50000"
        assert len(answer.headers["ETag"].strip('"')) == 64
        assert not [name for name in answer.headers if "xet" in name.lower()]


def test_a_model_repository(twin: HubTwin, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    commit = made_up_commit("abc", "alice/model")
    twin.add(Repository("alice/model", {commit: folder}, kind="model"))
    assert Path(hf_hub_download("alice/model", "config.json", revision=commit)).read_text() == "{}"
    assert HfApi().model_info("alice/model").sha == commit
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download("alice/model", "weights.bin")
    with pytest.raises(RepositoryNotFoundError):
        HfApi().dataset_info("alice/model")


# ------------------------------------------------------------------------------------- revisions


def test_revisions(twin: HubTwin) -> None:
    def names(revision: str) -> list[str]:
        return sorted(HfApi().list_repo_files(NAME, repo_type="dataset", revision=revision))

    assert names("main") == names(SECOND)
    assert len(names(SECOND)) == 3
    assert names(FIRST) == ["README.md", "data/train-00000-of-00001.parquet"]
    assert names(BRANCH) == ["README.md", TEST]
    assert snapshot(BRANCH, "*.parquet").name == PARQUET
    assert any("refs%2Fconvert%2Fparquet" in item.path for item in twin.requests)
    info = HfApi().dataset_info(NAME, revision=BRANCH, files_metadata=True)
    assert info.sha == PARQUET
    assert {item.rfilename: item.size for item in info.siblings or []}[TEST] == 10_000


def test_a_folder_of_the_tree() -> None:
    found = list(HfApi().list_repo_tree(NAME, "data", repo_type="dataset"))
    assert sorted(item.path for item in found) == [TEST, "data/train-00000-of-00001.parquet"]
    top = list(HfApi().list_repo_tree(NAME, repo_type="dataset"))
    assert sorted(item.path for item in top) == ["README.md", "data"]
    with pytest.raises(RemoteEntryNotFoundError):
        list(HfApi().list_repo_tree(NAME, "pictures", repo_type="dataset"))


def test_a_history_of_several_pages(twin: HubTwin, repository: Repository) -> None:
    folder = repository.commits[FIRST]
    older = {made_up_commit(f"{number}" * 7, NAME): folder for number in (4, 5, 6)}
    repository.commits |= older
    found = [item.commit_id for item in list_repo_commits(NAME, repo_type="dataset")]
    assert found == [SECOND, FIRST, *older]
    assert sum("/commits/main" in item.path for item in twin.requests) == 3
    only = list_repo_commits(NAME, repo_type="dataset", revision=BRANCH)
    assert [item.commit_id for item in only] == [PARQUET]


def test_a_history_that_was_cut_short(repository: Repository) -> None:
    del repository.commits[FIRST]
    assert [item.commit_id for item in HfApi().list_repo_commits(NAME, repo_type="dataset")] == [SECOND]
    with pytest.raises(RevisionNotFoundError):
        snapshot(FIRST)


@pytest.mark.parametrize("revision", ["f" * 40, "2222222", "refs/convert/duckdb"])
def test_a_revision_that_is_not_there(revision: str) -> None:
    with pytest.raises(RevisionNotFoundError, match="404"):
        snapshot(revision)
    with pytest.raises(RevisionNotFoundError, match="404"):
        list_repo_commits(NAME, repo_type="dataset", revision=revision)


def test_branches() -> None:
    refs = HfApi().list_repo_refs(NAME, repo_type="dataset")
    assert {item.name: item.target_commit for item in refs.branches} == {"main": SECOND}
    assert {item.ref: item.target_commit for item in refs.converts} == {BRANCH: PARQUET}


# -------------------------------------------------------------------------------------- refusals


def test_a_repository_that_is_gone(twin: HubTwin, repository: Repository) -> None:
    repository.state = "gone"
    for ask in (snapshot, lambda: list_repo_commits(NAME, repo_type="dataset")):
        with pytest.raises(RepositoryNotFoundError, match="401"):
            ask()
    assert {item.status for item in twin.asked(NAME)} == {401}
    with pytest.raises(datasets.exceptions.DatasetNotFoundError, match="doesn't exist on the Hub"):
        datasets.load_dataset(NAME)


def test_a_gated_repository(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.state = "gated"
    assert HfApi().dataset_info(NAME).gated == "auto"
    with pytest.raises(GatedRepoError, match="401"):
        snapshot()
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(GatedRepoError, match="403"):
        snapshot()
    repository.tokens = {"hf_other"}
    assert (snapshot() / TEST).is_file()


def test_no_token_of_the_user_reaches_the_twin() -> None:
    assert get_token() is None


@pytest.mark.parametrize("status", [500, 503])
def test_errors_that_pass(twin: HubTwin, repository: Repository, status: int) -> None:
    repository.errors = [status, status]
    assert len(list_repo_commits(NAME, repo_type="dataset")) == 2
    assert [item.status for item in twin.asked(NAME)] == [status, status, 200]


def test_errors_that_stay(repository: Repository) -> None:
    repository.errors = [503] * 100
    with pytest.raises(HfHubHTTPError, match="503"):
        list_repo_commits(NAME, repo_type="dataset")


def test_a_twin_that_was_stopped_is_an_unplugged_network(twin: HubTwin) -> None:
    snapshot(SECOND, "data/test-*")
    twin.stop()
    with pytest.raises(LocalEntryNotFoundError):
        snapshot(FIRST)
    assert snapshot(SECOND, "data/test-*", local=True).name == SECOND


def test_offline_nothing_is_asked(twin: HubTwin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pointed_at(twin, monkeypatch, tmp_path / "cache", offline=True)
    with pytest.raises(OfflineModeIsEnabled):
        list_repo_commits(NAME, repo_type="dataset")
    with pytest.raises(LocalEntryNotFoundError):
        snapshot()
    assert twin.requests == []
    pointed_at(twin, monkeypatch, tmp_path / "cache")
    assert snapshot().name == SECOND


def test_pointing_ends_with_monkeypatch(repository: Repository, tmp_path: Path) -> None:
    before = HfApi().endpoint, datasets.config.HF_ENDPOINT, datasets.config.HF_DATASETS_CACHE
    with HubTwin([repository]) as twin, pytest.MonkeyPatch.context() as patch:
        pointed_at(twin, patch, tmp_path / "cache")
        assert HfApi().endpoint == datasets.config.HF_ENDPOINT == twin.url
    assert (HfApi().endpoint, datasets.config.HF_ENDPOINT, datasets.config.HF_DATASETS_CACHE) == before
