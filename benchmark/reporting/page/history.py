"""Drift: what each reference was made with, and its values against those of the record that lies here now."""

from __future__ import annotations

from dataclasses import dataclass, replace

from markupsafe import Markup

from benchmark.records.parts import RECALLS
from benchmark.records.reference import Reference
from benchmark.reporting.page.evidence import PageEvidence
from benchmark.reporting.page.svg import Marks, strips

METRIC = "rsum"


@dataclass(frozen=True)
class Compared:
    """A reference beside the record of the same run and seed."""

    dataset: str
    run: str
    seed: int
    reference: float
    record: float | None
    """None: there is no record of this run and seed, or it was made by another version of the recipe."""
    tolerance: float
    """The tolerance of rsum."""
    worst_recall: float | None
    """The largest change of a recall, with its sign."""
    rescored: float | None
    """The rsum of the committed weights; None for ensembles."""
    made_with: str
    address: str
    strip: Markup

    @property
    def change(self) -> float | None:
        return None if self.record is None else self.record - self.reference

    @property
    def state(self) -> str:
        if self.change is None or self.worst_recall is None:
            return "no record of this recipe"
        recall = abs(self.worst_recall) <= self.tolerance / len(RECALLS)
        return "within" if recall and abs(self.change) <= self.tolerance else "outside"


def compared(evidence: PageEvidence) -> tuple[Markup, list[Compared]]:
    """The axis of the changes, and all references by dataset and run."""
    plain = [_compare(evidence, place, item) for place, item in evidence.references.items()]
    marks = [Marks(mean=item.change, interval=(-item.tolerance, item.tolerance)) for item in plain]
    axis, *drawn = strips(marks, origin=0.0)
    return axis, [replace(item, strip=strip) for item, strip in zip(plain, drawn, strict=True)]


def _compare(evidence: PageEvidence, place: tuple[str, str], reference: Reference) -> Compared:
    dataset, run = place
    found = [
        record
        for record in evidence.records
        if (record.dataset.name, record.run, record.seed) == (dataset, run, reference.full.seed)
        and record.recipe_digest == reference.recipe_digest
    ]
    metrics = next(iter(found[0].results.values())).metrics if found else None
    changes = [] if metrics is None else [metrics.value(m) - reference.full.metrics[m] for m in RECALLS]
    made_with = [f"{name} {value}" for name, value in reference.made_with.items()]
    return Compared(
        dataset=dataset,
        run=run,
        seed=reference.full.seed,
        reference=reference.full.metrics[METRIC],
        record=None if metrics is None else metrics.value(METRIC),
        tolerance=reference.full.tolerance * len(RECALLS),  # a recall's, six times
        worst_recall=max(changes, key=abs, default=None),
        rescored=None if reference.rescored is None else reference.rescored.metrics[METRIC],
        made_with=", ".join(made_with),
        address=evidence.addresses[found[0].path] if found else "",
        strip=Markup(),
    )
