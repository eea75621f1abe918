"""Drift: do today's code and packages still give the numbers that were recorded?

Three checks for every recipe with a reference: (a) small committed weights are scored again, with a tight
tolerance; (b) the first steps of the training are repeated and their losses compared; (c) with `full`, the
whole training is repeated. All of them run on the CPU, where the references were made.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmark.baseline import method_names
from benchmark.errors import UserError, nearest
from benchmark.evaluation.ranking import Floats
from benchmark.files import replacing, sha256_file
from benchmark.job import Job, Settings, build_model, prepare
from benchmark.recipe import EnsembleRecipe, Recipe, load_recipe
from benchmark.reporting.environment import collect
from benchmark.reporting.record import RunRecord, read_all
from benchmark.reporting.reference import (
    REFERENCE,
    FullTraining,
    Reference,
    Rescored,
    Trace,
    read_reference,
    reference_path,
    write_reference,
)
from benchmark.reproduce import reproduce, results_of, score_split
from benchmark.training import deterministic, first_losses, read_weights

STEPS = 20
SAMPLE = 256
METRICS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum")
METRICS_TOLERANCE = 0.3  # one of 400 images is 0.25 points, one of 2,000 captions 0.05
SIMS_TOLERANCE = 1e-4
LOSS_TOLERANCE = 5e-3
FULL_TOLERANCE = 3.0  # another processor rounds otherwise, and a whole training is another one then


@dataclass(frozen=True)
class Finding:
    """One compared quantity."""

    run: str
    check: str
    quantity: str
    reference: float
    found: float
    tolerance: float
    """Absolute."""

    @property
    def ok(self) -> bool:
        return abs(self.found - self.reference) <= self.tolerance  # false for NaN


def run_drift(
    method: str | None, *, full: bool, show_progress: bool, folder: Path = REFERENCE
) -> list[Finding]:
    """Compare every reference of `method` (None: all methods) with what this machine computes now.

    Raises UserError where there is no reference, or one belongs to another version of its recipe.
    """
    deterministic()
    check_method(method)
    references = [(path, read_reference(path)) for path in sorted(folder.glob("*/*.json"))]
    chosen = [(p, r) for p, r in references if method in (None, Path(r.recipe_path).parent.name)]
    if not chosen:
        raise UserError(
            f"{folder.as_posix()}: no reference for {method or 'any method'}; see `rematch drift --help`"
        )
    findings: list[Finding] = []
    for path, reference in track(chosen, "drift", disable=not show_progress, transient=True):
        findings += check_reference(path, reference, show_progress=show_progress)
    if full:
        with tempfile.TemporaryDirectory() as scratch:
            for path, reference in sorted(chosen, key=lambda item: item[1].rescored is None):
                findings += check_training(path.stem, reference, Path(scratch), show_progress)
    return findings


def check_method(method: str | None) -> None:
    """Raise UserError for a method that there isn't; None is all of them."""
    if method is not None and method not in method_names():
        raise UserError(f"unknown method '{method}'{nearest(method, method_names())}")


def check_reference(path: Path, reference: Reference, *, show_progress: bool = False) -> list[Finding]:
    """Checks (a) and (b) of one reference."""
    recipe = load_recipe(Path(reference.recipe_path))
    if not isinstance(recipe, Recipe) or reference.rescored is None or reference.trace is None:
        return []
    settings = Settings(show_progress=show_progress)
    job = prepare(Path(reference.recipe_path), recipe, reference.full.seed, settings)
    if job.digest != reference.recipe_digest:
        raise UserError(
            f"{path.as_posix()}: made for another version of {reference.recipe_path}; "
            "run the recipe again, then `rematch drift --update`"
        )
    metrics, sims = rescore(job, path.with_suffix(".safetensors"), reference.rescored.weights_sha256)
    rescored, trace, run = reference.rescored, reference.trace, path.stem
    findings = [
        Finding(run, "weights", name, value, metrics[name], rescored.metrics_tolerance * _parts(name))
        for name, value in rescored.metrics.items()
    ]
    findings.append(_worst(run, "weights", "similarity", rescored.sims, sims, rescored.sims_tolerance))
    scale = max(abs(loss) for loss in trace.losses)
    losses = first_steps(job)
    findings.append(_worst(run, "first steps", "loss", trace.losses, losses, trace.tolerance * scale))
    return findings


def rescore(job: Job, weights: Path, sha256: str | None = None) -> tuple[dict[str, float], list[float]]:
    """Metrics of the weights on the test split, and a sample of their similarities."""
    if not weights.is_file():
        raise UserError(
            f"{weights.as_posix()}: the reference's weights are missing; get them from the repository"
        )
    if sha256 is not None and sha256_file(weights) != sha256:
        raise UserError(f"{weights.as_posix()}: not the weights of the reference (their sha256 differs)")
    model = build_model(job, pretrained=False)
    state, _ = read_weights(weights)
    model.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    sims = score_split(job, model, "test", show_progress=False).sims
    metrics = results_of(job, sims)[0].metrics.values()
    return {name: metrics[name] for name in METRICS}, sample(sims)


