"""Verification of full-size splits made from Karpathy's lists: the clean ones pass, each fault has its own message."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from itertools import chain

import pytest

from benchmark.data.published.catalogue import CATALOG, Entry, Facts
from benchmark.data.published.karpathy import mscoco_ids, mscoco_test_captions
from benchmark.data.published.verification import (
    Check,
    departures,
    difference,
    first_fault,
    notes,
)
from benchmark.data.scenes.dataset import ScenesOptions, scenes_split
from benchmark.data.splits import SplitName
from benchmark.reporting.verification import checks_sheet
from benchmark.reporting.writers.terminal import write_text
from tests.data.published.splits import (
    COCO_TEST,
    NAMES,
    coco,
    coco_test,
    coco_train,
    entities_like,
    failed,
    flickr,
    flickr_split,
    make_split,
    only_fault,
    range_ids,
    texts_of,
    verify,
)

# ----------------------------------------------------------------------------------- what passes


def test_flickr30k_as_published_passes_quickly() -> None:
    splits = [flickr_split(name) for name in NAMES]
    verify(flickr(), splits[2])  # the lists are read once
    start = time.process_time()
    checks = verify(flickr(), *splits)
    assert time.process_time() - start < 2
    assert failed(checks) == {}
    assert first_fault(checks) is None
    assert departures(checks) == []
    assert [(check.split, check.what) for check in checks if check.split == "train"] == [
        ("train", "images"),
        ("train", "repeated images"),
        ("train", "file names"),
        ("train", "order of images"),
        ("train", "captions"),
        ("train", "captions an image"),
        ("train", "empty captions"),
        ("train", "words of captions"),
        ("train", "images shared with 'val'"),
        ("train", "images shared with 'test'"),
        ("train", "images of the published 'val'"),
        ("train", "images of the published 'test'"),
    ]
    assert all(check.ok and not check.hint for check in checks)


@pytest.mark.parametrize(("count", "restval"), [(82_783, False), (113_287, True)])
def test_mscoco_as_published_passes_quickly(count: int, restval: bool) -> None:
    splits = [coco_train(count), make_split("val", map(str, sorted(mscoco_ids("val")))), coco_test()]
    start = time.process_time()
    checks = verify(coco(), *splits, restval=restval)
    assert time.process_time() - start < 5
    assert failed(checks) == {}
    whats = {check.what for check in checks if check.split == "test"}
    assert {"image ids", "order of images", "first five captions"} <= whats


def test_file_names_may_stand_in_folders() -> None:
    filenames = [f"flickr30k-images/{name}" for name in NAMES["val"]]
    texts = [texts_of(name) for name in NAMES["val"]]
    split = make_split("val", range_ids(1_014), filenames=filenames, texts=texts)
    assert failed(verify(flickr(), split)) == {}


def test_scenes_and_flickr8k_get_the_checks_that_make_sense() -> None:
    options = ScenesOptions(n_train=6, n_val=4, n_test=4)
    splits = [scenes_split(options, name, 3) for name in NAMES]
    checks = verify(CATALOG["scenes"], *splits, captions=3)
    assert failed(checks) == {}
    assert {check.what for check in checks if check.split == "val"} == {
        *("repeated images", "captions", "captions an image", "empty captions", "images shared with 'test'"),
    }
    checks = verify(
        CATALOG["flickr8k"], make_split("test", range_ids(1_000)), make_split("val", range_ids(999))
    )
    assert set(failed(checks)) == {
        ("val", "images"),
        ("val", "file names"),
        ("val", "captions"),
        ("test", "file names"),
        ("test", "images shared with 'val'"),
    }


def outcome(checks: Iterable[Check], split: SplitName, what: str) -> Check:
    (found,) = [check for check in checks if (check.split, check.what) == (split, what)]
    return found


def test_flickr8k_is_held_against_the_official_lists() -> None:
    names = [f"{number}_x.jpg" for number in range(1_000)]
    entry, facts = CATALOG["flickr8k"], CATALOG["flickr8k"].facts
    official = replace(entry, facts={**facts, "val": Facts(1_000, ids_sha256=digest(sorted(names)))})
    checks = verify(official, make_split("val", names))
    assert failed(checks) == {}  # and the order of the list is nobody's
    assert outcome(checks, "val", "file names").verdict == "ok"
    fault = only_fault(verify(official, make_split("val", ["0_y.jpg", *names[1:]])))
    assert (fault.what, fault.expected[-9:]) == ("file names", digest(sorted(names))[:8] + ")")


def test_images_without_names_are_not_called_right() -> None:
    """Rows for names: nothing says which images these are, and a split beside itself is found by its captions."""
    texts = [texts_of(f"dog {number}") for number in range(1_000)]
    val = make_split("val", [f"val-{row}" for row in range(1_000)], texts=texts)
    test = make_split("test", [f"test-{row}" for row in range(1_000)], texts=texts)
    checks = verify(CATALOG["flickr8k"], val)
    names = outcome(checks, "val", "file names")
    assert (names.verdict, names.found) == ("cannot be checked", "the data have none")
    assert "split 'val', file names: cannot be checked: the data have none" in notes(checks)
    assert departures(checks) == []
    fault = only_fault(verify(CATALOG["flickr8k"], val, test))
    assert fault.what == "images shared with 'test'"
    assert fault.found == "1,000 with the same captions (val-0, val-1, ...)"
    other = make_split("test", test.image_ids, texts=[texts_of(f"cat {number}") for number in range(1_000)])
    checks = verify(CATALOG["flickr8k"], val, other)
    assert failed(checks) == {}
    shared = outcome(checks, "val", "images shared with 'test'")
    assert shared.found == "none, by captions, since the data name no image"
    twice = make_split("val", val.image_ids, texts=[*texts[:-1], texts[3]])
    fault = only_fault(verify(CATALOG["flickr8k"], twice))
    assert (fault.what, fault.found) == ("repeated images", "1 more rows with the same image (val-3)")


def test_published_hashes_are_for_five_captions() -> None:
    whats = {check.what for check in verify(coco(), coco_test())}
    split = make_split("test", COCO_TEST, texts=[texts_of(item, 4) for item in COCO_TEST])
    checks = verify(coco(), split, captions=4)
    assert failed(checks) == {}
    assert whats - {check.what for check in checks} == {"first five captions", "words of captions"}


# ------------------------------------------------------------------------------- one fault each


def test_one_other_image_is_named() -> None:
    ids = sorted([*NAMES["val"][1:], "5.jpg"])
    fault = only_fault(verify(flickr(), flickr_split("val", ids)))
    assert (fault.split, fault.what) == ("val", "file names")
    assert fault.found == "1 missing (1018148011.jpg), 1 extra (5.jpg)"
    assert fault.expected == "those of the published split (sha256 db26f03e)"


def test_one_other_cocoid_is_named() -> None:
    five = [[str(item) for item in five] for five in mscoco_test_captions()]
    fault = only_fault(verify(coco(), make_split("test", ["1", *COCO_TEST[1:]], caption_ids=five)))
    assert fault.what == "image ids"
    assert fault.found == "1 missing (391895), 1 extra (1)"


def test_ids_that_are_not_numbers_are_a_fault_and_not_a_crash() -> None:
    faults = failed(verify(coco(), make_split("test", [f"image{n}" for n in range(5_000)])))
    found = faults["test", "image ids"].found
    assert found == "5,000 missing (42, 359, ...), 5,000 extra (image0, image1, ...)"
    assert sorted(mscoco_ids("test"))[:2] == [42, 359]


def test_two_images_in_the_wrong_order() -> None:
    rows = list(range(5_000))
    rows[7], rows[2_000] = rows[2_000], rows[7]
    faults = failed(verify(coco(), coco_test(rows)))
    assert set(faults) == {("test", "order of images"), ("test", "first five captions")}
    order = faults["test", "order of images"]
    assert order.found == f"2 images elsewhere, from row 7: {COCO_TEST[2_000]} in place of {COCO_TEST[7]}"
    assert "sort the rows by imgid" in order.hint
    assert faults["test", "first five captions"].found == "the same, in another order"


def test_ascending_cocoids_are_the_wrong_order() -> None:
    rows = sorted(range(5_000), key=lambda row: int(COCO_TEST[row]))
    assert "imgid" in failed(verify(coco(), coco_test(rows)))["test", "order of images"].hint


def test_flickr30k_is_in_string_order() -> None:
    ids = [NAMES["val"][1], NAMES["val"][0], *NAMES["val"][2:]]
    fault = only_fault(verify(flickr(), flickr_split("val", ids)))
    assert fault.what == "order of images"
    assert fault.found == "2 images elsewhere, from row 0: 1029450589.jpg in place of 1018148011.jpg"
    assert "sort the rows by file name" in fault.hint


def test_other_captions_of_two_images() -> None:
    five = [[str(item) for item in five] for five in mscoco_test_captions()]
    five[3][4], five[9] = "1", ["2", *five[9][1:]]
    fault = only_fault(verify(coco(), make_split("test", COCO_TEST, caption_ids=five)))
    assert fault.what == "first five captions"
    assert fault.found == f"others for 2 images ({COCO_TEST[3]}, {COCO_TEST[9]})"


def test_a_caption_that_is_missing() -> None:
    texts = [texts_of(item, 4 if item == NAMES["val"][2] else 5) for item in NAMES["val"]]
    faults = failed(verify(flickr(), make_split("val", NAMES["val"], texts=texts)))
    assert set(faults) == {("val", "captions"), ("val", "captions an image")}
    assert faults["val", "captions"].found == "5,069"
    assert (
        faults["val", "captions an image"].found == f"1 images with another number: {NAMES['val'][2]} has 4"
    )


def test_an_image_without_captions_and_one_with_ten() -> None:
    counts = {NAMES["val"][2]: 0, NAMES["val"][5]: 10}
    texts = [texts_of(item, counts.get(item, 5)) for item in NAMES["val"]]
    fault = only_fault(verify(flickr(), make_split("val", NAMES["val"], texts=texts)))
    assert fault.what == "captions an image"
    assert fault.found.endswith(f"{NAMES['val'][2]} has 0, {NAMES['val'][5]} has 10")


def test_a_caption_without_text() -> None:
    texts = [texts_of(item) for item in NAMES["val"]]
    texts[4][1] = " \t"
    fault = only_fault(verify(flickr(), make_split("val", NAMES["val"], texts=texts)))
    assert (fault.what, fault.found) == ("empty captions", f"1 (of {NAMES['val'][4]})")


def test_an_image_twice_in_a_split() -> None:
    ids = [NAMES["val"][0], *NAMES["val"][:-1]]
    faults = failed(verify(flickr(), flickr_split("val", ids)))
    assert set(faults) == {("val", "repeated images"), ("val", "file names")}
    assert faults["val", "repeated images"].found == "1 more rows with the same image (1018148011.jpg)"


def test_an_image_in_two_splits() -> None:
    ids = sorted([NAMES["test"][0], *NAMES["train"][1:]])
    faults = failed(verify(flickr(), flickr_split("train", ids), flickr_split("test")))
    assert set(faults) == {
        ("train", "file names"),
        ("train", "images shared with 'test'"),
        ("train", "images of the published 'test'"),
    }
    assert faults["train", "images shared with 'test'"].found == "1 (1007129816.jpg)"


def test_training_images_of_published_splits_that_are_not_loaded() -> None:
    leaked = [COCO_TEST[0], *map(str, sorted(mscoco_ids("val"))[:3])]
    faults = failed(verify(CATALOG["mscoco"], coco_train(82_783, leaked=leaked)))
    assert {what: check.found for (_, what), check in faults.items()} == {
        "images of the published 'val'": "3 of 5,000 (42, 192, ...)".replace(
            "42, 192", ", ".join(leaked[1:3])
        ),
        "images of the published 'test'": f"1 of 5,000 ({COCO_TEST[0]})",
    }


def test_a_leak_shows_in_the_file_name_where_the_ids_are_row_numbers() -> None:
    split = coco_train(82_783)
    split.filenames[5] = f"val2014/COCO_val2014_{int(COCO_TEST[0]):012d}.jpg"
    fault = only_fault(verify(CATALOG["mscoco"], split))
    assert fault.found == f"1 of 5,000 ({COCO_TEST[0]})"


# --------------------------------------------------------------------------- hashes of small facts


def digest(items: Iterable[object]) -> str:
    return sha256(b"".join(b"%s\n" % str(item).encode() for item in items)).hexdigest()


def small(split: SplitName = "test", **changes: object) -> Entry:
    """Three images in the order 9, 10, 2 with two-digit caption ids."""
    facts = Facts(
        3,
        "image_ids",
        ids_sha256=digest([2, 9, 10]),
        ordered_sha256=digest([9, 10, 2]),
        caption_ids_sha256=digest(range(15)),
    )
    return replace(CATALOG["mscoco"], facts={split: replace(facts, **changes)})  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "restval", "other"), [(5, False, "true"), (3, True, "false")])
def test_the_other_training_split_is_told_by_its_option(count: int, restval: bool, other: str) -> None:
    entry = replace(small("train"), train_images_with_restval=5)
    checks = verify(entry, make_split("train", map(str, range(count))), restval=restval)
    assert f"option restval: {other}; set it so" in outcome(checks, "train", "images").hint


FIFTEEN = [[str(5 * row + k) for k in range(5)] for row in range(3)]


def test_hashes_without_a_list() -> None:
    assert failed(verify(small(), make_split("test", ["9", "10", "2"], caption_ids=FIFTEEN))) == {}
    fault = only_fault(verify(small(), make_split("test", ["9", "11", "2"], caption_ids=FIFTEEN)))
    assert fault.found == f"others (sha256 {digest([2, 9, 11])[:8]})"
    fault = only_fault(verify(small(), make_split("test", ["10", "9", "2"], caption_ids=FIFTEEN)))
    assert fault.found == f"another (sha256 {digest([10, 9, 2])[:8]})"
    other = [FIFTEEN[0], FIFTEEN[2], FIFTEEN[1]]
    fault = only_fault(verify(small(), make_split("test", ["9", "10", "2"], caption_ids=other)))
    assert fault.found == f"others (sha256 {digest(chain(*other))[:8]})"


def test_differences_are_those_of_naive_loops() -> None:
    draw = random.Random(3)
    ours, theirs = [[str(n) for n in draw.sample(range(50), 30)] for _ in range(2)]
    missing = sorted((item for item in theirs if item not in ours), key=int)
    extra = sorted((item for item in ours if item not in theirs), key=int)
    said = f"{len(missing)} missing ({', '.join(missing[:2])}, ...), {len(extra)} extra ({', '.join(extra[:2])}, ...)"
    assert difference(ours, theirs) == said


# -------------------------------------------------------------------------------- what is reported


def test_the_first_fault_is_one_line_with_everything_in_it() -> None:
    train, _ = entities_like()
    checks = verify(flickr(), train)
    line = first_fault(checks)
    assert line is not None
    assert "\n" not in line
    assert line.startswith("split 'train', images: found 29,783, expected 29,000 (")
    assert f"({len(failed(checks)) - 1} more checks differ, `rematch data verify` lists all): " in line
    for part in ("Flickr30K Entities", "leave out --data-dir", "--unverified"):
        assert part in line


def test_departures_have_a_line_each() -> None:
    rows = [1, 0, *range(2, 5_000)]
    lines = departures(verify(coco(), coco_test(rows)))
    assert len(lines) == 2
    assert lines[0].startswith(
        "not verified: split 'test', order of images: found 2 images elsewhere, from row 0"
    )
    assert lines[0].endswith("expected Karpathy's (sha256 7bc285f5)")


def test_the_first_fault_counts_the_others() -> None:
    faults = [Check("test", str(number), "1", "2", "differs", "do it") for number in range(3)]
    assert first_fault([*faults[:1], Check("test", "x", "1", "1", "ok")]) == (
        "split 'test', 0: found 2, expected 1: do it; --unverified uses the data as they are, and every table says so"
    )
    assert "(1 more check differs, " in str(first_fault(faults[:2]))
    assert "(2 more checks differ, " in str(first_fault(faults))


def test_the_table_says_in_words_what_differs() -> None:
    checks = [
        Check("train", "images", "5", "[bold]4", "differs", "take five [of them]"),
        Check("train", "captions", "25", "20", "differs", "take five [of them]"),
        Check("test", "images", "2", "2", "ok"),
        Check("test", "names", "theirs", "none", "cannot be checked"),
    ]
    text = write_text([checks_sheet(checks, "flickr30k")])
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "flickr30k"
    wrong = [line for line in lines if "differs" in line]
    assert len(wrong) == 2
    assert all(part in wrong[0] for part in ("train", "images", "5", "[bold]4"))
    (unknown,) = [line for line in lines if "cannot be checked" in line]
    assert "names" in unknown
    (right,) = [line for line in lines if " ok " in line]
    assert "test" in right
    assert "differs" not in right
    assert lines[-1] == "train images, train captions: take five [of them]"


def test_captions_are_counted_by_image_rows() -> None:
    split = flickr_split("val")
    moved = split.caption_image.copy()
    moved[4] = 1
    fault = only_fault(verify(flickr(), replace(split, caption_image=moved)))
    assert fault.found == f"2 images with another number: {NAMES['val'][0]} has 4, {NAMES['val'][1]} has 6"
