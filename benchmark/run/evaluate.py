"""Trained or published weights without training: evaluate them, time them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmark import __version__
from benchmark.data.text.vocabulary import check_embedding
from benchmark.data.text.word_codec import KEPT
from benchmark.distributed.processes import processes
from benchmark.errors import UserError
from benchmark.evaluation.protocol import ProtocolResult
from benchmark.evaluation.ranking import Floats
from benchmark.evaluation.strips import whole_matrix
from benchmark.files import replacing
from benchmark.method import Baseline
from benchmark.recipe.faults import about
from benchmark.records.record import caption_rule, compiled_mark
from benchmark.records.signature import Signature
from benchmark.registry import get_method
from benchmark.run.job import Job, Settings, build_model, check_data, departures_of, prepare
from benchmark.run.lock import working
from benchmark.run.reproduce import evaluate_model, latency_of, results_of, score_split
from benchmark.run.runs import Run
from benchmark.timing.model import LatencyReport
from benchmark.training import WorkFolder, check_trained, deterministic, load_weights, read_weights
from benchmark.training.checkpoints import read_notes


@dataclass(frozen=True)
class Evaluated:
    """Weights on the test split of a recipe."""

    job: Job
    results: list[ProtocolResult]
    sims: Floats
    compiled: str | None = None
    """The signature's mark of weights from a training that compiles."""

    def signature(self) -> Signature:
        """The signature of the scores against the whole gallery."""
        test, recipe = self.job.dataset.splits["test"], self.job.recipe
        return Signature(
            dataset=self.job.dataset.name,
            fingerprint=test.fingerprint[:8],
            split="test",
            images=self.sims.shape[0],
            captions=self.sims.shape[1],
            rule=caption_rule(recipe.data.captions_per_image, every=recipe.data.every_caption),
            folds=1,
            ties=recipe.evaluation.tie_rule,
            ensemble="no",
            precision=recipe.evaluation.precision,
            version=__version__,
            features=self.job.dataset.features,
            compiled=self.compiled,
        )


def evaluate_weights(
    run: Run,
    settings: Settings,
    checkpoint: Path | None,
    official: Path | None,
    save_sims: Path | None,
    console: Console | None,
) -> Evaluated:
    """Evaluate weights on a run's test split; only an authors' checkpoint leaves a run record.

    Raises UserError for an ensemble, and where the weights are missing, damaged or of another model.
    """
    if checkpoint is not None and official is not None:
        raise UserError("options '--checkpoint' and '--official-checkpoint': give one of them")
    console = console or Console(quiet=True)
    deterministic()
    if settings.vocabulary is None and checkpoint is not None and (checkpoint.parent / KEPT).is_file():
        settings = replace(settings, vocabulary=checkpoint.parent / KEPT)
    method = get_method(run.single.method)
    with about(run.path):
        check_data(run.single.data)
    if official is not None and method.read_official is None:
        raise UserError(f"{method.name} has no reader for its authors' checkpoints; use --checkpoint")
    if official is not None and not official.is_file():
        raise UserError(f"{official.as_posix()}: no such file")
    untrained = not run.single.training.stages and checkpoint is None and official is None
    if official is None and not untrained:  # before data are loaded and a model is built
        said = check_weights(settings.folder(run.dataset, run.name, run.seed), checkpoint)
        if said is not None:
            console.print(said, highlight=False, markup=False, soft_wrap=True)
    now = processes()
    with now.in_turn():
        job = prepare(run, settings, splits=("test",))
    model = build_model(job, pretrained=untrained)
    if official is not None:
        results, sims = _evaluate_official(job, model, official, console)
    elif untrained:
        strip = score_split(job, model, "test", show_progress=settings.show_progress).sims
        results, sims = results_of(job, strip), whole_matrix(strip)
    else:
        weights = checkpoint or job.folder / "best.safetensors"
        check_words(job, model, weights)
        trained_with = load_weights(weights, model).get("recipe_digest")
        if trained_with not in (None, job.digest):
            console.print(
                f"note: {weights.as_posix()} were not trained with this recipe as it is now", markup=False
            )
        strip = score_split(job, model, "test", show_progress=settings.show_progress).sims
        results, sims = results_of(job, strip), whole_matrix(strip)
    for reason in departures_of(job):
        console.print(f"not comparable with the paper: {reason}", highlight=False, markup=False)
    if save_sims is not None and now.first:
        with replacing(save_sims) as handle:
            np.save(handle, sims)
        console.print(f"wrote {save_sims.as_posix()}", highlight=False, markup=False)
    ours = official is None and not untrained
    return Evaluated(job, results, sims, compiled_mark(job.recipe.model_dump()) if ours else None)


