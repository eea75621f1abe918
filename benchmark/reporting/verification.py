"""A dataset as sheets: the checks of its splits, the splits themselves, and pictures with their captions."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.data.look.contact_sheet import ContactSheet
from benchmark.data.published.verification import Check
from benchmark.data.splits import Dataset
from benchmark.reporting.sheet import Column, Sheet, make_sheet


def checks_sheet(checks: Sequence[Check], title: str = "verification") -> Sheet:
    """All checks, a line between splits, and what to do about those that differ; each advice stands once."""
    heads = ("split", "check", "state", "expected", "found")
    rows = [(check.split, check.what, check.verdict, check.expected, check.found) for check in checks]
    alarms = [number for number, check in enumerate(checks) if check.differs]
    advice: dict[str, list[str]] = {}
    for check in checks:
        if check.hint:
            advice.setdefault(check.hint, []).append(f"{check.split} {check.what}")
    notes = [f"{', '.join(names)}: {hint}" for hint, names in advice.items()]
    passed = not alarms
    return make_sheet(title, heads, rows, left=5, notes=notes, alarms=alarms, group=0, passed=passed)


def splits_sheet(loaded: Dataset, notes: Sequence[str]) -> Sheet:
    """Counts and fingerprints of the splits that were loaded."""
    rows = [
        (name, len(split), len(split.captions), split.fingerprint) for name, split in loaded.splits.items()
    ]
    heads = ("split", "images", "captions", Column("fingerprint", "fingerprint", "text"))
    return make_sheet("splits", heads, rows, notes=notes)


def captions_sheet(found: ContactSheet) -> Sheet:
    """List the captions of the images on a contact sheet, a row a caption."""
    rows = [
        (tile.row, tile.image_id, tile.filename, *caption)
        for tile in found.tiles
        for caption in tile.captions
    ]
    heads = ("row", "image id", "file", "caption id", "caption")
    notes = [f"{name}: {value}" for name, value in found.facts] + found.notes
    return make_sheet(f"{found.dataset} {found.split}: {found.shown}", heads, rows, left=5, notes=notes)
