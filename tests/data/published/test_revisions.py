"""The lock of data revisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.data.published.revisions import Revisions, keep, keep_file, lock_path, read_revisions
from benchmark.errors import UserError

A, B = "a" * 40, "b" * 40


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REMATCH_REVISIONS", str(tmp_path / "revisions.yaml"))
    return tmp_path / "revisions.yaml"


def test_the_committed_lock_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REMATCH_REVISIONS")
    assert lock_path().parts[-3:] == ("data", "published", "revisions.yaml")
    read_revisions()  # and can be read


def test_what_is_kept_is_read_again(lock: Path) -> None:
    assert read_revisions() == Revisions()
    keep("flickr30k", "test", "owner/name", A)
    keep("mscoco", "val", "other/name", B)
    found = read_revisions()
    assert found.commits == {"owner/name": A, "other/name": B}
    assert found.sources == {"flickr30k/test": "owner/name", "mscoco/val": "other/name"}
    assert lock.read_text(encoding="utf-8").startswith("# Commits")


def test_a_file_of_weights_is_kept_beside_them(lock: Path) -> None:
    keep("flickr30k", "test", "owner/name", A)
    keep_file("owner/model", B, "weights.bin", "c" * 64)
    found = read_revisions()
    assert found.commits == {"owner/name": A, "owner/model": B}
    assert found.sources == {"flickr30k/test": "owner/name"}
    assert found.hashes == {"owner/model/weights.bin": "c" * 64}
    before = lock.read_bytes()
    keep_file("owner/model", B, "weights.bin", "c" * 64)
    assert lock.read_bytes() == before


def test_the_file_is_left_alone_where_nothing_is_new(lock: Path) -> None:
    keep("flickr30k", "test", "owner/name", A)
    lock.write_text(lock.read_text(encoding="utf-8") + "# a remark\n", encoding="utf-8")
    keep("flickr30k", "test", "owner/name", A)
    assert lock.read_text(encoding="utf-8").endswith("# a remark\n")


def test_a_place_that_cannot_be_written_is_one_line(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.write_text("", encoding="utf-8")
    monkeypatch.setenv("REMATCH_REVISIONS", str(lock / "below" / "a file"))
    with pytest.raises(UserError, match=r"cannot be written \(.*set REMATCH_REVISIONS to a file that can"):
        keep("flickr30k", "test", "owner/name", A)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("commits: {owner/name: d775c63}", r"'commits\.owner/name': found 'd775c63', expected the 40"),
        (f"commits: {{owner/name: {'A' * 40}}}", "expected the 40"),
        (f"hashes: {{a/b/c.bin: {A}}}", r"'hashes\.a/b/c\.bin': found 'a{40}', expected the 64 hexadecimal"),
        ("comits: {}", "not a lock of revisions"),
        ("[1, 2", "not a lock of revisions"),
        ("- 1", "not a lock of revisions"),
    ],
)
def test_what_is_not_a_lock_is_one_line(lock: Path, text: str, message: str) -> None:
    lock.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read_revisions()
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        keep("flickr30k", "test", "owner/name", A)
    assert lock.read_text(encoding="utf-8") == text
