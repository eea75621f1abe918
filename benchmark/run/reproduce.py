"""The whole story on one page: recipe -> data -> train -> evaluate -> record.

`reproduce` runs one recipe with one seed and leaves a run record and its sidecar in results/runs/, and the
checkpoint, the log and the similarity matrix in the work folder. Tables are made from the records alone
(`rematch leaderboard`).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import __version__
from benchmark.batches import Codes, ImageBatch
from benchmark.data.batches import Wanted, caption_batches, encoded, every_batch, image_batches
from benchmark.data.splits import SplitName
from benchmark.data.text.word_codec import WORDS_DIFFER
from benchmark.distributed.processes import Processes, processes, set_processes
from benchmark.errors import UserError
from benchmark.evaluation.encoding import encode_captions
from benchmark.evaluation.footprint import measure_footprint
from benchmark.evaluation.metrics import retrieval_metrics
from benchmark.evaluation.protocol import ProtocolResult, ensemble, evaluate, protocols_of
from benchmark.evaluation.ranking import Floats, top_k
from benchmark.evaluation.scoring import score_batches, score_together
from benchmark.evaluation.strips import Strip, rank_any, top_k_any, whole_matrix
from benchmark.files import replacing, sha256_bytes, sha256_file, write_text
from benchmark.memory import GIGABYTE, MEGABYTE, free_on_host
from benchmark.method import Baseline
from benchmark.recipe.faults import about
from benchmark.records.collect import dataset_part, make_sidecar, protocol_part, training_part
from benchmark.records.environment import collect
from benchmark.records.record import RunRecord, binding, compiled_mark, new_record, read_record, write_record
from benchmark.records.sidecar import pack, write_sidecar
from benchmark.run.job import (
    DTYPES,
    Job,
    Settings,
    build_model,
    departures_of,
    precision_departure,
    prepare,
    reconstruction,
)
from benchmark.run.lock import working
from benchmark.run.runs import Run
from benchmark.timing.model import LEAST_REPEATS, LatencyReport, measure_latency
from benchmark.training import TrainingResult, deterministic, train
from benchmark.training.checkpoints import weight_bytes
from benchmark.training.log import epoch_line
from benchmark.training.trackers import Tracked, Trackers, say_on_stderr

MATRIX = "sims.npy"
"""Similarities of the test split, in the work folder; `sims.json` beside it says of which run they are."""


SHARE = 0.5
"""Of the host's free memory, for codes of images that are kept once they are scored, to time the model with."""


@dataclass(frozen=True)
class Scored:
    """A split's scores, and the codes they come from."""

    sims: Floats | Strip
    """(n_images, n_captions); where several processes make the run, this one's rows."""
    images: Codes
    """Those of the first images, as many as were kept."""
    captions: Codes
    plan: dict[str, Any]


def reproduce(run: Run, settings: Settings) -> RunRecord:
    """Train and evaluate a run; an ensemble's members are run first where they have no result yet.

    Raises UserError for whatever a user can put right.
    """
    now = processes()
    if run.members and now.alone:
        return reproduce_ensemble(run, settings)
    if run.members:
        for member in run.members:
            own = member.with_seed(run.seed)
            if now.on_first(lambda own=own: find_member(own, settings)[0] is None):  # type: ignore[misc]
                reproduce(own, settings)
        return now.on_first(lambda: _alone(run, settings))
    deterministic()
    with now.in_turn():
        job = prepare(run, settings)
    with ExitStack() as held:
        with now.in_turn():
            if now.first:
                held.enter_context(working(job.folder, settings.record(run.dataset, run.name, run.seed)))
            model = build_model(job, pretrained=job.recipe.pretrained)
        with about(run.path):
            check_memory(job, model)
            result = train_model(job, model) if job.recipe.training.stages else None
        return now.of_first(evaluate_model(job, model, result)[0])


def _alone(run: Run, settings: Settings) -> RunRecord:
    """Make an ensemble in this process, while others wait; its members have been made together."""
    together = processes()
    set_processes(Processes())
    try:
        return reproduce_ensemble(run, settings)
    finally:
        set_processes(together)


def train_model(job: Job, model: Baseline) -> TrainingResult:
    """Train as the recipe says; the model then holds the best weights."""
    training, settings, log = job.training, job.settings, job.settings.log
    if not training.stages:
        raise UserError(
            f"{job.run.path.as_posix()}: field 'training': found none, so there is nothing to train"
        )

    def validate() -> dict[str, float]:
        sims = score_split(job, model, "val", show_progress=False).sims
        split = job.dataset.splits["val"]
        return retrieval_metrics(rank_any(sims, split.caption_image, job.recipe.evaluation.tie_rule)).values()

    tracked = Tracked(
        f"{job.dataset.name}/{job.run.name}/{job.seed}",
        settings.work / "logs",
        job.resolved(),
        settings.device,
    )

    def show(entry: dict[str, Any]) -> None:
        trackers.log(entry)
        if log is not None:
            log(epoch_line(entry, training.epochs))

    with Trackers(settings.trackers, tracked, log or say_on_stderr) as trackers:
        return train_with(job, model, validate, show)


