"""T-EMDE's recipes: the hosts' with a sketch, marked as a reconstruction wherever a number stands, and whole runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from baselines.temde.model import TEMDEConfig
from baselines.temde.sketch import SketchConfig
from benchmark.data.text.vocabulary import PUBLISHED_SIZES
from benchmark.method import DataFacts
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import EnsembleRecipe, Recipe
from benchmark.records.paper import find_row
from benchmark.records.record import read_record
from benchmark.registry import get_method
from benchmark.run.job import RECONSTRUCTION
from benchmark.studies.definition import load_study, study_paths
from tests.baselines.sgraf.models import tiny_sgraf
from tests.baselines.sgraf.official import official_entries, save_checkpoint
from tests.data.region_files import PLANTED_WIDTH, planted_part
from tests.paths import ROOT
from tests.tiny import Outcome, change_recipe, put, rematch, write_recipe

FOLDER, HOSTS = ROOT / "recipes/temde", ROOT / "recipes/sgraf"
FULL = ("flickr30k", "mscoco")
PARAMETERS = {  # temde.md 3.5
    ("flickr30k", "SAF"): 14_364_336,
    ("flickr30k", "SGR"): 14_956_205,
    ("mscoco", "SAF"): 15_225_936,
    ("mscoco", "SGR"): 15_817_805,
}
CASES = [pytest.param(data, module, id=f"{data}-{module}") for data, module in PARAMETERS]


def recipe_of(dataset: str, module: str, folder: Path = FOLDER) -> Recipe:
    recipe = load_recipe(folder / f"{dataset}-{module.lower()}.yaml")
    assert isinstance(recipe, Recipe)
    return recipe


# ------------------------------------------------------------------------------- the host's numbers


def test_temde_has_a_recipe_for_every_one_of_its_hosts() -> None:
    names = {path.stem for path in FOLDER.glob("*.yaml")}
    assert names == {path.stem for path in HOSTS.glob("*.yaml")}
    assert len(names) == 9


@pytest.mark.parametrize("module", ["SAF", "SGR"])
@pytest.mark.parametrize("dataset", ["scenes", *FULL])
def test_all_but_the_sketch_is_the_hosts(dataset: str, module: str) -> None:
    ours, host = recipe_of(dataset, module), recipe_of(dataset, module, HOSTS)
    assert (ours.data, ours.training, ours.evaluation) == (host.data, host.training, host.evaluation)
    assert ours.pretrained == host.pretrained
    model = dict(ours.model)
    assert model.pop("global_branch") == "sketch"
    assert model.pop("sketch")
    assert model == host.model
    assert ours.method == "temde"


@pytest.mark.parametrize(("dataset", "module"), CASES)
def test_full_size_is_the_documented_reconstruction(dataset: str, module: str) -> None:
    recipe = recipe_of(dataset, module)
    method, config = get_method(recipe.method), recipe.method_config()
    assert config == TEMDEConfig.model_validate({"module": module})  # all defaults are those of temde.md 3.3
    with torch.device("meta"):
        model = method.build(config, DataFacts(vocab_size=PUBLISHED_SIZES[dataset]))
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[dataset, module]


def test_the_defaults_are_the_documented_ones() -> None:
    """temde.md 3.4, the column "default"."""
    assert SketchConfig().model_dump() == {
        "depth": 8,
        "width": 128,
        "assignment": "softmax",
        "logit": "dot",
        "temperature": 1.0,
        "temperature_rule": "fixed",
        "final_temperature": None,
        "anneal_steps": None,
        "sharing": "one",
        "rows": "mean",
        "final_l2": True,
        "comparison": "squared_difference",
        "output_projection": False,
        "input_transform": False,
        "transform_dropout": 0.4,
        "dropout": 0.0,
        "scope": "both",
        "placement": "replace",
    }


@pytest.mark.parametrize("module", ["SAF", "SGR"])
def test_scenes_sketches_have_as_many_cells_as_the_hosts_vectors(module: str) -> None:
    config = recipe_of("scenes", module).method_config()
    assert isinstance(config, TEMDEConfig)
    assert config.sketch.cells == config.dim == 64
    assert config.sketch.model_copy(update={"depth": 8, "width": 128}) == SketchConfig()


def test_the_study_holds_each_host_beside_its_sketches() -> None:
    study = load_study(study_paths(ROOT / "recipes")["temde"])
    pairs = {(pair.of, pair.against) for pair in study.study.comparisons}
    assert pairs == {("saf-temde", "saf"), ("sgr-temde", "sgr")}
    for of, against in pairs:
        ours, host = study.variants[of].recipe, study.variants[against].recipe
        assert (ours.method, host.method) == ("temde", "sgraf")
        assert (ours.data, ours.training) == (host.data, host.training)
        assert study.study.seeds_of(of) == study.study.seeds_of(against) == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------------------------- reconstruction


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_says_that_it_is_a_reconstruction(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.departures[0] == RECONSTRUCTION
    assert "a reconstruction" in recipe.summary
    protocol = {"flickr30k": "flickr30k", "mscoco": "mscoco-5k"}.get(path.stem.partition("-")[0])
    if protocol is not None:
        row = find_row(recipe.paper_row.method, recipe.paper_row.variant, protocol, ROOT / "results/paper")
        assert row is not None
        assert row.ensemble == isinstance(recipe, EnsembleRecipe)


CHANGES: dict[str, Any] = {
    "model.region_dim": PLANTED_WIDTH,
    "model.dim": 32,
    "model.sim_dim": 16,
    "model.word_dim": 16,
    "model.dropout": 0.0,
    "model.sketch.depth": 4,
    "model.sketch.width": 8,
    "training.batch_size": 24,
    "training.optimizer.lr": 0.01,
    "training.stages": [{"epochs": 5, "loss": {"hardest": False}}],
    "training.workers": 0,
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with shrunk copies of the full-size recipes, and a SCAN folder `precomp` of a few images."""
    for path in [path for data in FULL for path in FOLDER.glob(f"{data}-*.yaml")]:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for keys, value in CHANGES.items() if "ensemble" not in document else ():
            put(keys, value)(document)
        write_recipe(tmp_path / "recipes/temde" / path.name, document)
    shutil.copytree(ROOT / "results/paper", tmp_path / "results/paper")
    for seed, (part, images) in enumerate({"train": 60, "dev": 10, "testall": 20}.items(), start=1):
        planted_part(tmp_path / "precomp", part, images, seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reproduce(name: str, *arguments: object) -> Outcome:
    quiet = ("--no-latency", "--no-progress", "--device", "cpu", "--data-dir", "precomp", "--unverified")
    return rematch("reproduce", f"recipes/temde/{name}.yaml", *arguments, *quiet)


def test_both_hosts_and_their_ensemble_say_reconstruction_everywhere(work: Path) -> None:
    shown = reproduce("flickr30k-ensemble").good
    runs = ("temde-saf", "temde-sgr", "temde-ensemble")
    for run in runs:
        record = read_record(Path(f"results/runs/flickr30k/{run}/0.json"))
        assert record.departures[0] == RECONSTRUCTION
        assert record.departures.count(RECONSTRUCTION) == 1
        assert not record.comparable
        metrics = record.results["flickr30k"].metrics
        assert min(metrics.i2t.r1, metrics.t2i.r1) >= 25, run  # by chance 5
    assert "temde-ensemble (reconstruction) on flickr30k: i2t R@1" in shown
    rows = (work / "results/tables/flickr30k.csv").read_text(encoding="utf-8").splitlines()
    page = (work / "results/tables/flickr30k.md").read_text(encoding="utf-8").splitlines()
    for run in runs:
        assert [line for line in rows if run in line and f"not comparable: {RECONSTRUCTION}" in line], run
        (cells,) = (
            line.split("|") for line in page if line.startswith("|") and line.split("|")[2].strip() == run
        )
        assert cells[-2].split()[0] == "a"
    assert f"- **a**: {RECONSTRUCTION}" in page
    for name in ("flickr30k.tex", "flickr30k.html"):
        assert RECONSTRUCTION in (work / "results/tables" / name).read_text(encoding="utf-8")
    assert f"a {RECONSTRUCTION}" in shown


def test_a_recipe_of_ones_own_is_a_reconstruction_too(work: Path) -> None:
    """It is the method's mark, whatever a recipe says of itself."""
    path = work / "recipes/temde/flickr30k-saf.yaml"
    change_recipe(path, put("departures", ["another width"]))
    change_recipe(path, put("training.stages", [{"epochs": 1}]))
    assert reproduce("flickr30k-saf", "--no-tables").code == 0
    assert read_record(Path("results/runs/flickr30k/temde-saf/0.json")).departures[0] == RECONSTRUCTION


# ---------------------------------------------------------------------- an authors' checkpoint of the host


def host_file(work: Path) -> str:
    """A checkpoint as SAF's authors write it, of the recipe's sizes and the vocabulary of the planted captions."""
    sizes = {"regions": 36, "region_dim": PLANTED_WIDTH, "dim": 32, "sim_dim": 16, "word_dim": 16}
    host = tiny_sgraf("SAF", **sizes)
    embedding = host.text_encoder.embedding
    host.text_encoder.embedding = torch.nn.Embedding(
        16, embedding.embedding_dim
    )  # 12 things, 4 of the codec's own
    return save_checkpoint(work / "model_best.pth.tar", official_entries(host)).name


def test_a_training_can_start_from_the_host(work: Path) -> None:
    path = work / "recipes/temde/flickr30k-saf.yaml"
    change_recipe(path, put("training.stages", [{"epochs": 1}]))
    change_recipe(path, put("pretrained", True))
    assert (
        "name a checkpoint of the host in field 'model.host_checkpoint'" in reproduce("flickr30k-saf").error
    )
    change_recipe(path, put("model.host_checkpoint", "absent.pth.tar"))
    assert "absent.pth.tar: no such checkpoint" in reproduce("flickr30k-saf").error
    change_recipe(path, put("model.host_checkpoint", host_file(work)))
    assert reproduce("flickr30k-saf", "--no-tables").code == 0
    record = read_record(Path("results/runs/flickr30k/temde-saf/0.json"))
    assert record.recipe["model"]["host_checkpoint"] == "model_best.pth.tar"


def test_no_checkpoint_can_be_evaluated_as_the_authors(work: Path) -> None:
    change_recipe(work / "recipes/temde/flickr30k-saf.yaml", put("training.stages", [{"epochs": 1}]))
    assert reproduce("flickr30k-saf", "--no-tables").code == 0
    error = rematch(
        "evaluate",
        *("--recipe", "recipes/temde/flickr30k-saf.yaml", "--official-checkpoint", host_file(work)),
        *("--data-dir", "precomp", "--unverified", "--device", "cpu", "--no-progress"),
    ).error
    assert "T-EMDE's authors published no checkpoint" in error
