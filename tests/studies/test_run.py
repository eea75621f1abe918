"""Studies: definitions, runs that are kept, tables that say how sure they are, and mistakes in one line."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmark.errors import UserError
from benchmark.records.study import RunFile, StudyResults, read_part, read_results
from benchmark.reporting.evidence import Evidence
from benchmark.reporting.studies.runs import (
    CSV_METRICS,
    VariantRow,
    difference_line,
    values_sheet,
    write_page,
)
from benchmark.reporting.writers.csv import write_csv
from benchmark.run import reproduce
from benchmark.run.job import Job
from benchmark.studies import run as study_run
from tests.tiny import (
    Change,
    Outcome,
    change_recipe,
    contents,
    put,
    record_of,
    rematch,
    stale_study_tables,
    write_recipe,
)
from tests.toy_method import TOY_RECIPE, WORD_TOY, register

BASE = Path("recipes/hat/scenes-toy.yaml")
STUDY = Path("recipes/hat/studies/widths.yaml")
KEPT = Path(".rematch/studies/widths")
RESULTS = Path("results/studies/widths.json")
TABLE = RESULTS.with_suffix(".md")

DEFINITION: dict[str, Any] = {
    "summary": "toys of three widths",
    "recipe": "scenes-toy",
    "seeds": [0, 1],
    "changes": {"training": {"stages": [{"epochs": 1}]}},
    "variants": {
        "wide": {"summary": "the recipe's width"},
        "narrow": {"summary": "a narrower toy", "changes": {"model": {"width": 4}}},
        "dry": {"summary": "no dropout", "recipe": "hat/scenes-toy", "changes": {"model": {"dropout": 0.0}}},
    },
    "comparisons": [{"of": "wide", "against": "narrow"}],
}


@pytest.fixture(autouse=True)
def home(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe for the toy and a study of it."""
    register(monkeypatch, toy=WORD_TOY)
    write_recipe(BASE, TOY_RECIPE)
    write_recipe(STUDY, DEFINITION)
    return fresh


def study(*arguments: object) -> Outcome:
    return rematch("study", "widths", *arguments, "--device", "cpu", "--no-progress")


