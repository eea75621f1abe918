"""A digit that is lost anywhere in a committed record, sidecar or study is noticed by `rematch leaderboard --check`."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.records.checksums import LIST, checksummed_files
from benchmark.records.record import RUNS, read_all
from benchmark.records.study import STUDIES
from tests.paths import ROOT
from tests.tiny import rematch

KEY = re.compile(r'\s*(?:"([^"]+)": )?(.*)')


def chosen() -> list[Path]:
    """A record of each method, and an ensemble with its members: one of every kind of document, and quick to read."""
    records = read_all(ROOT / RUNS)
    kept = {record.method: record for record in reversed(records) if not record.members}
    both = next(record for record in records if record.members)
    names = {(member.run, member.seed) for member in both.members}
    members = [
        record
        for record in records
        if record.dataset.name == both.dataset.name and (record.run, record.seed) in names
    ]
    paths = {record.path for record in [*kept.values(), both, *members]}
    studies = [path.relative_to(ROOT) for path in (ROOT / STUDIES).glob("*.json")]
    return sorted([RUNS / path for path in paths]) + sorted(studies)


def places() -> dict[str, tuple[Path, int]]:
    """For each field of the chosen documents that holds a digit: one of these, where it may be."""
    found: dict[str, list[tuple[Path, int]]] = {}
    for path in chosen():
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


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chosen documents with what is made of them."""
    home = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "results/paper", home / "results/paper")
    for path in chosen():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, home / path)
        if path.is_relative_to(RUNS):
            shutil.copy((ROOT / path).with_suffix(".npz"), (home / path).with_suffix(".npz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert rematch("leaderboard").code == 0
        said = rematch("leaderboard", "--check").good
        made = [*Path("results/tables").iterdir(), Path("results/report.html")]
        made += [path for path in Path("results/studies").iterdir() if path.suffix != ".json"]
        checked = f"checked: {len(LIST.read_text().splitlines())} records, sidecars and studies, as {LIST.as_posix()}"
        assert said == f"{checked} has them; {len(made)} files made of them, byte for byte\n"
    return home


@pytest.fixture
def home(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The copy as working folder; afterwards every document is as it was."""
    monkeypatch.chdir(copy)
    before = {path: path.read_bytes() for path in checksummed_files()}
    yield copy
    for path, content in before.items():
        path.write_bytes(content)


def noticed() -> str:
    """What the check says: exit 1 with the file's name, or 2 with one line."""
    said = rematch("leaderboard", "--check")
    assert said.code in (1, 2), said.out
    text = said.out if said.code == 1 else said.error
    assert len(text.strip().splitlines()) == 1
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
        assert f"out of date: {path.as_posix()}; " in said.out
    assert rematch("leaderboard").code == rematch("leaderboard", "--check").code == 0
    LIST.write_text(LIST.read_text(encoding="utf-8")[1:], encoding="utf-8")
    assert rematch("leaderboard", "--check").code == 1
    assert rematch("leaderboard").code == 0
