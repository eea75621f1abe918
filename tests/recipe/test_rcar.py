"""RCAR's recipes: the published numbers (rcar.md 2 to 7, 10), and whole runs from a SCAN folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from benchmark.data.text.vocabulary import PUBLISHED_SIZES, read_words
from benchmark.method import DataFacts
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import EnsembleRecipe, Recipe, StoredRegions
from benchmark.recipe.training import StepSchedule
from benchmark.records.paper import find_row
from benchmark.records.record import RunRecord, read_record
from benchmark.registry import get_method
from benchmark.run.resolve import check_recipes, recipe_paths
from benchmark.training.schedules import learning_rate
from tests.data.region_files import PLANTED_THINGS, PLANTED_WIDTH, planted_part
from tests.paths import ROOT
from tests.tiny import Outcome, put, rematch, write_recipe

FOLDER = ROOT / "recipes/rcar"
DATASETS = ("flickr30k", "mscoco")
STEPS = {  # direction, regulator: steps in the published scripts (rcar.md 5)
    ("t2i", "none"): None,
    ("t2i", "rcr"): 2,
    ("t2i", "rar"): 3,
    ("t2i", "rcar"): 2,
    ("i2t", "none"): None,
    ("i2t", "rcr"): 3,
    ("i2t", "rar"): 2,
    ("i2t", "rcar"): 2,
}
PARAMETERS = {  # dataset, regulator, steps: rcar.md 3.9
    ("flickr30k", "none", None): 14_367_449,
    ("flickr30k", "rar", 2): 14_893_531,
    ("flickr30k", "rar", 3): 15_025_372,
    ("flickr30k", "rcr", 2): 16_272_091,
    ("flickr30k", "rcr", 3): 17_224_412,
    ("flickr30k", "rcar", 2): 15_845_852,
    ("mscoco", "none", None): 15_229_049,
    ("mscoco", "rar", 2): 15_755_131,
    ("mscoco", "rar", 3): 15_886_972,
    ("mscoco", "rcr", 2): 17_133_691,
    ("mscoco", "rcr", 3): 18_086_012,
    ("mscoco", "rcar", 2): 16_707_452,
}
NAMES = {"none": "BASELINE", "rcr": "RCR", "rar": "RAR", "rcar": "RCAR"}
EPOCHS = {
    "flickr30k": (3, 37, 30),
    "mscoco": (5, 20, 15),
}  # warm-up, after it; epochs before the drop of the rate
CASES = [
    pytest.param(data, direction, regulator, id=f"{data}-{direction}-{regulator}")
    for data in DATASETS
    for direction, regulator in STEPS
]


def stem_of(dataset: str, direction: str, regulator: str) -> str:
    """RCAR's rows are the published ones, and have the short names."""
    kind = "" if regulator == "rcar" else f"-{NAMES[regulator].lower()}"
    return f"{dataset}-{direction}{kind}"


def recipe_of(dataset: str, direction: str, regulator: str = "rcar") -> Recipe:
    recipe = load_recipe(FOLDER / f"{stem_of(dataset, direction, regulator)}.yaml")
    assert isinstance(recipe, Recipe)
    return recipe


# --------------------------------------------------------------------------- the published numbers


def test_rcar_has_a_recipe_for_every_dataset_and_variant() -> None:
    expected = {stem_of(data, *variant) for data in DATASETS for variant in STEPS}
    expected |= {f"{data}-ensemble" for data in (*DATASETS, "scenes")} | {"scenes-t2i", "scenes-i2t"}
    assert {path.stem for path in FOLDER.glob("*.yaml")} == expected


