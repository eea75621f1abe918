"""What the check found: results/hardware/<device>.json, and the same as tables beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from benchmark.files import write_text
from benchmark.memory import GIGABYTE
from benchmark.places import HARDWARE
from benchmark.records.environment import Environment
from benchmark.reporting.sheet import Cell, Column, Sheet, make_sheet
from benchmark.reporting.writers.formats import write_sheets
from benchmark.strict import Strict


class StepLine(Strict):
    """The training step of a recipe."""

    recipe: str
    batch_size: int
    precision: str
    seconds: float
    """Median of a few."""
    peak_bytes: int
    """The most memory during these steps: on a GPU allocated, else of the process."""
    elsewhere: list[str] = []
    """Tensors of the model that are not on the device."""
    differing: list[str] = []
    """Tensors of the model in which the same step came out twice differently."""
    moved: int
    """Tensors of the model that the step changed."""


class ScoringLine(Strict):
    """Scores of many pairs."""

    method: str
    case: str
    pairs_per_second: float
    over_floor: float | None
    """Time over that of the products which no algebra removes; None: the floor is not known."""


class HalfLine(Strict):
    """A step in bfloat16 beside the same step in float32."""

    recipe: str
    loss: float
    half_loss: float
    """The loss in bfloat16."""
    score_gap: float
    """The largest difference of a score."""
    score_deviation: float
    """The standard deviation of the scores in float32, which the gap is small beside."""
    gradient_cosine: float
    """Between all gradients in float32 and all in bfloat16."""

    @property
    def loss_gap(self) -> float:
        """The share of the loss that it is off by; of 1 where the loss is nearer to 0, through which it may go."""
        return abs(self.half_loss - self.loss) / max(abs(self.loss), 1.0)


class LoaderLine(Strict):
    """Pictures decoded, cut and scaled."""

    workers: int
    images_per_second: float


class CheckLine(Strict):
    """Something that holds or does not."""

    subject: str
    what: str
    ok: bool
    found: str


class GPUReport(Strict):
    """A whole check of one device."""

    format: Literal["rematch-gpu-check-1"] = "rematch-gpu-check-1"
    size: Literal["full", "small"]
    environment: Environment
    memory_bytes: int | None
    """Of the GPU."""
    seconds: float
    checks: list[CheckLine] = []
    steps: list[StepLine] = []
    scoring: list[ScoringLine] = []
    half: list[HalfLine] = []
    loader: list[LoaderLine] = []
    left_out: list[str] = Field(default=[])
    """Parts that were not done, and why."""

    @property
    def passed(self) -> bool:
        return all(line.ok for line in self.checks)

    def sheets(self) -> list[Sheet]:
        """The tables; the checks' is the one that passes or fails."""
        where = self.environment
        checks = make_sheet(
            f"checks on {where.device_name} ({where.device}), {self.size} size, torch {where.packages.get('torch')}",
            ("subject", "check", "ok", "found"),
            [(line.subject, line.what, line.ok, line.found) for line in self.checks],
            left=4,
            notes=[f"{self.seconds:.0f} seconds", *(f"left out: {line}" for line in self.left_out)],
            alarms=[number for number, line in enumerate(self.checks) if not line.ok],
            passed=self.passed,
        )
        steps = make_sheet("training steps", STEP_HEADS, [_step_row(line) for line in self.steps], left=2)
        scored = [(line.method, line.case, line.pairs_per_second, line.over_floor) for line in self.scoring]
        loaded = [(line.workers, line.images_per_second) for line in self.loader]
        scoring = make_sheet("scoring", SCORING_HEADS, scored, left=2)
        loader = make_sheet("pictures of 500 x 375 through the training transform", LOADER_HEADS, loaded)
        return [checks, *(sheet for sheet in (steps, self.half_sheet(), scoring, loader) if sheet.rows)]

    def half_sheet(self) -> Sheet:
        """The table of bfloat16 beside float32."""
        rows = [
            (
                one.recipe,
                one.loss,
                one.half_loss,
                one.loss_gap,
                one.score_gap,
                one.score_deviation,
                one.gradient_cosine,
            )
            for one in self.half
        ]
        return make_sheet("a step in bfloat16 beside float32", HALF_HEADS, rows)


STEP_HEADS = (
    "recipe",
    "precision",
    "batch",
    Column("seconds", "a step", unit="s", spec=".4g"),
    Column("peak_bytes", "peak memory", unit="GiB", spec=".2f"),
)
SCORING_HEADS = (
    "method",
    "case",
    Column("pairs_per_second", "pairs/s", spec=",.0f"),
    Column("over_floor", "time / floor", spec=".2f"),
)
HALF_HEADS = (
    "recipe",
    Column("loss", "loss in float32", spec=".4f"),
    Column("half_loss", "in bfloat16", spec=".4f"),
    Column("loss_gap", "off by", spec=".1e"),
    Column("score_gap", "scores off by at most", spec=".1e"),
    Column("score_deviation", "sd of scores", spec=".1e"),
    Column("gradient_cosine", "cosine of gradients", spec=".4f"),
)
LOADER_HEADS = ("workers", Column("images_per_second", "images/s", spec=".0f"))


def _step_row(line: StepLine) -> tuple[object, ...]:
    peak = Cell(f"{line.peak_bytes / GIGABYTE:.2f}", line.peak_bytes)
    return line.recipe, line.precision, line.batch_size, line.seconds, peak


def write_report(report: GPUReport, folder: Path = HARDWARE) -> list[Path]:
    """Write a report and its tables, named by the device; returns the files."""
    stem = re.sub(r"[^a-z0-9]+", "-", report.environment.device_name.lower()).strip("-")
    document, tables = folder / f"{stem}.json", folder / f"{stem}.md"
    write_text(document, report.model_dump_json(indent=2) + "\n")
    write_text(tables, write_sheets(report.sheets(), "markdown"))
    return [document, tables]
