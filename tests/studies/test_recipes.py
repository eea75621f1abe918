"""The committed studies: every definition has a plan, every table belongs to its results and these to its recipes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from baselines.temde.checks import latency
from benchmark.records.study import read_results
from benchmark.records.timed_study import is_timing
from benchmark.studies.definition import load_study, study_paths
from benchmark.studies.timing import is_timing_study, load_timing_study
from tests.paths import ROOT
from tests.tiny import rematch, stale_study_tables


def test_committed_studies_are_sound_and_their_tables_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert stale_study_tables() == []
    paths = study_paths()
    defined = {name: load_study(path) for name, path in paths.items() if not is_timing_study(path)}
    for path in Path("results/studies").glob("*.json"):
        assert path.stem in paths, f"{path}: no such study"
        assert is_timing(path) == (path.stem not in defined), f"{path}: of another kind than its definition"
        if is_timing(path):
            continue
        now = {name: item.digest for name, item in defined[path.stem].variants.items()}
        found = {item.name: item.digest for item in read_results(path).variants}
        assert found == now, f"{path}: run `rematch study {path.stem}` again"


@pytest.mark.parametrize("name", study_paths(ROOT / "recipes"))
def test_a_committed_study_has_a_plan(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(latency, "Sizes", partial(latency.Sizes, items=8, batch=4, sets=3))  # of full width
    path = study_paths()[name]
    if is_timing_study(path):
        study = load_timing_study(path)
        rounds = study.warm_up + study.rounds
        assert f"groups of contenders, {rounds} rounds each" in rematch("study", name, "--dry-run").good
        return
    defined = load_study(path)
    runs = sum(len(defined.study.seeds_of(variant)) for variant in defined.variants)
    assert f"study {name}: {runs} runs, " in rematch("study", name, "--dry-run").good
    seen = {item.digest for item in defined.variants.values()}
    assert len(seen) == len(defined.variants), "two variants are the same recipe"
