"""Running a study: the plan, the missing runs, and the results.

Every run goes through the functions that `reproduce` is made of and leaves a small file in the work folder; a run
that has one is not made again, so a study that was killed goes on. When all runs are there,
results/studies/<name>.json and its tables can be written.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from benchmark import __version__
from benchmark.data.splits import Split
from benchmark.errors import UserError, nearest
from benchmark.files import sweep
from benchmark.places import STUDIES, WORK
from benchmark.records.parts import METRICS
from benchmark.records.record import RunRecord, tidy
from benchmark.records.study import (
    RunFile,
    StudyResults,
    StudyRun,
    VariantFacts,
    gather,
    read_part,
    write_part,
)
from benchmark.records.timed_study import TimingResults
from benchmark.reporting.sheet import Sheet, make_sheet
from benchmark.reporting.studies.runs import lines, runs_sheet, write_study_tables
from benchmark.run.job import Job, Settings, build_model, prepare
from benchmark.run.lock import locked
from benchmark.run.reproduce import evaluate_model, train_model
from benchmark.run.runs import Run
from benchmark.studies.definition import ANALOGUE, FOLDER, Defined, Ready, Study
from benchmark.training import deterministic


@dataclass(frozen=True)
class StudyPlan:
    """A study that is ready to run, and what of it is done."""

    defined: Defined
    work: Path = WORK

    @property
    def name(self) -> str:
        return self.defined.name

    @property
    def study(self) -> Study:
        return self.defined.study

    @property
    def variants(self) -> Mapping[str, Ready]:
        return self.defined.variants

    def file(self, variant: str, seed: int) -> Path:
        """Return the path of a run's result."""
        return self.work / FOLDER / self.name / variant / f"{seed}.json"

    def finished(self, variant: str, seed: int) -> RunFile | None:
        """The result of a run of the recipe as it is now, by this version of Rematch; None: not run yet."""
        path = self.file(variant, seed)
        if not path.is_file():
            return None
        found = read_part(path, RunFile)
        now = (variant, seed, self.variants[variant].digest, __version__)
        run = found.run
        return found if (run.variant, run.seed, run.digest, run.version) == now else None

    def seeds(self, variant: str, asked: Sequence[int] | None) -> list[int]:
        """The seeds to run, each once: those asked for, else the study's."""
        return list(dict.fromkeys(asked or self.study.seeds_of(variant)))

    def all_finished(self, asked: Sequence[int] | None = None) -> list[RunFile]:
        """Finished runs with the study's seeds and those asked for, in the order of the study."""
        pairs = [
            (name, seed)
            for name in self.variants
            for seed in sorted({*self.study.seeds_of(name), *(asked or [])})
        ]
        found = [self.finished(name, seed) for name, seed in pairs]
        return [item for item in found if item is not None]

    def missing(self) -> list[tuple[str, int]]:
        """Runs of the study's own seeds that are still to be made."""
        pairs = [(name, seed) for name in self.variants for seed in self.study.seeds_of(name)]
        return [pair for pair in pairs if self.finished(*pair) is None]

    def results(self, asked: Sequence[int] | None = None) -> StudyResults:
        """Gather the finished runs; raises UserError where runs do not belong together."""
        runs = self.all_finished(asked)
        facts = [
            VariantFacts(
                name=item.name,
                summary=item.recipe.summary,
                recipe=item.path.as_posix(),
                changes=tidy(item.changes),
                digest=item.digest,
                departures=item.recipe.departures[1:],
            )
            for item in self.variants.values()
        ]
        study = self.study
        return gather(
            runs,
            study=self.name,
            summary=study.summary,
            budget_seconds=study.seconds,
            variants=facts,
            comparisons=study.comparisons,
        )


@dataclass(frozen=True)
class Share:
    """The runs of one variant that are still to be made."""

    variant: str
    seeds: list[int]
    to_run: list[int]
    seconds: float
    """Estimate for one run."""
    source: str
    """The source of the estimate."""


def shares(plan: StudyPlan, only: Sequence[str] | None, seeds: Sequence[int] | None) -> list[Share]:
    """The runs asked for, with estimates; raises UserError for an unknown variant."""
    for name in only or []:
        if name not in plan.variants:
            raise UserError(f"study {plan.name}: unknown variant '{name}'{nearest(name, plan.variants)}")
    known: dict[str, list[float]] = {}
    for item in plan.all_finished(seeds):
        known.setdefault(item.run.variant, []).append(item.run.seconds)
    found = []
    for name in plan.variants:
        if only and name not in only:
            continue
        chosen = plan.seeds(name, seeds)
        to_run = [seed for seed in chosen if plan.finished(name, seed) is None]
        estimate, source = _estimate(known, name, plan.study.seconds)
        found.append(Share(name, chosen, to_run, estimate, source))
    return found


def _estimate(known: Mapping[str, list[float]], variant: str, budget: float) -> tuple[float, str]:
    """Seconds of a run: of the variant's finished ones, else of the study's, else its budget."""
    if variant in known:
        return statistics.fmean(known[variant]), "its finished runs"
    if known:
        return statistics.fmean(value for values in known.values() for value in values), "finished runs"
    return budget, "the budget"


