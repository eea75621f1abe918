"""Epochs beside those with all pairs in one pass: both train alike, and a stage that is not there is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from benchmark.errors import UserError
from benchmark.run import epochs as timed
from benchmark.run.epochs import time_epoch
from benchmark.training.trainer import EpochTrace, Trainer
from tests.paths import ROOT
from tests.tiny import write_recipe


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """RCAR's recipe on 40 images, narrow, in a folder of its own."""
    document = yaml.safe_load((ROOT / "recipes/rcar/scenes-t2i.yaml").read_text(encoding="utf-8"))
    document["data"]["options"] = {"n_train": 40, "n_val": 8, "n_test": 16}
    document["model"] |= {"dim": 8, "sim_dim": 4, "word_dim": 8}
    document["training"] |= {"batch_size": 8, "schedule": "constant"}
    del document["expected"]
    monkeypatch.chdir(tmp_path)
    return write_recipe(Path("recipes/rcar/small.yaml"), document)


def test_both_ways_train_alike_and_differ_in_how(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traces: list[tuple[bool, list[float]]] = []
    whole = Trainer.epoch

    def epoch(self: Trainer, number: int, max_steps: int | None = None) -> EpochTrace:
        trace = whole(self, number, max_steps)
        fused = bool(self.optimizer.param_groups[0]["fused"])
        traces.append((fused, trace.losses))
        return trace

    monkeypatch.setattr(Trainer, "epoch", epoch)
    row = time_epoch(recipe, hardest=True, repeats=2, steps=3)
    assert len(row.own) == len(row.before) == 2
    assert row.share > 0
    kinds = {fused: [losses for found, losses in traces if found == fused] for fused in (True, False)}
    assert [len(losses) for losses in kinds[True]] == [2, 3, 3]
    for own, before in zip(kinds[True], kinds[False], strict=True):
        torch.testing.assert_close(own, before, atol=1e-4, rtol=1e-4)


def test_the_other_way_has_gradient_through_all_pairs(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = timed._all_pairs

    def all_pairs(*arguments: object) -> torch.Tensor:
        calls.append(1)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(timed, "_all_pairs", all_pairs)
    time_epoch(recipe, hardest=False, repeats=1, steps=3)
    assert len(calls) == 2 + 3


def test_a_recipe_without_such_a_stage_is_one_line(recipe: Path) -> None:
    document = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    document["training"]["stages"] = document["training"]["stages"][:1]
    write_recipe(recipe, document)
    with pytest.raises(UserError, match=r"small\.yaml: no stage takes the hardest negatives"):
        time_epoch(recipe, hardest=True, repeats=1, steps=1)
