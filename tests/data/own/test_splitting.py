"""Splits that a source names are kept; the others are drawn by a seed, equal pictures together."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmark.data.cards import SplitRule
from benchmark.data.own.items import Item
from benchmark.data.own.splitting import split_items
from benchmark.errors import UserError


def items(*splits: str | None, digests: list[str] | None = None) -> list[Item]:
    return [
        Item(f"i{number}", f"i{number}", (number,), ("a caption",), split, digests[number] if digests else "")  # type: ignore[arg-type]
        for number, split in enumerate(splits)
    ]


RULE = SplitRule(given=[], val=0.2, test=0.1)


def counts(found: list[Item]) -> dict[str | None, int]:
    return dict(Counter(item.split for item in found))


def test_nothing_named_draws_the_shares() -> None:
    found, rule, notes = split_items(items(*[None] * 50), RULE, "here")
    assert counts(found) == {"train": 35, "val": 10, "test": 5}
    assert [item.id for item in found] == [f"i{number}" for number in range(50)]
    assert (rule.given, notes) == ([], ["val and test drawn with seed 0"])


def test_one_split_for_all_says_nothing() -> None:
    found, rule, _ = split_items(items(*["train"] * 50), RULE, "here")
    assert counts(found) == {"train": 35, "val": 10, "test": 5}
    assert rule.given == []


def test_the_test_split_of_the_source_is_kept_and_validation_drawn_of_training() -> None:
    given = ["train"] * 20 + ["test"] * 5
    found, rule, notes = split_items(items(*given), RULE, "here")
    assert [item.split == "test" for item in found] == [split == "test" for split in given]
    assert counts(found) == {"train": 16, "val": 4, "test": 5}
    assert (rule.given, notes) == (["train", "test"], ["val drawn with seed 0"])


def test_three_given_splits_are_kept() -> None:
    given = ["val", "train", "test", "train", "val", "test"]
    found, _, notes = split_items(items(*given), RULE, "here")
    assert [item.split for item in found] == given
    assert notes == []


def test_the_seed_decides_and_the_order_does_not() -> None:
    some = items(*[None] * 40)
    first, _, _ = split_items(some, RULE, "here")
    other, _, _ = split_items(some, RULE.model_copy(update={"seed": 1}), "here")
    back, _, _ = split_items(some[::-1], RULE, "here")
    assert {item.id: item.split for item in first} == {item.id: item.split for item in back}
    assert {item.id: item.split for item in first} != {item.id: item.split for item in other}


def test_equal_pictures_come_to_one_split() -> None:
    digests = [f"{number // 4:064x}" for number in range(40)]
    found, _, _ = split_items(items(*[None] * 40, digests=digests), RULE, "here")
    for start in range(0, 40, 4):
        assert len({item.split for item in found[start : start + 4]}) == 1


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["train", None, "test", None], "2 of 4 images name no split"),
        (["val", "test", "val", "test"], "found splits val, test, expected one to train on"),
        ([None] * 5, "found 5 images, expected 6 at least, 2 for each of train, val, test"),
    ],
)
def test_splits_that_cannot_be(splits: list[str | None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_items(items(*splits), RULE, "here")