def study_plan_sheet(plan: StudyPlan, found: Sequence[Share]) -> Sheet:
    """Make the sheet of the planned runs and their total, before they start."""
    runs, to_run = sum(len(item.seeds) for item in found), sum(len(item.to_run) for item in found)
    total = sum(len(item.to_run) * item.seconds for item in found)
    title = f"study {plan.name}: {runs} runs, {runs - to_run} done, {to_run} to go, about {total / 60:.1f} minutes"
    note = f"an analogue on {ANALOGUE}: never the papers' numbers; {plan.study.seconds:g} s a run at most"
    rows: list[list[object]] = []
    for item in found:
        done, path = len(item.seeds) - len(item.to_run), plan.variants[item.variant].path.as_posix()
        seeds = " ".join(map(str, item.seeds))
        rows.append([item.variant, path, seeds, done, len(item.to_run), round(item.seconds), item.source])
    heads = ("variant", "recipe", "seeds", "done", "to go", "seconds a run", "estimated from")
    return make_sheet(title, heads, rows, left=3, notes=[note])


# ---------------------------------------------------------------------------------------------- runs


def run_study(plan: StudyPlan, found: Sequence[Share], settings: Settings) -> list[StudyRun]:
    """Make the runs of `found` that are missing; returns those that took longer than they may.

    Data are loaded once a variant. Raises UserError, naming variant and seed, where a run cannot be made; what was
    finished before stays finished.
    """
    deterministic()
    late: list[StudyRun] = []
    inner = replace(settings, latency=False, resume=False, work=plan.work, log=None)
    done, total = 0, sum(len(item.to_run) for item in found)
    with tqdm(
        total=total, desc=plan.name, unit="run", disable=None if settings.show_progress else True
    ) as bar:
        for item in found:
            if not item.to_run:
                continue
            ready = plan.variants[item.variant]
            job = prepare(Run(ready.path, ready.recipe, item.to_run[0]), inner)
            for seed in item.to_run:
                bar.set_postfix_str(f"{item.variant}, seed {seed}")
                run = _run_one(plan, item.variant, replace(job, run=job.run.with_seed(seed)))
                late += [run] if run.seconds > plan.study.seconds else []
                bar.update()
                done += 1
                if settings.log is not None:
                    settings.log(run_line(run, done, total))
    return late


def run_line(run: StudyRun, done: int, total: int) -> str:
    """Return a finished run, the last of so many that are done, as a line to read."""
    scores = f"mean R@1 {run.metrics['mean_r1']:.1f}, rsum {run.metrics['rsum']:.1f}"
    return f"run {done} of {total}: {run.variant}, seed {run.seed}: {scores}, {run.seconds:.1f} s"


def _run_one(plan: StudyPlan, variant: str, job: Job) -> StudyRun:
    """Train and evaluate in a folder of its own, write the result, drop the folder with weights and scores.

    Raises UserError where another process makes this run; what it has finished meanwhile is taken.
    """
    file = plan.file(variant, job.seed)
    with locked(file.with_suffix(".lock")):
        sweep(file.parent, file.name)
        found = plan.finished(variant, job.seed)
        return found.run if found is not None else _make_run(plan, variant, job, file)


def _make_run(plan: StudyPlan, variant: str, job: Job, file: Path) -> StudyRun:
    """Train and evaluate; the caller holds the run's lock."""
    scratch = file.with_suffix("")
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    job = replace(job, settings=replace(job.settings, work=scratch, runs=scratch / "runs"))
    try:
        model = build_model(job, pretrained=job.recipe.pretrained)
        record = evaluate_model(job, model, train_model(job, model))[0]
    except UserError as error:
        raise UserError(f"study {plan.name}, variant '{variant}', seed {job.seed}: {error}") from None
    run = _result(variant, record, job.dataset.splits["test"])
    assert run.digest == plan.variants[variant].digest, "a finished run would not be known again"
    shutil.rmtree(scratch)  # before the result is there: a run that has one is not looked at again
    write_part(RunFile(run=run, environment=record.environment), file)
    return run


def _result(variant: str, record: RunRecord, test: Split) -> StudyRun:
    """Return the part of a run's record that the table needs."""
    assert record.training is not None, "runs of studies are trained"
    (result,) = record.results.values()  # scenes has one protocol
    return StudyRun(
        variant=variant,
        seed=record.seed,
        digest=record.recipe_digest,
        version=record.version,
        fingerprint=replace(
            test, regions=None, guides=None
        ).fingerprint,  # hosts read the pictures in different ways
        metrics={name: result.metrics.value(name) for name in METRICS},
        best_epoch=record.training.best_epoch,
        seconds=round(sum(record.wall_seconds.values()), 3),
    )


def summary_sheets(results: StudyResults) -> list[Sheet]:
    """The tables of results/studies/<name>.md."""
    found = lines(results)
    sheets = [runs_sheet(kind, found, results) for kind in ("variant", "difference")]
    return [replace(sheet, notes=(f"an analogue on {ANALOGUE}",)) for sheet in sheets if sheet.rows]


def write_results(results: StudyResults | TimingResults, folder: Path = STUDIES) -> list[Path]:
    """Write a study's results, tables and plot; returns the files written."""
    path = folder / f"{results.study}.json"
    sweep(folder, f"{results.study}.*")
    write_part(results, path)
    return [path, *(table for table in write_study_tables(folder) if table.stem == results.study)]
