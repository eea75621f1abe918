"""The page of each run: its record in words, and its worst and best queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmark.records.parts import RECALLS, ProtocolRecord
from benchmark.records.record import RunRecord
from benchmark.reporting.evidence import Evidence
from benchmark.reporting.leaderboard.rows import Row
from benchmark.reporting.page.board import between
from benchmark.reporting.page.curves import Course, Panel, panel
from benchmark.reporting.page.examples import NO_PICTURES, Example, Gallery, examples
from benchmark.reporting.page.svg import Marks, strips
from benchmark.reporting.sheet import NONE, Column, Sheet, make_sheet
from benchmark.reporting.studies.runs import flat

Facts = list[tuple[str, str]]
PROSE = ("summary", "departures", "paper_row", "expected")
"""Fields of a recipe that stand elsewhere on the page."""


METRICS = (
    *(Column("metric", "metric", "text"), Column("most", kind="text", second_name=True)),
    *(Column("value", "value", spec=".1f"), Column("interval", "95 % interval"), Column("folds", "folds")),
    Column("paper", "paper", spec=".1f", missing=NONE),
)
EPOCHS = (
    *(Column("epoch", "epoch"), Column("loss", "loss", spec=".4f")),
    *(Column("validation", spec=".2f", missing=NONE), Column("weights", "weights", "text")),
)
STAGES = (
    *(Column("stage", "stage", "text"), Column("batch", "batch")),
    *(Column("median", "median ms", spec=".3f"), Column("p95", "95th percentile ms", spec=".3f")),
    Column("rate", "items a second", spec=".1f"),
)


@dataclass(frozen=True)
class Result:
    """The result of a run under one protocol."""

    protocol: str
    found: ProtocolRecord
    row: Row
    sheet: Sheet
    axis: Markup
    strips: list[Markup]


@dataclass(frozen=True)
class RunPage:
    """Everything that the page of one run shows."""

    record: RunRecord
    address: str
    status: str
    results: list[Result]
    facts: Facts
    environment: Facts
    recipe: Facts
    """What a page before it does not say already."""
    members: list[tuple[str, str]]
    """Name of each member of an ensemble and the address of its page, "" where it has none."""
    epochs: Sheet | None
    panel: Panel | None
    latency: Sheet
    examples: dict[str, list[Example]]
    without_pictures: str
    """The reason why there are no pictures; empty: there are."""
    recipe_at: str = ""
    """The address of the page that has the rest of the recipe; empty: it is all here."""


def run_pages(evidence: Evidence, courses: Mapping[Path, Course], gallery: Gallery) -> list[RunPage]:
    """The pages of all runs, in the order of the records."""
    rows = {
        (record.path, row.protocol): row
        for group in evidence.groups
        for row in group.rows
        for record in row.records
    }
    pages = [_page(evidence, record, rows, courses.get(record.path), gallery) for record in evidence.records]
    return _shared_recipes(pages)


def _shared_recipes(pages: Sequence[RunPage]) -> list[RunPage]:
    """A recipe that differs from an earlier page's in the seed alone is told by a link to it."""
    first: dict[tuple[tuple[str, str], ...], str] = {}
    found = []
    for page in pages:
        seed = [fact for fact in page.recipe if fact[0] == "training.seed"]
        rest = tuple(fact for fact in page.recipe if fact not in seed)
        at = first.setdefault(rest, page.address)
        found.append(page if at == page.address else replace(page, recipe=seed, recipe_at=at))
    return found


def _page(
    evidence: Evidence,
    record: RunRecord,
    rows: Mapping[tuple[Path, str], Row],
    course: Course | None,
    gallery: Gallery,
) -> RunPage:
    sidecar = evidence.sidecars[record.path]
    _, split = gallery.split(record, sidecar)
    results = [_result(name, found, rows[record.path, name]) for name, found in record.results.items()]
    return RunPage(
        record=record,
        address=evidence.addresses[record.path],
        status=" / ".join(dict.fromkeys(result.row.judgement.kind for result in results)),
        results=results,
        facts=_facts(record),
        environment=_environment(record),
        recipe=[(name, _plain(value)) for name, value in flat(_select_fields(record.recipe))],
        members=[
            (f"{m.run}, seed {m.seed}", _member(evidence, record, m.run, m.seed)) for m in record.members
        ],
        epochs=None if course is None else _epochs(course),
        panel=None if course is None else panel([course], record.run),
        latency=_latency(record),
        examples=examples(record, sidecar, gallery),
        without_pictures="" if split is not None else NO_PICTURES.format(record.dataset.name),
    )


