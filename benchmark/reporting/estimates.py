"""Estimates as sheets: what runs would download, train and write (`--dry-run`), and what trainings take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.distributed.network import Network, simulate_step
from benchmark.recipe.faults import about
from benchmark.recipe.schema import DETECTED
from benchmark.records.estimate import Estimate
from benchmark.registry import get_method
from benchmark.reporting.sheet import (
    Cell,
    Column,
    Sheet,
    list_facts,
    make_sheet,
    show_bytes,
    show_duration,
)
from benchmark.run.extraction import ExtractionEstimate
from benchmark.run.plan import RunEstimate, make_plan, vocabulary_size, what_is_fetched
from benchmark.run.runs import Run


def estimate_sheets(
    runs: Sequence[Run],
    seeds: Sequence[int] | None,
    data_dir: Path | None,
    vocabulary: Path | None = None,
) -> list[Sheet]:
    """The plan of every run; an ensemble trains nothing of its own.

    vocabulary: the file of a word vocabulary; None: it is built; its size is the published one, or own captions'.
    """
    sheets = []
    for run in runs:
        chosen = list(seeds or [run.seed])
        folder = f"{run.dataset}/{run.name}"
        writes = [f".rematch/{folder}/{seed}/ and results/runs/{folder}/{seed}.json, .npz" for seed in chosen]
        if run.members:
            names = ", ".join(member.path.stem for member in run.members)
            members = f"mean of the similarity matrices of {names}"
            facts = {"ensemble": members, "writes": "\n".join(writes)}
            sheets.append(list_facts(f"dry run: {run.path.as_posix()}", facts))
            continue
        if not run.trains:
            sheets.append(untrained_sheet(run, writes, data_dir))
            continue
        with about(run.path):
            plan = make_plan(run.single, vocabulary_size(run.single, vocabulary), writes, data_dir)
        sheets.append(estimate_sheet(plan, f"{run.path.as_posix()}, {len(chosen)} seed(s)"))
    return sheets


def untrained_sheet(run: Run, writes: Sequence[str], data_dir: Path | None) -> Sheet:
    """The plan of a run whose weights are taken as they are."""
    recipe = run.single
    parts = get_method(recipe.method).pretrained_parts(recipe.method_config())
    facts = {
        "training": "none: the weights are taken as they are",
        "downloads": "\n".join([*what_is_fetched(recipe, data_dir).items, *parts]) or "nothing",
        "writes": "\n".join(writes),
    }
    return list_facts(f"dry run: {run.path.as_posix()}", facts)


GPU_RATE = 20e12
"""FLOP a second of products in float32 that hours on a GPU are reckoned with: about an A100's, without TF32."""


def trainings_sheet(estimates: Mapping[str, Estimate]) -> Sheet:
    """Recipes with time and memory of their trainings, on one thread of a CPU and, by arithmetic, on a GPU."""
    columns = (
        Column("recipe", "recipe", "text"),
        Column("batch_size", "batch"),
        Column("seconds", "one CPU thread", "text"),
        Column("memory_bytes", "memory, training"),
        Column("host_bytes", "evaluation, host"),
        Column("device_bytes", "evaluation, GPU"),
        Column("flops", "TFLOP, training"),
        Column("gpu_seconds", "products on a GPU"),
    )
    rows = [
        (
            recipe,
            found.batch_size,
            Cell(show_duration(found.seconds), found.seconds),
            *(
                Cell(show_bytes(size), size)
                for size in (found.memory_bytes, found.host_bytes, found.device_bytes)
            ),
            Cell(f"{found.flops / 1e12:,.0f}", found.flops),
            Cell(show_duration(found.flops / GPU_RATE), found.flops / GPU_RATE),
        )
        for recipe, found in estimates.items()
    ]
    hardware = " and ".join(dict.fromkeys(found.hardware for found in estimates.values()))
    note = (
        f"Estimated, not measured: steps of a few synthetic pairs, scaled up. Time on a CPU: one thread of {hardware}. "
        f"Products on a GPU: the matrix products alone, in float32, at {GPU_RATE / 1e12:.0f} TFLOP/s; a GPU that waits "
        "for pictures or launches kernels takes longer."
    )
    return make_sheet("estimates of trainings", columns, rows, notes=[note])