def train_with(
    job: Job,
    model: Baseline,
    validate: Callable[[], dict[str, float]],
    on_epoch: Callable[[dict[str, Any]], None],
) -> TrainingResult:
    """Train as the recipe says, in the run's folder; `on_epoch` gets each entry of the log."""
    training, settings = job.training, job.settings
    return train(
        model,
        training=training,
        loss_type=job.method.loss,
        make_batches=job.batches,
        validate=None if training.select == "last" else validate,
        work_dir=job.folder,
        resume=settings.resume,
        device=settings.device,
        recipe_digest=job.digest,
        recipe=binding(job.resolved()) | {"data_fingerprint": job.dataset.fingerprint},
        lay_beside=job.keep_vocabulary,
        show_progress=None if settings.show_progress else False,
        on_epoch=on_epoch,
    )


def check_memory(job: Job, model: Baseline) -> None:
    """Raise UserError where the host lacks the memory to score the test split: now, and not after the last epoch."""
    split, how = job.dataset.splits["test"], job.recipe.evaluation
    found, free = (
        measure_footprint(
            model,
            job.spec,
            n_images=len(split),
            n_captions=len(split.captions),
            longest=int(encoded(split, job.codec)[1].max()),
            batch_size=how.batch_size,
            memory_bytes=how.memory_mb * MEGABYTE,
            dtype=DTYPES[how.precision],
            device=job.settings.device,
        ),
        free_on_host(),
    )
    if free is not None and found.host > free:
        raise UserError(
            f"evaluation: scoring the {len(split):,} test images takes about {found.host / GIGABYTE:.1f} GiB of the "
            f"host's memory ({found.captions / GIGABYTE:.1f} for the codes of captions), found "
            f"{free / GIGABYTE:.1f} GiB free; close other programs, or cut the split: data.first_images.test"
        )


def score_split(
    job: Job, model: Baseline, split: SplitName, *, show_progress: bool, keep_codes: bool = False
) -> Scored:
    """Encode a split once and score all its pairs in blocks.

    keep_codes: those of images come back too, as many as fit into a share of the host's free memory.
    """
    settings, how, data = job.settings, job.recipe.evaluation, job.dataset.splits[split]
    dtype = DTYPES[how.precision]
    captions = encode_captions(
        model,
        caption_batches(data, job.spec, job.codec, batch_size=how.batch_size),
        len(data.captions),
        settings.device,
        dtype,
        show_progress,
    )
    free = free_on_host()
    now, device = processes(), settings.device
    options: dict[str, Any] = {
        "memory_bytes": how.memory_mb * MEGABYTE,
        "device": device,
        "dtype": dtype,
        "keep_bytes": 0 if not keep_codes else sys.maxsize if free is None else int(SHARE * free),
        "show_progress": show_progress,
    }
    sizes: dict[str, int] = {"batch_size": how.batch_size, "workers": job.recipe.training.workers}

    def load(wanted: Wanted) -> Iterator[ImageBatch]:
        return image_batches(data, job.spec, **sizes, device=device, wanted=wanted)

    sims: Floats | Strip
    if now.alone:
        sims, plan, images = score_batches(model, load(every_batch), len(data), captions, **options)
    else:
        sims, plan, images = score_together(model, load, len(data), captions, now=now, **options)
    return Scored(sims, images, captions, plan.summary())


