"""Files just over the bounds of the guarded readers are refused, sound ones are read, and nothing reads around them."""

from __future__ import annotations

import ast
import io
import json
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark import guarded
from benchmark.guarded import DocumentError
from tests.paths import ROOT

ELSEWHERE = {
    ("benchmark/training/checkpoints.py", "torch.load"),  # after open_archive and next_pickle
    ("benchmark/training/checkpoints.py", "safe_open"),  # after check_safetensors
    ("benchmark/torch_files/archive.py", "Unpickler"),  # the base of a reader that runs nothing
    ("benchmark/data/regions/detector/weights.py", "safe_open"),  # of a file of ours, after its sha256
    ("benchmark/data/regions/kept.py", "safe_open"),  # after check_safetensors
    ("benchmark/data/regions/compare.py", "safe_open"),  # after that of kept.py
}
"""Readers that stand outside benchmark/guarded.py, each behind one of its checks."""

READERS = {
    "yaml.load",
    "yaml.safe_load",
    "json.load",
    "json.loads",
    "torch.load",
    "pickle.load",
    "pickle.loads",
}
NAMES = {"safe_open", "load_file", "Unpickler"}
"""Readers that go by their own name."""


def bare_readers(path: Path) -> set[tuple[str, str]]:
    """Name the calls in a file that parse a document without bounds; what `json.dumps` has just made is no document."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
        if isinstance(node, ast.Call):
            own = (
                node.args
                and isinstance(node.args[0], ast.Call)
                and ast.unparse(node.args[0].func) == "json.dumps"
            )
            names = [] if own else [ast.unparse(node.func)]
        last = [name.rpartition(".")[2] for name in names]
        found |= {name for name in names if name in READERS} | {name for name in last if name in NAMES}
    where = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    return {(where, name) for name in found}


def test_every_document_goes_through_the_guarded_readers() -> None:
    files = [path for room in ("benchmark", "baselines") for path in (ROOT / room).rglob("*.py")]
    assert set().union(*map(bare_readers, files)) == ELSEWHERE | {
        ("benchmark/guarded.py", "json.loads"),
        ("benchmark/guarded.py", "yaml.load"),
    }


@pytest.mark.parametrize(
    "line", ["json.loads(text)", "yaml.safe_load(x)", "torch.load(p)", "f(safetensors.safe_open(p))"]
)
def test_a_bare_reader_is_found(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f"def f():\n    return {line}\n")
    assert len(bare_readers(tmp_path / "a.py")) == 1


# ----------------------------------------------------------------------------------- JSON and YAML


@pytest.mark.parametrize("levels", [guarded.JSON_DEPTH, guarded.JSON_DEPTH + 1, 100_000])
def test_the_depth_of_json_is_bounded(levels: int) -> None:
    text = "[" * levels + "]" * levels
    if levels <= guarded.JSON_DEPTH:
        assert json.dumps(guarded.parse_json(text)) == text
    else:
        with pytest.raises(DocumentError, match=f"deeper than {guarded.JSON_DEPTH}"):
            guarded.parse_json(text)


def test_the_size_of_a_file_is_bounded_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    size = path.stat().st_size
    assert guarded.read_json(path, limit=size) == {"a": 1}
    with pytest.raises(DocumentError, match=f"found {size} bytes, expected at most {size - 1}"):
        guarded.read_json(path, limit=size - 1)
    with path.open("r+b") as handle:
        handle.truncate(guarded.JSON_BYTES + 1)  # a hole: it takes no room
    with pytest.raises(DocumentError, match="expected at most"):
        guarded.read_json(path)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)
"""Ten million values, were the aliases followed."""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[" * 33 + "]" * 33, "deeper than 32"),
        ("- " * 33 + "x", "deeper than 32"),
        ("[" * 5000, "depth|deeper"),
        (LAUGHS, "more than 50,000 values"),
        (f"{LAUGHS}h:\n  <<: [*b, *b]\n", "more than 50,000 values"),
        ("a: &a [*a]", "alias 'a'"),
        ("x" * 10_001, "10,001 characters"),
        ("a: 2020-02-30", "day is out of range"),
        ("a: !!bool x", "x"),
        ("a: !!int ''", "index"),
        ("a: !!timestamp x", "groups?dict"),
        ("a: !!python/name:os.system x", "could not determine a constructor"),
        ("a: *b", "undefined alias"),
        ("a: 1" + "1" * 5000, "4300 digits"),
        (b"\xff", "decode"),
    ],
)
def test_yaml_that_is_out_of_bounds_or_wrong_is_one_kind_of_error(text: str | bytes, fault: str) -> None:
    with pytest.raises(DocumentError, match=fault):
        guarded.parse_yaml(text)


def test_yaml_within_bounds_is_read_with_its_aliases(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a [1, 2]\nb: *a\nc: {<<: &d {e: 1}, f: 2}\n" + "# long\n" * 5000)
    assert guarded.read_yaml(path) == {"a": [1, 2], "b": [1, 2], "c": {"e": 1, "f": 2}}
    path.write_bytes(b" " * (guarded.YAML_BYTES + 1))
    with pytest.raises(DocumentError, match="expected at most"):
        guarded.read_yaml(path)


# ------------------------------------------------------------------------------ tensors and archives


@pytest.mark.parametrize(
    ("announced", "length"), [(guarded.HEADER_BYTES + 1, 2**25), (100, 50), (2**63, 8), (1, 3)]
)
def test_a_header_of_safetensors_must_fit_its_file(announced: int, length: int, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(announced.to_bytes(8, "little")[:length])
    with path.open("r+b") as handle:
        handle.truncate(length)
    with pytest.raises(DocumentError, match="header of"):
        guarded.check_safetensors(path)


def test_an_archive_may_not_unpack_to_much_more_than_it_has(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for size, fits in ((2**20, True), (2**21, False)):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/data.pkl", bytes(size))
        if fits:
            with guarded.open_archive(path) as archive:
                assert len(archive.read("a/data.pkl")) == size
        else:
            with pytest.raises(DocumentError, match=f"would unpack to {size:,}"):
                guarded.open_archive(path)


def test_the_directory_of_an_archive_is_bounded_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(3)}, path)  # torch writes the records of large archives as well
    guarded.open_archive(path).close()
    monkeypatch.setattr(guarded, "DIRECTORY_BYTES", 100)
    monkeypatch.setattr(zipfile, "ZipFile", None)  # not reached
    with pytest.raises(DocumentError, match="its directory has"):
        guarded.open_archive(path)


NEST = b"\x85"  # a tuple of what is on the stack
TWICE = b"2\x86"  # a pair of it and itself
KEY = b"K\x01s."  # 1 as the value, into the mapping below


@pytest.mark.parametrize(
    ("pickled", "fault"),
    [
        (b"}K\x01" + NEST * 129 + KEY, "deeper than 128"),
        (b"}K\x01" + TWICE * 10 + KEY, "key of more than 1,000"),
        (b"\x8f(K\x01" + TWICE * 40 + b"\x90.", "key of more than 1,000"),
        (b"(K\x01" + TWICE * 40 + b"\x91.", "key of more than 1,000"),
        (b"]" * 200 + b"a" * 199 + b".", "deeper than 128"),
        (b"K\x01r\xff\xff\xff\x0f.", "in place 268,435,455"),
        (b"\x8e" + b"\xff" * 7 + b"\x00.", "no complete pickle"),
        (b"K\x010" * 200_001, "more than 400,000 steps"),
        (b"(" * 10, "no complete pickle"),
        (b"", "no complete pickle"),
        (b"<html>", "no complete pickle"),
    ],
)
def test_a_pickle_is_looked_through_before_anything_is_built(pickled: bytes, fault: str) -> None:
    with pytest.raises(DocumentError, match=fault):
        guarded.next_pickle(io.BytesIO(pickled))


@pytest.mark.parametrize("protocol", range(6))
def test_sound_pickles_pass_one_by_one(protocol: int) -> None:
    import pickle

    values: list[Any] = [
        {"a": [list(range(3000)), {1: (2, 3)}], ("b", 1): {4, 5}, "c": frozenset("xy"), "d": torch.Size([2])},
        {
            "model": torch.nn.Linear(2, 3).state_dict().keys() and {"w": 1},
            "opt": [{}, (), 10**30, None, True, "é"],
        },
        Path("a"),
    ]
    parts = [pickle.dumps(value, protocol) for value in values]
    handle = io.BytesIO(b"".join(parts))
    assert [guarded.next_pickle(handle) for _ in parts] == parts


def test_a_file_just_over_the_bounds_is_refused_at_once_and_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    with path.open("r+b") as handle:
        handle.truncate(guarded.ANNOTATIONS + 1)  # a hole: it takes no room
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    readers: list[Callable[[], object]] = [
        lambda: guarded.read_json(path, limit=guarded.ANNOTATIONS),
        lambda: guarded.read_json(path),
        lambda: guarded.read_yaml(path),
        lambda: guarded.next_pickle(io.BytesIO(b"K\x010" * (guarded.PICKLE_STEPS // 2 + 1))),
        lambda: guarded.next_pickle(io.BytesIO(b"B" + (2**24).to_bytes(4, "little") + bytes(2**24) + b".")),
        lambda: guarded.parse_json("[" * (guarded.JSON_DEPTH + 1) + "]" * (guarded.JSON_DEPTH + 1)),
        lambda: guarded.parse_yaml(f"[{'x,' * guarded.YAML_NODES}x]"),
    ]
    for reader in readers:
        with pytest.raises(DocumentError):
            reader()
    assert time.process_time() - start < 2 * len(readers)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024
