"""The first level: scores of the committed weights, losses of the first steps, metrics of whole trainings.

All of it runs on the CPU, where the references were made, or on another device, which is held against references of
its kind, or for want of those against the CPU's, with a wider tolerance. The second level, ranks, comes with the
weights, and the third, new seeds, after the trainings.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.progress import track

from benchmark.checks.drift.findings import Finding, Report, worst
from benchmark.checks.drift.ranks import compare_ranks, read_ranks
from benchmark.checks.drift.seeds import ENOUGH, committed_and_new, seed_findings, too_few
from benchmark.devices import compute_capability
from benchmark.errors import UserError, nearest
from benchmark.evaluation.ranking import Floats
from benchmark.evaluation.strips import whole_matrix
from benchmark.files import sha256_file
from benchmark.places import REFERENCE, RUNS, listing, locate
from benchmark.records.record import RunRecord, read_all
from benchmark.records.reference import Reference, Rescored, Trace, read_reference
from benchmark.registry import method_names
from benchmark.run.job import Job, Settings, build_model, prepare
from benchmark.run.reproduce import reproduce, results_of, score_split
from benchmark.run.runs import Run, RunReader
from benchmark.training import deterministic, first_losses, read_weights

STEPS = 20
LEAST_STEPS = 3
SAMPLE = 256
WIDER = 10
"""Times the tolerance of a CPU's reference that a GPU is held against: it sums in another order."""
CPU = torch.device("cpu")
METRICS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum")

Chosen = list[tuple[Path, Reference]]
"""References with their files."""


@dataclass(frozen=True)
class Trainings:
    """The trainings to run again, after the checks of the committed weights."""

    full: bool = False
    """Train the seed of each reference; its metrics are held against the reference's."""
    seeds: tuple[int, ...] = ()
    """Train these seeds; they are held against the committed seeds."""


def run_drift(
    method: str | None,
    trainings: Trainings | None = None,
    *,
    show_progress: bool,
    folder: Path = REFERENCE,
    device: torch.device = CPU,
) -> Report:
    """Compare every reference of `method` (None: all methods) with what this machine computes now, on `device`.

    Raises UserError where there is no reference, or one belongs to another version of its recipe.
    """
    deterministic()
    chosen, reader = choose(method, folder), RunReader()
    report, trainings = Report(), trainings or Trainings()
    for path, reference in track(chosen, "drift", disable=not show_progress, transient=True):
        run = run_of(reference, reader)
        check_reference(path, reference, run, report, Settings(device, show_progress=show_progress))
    ordered = sorted(chosen, key=lambda item: item[1].rescored is None)  # ensembles find their members made
    with tempfile.TemporaryDirectory() as scratch:
        if trainings.full:
            settings = in_scratch(Path(scratch) / "full", show_progress, device)
            for path, reference in ordered:
                report.findings += check_training(path.stem, reference, run_of(reference, reader), settings)
        if trainings.seeds:
            settings = in_scratch(Path(scratch) / "seeds", show_progress, device)
            report.findings += train_seeds(ordered, trainings.seeds, settings, reader)
    return report


def train_seeds(chosen: Chosen, seeds: Sequence[int], settings: Settings, reader: RunReader) -> list[Finding]:
    """Train new seeds of all runs whose committed seeds can decide, and test them; of the others say why not."""
    committed = read_all()
    trained: list[RunRecord] = []
    undecided = []
    for path, reference in chosen:
        theirs = [r for r in committed if (r.dataset.name, r.run) == (path.parent.name, path.stem)]
        double = sorted({record.seed for record in theirs} & set(seeds))
        if double:
            raise UserError(
                f"{path.stem}: seed {double[0]} is among the committed ones, which new seeds are held against; "
                "name others, or repeat a committed training with --full"
            )
        if len(theirs) < ENOUGH:
            undecided.append(too_few(path.stem, theirs))
        else:
            run = run_of(reference, reader)
            trained += [reproduce(run.with_seed(seed), settings) for seed in seeds]
    return [*seed_findings(committed, trained), *undecided]