@pytest.mark.parametrize(("dataset", "direction", "regulator"), CASES)
def test_full_size_rcar_trains_as_published(dataset: str, direction: str, regulator: str) -> None:
    recipe = recipe_of(dataset, direction, regulator)
    training, optimizer = recipe.training, recipe.training.optimizer
    first, rest, drop = EPOCHS[dataset]
    assert recipe.departures == []
    assert not recipe.pretrained
    assert (training.batch_size, training.precision) == (128, "float32")
    assert (optimizer.name, optimizer.lr, optimizer.betas, optimizer.eps) == (
        "adamw",
        5e-4,
        (0.9, 0.999),
        1e-8,
    )
    assert (optimizer.weight_decay, optimizer.clip_norm) == (0.01, 2.0)
    assert training.schedule == StepSchedule(name="step", every=drop, gamma=0.1)
    assert [(stage.epochs, stage.loss) for stage in training.stages] == [
        (first, {"margin": 0.2, "hardest": False}),
        (rest, {"margin": 0.2, "hardest": True}),
    ]
    for stage in training.stages:
        assert (stage.trainable, stage.frozen) == (["*"], [])
        assert (stage.optimizer, stage.start_from) == ("keep", "previous")
    rates = [
        learning_rate(training.schedule, optimizer.lr, epoch=epoch, step=0, total_steps=1)
        for epoch in range(training.epochs)
    ]
    assert rates == pytest.approx([5e-4] * drop + [5e-5] * (first + rest - drop))
    assert (training.validate_from_epoch, training.validate_every, training.select) == (0, 1, "rsum")
    assert training.pair_budget_mb == 12288
    assert recipe.evaluation.tie_rule == "lower_index"


@pytest.mark.parametrize(("dataset", "direction", "regulator"), CASES)
def test_full_size_rcar_is_the_published_model(dataset: str, direction: str, regulator: str) -> None:
    recipe, steps = recipe_of(dataset, direction, regulator), STEPS[direction, regulator]
    method, config = get_method(recipe.method), recipe.method_config()
    published: dict[str, Any] = {"direction": direction, "regulator": regulator}
    published["temperature"] = {"t2i": 10, "i2t": 3}[direction]
    if steps is not None:
        published["steps"] = steps
    assert config == method.config.model_validate(published)  # all defaults are the published sizes
    spec = method.inputs(config)
    assert (spec.unit, spec.last_batch) == ("caption", "drop")
    text = spec.text
    assert (text.codec, text.min_count, text.mask_token, text.augment) == ("words", 4, True, "word_drop")
    with torch.device("meta"):  # shapes without numbers
        model = method.build(config, DataFacts(vocab_size=PUBLISHED_SIZES[dataset] + 1))  # and <mask>
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[dataset, regulator, steps]


@pytest.mark.parametrize(("dataset", "direction", "regulator"), CASES)
def test_only_rcar_has_reported_values(dataset: str, direction: str, regulator: str) -> None:
    row = recipe_of(dataset, direction, regulator).paper_row
    assert (row.method, row.variant) == ("rcar", f"{NAMES[regulator]} ({direction})")
    for protocol in {"flickr30k": ["flickr30k"], "mscoco": ["mscoco-1k", "mscoco-5k"]}[dataset]:
        found = find_row(row.method, row.variant, protocol, ROOT / "results/paper")
        assert (found is not None) == (regulator == "rcar"), protocol


@pytest.mark.parametrize(("dataset", "direction", "regulator"), CASES)
def test_full_size_rcar_uses_the_data_as_the_code_does(dataset: str, direction: str, regulator: str) -> None:
    data = recipe_of(dataset, direction, regulator).data
    assert (data.name, data.captions_per_image) == (dataset, 5)
    assert data.regions == StoredRegions(source="scan")
    assert data.options == ({"restval": True} if dataset == "mscoco" else {})  # 113,287 training images
    assert data.first_images.counts() == {"val": 1000}


