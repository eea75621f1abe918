"""A diff as sheets and as a document: the sheets of one run, and of all runs that differ from a git revision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmark.files import plain
from benchmark.reporting.diff.compare import Change, ProtocolDiff, RunDiff
from benchmark.reporting.diff.queries import QueryChange, QueryChanges
from benchmark.reporting.diff.revision import RevisionDiff
from benchmark.reporting.sheet import Cell, Column, Sheet, Value, make_sheet

LONGEST = 60
"""Characters of a value that is text."""
METRIC = Column("metric", "metric", "text")
P = Column("p", "p", spec=".2g")
CHANGE = (Column("old", "old"), Column("new", "new"), Column("change", "change", spec="+.6g"))


def diff_sheets(found: RunDiff | RevisionDiff) -> list[Sheet]:
    """The sheets of one run, or of all that differ."""
    return run_sheets(found) if isinstance(found, RunDiff) else revision_sheets(found)


def document(found: RunDiff | RevisionDiff) -> Any:
    """The diff as JSON types; changes have their difference written out."""
    return _with_changes(plain(asdict(found)))


def _with_changes(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_changes(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() >= {"name", "old", "new", "old_sd"}:
        return value | {"change": Change(**value).change}
    return {key: _with_changes(item) for key, item in value.items()}


# ---------------------------------------------------------------------------------------- one run


def run_sheets(diff: RunDiff, *, folded: bool = False) -> list[Sheet]:
    """Everything about one pair; `folded`: only the title stands open in Markdown."""
    old, new = _name(diff.old, diff.old_seeds), _name(diff.new, diff.new_seeds)
    lines = ["the canonical hashes are equal: the numbers are the same"] if diff.same_hash else []
    sheets = [Sheet(f"{old} -> {new}", notes=tuple(lines))]
    for protocol in diff.protocols:
        title = f"{protocol.protocol}: queries that changed most"
        sheets += [_metrics(protocol, diff), queries_sheet(title, protocol.queries)]
    if diff.training:
        sheets.append(_changes("training", diff.training))
    if diff.latency:
        sheets.append(_latency(diff))
    for title, changes in (("recipe: fields that differ", diff.recipe), ("also different", diff.other)):
        if changes:
            rows = [(change.name, _short(change.old), _short(change.new)) for change in changes]
            sheets.append(make_sheet(title, ("field", "old", "new"), rows, left=3))
    return [replace(sheet, folded=folded and bool(sheet.columns)) for sheet in sheets]


def _name(name: str, seeds: Sequence[int]) -> str:
    """The side's name, with its seeds where it does not end in one."""
    if len(seeds) == 1:
        return name
    return f"{name}, seeds {' '.join(map(str, seeds))}"


def _metrics(found: ProtocolDiff, diff: RunDiff) -> Sheet:
    old, new, change = CHANGE
    spreads = Column("old_sd", "sd"), Column("new_sd", "sd")
    columns = [METRIC, old, spreads[0], new, spreads[1], change]
    columns = [*(replace(c, spec=c.spec.replace(".6g", ".2f")) for c in columns), P]
    tests = found.queries.tests
    rows = []
    for item in found.metrics:
        p = tests[item.name].p_value if item.name in tests else None
        rows.append((item.name, item.old, item.old_sd, item.new, item.new_sd, item.change, p))
    test = next(iter(tests.values()))
    notes = [f"p: two-sided sign-flip test over {test.n} images, each metric by itself"]
    several = max(len(diff.old_seeds), len(diff.new_seeds)) > 1
    if several:
        notes.append(
            "several seeds: images' values averaged over them; p speaks of these seeds, not of others"
        )
    sheet = make_sheet(found.protocol, columns, rows, notes=notes, signature=found.signature)
    return sheet if several else sheet.only([c.key for c in columns if not c.key.endswith("_sd")])