def estimate_sheet(plan: RunEstimate, title: str) -> Sheet:
    """The plan as names and values."""
    sizes = ", ".join(f"{name} {count:,}" for name, count in plan.images.items())
    facts = {
        "data": f"{plan.dataset}: {sizes} images",
        "download": "\n".join(plan.download.items) or "nothing",
        **({} if plan.extraction is None else {"region features": _extraction(plan.extraction)}),
        "pretrained parts": ", ".join(plan.pretrained) or "none: random weights",
        "model": f"{plan.parameters:,} parameters",
        "training": f"{plan.epochs} epochs x {plan.steps_per_epoch:,} steps",
        "time, on one CPU thread": f"about {show_duration(plan.train_seconds)}; a GPU is far faster",
        "memory while training": _memory(plan),
        "memory while evaluating": _evaluation(plan),
        "by several processes": _together(plan),
        "disk": f"about {show_bytes(plan.disk_bytes)}, data and work folder",
        "writes": "\n".join(plan.writes),
    }
    return list_facts(f"dry run: {title} (nothing downloaded, trained or written)", facts)


def _together(plan: RunEstimate) -> str:
    """Say in words how much a step of several processes sends, and how long that takes."""
    two, four = plan.traffic(2), plan.traffic(4)
    slow, fast = (simulate_step(four, Network(gigabits, cards=1)) for gigabits in (10, 100))
    return (
        f"a step gathers {show_bytes(two.gathered)} of codes; with --processes 2 each sends {show_bytes(two.sent)}, "
        f"with 4 {show_bytes(four.sent)}: codes, their gradients and those of the weights; between 4 machines that "
        f"takes {slow:.2g} s at 10 Gbit/s, {fast:.2g} s at 100 (simulated)"
    )


def _extraction(plan: ExtractionEstimate) -> str:
    """The extraction of features in words."""
    kept = f"\nof {plan.kept:,} pictures they are there already" if plan.kept else ""
    picture = f"{plan.picture.seconds:.1f} s a picture; a GPU is far faster"
    return (
        f"{DETECTED}, of {plan.images:,} pictures, once: about {show_duration(plan.seconds)} on one CPU thread "
        f"({picture}), memory up to {show_bytes(plan.picture.memory_bytes)} in all, "
        f"{show_bytes(plan.disk_bytes)} on disk{kept}"
    )


def _evaluation(plan: RunEstimate) -> str:
    """The memory of an evaluation in words: on the host, and where pairs are scored (one place, without a GPU)."""
    found = plan.scoring
    return (
        f"about {show_bytes(found.host)} on the host (codes of captions {show_bytes(found.captions)}, of images that "
        f"wait {show_bytes(found.images)}, scores {show_bytes(found.matrix)}), and "
        f"{show_bytes(4 * plan.parameters + found.device)} for weights and a block of pairs"
    )


def _memory(plan: RunEstimate) -> str:
    """The memory of a training in words, of its largest stage; pairs are mentioned where they matter."""
    stage = plan.largest
    total = f"about {show_bytes(stage.memory_bytes)}"
    if stage.pair_bytes < stage.memory_bytes / 100:
        return total
    if not stage.in_parts:
        return f"{total}, of which pairs {show_bytes(stage.pair_bytes)}, in one piece"
    whole = show_bytes(stage.kept.pairs(stage.batch_size))
    return (
        f"{total}, of which pairs {show_bytes(stage.pair_bytes)}, the recipe's pair_budget_mb; they would take "
        f"{whole} in one piece"
    )
