"""Parquet files as tables: made once, made again when a file changes, and in bounded memory whatever their size."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from datasets.exceptions import DatasetGenerationError
from PIL import Image

from benchmark.data.checksums import KEPT, damage_of
from benchmark.data.published.parquet import prepare_table
from benchmark.errors import UserError

GB = 10**9


def write(folder: Path, starts: list[int], rows: int = 300) -> list[Path]:
    """One file for each start: `rows` numbers from there, in row groups of 70."""
    folder.mkdir(exist_ok=True, parents=True)
    for start in starts:
        numbers = list(range(start, start + rows))
        table = pa.table({"n": numbers, "text": [f"row {n}" for n in numbers], "other": numbers})
        pq.write_table(table, folder / f"part-{start:05}.parquet", row_group_size=70)
    return sorted(folder.glob("*.parquet"))


def test_rows_of_all_files_in_order_with_the_columns_asked_for(tmp_path: Path) -> None:
    files = write(tmp_path / "odd [1] *", [0, 1000])  # no pattern
    table = prepare_table(files, ["n", "text"], tmp_path / "cache")
    numbers = [*range(300), *range(1000, 1300)]
    assert table.column_names == ["n", "text"]
    assert table["n"][:] == numbers
    assert table["text"][:] == [f"row {n}" for n in numbers]
    backwards = prepare_table(files[::-1], ["n"], tmp_path / "cache")
    assert backwards["n"][:2] == [1000, 1001]


def test_the_copy_is_kept_until_a_file_changes(tmp_path: Path) -> None:
    files = write(tmp_path, [0])
    first = prepare_table(files, ["n"], tmp_path / "cache").cache_files
    written = Path(first[0]["filename"]).stat().st_mtime_ns
    assert prepare_table(files, ["n"], tmp_path / "cache").cache_files == first
    assert Path(first[0]["filename"]).stat().st_mtime_ns == written
    write(tmp_path, [0], rows=7)
    assert len(prepare_table(files, ["n"], tmp_path / "cache")) == 7


def copy_of(table: Any) -> Path:
    (file,) = [Path(item["filename"]) for item in table.cache_files]
    return file


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_changed_byte_of_the_copy_is_refused_with_the_cure(tmp_path: Path) -> None:
    files = write(tmp_path, [0])
    copy = copy_of(prepare_table(files, ["n"], tmp_path / "cache"))
    copy.touch()  # another time alone is no fault
    prepare_table(files, ["n"], tmp_path / "cache")
    flip(copy, -900)
    with pytest.raises(UserError) as caught:
        prepare_table(files, ["n"], tmp_path / "cache")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{copy.as_posix()}: found sha256 ")
    assert f"delete the prepared copy {copy.parent.as_posix()}" in message
    shutil.rmtree(copy.parent)
    assert prepare_table(files, ["n"], tmp_path / "cache")["n"][:] == list(range(300))


def test_a_byte_that_changes_without_a_trace_shows_where_all_is_compared(tmp_path: Path) -> None:
    files = write(tmp_path, [0])
    copy = copy_of(prepare_table(files, ["n"], tmp_path / "cache"))
    status = copy.stat()
    assert damage_of(copy.parent) == ""
    flip(copy, -900)
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    prepare_table(files, ["n"], tmp_path / "cache")
    assert damage_of(copy.parent).startswith(f"{copy.as_posix()}: found sha256 ")
    flip(copy, -900)
    flip(files[0], 100)
    assert damage_of(copy.parent).startswith(f"{files[0].as_posix()}: found sha256 ")


def test_a_copy_without_checksums_is_made_again(tmp_path: Path) -> None:
    files = write(tmp_path, [0])
    copy = copy_of(prepare_table(files, ["n"], tmp_path / "cache"))
    (copy.parent / KEPT).unlink()
    flip(copy, -900)
    assert prepare_table(files, ["n"], tmp_path / "cache")["n"][:] == list(range(300))
    assert (copy.parent / KEPT).is_file()
    (copy.parent / KEPT).write_text("[]")
    with pytest.raises(UserError, match=r"checksums\.json: not the checksums of a prepared copy; delete"):
        prepare_table(files, ["n"], tmp_path / "cache")


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    files = write(tmp_path, [0, 1000])
    content = bytearray(files[1].read_bytes())
    content[4:600] = bytes(596)
    files[1].write_bytes(content)
    with pytest.raises(DatasetGenerationError):
        prepare_table(files, ["n", "text"], tmp_path / "cache")


def padded_picture(shade: int, size: int) -> bytes:
    """A JPEG file of `size` bytes: a few pixels, then zeros that a decoder does not read."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), shade % 256, dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue().ljust(size, b"\0")


def write_pictures(path: Path, groups: int, rows: int, size: int) -> None:
    """A file of `groups` row groups, alike, of `rows` pictures."""
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    cells = [{"bytes": padded_picture(row, size), "path": "x.jpg"} for row in range(rows)]
    table = pa.table({"image": cells}, schema=schema)
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(path, schema, **plain) as writer:
        for _ in range(groups):
            writer.write_table(table, row_group_size=rows)


PASS = """
import sys
from pathlib import Path
import numpy as np
from benchmark.data.published.parquet import prepare_table
from benchmark.data.images.decoding import EncodedImages

folder = Path(sys.argv[1])
table = prepare_table([folder / "rows.parquet"], ["image"], folder / "cache")
names = [str(row) for row in range(len(table))]
images = EncodedImages(table, "image", np.random.default_rng(0).permutation(len(table)), names, "here")
pixels = sum(images[row].size[0] for row in range(len(images)))
status = Path("/proc/self/status").read_text()
print(pixels, int(status.split("VmHWM:")[1].split()[0]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_gigabyte_and_a_quarter_passes_through_less_than_0_8(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 4 * GB:
        pytest.skip("needs 4 GB of disk")
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        write_pictures(Path(folder) / "rows.parquet", groups=21, rows=200, size=300_000)
        assert (Path(folder) / "rows.parquet").stat().st_size > 1.25 * GB
        done = subprocess.run(
            [sys.executable, "-c", PASS, folder], capture_output=True, text=True, check=True
        )
    pixels, peak_kb = map(int, done.stdout.split())
    assert pixels == 21 * 200 * 32
    assert peak_kb * 1024 < 0.8 * GB
