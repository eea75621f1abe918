"""The Hugging Face Hub: files at a pinned commit, from the cache or the network, and a quick answer without either.

Whatever the Hub answers becomes one of two errors: `SourceRefusedError` (this repository cannot serve, another source
may) or a plain UserError (no network, a commit that does not exist, a full disk: the user has to act).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, constants, get_session, hf_hub_download, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: httpx's or httpx2's
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

from benchmark.errors import UserError
from benchmark.files import sha256_file

TIMEOUT = 5.0
"""Seconds to wait for the Hub's first answer; the library's own retries would take over twenty."""

AGAIN = "run the same command again; files that came whole are kept"


class SourceRefusedError(UserError):
    """A repository that is gone, gated or without the wanted files."""


def hub_reachable() -> bool:
    """Return True if the Hub answers at all; False in offline mode (HF_HUB_OFFLINE)."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT)
    except Exception:  # every kind of network trouble means the same here, and its type depends on the client
        return False
    return True


def unreachable(what: str) -> UserError:
    """Return the one line for something that is neither cached nor reachable."""
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} cannot be reached"
    return UserError(
        f"{what} is not in the Hugging Face cache and {why}: go online, or set HF_HOME to a cache that holds it, "
        "or name the embedded dataset (`nox -s reproduce-hat -- scenes`)"
    )


# ------------------------------------------------------------------------------------- the cache


def _cache_folder(repo: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="dataset")


def cached_commits(repo: str) -> list[str]:
    """Return commits of a dataset repository that the cache has at least some files of."""
    return sorted(path.name for path in (_cache_folder(repo) / "snapshots").glob("*"))


def cached_snapshot(repo: str, commit: str) -> Path | None:
    """Return the cached snapshot of a dataset repository whose commit begins with `commit`, if any.

    An empty `commit` means the newest that the cache has seen, as its `refs/main` says.
    """
    if not commit:
        main = _cache_folder(repo) / "refs" / "main"
        if not main.is_file():
            return None
        commit = main.read_text(encoding="utf-8").strip()
    return next(iter(sorted((_cache_folder(repo) / "snapshots").glob(f"{commit}*"))), None)


def cached_files(repo: str, commit: str, wanted: Callable[[str], bool]) -> list[Path]:
    """Return cached files of a commit that are wanted; [] where one of a numbered set (`-00001-of-00038`) is absent."""
    folder = cached_snapshot(repo, commit)
    if folder is None:
        return []
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    chosen = [path for path in found if wanted(path.relative_to(folder).as_posix())]
    return chosen if _whole(chosen) else []


def drop_damaged(path: Path) -> bool:
    """Take a cached file out of the cache where its content is not what the Hub sent; whether it was.

    The cache names large files by the sha256 of their content. While a damaged one lies there, no download
    replaces it.
    """
    content = path.resolve()
    if not path.is_symlink() or len(content.name) != 64 or sha256_file(content) == content.name:
        return False
    path.unlink()
    content.unlink()
    return True


def _whole(files: Sequence[Path]) -> bool:
    """Return True if every file of `name-00000-of-00003...` is there; files without such a number count as whole."""
    counts: dict[str, list[int]] = {}
    for path in files:
        stem, _, rest = path.name.partition("-of-")
        total = rest[:5]
        if total.isdigit():
            counts.setdefault(f"{stem.rpartition('-')[0]} of {total}", []).append(int(total))
    return all(len(totals) == totals[0] for totals in counts.values())


# ----------------------------------------------------------------------------------- the network


def resolve_commit(repo: str, digits: str, branch: str = "main") -> str:
    """Return the 40-digit commit of a dataset repository that begins with `digits`; empty: the newest of the branch.

    Only a full commit pins: the cache and offline mode ignore other revisions silently (data.md 4.3).
    Raises SourceRefusedError where the repository cannot be read, UserError where neither cache nor history has it.
    """
    if len(digits) == 40:
        return digits
    cached = cached_snapshot(repo, digits)
    if cached is not None and digits:
        return cached.name
    if not hub_reachable():
        if cached is None:
            raise unreachable(f"dataset repository {repo} at commit {digits or branch}")
        return cached.name
    with answers(repo, digits or branch):
        commits = [
            item.commit_id for item in HfApi().list_repo_commits(repo, repo_type="dataset", revision=branch)
        ]
    for commit in commits:
        if commit.startswith(digits):
            return str(commit)
    raise UserError(
        f"dataset repository {repo}: no commit {digits} in its history of {len(commits)} commits; "
        "`rematch data download DATASET --update` takes the newest"
    )


