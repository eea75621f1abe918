"""`rematch time estimates`: recipes without an estimate of their version are found, probed and written one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.checks.gpu.subjects import Subject, shortened
from benchmark.places import ESTIMATES
from benchmark.records.estimate import file_digest, read_estimates
from benchmark.run import estimates
from benchmark.run.plan import make_plan, vocabulary_size
from benchmark.run.probe import synthetic_batch
from benchmark.run.runs import read_run
from tests.paths import ROOT
from tests.tiny import I2T, T2I, change_recipe, put, rematch


def test_full_size_recipes_of_the_papers_datasets_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    paths = [run.path.as_posix() for run in estimates.reported_runs()]
    assert {"recipes/hat/flickr30k-i2t.yaml", "recipes/rcar/mscoco-t2i.yaml"} <= set(paths)
    assert not [path for path in paths if "scenes" in path or "flickr8k" in path or "ensemble" in path]


def test_an_estimate_is_the_dry_runs(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = read_run(I2T)
    plan = make_plan(run.single, vocabulary_size(run.single), [], products=True)
    monkeypatch.setattr(estimates, "make_plan", lambda *_, **__: plan)  # time is not the same twice
    ((path, found),) = estimates.estimate_runs([run])
    assert path == I2T.as_posix()
    assert found.recipe_digest == file_digest(I2T), fresh
    assert (found.seconds, found.memory_bytes) == (
        max(1, round(plan.train_seconds)),
        round(plan.largest.memory_bytes),
    )


@pytest.mark.usefixtures("fresh")
def test_estimates_are_written_one_by_one_and_made_anew_for_a_changed_recipe() -> None:
    assert "hat/scenes-i2t.yaml" in rematch("time", "estimates", I2T).good
    assert not ESTIMATES.exists()
    assert rematch("time", "estimates", I2T, T2I, "--update").code == 0
    kept = read_estimates()
    assert list(kept) == [I2T.as_posix(), T2I.as_posix()]
    table = ESTIMATES.with_suffix(".md").read_text(encoding="utf-8")
    assert "Estimated, not measured" in table
    assert table.index(I2T.as_posix()) < table.index(T2I.as_posix())
    runs = [read_run(path) for path in (I2T, T2I)]
    assert estimates.unknown_runs(runs, kept) == []
    change_recipe(T2I, put("training.batch_size", 16))
    assert [run.path for run in estimates.unknown_runs(runs, kept)] == [T2I]


def test_an_estimate_is_of_the_models_products(fresh: Path) -> None:
    """The FLOPs of a step times the steps, as a training step has them."""
    change_recipe(I2T, lambda document: document["training"].update(batch_size=8))
    ((_, found),) = estimates.estimate_runs([read_run(I2T)])
    subject = Subject.of(shortened(read_run(I2T).single, 8), "hat")
    trainer = subject.trainer(torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        trainer.step(synthetic_batch(subject.spec, subject.vocab_size, 8), subject.enter_largest(trainer))
    steps = 25  # 200 captions
    assert found.batch_size == 8, fresh
    assert found.flops == pytest.approx(steps * counter.get_total_flops(), rel=0.1)
