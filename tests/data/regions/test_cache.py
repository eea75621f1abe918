"""Chunks of features on disk: whole or not there, checked when opened, made again where they are damaged."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.regions import cache
from benchmark.data.regions.arrays import ArrayRegions, Floats
from benchmark.data.regions.cache import Chunks
from benchmark.errors import UserError
from tests.data.region_files import features


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CHUNK", 4)
    monkeypatch.setattr(cache, "BATCH", 3)


class Made:
    """Computes features, and remembers of which rows."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.rows: list[int] = []
        self.stop_at = stop_at

    def __call__(self, rows: Sequence[int]) -> Floats:
        if self.stop_at is not None and self.stop_at in rows:
            raise KeyboardInterrupt
        self.rows += rows
        return features(rows, regions=2)


def chunks(folder: Path, images: int = 10, dtype: str = "<f4") -> Chunks:
    return Chunks(folder, images, dtype, "regions of test")


def read(folder: Path, made: Made, images: int = 10) -> Floats:
    files = chunks(folder, images).fetch(made, show_progress=False)
    return ArrayRegions(files, np.arange(images), "test").regions(range(images))


def test_computed_once(tmp_path: Path) -> None:
    first, second = Made(), Made()
    np.testing.assert_array_equal(read(tmp_path, first), features(range(10), regions=2))
    assert first.rows == list(range(10))
    assert [path.name[:11] for path in sorted(tmp_path.iterdir())] == [f"chunk-0000{k}" for k in range(3)]
    np.testing.assert_array_equal(read(tmp_path, second), features(range(10), regions=2))
    assert second.rows == []


def test_rows_come_from_the_right_chunk(tmp_path: Path) -> None:
    regions = ArrayRegions(chunks(tmp_path).fetch(Made(), show_progress=False), np.arange(10), "test")
    order = [9, 0, 4, 3, 3, 8, 7]
    np.testing.assert_array_equal(regions.regions(order), features(order, regions=2))
    np.testing.assert_array_equal(regions.select([9, 5]).regions([1, 0]), features([5, 9], regions=2))


def test_an_interrupted_computation_goes_on_at_the_last_whole_chunk(tmp_path: Path) -> None:
    stopped, resumed = Made(stop_at=9), Made()
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, stopped)
    assert len(list(tmp_path.iterdir())) == 2  # nothing half-written either
    np.testing.assert_array_equal(read(tmp_path, resumed), features(range(10), regions=2))
    assert resumed.rows == [8, 9]


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    read(tmp_path, Made())
    (tmp_path / ".chunk-00001-abc.npy.x1y2z3w4").write_bytes(b"half")
    read(tmp_path, Made())
    assert [path.name[:11] for path in sorted(tmp_path.iterdir())] == [f"chunk-0000{k}" for k in range(3)]


@pytest.mark.parametrize("damage", ["a bit", "the head", "the end", "everything", "another chunk"])
def test_a_damaged_chunk_is_made_again(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    read(tmp_path, Made())
    first, second, _ = sorted(tmp_path.iterdir())
    content = bytearray(second.read_bytes())
    if damage == "a bit":
        content[200] ^= 1
    elif damage == "the head":
        content[20:30] = b"x" * 10
    elif damage == "the end":
        del content[-5:]
    elif damage == "everything":
        content.clear()
    else:
        content[:] = first.read_bytes()
    second.write_bytes(content)
    made = Made()
    np.testing.assert_array_equal(read(tmp_path, made), features(range(10), regions=2))
    assert made.rows == [4, 5, 6, 7]
    said = capsys.readouterr().err
    assert said == f"regions of test: {second.name} (images 4 to 7) is damaged; computing it again\n"
    assert read(tmp_path, Made()).shape == (10, 2, 4)
    assert capsys.readouterr().err == ""


def test_other_numbers_of_another_process_do_no_harm(tmp_path: Path) -> None:
    """Rounding may differ between processes with other thread counts: either's whole chunk will do."""
    read(tmp_path, Made())
    files = chunks(tmp_path).fetch(Made(), show_progress=False)
    other = features(range(4), regions=2) + 1
    np.save(tmp_path / cache._name(0, other), other)
    again = chunks(tmp_path).fetch(Made(), show_progress=False)
    assert again[1:] == files[1:]
    assert again[0].path in {files[0].path, tmp_path / cache._name(0, other)}


def compute_slowly(folder: Path) -> None:
    """What one of two processes does; the chunks are small there too, since it is forked."""

    def made(rows: Sequence[int]) -> Floats:
        time.sleep(0.02)
        return features(rows, regions=2)

    chunks(folder, 30).fetch(made, show_progress=False)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="others start from nothing")
def test_two_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=compute_slowly, args=(tmp_path,)) for _ in range(2)]
    for process in running:
        process.start()
    for process in running:
        process.join(timeout=60)
    assert [process.exitcode for process in running] == [0, 0]
    assert len(list(tmp_path.iterdir())) == 8
    made = Made()
    np.testing.assert_array_equal(read(tmp_path, made, 30), features(range(30), regions=2))
    assert made.rows == []


def test_half_precision(tmp_path: Path) -> None:
    files = chunks(tmp_path, dtype="<f2").fetch(
        lambda rows: features(rows, 2) / np.float32(3), show_progress=False
    )
    found = ArrayRegions(files, np.arange(10), "test").regions([7])
    np.testing.assert_array_equal(found, (features([7], 2) / 3).astype(np.float16).astype(np.float32))


def test_numbers_that_the_cache_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"regions of test: image 5: the features hold NaN, infinity or numbers beyond"
    ):
        chunks(tmp_path, dtype="<f2").fetch(lambda rows: 20 * features(rows, 2) - 30_000, show_progress=False)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(
        UserError, match=r"cannot be written \(No space left on device\); chunks that are whole are kept"
    ):
        read(tmp_path, Made())
