"""docs/mutants.md: the rate, area by area, what survived and why, and the whole list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmark.reporting.sheet import Column, make_sheet
from benchmark.reporting.writers import markdown
from tests.mutants.areas import AREAS, Sampled
from tests.paths import ROOT

EQUIVALENT = Path(__file__).with_name("equivalent.yaml")
INTRO = """\
A mutant is a module with one place changed: `<` for `<=`, a number a little larger, a keyword or a refusal left out,
another name (tests/mutants/changes.py has the list). The tests of its module, and no others, are asked whether they
notice. `nox -s mutants` does so for a sample of {count} (seed {seed}), as many from each area as it has to give, in a
process that imports torch once and forks for each mutant; nothing on disk is changed. It is not part of CI. A call
that is stopped, or that runs out of its `--minutes`, is taken up by the next one; `--fresh` begins anew.

Messages' wording is left as it is, since tests match the file, the field and the value that a message names. A mutant
that does what the module does cannot be caught and does not count; each is listed with its reason, which a person wrote
down in tests/mutants/equivalent.yaml.

Two known tools were tried first. mutmut 3.8 changes no code outside functions and none with a decorator: constants,
tables of characters and properties are out of its reach, and of the faults that led to this page two are such; it draws
no sample. cosmic-ray 8.7 changes no text, so no character in a table, takes each `|` of an annotation for arithmetic
(11 mutants each, none of which can be caught), writes the changes into the checkout, and starts Python, and so torch,
for each one: several seconds before the first test.
"""


@dataclass(frozen=True)
class Judged:
    """A sample with its outcomes."""

    items: list[tuple[Sampled, str]]
    """Each mutant with its outcome: caught, caught: too long, survived, equivalent, or not asked."""
    reasons: list[str]
    """Why a mutant is equivalent; empty for the others."""
    unused: list[str]
    """Entries of equivalent.yaml that name no survivor of the sample."""

    @property
    def counts(self) -> dict[str, Counter[str]]:
        """Outcomes by area."""
        found = {area: Counter[str]() for area in AREAS}
        for item, outcome in self.items:
            found[item.area][outcome.split(":")[0]] += 1
        return found

    @property
    def rate(self) -> float:
        """Percent caught of those that can be and were asked about."""
        total = sum(self.counts.values(), Counter())
        counted = total["caught"] + total["survived"]
        return 100 * total["caught"] / counted if counted else 0.0

    @property
    def summary(self) -> str:
        """The rate, and each survivor on a line."""
        total = sum(self.counts.values(), Counter())
        lines = [
            f"survived: {item.mutant.place} {item.mutant.change}"
            for item, found in self.items
            if found == "survived"
        ]
        lines += [f"equivalent.yaml: {entry} is not a survivor of this sample" for entry in self.unused]
        counted = total["caught"] + total["survived"]
        numbers = f"{total['caught']} of {counted} mutants caught ({self.rate:.1f} %)"
        return "\n".join(
            [*lines, f"{numbers}, {total['equivalent']} equivalent, {total['not asked']} not asked yet"]
        )


def judge(sample: Sequence[Sampled], outcomes: Sequence[str | None]) -> Judged:
    """Set the equivalent ones among the survivors apart."""
    known = {
        _name(entry): str(entry["why"]) for entry in yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8"))
    }
    items, reasons, used = [], [], set()
    for item, outcome in zip(sample, outcomes, strict=True):
        lines = (ROOT / item.mutant.path).read_text(encoding="utf-8").splitlines()
        name = _name(
            {"module": item.mutant.path, "line": lines[item.mutant.line - 1], "change": item.mutant.change}
        )
        reason = known.get(name, "") if outcome == "survived" else ""
        used |= {name} if reason else set()
        items.append((item, "equivalent" if reason else outcome or "not asked"))
        reasons.append(reason)
    asked = None not in outcomes
    return Judged(items, reasons, [" ".join(name) for name in known if name not in used] if asked else [])


def _name(entry: dict[str, Any]) -> tuple[str, str, str]:
    return str(entry["module"]), str(entry["line"]).strip(), str(entry["change"])


def write_page(judged: Judged, count: int, seed: int) -> str:
    """The whole page."""
    kinds = ("caught", "survived", "equivalent", "not asked")
    heads = ("area", "modules", "mutants", *kinds)
    rows: list[list[object]] = []
    for area, counts in judged.counts.items():
        modules = ", ".join(Path(module.path).stem for module in AREAS[area])
        numbers = [counts[name] for name in kinds]
        rows.append([area, modules, sum(numbers), *numbers])
    rows.append(["all", "", *(sum(int(str(row[place])) for row in rows) for place in range(2, 7))])
    parts = ["# Mutants", INTRO.format(count=count, seed=seed).strip()]
    parts.append(f"Caught: **{judged.rate:.1f} %** of those that were asked about and can be.")
    parts.append(markdown.table(make_sheet("areas", heads, rows, left=2)))
    for title, outcome in (("Survivors", "survived"), ("Equivalent", "equivalent")):
        if any(found == outcome for _, found in judged.items):
            parts += [f"## {title}", _list(judged, outcome)]
    return "\n\n".join([*parts, "## The list", _list(judged, "")]) + "\n"


def _list(judged: Judged, outcome: str) -> str:
    """The mutants of one outcome as a table, `` for all of them; equivalent ones with their reason."""
    columns = [Column(name, name, "text") for name in ("place", "from", "to")]
    last = {"": "outcome", "equivalent": "reason"}.get(outcome)
    columns += [Column(last, last, "text")] if last else []
    rows = []
    for (item, found), reason in zip(judged.items, judged.reasons, strict=True):
        if outcome in ("", found):
            more = {"": [found], "equivalent": [reason]}.get(outcome, [])
            rows.append([item.mutant.place, item.mutant.old, item.mutant.new, *more])
    return markdown.table(make_sheet("mutants", columns, rows))