def evaluate_model(
    job: Job,
    model: Baseline,
    training: TrainingResult | None,
    *,
    official: Path | None = None,
    notes: list[str] | None = None,
) -> tuple[RunRecord, list[ProtocolResult], Floats]:
    """Score the test split under every protocol of the dataset, measure latency and write the record."""
    begin = time.perf_counter()
    scored = score_split(
        job, model, "test", show_progress=job.settings.show_progress, keep_codes=job.settings.latency
    )
    results = results_of(job, scored.sims)
    seconds = {"evaluation": time.perf_counter() - begin}
    if training is not None:
        seconds["training"] = training.wall_seconds
    packed = pack(
        make_sidecar(
            results, top_k_any(scored.sims, 10), job.dataset.splits["test"], training.log if training else []
        )
    )
    if official is not None:
        weights_sha256 = sha256_file(official)
    else:  # weights that were not trained here are named by what they are as a file of ours
        weights_sha256 = training.weights_sha256 if training else sha256_bytes(weight_bytes(model, {}))
    timed = job.settings.latency and processes().first
    record = new_record(
        run=job.run.name if official is None else f"{job.run.name}-official",
        seed=job.seed,
        method=job.method.name,
        recipe_path=job.run.path.as_posix(),
        recipe=job.resolved(),
        departures=[*departures_of(job), *([] if official else precision_departure(job))],
        weights="official" if official else "trained" if training else "pretrained",
        weights_sha256=weights_sha256,
        dataset=dataset_part(job.dataset, job.recipe.data.captions_each),
        codec=job.codec.identity,
        transform=job.spec.image.identity,
        score_precision=job.recipe.evaluation.precision,
        version=__version__,
        results={result.protocol.name: protocol_part(result) for result in results},
        training=training_part(training, job.recipe.training.select) if training else None,
        block_plan=scored.plan,
        sidecar_sha256=sha256_bytes(packed),
        notes=[*job.dataset.notes, *(notes or []), *devices_note(training)],
        wall_seconds=seconds,
        latency=latency_of(job, model, scored).record_fields() if timed else None,
        environment=collect(job.settings.device, job.recipe.training.precision),
    )
    sims = whole_matrix(scored.sims)
    if processes().first:
        _write(record, packed, sims, job.settings)
    return record, results, sims


def devices_note(training: TrainingResult | None) -> list[str]:
    """Name the devices of a training that went on elsewhere; processors alone count as one machine's."""
    devices = () if training is None else training.devices
    if len(devices) < 2 or all(name.startswith(("cpu:", "unknown")) for name in devices):
        return []
    return [f"training went on on another device: {', then '.join(devices)}"]


def latency_of(job: Job, model: Baseline, scored: Scored, repeats: int = LEAST_REPEATS) -> LatencyReport:
    """Latency of the model against the whole test gallery."""
    split, how = job.dataset.splits["test"], job.recipe.evaluation
    return measure_latency(
        model,
        next(iter(image_batches(split, job.spec, batch_size=how.batch_size))),
        next(iter(caption_batches(split, job.spec, job.codec, batch_size=how.batch_size))),
        scored.images,
        scored.captions,
        device=job.settings.device,
        memory_bytes=how.memory_mb * MEGABYTE,
        repeats=repeats,
        n_images=len(split),
    )


# ------------------------------------------------------------------------------------- ensembles


def reproduce_ensemble(run: Run, settings: Settings) -> RunRecord:
    """The mean of the members' similarity matrices, under the protocols of their dataset.

    Raises UserError where another process works on a member that must be trained, or on the ensemble.
    """
    begin = time.perf_counter()
    members = [member_of(member.with_seed(run.seed), settings) for member in run.members]
    records, jobs = [member.record for member in members], [member.job for member in members]
    # a guide is something that a model reads of the same images
    shown = {replace(job.dataset.splits["test"], guides=None).fingerprint for job in jobs}
    rules = {result.tie_rule for record in records for result in record.results.values()}
    if len(shown) > 1 or len(rules) > 1:
        raise UserError(
            f"{run.path.as_posix()}: the members were not evaluated on the same test split in the same way"
        )
    where = (run.dataset, run.name, run.seed)
    with working(settings.folder(*where), settings.record(*where)):
        sims = ensemble([member.sims for member in members])
        results = results_of(jobs[0], sims)
        packed = pack(make_sidecar(results, top_k(sims, 10), jobs[0].dataset.splits["test"], []))
        seconds = time.perf_counter() - begin
        record = _ensemble_record(run, jobs, records, results, packed, seconds)
        _write(record, packed, sims, settings)
    return record


def _ensemble_record(
    run: Run,
    jobs: list[Job],
    members: list[RunRecord],
    results: list[ProtocolResult],
    packed: bytes,
    seconds: float,
) -> RunRecord:
    """The record of an ensemble; `jobs` are its members' with their test splits."""
    job, settings = jobs[0], jobs[0].settings
    datasets = [member.dataset for member in jobs]
    of_data = dict.fromkeys(reason for dataset in datasets for reason in dataset.departures)
    theirs = [reason for member in members for reason in member.departures]
    words = dict.fromkeys(reason for reason in theirs if reason.startswith(WORDS_DIFFER))
    return new_record(
        run=run.name,
        seed=run.seed,
        method="+".join(dict.fromkeys(record.method for record in members)),
        recipe_path=run.path.as_posix(),
        recipe=run.recipe.model_dump(mode="json") | run.named_profile(),
        departures=[*reconstruction(job.method), *of_data, *run.recipe.departures, *words],
        weights="members",
        members=[_member_part(record) for record in members],
        dataset=dataset_part(job.dataset, job.recipe.data.captions_each),
        codec=" + ".join(dict.fromkeys(record.codec for record in members)),
        transform=" + ".join(dict.fromkeys(filter(None, (record.transform for record in members)))) or None,
        score_precision="float64",
        version=__version__,
        results={result.protocol.name: protocol_part(result) for result in results},
        block_plan={},
        sidecar_sha256=sha256_bytes(packed),
        notes=list(dict.fromkeys(note for dataset in datasets for note in dataset.notes)),
        wall_seconds={"evaluation": seconds},
        environment=collect(settings.device, "float64"),
    )


