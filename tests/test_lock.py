"""The two locks, of the product and of the site: everything by hash, for every platform, and what is asked for."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.paths import ROOT

LOCKS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("requirements.lock", "docs/requirements.lock")
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

LINUX = {
    "sys_platform": "linux",
    "platform_machine": "x86_64",
    "platform_system": "Linux",
    "os_name": "posix",
}


def entries(lock: str) -> list[tuple[Requirement, list[str]]]:
    """Every entry of a lock with its hashes."""
    found = []
    for block in re.split(r"\n(?=\S)", LOCKS[lock].strip()):
        first, *options = (line.strip().removesuffix("\\").strip() for line in block.splitlines())
        found.append((Requirement(first), options))
    return found


def versions(python: str, lock: str = "requirements.lock") -> dict[str, str]:
    """What is installed on Linux with this Python, by normalised name."""
    environment = {**LINUX, "python_version": python, "python_full_version": f"{python}.0"}
    pinned: dict[str, str] = {}
    for requirement, _ in entries(lock):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in pinned, f"{name} is pinned twice for Python {python}"
            pinned[name] = str(requirement.specifier).removeprefix("==")
    return pinned


@pytest.mark.parametrize(("lock", "least"), [("requirements.lock", 50), ("docs/requirements.lock", 20)])
def test_every_entry_is_one_version_with_hashes_and_nothing_else(lock: str, least: int) -> None:
    assert len(entries(lock)) > least
    for requirement, options in entries(lock):
        assert re.fullmatch(r"==[\w.+!]+", str(requirement.specifier)), requirement
        assert requirement.url is None
        assert options, f"{requirement} has no hash"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", option) for option in options), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_no_index_is_named(lock: str) -> None:
    assert "://" not in LOCKS[lock]
    assert not re.search(r"--(?!hash=)", LOCKS[lock])


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_what_the_project_asks_for_is_pinned_within_its_bounds(python: str) -> None:
    pinned = versions(python)
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    wanted += PROJECT["build-system"]["requires"]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement
    pinned = versions(python, "docs/requirements.lock")
    for requirement in map(Requirement, PROJECT["dependency-groups"]["docs"]):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("python", ["3.11", "3.14"])
def test_torch_and_torchvision_are_the_pair_that_works(python: str) -> None:
    pinned = versions(python)
    assert (pinned["torch"], pinned["torchvision"]) == ("2.14.1", "0.29.1")
    for constraint in map(Requirement, PROJECT["tool"]["uv"]["constraint-dependencies"]):
        assert constraint.specifier == SpecifierSet(f"=={pinned[constraint.name]}")