def compare_seeds(method: str | None, runs: Path) -> Report:
    """The third level alone: the records below `runs` against the committed ones; nothing is trained."""
    check_method(method)
    if not runs.is_dir() or runs.resolve() == RUNS.resolve():
        raise UserError(
            f"{runs.as_posix()}: name a folder of new run records, laid out as {RUNS.as_posix()} is"
        )
    return Report(seed_findings(*committed_and_new(read_all(), read_all(runs), runs, method)))


def choose(method: str | None, folder: Path) -> Chosen:
    """The references of a method, or all; raises UserError where there are none."""
    check_method(method)
    references = [(path, read_reference(path)) for path in listing(folder, "*/*.json")]
    chosen = [(p, r) for p, r in references if method in (None, Path(r.recipe_path).parent.name)]
    if not chosen:
        raise UserError(
            f"{folder.as_posix()}: no reference for {method or 'any method'}; train a recipe for scenes "
            f"(`rematch reproduce {method or 'METHOD'} scenes`), then `rematch drift {method or 'METHOD'} --update`"
        )
    return chosen


def check_method(method: str | None) -> None:
    """Raise UserError for a method that there is not; None is all of them."""
    if method is not None and method not in method_names():
        raise UserError(f"unknown method '{method}'{nearest(method, method_names())}")


def check_reference(
    path: Path, reference: Reference, its_run: Run, report: Report, settings: Settings
) -> None:
    """Weights, ranks and first steps of one reference; an ensemble has none of them."""
    job = job_of(path, reference, its_run, settings)
    ranks_path, reference, note = of_kind(path, reference, settings.device)
    rescored, trace, run = reference.rescored, reference.trace, path.stem
    if job is None or rescored is None or trace is None:
        return
    ranks = read_ranks(ranks_path.with_suffix(".npz"), rescored.ranks_sha256)
    found = rescore(job, path.with_suffix(".safetensors"), rescored.weights_sha256)
    findings = weights_findings(run, rescored, found)
    rule = job.recipe.evaluation.tie_rule
    test = job.dataset.splits["test"]
    finding, changes = compare_ranks(run, ranks, found.sims, test, rescored.sims_tolerance, rule)
    if finding.found:
        report.queries[run] = changes
    findings += [finding, trace_finding(run, trace, job)]
    report.findings += [replace(item, note="; ".join(filter(None, (item.note, note)))) for item in findings]


def path_of_kind(path: Path, device: torch.device) -> Path:
    """Where the reference of another kind of device lies: the CPU's is at `path`, `<folder>/<dataset>/<run>.json`."""
    return path if device.type == "cpu" else path.parents[1] / device.type / path.parent.name / path.name


def of_kind(path: Path, reference: Reference, device: torch.device) -> tuple[Path, Reference, str]:
    """The reference to hold a device against, its path, and what to say of it.

    A GPU's own, where there is one; else the CPU's, with tolerances that are `WIDER`.
    """
    own = path_of_kind(path, device)
    if own == path:
        return path, reference, ""
    if locate(own).is_file():
        made, here = read_reference(own), compute_capability(device)
        theirs = made.made_with.get("compute_capability")
        return own, made, "" if theirs == here else f"made on compute capability {theirs}, this is {here}"
    return path, widened(reference), f"held against the CPU's reference: {WIDER} times its tolerance"


def widened(reference: Reference) -> Reference:
    """The reference with wider tolerances of scores and losses."""
    rescored, trace = reference.rescored, reference.trace
    if rescored is None or trace is None:
        return reference
    names = ("metrics_tolerance", "sims_tolerance")
    wider = rescored.model_copy(update={name: WIDER * getattr(rescored, name) for name in names})
    steps = trace.model_copy(update={"tolerance": WIDER * trace.tolerance})
    return reference.model_copy(update={"rescored": wider, "trace": steps})


