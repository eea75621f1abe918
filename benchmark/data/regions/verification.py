"""Checks that stored region features look like features of the images they claim to be of.

An extraction that was interrupted leaves rows of zeros in an array of the right size, and a file copied under the
wrong name has another split's features. Neither shows in counts. The first region of every image is read, 8 kB of it,
and the whole of those that stand out, so that MSCOCO takes seconds and not the minutes of reading all (data.md 2.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from benchmark.data.published.verification import Check, named
from benchmark.data.splits import Regions, Split, SplitName

FEW = 0.01
"""Share of a split's images that may have the features of another's: a picture may be in a dataset twice."""

AGAIN = "the extraction was interrupted or a file is another split's: fetch or make the features again"


def check_features(splits: Mapping[SplitName, Split]) -> list[Check]:
    """Return images whose features are all zero, and those that two splits share; [] for splits without features."""
    stored = {name: (split, split.regions) for name, split in splits.items() if split.regions is not None}
    heads = {name: regions.heads() for name, (_, regions) in stored.items()}
    checks = [_check_zeros(split, regions, heads[name]) for name, (split, regions) in stored.items()]
    for one, other in combinations(stored, 2):
        same = _same_rows(stored[one][1], stored[other][1], heads[one], heads[other])
        checks.append(_check_shared(stored[one][0], other, same, len(stored[other][0])))
    return checks


def _check_zeros(split: Split, regions: Regions, heads: list[bytes]) -> Check:
    rows = [row for row, head in enumerate(heads) if not any(head) and not regions.regions([row]).any()]
    names = named([split.filenames[row] for row in rows])
    found = f"{len(rows):,} images of nothing but zeros ({names}), from row {rows[0]:,}" if rows else "none"
    return Check(
        split.name,
        "features that are all zero",
        "none",
        found,
        "differs" if rows else "ok",
        AGAIN if rows else "",
    )


def _same_rows(one: Regions, other: Regions, heads: list[bytes], other_heads: list[bytes]) -> list[int]:
    """Return rows of `one` whose features `other` has too; zeros are looked for elsewhere."""
    if one.shape != other.shape:
        return []
    theirs = {head: row for row, head in enumerate(other_heads)}
    pairs = [(row, theirs[head]) for row, head in enumerate(heads) if head in theirs and any(head)]
    return [row for row, match in pairs if np.array_equal(one.regions([row]), other.regions([match]))]


def _check_shared(split: Split, other: SplitName, rows: list[int], others: int) -> Check:
    what = f"features shared with '{other}'"
    if not rows:
        return Check(split.name, what, "none", "none", "ok")
    found = f"{len(rows):,} images ({named([split.filenames[row] for row in rows])})"
    if len(rows) <= FEW * min(len(split), others):
        return Check(split.name, what, "none", found, "noted", recorded=True)
    return Check(split.name, what, "none", found, "differs", AGAIN)
