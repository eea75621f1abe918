"""New references: from the records of results/runs/ and their weights, or ranks alone from committed weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from rich.console import Console

from benchmark.checks.drift.check import (
    CPU,
    WIDER,
    Rescoring,
    check_method,
    choose,
    first_steps,
    job_of,
    path_of_kind,
    record_metrics,
    rescore,
    run_of,
    sample,
    weights_findings,
    widened,
)
from benchmark.checks.drift.ranks import retrieved, write_ranks
from benchmark.data.published.catalogue import get_entry
from benchmark.errors import UserError
from benchmark.files import replacing, sha256_file
from benchmark.places import REFERENCE
from benchmark.records.environment import collect
from benchmark.records.record import RunRecord, read_all
from benchmark.records.reference import (
    FullTraining,
    Reference,
    Rescored,
    Trace,
    reference_path,
    write_reference,
)
from benchmark.run.job import Job, Settings, prepare
from benchmark.run.runs import Run, RunReader
from benchmark.training import deterministic, read_weights

METRICS_TOLERANCE = 0.3  # one of 400 images is 0.25 points, one of 2,000 captions 0.05
SIMS_TOLERANCE = 1e-4
LOSS_TOLERANCE = 5e-3
FULL_TOLERANCE = 3.0  # another processor rounds otherwise, and a whole training is another one then


def update_references(
    method: str | None, console: Console, *, show_progress: bool = True, folder: Path = REFERENCE
) -> Iterator[Path]:
    """Write the references of the scenes runs that lie in results/runs/, from their records and weights.

    Raises UserError where there is no such run, or its weights are no longer in the work folder.
    """
    deterministic()
    check_method(method)
    records = [
        record
        for record in read_all()
        if get_entry(record.dataset.name).embedded
        and record.weights not in ("official", "pretrained")
        and method in (None, Path(record.recipe_path).parent.name)
    ]
    first: Mapping[str, RunRecord] = {record.run: record for record in reversed(records)}
    if not first:
        raise UserError("no scenes runs to make references from; run `nox -s reproduce` first")
    reader = RunReader()
    for name, record in sorted(first.items()):
        console.print(f"{name}, seed {record.seed}")
        path, run = reference_path(record.dataset.name, name, folder), reader.run(Path(record.recipe_path))
        reference = make_reference(record, run.with_seed(record.seed), path, show_progress=show_progress)
        write_reference(reference, path)
        yield path


def make_reference(record: RunRecord, run: Run, target: Path, *, show_progress: bool = True) -> Reference:
    """The reference of a run and its record, to be written to `target`; weights and ranks are laid beside it.

    The weights are stored in half precision and scored as stored.
    """
    rescored = trace = None
    if not run.members:
        job = prepare(run, Settings(show_progress=show_progress))
        if job.digest != record.recipe_digest:
            raise UserError(
                f"{record.path.as_posix()}: made with another version of {run.path.as_posix()}; run it again"
            )
        rescored = _rescored(job, record, target)
        trace = Trace(losses=first_steps(job), tolerance=LOSS_TOLERANCE)
    return Reference(
        recipe_path=record.recipe_path,
        recipe_digest=record.recipe_digest,
        rescored=rescored,
        trace=trace,
        full=FullTraining(seed=record.seed, metrics=record_metrics(record), tolerance=FULL_TOLERANCE),
        made_with=_made_with(),
    )


def _rescored(job: Job, record: RunRecord, target: Path) -> Rescored:
    """Copy the run's weights beside the reference and score them."""
    best, weights = job.folder / "best.safetensors", target.with_suffix(".safetensors")
    if best.is_file() and sha256_file(best) != record.weights_sha256:
        raise UserError(f"{best.as_posix()}: not the weights of {record.path.as_posix()}; run it again")
    store_half(best, weights)
    found = rescore(job, weights)
    return Rescored(
        weights_sha256=sha256_file(weights),
        metrics=found.metrics,
        metrics_tolerance=METRICS_TOLERANCE,
        sims=sample(found.sims),
        sims_tolerance=SIMS_TOLERANCE,
        ranks_sha256=_store_ranks(job, found, target),
    )