def sample(sims: Floats) -> list[float]:
    """Similarities evenly spread over the matrix; the step has no factor in common with a row: all columns differ."""
    flat = sims.ravel()
    step = max(1, flat.size // SAMPLE)
    while math.gcd(step, sims.shape[1]) > 1:
        step += 1
    return [float(value) for value in flat[::step][:SAMPLE]]


def first_steps(job: Job) -> list[float]:
    """Losses of the first steps of the recipe's training, from freshly drawn weights."""
    return first_losses(
        build_model(job, pretrained=False),
        training=job.training,
        loss_type=job.method.loss,
        make_batches=job.batches,
        device=torch.device("cpu"),
        max_steps=STEPS,
    )


def check_training(run: str, reference: Reference, scratch: Path, show_progress: bool) -> list[Finding]:
    """Check (c): the whole training, in a scratch folder; an ensemble, coming last, finds its members there."""
    settings = Settings(
        work=scratch / "work", runs=scratch / "runs", latency=False, show_progress=show_progress
    )
    record = reproduce(Path(reference.recipe_path), reference.full.seed, settings)
    found = record_metrics(record)
    tolerance = reference.full.tolerance
    return [
        Finding(run, "training", name, value, found[name], tolerance * _parts(name))
        for name, value in reference.full.metrics.items()
    ]


def record_metrics(record: RunRecord) -> dict[str, float]:
    """Metrics of the record's first protocol."""
    metrics = next(iter(record.results.values())).metrics
    return {name: metrics.value(name) for name in METRICS}


def _parts(metric: str) -> int:
    return 6 if metric == "rsum" else 1


def _worst(
    run: str, check: str, quantity: str, reference: list[float], found: list[float], tolerance: float
) -> Finding:
    """The entry that is furthest off stands for a whole series; a missing entry is a NaN."""
    padded = np.full(len(reference), np.nan)
    padded[: len(found)] = found[: len(reference)]
    off = np.abs(padded - np.array(reference))
    worst = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
    name = f"{quantity} {worst} of {len(reference)}, the worst"
    return Finding(run, check, name, reference[worst], float(padded[worst]), tolerance)


def drift_table(findings: list[Finding]) -> Table:
    """All findings, those that left their tolerance marked."""
    table = Table("run", "check", "quantity", title="drift", title_justify="left")
    for name in ("reference", "found", "change", "tolerance", ""):
        table.add_column(name, justify="right")
    for item in findings:
        numbers = (item.reference, item.found, item.found - item.reference, item.tolerance)
        mark = "ok" if item.ok else "[red]drift[/]"
        table.add_row(item.run, item.check, item.quantity, *(f"{value:.6g}" for value in numbers), mark)
    return table


# ------------------------------------------------------------------------------- new references


def update_references(method: str | None, console: Console, folder: Path = REFERENCE) -> Iterator[Path]:
    """Write the references of the scenes runs that lie in results/runs/, from their records and weights.

    Raises UserError where there is no such run, or its weights are no longer in the work folder.
    """
    deterministic()
    check_method(method)
    records = [
        record
        for record in read_all()
        if record.dataset.name == "scenes"
        and record.weights != "official"
        and method in (None, Path(record.recipe_path).parent.name)
    ]
    first: Mapping[str, RunRecord] = {record.run: record for record in reversed(records)}
    if not first:
        raise UserError("no scenes runs to make references from; run `nox -s reproduce` first")
    for run, record in sorted(first.items()):
        console.print(f"{run}, seed {record.seed}")
        path = reference_path("scenes", run, folder)
        write_reference(make_reference(record, path.with_suffix(".safetensors")), path)
        yield path


def make_reference(record: RunRecord, weights: Path) -> Reference:
    """The reference of a run; its weights are stored in half precision and scored as stored."""
    path = Path(record.recipe_path)
    recipe = load_recipe(path)
    full = FullTraining(seed=record.seed, metrics=record_metrics(record), tolerance=FULL_TOLERANCE)
    environment = collect("cpu", "float32")
    packages = {name: environment.packages[name] for name in ("torch", "timm", "transformers")}
    made_with: dict[str, str | int] = {
        **packages,
        "device": environment.device_name,
        "threads": environment.threads,
    }
    rescored = trace = None
    if not isinstance(recipe, EnsembleRecipe):
        job = prepare(path, recipe, record.seed, Settings())
        if job.digest != record.recipe_digest:
            raise UserError(
                f"{record.path.as_posix()}: made with another version of {path.as_posix()}; run it again"
            )
        best = job.folder / "best.safetensors"
        if best.is_file() and sha256_file(best) != record.weights_sha256:
            raise UserError(f"{best.as_posix()}: not the weights of {record.path.as_posix()}; run it again")
        store_half(best, weights)
        metrics, sims = rescore(job, weights)
        rescored = Rescored(
            weights_sha256=sha256_file(weights),
            metrics=metrics,
            metrics_tolerance=METRICS_TOLERANCE,
            sims=sims,
            sims_tolerance=SIMS_TOLERANCE,
        )
        trace = Trace(losses=first_steps(job), tolerance=LOSS_TOLERANCE)
    return Reference(
        recipe_path=record.recipe_path,
        recipe_digest=record.recipe_digest,
        rescored=rescored,
        trace=trace,
        full=full,
        made_with=made_with,
    )


def store_half(source: Path, target: Path) -> None:
    """Copy weights in float16: half the size in the repository; the reference scores are those of the copy."""
    from safetensors.torch import save

    state, _ = read_weights(source)
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    with replacing(target) as handle:
        handle.write(save(half))