def fetch_files(
    repo: str,
    commit: str,
    wanted: Callable[[str], bool],
    check_first: Callable[[Path], None] = lambda _: None,
) -> list[Path]:
    """Return the wanted files of a dataset repository at a full commit, downloaded where the cache lacks some.

    `check_first` sees the first file before the others are fetched, and may refuse it. Raises SourceRefusedError or
    UserError. A connection that breaks is taken up where it broke; after a command that was stopped, files that came
    whole are kept and the others begin anew (so does the library, since it names its partial files at random).
    """
    cached = cached_files(repo, commit, wanted)
    if cached and (_numbered(cached) or not hub_reachable()):
        check_first(cached[0])
        return cached
    if not hub_reachable():
        raise _other_commit_cached(repo, commit) or unreachable(
            f"dataset repository {repo} at commit {commit[:7]}"
        )
    with answers(repo, commit):
        listed = list_files(repo, commit)
        names = sorted(name for name in listed if wanted(name))
        if not names:
            raise SourceRefusedError(f"{repo}: none of its {len(listed)} files belongs to the split")
        check_first(Path(hf_hub_download(repo, names[0], repo_type="dataset", revision=commit)))
        folder = snapshot_download(
            repo, repo_type="dataset", revision=commit, allow_patterns=names, etag_timeout=TIMEOUT
        )
    return [Path(folder, name) for name in names]


def list_files(repo: str, commit: str) -> list[str]:
    """Return the names of all files of a dataset repository at a commit; raises UserError as `fetch_files` does."""
    with answers(repo, commit):
        return HfApi().list_repo_files(repo, repo_type="dataset", revision=commit)


def _numbered(files: Sequence[Path]) -> bool:
    """Return True if the names give the number of files, so that the cache alone shows that all are there."""
    return all("-of-" in path.name for path in files)


def _other_commit_cached(repo: str, commit: str) -> UserError | None:
    """Return the error of an offline machine whose cache holds another commit than the locked one."""
    others = [item[:7] for item in cached_commits(repo) if item != commit]
    if not others:
        return None
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} cannot be reached"
    return UserError(
        f"dataset repository {repo}: commit {commit[:7]} is not whole in the Hugging Face cache, which holds "
        f"{', '.join(others)}, and {why}: go online; another commit is never taken in its place"
    )


def fetch_file(repo: str, filename: str, commit: str) -> Path:
    """Return one file of a model repository at a full commit; raises UserError as `fetch_files` does."""
    try:
        return Path(hf_hub_download(repo, filename, revision=commit, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    if not hub_reachable():
        raise unreachable(f"{filename} of {repo}")
    with answers(repo, commit):
        return Path(hf_hub_download(repo, filename, revision=commit, etag_timeout=TIMEOUT))


# ------------------------------------------------------------------------------------ its answers


@contextmanager
def answers(repo: str, revision: str) -> Iterator[None]:
    """Turn what `huggingface_hub` raises into one line with the remedy."""
    try:
        yield
    except GatedRepoError:
        raise SourceRefusedError(
            f"{repo}: gated; ask for access on {constants.ENDPOINT}/datasets/{repo} and log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise SourceRefusedError(f"{repo}: no such repository (any more), or a private one") from None
    except RevisionNotFoundError:
        raise UserError(
            f"dataset repository {repo}: it has no revision {revision} (any more); "
            "`rematch data download DATASET --update` takes the newest and locks it"
        ) from None
    except LocalEntryNotFoundError as error:  # the library's word for a connection that broke
        raise _broken(repo, error) from None
    except EntryNotFoundError as error:
        raise SourceRefusedError(f"{repo}: {_brief(error)}") from None
    except HfHubHTTPError as error:
        code = error.response.status_code
        raise UserError(f"the Hub answered {code} for {repo}: wait a little, then {AGAIN}") from None
    except (HTTPError, ConnectionError, TimeoutError) as error:
        raise _broken(repo, error) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"no space left on the disk of the Hugging Face cache while fetching {repo}: make room, or set "
                f"HF_HOME to a larger disk, then {AGAIN}"
            ) from None
        raise _broken(repo, error) from None


def _broken(repo: str, error: Exception) -> UserError:
    return UserError(f"the connection broke while fetching {repo} ({_brief(error)}): {AGAIN}")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
