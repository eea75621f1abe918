"""Models of the Hub: the commit of a repository, locked by its first download as those of datasets are."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.file_download import repo_folder_name

from benchmark.data.published import revisions
from benchmark.data.published.remote import TIMEOUT, answers, hub_reachable, unreachable


def model_commit(name: str) -> str:
    """Return the commit of a model's repository: the locked one, else the newest, which is locked from then on.

    Without the Hub, the newest that the cache has seen is taken. Raises UserError where there is no such repository,
    and where neither lock nor cache nor Hub can tell.
    """
    locked = revisions.read_revisions().commits.get(name)
    if locked is not None:
        return locked
    commit = newest_commit(name) if hub_reachable() else _cached_commit(name)
    revisions.keep_commit(name, commit)
    return commit


def newest_commit(name: str) -> str:
    """Return the newest commit of a model's repository, as the Hub has it."""
    with answers(name, "main"):
        return str(HfApi().model_info(name, timeout=TIMEOUT).sha)


def _cached_commit(name: str) -> str:
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model")
    main = folder / "refs" / "main"
    if not main.is_file():
        raise unreachable(f"model {name}")
    return main.read_text(encoding="utf-8").strip()
