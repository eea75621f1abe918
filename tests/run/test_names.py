"""Names of runs: `query`, `diff` and `export` take the same ones, and say which is nearest to an unknown one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.reporting.diff.sides import load_side
from benchmark.run.names import find_record, find_run
from tests.tiny import BOTH, I2T, change_recipe, refused, rematch, write_recipe

RUNS = Path("results/runs/scenes")
RECORD = RUNS / "hat-i2t/0.json"
NAMES = ["hat-i2t", "hat-i2t/0", "scenes/hat-i2t", "scenes/hat-i2t/0", RECORD.as_posix(), I2T.as_posix()]


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_takes_every_name(home: Path, name: str) -> None:
    assert find_record(name) == RECORD, home
    assert [record.path for record in load_side(name).records] == [Path("scenes/hat-i2t/0.json")]
    run = find_run(name)
    assert (run.path, run.name, run.seed, run.profile) == (I2T, "hat-i2t", 0, None)


def test_the_verbs_know_the_names(home: Path) -> None:
    said = rematch("query", "hat-i2t", "a red circle", "--device", "cpu", "--no-progress", "--format", "json")
    (answer,) = json.loads(said.good)
    assert [row["rank"] for row in answer["rows"]] == [1, 2, 3, 4, 5], home
    assert all(isinstance(row["score"], float) for row in answer["rows"])
    assert "the canonical hashes are equal" in rematch("diff", I2T, "hat-i2t/0").good
    assert "README.md" in rematch("export", I2T, "out").good


@pytest.mark.parametrize(
    "command", [("query", "hat-i2", "red"), ("diff", "hat-i2", "hat-t2i"), ("export", "hat-i2", "out")]
)
def test_an_unknown_name_gets_the_nearest_one(home: Path, command: tuple[str, ...]) -> None:
    said = refused(*command)
    assert said.startswith("run 'hat-i2': no such run in results/runs"), home
    assert "did you mean 'hat-i2t'?" in said
    command = (command[0], "recipes/hat/scenes-i2.yaml", *command[2:])
    assert (
        "recipes/hat/scenes-i2.yaml: no such recipe; did you mean 'recipes/hat/scenes-i2t.yaml'?"
        in refused(*command)
    )


def test_several_seeds_and_several_runs(home: Path) -> None:
    shutil.copy(RECORD, RECORD.with_name("1.json"))
    with pytest.raises(UserError, match=r"2 records .*: scenes/hat-i2t/0, scenes/hat-i2t/1"):
        find_record("hat-i2t")
    assert find_run("hat-i2t").seed == 0, home
    shutil.copytree(RUNS, RUNS.with_name("mscoco"))
    for find in (find_record, find_run, load_side):
        with pytest.raises(UserError, match="several runs: mscoco/hat-i2t, scenes/hat-i2t"):
            find("hat-i2t")


def test_a_run_without_a_record_is_named_after_its_recipe(fresh: Path) -> None:
    assert find_run("scenes/hat-ensemble").path == BOTH, fresh
    write_recipe(I2T.parent / "profiles/reduced.yaml", {"summary": "less", "departures": ["less"]})
    assert find_run("scenes/hat-i2t-reduced").profile == "reduced"
    change_recipe(I2T, lambda document: document["training"].update(seed=7))
    assert find_run("scenes/hat-i2t").seed == 7
    with pytest.raises(UserError, match=r"several runs: .*mscoco/hat-i2t, scenes/hat-i2t"):
        find_run("hat-i2t")
    with pytest.raises(UserError, match="option --profile: found 'reduced' with the run 'hat-i2t'"):
        find_run("hat-i2t", "reduced")


def test_authors_weights_are_not_asked_by_the_name_of_their_record(home: Path) -> None:
    from benchmark.records.record import canonical_hash, read_record, write_record

    record = read_record(RECORD).model_copy(update={"run": "hat-i2t-official", "weights": "official"})
    write_record(record.model_copy(update={"canonical_hash": canonical_hash(record)}))
    with pytest.raises(UserError, match="run 'hat-i2t-official': its weights are the authors'"):
        find_run("hat-i2t-official")
    assert find_run("hat-i2t").name == "hat-i2t", home
