"""A digit that is lost anywhere in a committed record, sidecar or study is noticed by `rematch leaderboard --check`."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.records.checksums import LIST, checksummed_files
from tests.paths import ROOT
from tests.reporting.documents import chosen_documents
from tests.tiny import rematch

KEY = re.compile(r'\s*(?:"([^"]+)": )?(.*)')


def places() -> dict[str, tuple[Path, int]]:
    """For each field of the chosen documents that holds a digit: one of these, where it may be."""
    found: dict[str, list[tuple[Path, int]]] = {}
    for path in chosen_documents():
        kind, start, key = path.parts[1], 0, ""
        for line in (ROOT / path).read_text(encoding="utf-8").splitlines(keepends=True):
            match = KEY.match(line)
            assert match is not None
            key = match[1] or key
            digits = [start + match.start(2) + i for i, char in enumerate(match[2]) if char in "0123456789"]
            found.setdefault(f"{kind} {key}", []).extend((path, place) for place in digits)
            start += len(line)
    rng = random.Random(8)
    return {key: rng.choice(where) for key, where in sorted(found.items()) if where}


PLACES = places()


@pytest.fixture
def home(chosen: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The copy as working folder; afterwards every document is as it was."""
    monkeypatch.chdir(chosen)
    before = {path: path.read_bytes() for path in checksummed_files()}
    yield chosen
    for path, content in before.items():
        path.write_bytes(content)


def noticed() -> str:
    """What the check says: exit 1 with a table of files, or 2 with one line."""
    said = rematch("leaderboard", "--check")
    assert said.code in (1, 2), said.out
    text = said.out if said.code == 1 else said.error
    assert said.code == 1 or len(text.strip().splitlines()) == 1
    return text


def test_there_are_fields_of_every_kind() -> None:
    assert len(PLACES) > 60
    for key in (
        "r1",
        "low",
        "seed",
        "median_ms",
        "training",
        "torch",
        "git_commit",
        "canonical_hash",
        "revision",
    ):
        assert f"runs {key}" in PLACES
    assert {key.split()[0] for key in PLACES} == {"runs", "studies"}


@pytest.mark.parametrize("key", PLACES)
def test_a_lost_digit_is_noticed(home: Path, key: str) -> None:
    path, place = PLACES[key]
    text = path.read_text(encoding="utf-8")
    assert text[place].isdigit(), home
    path.write_text(text[:place] + text[place + 1 :], encoding="utf-8")
    assert path.as_posix() in noticed()


@pytest.mark.parametrize("seed", range(5))
def test_a_lost_byte_of_a_sidecar_is_noticed(home: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = rng.choice(sorted(home.rglob("*.npz"))).relative_to(home)
    content = path.read_bytes()
    place = rng.randrange(len(content))
    path.write_bytes(content[:place] + content[place + 1 :])
    assert path.as_posix() in noticed()


def test_a_lost_digit_of_a_table_is_noticed(home: Path) -> None:
    made = [path for path in (*Path("results/tables").iterdir(), Path("results/report.html")) if path != LIST]
    for path in made:
        text = path.read_text(encoding="utf-8")
        place = next(place for place, char in enumerate(text) if char.isdigit())
        path.write_text(text[:place] + text[place + 1 :], encoding="utf-8")
    said = rematch("leaderboard", "--check")
    assert said.code == 1, home
    assert len(made) > 5
    for path in made:
        assert re.search(rf"{re.escape(path.as_posix())} +│ out of date", said.out), path
    assert rematch("leaderboard").code == rematch("leaderboard", "--check").code == 0
    LIST.write_text(LIST.read_text(encoding="utf-8")[1:], encoding="utf-8")
    assert rematch("leaderboard", "--check").code == 1
    assert rematch("leaderboard").code == 0
