"""The splits of an own dataset: those that the source names; what it lacks is drawn by a seed.

Images are drawn by the sha256 of seed and picture, so that equal pictures come to one split, whatever they are called,
and an image stays where it is when others are added, but for the few at the borders.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from benchmark.data.cards import SplitRule
from benchmark.data.own.index import SPLITS
from benchmark.data.own.items import Item, with_split
from benchmark.data.splits import SplitName
from benchmark.errors import UserError
from benchmark.files import sha256_bytes

LEAST = 2
"""Images that a split has at least: a ranking needs two."""


def split_items(
    items: Sequence[Item], rule: SplitRule, source: str
) -> tuple[list[Item], SplitRule, list[str]]:
    """Return the images with their splits, in order; the rule with the splits that were given; and what was done.

    Raises UserError as `given_splits`, and where a split would have too few.
    """
    given = given_splits(items, source)
    wanted: dict[SplitName, float] = {"val": rule.val, "test": rule.test}
    missing = {name: share for name, share in wanted.items() if name not in given}
    pool = [row for row, item in enumerate(items) if not given or item.split == "train"]
    drawn = _draw([items[row] for row in pool], missing, rule.seed)
    splits = dict(zip(pool, drawn, strict=True))
    made = [with_split(item, splits.get(row, item.split or "train")) for row, item in enumerate(items)]
    _check_sizes(made, source)
    notes = [] if not missing else [f"{' and '.join(missing)} drawn with seed {rule.seed}"]
    return made, rule.model_copy(update={"given": list(given)}), notes


def given_splits(items: Sequence[Item], source: str) -> list[SplitName]:
    """Return the splits that the source names; [] where all images are in one, which says nothing.

    Raises UserError where some images name a split and others do not, where none is for training, and where one has
    too few, as it would have if it were drawn.
    """
    named = [item.split for item in items if item.split is not None]
    if named and len(named) < len(items):
        raise UserError(
            f"{source}: {len(items) - len(named):,} of {len(items):,} images name no split, expected all or none of "
            "them"
        )
    given = sorted({*named}, key=SPLITS.index)
    if len(given) < 2:
        if len(items) < LEAST * len(SPLITS):
            raise UserError(
                f"{source}: found {len(items)} images, expected {LEAST * len(SPLITS)} at least, {LEAST} for each of "
                f"{', '.join(SPLITS)}"
            )
        return []
    if "train" not in given:
        raise UserError(f"{source}: found splits {', '.join(given)}, expected one to train on")
    _check_sizes(items, source, given)
    return given


def _draw(items: Sequence[Item], shares: dict[SplitName, float], seed: int) -> list[SplitName]:
    """Return the split of each image: of `shares` so many as they say, else training."""
    keys = [item.digest or item.id for item in items]
    places = {key: sha256_bytes(f"{seed}/{key}".encode()) for key in keys}
    order = sorted(range(len(items)), key=lambda row: (places[keys[row]], row))
    groups = [list(rows) for _, rows in groupby(order, key=lambda row: keys[row])]
    found: list[SplitName] = ["train"] * len(items)
    for name, share in shares.items():
        wanted, taken = max(LEAST, round(share * len(items))), 0
        while groups and taken < wanted:
            rows = groups.pop(0)
            for row in rows:
                found[row] = name
            taken += len(rows)
    return found


def _check_sizes(items: Sequence[Item], source: str, splits: Sequence[SplitName] = SPLITS) -> None:
    counts = {name: sum(item.split == name for item in items) for name in splits}
    if min(counts.values()) < LEAST:
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise UserError(f"{source}: found {told} images, expected {LEAST} of each at least")
