"""A diff as text, Markdown or JSON: the sheets of one run, and of all runs that differ from a git revision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmark.files import plain
from benchmark.reporting.diff.compare import Change, ProtocolDiff, RunDiff
from benchmark.reporting.diff.queries import QueryChange, QueryChanges
from benchmark.reporting.diff.revision import RevisionDiff
from benchmark.reporting.sheet import Format, Sheet, markdown_of, number, text_of

LONGEST = 60
"""Characters of a value that is text."""


def render(found: RunDiff | RevisionDiff, form: Format) -> str:
    """The whole diff in one of the formats."""
    if form == "json":
        return json.dumps(document(found), indent=1, ensure_ascii=False, allow_nan=False)
    sheets = run_sheets(found) if isinstance(found, RunDiff) else revision_sheets(found)
    return text_of(sheets) if form == "text" else markdown_of(sheets)


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
    old, new = _named(diff.old, diff.old_seeds), _named(diff.new, diff.new_seeds)
    lines = ["the canonical hashes are equal: the numbers are the same"] if diff.same_hash else []
    sheets = [Sheet(f"{old} -> {new}", notes=tuple(lines))]
    for protocol in diff.protocols:
        sheets += [_metrics(protocol, diff), _queries(protocol)]
    if diff.training:
        sheets.append(_changes("training", diff.training))
    if diff.latency:
        sheets.append(_latency(diff))
    for title, changes in (("recipe: fields that differ", diff.recipe), ("also different", diff.other)):
        if changes:
            rows = tuple((change.name, _value(change.old), _value(change.new)) for change in changes)
            sheets.append(Sheet(title, ("field", "old", "new"), rows, left=3))
    return [sheet if not folded else _folded(sheet) for sheet in sheets]


def _folded(sheet: Sheet) -> Sheet:
    return Sheet(
        sheet.title, sheet.header, sheet.rows, sheet.notes, sheet.left, sheet.loud, bool(sheet.header)
    )


def _named(name: str, seeds: Sequence[int]) -> str:
    """The side's name, with its seeds where it doesn't end in one."""
    if len(seeds) == 1:
        return name
    return f"{name}, seeds {' '.join(map(str, seeds))}"


def _metrics(found: ProtocolDiff, diff: RunDiff) -> Sheet:
    several = max(len(diff.old_seeds), len(diff.new_seeds)) > 1
    header = ["metric", "old", *(["sd"] if several else []), "new", *(["sd"] if several else [])]
    rows = []
    for change in found.metrics:
        test = found.queries.tests.get(change.name)
        cells = [change.name, number(_float(change.old))]
        cells += [number(change.old_sd)] if several else []
        cells.append(number(_float(change.new)))
        cells += [number(change.new_sd)] if several else []
        rows.append((*cells, number(change.change, sign=True), "" if test is None else f"{test.p_value:.2g}"))
    test = next(iter(found.queries.tests.values()))
    notes = [found.signature, f"p: two-sided sign-flip test over {test.n} images, each metric by itself"]
    if several:
        notes.append(
            "several seeds: images' values averaged over them; p speaks of these seeds, not of others"
        )
    return Sheet(found.protocol, (*header, "change", "p"), tuple(rows), tuple(notes))


def _queries(found: ProtocolDiff) -> Sheet:
    title = f"{found.protocol}: queries that changed most"
    return queries_sheet(title, found.queries)


def queries_sheet(title: str, found: QueryChanges) -> Sheet:
    """How many queries moved, and the named ones."""
    said = (
        f"{found.moved:,} of {found.queries:,} queries changed rank: "
        f"{found.better:,} better, {found.worse:,} worse"
    )
    texts = any(change.text for change in found.most)
    tops = any(change.old_first is not None for change in found.most)
    header = ("direction", "query", *(["caption"] if texts else []), "old rank", "new rank")
    header += ("old first", "new first") if tops else ()
    rows = tuple(_query_row(change, texts=texts, tops=tops) for change in found.most)
    if not rows:
        return Sheet(title, notes=(said,))
    return Sheet(title, header, rows, (said,), left=3 if texts else 2)


def _query_row(change: QueryChange, *, texts: bool, tops: bool) -> tuple[str, ...]:
    query = (
        change.image_id if change.caption_number is None else f"{change.image_id} #{change.caption_number}"
    )
    cells = [change.direction, query, *([change.text or ""] if texts else [])]
    cells += [number(change.old_rank), number(change.new_rank)]
    return (*cells, *((change.old_first or "", change.new_first or "") if tops else ()))


def _changes(title: str, changes: Sequence[Change], notes: tuple[str, ...] = ()) -> Sheet:
    rows = tuple(
        (change.name, _value(change.old), _value(change.new), number(change.change, sign=True))
        for change in changes
    )
    return Sheet(title, ("", "old", "new", "change"), rows, notes)


def _latency(diff: RunDiff) -> Sheet:
    measured = [any(getattr(change, side) is not None for change in diff.latency) for side in ("old", "new")]
    if not all(measured):
        note = f"only the {'old' if measured[0] else 'new'} side was timed"
    elif diff.latency_differs_in:
        note = f"changes are noise, measured under other conditions: {', '.join(diff.latency_differs_in)}"
    else:
        note = "measured under the same conditions, one after the other: small changes are noise"
    return _changes("latency, median in ms a call", diff.latency, (note,))


def _value(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    text = "" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


# -------------------------------------------------------------------------- all that changed since


def revision_sheets(found: RevisionDiff) -> list[Sheet]:
    """An overview of all records that differ, then each that holds other numbers."""
    title = f"run records since {found.revision}"
    if not found.entries:
        return [Sheet(title, notes=("no record changed",))]
    rows = []
    loud = []
    for place, entry in enumerate(found.entries):
        diff = entry.diff
        cells: tuple[str, ...] = ("", "", "", "", "")
        if diff is not None and not diff.same_hash:
            protocol = diff.protocols[0]
            rsum = next(change for change in protocol.metrics if change.name == "rsum")
            p = protocol.queries.tests["rsum"].p_value
            numbers = (number(_float(rsum.old)), number(_float(rsum.new)), number(rsum.change, sign=True))
            cells = (*numbers, f"{p:.2g}", f"{protocol.queries.moved:,}")
        if entry.refused:
            loud.append(place)
        rows.append((entry.record, entry.what, *cells))
    header = ("record", "", "old rsum", "new rsum", "change", "p", "queries moved")
    first = Sheet(title, header, tuple(rows), left=2, loud=frozenset(loud))
    shown = [e.diff for e in found.entries if e.diff is not None and not e.diff.same_hash]
    return [first, *(sheet for diff in shown for sheet in run_sheets(diff, folded=True))]
