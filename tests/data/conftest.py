"""Tiny twins of all repositories, written once a worker; each test serves fresh ones from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.client import pointed_at
from tests.hub.repositories import LAYOUTS, repository, tiny_repositories
from tests.hub.server import HubTwin


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository folder `<owner>/<name>` each; not to be written to."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_repositories(folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where the caches and the lock of a test are."""
    return tmp_path / "cache"


@pytest.fixture
def hub(tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubTwin]:
    """A served twin with every repository in good health, and empty caches that point at it."""
    with HubTwin(repository(name, tiny / name) for name in LAYOUTS) as twin:
        pointed_at(twin, monkeypatch, cache)
        yield twin
