"""Drift: passes on the code that made the references, and catches whatever moves a score or a loss."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmark.checks.drift import check as drift
from benchmark.checks.drift import update as drift_update
from benchmark.checks.drift.findings import Finding, Report
from benchmark.errors import UserError
from benchmark.files import sha256_file
from benchmark.records.reference import Reference, read_reference
from benchmark.run import reproduce as module
from benchmark.run.job import Job, build_model
from benchmark.training import read_weights
from benchmark.training.trainer import Trainer
from tests.pretend_cuda import GPU, pretended_gpu
from tests.tiny import I2T, Outcome, change_recipe, contents, cut_in_half, rematch, reproduce

FOLDER = Path("results/reference/scenes")
RUNS = ("hat-i2t", "hat-t2i")


def check(*arguments: object) -> Outcome:
    return rematch("drift", *arguments, "--no-progress")


def change_reference(change: Callable[[dict[str, Any]], object], run: str = "hat-i2t") -> None:
    path = FOLDER / f"{run}.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def left(findings: list[Finding]) -> set[tuple[str, str]]:
    """Which checks of which runs left their tolerance."""
    return {(finding.run, finding.check) for finding in findings if not finding.ok}


def found() -> list[Finding]:
    return drift.run_drift(None, show_progress=False).findings


# --------------------------------------------------------------------------------------- passing


def test_references_pass_where_they_were_made(checked: Path) -> None:
    before = contents()
    outcome = check()
    assert outcome.code == 0, outcome
    assert "drift" in outcome.out
    assert outcome.out.count(" ok ") == 2 * (len(drift.METRICS) + 3)
    assert contents() == before, checked


def test_nothing_moves_where_they_were_made(checked: Path) -> None:
    findings = found()
    assert {(item.run, item.check) for item in findings} == {
        (run, name) for run in RUNS for name in ("weights", "queries", "first steps")
    }, checked
    assert all(item.found == item.reference for item in findings)
    assert all((item.tolerance or 0) > 0 for item in findings if item.check != "queries")
    assert all(item.tolerance == 0 for item in findings if item.check == "queries")


def test_another_thread_count_passes(checked: Path) -> None:
    former = torch.get_num_threads()
    assert read_reference(FOLDER / "hat-i2t.json").made_with["threads"] == former
    torch.set_num_threads(former + 1)
    try:
        assert check().code == 0, checked
    finally:
        torch.set_num_threads(former)


def test_a_reference_holds_what_it_says(referenced: Path) -> None:
    path = referenced / FOLDER / "hat-i2t.json"
    reference = read_reference(path)
    assert reference.recipe_path == I2T.as_posix()
    assert reference.rescored is not None
    assert reference.trace is not None
    assert reference.rescored.weights_sha256 == sha256_file(path.with_suffix(".safetensors"))
    record = json.loads((referenced / "results/runs/scenes/hat-i2t/0.json").read_text())
    assert reference.trace.losses == record["training"]["first_losses"]
    assert reference.full.metrics["rsum"] == record["results"]["scenes"]["metrics"]["rsum"]
    assert {"torch", "timm", "transformers", "device", "threads"} == reference.made_with.keys()
    sims = np.load(referenced / ".rematch/scenes/hat-i2t/0/sims.npy")
    assert 100 < len(reference.rescored.sims) <= drift.SAMPLE
    np.testing.assert_allclose(
        reference.rescored.sims, drift.sample(sims), atol=0.05
    )  # half-precision weights
    stored = load_file(path.with_suffix(".safetensors"))
    trained, _ = read_weights(referenced / ".rematch/scenes/hat-i2t/0/best.safetensors")
    assert stored.keys() == trained.keys()
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    ensemble = read_reference(referenced / FOLDER / "hat-ensemble.json")
    assert (ensemble.rescored, ensemble.trace) == (None, None)
    assert not (referenced / FOLDER / "hat-ensemble.safetensors").exists()


def test_sample_spreads_over_the_matrix() -> None:
    sims = np.arange(400 * 2000, dtype=np.float64).reshape(400, 2000)
    values = np.array(drift.sample(sims))
    assert len(values) == drift.SAMPLE
    assert values[-1] > 0.99 * sims.size
    assert len(np.unique(values % 2000)) == drift.SAMPLE  # as many captions
    assert len(np.unique(values // 2000)) == drift.SAMPLE  # and images
    assert drift.sample(np.ones((2, 3))) == [1.0] * 6


# --------------------------------------------------------------------------------------- catching


def with_config(**changes: Any) -> Callable[..., Any]:
    """`build_model` with another configuration, as if the code had changed under the recipe."""

    def build(job: Job, *, pretrained: bool) -> Any:
        other = job.config.model_copy(update={name: change(job.config) for name, change in changes.items()})
        return build_model(dataclasses.replace(job, config=other), pretrained=pretrained)

    return build


def test_a_halved_attention_temperature_is_caught(checked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halved = with_config(temperature=lambda config: config.temperature / 2)
    monkeypatch.setattr(drift, "build_model", halved)
    caught = left(found())
    assert {(run, "weights") for run in RUNS} <= caught, checked


def test_a_swapped_direction_is_caught(checked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"i2t": "t2i", "t2i": "i2t"}
    monkeypatch.setattr(drift, "build_model", with_config(direction=lambda config: other[config.direction]))
    checks = ("weights", "queries", "first steps")
    assert left(found()) == {(run, name) for run in RUNS for name in checks}, checked


def test_another_learning_rate_is_caught(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rate = Trainer.rate
    monkeypatch.setattr(Trainer, "rate", lambda *args: 1.5 * rate(*args))
    assert left(found()) == {(run, "first steps") for run in RUNS[:1]}, single


def test_perturbed_weights_are_caught(single: Path) -> None:
    path = FOLDER / "hat-i2t.safetensors"
    state = load_file(path)
    name = next(name for name in state if name.startswith("image_projections") and state[name].ndim == 2)
    state[name] = (state[name].float() * 1.05).half()
    save_file(state, path)
    error = check().error
    assert error == f"{path.as_posix()}: not the weights of the reference (their sha256 differs)", single
    change_reference(lambda document: document["rescored"].update(weights_sha256=sha256_file(path)))
    assert left(found()) == {("hat-i2t", "weights")}


def shift(*keys: str | int, by: float) -> Callable[[dict[str, Any]], object]:
    """Add `by` to one recorded number."""

    def change(document: dict[str, Any]) -> None:
        *path, last = keys
        place: Any = document
        for key in path:
            place = place[key]
        place[last] += by

    return change


@pytest.mark.parametrize(
    ("change", "caught"),
    [
        (shift("trace", "losses", 3, by=1.0), "first steps"),
        (lambda document: document["trace"]["losses"].append(1.0), "first steps"),
        (shift("rescored", "sims", 9, by=0.001), "weights"),
        (shift("rescored", "metrics", "t2i_r5", by=1.0), "weights"),
        (shift("rescored", "metrics", "rsum", by=2.0), "weights"),
    ],
    ids=["loss", "one loss more", "similarity", "recall", "rsum"],
)
def test_one_perturbed_number_is_caught(
    single: Path, change: Callable[[dict[str, Any]], object], caught: str
) -> None:
    change_reference(change)
    outcome = check()
    assert outcome.code == 1, single
    lines = [line for line in outcome.out.splitlines() if " drift " in line]
    assert len(lines) == 1
    assert "hat-i2t" in lines[0]
    assert caught in lines[0]


def test_a_score_that_is_not_a_number_is_caught(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "first_steps", lambda _job, **_how: [math.nan] * 7)
    assert left(found()) == {("hat-i2t", "first steps")}, single
    assert check().code == 1


def test_findings() -> None:
    def ok(reference: float, value: float, tolerance: float) -> bool:
        return Finding("run", "check", "quantity", reference, value, tolerance).ok

    assert ok(1.0, 1.25, 0.25)
    assert ok(1.0, 0.75, 0.25)
    assert not ok(1.0, 1.2500001, 0.25)
    assert not ok(1.0, math.nan, 0.25)
    assert not ok(math.nan, 1.0, 0.25)
    assert not ok(1.0, math.inf, 0.25)


# -------------------------------------------------------------------------------- whole trainings


def test_full_trains_each_model_once_and_compares(checked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    findings: list[Finding] = []
    train_model, run_drift = module.train_model, drift.run_drift

    def noted(job: Job, model: Any) -> Any:
        trained.append(job.run.name)
        return train_model(job, model)

    def kept(*args: Any, **more: Any) -> Report:
        report = run_drift(*args, **more)
        findings.extend(report.findings)
        return report

    monkeypatch.setattr(module, "train_model", noted)
    monkeypatch.setattr(drift, "run_drift", kept)
    change_reference(shift("full", "metrics", "i2t_r5", by=3.1), "hat-ensemble")
    before = contents()
    assert check("--full").code == 1
    assert contents() == before, checked  # the trainings leave nothing behind
    assert trained == list(RUNS)
    full = [item for item in findings if item.check == "training"]
    assert [item.run for item in full] == [run for run in (*RUNS, "hat-ensemble") for _ in drift.METRICS]
    moved = [(item.run, item.quantity) for item in findings if item.found != item.reference]
    assert moved == [("hat-ensemble", "i2t_r5")]
    assert left(findings) == {("hat-ensemble", "training")}


# --------------------------------------------------------------------------------- user's mistakes


def test_a_changed_recipe_asks_for_new_references(single: Path) -> None:
    change_recipe(I2T, lambda document: document["model"].update(temperature=4.5))
    before = contents()
    assert check().error == (
        f"{FOLDER.as_posix()}/hat-i2t.json: made for another version of {I2T.as_posix()}; "
        "run the recipe again, then `rematch drift --update`"
    )
    assert contents() == before, single


def test_other_words_in_a_recipe_change_nothing(single: Path) -> None:
    change_recipe(I2T, lambda document: document.update(summary="other words"))
    assert check().code == 0, single


@pytest.mark.parametrize("name", ["hat-i2t.json", "hat-i2t.safetensors", "hat-i2t.npz"])
def test_a_damaged_or_missing_file_is_one_line(single: Path, name: str) -> None:
    cut_in_half(FOLDER / name)
    before = contents()
    assert check().error.startswith(f"{FOLDER.as_posix()}/{name}: ")
    assert contents() == before, single
    (FOLDER / name).unlink()
    missing = {".safetensors": "weights", ".npz": "ranks"}.get(Path(name).suffix)
    if missing:
        assert check().error.startswith(f"{FOLDER.as_posix()}/{name}: the reference's {missing} are missing")
    else:
        assert check().error.startswith("results/reference: no reference for any method")


def test_a_misspelt_field_is_one_line(single: Path) -> None:
    change_reference(lambda document: document.update(tracee=document.pop("trace")))
    assert "field 'tracee' is not known; did you mean 'trace'?" in check().error, single


def test_a_reference_without_its_recipe(single: Path) -> None:
    I2T.rename("recipes/hat/scenes-old.yaml")
    assert check().error.startswith(f"{I2T.as_posix()}: no such recipe"), single


# ---------------------------------------------------------------------------------- new references


def test_update_needs_the_weights_of_the_record(home: Path) -> None:
    weights = Path(".rematch/scenes/hat-i2t/0/best.safetensors")
    reproduce(I2T, "--seeds", 1)
    weights.write_bytes(Path(".rematch/scenes/hat-i2t/1/best.safetensors").read_bytes())
    before = contents()
    assert rematch("drift", "--update", "hat").error.startswith(
        f"{weights.as_posix()}: not the weights of "
    ), home
    weights.unlink()
    assert "no such weights file" in rematch("drift", "--update", "hat").error
    after = contents()
    # the ensemble's own reference came first; of the model in question there is none
    assert after.keys() - before.keys() == {f"{FOLDER.as_posix()}/hat-ensemble.json"}


def test_update_refuses_a_record_of_another_recipe(home: Path) -> None:
    change_recipe(I2T, lambda document: document["model"].update(temperature=4.5))
    assert "made with another version of" in rematch("drift", "--update").error, home
    assert not (FOLDER / "hat-i2t.json").exists()
    assert not (FOLDER / "hat-i2t.safetensors").exists()


def test_update_takes_the_lowest_seed(home: Path) -> None:
    for run in ("hat-t2i", "hat-ensemble"):
        shutil.rmtree(Path("results/runs/scenes") / run)
    reproduce(I2T, "--seeds", 1, "--no-tables")
    assert rematch("drift", "--update").good, home
    assert read_reference(FOLDER / "hat-i2t.json").full.seed == 0
    assert [path.name for path in sorted(FOLDER.iterdir())] == [
        "hat-i2t.json",
        "hat-i2t.npz",
        "hat-i2t.safetensors",
    ]


def test_update_writes_the_same_bytes_twice(
    referenced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(referenced, folder)
    monkeypatch.chdir(folder)
    before = contents(FOLDER)
    assert rematch("drift", "--update", "hat").code == 0
    assert contents(FOLDER) == before


def test_an_unreadable_reference_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("{}")
    with pytest.raises(UserError, match="field 'recipe_path' is missing") as caught:
        read_reference(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Reference.model_fields.keys() >= {"rescored", "trace", "full"}


# ------------------------------------------------------------------------------------ another device


def test_a_gpu_is_held_against_the_cpus_references_with_a_wider_tolerance_that_is_said(checked: Path) -> None:
    kept = contents()
    with pretended_gpu() as gpu:
        findings = drift.run_drift("hat", show_progress=False, device=GPU).findings
        assert sum(gpu.ops.values()) > 1000, checked
    mine = [item for item in findings if item.check != "queries"]
    plain = [item for item in found() if item.check != "queries"]
    for item, other in zip(mine, plain, strict=True):
        assert item.tolerance == pytest.approx(drift.WIDER * (other.tolerance or math.nan))
    assert all("held against the CPU's reference: 10 times its tolerance" in item.note for item in findings)
    assert all(item.note == "" for item in plain)
    assert left(findings) == set()
    assert contents() == kept


def test_a_gpu_has_references_of_its_own(checked: Path) -> None:
    """They lie beside the CPU's, which stay; another compute capability is said."""
    kept = contents()
    with pretended_gpu():
        assert "wrote" in check("--update", "--device", "cuda").good
        findings = drift.run_drift("hat", show_progress=False, device=GPU).findings
        assert {item.note for item in findings if item.check != "queries"} == {""}, checked
        assert all(item.found == item.reference for item in findings)
    assert contents().items() >= kept.items()
    path = Path("results/reference/cuda/scenes/hat-i2t.json")
    reference, theirs = read_reference(path), read_reference(FOLDER / "hat-i2t.json")
    assert (reference.made_with["kind"], reference.made_with["compute_capability"]) == ("cuda", "9.0")
    assert reference.full == theirs.full
    assert reference.rescored is not None
    assert reference.rescored.sims_tolerance == drift_update.SIMS_TOLERANCE
    assert found(), "the CPU's are found as before"
    assert all(item.found == item.reference for item in found())
    document = json.loads(path.read_text())
    document["made_with"]["compute_capability"] = "8.0"
    path.write_text(json.dumps(document))
    with pretended_gpu():
        findings = drift.run_drift("hat", show_progress=False, device=GPU).findings
    said = "made on compute capability 8.0, this is 9.0"
    assert all((said in item.note) == (item.run == "hat-i2t") for item in findings)


def test_a_device_that_computes_something_else_gets_no_references(
    checked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "build_model", halved_temperature)
    with pretended_gpu():
        error = check("--update", "--device", "cuda").error
    assert "is over 10 times its tolerance on cuda" in error
    assert not (checked / "results/reference/cuda").exists()


def halved_temperature(job: Job, *, pretrained: bool) -> Any:
    config = job.config.model_copy(update={"temperature": job.config.temperature / 2})
    return build_model(dataclasses.replace(job, config=config), pretrained=pretrained)


def test_ranks_alone_are_the_cpus(checked: Path) -> None:
    assert (
        "--update-ranks is for the CPU's references" in check("--update-ranks", "--device", "cuda").error
    ), checked
