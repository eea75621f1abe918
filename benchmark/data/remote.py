"""The Hugging Face Hub: files at a pinned commit, from the cache or the network, and a quick answer without either."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, constants, get_session, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name

from benchmark.errors import UserError

TIMEOUT = 5.0
"""Seconds to wait for the Hub's first answer; the library's own retries would take over twenty."""


def hub_reachable() -> bool:
    """Whether the Hub answers at all; False in offline mode (HF_HUB_OFFLINE)."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT)
    except Exception:  # every kind of network trouble means the same here, and its type depends on the client
        return False
    return True


def unreachable(what: str) -> UserError:
    """The one line for something that is neither cached nor reachable."""
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} cannot be reached"
    return UserError(
        f"{what} is not in the Hugging Face cache and {why}: go online, or set HF_HOME to a cache that holds it, "
        "or name the embedded dataset (`nox -s reproduce-hat -- scenes`)"
    )


def cached_snapshot(repo: str, commit: str) -> Path | None:
    """The cached snapshot of a dataset repository whose commit begins with `commit`, if any.

    An empty `commit` means the newest that the cache has seen, as its `refs/main` says.
    """
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="dataset")
    main = folder / "refs" / "main"
    if not commit:
        if not main.is_file():
            return None
        commit = main.read_text(encoding="utf-8").strip()
    return next(iter(sorted((folder / "snapshots").glob(f"{commit}*"))), None)


def resolve_commit(repo: str, revision: str) -> str:
    """The 40-digit commit of a dataset repository that begins with `revision`; empty: the newest.

    Only a full commit pins: the cache and offline mode ignore other revisions silently (data.md 4.3).
    Raises UserError where neither the cache nor the repository's history has it.
    """
    if len(revision) == 40:
        return revision
    if not hub_reachable():
        cached = cached_snapshot(repo, revision)
        if cached is None:
            raise unreachable(f"dataset repository {repo} at commit {revision or 'main'}")
        return cached.name
    try:
        commits = [item.commit_id for item in HfApi().list_repo_commits(repo, repo_type="dataset")]
    except (HfHubHTTPError, OSError) as error:
        raise _refused(repo, error) from None
    for commit in commits:
        if commit.startswith(revision):
            return str(commit)
    raise UserError(
        f"dataset repository {repo}: no commit {revision} in its history of {len(commits)} commits"
    )


def fetch_snapshot(repo: str, commit: str, patterns: list[str]) -> Path:
    """Folder with those files of a dataset repository that match `patterns`, at a full commit.

    Raises UserError where they are neither cached nor reachable, or access is refused.
    """
    offline = not hub_reachable()
    try:
        return Path(
            snapshot_download(
                repo,
                repo_type="dataset",
                revision=commit,
                allow_patterns=patterns,
                local_files_only=offline,
                etag_timeout=TIMEOUT,
            )
        )
    except LocalEntryNotFoundError:
        raise unreachable(f"dataset repository {repo} at commit {commit[:7]}") from None
    except (HfHubHTTPError, OSError) as error:
        raise _refused(repo, error) from None


def fetch_file(repo: str, filename: str, commit: str) -> Path:
    """One file of a model repository at a full commit; raises UserError as `fetch_snapshot` does."""
    try:
        return Path(hf_hub_download(repo, filename, revision=commit, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    if not hub_reachable():
        raise unreachable(f"{filename} of {repo}")
    try:
        return Path(hf_hub_download(repo, filename, revision=commit, etag_timeout=TIMEOUT))
    except (HfHubHTTPError, OSError) as error:
        raise _refused(repo, error) from None


def _refused(repo: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(
        f"Hugging Face repository {repo}: {reason} (for a gated repository, ask for access on its page and log in "
        "with `hf auth login`)"
    )