def trace_finding(run: str, trace: Trace, job: Job) -> Finding:
    """Losses of the first steps.

    A training may amplify rounding, which is another for every processor and number of threads: HAT's thirtyfold
    a step. Where losses leave the tolerance, the steps are repeated from weights that differ in their last bit;
    those from the first that this moves by a tenth of the tolerance cannot tell a change from rounding, and are left
    out. At least `LEAST_STEPS` count.
    """
    tolerance = trace.tolerance * max(abs(loss) for loss in trace.losses)
    losses = first_steps(job)
    finding = worst(run, "first steps", "loss", trace.losses, losses, tolerance)
    if finding.ok or len(losses) < len(trace.losses):
        return finding
    apart = [abs(a - b) for a, b in zip(losses, first_steps(job, nudged=True), strict=True)]
    firm = next((step for step, off in enumerate(apart) if off > tolerance / 10), len(trace.losses))
    firm = max(firm, LEAST_STEPS)
    found = worst(run, "first steps", "loss", trace.losses[:firm], losses[:firm], tolerance)
    note = f"rounding moves the losses from step {firm} on" if firm < len(trace.losses) else ""
    return replace(found, note=note)


def weights_findings(run: str, reference: Rescored, found: Rescoring) -> list[Finding]:
    """Metrics and similarities of the weights, without their ranks."""
    findings = [
        Finding(run, "weights", name, value, found.metrics[name], reference.metrics_tolerance * _parts(name))
        for name, value in reference.metrics.items()
    ]
    sims = sample(found.sims)
    return [*findings, worst(run, "weights", "similarity", reference.sims, sims, reference.sims_tolerance)]


def run_of(reference: Reference, reader: RunReader) -> Run:
    """The run that a reference was made of."""
    return reader.run(Path(reference.recipe_path)).with_seed(reference.full.seed)


def job_of(path: Path, reference: Reference, run: Run, settings: Settings) -> Job | None:
    """The job that a reference is about; None for an ensemble. Raises UserError where its recipe has changed since."""
    if run.members or reference.rescored is None:
        return None
    job = prepare(run, settings)
    if job.digest != reference.recipe_digest:
        raise UserError(
            f"{path.as_posix()}: made for another version of {reference.recipe_path}; "
            "run the recipe again, then `rematch drift --update`"
        )
    return job


@dataclass(frozen=True)
class Rescoring:
    """The scores of a set of weights on the test split."""

    metrics: dict[str, float]
    sims: Floats
    """(n_images, n_captions)."""


def rescore(job: Job, weights: Path, sha256: str | None = None) -> Rescoring:
    """Score the weights on the test split; raises UserError where they are missing or others."""
    weights = locate(weights)
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
    sims = whole_matrix(score_split(job, model, "test", show_progress=False).sims)
    metrics = results_of(job, sims)[0].metrics.values()
    return Rescoring({name: metrics[name] for name in METRICS}, sims)


def sample(sims: Floats) -> list[float]:
    """Similarities evenly spread over the matrix; the step has no factor in common with a row: all columns differ."""
    flat = sims.ravel()
    step = max(1, flat.size // SAMPLE)
    while math.gcd(step, sims.shape[1]) > 1:
        step += 1
    return [float(value) for value in flat[::step][:SAMPLE]]


def first_steps(job: Job, *, nudged: bool = False) -> list[float]:
    """Losses of the first steps of the recipe's training, from freshly drawn weights; `nudged`: by one bit each."""
    model = build_model(job, pretrained=False)
    if nudged:
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1 + torch.finfo(weight.dtype).eps)
    return first_losses(
        model,
        training=job.training,
        loss_type=job.method.loss,
        make_batches=job.batches,
        device=job.settings.device,
        max_steps=STEPS,
    )


def in_scratch(folder: Path, show_progress: bool, device: torch.device = CPU) -> Settings:
    """Trainings that leave nothing behind."""
    return Settings(
        device, work=folder / "work", runs=folder / "runs", latency=False, show_progress=show_progress
    )


def check_training(name: str, reference: Reference, run: Run, settings: Settings) -> Sequence[Finding]:
    """The whole training; an ensemble, coming last, finds its members in the folder of `settings`."""
    found = record_metrics(reproduce(run, settings))
    tolerance = reference.full.tolerance
    return [
        Finding(name, "training", metric, value, found[metric], tolerance * _parts(metric))
        for metric, value in reference.full.metrics.items()
    ]


def record_metrics(record: RunRecord) -> dict[str, float]:
    """Metrics of the record's first protocol."""
    metrics = next(iter(record.results.values())).metrics
    return {name: metrics.value(name) for name in METRICS}


def _parts(metric: str) -> int:
    return 6 if metric == "rsum" else 1