def queries_sheet(title: str, found: QueryChanges) -> Sheet:
    """Make the sheet of the number of queries that moved, and the named ones."""
    said = (
        f"{found.moved:,} of {found.queries:,} queries changed rank: "
        f"{found.better:,} better, {found.worse:,} worse"
    )
    if not found.most:
        return Sheet(title, notes=(said,))
    heads = ("direction", "query", "caption", "old rank", "new rank", "old first", "new first")
    keys = ["direction", "query", *(["caption"] if any(change.text for change in found.most) else [])]
    keys += ["old_rank", "new_rank"]
    keys += ["old_first", "new_first"] if any(change.old_first is not None for change in found.most) else []
    return make_sheet(title, heads, map(_query_row, found.most), left=3, notes=[said]).only(keys)


def _query_row(change: QueryChange) -> tuple[Value, ...]:
    query = (
        change.image_id if change.caption_number is None else f"{change.image_id} #{change.caption_number}"
    )
    firsts = change.old_first, change.new_first
    return change.direction, query, change.text, change.old_rank, change.new_rank, *firsts


def _changes(title: str, changes: Sequence[Change], notes: tuple[str, ...] = ()) -> Sheet:
    rows = [(change.name, *_rounded(change)) for change in changes]
    return make_sheet(title, (Column("name", kind="text"), *CHANGE), rows, notes=notes)


def _rounded(change: Change) -> tuple[Cell | Value, ...]:
    """Old, new and change: numbers with four digits of the larger one and all with the same decimals, texts cut."""
    numbers = [v for v in (change.old, change.new) if isinstance(v, float) and math.isfinite(v)]
    largest = max((abs(v) for v in (change.old, change.new) if isinstance(v, int | float)), default=0)
    if not numbers or not 0 < largest < math.inf:
        return _short(change.old), _short(change.new), change.change
    decimals = max(0, 3 - math.floor(math.log10(largest)))
    spec = f",.{decimals}f"
    sides = [
        Cell(format(v, spec), v) if isinstance(v, int | float) and not isinstance(v, bool) else _short(v)
        for v in (change.old, change.new)
    ]
    difference = change.change
    return *sides, None if difference is None else Cell(format(difference, f"+{spec}"), difference)


def _latency(diff: RunDiff) -> Sheet:
    measured = [any(getattr(change, side) is not None for change in diff.latency) for side in ("old", "new")]
    if not all(measured):
        note = f"only the {'old' if measured[0] else 'new'} side was timed"
    elif diff.latency_differs_in:
        note = f"changes are noise, measured under other conditions: {', '.join(diff.latency_differs_in)}"
    else:
        note = "measured under the same conditions, one after the other: small changes are noise"
    return _changes("latency, median in ms a call", diff.latency, (note,))


def _short(value: Value) -> Value:
    """The value, text cut to a length that a table has room for."""
    if not isinstance(value, str) or len(value) <= LONGEST:
        return value
    return f"{value[: LONGEST - 3]}..."


# -------------------------------------------------------------------------- all that changed since


def revision_sheets(found: RevisionDiff) -> list[Sheet]:
    """An overview of all records that differ, then each that holds other numbers."""
    title = f"run records since {found.revision}"
    if not found.entries:
        return [Sheet(title, notes=("no record changed",))]
    rsums = [Column(f"{side}_rsum", f"{side} rsum", spec=".2f") for side in ("old", "new")]
    change_of = Column("change", "change", spec="+.2f")
    heads: list[Column | str] = ["record", "what", *rsums, change_of, P, "queries moved"]
    rows = []
    for entry in found.entries:
        diff = entry.diff
        values: tuple[Value, ...] = (None,) * 5
        if diff is not None and not diff.same_hash:
            protocol = diff.protocols[0]
            rsum = next(change for change in protocol.metrics if change.name == "rsum")
            p, moved = protocol.queries.tests["rsum"].p_value, protocol.queries.moved
            values = (rsum.old, rsum.new, rsum.change, p, moved)
        rows.append((entry.record, entry.what, *values))
    alarms = [number for number, entry in enumerate(found.entries) if entry.refused]
    shown = [e.diff for e in found.entries if e.diff is not None and not e.diff.same_hash]
    details = [sheet for diff in shown for sheet in run_sheets(diff, folded=True)]
    return [make_sheet(title, heads, rows, left=2, alarms=alarms), *details]
