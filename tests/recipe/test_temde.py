"""T-EMDE's recipes: the hosts' with a sketch, marked as a reconstruction wherever a number stands, and whole runs."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
import torch

from baselines.temde.model import TEMDEConfig
from baselines.temde.sketch import SketchConfig
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import Recipe
from benchmark.run.job import RECONSTRUCTION
from benchmark.studies.definition import load_study, study_paths
from tests.baselines.sgraf.models import tiny_sgraf
from tests.baselines.sgraf.official import official_entries, save_checkpoint
from tests.data.region_files import PLANTED_WIDTH
from tests.paths import ROOT
from tests.recipe.networks import single
from tests.recipe.scan_runs import (
    CHANGES,
    evaluate,
    least_r1,
    make_scan_home,
    record_of,
    reproduce,
    shrink,
)
from tests.tiny import change_recipe, put

FOLDER, HOSTS = ROOT / "recipes/temde", ROOT / "recipes/sgraf"
FULL = ("flickr30k", "mscoco")


def recipe_of(dataset: str, module: str, folder: Path = FOLDER) -> Recipe:
    return single(folder / f"{dataset}-{module.lower()}.yaml")


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


RUN = "temde/flickr30k-saf"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with planted data and shrunk copies of the recipes for Flickr30K, to work in."""
    for variant in ("saf", "sgr", "ensemble"):
        shrink(tmp_path, f"temde/flickr30k-{variant}", CHANGES["temde"])
    monkeypatch.chdir(make_scan_home(tmp_path))
    return tmp_path


def test_both_hosts_and_their_ensemble_say_reconstruction_everywhere(work: Path) -> None:
    shown = reproduce("temde/flickr30k-ensemble").good
    runs = ("temde-saf", "temde-sgr", "temde-ensemble")
    for run in runs:
        record = record_of(run.replace("-", "/flickr30k-"))
        assert record.departures[0] == RECONSTRUCTION
        assert record.departures.count(RECONSTRUCTION) == 1
        assert not record.comparable
        assert least_r1(record) >= 25, run
    assert "temde-ensemble (reconstruction) on flickr30k: i2t R@1" in shown
    rows = (work / "results/tables/flickr30k.csv").read_text(encoding="utf-8").splitlines()
    page = (work / "results/tables/flickr30k.md").read_text(encoding="utf-8").splitlines()
    for run in runs:
        assert [line for line in rows if run in line and f"not comparable: {RECONSTRUCTION}" in line], run
        (cells,) = (
            line.split("|") for line in page if line.startswith("|") and line.split("|")[2].strip() == run
        )
        assert "not comparable" in [cell.strip() for cell in cells]
    (shared,) = (line for line in page if line.startswith("Every run of this table departs from its paper: "))
    assert RECONSTRUCTION in shared
    assert RECONSTRUCTION in html.unescape(
        (work / "results/tables/flickr30k.html").read_text(encoding="utf-8")
    )
    printed = " ".join((work / "results/tables/flickr30k.tex").read_text(encoding="utf-8").split())
    assert "runs depart from their paper's set-up" in printed  # the reasons stand on the page


def test_a_recipe_of_ones_own_is_a_reconstruction_too_and_takes_no_checkpoint(work: Path) -> None:
    """The mark is the method's, whatever a recipe says of itself; and no authors' weights can be evaluated."""
    path = work / "recipes/temde/flickr30k-saf.yaml"
    change_recipe(path, put("departures", ["another width"]))
    change_recipe(path, put("training.stages", [{"epochs": 1}]))
    assert reproduce(RUN, "--no-tables").code == 0
    assert record_of(RUN).departures[0] == RECONSTRUCTION
    error = evaluate(RUN, "--official-checkpoint", host_file(work)).error
    assert "T-EMDE's authors published no checkpoint" in error


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
    assert "name a checkpoint of the host in field 'model.host_checkpoint'" in reproduce(RUN).error
    change_recipe(path, put("model.host_checkpoint", "absent.pth.tar"))
    assert "absent.pth.tar: no such checkpoint" in reproduce(RUN).error
    change_recipe(path, put("model.host_checkpoint", host_file(work)))
    assert reproduce(RUN, "--no-tables").code == 0
    record = record_of(RUN)
    assert record.recipe["model"]["host_checkpoint"] == "model_best.pth.tar"
