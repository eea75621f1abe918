"""Speed that is to be reached beside what was measured, as a sheet, and as the table of docs/papers/speed.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files import write_text
from benchmark.records.targets import Kind, Measurements, Target
from benchmark.reporting.sheet import Column, Sheet, make_sheet
from benchmark.reporting.writers.markdown import below

PAGE = Path("docs/papers/speed.md")
BEGIN = "<!-- made by `rematch time targets`; do not edit -->"
END = "<!-- end of what is made -->"
KINDS: dict[Kind, str] = {
    "step": "step, times as fast",
    "memory": "memory of a step, GB at most",
    "scoring": "scoring, times as fast",
    "ranks": "ranks, times as fast as by sorting",
    "epoch": "epoch, share of the time of all pairs in one pass, at most",
}
UNKNOWN = "not measured"


def targets_sheet(targets: Sequence[Target], measured: Measurements | None) -> Sheet:
    """Each target with what was reached, and whether that is enough."""
    rows, rounded = measured.rows if measured else {}, False
    values = []
    for target in targets:
        row = rows.get(target.name)
        reached = None if row is None else row.reached
        mark = "*" if row is not None and row.extrapolated else ""
        rounded |= bool(mark)
        values.append(
            (
                KINDS[target.kind],
                f"{target.recipe or target.case}{f', {target.case}' if target.recipe else ''}{mark}",
                target.batch,
                target.target,
                reached,
                None if row is None else row.over_floor,
                UNKNOWN if reached is None else "yes" if target.met(reached) else "no",
            )
        )
    heads: list[Column | str] = [
        "measured",
        "case",
        Column("batch", "batch", missing="-"),
        Column("target", "target", spec=".2f"),
        Column("reached", "reached", spec=".2f", missing="-"),
        Column("over_floor", "time / floor", spec=".2f", missing="-"),
        Column("met", "met", "text"),
    ]
    notes = [_origin(measured)]
    notes += ["* the published way does not fit: extrapolated from a quarter and half of the batch"] * rounded
    return make_sheet("speed: targets and what is reached", heads, values, left=2, notes=notes)


def _origin(measured: Measurements | None) -> str:
    if measured is None:
        return "nothing was measured yet"
    threads = f"{measured.threads} thread{'s' if measured.threads > 1 else ''}"
    commit = "an installed copy" if measured.commit is None else f"commit {measured.commit[:12]}"
    return f"measured on {threads} of {measured.hardware}, torch {measured.torch}, {commit}"


def targets_block(targets: Sequence[Target], measured: Measurements | None) -> str:
    """The part of the page that is made, with the marks around it."""
    return "\n\n".join([BEGIN, *below(targets_sheet(targets, measured)), END])


def write_page(targets: Sequence[Target], measured: Measurements, page: Path = PAGE) -> None:
    """Put the table in its place; raises UserError where the page is not there or has no place for it."""
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{page.as_posix()}: not readable ({error.strerror}); expected a clone") from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"{page.as_posix()}: found no place for the table, expected '{BEGIN}' and '{END}'")
    write_text(page, before + targets_block(targets, measured) + after)