@pytest.mark.parametrize("dataset", DATASETS)
def test_full_size_ensembles_are_of_both_directions(dataset: str) -> None:
    recipe = load_recipe(FOLDER / f"{dataset}-ensemble.yaml")
    assert isinstance(recipe, EnsembleRecipe)
    assert recipe.ensemble == [f"{dataset}-t2i", f"{dataset}-i2t"]
    assert recipe.departures == []
    protocol = {"flickr30k": "flickr30k", "mscoco": "mscoco-5k"}[dataset]
    row = find_row(recipe.paper_row.method, recipe.paper_row.variant, protocol, ROOT / "results/paper")
    assert row is not None
    assert row.ensemble


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_dataset_names_all_its_variants_and_the_ensemble_last(
    dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    paths = recipe_paths("rcar", dataset)
    check_recipes(paths)
    assert {path.stem for path in paths[:-1]} == {stem_of(dataset, *variant) for variant in STEPS}
    assert paths[-1].stem == f"{dataset}-ensemble"


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
def test_scenes_models_are_small(direction: str) -> None:
    recipe = recipe_of("scenes", direction)
    config = recipe.method_config().model_dump()
    assert (config["direction"], config["regulator"], config["steps"]) == (direction, "rcar", 2)
    assert config["dim"] <= 128
    assert config["sim_dim"] <= 32
    assert any("proxy" in reason for reason in recipe.departures)


# ----------------------------------------------------------------------- whole runs, a SCAN folder

CHANGES: dict[str, Any] = {
    "model.region_dim": PLANTED_WIDTH,
    "model.dim": 32,
    "model.sim_dim": 16,
    "model.word_dim": 16,
    "model.dropout": 0.0,
    "model.augment": "none",
    "training.batch_size": 24,
    "training.optimizer.lr": 0.01,
    "training.stages": [{"epochs": 6, "loss": {"hardest": False}}],
    "training.workers": 0,
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with shrunk copies of the recipes, and a SCAN folder `precomp` of a few images."""
    for path in FOLDER.glob("*.yaml"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for keys, value in CHANGES.items() if "ensemble" not in document else ():
            put(keys, value)(document)
        write_recipe(tmp_path / "recipes/rcar" / path.name, document)
    shutil.copytree(ROOT / "results/paper", tmp_path / "results/paper")
    for seed, (part, images) in enumerate({"train": 60, "dev": 10, "testall": 20}.items(), start=1):
        planted_part(tmp_path / "precomp", part, images, seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reproduce(name: str, *arguments: object) -> Outcome:
    quiet = ("--no-latency", "--no-progress", "--no-tables", "--device", "cpu")
    return rematch("reproduce", f"recipes/rcar/{name}.yaml", *arguments, *quiet)


def scores_of(record: RunRecord, protocol: str) -> tuple[float, float]:
    metrics = record.results[protocol].metrics
    return metrics.i2t.r1, metrics.t2i.r1


@pytest.mark.parametrize(("dataset", "protocol"), [("flickr30k", "flickr30k"), ("mscoco", "mscoco-5k")])
def test_both_directions_and_their_ensemble_from_a_scan_folder(
    work: Path, dataset: str, protocol: str
) -> None:
    outcome = reproduce(f"{dataset}-ensemble", "--data-dir", "precomp", "--unverified")
    assert outcome.code == 0, outcome.err
    for kind in ("t2i", "i2t", "ensemble"):
        record = read_record(Path(f"results/runs/{dataset}/rcar-{kind}/0.json"))
        assert record.dataset.source == "SCAN region features, a local folder"
        assert min(scores_of(record, protocol)) >= 25, kind  # by chance 5
        if kind != "ensemble":
            kept = read_words(work / f".rematch/{dataset}/rcar-{kind}/0/vocabulary.json")
            assert set(kept.words[4:]) == set(PLANTED_THINGS)  # <mask> is the method's, not in the file


@pytest.mark.parametrize("variant", ["t2i-baseline", "i2t-rcr", "t2i-rar"])
def test_a_variant_without_reported_values_runs_the_whole_way(work: Path, variant: str) -> None:
    outcome = reproduce(f"flickr30k-{variant}", "--data-dir", work / "precomp", "--unverified")
    assert outcome.code == 0, outcome.err
    record = read_record(Path(f"results/runs/flickr30k/rcar-{variant}/0.json"))
    assert min(scores_of(record, "flickr30k")) >= 15, variant  # by chance 5