def _result(protocol: str, found: ProtocolRecord, row: Row) -> Result:
    names, several = [*RECALLS, "mean_r1", "rsum"], len(found.folds) > 1
    intervals = {name: (item.low, item.high) for name, item in found.intervals.items()}
    percent = [name for name in names if name != "rsum"]
    marks = [Marks(found.metrics.value(name), intervals.get(name)) for name in percent]
    axis, *drawn = strips(marks, low_high=(0, 100))
    drawn += strips([Marks(found.metrics.rsum, intervals.get("rsum"))], low_high=(0, 600))[1:]
    metrics = []
    for name in names:
        paper = None if row.paper is None else row.paper.value(name)
        folds = [fold.value(name) for fold in found.folds]
        reach = between((min(folds), max(folds))) if several else ""
        heads = title(name), "of 600" if name == "rsum" else ""
        metrics.append((*heads, found.metrics.value(name), between(intervals.get(name)), reach, paper))
    sheet = make_sheet("metrics", METRICS, metrics)
    keys = [column.key for column in METRICS if column.key != "folds" or several]
    return Result(protocol, found, row, sheet.only(keys), axis, drawn)


def _epochs(course: Course) -> Sheet:
    """The epochs of a training."""
    rows = [
        (item.number, item.loss, item.validation, "kept" if item.chosen else "") for item in course.epochs
    ]
    columns = [replace(column, heading=column.heading or f"validation {course.metric}") for column in EPOCHS]
    return make_sheet("epochs", columns, rows)


def _latency(record: RunRecord) -> Sheet:
    """The stages that were timed."""
    stages = [] if record.latency is None else record.latency.stages
    rows = [(item.name, item.batch, item.median_ms, item.p95_ms, item.items_per_second) for item in stages]
    return make_sheet("latency", STAGES, rows)


def title(metric: str) -> str:
    """`i2t_r1` -> `i2t R@1`."""
    return "mean R@1" if metric == "mean_r1" else metric.replace("_r", " R@")


def _facts(record: RunRecord) -> Facts:
    """List the facts about a run: its recipe, data, weights, training, times and notes."""
    data = record.dataset
    sizes = "; ".join(
        f"{name} {facts.images:,} images, {facts.captions:,} captions" for name, facts in data.splits.items()
    )
    training = record.training
    course = (
        "" if training is None else f"{training.epochs} epochs, weights of epoch {training.best_epoch + 1}"
    )
    return [
        ("method", record.method),
        ("paper's row", record.variant if record.paper_row is not None else "none"),
        ("recipe", record.recipe_path),
        ("recipe digest", record.recipe_digest),
        ("seed", str(record.seed)),
        ("dataset", f"{data.name}, {data.revision or 'no revision'}, {data.source}"),
        ("splits", sizes),
        ("fingerprint of the test split", data.splits[record.split].fingerprint),
        ("captions read as", record.codec),
        *([("images read by", record.transform)] if record.transform else []),
        ("weights", f"{record.weights}, sha256 {record.weights_sha256 or NONE}"),
        *([("training", f"{course}, chosen by {training.selected_by}")] if training is not None else []),
        ("scores in", record.score_precision),
        (
            "times",
            "; ".join(f"{name} {seconds:.1f} s" for name, seconds in sorted(record.wall_seconds.items())),
        ),
        ("canonical hash", record.canonical_hash),
        ("Rematch", record.version),
        *(("note", note) for note in record.notes),
    ]


def _environment(record: RunRecord) -> Facts:
    where = record.environment
    cores = "" if where.cpu_count is None else f" of {where.cpu_count}"
    dirty = {True: ", changed since", False: "", None: ""}[where.git_dirty]
    return [
        ("device", f"{where.device_name} ({where.device})"),
        ("threads", f"{where.threads}{cores}"),
        ("system", f"{where.system}, Python {where.python}"),
        ("precision", where.precision),
        ("deterministic", "yes" if where.deterministic else "no"),
        ("commit", f"{where.git_commit or 'unknown'}{dirty}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in where.packages.items())),
    ]


def _select_fields(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that stand nowhere else on the page."""
    return {name: value for name, value in recipe.items() if name not in PROSE}


def _plain(value: Any) -> str:
    """A recipe's value as it would stand in YAML."""
    if isinstance(value, bool | None):
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_plain(item)}" for name, item in value.items()) + "}"
    return str(value)


def _member(evidence: Evidence, record: RunRecord, run: str, seed: int) -> str:
    """The address of an ensemble's member."""
    return evidence.addresses.get(Path(record.dataset.name, run, f"{seed}.json"), "")