@dataclass(frozen=True)
class Member:
    """A member of an ensemble: its record, its scores, and its job with the test split alone."""

    record: RunRecord
    sims: Floats
    job: Job


def member_of(run: Run, settings: Settings) -> Member:
    """A member of an ensemble, from its last run where record and matrix are sound, else from a new one.

    Its test split is loaded once, but for the training of a new run. A training that was interrupted is taken up with
    `resume` only: its recipe may have changed since.
    """
    found, job = find_member(run, settings)
    if found is not None:
        return found
    record = reproduce(run, settings)
    matrix = settings.folder(run.dataset, run.name, run.seed) / MATRIX
    sims = _read_matrix(matrix, record)
    if sims is None:
        raise UserError(f"{matrix.as_posix()}: found another matrix than this run wrote; run again")
    return Member(record, sims, job or prepare(run, settings, splits=("test",)))


def find_member(run: Run, settings: Settings) -> tuple[Member | None, Job | None]:
    """A member from its last run, None where that is not there or not sound; and its job, where one was made."""
    where = (run.dataset, run.name, run.seed)
    matrix, stored = settings.folder(*where) / MATRIX, settings.record(*where)
    job = None
    if stored.is_file():
        record = read_record(stored)
        job = prepare(run, settings, splits=("test",))
        theirs = (record.recipe_digest, record.dataset.splits["test"].fingerprint, record.transform)
        same = theirs == (job.digest, job.dataset.splits["test"].fingerprint, job.spec.image.identity)
        named = settings.vocabulary is not None  # it may be another than that of the last run
        same = same and (not named or job.codec.identity == record.codec)
        sims = _read_matrix(matrix, record) if same else None
        if sims is not None:
            return Member(record, sims, job), job
    return None, job


def _read_matrix(path: Path, record: RunRecord) -> Floats | None:
    """The matrix that a record was made of; None where it is lost, damaged or of another run."""
    try:
        with path.open("rb") as handle:  # one open file, whatever takes its place meanwhile
            found = hashlib.file_digest(handle, "sha256").hexdigest()
            if path.with_suffix(".json").read_text(encoding="utf-8") != _matrix_facts(record, found):
                return None
            handle.seek(0)
            sims: Floats = np.load(handle, allow_pickle=False)
            return sims
    except (OSError, UnicodeDecodeError):
        return None


def _member_part(record: RunRecord) -> dict[str, Any]:
    names = ("run", "seed", "recipe_digest", "canonical_hash", "departures")
    own = {name: getattr(record, name) for name in names}
    return own | {"compiled": compiled_mark(record.recipe) if record.weights == "trained" else None}


# ----------------------------------------------------------------------------------------- files


def results_of(job: Job, sims: Floats | Strip) -> list[ProtocolResult]:
    """Every protocol of the dataset over one matrix, scaled to a test split that is not the whole published one."""
    test = job.dataset.splits["test"]
    partial = job.recipe.data.first_images.test is not None or job.dataset.departures
    size, rule = len(test) if partial else None, job.recipe.evaluation.tie_rule
    protocols = protocols_of(job.dataset.name)
    return [evaluate(sims, test.caption_image, protocol, rule, n_images=size) for protocol in protocols]


def _write(record: RunRecord, packed: bytes, sims: Floats, settings: Settings) -> None:
    """Similarity matrix to the work folder, then the sidecar, last the record that vouches for both."""
    matrix = settings.folder(record.dataset.name, record.run, record.seed) / MATRIX
    with replacing(matrix) as handle:
        np.save(handle, sims)
    write_text(matrix.with_suffix(".json"), _matrix_facts(record, sha256_file(matrix)))
    write_sidecar(packed, record, settings.runs)
    write_record(record, settings.runs)


def _matrix_facts(record: RunRecord, sha256: str) -> str:
    """The text beside a matrix, which tells its run and proves that it is whole."""
    return json.dumps({"canonical_hash": record.canonical_hash, "sha256": sha256})
