"""An own dataset is held against its import: other pictures, leaks by content, a changed index, what it cannot have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.data.cards import card_path
from benchmark.data.load import load_dataset
from benchmark.data.own.checks import check_own
from benchmark.data.own.loading import own_checks, own_dataset
from benchmark.errors import UserError
from benchmark.recipe.schema import DetectorRegions, FileGuides, GridRegions, StoredRegions
from tests.data.own.sources import (
    NAMES,
    PARTS,
    bring_in,
    captions_folder,
    captions_of,
    encoded,
    features_folder,
    rows,
    write_pictures,
    write_table,
)

ALL = ("train", "val", "test")


def leaking(folder: Path) -> Path:
    """Given splits in which a training picture is a test picture under another name, with other words."""
    captions_folder(folder, split=True)
    (folder / NAMES[0]).write_bytes(encoded(11))
    return folder


def load(**options: Any) -> Any:
    return load_dataset("mine", captions_per_image=None, show_progress=False, **options)


def test_all_is_well(tmp_path: Path) -> None:
    own = bring_in(captions_folder(tmp_path / "source", split=True)).own
    checks = own_checks(own, own_dataset(own, ALL, None))  # type: ignore[arg-type]
    assert [check for check in checks if not check.ok] == []
    assert {check.split for check in checks} == set(ALL)
    assert load().departures == []


def test_a_leak_by_content_is_refused_and_told(tmp_path: Path) -> None:
    bring_in(leaking(tmp_path / "source"))
    with pytest.raises(
        UserError, match=r"pictures shared with 'test': found 1 \(p00.png\), expected none"
    ) as error:
        load()
    assert "--unverified uses the data as they are" in str(error.value)
    taken = load(unverified=True)
    assert taken.departures == [
        "not verified: split 'train', pictures shared with 'test': found 1 (p00.png), expected none"
    ]


def test_drawn_splits_do_not_leak(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "source", [*NAMES, *(f"copy{number}.png" for number in range(12))])
    for number in range(12):
        (source / f"copy{number}.png").write_bytes(encoded(number))
    names = [*NAMES, *(f"copy{number}.png" for number in range(12))]
    write_table(source / "captions.csv", [{"image": name, "caption": f"of {name}"} for name in names])
    bring_in(source)
    notes = load().notes
    assert any("repeated pictures: noted" in note for note in notes)


def test_the_same_captions_in_two_splits_are_noted(tmp_path: Path) -> None:
    found = rows(split=True)
    texts = captions_of(0)
    found = [row for row in found if row["image"] != NAMES[10]]
    found += [{"image": NAMES[10], "caption": text.upper() + "!", "split": "test"} for text in texts]
    write_table(write_pictures(tmp_path / "source") / "captions.csv", found)
    own = bring_in(tmp_path / "source").own
    loaded = own_dataset(own, ALL, None)  # type: ignore[arg-type]
    odd = [check for check in check_own(own, loaded.splits) if not check.ok]
    assert [(check.split, check.what, check.verdict) for check in odd] == [
        ("train", "captions shared with 'test'", "noted")
    ]
    assert f"1 images ({NAMES[0]})" in odd[0].found


def test_a_picture_that_was_changed_is_refused(tmp_path: Path) -> None:
    source = captions_folder(tmp_path / "source", split=True)
    bring_in(source)
    (source / NAMES[1]).write_bytes(encoded(12) + b" ")
    with pytest.raises(UserError, match=r"split 'train', pictures: found 1 others \(p01.png\)"):
        load()


def test_an_index_that_was_changed_is_refused(tmp_path: Path) -> None:
    own = bring_in(captions_folder(tmp_path / "source")).own
    text = own.index.read_text()
    own.index.write_text(text.replace("picture 1", "picture one", 1))
    with pytest.raises(UserError, match=r"datasets/mine.jsonl: found sha256 \w+, the card says"):
        load()
    own.index.unlink()
    with pytest.raises(UserError, match=r"datasets/mine.jsonl: no such file, expected the index beside"):
        load()


def test_a_card_at_fault_is_named(tmp_path: Path) -> None:
    bring_in(captions_folder(tmp_path / "source"))
    path = card_path("mine")
    document = yaml.safe_load(path.read_text())
    for change, message in (
        ({"titel": "x"}, "field 'titel' is not known; did you mean 'title'"),
        ({"name": "other"}, "field 'name': found 'other', expected 'mine'"),
        ({"layout": "csv"}, "field 'layout': found 'csv'"),
    ):
        path.write_text(yaml.safe_dump({**document, **change}))
        with pytest.raises(UserError, match=f"^{path.as_posix()}: {message}"):
            load()


@pytest.mark.parametrize(
    ("layout", "regions", "guides", "message"),
    [
        (
            "pictures",
            StoredRegions(source="scan"),
            None,
            "mine has pictures and no features, expected detector",
        ),
        ("features", GridRegions(source="grid"), None, "mine has features and no pictures, expected scan"),
        ("features", DetectorRegions(source="detector"), None, "found 'detector'; mine has features"),
        ("features", None, None, "found no such field; mine has features"),
        ("pictures", None, FileGuides(source="file"), "expected clip or random"),
    ],
)
def test_vectors_that_the_data_cannot_have(
    tmp_path: Path, layout: str, regions: Any, guides: Any, message: str
) -> None:
    bring_in((captions_folder if layout == "pictures" else features_folder)(tmp_path / "source"))
    with pytest.raises(UserError, match=message):
        load(regions=regions, guides=guides)


@pytest.mark.parametrize("each", [1, 3, None])
def test_so_many_captions_at_most(tmp_path: Path, each: int | None) -> None:
    bring_in(captions_folder(tmp_path / "source", split=True))
    loaded = load_dataset("mine", captions_per_image=each, show_progress=False)
    for split in loaded.splits.values():
        for row, name in enumerate(split.filenames):
            texts = captions_of(NAMES.index(name))
            assert [split.captions[k] for k in split.rows_of_images()[row]] == texts[:each]
    assert [len(split) for split in loaded.splits.values()] == [PARTS.count(name) for name in ALL]


def test_all_captions_are_for_own_data_alone() -> None:
    with pytest.raises(UserError, match=r"field 'data.every_caption': found true, scenes is scored with"):
        load_dataset("scenes", {"n_train": 4, "n_val": 2, "n_test": 2}, captions_per_image=None)