def _evaluate_official(
    job: Job, model: Baseline, official: Path, console: Console
) -> tuple[list[ProtocolResult], Floats]:
    """Evaluate an authors' checkpoint, and write its record."""
    settings, now = job.settings, processes()
    notes = load_official(job, model, official)
    for line in notes:
        console.print(line, highlight=False, markup=False)
    where = (job.dataset.name, f"{job.run.name}-official", job.run.seed)
    with ExitStack() as held:
        with now.in_turn():
            if now.first:
                held.enter_context(working(settings.folder(*where), settings.record(*where)))
        _, results, sims = evaluate_model(job, model, None, official=official, notes=notes)
    return results, sims


def check_weights(trained: Path, checkpoint: Path | None) -> str | None:
    """Compare weights with the checkpoint of their training, where one lies beside them.

    trained: the work folder of the last training. checkpoint: weights that the user names; None: those in there.
    Returns what to say where the last training has none. Raises UserError where they differ or are no whole file.
    """
    if checkpoint is None:
        return check_trained(trained)
    read_notes(checkpoint)
    folder = WorkFolder(checkpoint.parent)
    if checkpoint == folder.best and folder.checkpoint.is_file():
        return check_trained(folder.root)
    return None


def check_words(job: Job, model: Baseline, weights: Path) -> None:
    """Raise UserError where the weights' word embedding has another size than the vocabulary."""
    title = job.codec.given_vocabulary
    if title is None:
        return
    state, _ = read_weights(weights)
    for name, ours in model.state_dict().items():
        found = state.get(name)
        if found is None or not ours.dim() or len(ours) != job.codec.vocab_size:
            continue
        if found.shape[1:] == ours.shape[1:]:
            check_embedding(len(ours), title, len(found), weights.as_posix())


def load_official(job: Job, model: Baseline, path: Path) -> list[str]:
    """Put an authors' checkpoint into the model; returns what the record says about the translation.

    Raises UserError where the method reads none, or the checkpoint lacks a part of the model.
    """
    assert job.method.read_official is not None, "checked before the model was built"
    weights = job.method.read_official(path, model)
    if weights.missing or weights.unexpected:
        first = [*weights.missing, *weights.unexpected][0]
        raise UserError(
            f"{path.as_posix()}: {len(weights.missing)} keys of the model are missing and {len(weights.unexpected)} "
            f"are unknown, the first '{first}'; is this a checkpoint of {job.method.name} at the recipe's size?"
        )
    model.load_state_dict(weights.state)
    return [
        f"authors' checkpoint: {len(weights.state)} tensors loaded, {len(weights.dropped)} recomputed ones left out"
    ]


def time_weights(run: Run, settings: Settings, repeats: int) -> tuple[LatencyReport, str]:
    """Latency of a run's model, and in words which weights it had; speed does not depend on them."""
    deterministic()
    job = prepare(run, settings, splits=("test",))
    model = build_model(job, pretrained=False)
    trained = job.folder / "best.safetensors"
    if trained.is_file():
        load_weights(trained, model)
    scored = score_split(job, model, "test", show_progress=False, keep_codes=True)
    report = latency_of(job, model, scored, repeats)
    return report, "of the last training" if trained.is_file() else "random (not trained yet)"
