"""Encoded pictures: read from the Arrow file or a folder, named when they are broken."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from benchmark.data.images.decoding import BrokenPictureError, EncodedImages, FileImages, corrupt_rows, decode
from benchmark.errors import UserError

MODES = ("RGB", "L", "CMYK", "P", "LA", "RGBA", "1")


def picture(number: int, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    noise = np.random.default_rng(number).integers(0, 256, (30, 40 + number, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def make_table(folder: Path, files: Sequence[bytes | None], name: str = "a.parquet") -> datasets.Dataset:
    """A table as the Hub's are read: from parquet, memory-mapped, pictures not decoded."""
    rows = [
        {"image": content if content is None else {"bytes": content, "path": f"{row}.jpg"}, "n": row}
        for row, content in enumerate(files)
    ]
    features = datasets.Features({"image": datasets.Image(), "n": datasets.Value("int64")})
    folder.mkdir(exist_ok=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(folder / name)
    path = (folder / name).as_posix()
    table = datasets.load_dataset(
        "parquet", data_files={"rows": [path]}, split="rows", cache_dir=(folder / "prepared").as_posix()
    )
    return table.cast_column("image", datasets.Image(decode=False))


def images_of(table: datasets.Dataset, rows: list[int] | None = None) -> EncodedImages:
    rows = list(range(len(table))) if rows is None else rows
    return EncodedImages(
        table, "image", np.asarray(rows), [f"{1000 + row}.jpg" for row in rows], "a/b@c0ffee"
    )


def test_rows_come_in_the_order_asked_for_and_byte_for_byte(tmp_path: Path) -> None:
    files = [picture(n) for n in range(250)]  # over two record batches
    table = make_table(tmp_path, files)
    assert len(table.data.column("image").chunks) > 1
    rows = np.random.default_rng(0).permutation(250).tolist()
    images = images_of(table, rows)
    assert [images.encoded(row) for row in range(250)] == [files[row] for row in rows]
    some = images.select([7, 3, 7])
    assert [some.encoded(row) for row in range(3)] == [files[rows[row]] for row in (7, 3, 7)]
    assert some.filenames == [f"{1000 + rows[row]}.jpg" for row in (7, 3, 7)]
    assert (len(images), len(some), len(images.select([]))) == (250, 3, 0)
    assert some._cells is images._cells
    digests = [hashlib.sha256(files[row]).digest() for row in rows]
    assert images.identity().decode() == hashlib.sha256(b"".join(digests)).hexdigest()
    assert some.identity().decode() == hashlib.sha256(digests[7] + digests[3] + digests[7]).hexdigest()


def test_cells_are_read_from_the_file_and_travel_without_the_table(tmp_path: Path) -> None:
    files = [picture(n) for n in range(20)]
    images = images_of(make_table(tmp_path, files))
    (source,) = images._cells.sources
    assert Path(source).suffix == ".arrow"  # on Linux; elsewhere a buffer of the mapping
    pickled = pickle.dumps(images)
    assert len(pickled) < sum(map(len, files)) / 2
    assert pickle.loads(pickled).encoded(11) == files[11]
    Path(source).unlink()
    with pytest.raises(UserError, match=r"parquet-rows\.arrow: the prepared pictures cannot be read"):
        images.encoded(0)


def test_views_and_tables_in_memory_are_read_too(tmp_path: Path) -> None:
    files = [picture(n) for n in range(30)]
    table = make_table(tmp_path, files)
    even = images_of(table.filter(lambda n: n % 2 == 0, input_columns="n"))
    assert [even.encoded(row) for row in range(15)] == files[::2]
    twice = images_of(datasets.concatenate_datasets([table.select(range(5, 9)), table]))
    assert [twice.encoded(row) for row in range(34)] == files[5:9] + files
    features = datasets.Features({"image": datasets.Image(decode=False)})
    rows = [{"image": {"bytes": content, "path": None}} for content in files]
    memory = images_of(datasets.Dataset.from_list(rows, features=features))
    assert [memory.encoded(row) for row in range(30)] == files
    assert pickle.loads(pickle.dumps(memory)).encoded(29) == files[29]
    assert len(images_of(table.select([]))) == 0


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    kind = "JPEG" if mode in ("RGB", "L", "CMYK") else "PNG"
    images = images_of(make_table(tmp_path, [picture(3, mode, kind)]))
    with Image.open(io.BytesIO(images.encoded(0))) as stored:
        assert stored.mode == mode
        expected = np.asarray(stored.convert("RGB"))
    assert images[0].mode == "RGB"
    assert np.array_equal(np.asarray(images[0]), expected)


def encoded(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, "TIFF" if values.dtype.itemsize == 4 else "PNG")
    return content.getvalue()


def test_sixteen_bits_of_grey_are_scaled_to_eight() -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    shown = np.asarray(decode(encoded(grey * 257), "a ramp"))
    assert np.array_equal(shown, np.repeat(grey[..., None], 3, axis=2))
    near = np.asarray(decode(encoded(np.array([[0, 128, 129, 65_535]], np.uint16)), "ends"))
    assert near[0, :, 0].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_grey_of_thirty_two_bits_is_refused(kind: type) -> None:
    with pytest.raises(BrokenPictureError, match=r"deep: cannot be decoded \(grey values of 32 bits"):
        decode(encoded(np.full((2, 2), 300, kind)), "deep")


BROKEN = {
    "truncated": picture(1)[:300],
    "text": b"<html>404</html>",
    "empty": b"",
    "none": None,
    "png": picture(1, "RGB", "PNG")[:-200],
    "flipped": picture(2, "RGB", "PNG")[:60] + bytes(40) + picture(2, "RGB", "PNG")[100:],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_picture_names_itself(tmp_path: Path, kind: str) -> None:
    images = images_of(make_table(tmp_path, [picture(0), BROKEN[kind], picture(2)]))
    assert images[0].mode == images[2].mode == "RGB"
    wanted = r"^image 1001\.jpg \(row 1, from a/b@c0ffee\): cannot be decoded \(.+\); --skip-corrupt leaves"
    with pytest.raises(BrokenPictureError, match=wanted) as caught:
        images[1]
    assert "\n" not in str(caught.value)
    assert " 0x" not in str(caught.value)
    assert caught.value.reason in str(caught.value)
    assert corrupt_rows(images, show_progress=False) == {1: caught.value.reason}


def test_local_files_are_named(tmp_path: Path) -> None:
    table = make_table(tmp_path, [picture(0), b"x"])
    files = tuple(sorted(tmp_path.glob("*.parquet")))
    images = EncodedImages(table, "image", np.arange(2), ["a.jpg", "b.jpg"], files)
    with pytest.raises(UserError, match=r"image b\.jpg \(row 1, from a\.parquet\)"):
        images[1]
    images = EncodedImages(table, "image", np.arange(2), ["a.jpg", "b.jpg"], (*files, files[0], files[0]))
    with pytest.raises(UserError, match=r"from a\.parquet or one of 2 more files"):
        images[1]


def test_corrupt_rows_are_all_found(tmp_path: Path) -> None:
    files: list[bytes | None] = [picture(n) for n in range(600)]
    bad = {0, 255, 256, 511, 599}
    for row in bad:
        files[row] = picture(row)[:100]
    images = images_of(make_table(tmp_path, files))
    found = corrupt_rows(images, show_progress=False)
    assert list(found) == sorted(bad)
    assert all(found.values())
    good = images.select([row for row in range(600) if row not in bad])
    assert corrupt_rows(good, show_progress=False) == {}


def folder_of(tmp_path: Path) -> FileImages:
    (tmp_path / "sub").mkdir()
    for n, name in enumerate(("a.jpg", "sub/b.jpg", "c.jpg")):
        (tmp_path / name).write_bytes(picture(n))
    return FileImages(tmp_path, ["a.jpg", "sub/b.jpg", "c.jpg"], ["a.jpg", "b.jpg", "c.jpg"])


def test_files_of_a_folder(tmp_path: Path) -> None:
    images = folder_of(tmp_path)
    assert [images.encoded(row) for row in range(3)] == [picture(n) for n in range(3)]
    assert images[1].size == (41, 30)
    digests = b"".join(hashlib.sha256(picture(n)).digest() for n in range(3))
    assert images.identity().decode() == hashlib.sha256(digests).hexdigest()
    changed = bytearray(picture(1))
    changed[-3] ^= 1
    (tmp_path / "sub/b.jpg").write_bytes(changed)  # as long as before
    assert images.identity().decode() != hashlib.sha256(digests).hexdigest()
    (tmp_path / "sub/b.jpg").write_bytes(picture(1))
    assert images.identity().decode() == hashlib.sha256(digests).hexdigest()
    some = images.select([2, 0])
    assert (len(some), some.filenames) == (2, ["c.jpg", "a.jpg"])
    assert some.encoded(0) == images.encoded(2)
    assert pickle.loads(pickle.dumps(some)).encoded(1) == picture(0)


def test_a_missing_or_broken_file_is_one_line(tmp_path: Path) -> None:
    images = folder_of(tmp_path)
    (tmp_path / "c.jpg").write_bytes(picture(2)[:200])
    assert list(corrupt_rows(images, show_progress=False)) == [2]
    with pytest.raises(BrokenPictureError, match=r"image c\.jpg \(row 2, from c\.jpg\): cannot be decoded"):
        images[2]
    (tmp_path / "sub/b.jpg").unlink()
    for fails in (images.identity, lambda: images[1], lambda: corrupt_rows(images, show_progress=False)):
        with pytest.raises(UserError, match=r"image b\.jpg \(row 1\).*sub/b\.jpg") as caught:
            fails()
        assert not isinstance(caught.value, BrokenPictureError)
        assert "\n" not in str(caught.value)
