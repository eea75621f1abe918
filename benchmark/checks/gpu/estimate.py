"""Memory and time of full-size recipes on a GPU, estimated on a CPU: results/hardware/estimated.json and its table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import torch

from benchmark.files import write_text
from benchmark.inputs import InputSpec
from benchmark.method import Baseline, Progress
from benchmark.places import HARDWARE
from benchmark.recipe.schema import Recipe
from benchmark.registry import get_method
from benchmark.reporting.sheet import Column, Sheet, make_sheet
from benchmark.reporting.writers.formats import write_sheets
from benchmark.run.plan import (
    AGAIN,
    PROBE_SIZES,
    CostGrowth,
    fit_growth,
    make_plan,
    one_thread,
    probe_step,
    synthetic_batch,
    vocabulary_size,
)
from benchmark.run.runs import Run
from benchmark.strict import Strict

RATE = 20e12
"""FLOP a second of products in float32 that the table reckons with: about an A100's, without TF32."""


class EstimateLine(Strict):
    """One recipe; bytes, and FLOPs of a step's products, forward and backward."""

    recipe: str
    dataset: str
    batch_size: int
    steps: int
    """Of the whole training."""
    training_bytes: float
    """Weights, gradients, moments, and what a step keeps, in float32."""
    host_bytes: int
    """Of the largest evaluation."""
    device_bytes: int
    """Of its blocks, and of the weights."""
    flops: float

    @property
    def hours(self) -> float:
        """The products of the whole training at RATE."""
        return self.flops * self.steps / RATE / 3600


class Estimates(Strict):
    """All recipes, as torch on a CPU has them."""

    format: Literal["rematch-gpu-estimates-1"] = "rematch-gpu-estimates-1"
    torch: str
    lines: list[EstimateLine]

    def sheet(self) -> Sheet:
        """The table, which says that nothing in it is measured."""
        heads: list[Column | str] = [
            "recipe",
            "batch",
            Column("training_gb", "training", unit="GB", spec=".1f"),
            Column("host_gb", "evaluation, host", unit="GB", spec=".1f"),
            Column("device_gb", "evaluation, GPU", unit="GB", spec=".1f"),
            Column("tflop", "TFLOP a step", spec=".2f"),
            Column("step_seconds", "a step", unit="s", spec=".3f"),
            Column("hours", "all steps", unit="hours", spec=".1f"),
        ]
        rows = [
            (
                line.recipe,
                line.batch_size,
                line.training_bytes / 1e9,
                line.host_bytes / 1e9,
                line.device_bytes / 1e9,
                line.flops / 1e12,
                line.flops / RATE,
                line.hours,
            )
            for line in self.lines
        ]
        note = (
            f"Estimated, not measured. Memory: counted on a CPU, in float32. Time: the matrix products alone at "
            f"{RATE / 1e12:.0f} TFLOP/s, so a GPU that is waiting for pictures or launches kernels takes longer."
        )
        return make_sheet("full-size recipes on a GPU, estimated", heads, rows, left=1, notes=[note])


def estimate(runs: Iterable[Run]) -> Iterator[EstimateLine]:
    """Estimate each run of a single model, from steps of a few pairs on a CPU."""
    for run in runs:
        recipe, flops = run.single, list[CostGrowth]()

        def measure(
            model: Baseline, spec: InputSpec, recipe: Recipe, vocab_size: int, flops: list[CostGrowth] = flops
        ) -> tuple[CostGrowth, CostGrowth]:
            products, kept = count_steps(model, spec, recipe, vocab_size)
            flops.append(products)
            return CostGrowth(0, 0, 0), kept

        plan = make_plan(recipe, vocabulary_size(recipe), [], measure=measure)
        pairs = flops[0].pairs(plan.batch_size)
        yield EstimateLine(
            recipe=run.path.relative_to(run.path.parents[1]).with_suffix("").as_posix(),
            dataset=run.dataset,
            batch_size=plan.batch_size,
            steps=plan.steps_per_epoch * plan.epochs,
            training_bytes=plan.memory_bytes,
            host_bytes=plan.scoring.host,
            device_bytes=plan.scoring.device + 4 * plan.parameters,
            flops=flops[0].items(plan.batch_size) + (AGAIN * pairs if plan.in_parts else pairs),
        )


def count_steps(
    model: Baseline, spec: InputSpec, recipe: Recipe, vocab_size: int
) -> tuple[CostGrowth, CostGrowth]:
    """FLOPs of the products of a step of the last stage, forward and backward, and the bytes that it keeps."""
    from torch.utils.flop_counter import FlopCounterMode  # brings a compiler along

    stage = len(recipe.training.stages) - 1
    loss = get_method(recipe.method).loss.model_validate(recipe.training.stages[stage].loss)
    model.train()
    flops, kept = list[float](), list[float]()
    with one_thread():
        for size in PROBE_SIZES:
            batch = synthetic_batch(spec, vocab_size, size)
            with FlopCounterMode(display=False) as counter:
                kept.append(probe_step(model, batch, Progress(0, 0, stage, loss)).kept)
            flops.append(counter.get_total_flops())
    return fit_growth(flops), fit_growth(kept)


def write_estimates(lines: list[EstimateLine], folder: Path = HARDWARE) -> list[Path]:
    """Write the estimates and their table; returns the files."""
    found = Estimates(torch=torch.__version__, lines=lines)
    document, table = folder / "estimated.json", folder / "estimated.md"
    write_text(document, found.model_dump_json(indent=1) + "\n")
    write_text(table, write_sheets([found.sheet()], "markdown"))
    return [document, table]
