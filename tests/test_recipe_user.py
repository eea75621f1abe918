"""USER's and VSE-infinity's recipes: the published numbers (user.md 5, A), and whole runs from a SCAN folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from benchmark.baseline import DataFacts, get_method
from benchmark.recipe import Recipe, StoredRegions, load_recipe
from benchmark.reporting.paper import find_row
from benchmark.reporting.record import RunRecord, read_record
from benchmark.study import load_study
from benchmark.training.optimizers import parameter_groups
from benchmark.training.schedules import learning_rate
from tests.data.region_files import planted_part
from tests.tiny import ROOT, Outcome, put, rematch, write_recipe

FOLDER = ROOT / "recipes"
NAMES = {"user": ["sge"], "vse_infty": ["bert", "bigru"]}
CASES = [
    pytest.param(method, data, kind, id=f"{method}-{data}-{kind}")
    for method, kinds in NAMES.items()
    for kind in kinds
    for data in ("flickr30k", "mscoco")
]
DERIVED = "USER without external knowledge (presumably SGE, the released code)"


def recipe_of(method: str, name: str) -> Recipe:
    recipe = load_recipe(FOLDER / method / f"{name}.yaml")
    assert isinstance(recipe, Recipe)
    return recipe


# --------------------------------------------------------------------------- the published numbers


@pytest.mark.parametrize("method", NAMES)
def test_there_is_a_recipe_for_every_dataset_and_variant(method: str) -> None:
    expected = {f"{data}-{kind}" for data in ("scenes", "flickr30k", "mscoco") for kind in NAMES[method]}
    assert {path.stem for path in (FOLDER / method).glob("*.yaml")} == expected


@pytest.mark.parametrize(("method", "data", "kind"), CASES)
def test_full_size_models_train_as_published(method: str, data: str, kind: str) -> None:
    recipe = recipe_of(method, f"{data}-{kind}")
    training, optimizer = recipe.training, recipe.training.optimizer
    assert recipe.departures == []
    assert recipe.pretrained == (kind != "bigru")
    assert (training.batch_size, training.precision, training.select) == (128, "float32", "rsum")
    assert (optimizer.name, optimizer.lr, optimizer.betas, optimizer.eps) == (
        "adamw",
        5e-4,
        (0.9, 0.999),
        1e-8,
    )
    assert optimizer.clip_norm == 2.0
    assert optimizer.weight_decay == (1e-2 if kind == "bigru" else 1e-4)
    drop, epochs = (10, 20) if (method, data) == ("user", "flickr30k") else (15, 25)
    rates = [
        learning_rate(training.schedule, optimizer.lr, epoch=epoch, step=0, total_steps=1)
        for epoch in range(training.epochs)
    ]
    assert rates == pytest.approx([5e-4] * drop + [5e-5] * (epochs - drop))
    assert (recipe.data.regions, recipe.data.captions_per_image) == (StoredRegions(source="scan"), 5)
    assert recipe.data.first_images.counts() == {"val": 1000}
    assert recipe.data.options == ({"restval": True} if data == "mscoco" else {})
    assert recipe.evaluation.precision == "float64"


@pytest.mark.parametrize(("method", "data", "kind"), CASES)
def test_bert_learns_at_a_tenth_of_the_rate(method: str, data: str, kind: str) -> None:
    recipe = recipe_of(method, f"{data}-{kind}")
    with torch.device("meta"):
        model = get_method(method).build(recipe.method_config(), DataFacts(vocab_size=30_522))
    groups = parameter_groups(model, recipe.training.optimizer)
    sizes = {
        group["lr_factor"]: sum(p.numel() for p in group["params"] if p.requires_grad) for group in groups
    }
    bert = {} if kind == "bigru" else {0.1: 109_482_240}  # user.md 3.4
    assert {factor: size for factor, size in sizes.items() if factor != 1} == bert
    assert {group["weight_decay"] for group in groups} == {recipe.training.optimizer.weight_decay}


@pytest.mark.parametrize("data", ["flickr30k", "mscoco"])
def test_full_size_user_is_the_released_model(data: str) -> None:
    recipe = recipe_of("user", f"{data}-sge")
    config = recipe.method_config().model_dump()
    defaults = get_method("user").config().model_dump()
    assert config == {**defaults, "queue": 2048 if data == "flickr30k" else 4096}
    assert recipe.training.seed == 1
    (stage,) = recipe.training.stages
    weight = 20 if data == "flickr30k" else 1
    assert stage.loss == {"scale": 90, "threshold": 0.5, "batch_weight": weight, "tangent": False}


@pytest.mark.parametrize("data", ["scenes", "flickr30k", "mscoco"])
def test_sge_is_not_held_against_rows_of_another_variant(data: str) -> None:
    """The rows that AAHR cites are probably those of the CLIP-guided variant (user.md 10)."""
    row = recipe_of("user", f"{data}-sge").paper_row
    assert (row.method, row.variant) == ("user", DERIVED)
    paper = ROOT / "results/paper"
    assert find_row("user", DERIVED, "flickr30k", paper) is None
    assert find_row("user", DERIVED, "mscoco-1k", paper) is None
    found = find_row("user", DERIVED, "mscoco-5k", paper)
    assert found is not None
    assert found.kind == "derived"


@pytest.mark.parametrize("kind", ["bert", "bigru"])
@pytest.mark.parametrize("data", ["flickr30k", "mscoco"])
def test_full_size_vse_infinity_is_the_published_model(data: str, kind: str) -> None:
    recipe = recipe_of("vse_infty", f"{data}-{kind}")
    config = recipe.method_config().model_dump()
    defaults = get_method("vse_infty").config().model_dump()
    assert config == {**defaults, "text": kind, "replicas": 4 if kind == "bert" else 1}
    assert [(stage.epochs, stage.loss) for stage in recipe.training.stages] == [
        (1, {"margin": 0.2, "hardest": False}),
        (24, {"margin": 0.2, "hardest": True}),
    ]
    for protocol in ("flickr30k",) if data == "flickr30k" else ("mscoco-1k", "mscoco-5k"):
        row = find_row("vse_infty", recipe.paper_row.variant, protocol, ROOT / "results/paper")
        assert row is not None
        assert row.variant.endswith("BERT-base" if kind == "bert" else "BiGRU")


def test_scenes_recipes_say_how_they_differ() -> None:
    for method, kinds in NAMES.items():
        for kind in kinds:
            recipe = recipe_of(method, f"scenes-{kind}")
            assert any("proxy" in reason for reason in recipe.departures)
            assert recipe.method_config().model_dump()["dim"] <= 128


def test_the_study_compares_user_with_its_host_and_with_parts_of_itself() -> None:
    study = load_study(FOLDER / "user/studies/user.yaml")
    configs = {name: ready.recipe.method_config().model_dump() for name, ready in study.variants.items()}
    assert study.variants["vse-infinity"].recipe.method == "vse_infty"
    assert {name: (c["queue"], c["enhancement"]) for name, c in configs.items() if "queue" in c} == {
        "no-queues": (0, "sge"),
        "no-sge": (512, "none"),
        "neither": (0, "none"),
        "queue-128": (128, "sge"),
        "queue-512": (512, "sge"),
        "queue-2048": (2048, "sge"),
    }
    assert study.study.seeds == [0, 1, 2]
    steps = {ready.recipe.training.epochs for ready in study.variants.values()}
    assert steps == {3}


# ----------------------------------------------------------------------- whole runs, a SCAN folder

BERT = {"layers": 1, "hidden": 16, "heads": 2, "intermediate": 32, "max_position": 64, "dropout": 0.0}
CHANGES: dict[str, Any] = {
    "model.region_dim": 16,
    "model.dim": 32,
    "pretrained": False,
    "training.batch_size": 24,
    "training.optimizer.lr": 0.01,
    "training.workers": 0,
}
OWN: dict[str, dict[str, Any]] = {
    "sge": {
        "model.bert": BERT,
        "model.vocabulary": "letters",
        "model.queue": 48,
        "model.momentum": 0.9,
        "model.dropout": 0.0,
        "training.stages": [
            {"epochs": 8, "loss": {"scale": 20, "threshold": 0.5, "batch_weight": 3, "tangent": True}}
        ],
    },
    "bert": {
        "model.bert": BERT,
        "model.vocabulary": "letters",
        "training.stages": [{"epochs": 8, "loss": {"hardest": False}}],
    },
    "bigru": {"model.word_dim": 16, "training.stages": [{"epochs": 5, "loss": {"hardest": False}}]},
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with shrunk copies of the recipes, and a SCAN folder `precomp` of a few images."""
    for method, kinds in NAMES.items():
        for kind in kinds:
            path = FOLDER / method / f"flickr30k-{kind}.yaml"
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            for keys, value in {**CHANGES, **OWN[kind]}.items():
                put(keys, value)(document)
            write_recipe(tmp_path / "recipes" / method / path.name, document)
    shutil.copytree(ROOT / "results/paper", tmp_path / "results/paper")
    for seed, (part, images) in enumerate({"train": 60, "dev": 10, "test": 20}.items(), start=1):
        planted_part(tmp_path / "precomp", part, images, seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reproduce(method: str, kind: str) -> Outcome:
    quiet = ("--no-latency", "--no-progress", "--no-tables", "--device", "cpu")
    recipe = f"recipes/{method}/flickr30k-{kind}.yaml"
    return rematch("reproduce", recipe, "--data-dir", "precomp", "--unverified", *quiet)


def record_of(method: str, kind: str, seed: int) -> RunRecord:
    return read_record(Path(f"results/runs/flickr30k/{method}-{kind}/{seed}.json"))


@pytest.mark.parametrize(("method", "kind"), [("user", "sge"), ("vse_infty", "bert"), ("vse_infty", "bigru")])
def test_a_run_from_a_scan_folder(work: Path, method: str, kind: str) -> None:  # noqa: ARG001
    outcome = reproduce(method, kind)
    assert outcome.code == 0, outcome.err
    record = record_of(method, kind, 1 if method == "user" else 0)
    metrics = record.results["flickr30k"].metrics
    assert min(metrics.i2t.r1, metrics.t2i.r1) >= 15, kind  # by chance 5
    assert record.codec.startswith("words:" if kind == "bigru" else "wordpiece:letters:")
    assert kind == "bigru" or record.codec.endswith(":uncut")


def test_a_queue_that_batches_do_not_fill_is_refused_when_the_recipe_is_read(work: Path) -> None:
    path = work / "recipes/user/flickr30k-sge.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    put("model.queue", 50)(document)
    write_recipe(path, document)
    error = reproduce("user", "sge").error
    assert error.startswith(
        "recipes/user/flickr30k-sge.yaml: field 'model.queue': found 50, expected a multiple of "
    )
    assert "training.batch_size (24), such as 48 and 72" in error
