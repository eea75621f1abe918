"""Point the Hub's libraries, in this process, at a twin: `pointed_at(twin, monkeypatch, cache_dir)`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
from huggingface_hub import close_session, constants

from tests.hub.server import HubTwin

RESUMED_BY = 1 << 12
"""Bytes after which a download counts as begun. The library's 10 MB would make every tiny file start anew."""


def pointed_at(
    twin: HubTwin, monkeypatch: pytest.MonkeyPatch, cache_dir: Path, *, offline: bool = False
) -> None:
    """Let huggingface_hub and datasets use the twin and a cache of their own, until monkeypatch is undone.

    Both libraries read the environment once, at import, so their constants are set too; the environment is for
    commands that are started from here. Retries wait no more. The lock of revisions lies in the cache folder.
    May be called again: with another twin, or with `offline` to set HF_HUB_OFFLINE and back.
    """
    _environment(twin.url, monkeypatch, cache_dir, offline)
    for name, value in {
        "ENDPOINT": twin.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": twin.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(cache_dir),
        "HF_HUB_CACHE": str(cache_dir / "hub"),
        "HF_TOKEN_PATH": str(cache_dir / "token"),
        "AGENT_HARNESSES_PATH": str(cache_dir / "agents.json"),
        "HF_HUB_OFFLINE": offline,
        "DOWNLOAD_CHUNK_SIZE": RESUMED_BY,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", twin.url)
    for module in ("huggingface_hub.utils._http", "huggingface_hub.file_download"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(sleep=lambda _seconds: None))
    for name, value in {
        "HF_ENDPOINT": twin.url,
        "HUB_DATASETS_URL": twin.url + "/datasets/{repo_id}/resolve/{revision}/{path}",
        "HF_CACHE_HOME": str(cache_dir),
        "HF_DATASETS_CACHE": cache_dir / "datasets",
        "DOWNLOADED_DATASETS_PATH": cache_dir / "datasets" / "downloads",
        "HF_HUB_OFFLINE": offline,
        "HF_DATASETS_OFFLINE": offline,
    }.items():
        monkeypatch.setattr(datasets.config, name, value)
    close_session()  # the next one reads NO_PROXY


def _environment(url: str, monkeypatch: pytest.MonkeyPatch, cache_dir: Path, offline: bool) -> None:
    for name, value in environment(url, cache_dir).items():
        monkeypatch.setenv(name, value)
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def environment(url: str, cache_dir: Path) -> dict[str, str]:
    """Variables that make a command use a twin at `url`, with the cache and the lock of revisions in `cache_dir`."""
    return {
        "HF_ENDPOINT": url,
        "HF_HOME": str(cache_dir),
        "REMATCH_REVISIONS": str(cache_dir / "revisions.yaml"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
