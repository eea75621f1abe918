"""USER's and VSE-infinity's recipes: what guides a model, and whole runs from a SCAN folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmark.files import sha256_file
from benchmark.method import DataFacts
from benchmark.registry import get_method
from benchmark.studies.definition import load_study
from tests.baselines.checkpoint_files import pooled_parts, save_parts
from tests.paths import ROOT
from tests.recipe.networks import single
from tests.recipe.scan_runs import COMMON, evaluate, least_r1, make_scan_home, record_of, reproduce, shrink
from tests.tiny import change_recipe, put, rematch, write_recipe

FOLDER = ROOT / "recipes"


# ------------------------------------------------------------------------------------- the guides


def test_guided_and_self_guided_recipes_differ_in_the_guide_alone() -> None:
    for data in ("scenes", "flickr30k", "mscoco"):
        one, other = (single(FOLDER / f"user/{data}-{kind}.yaml").model_dump() for kind in ("sge", "cge"))
        assert one["training"] == other["training"]
        assert one["evaluation"] == other["evaluation"]
        assert {**other["data"], "guides": None} == {**one["data"], "guides": None}
        added = {key for key in other["model"] if other["model"][key] != one["model"].get(key)}
        assert added == {"enhancement", "guide"}


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (
            "data.guides",
            {"source": "clop"},
            "field 'data.guides': found {'source': 'clop'}, input tag 'clop'",
        ),
        ("data.guides", {"source": "clip", "modell": "x"}, "did you mean 'model'?"),
        ("model.guide", {"activation": "swish"}, "field 'model.guide.activation': found 'swish'"),
        ("model.guide", {"widht": "space"}, "field 'model.guide.widht' is not known; did you mean 'width'?"),
        ("model.enhancement", "sge", "field 'model.guide': enhancement 'sge' has none"),
        (
            "data.guides",
            None,
            "field 'data.guides' is missing: the model reads a vector of 512 of each image",
        ),
        (
            "data.guides",
            {"source": "file"},
            "field 'data.guides.source': found 'file', whose vectors lie beside",
        ),
    ],
)
def test_mistakes_about_guides_are_one_line(
    keys: str, value: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("recipes/user/scenes-cge.yaml")
    document = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    put(keys, value)(document)
    put("data.options", {"n_train": 6, "n_val": 2, "n_test": 4})(document)
    write_recipe(tmp_path / path, document)
    shutil.copytree(ROOT / "results/paper", tmp_path / "results/paper")
    monkeypatch.chdir(tmp_path)
    error = rematch("reproduce", path, "--no-progress", "--device", "cpu").error
    assert error.startswith(f"{path}: ")
    assert message in error


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
SHRUNK = {**COMMON, "pretrained": False}
OWN: dict[str, dict[str, Any]] = {
    "sge": {
        "model.bert": BERT,
        "model.vocabulary": "letters",
        "model.queue": 48,
        "model.momentum": 0.9,
        "model.dropout": 0.0,
        "training.stages": [
            {"epochs": 4, "loss": {"scale": 20, "threshold": 0.5, "batch_weight": 3, "tangent": True}}
        ],
    },
    "cge": {},
    "bert": {
        "model.bert": BERT,
        "model.vocabulary": "letters",
        "training.stages": [{"epochs": 2, "loss": {"hardest": False}}],
    },
    "bigru": {"model.word_dim": 16, "training.stages": [{"epochs": 2, "loss": {"hardest": False}}]},
}
OWN["cge"] = {**OWN["sge"], "data.guides": {"source": "file"}, "model.guide": {"dim": 8}}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with planted data, CLIP's vectors beside them, and shrunk copies of the recipes."""
    for method, kind in RUNS:
        shrink(tmp_path, f"{method}/flickr30k-{kind}", {**SHRUNK, **OWN[kind]})
    make_scan_home(tmp_path, test="test")
    for seed, (part, images) in enumerate({"train": 60, "dev": 10, "test": 20}.items(), start=1):
        clip = np.random.default_rng(seed).standard_normal((images, 8)).astype(np.float32)
        np.save(tmp_path / "precomp" / f"{part}_clip.npy", clip)
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUNS = [("user", "sge"), ("user", "cge"), ("vse_infty", "bert"), ("vse_infty", "bigru")]


@pytest.mark.parametrize(("method", "kind"), RUNS)
def test_a_run_from_a_scan_folder(work: Path, method: str, kind: str) -> None:
    """Trained; then its weights, saved as the authors' code saves them, are evaluated to the same scores."""
    recipe = f"{method}/flickr30k-{kind}"
    outcome = reproduce(recipe, "--no-tables")
    assert outcome.code == 0, outcome.err
    record = record_of(recipe, seed_of(method))
    metrics = record.results["flickr30k"].metrics
    assert least_r1(record) >= 15, kind
    assert record.codec.startswith("words:" if kind == "bigru" else "wordpiece:letters:")
    assert kind == "bigru" or record.codec.endswith(":uncut")
    if kind == "cge":
        assert any("guides of 'test': vectors of test_clip.npy" in note for note in record.notes)
        error = evaluate(recipe, "--official-checkpoint", save_parts(work / "best.pth", [{}, {}])).error
        assert "best.pth: this recipe's model has enhancement 'cge', a reconstruction" in error
        return
    prefix = "module." if kind == "bert" else ""  # user.md 8
    path = save_parts(work / "model_best.pth", as_the_authors_have_it(method, kind, prefix))
    found = evaluate(recipe, "--official-checkpoint", path, "--save-sims", "official.npy")
    assert "authors' checkpoint: " in found.good
    assert evaluate(recipe, "--save-sims", "ours.npy").code == 0
    np.testing.assert_array_equal(np.load("official.npy"), np.load("ours.npy"))
    official = record_of(recipe, seed_of(method), "-official")
    assert (official.weights, official.weights_sha256) == ("official", sha256_file(path))
    assert official.results["flickr30k"].metrics == metrics


def seed_of(method: str) -> int:
    return 1 if method == "user" else 0


def as_the_authors_have_it(method: str, kind: str, prefix: str) -> list[dict[str, Tensor]]:
    """The trained weights as the two state dicts of a checkpoint."""
    state = load_file(f".rematch/flickr30k/{method}-{kind}/{seed_of(method)}/best.safetensors")
    words = "words.embedding" if kind == "bigru" else "bert.embeddings.word_embeddings"
    config = single(Path(f"recipes/{method}/flickr30k-{kind}.yaml")).method_config()
    model = get_method(method).build(config, DataFacts(vocab_size=len(state[f"text_encoder.{words}.weight"])))
    model.load_state_dict(state)
    assert isinstance(model, nn.Module)
    parts = pooled_parts(model)
    return [{prefix + name: value for name, value in part.items()} for part in parts]


def test_a_queue_that_batches_do_not_fill_is_refused_when_the_recipe_is_read(work: Path) -> None:
    path = work / "recipes/user/flickr30k-sge.yaml"
    change_recipe(path, put("model.queue", 50))
    error = reproduce("user/flickr30k-sge", "--no-tables").error
    assert error.startswith(
        "recipes/user/flickr30k-sge.yaml: field 'model.queue': found 50, expected a multiple of "
    )
    assert "training.batch_size (12), such as 48 and 60" in error
