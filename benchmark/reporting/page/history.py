"""Drift: what each reference was made with, and its values against those of the record that lies here now."""

from __future__ import annotations

from benchmark.records.parts import RECALLS
from benchmark.records.reference import Reference
from benchmark.reporting.evidence import Evidence
from benchmark.reporting.page.studies import DrawnSheet
from benchmark.reporting.page.svg import Marks, strips
from benchmark.reporting.sheet import NONE, Cell, Column, make_sheet

METRIC = "rsum"
COLUMNS = (
    *(Column("run", "run", "text"), Column("seed", kind="text", second_name=True)),
    *(Column(name, name, spec=".1f", missing=NONE) for name in ("reference", "record")),
    *(Column("change", "change", spec="+.2f", missing=NONE), Column("tolerance", "tolerance")),
    Column("worst_recall", "largest of a recall", spec="+.2f", missing=NONE),
    Column("state", "state", "text"),
    Column("rescored", "committed weights", spec=".1f", missing=NONE),
    Column("made_with", "made with", "text"),
)


def compared(evidence: Evidence) -> DrawnSheet:
    """All references by dataset and run beside the records of the same seed, with the changes of rsum as strips."""
    rows = [_compare(evidence, *item) for item in evidence.references.items()]
    sheet = make_sheet("References against records", COLUMNS, rows)
    marks = []
    for row in sheet.only(["change", "tolerance"]).rows:
        change, tolerance = (None if cell.value is None else float(cell.value) for cell in row.cells)
        assert tolerance is not None
        marks.append(Marks(change, (-tolerance, tolerance)))
    axis, *drawn = strips(marks, origin=0.0)
    return DrawnSheet("", sheet, axis, drawn)


def _compare(evidence: Evidence, place: tuple[str, str], reference: Reference) -> list[object]:
    """A reference beside the record of its run and seed, where one was made by the same version of the recipe."""
    (dataset, run), full = place, reference.full
    found = [
        record
        for record in evidence.records
        if (record.dataset.name, record.run, record.seed) == (dataset, run, full.seed)
        and record.recipe_digest == reference.recipe_digest
    ]
    tolerance = full.tolerance * len(RECALLS)  # a recall's, six times
    now = change = worst = None
    state = "no record of this recipe"
    if found:
        metrics = next(iter(found[0].results.values())).metrics
        now = metrics.value(METRIC)
        change = now - full.metrics[METRIC]
        worst = max((metrics.value(name) - full.metrics[name] for name in RECALLS), key=abs)
        state = "within" if abs(worst) <= full.tolerance and abs(change) <= tolerance else "outside"
    return [
        Cell(run, run, link=f"#{evidence.addresses[found[0].path]}" if found else ""),
        f"{dataset}, seed {full.seed}",
        *(full.metrics[METRIC], now, change, Cell(f"± {tolerance:.1f}", tolerance), worst, state),
        None if reference.rescored is None else reference.rescored.metrics[METRIC],
        ", ".join(f"{name} {value}" for name, value in reference.made_with.items()),
    ]