def kept() -> dict[str, RunFile]:
    """The results of finished runs by `variant/seed`."""
    return {
        f"{path.parent.name}/{path.stem}": read_part(path, RunFile) for path in sorted(KEPT.glob("*/*.json"))
    }


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the trainings that are really made."""
    made: list[int] = []
    train = reproduce.train_model

    def counted(job: Job, model: Any) -> Any:
        made.append(job.seed)
        return train(job, model)

    monkeypatch.setattr(study_run, "train_model", counted)
    return made


# --------------------------------------------------------------------------------------------- runs


def test_a_study_says_its_total_runs_and_writes_one_table(trainings: list[int]) -> None:
    said = study().good
    assert "study widths: 6 runs, 0 done, 6 to go, about 6.0 minutes" in said
    assert trainings == [0, 1, 0, 1, 0, 1]
    assert set(kept()) == {f"{name}/{seed}" for name in ("wide", "narrow", "dry") for seed in (0, 1)}
    assert sorted(path.name for path in RESULTS.parent.iterdir()) == [
        "widths.csv",
        "widths.json",
        "widths.md",
    ]
    assert not [path for path in KEPT.rglob("*") if path.suffix in (".safetensors", ".pt", ".npy")]
    page = TABLE.read_text(encoding="utf-8")
    assert "analogue on scenes" in page
    assert "wide - narrow" in page
    assert "`model.width: 4`" in page
    assert not Path("results/runs").exists()
    lines = [line for line in said.splitlines() if line.startswith("run ")]
    runs = [
        run.run for name in ("wide", "narrow", "dry") for run in (kept()[f"{name}/0"], kept()[f"{name}/1"])
    ]
    assert lines == [
        f"run {number} of 6: {run.variant}, seed {run.seed}: mean R@1 {run.metrics['mean_r1']:.1f}, "
        f"rsum {run.metrics['rsum']:.1f}, {run.seconds:.1f} s"
        for number, run in enumerate(runs, 1)
    ]
    assert "epoch" not in said


def test_finished_runs_are_not_run_again_and_the_table_is_the_same(trainings: list[int]) -> None:
    study()
    before = contents()
    trainings.clear()
    said = study().good
    assert "6 runs, 6 done, 0 to go" in said
    assert trainings == []
    assert contents() == before
    (sheet,) = json.loads(study("--format", "json").good)  # nothing else on stdout
    values = [kept()[f"wide/{seed}"].run.metrics["rsum"] for seed in (0, 1)]
    assert sheet["rows"][0]["rsum"] == sum(values) / 2
    assert [row["kind"] for row in sheet["rows"]] == ["variant"] * 3 + ["difference"]


def test_a_run_is_what_reproduce_makes_of_the_same_recipe() -> None:
    study("--only", "narrow", "--seeds", "1")
    change_recipe(BASE, put("model", {"width": 4}))
    change_recipe(BASE, put("training.stages", [{"epochs": 1}]))
    rematch(
        "reproduce", BASE, "--seeds", "1", "--no-latency", "--no-tables", "--no-progress", "--device", "cpu"
    )
    record, run = record_of("hat-toy", 1), kept()["narrow/1"].run
    metrics = record.results["scenes"].metrics
    assert run.metrics == {name: metrics.value(name) for name in run.metrics}
    assert run.digest == record.recipe_digest


def test_a_killed_study_goes_on(trainings: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    train, calls = reproduce.train_model, []

    def killed(job: Job, model: Any) -> Any:
        calls.append(job.seed)
        result = train(job, model)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch:
        patch.setattr(study_run, "train_model", killed)
        assert study().code != 0  # click makes an exit of it
    assert list(kept()) == ["wide/0", "wide/1"]
    assert not RESULTS.exists()
    trainings.clear()
    assert "6 runs, 2 done, 4 to go" in study().good
    assert trainings == [0, 1, 0, 1]
    metrics = {name: item.run.metrics for name, item in kept().items()}
    for path in KEPT.glob("*/*.json"):
        path.unlink()
    study()
    assert {name: item.run.metrics for name, item in kept().items()} == metrics


def test_a_changed_variant_is_run_again_and_no_other(trainings: list[int]) -> None:
    study()
    trainings.clear()
    change_recipe(STUDY, put("variants.narrow.changes.model.width", 5))
    change_recipe(STUDY, put("variants.wide.summary", "other words"))
    assert "6 runs, 4 done, 2 to go" in study().good
    assert trainings == [0, 1]


def test_only_a_variant_and_more_seeds(trainings: list[int]) -> None:
    said = study("--only", "dry", "--seeds", "0", "7").good
    assert trainings == [0, 7]
    assert "5 runs of the study are still to be made" in said
    assert not RESULTS.exists()
    study()
    assert read_results(RESULTS).runs_of("dry").keys() == {0, 1}
    study("--seeds", "0", "1", "7")
    assert read_results(RESULTS).runs_of("dry").keys() == {0, 1, 7}


def test_a_run_over_its_time_is_whole_and_marked() -> None:
    change_recipe(STUDY, put("seconds", 0.001))
    said = study("--seeds", "0", "1").good
    assert re.search(r"wide, seed 0: \d+\.\d s, over the 0.001 s of a run; marked in the table", said)
    assert "2 of 2 over 0.001 s" in TABLE.read_text(encoding="utf-8")
    rows = list(csv.DictReader(RESULTS.with_suffix(".csv").open()))
    assert [row["runs_over_budget"] for row in rows] == ["2", "2", "2", ""]
    assert {row["comparable_with_papers"] for row in rows} == {"no"}


def test_a_dry_run_does_nothing(home: Path, trainings: list[int]) -> None:
    before = contents(home)
    assert "6 runs, 0 done, 6 to go, about 6.0 minutes" in study("--dry-run").good
    assert contents(home) == before
    study("--only", "wide")
    said = study("--dry-run").good
    assert "its finished runs" in said
    assert "about 6.0 minutes" not in said
    assert trainings == [0, 1]


def test_a_variant_may_have_its_own_seeds(trainings: list[int]) -> None:
    change_recipe(STUDY, put("variants.dry.seeds", [5]))
    study()
    assert trainings == [0, 1, 0, 1, 5]
    assert "| dry" in TABLE.read_text(encoding="utf-8")
    assert read_results(RESULTS).runs_of("dry").keys() == {5}


# -------------------------------------------------------------------------------------------- table


def made_up() -> StudyResults:
    """The results of a study that was run, with numbers of our own; seed 2 of one variant alone."""
    study("--seeds", "0", "1", "2")
    document = json.loads(RESULTS.read_text(encoding="utf-8"))
    scores = {"wide": [30.0, 34.5, 33.0], "narrow": [29.0, 31.0, 99.0], "dry": [1.0, 2.0, 3.0]}
    for run in document["runs"]:
        run["metrics"]["mean_r1"] = scores[run["variant"]][run["seed"]]
    document["runs"] = [run for run in document["runs"] if (run["variant"], run["seed"]) != ("narrow", 2)]
    return StudyResults.model_validate(document)


def test_means_and_intervals_are_those_of_the_t_distribution() -> None:
    results = made_up()
    row = next(
        row
        for row in csv.DictReader(write_csv([values_sheet(results)]).splitlines())
        if row["name"] == "wide"
    )
    values = np.array([30.0, 34.5, 33.0])
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert (row["n"], row["seeds"]) == ("3", "0 1 2")
    found = [float(row[f"mean_r1{part}"]) for part in ("", "_sd", "_low", "_high")]
    assert found == pytest.approx([values.mean(), values.std(ddof=1), low, high], abs=1e-4)


def test_differences_are_taken_seed_by_seed() -> None:
    results = made_up()
    line = difference_line(results, results.comparisons[0])
    assert line.seeds == [0, 1]  # the third is one variant's alone
    assert line.values["mean_r1"] == [1.0, 3.5]
    low, high = stats.t.interval(0.95, 1, 2.25, stats.sem([1.0, 3.5]))
    assert line.bounds("mean_r1") == pytest.approx((low, high))
    assert "+2.25" in write_page(results)


def test_intervals_of_few_and_scattered_seeds_stay_within_the_metric() -> None:
    values = {name: [3.6, 26.2, 15.3] for name in CSV_METRICS}
    of = VariantRow("variant", "a", [0, 1, 2], values, [])
    low, high = stats.t.interval(0.95, 2, np.mean(values["mean_r1"]), stats.sem(values["mean_r1"]))
    assert low < 0
    assert of.bounds("mean_r1") == pytest.approx((0.0, high))
    difference = VariantRow("difference", "a - b", [0, 1, 2], values, [])
    assert difference.bounds("mean_r1") == pytest.approx((low, high))
    far = VariantRow("difference", "a - b", [0, 1], {"rsum": [590.0, -590.0], "i2t_r1": [90.0, -90.0]}, [])
    assert (far.bounds("rsum"), far.bounds("i2t_r1")) == ((-600, 600), (-100, 100))


def test_one_seed_has_no_interval() -> None:
    change_recipe(STUDY, put("seeds", [3]))
    study()
    rows = list(csv.DictReader(RESULTS.with_suffix(".csv").open()))
    assert [(row["n"], row["rsum_sd"], row["rsum_low"]) for row in rows] == [("1", "", "")] * 4
    assert "n/a" in TABLE.read_text(encoding="utf-8")


def test_the_leaderboard_checks_the_tables_of_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    study()
    assert stale_study_tables() == []
    TABLE.write_text(TABLE.read_text(encoding="utf-8") + "more\n", encoding="utf-8")
    left = TABLE.with_name("gone.md")
    left.write_text(TABLE.read_text(encoding="utf-8"), encoding="utf-8")
    assert stale_study_tables() == [TABLE]
    none = Evidence([], {}, [], {}, {}, [], [], [])  # no runs here, no tables
    monkeypatch.setattr("benchmark.reporting.generated.read_evidence", lambda _: none)
    monkeypatch.setattr("benchmark.reporting.generated.render_page", lambda _: b"")
    said = rematch("leaderboard", "--check", "--format", "json")
    assert said.code == 1
    stale = {row["file"] for row in json.loads(said.out)[0]["rows"]}
    assert {TABLE.as_posix(), left.as_posix()} <= stale


# ----------------------------------------------------------------------------------------- mistakes

MISTAKES: dict[str, tuple[Change, str]] = {
    "field": (put("varaints", {}), "field 'varaints' is not known; did you mean 'variants'?"),
    "field of a variant": (
        put("variants.wide.sumary", "x"),
        "field 'variants.wide.sumary' is not known; did you mean 'summary'?",
    ),
    "long runs": (put("seconds", 90), "field 'seconds': found 90, input should be less than or equal to 60"),
    "recipe": (
        put("recipe", "scenes-toi"),
        "variant 'wide': no recipe 'scenes-toi'; did you mean 'scenes-toy'?",
    ),
    "other method's recipe": (
        put("variants.dry.recipe", "hat/scenes-toi"),
        "variant 'dry': no recipe 'hat/scenes-toi'; did you mean 'hat/scenes-toy'?",
    ),
    "model": (
        put("variants.narrow.changes.model", {"widht": 3}),
        "variant 'narrow': field 'model.widht' is not known; did you mean 'width'?",
    ),
    "training": (
        put("changes.training", {"batchsize": 3}),
        "variant 'wide': field 'training.batchsize' is not known; did you mean 'batch_size'?",
    ),
    "comparison": (
        put("comparisons.0.against", "narow"),
        "field 'comparisons.0.against': no variant 'narow'; did you mean 'narrow'?",
    ),
    "no common seed": (put("variants.wide.seeds", [9]), "wide and narrow have no seed in common"),
    "seed twice": (put("seeds", [1, 1]), "variant 'wide': found seeds [1, 1], expected each once"),
    "ensemble": (put("recipe", "scenes-ensemble"), "recipes/hat/scenes-ensemble.yaml is an ensemble"),
    "dataset": (put("recipe", "flickr30k-i2t"), "is about flickr30k; studies are made on scenes"),
    "option of the data": (
        put("changes.data", {"options": {"n_trian": 3}}),
        "variant 'wide': field 'data.options.n_trian' is not known; did you mean 'n_train'?",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_study_is_one_line(home: Path, mistake: str) -> None:
    change, message = MISTAKES[mistake]
    change_recipe(STUDY, change)
    before = contents(home)
    error = study().error
    assert error.startswith(f"{STUDY.as_posix()}: ")
    assert message in error
    assert contents(home) == before


def test_unknown_names_are_one_line() -> None:
    assert rematch("study", "width").error == "unknown study 'width'; did you mean 'widths'?"
    assert rematch("study", "x").error == "unknown study 'x'; valid: widths"
    error = study("--only", "wid", "--dry-run").error
    assert error == "study widths: unknown variant 'wid'; did you mean 'wide'?"
    STUDY.unlink()
    assert rematch("study", "widths").error == ("unknown study 'widths'; there is none in recipes/*/studies/")


def test_two_studies_of_a_name_are_refused() -> None:
    write_recipe(Path("recipes/other/studies/widths.yaml"), DEFINITION)
    assert study("--dry-run").error == (
        "recipes/other/studies/widths.yaml: recipes/hat/studies/widths.yaml has the same name; rename one"
    )


def test_a_damaged_result_is_one_line() -> None:
    study("--only", "wide", "--seeds", "0")
    path = KEPT / "wide/0.json"
    path.write_text(path.read_text(encoding="utf-8")[:50], encoding="utf-8")
    error = study().error
    assert error.startswith(f"{path.as_posix()}: not readable")
    assert error.endswith("delete it and run again")


def test_variants_on_different_test_splits_are_not_compared(trainings: list[int]) -> None:
    change_recipe(STUDY, put("variants.dry.changes", {"data": {"options": {"n_test": 20}}}))
    error = study().error
    assert error.startswith(f"{STUDY.as_posix()}: variants 'wide' and 'dry' are tested on different data: ")
    assert trainings == []
    change_recipe(STUDY, put("variants.dry.changes", {"data": {"options": {"n_train": 30}}}))
    study()
    document = json.loads(RESULTS.read_text(encoding="utf-8"))
    document["runs"][0]["fingerprint"] = 64 * "0"
    RESULTS.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"widths\.json: the variants were not tested on the same split"):
        read_results(RESULTS)


def test_a_run_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(_job: Job, _model: Any) -> Any:
        raise UserError("the loss is nan")

    monkeypatch.setattr(study_run, "train_model", diverged)
    assert study().error == "study widths, variant 'wide', seed 0: the loss is nan"
