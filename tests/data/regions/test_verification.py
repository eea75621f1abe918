"""Features that cannot be those of the images: zeros of an interrupted extraction, and another split's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.data.load import load_dataset
from benchmark.data.published.verification import Check
from benchmark.data.regions.scan import scan_split
from benchmark.data.regions.verification import check_features
from benchmark.data.splits import SplitName
from benchmark.errors import UserError
from benchmark.recipe.schema import StoredRegions
from tests.data.region_files import features, scan_part
from tests.tiny import rematch


def checked(folder: Path, *names: SplitName) -> dict[tuple[str, str], Check]:
    found = check_features({name: scan_split("flickr8k", name, folder) for name in names})
    return {(check.split, check.what): check for check in found}


@pytest.mark.parametrize("repeated", [False, True], ids=["once", "five times"])
def test_images_of_nothing_but_zeros_are_named(tmp_path: Path, repeated: bool) -> None:
    array = features(range(6))
    array[4:] = 0
    array[2, 0] = 0  # one region of an image may be
    scan_part(tmp_path, "dev", 6, array=array, repeated=repeated)
    (check,) = checked(tmp_path, "val").values()
    assert (check.verdict, check.what) == ("differs", "features that are all zero")
    assert check.found == "2 images of nothing but zeros (14, 15), from row 4"
    scan_part(tmp_path, "dev", 6, repeated=repeated)
    (check,) = checked(tmp_path, "val").values()
    assert check.ok


def test_features_that_two_splits_share(tmp_path: Path) -> None:
    scan_part(tmp_path, "dev", 200, array=features(range(1_000, 1_200), regions=3))
    scan_part(tmp_path, "test", 200, array=features(range(2_000, 2_200), regions=3))
    what = ("val", "features shared with 'test'")
    assert checked(tmp_path, "val", "test")[what].ok
    array = features(range(2_000, 2_200), regions=3)
    array[5] = features([1_007], regions=3)[0]
    scan_part(tmp_path, "test", 200, array=array)
    check = checked(tmp_path, "val", "test")[what]
    assert (check.verdict, check.found) == ("noted", "1 images (17)")  # a picture that is there twice
    array[5, 2] += 1  # the first region alone says nothing
    scan_part(tmp_path, "test", 200, array=array)
    assert checked(tmp_path, "val", "test")[what].ok
    scan_part(tmp_path, "test", 200, array=features(range(1_000, 1_200), regions=3))
    check = checked(tmp_path, "val", "test")[what]
    assert (check.verdict, check.found) == ("differs", "200 images (10, 11, ...)")


def test_a_folder_with_such_features_is_refused_in_one_line(tmp_path: Path) -> None:
    array = features(range(1_000), regions=2)
    array[990:] = 0
    scan_part(tmp_path, "test", 1_000, array=array)
    (tmp_path / "test_ids.txt").unlink()
    settings = StoredRegions(source="scan")
    with pytest.raises(
        UserError, match=r"features that are all zero: found 10 images of .*test-990"
    ) as caught:
        load_dataset("flickr8k", splits=["test"], data_dir=tmp_path, regions=settings, show_progress=False)
    assert "\n" not in str(caught.value)
    where = ("--data-dir", tmp_path, "--regions", "scan", "--split", "test", "--no-progress")
    told = rematch("data", "verify", "flickr8k", *where)
    assert told.code == 1
    assert "features that are all zero" in " ".join(told.out.split())


def test_float16_is_compared_as_it_is_stored(tmp_path: Path) -> None:
    scan_part(tmp_path, "dev", 3)
    half = features(range(3)).astype(np.float16)
    half[1] = 0
    np.save(tmp_path / "dev_ims.npy", half)
    (check,) = checked(tmp_path, "val").values()
    assert check.found == "1 images of nothing but zeros (11), from row 1"
