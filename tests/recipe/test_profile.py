"""Profiles: what they change in a recipe, runs of their own, and marks that no table leaves out."""

from __future__ import annotations

import csv
import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.data.load import load_dataset
from benchmark.data.splits import Dataset
from benchmark.errors import UserError
from benchmark.method import DataFacts
from benchmark.recipe.files import Profile, load_profile, load_recipe, merged, profile_names
from benchmark.recipe.schema import EnsembleRecipe, Recipe
from benchmark.records.record import recipe_digest
from benchmark.registry import get_method
from benchmark.run import job as job_module
from benchmark.run.resolve import check_runs, expectation_lines
from benchmark.run.runs import read_run
from benchmark.training.stages import plan_stages
from tests.paths import ROOT
from tests.tiny import (
    BOTH,
    I2T,
    T2I,
    change_recipe,
    contents,
    put,
    record_of,
    rematch,
    reproduce,
    tiny_recipe,
    write_recipe,
)

COMMITTED = [
    pytest.param(path, name, id=f"{path.stem}-{name}")
    for path in sorted((ROOT / "recipes").glob("*/*.yaml"))
    for name in profile_names(path.parent)
]

SMALL = Path("recipes/hat/profiles/small.yaml")
PROFILE: dict[str, Any] = {
    "summary": "made smaller",
    "departures": ["even smaller", "and narrower"],
    "data": {"first_images": {"train": 32, "test": 10}},
    "model": {"hidden": 8, "swin": {"num_heads": [1, 1, 1, 1]}},
    "training": {"schedule": {"name": "step", "every": 1, "gamma": 0.5}, "optimizer": {"lr": 0.002}},
}
CUT = ["only the first 32 train images", "only the first 10 test images"]


@pytest.fixture
def small(home: Path) -> Path:
    """A trained folder with the profile `small`."""
    write_recipe(SMALL, PROFILE)
    return home


def single(path: Path, profile: str | None = None) -> Recipe:
    recipe = load_recipe(path, profile)
    assert isinstance(recipe, Recipe)
    return recipe


# --------------------------------------------------------------------------------- committed ones


