"""Bottom-up-attention TSV files: converted once, taken up where a conversion stopped, wrong lines named."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.regions import cache, tsv
from benchmark.data.regions.tsv import Converted, convert_tsv, with_tsv
from benchmark.data.splits import NoPictures, Split
from benchmark.errors import UserError
from tests.data.region_files import boxes_of, tsv_line

IDS = (391895, 60623, 7, 42)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Two files, the second with a line of headings, ids as file names, and an image of the first again."""
    first, second = tmp_path / "a.tsv", tmp_path / "b.tsv"
    first.write_text("".join(tsv_line(number, boxes_of(number)) for number in IDS[:2]))
    lines = [tsv_line(f"COCO_train2014_{number:012d}", boxes_of(number)) for number in (*IDS[2:], IDS[0])]
    second.write_text("image_id\timage_w\timage_h\tnum_boxes\tboxes\tfeatures\n" + "".join(lines))
    return [first, second]


def convert(paths: list[Path], tmp_path: Path) -> Converted:
    return convert_tsv(paths, tmp_path / "features", show_progress=False)


def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CHUNK", 2)
    monkeypatch.setattr(cache, "BATCH", 1)


def test_every_image_is_found_once(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch)
    found = convert(paths, tmp_path)
    assert found.places == {str(number): row for row, number in enumerate(IDS)}
    assert found.regions.shape == (36, 2048)
    expected = np.stack([boxes_of(number) for number in IDS])
    np.testing.assert_array_equal(found.regions.regions(range(4)), expected)
    np.testing.assert_array_equal(found.regions.regions([3, 0]), expected[[3, 0]])
    assert found.regions.description == "bottom-up-attention features of a.tsv, b.tsv"


def test_the_second_time_nothing_is_decoded(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = convert(paths, tmp_path)
    monkeypatch.setattr(tsv, "_checked", None)
    monkeypatch.setattr(tsv, "_decoded", None)
    after = convert(paths, tmp_path)
    assert after.places == before.places
    assert after.regions.identity() == before.regions.identity()


def test_a_conversion_that_stopped_goes_on(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch)
    decode = tsv._decoded
    done: list[object] = []

    def stops(files: object, lines: list[tsv.TSVRow]) -> object:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.extend(line.image for line in lines)
        return decode(files, lines)  # type: ignore[arg-type]

    monkeypatch.setattr(tsv, "_decoded", stops)
    with pytest.raises(KeyboardInterrupt):
        convert(paths, tmp_path)
    assert len(list(tmp_path.rglob("chunk-*.npy"))) == 1
    done.clear()
    found = convert(paths, tmp_path)
    assert done == ["7", "42"]
    np.testing.assert_array_equal(found.regions.regions([1, 3])[1], boxes_of(42))


def test_changed_files_are_converted_anew(paths: list[Path], tmp_path: Path) -> None:
    convert(paths, tmp_path)
    paths[0].write_text(tsv_line(5, boxes_of(5)))
    assert set(convert(paths, tmp_path).places) == {"5", "7", "42", "391895"}


def test_a_damaged_list_of_lines_is_made_again(paths: list[Path], tmp_path: Path) -> None:
    convert(paths, tmp_path)
    (kept,) = tmp_path.rglob("ids.json")
    kept.write_text(kept.read_text()[:-20])
    assert len(convert(paths, tmp_path).places) == 4


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (tsv_line(8, boxes_of(8)[:35]), r"b.tsv: line 3 \(image 8\): found 35 boxes, expected 36"),
        (tsv_line(8, np.zeros((37, 2048), np.float32)), r"line 3 \(image 8\): found 37 boxes, expected 36"),
        (tsv_line(8, boxes_of(8)[:35], boxes=36), r"found 382,296 characters of features, expected 393,216"),
        (tsv_line(8, boxes_of(8))[:-9] + "\n", r"found 393,208 characters of features, expected 393,216"),
        ("8,640,480,36\n", r"line 3: found 1 columns, expected image_id, image_w"),
    ],
)
def test_lines_of_another_kind_are_named(paths: list[Path], tmp_path: Path, line: str, said: str) -> None:
    paths[1].write_text(tsv_line(7, boxes_of(7)) + tsv_line(42, boxes_of(42)) + line)
    with pytest.raises(UserError, match=said) as caught:
        convert(paths, tmp_path)
    assert "\n" not in str(caught.value)


def test_features_that_are_no_numbers(paths: list[Path], tmp_path: Path) -> None:
    line = tsv_line(8, boxes_of(8))
    paths[0].write_text(line[:-9] + "!" + line[-8:])
    with pytest.raises(UserError, match=r"a.tsv: image 8: its features are not base64 of 36 x 2,048 float32"):
        convert(paths, tmp_path)
    damaged = boxes_of(8)
    damaged[3, 3] = np.nan
    paths[0].write_text(tsv_line(8, damaged))
    with pytest.raises(UserError, match="image 0: the features hold NaN"):
        convert(paths, tmp_path)
    paths[0].write_text("")
    with pytest.raises(UserError, match=r"a.tsv: found no image"):
        convert(paths[:1], tmp_path)


def test_the_encoded_size_is_right() -> None:
    assert len(base64.b64encode(boxes_of(0).tobytes())) == tsv.ENCODED


# ----------------------------------------------------------------------------------------- splits


def make_split(ids: list[str], names: list[str]) -> Split:
    captions = [f"caption of {name}" for name in names]
    return Split("val", ids, names, captions, names, np.arange(len(ids)), NoPictures(len(ids)))


def test_images_are_found_by_id_or_by_the_number_in_their_name(paths: list[Path], tmp_path: Path) -> None:
    found = convert(paths, tmp_path)
    split = with_tsv(make_split(["42", "1"], ["x.jpg", "val2014/COCO_val2014_000000000007.jpg"]), found)
    assert split.regions is not None
    np.testing.assert_array_equal(split.regions.regions([0, 1]), np.stack([boxes_of(42), boxes_of(7)]))
    with pytest.raises(
        UserError, match=r"split 'val': 1 of 2 images have no line.* the first is 3 \(y.jpg\)"
    ):
        with_tsv(make_split(["42", "3"], ["x.jpg", "y.jpg"]), found)


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("karpathy_test_genome.tsv.0", "karpathy_test_genome.tsv.1", "a.txt"), 2),
        (("test.TSV",), 1),
        (("a.tsv", "a.tsv.gz"), 1),
    ],
)
def test_files_are_found_by_the_names_they_were_published_under(
    names: tuple[str, ...], taken: int, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    assert [path.name for path in tsv.tsv_files(tmp_path)] == list(names[:taken])


def test_a_folder_without_a_readable_file_names_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no \.tsv file"):
        tsv.tsv_files(tmp_path)
    (tmp_path / "a.tsv.gz").write_text("")
    with pytest.raises(UserError, match=r"found a\.tsv\.gz and no \.tsv file"):
        tsv.tsv_files(tmp_path)


def test_marks_and_blank_lines_at_the_end_are_nothing(tmp_path: Path) -> None:
    path, line = tmp_path / "a.tsv", tsv_line(7, boxes_of(7)).encode()
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\n")
    found = convert([path], tmp_path)
    assert found.places == {"7": 0}
    np.testing.assert_array_equal(found.regions.regions([0])[0], boxes_of(7))
    path.write_bytes(line + b"\n" + line)
    with pytest.raises(UserError, match=r"a\.tsv: line 2 is empty"):
        convert([path], tmp_path)
