"""SCAN folders: whole splits with the repetition quirk, and one line for whatever is wrong with them."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.published.karpathy import flickr30k_names
from benchmark.data.regions.arrays import IDENTITY_ROWS, ArrayRegions, open_npy
from benchmark.data.regions.scan import flickr30k_by_id, scan_split
from benchmark.data.regions.sources import cut_down
from benchmark.errors import UserError
from benchmark.recipe.schema import StoredRegions
from tests.data.region_files import features, scan_part


@pytest.mark.parametrize("repeated", [False, True], ids=["once", "five times"])
def test_a_part_makes_a_whole_split(tmp_path: Path, repeated: bool) -> None:
    found = scan_part(tmp_path, "train", 4, repeated=repeated)
    split = scan_split("mscoco", "train", tmp_path)
    assert split.image_ids == ["10", "11", "12", "13"]
    assert split.captions[:6] == [*(f"caption {k} of image 0 ." for k in range(5)), "caption 0 of image 1 ."]
    assert split.caption_ids[4:6] == ["10#4", "11#0"]
    assert split.caption_image.tolist() == [image for image in range(4) for _ in range(5)]
    assert split.regions is not None
    assert (len(split.regions), split.regions.shape) == (4, (36, 4))
    read = split.regions.regions([2, 0, 2])
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, found[[2, 0, 2]])
    assert split.regions.regions([]).shape == (0, 36, 4)
    with pytest.raises(UserError, match="no pictures"):
        split.images[0]


def test_repeated_and_single_images_are_the_same_split(tmp_path: Path) -> None:
    scan_part(tmp_path / "once", "dev", 6)
    scan_part(tmp_path / "five", "dev", 6, repeated=True)
    once, five = (scan_split("mscoco", "val", tmp_path / name) for name in ("once", "five"))
    assert once.fingerprint == five.fingerprint
    changed = features(range(6))
    changed[5, 35, 3] += 1
    scan_part(tmp_path / "other", "dev", 6, array=changed)
    assert scan_split("mscoco", "val", tmp_path / "other").fingerprint != once.fingerprint


def test_fewer_captions_and_fewer_images(tmp_path: Path) -> None:
    found = scan_part(tmp_path, "test", 5, repeated=True)
    split = scan_split("flickr8k", "test", tmp_path, captions_per_image=2)
    assert split.captions[:3] == [
        "caption 0 of image 0 .",
        "caption 1 of image 0 .",
        "caption 0 of image 1 .",
    ]
    part = split.select_images([1, 4])
    assert part.image_ids == ["11", "14"]
    assert part.regions is not None
    np.testing.assert_array_equal(part.regions.regions([0, 1]), found[[1, 4]])
    assert part.fingerprint != split.select_images([1, 3]).fingerprint
    copied = pickle.loads(pickle.dumps(part.regions))  # loader processes may start from nothing
    np.testing.assert_array_equal(copied.regions([1]), found[[4]])
    with pytest.raises(UserError, match="found 6, SCAN folders have 5"):
        scan_split("flickr8k", "test", tmp_path, captions_per_image=6)


def test_mscocos_test_split_is_testall(tmp_path: Path) -> None:
    scan_part(tmp_path, "test", 2)
    assert len(scan_split("mscoco", "test", tmp_path)) == 2
    scan_part(tmp_path, "testall", 7)
    assert len(scan_split("mscoco", "test", tmp_path)) == 7


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    scan_part(tmp_path, "test", 3)
    half = features(range(3)).astype(np.float16)
    np.save(tmp_path / "test_ims.npy", half)
    regions = scan_split("mscoco", "test", tmp_path).regions
    assert regions is not None
    assert regions.regions([1]).dtype == np.float32
    np.testing.assert_array_equal(regions.regions([2, 1]), half[[2, 1]].astype(np.float32))


# ------------------------------------------------------------------------------- ids and file names


def test_ids_may_be_one_a_caption_or_missing(tmp_path: Path) -> None:
    scan_part(tmp_path, "dev", 3, ids=[number for number in (7, 8, 9) for _ in range(5)])
    assert scan_split("mscoco", "val", tmp_path).image_ids == ["7", "8", "9"]
    (tmp_path / "dev_ids.txt").unlink()
    split = scan_split("mscoco", "val", tmp_path)
    assert split.image_ids == split.filenames == ["dev-0", "dev-1", "dev-2"]


def test_file_names_of_flickr30k_are_known(tmp_path: Path) -> None:
    assert flickr30k_by_id()["0"] == "1000092795.jpg"  # data.md 2.2
    assert flickr30k_by_id()["25"] == "1007129816.jpg" == flickr30k_names("test")[0]
    assert flickr30k_by_id()["31013"] == "998845445.jpg"
    scan_part(tmp_path, "test", 2, ids=[25, 0])
    assert scan_split("flickr30k", "test", tmp_path).filenames == ["1007129816.jpg", "1000092795.jpg"]
    assert scan_split("mscoco", "test", tmp_path).filenames == ["25", "0"]


@pytest.mark.parametrize("above", [False, True])
def test_file_names_from_the_mapping(tmp_path: Path, above: bool) -> None:
    scan_part(tmp_path / "precomp", "test", 2)
    mapping = (tmp_path if above else tmp_path / "precomp") / "id_mapping.json"
    mapping.write_text('{"10": "val2014/a.jpg", "11": "val2014/b.jpg", "12": "c.jpg"}')
    assert scan_split("mscoco", "test", tmp_path / "precomp").filenames == ["val2014/a.jpg", "val2014/b.jpg"]
    mapping.write_text('{"10": "val2014/a.jpg"}')
    with pytest.raises(UserError, match=rf"{mapping.as_posix()}: 1 of 2 ids are missing, the first is 11"):
        scan_split("mscoco", "test", tmp_path / "precomp")
    mapping.write_text("[1, 2]")
    with pytest.raises(UserError, match="not a mapping from ids to file names"):
        scan_split("mscoco", "test", tmp_path / "precomp")


@pytest.mark.parametrize("foreign", ['{"7": "COCO_a.jpg"}', '{"25": "COCO_a.jpg", "0": "COCO_b.jpg"}'])
def test_a_mapping_of_another_dataset_names_no_image_of_flickr30k(foreign: str, tmp_path: Path) -> None:
    scan_part(tmp_path / "precomp", "test", 2, ids=[25, 0])
    (tmp_path / "id_mapping.json").write_text(foreign)
    found = scan_split("flickr30k", "test", tmp_path / "precomp").filenames
    assert found == ["1007129816.jpg", "1000092795.jpg"]
    (tmp_path / "id_mapping.json").write_text(
        '{"25": "a/1000092795.jpg", "0": "a/998845445.jpg"}', "utf-8-sig"
    )
    own = scan_split("flickr30k", "test", tmp_path / "precomp").filenames
    assert own == ["a/1000092795.jpg", "a/998845445.jpg"], (
        "names of Flickr30K: other ids, and its own mapping"
    )


def test_marks_and_blank_lines_at_the_ends_are_nothing(tmp_path: Path) -> None:
    scan_part(tmp_path / "plain", "test", 2)
    scan_part(tmp_path / "marked", "test", 2)
    for name in ("test_caps.txt", "test_ids.txt"):
        content = (tmp_path / "marked" / name).read_bytes()
        (tmp_path / "marked" / name).write_bytes(b"\xef\xbb\xbf" + content + b"\r\n \n\n")
    plain, marked = (scan_split("mscoco", "test", tmp_path / name) for name in ("plain", "marked"))
    assert (marked.captions, marked.image_ids) == (plain.captions, plain.image_ids)
    assert marked.fingerprint == plain.fingerprint


def test_captions_that_are_not_in_image_order_are_refused(tmp_path: Path) -> None:
    scan_part(tmp_path, "test", 3, ids=[7, 8, 9] * 5)
    assert "test_ids.txt: line 2: found 8, expected 7" in refused(tmp_path)
    scan_part(tmp_path, "test", 3, ids=[7] * 5 + [8] * 4 + [9] * 6)
    assert "test_ids.txt: line 10: found 9, expected 8" in refused(tmp_path)
    scan_part(tmp_path, "test", 1, ids=[-5])
    assert "test_ids.txt: line 1: found '-5'" in refused(tmp_path)


@pytest.mark.parametrize(("dataset", "kept"), [("flickr30k", 1_000), ("mscoco", 1_000), ("flickr8k", 1_200)])
def test_the_cap_of_dev_is_that_of_two_datasets(dataset: str, kept: int) -> None:
    wanted = cut_down(StoredRegions(source="scan"), dataset, {"val": 1_200})
    assert wanted == {"val": kept}


def test_captions_keep_odd_characters_in_their_line(tmp_path: Path) -> None:
    texts = ["  a caf\u00e9 \u2028 table ", "a\x0bb", "c", "d", "e"]
    scan_part(tmp_path, "test", 1, texts=texts)
    assert scan_split("mscoco", "test", tmp_path).captions == ["a caf\u00e9   table", "a b", "c", "d", "e"]


# ----------------------------------------------------------------------------------------- mistakes


def read_everything(folder: Path) -> None:
    split = scan_split("mscoco", "test", folder)
    assert split.regions is not None
    split.regions.regions(range(len(split)))


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_everything(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_counts_that_do_not_fit(tmp_path: Path) -> None:
    scan_part(tmp_path, "test", 4, array=features(range(3)))
    message = refused(tmp_path)
    assert "test_ims.npy and test_caps.txt: found features of 3 images and 20 captions" in message
    assert "expected 4 images, or 20 where each is repeated" in message
    scan_part(tmp_path, "test", 4, texts=["a"] * 19)
    assert "test_caps.txt: found 19 captions, expected 5 an image" in refused(tmp_path)
    scan_part(tmp_path, "test", 4, ids=[1, 2, 3])
    assert "test_ids.txt: found 3 ids, expected 4, one an image, or 20" in refused(tmp_path)


def test_rows_that_do_not_repeat_each_other(tmp_path: Path) -> None:
    scan_part(tmp_path, "test", 4, array=features(range(20)))  # one image a caption
    assert "test_ims.npy: found as many rows as captions (20) but rows 0 to 4 differ" in refused(tmp_path)


def test_texts_and_ids_that_are_none(tmp_path: Path) -> None:
    scan_part(tmp_path, "test", 1, texts=["a", "b", " \t", "d", "e"])
    assert refused(tmp_path) == "test_caps.txt: line 3 is empty, expected a caption"
    scan_part(tmp_path, "test", 1, ids=[3])
    (tmp_path / "test_caps.txt").write_bytes(b"a\nb\n\xff\nd\ne\n")
    assert "test_caps.txt: line 3 is not UTF-8" in refused(tmp_path)
    scan_part(tmp_path, "test", 1)
    (tmp_path / "test_ids.txt").write_text("12.jpg\n")
    assert "test_ids.txt: line 1: found '12.jpg', expected the number of an image" in refused(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(tmp_path: Path, value: float) -> None:
    array = features(range(3))
    array[2, 17, 1] = value
    scan_part(tmp_path, "test", 3, array=array)
    message = refused(tmp_path)
    assert f"test_ims.npy: row 2: region 17 holds {value}, expected finite numbers" in message
    with pytest.raises(UserError, match="row 2"):  # the identity reads them too
        _ = scan_split("mscoco", "test", tmp_path).fingerprint


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (features(range(2)).astype(np.float64), "found an array of float64, expected float32"),
        (
            features(range(2)).astype(">f4"),
            "found an array of float32 with the bytes swapped",
        ),
        (features(range(2)).reshape(2, -1), "found an array of shape (2, 144)"),
        (np.asfortranarray(features(range(2))), "found Fortran order"),
        (np.zeros((2, 36, 0), np.float32), "found an array of shape (2, 36, 0)"),
        (np.array([{}, {}]), "found an array of object"),
    ],
)
def test_arrays_of_another_kind(tmp_path: Path, array: np.ndarray, said: str) -> None:
    scan_part(tmp_path, "test", 2)
    np.save(tmp_path / "test_ims.npy", array)
    message = refused(tmp_path)
    assert message.startswith("test_ims.npy: ")
    assert said in message


def test_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "nowhere")
    message = refused(tmp_path)
    assert "found no testall_ims.npy or test_ims.npy" in message
    assert "kuanghueilee/scan-features" in message
    scan_part(tmp_path, "test", 2)
    whole = (tmp_path / "test_ims.npy").read_bytes()
    (tmp_path / "test_ims.npy").write_bytes(whole[:-1])
    assert "test_ims.npy: found 1,279 bytes, expected 1,280 for 2 images; fetch it again" in refused(tmp_path)
    (tmp_path / "test_ims.npy").write_bytes(b"PK" + whole[2:])
    assert "test_ims.npy: not a readable .npy file" in refused(tmp_path)
    scan_part(tmp_path, "test", 2)
    (tmp_path / "test_caps.txt").unlink()
    assert "test_caps.txt cannot be read" in refused(tmp_path)


def test_a_file_that_goes_away_later(tmp_path: Path) -> None:
    scan_part(tmp_path, "test", 2)
    regions = scan_split("mscoco", "test", tmp_path).regions
    assert regions is not None
    (tmp_path / "test_ims.npy").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"test_ims.npy: the region features cannot be read \(it ends too early\)"
    ):
        regions.regions([1])
    shutil.rmtree(tmp_path)
    with pytest.raises(UserError, match=r"test_ims.npy: the region features cannot be read"):
        regions.regions([1])


def test_the_identity_looks_at_rows_spread_evenly(tmp_path: Path) -> None:
    count = 3 * IDENTITY_ROWS
    np.save(tmp_path / "a.npy", features(range(count), regions=2, width=1))
    file = open_npy(tmp_path / "a.npy")
    regions = ArrayRegions((file,), np.arange(count), "a")
    changed = features(range(count), regions=2, width=1)
    changed[-1] += 1
    np.save(tmp_path / "b.npy", changed)
    other = ArrayRegions((open_npy(tmp_path / "b.npy"),), np.arange(count), "b")
    assert regions.identity() != other.identity()
    assert regions.select(range(count - 1)).identity() == other.select(range(count - 1)).identity()
    assert regions.select([]).identity() != regions.select([0]).identity()


def test_no_damage_to_the_head_gets_a_traceback(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", features(range(2), regions=2))
    whole, draws, refusals = (tmp_path / "a.npy").read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in draws.integers(0, 128, 2):
            damaged[place] = int(draws.integers(256))
        (tmp_path / "a.npy").write_bytes(damaged)
        try:
            open_npy(tmp_path / "a.npy")
        except UserError as error:
            refusals += "\n" not in str(error)
    assert refusals > 200