@pytest.mark.parametrize(("path", "name"), COMMITTED)
def test_a_committed_profile_fits_every_recipe(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    check_runs([read_run(path, name)])
    recipe = load_recipe(path, name)
    assert recipe.expected == []
    if isinstance(recipe, EnsembleRecipe):
        return
    assert recipe.departures[0].startswith(f"profile {name}: ")
    method = get_method(recipe.method)
    with torch.device("meta"):
        model = method.build(recipe.method_config(), DataFacts(vocab_size=100, n_train_images=10))
    plans = plan_stages(model, recipe.training, method.loss)
    assert all(plan.trainable for plan in plans)


def test_the_reduced_profile_needs_no_download_but_the_data() -> None:
    recipe = single(ROOT / "recipes/hat/mscoco-i2t.yaml", "reduced")
    assert not recipe.pretrained
    assert recipe.method_config().model_dump()["vocabulary"] == "letters"
    assert recipe.data.first_images.counts() == {"train": 256, "val": 50, "test": 50}
    assert recipe.data.options == {"restval": False}
    assert recipe.evaluation.tie_rule == "lower_index"  # as the recipe has it
    assert recipe.model["direction"] == "i2t"


# ------------------------------------------------------------------------------------- the overlay


def test_mappings_are_merged_and_lists_and_named_ones_replaced() -> None:
    document = {"a": {"b": 1, "c": {"d": [1, 2], "e": 5}}, "f": {"name": "x", "g": 1}, "h": 0}
    changes = {"a": {"c": {"d": [3]}, "i": 7}, "f": {"name": "y"}, "h": {"j": 1}}
    assert merged(document, changes) == {
        "a": {"b": 1, "c": {"d": [3], "e": 5}, "i": 7},
        "f": {"name": "y"},
        "h": {"j": 1},
    }
    assert document["a"]["c"]["d"] == [1, 2]  # type: ignore[index]


def test_a_profile_changes_what_it_names_and_adds_its_departures(fresh: Path) -> None:
    write_recipe(SMALL, PROFILE)
    item = {"protocol": "scenes", "metric": "rsum", "value": 1, "tolerance": 1, "source": "none"}
    for path in (I2T, BOTH):
        change_recipe(path, put("expected", [item]))
    recipe, own = single(I2T, "small"), single(I2T)
    assert recipe.departures == [
        "profile small: even smaller",
        "profile small: and narrower",
        *own.departures,
    ]
    assert recipe.summary == "a tiny HAT; made smaller"
    assert (recipe.expected, len(own.expected)) == ([], 1)
    assert recipe.training.schedule.model_dump() == {"name": "step", "every": 1, "gamma": 0.5}
    assert recipe.training.optimizer == own.training.optimizer.model_copy(update={"lr": 0.002})
    swin = own.model["swin"] | {"num_heads": [1, 1, 1, 1]}
    assert recipe.model == own.model | {"hidden": 8, "swin": swin}, fresh
    assert (recipe.pretrained, recipe.evaluation, recipe.paper_row) == (
        own.pretrained,
        own.evaluation,
        own.paper_row,
    )
    ensemble, whole = load_recipe(BOTH, "small"), load_recipe(BOTH)
    assert ensemble == whole.model_copy(update={"expected": [], "summary": f"{whole.summary}; made smaller"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("trainin", {}), "field 'trainin' is not known; did you mean 'training'?"),
        (put("method", "hat"), "field 'method' is not known"),
        (put("departures", []), "field 'departures': found []"),
        (lambda document: document.pop("departures"), "field 'departures' is missing"),
        (
            put("data.name", "mscoco"),
            "field 'data.name': found 'mscoco'; a profile leaves the dataset as it is",
        ),
        (put("data.first_images.vla", 3), "field 'data.first_images.vla' is not known; did you mean 'val'?"),
        (put("data.first_images.val", 0), "field 'data.first_images.val': found 0"),
        (
            put("model.swin.embeddim", 8),
            "field 'model.swin.embeddim' is not known; did you mean 'embed_dim'?",
        ),
        (put("training.batchsize", 8), "field 'training.batchsize' is not known; did you mean 'batch_size'?"),
        (put("training", None), "field 'training': found None"),
    ],
)
def test_a_fault_in_a_profile_names_the_profile(fresh: Path, change: Any, message: str) -> None:
    write_recipe(SMALL, PROFILE)
    change_recipe(SMALL, change)
    before = contents()
    error = reproduce("hat", "scenes", "--profile", "small").error
    assert error.startswith(f"{SMALL.as_posix()}: {message}")
    assert contents() == before, fresh


@pytest.mark.parametrize(
    "arguments",
    [
        ("reproduce", "hat", "scenes"),
        ("reproduce", "hat", "scenes", "--dry-run"),
        ("reproduce", BOTH),
        ("evaluate", "--recipe", I2T),
        ("latency", I2T),
    ],
)
def test_an_unknown_profile_is_one_line(fresh: Path, arguments: tuple[object, ...]) -> None:
    before = contents()
    assert (
        rematch(*arguments, "--profile", "x").error
        == "unknown profile 'x' in recipes/hat/profiles/; it has none"
    )
    write_recipe(SMALL, PROFILE)
    error = rematch(*arguments, "--profile", "smal").error
    assert error == "unknown profile 'smal' in recipes/hat/profiles/; did you mean 'small'?"
    SMALL.unlink()
    assert contents() == before, fresh


def test_a_recipe_whose_runs_would_have_the_same_name_is_refused(fresh: Path) -> None:
    write_recipe(SMALL, PROFILE)
    write_recipe(I2T.with_name("scenes-i2t-small.yaml"), tiny_recipe())
    with pytest.raises(UserError, match=r"profile 'small' gives runs the name of scenes-i2t-small.yaml's"):
        load_recipe(I2T, "small")
    assert isinstance(load_recipe(T2I, "small"), Recipe), fresh