def _store_ranks(job: Job, found: Rescoring, target: Path) -> str:
    """Lay the ranks beside a reference; returns their sha256."""
    rule = job.recipe.evaluation.tie_rule
    return write_ranks(retrieved(found.sims, job.dataset.splits["test"], rule), target.with_suffix(".npz"))


def _made_with(device: torch.device = CPU) -> dict[str, str | int]:
    environment = collect(device, "float32")
    packages = {name: environment.packages[name] for name in ("torch", "timm", "transformers")}
    known: dict[str, str | int] = {
        **packages,
        "device": environment.device_name,
        "threads": environment.threads,
    }
    if device.type != "cpu":
        known |= {"kind": device.type, "compute_capability": environment.compute_capability or "none"}
    return known


def update_on(
    device: torch.device, method: str | None, *, show_progress: bool = True, folder: Path = REFERENCE
) -> Iterator[Path]:
    """Write references of another kind of device: the committed weights' scores and the first losses, found on it.

    Nothing is trained in full; those metrics stay the CPU's. Raises UserError where the scores are further from the
    CPU's than its wider tolerance: the device would be wrong, and not only another one.
    """
    deterministic()
    reader = RunReader()
    for path, reference in choose(method, folder):
        run = run_of(reference, reader)
        job = job_of(path, reference, run, Settings(device, show_progress=show_progress))
        wide, own = widened(reference).rescored, path_of_kind(path, device)
        if job is None or wide is None:
            continue
        found = rescore(job, path.with_suffix(".safetensors"), wide.weights_sha256)
        left = [item.quantity for item in weights_findings(path.stem, wide, found) if not item.ok]
        if left:
            raise UserError(f"{path.as_posix()}: {left[0]} is over {WIDER} times its tolerance on {device}")
        rescored = Rescored(
            weights_sha256=wide.weights_sha256,
            metrics=found.metrics,
            metrics_tolerance=METRICS_TOLERANCE,
            sims=sample(found.sims),
            sims_tolerance=SIMS_TOLERANCE,
            ranks_sha256=_store_ranks(job, found, own),
        )
        trace = Trace(losses=first_steps(job), tolerance=LOSS_TOLERANCE)
        made = {"rescored": rescored, "trace": trace, "made_with": _made_with(device)}
        write_reference(reference.model_copy(update=made), own)
        yield own


def store_half(source: Path, target: Path) -> None:
    """Copy weights in float16: half the size in the repository; the reference scores are made with the copy."""
    from safetensors.torch import save

    state, _ = read_weights(source)
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    with replacing(target) as handle:
        handle.write(save(half))


def update_ranks(
    method: str | None, *, show_progress: bool = True, folder: Path = REFERENCE
) -> Iterator[Path]:
    """Score the committed weights and lay their ranks beside the references, in place of those that are there.

    Nothing is trained. Raises UserError where the scores are no longer those of the reference: ranks of
    others would stand beside them.
    """
    deterministic()
    reader = RunReader()
    for path, reference in choose(method, folder):
        run = run_of(reference, reader)
        job = job_of(path, reference, run, Settings(show_progress=show_progress))
        if job is None or reference.rescored is None:
            continue
        found = rescore(job, path.with_suffix(".safetensors"), reference.rescored.weights_sha256)
        left = [
            item.quantity for item in weights_findings(path.stem, reference.rescored, found) if not item.ok
        ]
        if left:
            raise UserError(
                f"{path.as_posix()}: scores have left their tolerance ({left[0]}); see `rematch drift`"
            )
        digest = _store_ranks(job, found, path)
        rescored = reference.rescored.model_copy(update={"ranks_sha256": digest})
        write_reference(reference.model_copy(update={"rescored": rescored}), path)
        yield path
