"""A method of another package: thirty lines of Python from `rematch new`, found by its entry point, the whole way."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import registry
from benchmark.errors import UserError
from benchmark.recipe.schema import PaperRow
from benchmark.records.paper import resolve
from benchmark.share.new import template_files
from tests.paths import ROOT
from tests.tiny import Outcome, change_recipe, put, record_of, refused, rematch, reproduce

NAME = "meanvec"
RECIPE = Path(f"recipes/{NAME}/scenes.yaml")
RUN = NAME


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder without papers where the method was written, and installed as a distribution of its own."""
    folder = tmp_path_factory.mktemp("plugin")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        registry._entry_points.cache_clear()
        assert "rematch reproduce meanvec scenes" in rematch("new", NAME).good
        change_recipe(RECIPE, put("data.options", {"n_train": 150, "n_val": 20, "n_test": 40}))
        change_recipe(RECIPE, put("training.batch_size", 50))
        installed = folder / NAME / f"rematch_{NAME}-0.1.0.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: rematch-{NAME}\nVersion: 0.1.0\n")
        (installed / "entry_points.txt").write_text(f"[rematch.baselines]\n{NAME} = rematch_{NAME}:METHOD\n")
        patch.syspath_prepend(folder / NAME)
        importlib.invalidate_caches()
        registry._entry_points.cache_clear()
        yield folder
    registry._entry_points.cache_clear()
    sys.modules.pop(f"rematch_{NAME}", None)


@pytest.fixture(autouse=True)
def inside(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


@pytest.fixture(scope="module")
def trained(home: Path) -> Outcome:
    """`rematch reproduce`, tables included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        return reproduce(NAME, "scenes")


def test_it_is_at_most_thirty_lines_and_the_page_shows_them() -> None:
    code = next(text for path, text in template_files("mean", Path()).items() if path.suffix == ".py")
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    page = (ROOT / "docs/plugin.md").read_text(encoding="utf-8")
    for path, text in template_files("mean", Path("mean")).items():
        assert text in page, path


def test_it_is_listed() -> None:
    listed = rematch("list").good
    assert NAME in listed
    assert RECIPE.as_posix() in listed


def test_it_is_trained_recorded_and_put_into_tables(trained: Outcome) -> None:
    assert "rsum" in trained.good
    record = record_of(RUN)
    assert (record.method, record.variant) == (NAME, NAME)
    chance = 100 * (1 / 40 + 1 / 200)
    assert record.results["scenes"].metrics.rsum > 3 * chance
    for made in ("results/tables/scenes.md", "results/report.html"):
        assert RUN in Path(made).read_text(encoding="utf-8"), made
    rematch("leaderboard", "--check").good  # noqa: B018  # no paper is needed to make the tables again


def test_it_is_timed(trained: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    trained.good  # noqa: B018
    assert RECIPE.as_posix() in rematch("latency", RECIPE, "--device", "cpu").good
    monkeypatch.setattr("benchmark.timing.scoring.rank_benchmark", lambda: [])  # the same for every method
    timed = rematch("bench", NAME, "--repeats", 1).good
    assert f"{RUN}, 40 x 200" in timed


def test_it_has_references_for_drift(trained: Outcome) -> None:
    trained.good  # noqa: B018
    assert f"rematch drift {NAME} --update" in refused("drift", NAME, "--no-progress")
    assert f"results/reference/scenes/{RUN}.json" in rematch("drift", NAME, "--update", "--no-progress").good
    rematch("drift", NAME, "--no-progress").good  # noqa: B018
    reference = Path(f"results/reference/scenes/{RUN}.json")
    kept = reference.read_text(encoding="utf-8")
    document = json.loads(kept)
    document["trace"]["losses"][0] *= 1.5
    reference.write_text(json.dumps(document), encoding="utf-8")
    assert rematch("drift", NAME, "--no-progress").code == 1
    reference.write_text(kept, encoding="utf-8")


def test_its_study_runs() -> None:
    path = Path(f"recipes/{NAME}/studies/{NAME}.yaml")
    change_recipe(path, put("changes", {"training": {"stages": [{"epochs": 1}]}}))
    change_recipe(
        path, put("variants.all.changes.training.stages", [{"epochs": 1, "loss": {"hardest": False}}])
    )
    rematch("study", NAME, "--device", "cpu", "--no-progress").good  # noqa: B018
    assert "all" in Path(f"results/studies/{NAME}.md").read_text(encoding="utf-8")


def test_parity_without_recordings_says_what_to_add() -> None:
    error = refused("parity", NAME)
    assert f"tests/golden/{NAME}" in error
    assert "parity_cases" in error


@pytest.mark.parametrize(
    ("name", "words"), [("Mean", "small letters"), ("hat", "there already"), (NAME, "there already")]
)
def test_a_template_never_takes_the_place_of_something(name: str, words: str) -> None:
    assert words in refused("new", name)


def test_a_recipe_that_points_at_no_method_is_still_refused(home: Path) -> None:
    assert resolve(PaperRow(method=NAME, variant="anything")) is None
    with pytest.raises(UserError, match="no paper numbers for method 'meanvecs'"):
        resolve(PaperRow(method="meanvecs", variant="x"), home)