def test_a_test_split_that_cannot_be_cut_in_folds_is_refused_before_anything_is_fetched(fresh: Path) -> None:
    write_recipe(SMALL, PROFILE | {"data": {"first_images": {"test": 52}}})
    mscoco = "recipes/hat/mscoco-i2t.yaml"
    error = reproduce(mscoco, "--profile", "small").error
    assert error.startswith(f"{mscoco}: protocol mscoco-1k: 52 images cannot be cut into 5 equal folds"), (
        fresh
    )
    assert "data.first_images.test" in error


def test_profiles_are_listed_with_the_recipes(fresh: Path) -> None:
    assert profile_names(fresh / "recipes/hat") == []
    write_recipe(SMALL, PROFILE)
    write_recipe(SMALL.with_name("other.yaml"), PROFILE)
    row = next(line for line in rematch("list", "recipes").good.splitlines() if I2T.as_posix() in line)
    assert "other, small" in row
    assert load_profile(fresh / "recipes/hat", "small") == Profile.model_validate(PROFILE)


# -------------------------------------------------------------------------------------------- runs


def test_runs_with_a_profile_stand_beside_the_others(small: Path) -> None:
    former = contents()
    assert reproduce("hat", "scenes", "--profile", "small").good
    now = contents()
    for name, digest in former.items():
        if not name.startswith(("results/tables", "results/report.html")):
            assert now[name] == digest, (name, small)
    for run in ("hat-i2t", "hat-t2i", "hat-ensemble"):
        record = record_of(f"{run}-small")
        assert record.recipe["profile"] == "small"
        assert record.recipe_digest == recipe_digest(record.recipe)
        assert not record.comparable
        assert record.results["scenes"].images == 10
        assert Path(f".rematch/scenes/{run}-small/0/sims.npy").is_file()
    record = record_of("hat-i2t-small")
    assert record.recipe["model"]["hidden"] == 8
    assert record.recipe["training"]["optimizer"]["lr"] == 0.002
    assert {name: split.images for name, split in record.dataset.splits.items()} == {
        "train": 32,
        "val": 8,
        "test": 10,
    }
    own = ["profile small: even smaller", "profile small: and narrower", "a model for tests", *CUT]
    assert record.departures == own
    assert record_of("hat-i2t").recipe.get("profile") is None
    ensemble = record_of("hat-ensemble-small")
    assert [member.run for member in ensemble.members] == ["hat-i2t-small", "hat-t2i-small"]
    assert f"hat-t2i-small: {CUT[1]}" in ensemble.departures


def test_weights_of_a_profile_are_evaluated_and_timed_under_it(small: Path) -> None:
    assert reproduce(I2T, "--profile", "small").good
    record = record_of("hat-i2t-small").results["scenes"].metrics
    said = rematch("evaluate", "--recipe", I2T, "--profile", "small", "--device", "cpu").good
    assert f"{record.rsum:.1f} [" in said, small
    assert f"not comparable with the paper: {CUT[1]}" in said
    assert "weights of the last training" in rematch("latency", I2T, "--profile", "small").good
    assert expectation_lines(read_run(I2T, "small"), record_of("hat-i2t-small")) == []


def test_a_dry_run_knows_the_profile(small: Path) -> None:
    before = contents()
    said = reproduce("hat", "scenes", "--profile", "small", "--dry-run").good
    assert contents() == before, small
    for part in (
        "train 32, val 8, test 10",
        "1 epochs x 5 steps",
        "results/runs/scenes/hat-ensemble-small/0.json",
    ):
        assert part in said


def test_a_profile_may_change_the_seed(small: Path) -> None:
    change_recipe(SMALL, put("training.seed", 3))
    assert reproduce(BOTH, "--profile", "small", "--no-tables").good
    assert record_of("hat-ensemble-small", 3).seed == 3, small


# ---------------------------------------------------------------------------------- unusual data


UNVERIFIED = "not verified: split 'test': found 16 images, expected 400 [x]"


@pytest.fixture
def other_data(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """scenes as if they were not the published data; returns what `load_dataset` was asked for."""
    asked: list[dict[str, Any]] = []

    def loaded(*names: Any, unverified: bool, skip_corrupt: bool, **options: Any) -> Dataset:
        asked.append({"unverified": unverified, "skip_corrupt": skip_corrupt})
        data = load_dataset(*names, **options)
        return replace(data, departures=[UNVERIFIED] if unverified else [], notes=["from a fallback"])

    monkeypatch.setattr(job_module, "load_dataset", loaded)
    return asked


def test_unverified_data_are_marked_in_every_table(small: Path, other_data: list[dict[str, Any]]) -> None:
    terminal = reproduce("hat", "scenes", "--profile", "small", "--unverified").good
    assert {"unverified": True, "skip_corrupt": False} in other_data
    marked = ["hat-i2t-small", "hat-t2i-small", "hat-ensemble-small"]
    tables = Path("results/tables")
    lines = (tables / "scenes.md").read_text().replace("\\", "").splitlines()
    (shared,) = (
        line for line in lines if line.startswith("Every run of this table departs from its paper: ")
    )
    assert UNVERIFIED in shared
    table = lines[: lines.index(shared)]
    last = max(n for n, line in enumerate(table) if line.startswith("| method"))
    assert {line.split("|")[2].strip() for line in table[last + 2 :] if line.startswith("|")} == set(marked)
    assert terminal.count("not comparable") >= len(marked), small
    for run in marked:
        record = record_of(run)
        assert record.departures[0] == UNVERIFIED
        assert record.notes == ["from a fallback"]
    assert UNVERIFIED in html.unescape((tables / "scenes.html").read_text())
    printed = " ".join((tables / "scenes.tex").read_text().split())
    assert "runs depart from their paper's set-up" in printed  # the reasons stand on the page
    with (tables / "scenes.csv").open(encoding="utf-8") as handle:
        for cells in csv.DictReader(handle):
            assert (cells["run"] in marked) == (UNVERIFIED in cells["departures"])
            assert (cells["run"] in marked) == (UNVERIFIED in cells["verdict"])
    listed = [line for line in rematch("list", "runs").good.splitlines() if "hat-i2t-small" in line]
    assert f"no: {UNVERIFIED}"[:60] in listed[0]


def test_evaluating_weights_on_unverified_data_says_so(home: Path, other_data: list[dict[str, Any]]) -> None:
    arguments = ("evaluate", "--recipe", I2T, "--device", "cpu", "--no-progress")
    said = rematch(*arguments, "--unverified", "--skip-corrupt").good
    assert f"not comparable with the paper: {UNVERIFIED}" in said, home
    assert "not verified" not in rematch(*arguments).good
    assert other_data == [
        {"unverified": True, "skip_corrupt": True},
        {"unverified": False, "skip_corrupt": False},
    ]
    assert rematch("latency", I2T, "--skip-corrupt").good
    assert other_data[-1] == {"unverified": False, "skip_corrupt": True}


def test_an_ensemble_takes_no_member_that_was_evaluated_on_other_data(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fewer(*names: Any, **options: Any) -> Dataset:
        data = load_dataset(*names, **options)
        return replace(data, splits={**data.splits, "test": data.splits["test"].first_images(12)})

    monkeypatch.setattr(job_module, "load_dataset", fewer)
    assert record_of("hat-i2t").results["scenes"].images == 16, home
    assert reproduce(BOTH, "--no-tables").good
    for run in ("hat-i2t", "hat-t2i", "hat-ensemble"):
        assert record_of(run).results["scenes"].images == 12
