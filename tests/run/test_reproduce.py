"""The whole story on a tiny recipe: records, hashes, ensembles, resuming, evaluating weights again."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.batches import PairBatch
from benchmark.cli.options import Report, with_log
from benchmark.evaluation.strips import whole_matrix
from benchmark.files import sha256_file
from benchmark.method import Progress
from benchmark.records.sidecar import read_sidecar
from benchmark.run import reproduce as module
from benchmark.run.job import Job, Settings, build_model, prepare
from benchmark.run.runs import read_run
from benchmark.training import TrainingResult
from benchmark.training.trainer import Trainer
from tests.tiny import (
    BOTH,
    I2T,
    T2I,
    Change,
    change_recipe,
    contents,
    cut_in_half,
    put,
    record_of,
    rematch,
    reproduce,
)

RUNS = Path("results/runs/scenes")
WORK = Path(".rematch/scenes")
I2T_WORK = WORK / "hat-i2t/0"


def naive_recalls(sims: np.ndarray[Any, Any]) -> dict[str, float]:
    """Recalls in percent by a loop; five captions an image, equal scores in gallery order."""
    hits = {f"{side}_r{k}": 0 for side in ("i2t", "t2i") for k in (1, 5, 10)}
    for image in range(len(sims)):
        order = sorted(range(sims.shape[1]), key=lambda caption: (-sims[image, caption], caption))
        best = min(order.index(caption) for caption in range(5 * image, 5 * image + 5))
        for k in (1, 5, 10):
            hits[f"i2t_r{k}"] += best < k
    for caption in range(sims.shape[1]):
        order = sorted(range(len(sims)), key=lambda image: (-sims[image, caption], image))
        for k in (1, 5, 10):
            hits[f"t2i_r{k}"] += order.index(caption // 5) < k
    sizes = {"i2t": len(sims), "t2i": sims.shape[1]}
    return {name: 100 * count / sizes[name[:3]] for name, count in hits.items()}


# ---------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("run", ["hat-i2t", "hat-t2i", "hat-ensemble"])
def test_a_run_leaves_a_sound_record(trained: Path, run: str) -> None:
    record = record_of(run, folder=trained)
    sims = np.load(trained / WORK / run / "0/sims.npy")
    assert sims.shape == (16, 80)
    metrics = record.results["scenes"].metrics
    expected = naive_recalls(sims)
    assert {name: metrics.value(name) for name in expected} == pytest.approx(expected)
    assert metrics.rsum == pytest.approx(sum(expected.values()))
    assert not record.comparable
    assert any("a model for tests" in reason for reason in record.departures)
    assert record.sidecar_sha256 == sha256_file(trained / RUNS / run / "0.npz")
    assert record.latency is None
    assert f"canonical hash {record.canonical_hash[:12]}" in (trained / "said.txt").read_text()
    images, captions = read_sidecar(record, trained / "results/runs").ranks["scenes"]
    assert 100 * float(np.mean(images < 5)) == pytest.approx(expected["i2t_r5"])
    assert 100 * float(np.mean(captions < 5)) == pytest.approx(expected["t2i_r5"])


@pytest.mark.parametrize("run", ["hat-i2t", "hat-t2i"])
def test_without_bars_an_epoch_is_a_line(trained: Path, run: str) -> None:
    record = record_of(run, folder=trained)
    (entry,) = json.loads(read_sidecar(record, trained / "results/runs").log)
    said = (trained / "said.txt").read_text()
    head = f"epoch 1 of 1: loss {entry['loss']:.4g}, validation rsum {entry['validation']['rsum']:.1f}, the best yet, "
    assert head in said
    assert re.search(rf"{re.escape(head)}[0-9.]+ s, [0-9]+ images/s\n", said)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("progress", [True, False])
def test_lines_are_for_want_of_bars(monkeypatch: pytest.MonkeyPatch, terminal: bool, progress: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    settings = with_log(Settings(show_progress=progress), Report())
    assert (settings.log is None) == (terminal and progress)


def test_a_record_names_its_recipe_weights_and_training(trained: Path) -> None:
    record = record_of("hat-i2t", folder=trained)
    assert record.recipe_path == I2T.as_posix()
    assert record.weights == "trained"
    assert record.weights_sha256 == sha256_file(trained / I2T_WORK / "best.safetensors")
    assert record.recipe["model"]["temperature"] == 9  # a default, spelled out
    assert record.recipe["data"]["options"]["hard_share"] == 0.25
    assert record.training is not None
    assert (record.training.epochs, len(record.training.first_losses)) == (1, 7)
    assert record.wall_seconds["training"] > 0
    assert record.dataset.splits["train"].images == 40
    assert str(trained) not in (trained / RUNS / "hat-i2t/0.json").read_text()


def test_the_tables_show_the_runs_apart_from_the_paper(trained: Path) -> None:
    text = (trained / "results/tables/scenes.md").read_text()
    assert "The embedded dataset is a smoke test" in text
    assert "| verdict" not in text
    assert "a model for tests" in text


def test_the_same_seed_twice(home: Path, trained: Path) -> None:
    before = {run: record_of(run).canonical_hash for run in ("hat-i2t", "hat-t2i", "hat-ensemble")}
    assert reproduce("hat", "scenes").code == 0
    for run, former in before.items():
        assert record_of(run).canonical_hash == former
        for suffix in ("npz",):
            name = f"{RUNS}/{run}/0.{suffix}"
            assert Path(name).read_bytes() == (trained / name).read_bytes(), home
        assert (WORK / run / "0/sims.npy").read_bytes() == (trained / WORK / run / "0/sims.npy").read_bytes()
    again, before_that = (contents(folder / "results/tables") for folder in (Path(), trained))
    assert again.pop("records.sha256") != before_that.pop("records.sha256")  # wall times differ
    assert again == before_that
    assert (I2T_WORK / "previous/checkpoint.pt").is_file()  # nothing lost


def test_latency_does_not_change_the_hash(home: Path) -> None:
    former = record_of("hat-i2t").canonical_hash
    assert rematch("reproduce", I2T, "--resume", "--no-progress", "--no-tables", "--device", "cpu").code == 0
    record = record_of("hat-i2t")
    assert record.latency is not None, home
    assert {"encode image", "encode caption"} <= {stage.name for stage in record.latency.stages}
    assert record.canonical_hash == former


def test_several_seeds(fresh: Path) -> None:
    said = reproduce(I2T, "--seeds", "0", "1", "1").good
    assert said.count(", seed 1") == 1
    first, second = record_of("hat-i2t", 0), record_of("hat-i2t", 1)
    assert first.canonical_hash != second.canonical_hash
    assert first.weights_sha256 != second.weights_sha256
    assert first.recipe_digest == second.recipe_digest
    with (fresh / "results/tables/scenes.csv").open(encoding="utf-8") as handle:
        rows = {row["run"]: row for row in csv.DictReader(handle)}
    assert (rows["hat-i2t"]["n_seeds"], rows["hat-i2t"]["seeds"]) == ("2", "0 1")
    mean = sum(record.results["scenes"].metrics.rsum for record in (first, second)) / 2
    assert float(rows["hat-i2t"]["rsum"]) == pytest.approx(mean, abs=1e-4)


def test_data_that_no_paper_reports_are_never_comparable(fresh: Path) -> None:
    change_recipe(I2T, lambda document: document.update(departures=[]))
    assert reproduce(I2T).code == 0, fresh
    record = record_of("hat-i2t")
    assert not record.comparable
    assert record.departures == ["no paper reports scenes"]


@pytest.mark.parametrize(
    ("precision", "departures"),
    [("bfloat16", ["trained in bfloat16, the published code in float16"]), ("float16", [])],
)
def test_another_precision_than_the_authors_is_a_departure(
    fresh: Path, precision: str, departures: list[str]
) -> None:
    change_recipe(I2T, put("training.precision", precision))
    assert reproduce(I2T).code == 0, fresh
    record = record_of("hat-i2t")
    assert [reason for reason in record.departures if "trained in" in reason] == departures
    assert record.environment.precision == precision
    assert record.recipe["training"]["precision"] == precision


def test_expectations_are_held_against_the_result(home: Path) -> None:
    rsum = record_of("hat-i2t").results["scenes"].metrics.rsum

    def expect(value: float, source: str) -> str:
        item = {"protocol": "scenes", "metric": "rsum", "value": value, "tolerance": 1.0, "source": source}
        change_recipe(I2T, lambda document: document.update(expected=[item]))
        return reproduce(I2T, "--resume").good  # prose and expectations are no part of the recipe's digest

    assert f"rsum {rsum:.1f}, as expected: {rsum:g} +- 1 (a guess [x])" in expect(rsum, "a guess [x]"), home
    assert f"rsum {rsum:.1f}, NOT as expected" in expect(rsum + 2, "none")


def test_dry_run_writes_nothing(fresh: Path) -> None:
    before = contents()
    said = reproduce("hat", "scenes", "--dry-run", "--seeds", "0", "4").good
    assert contents() == before
    assert [path.name for path in fresh.iterdir()].count(".rematch") == 0
    for part in (
        "nothing downloaded, trained or written",
        "1 epochs x 7 steps",
        ".rematch/scenes/hat-t2i/4/",
    ):
        assert part in said
    assert "results/runs/scenes/hat-ensemble/4.json" in said


def test_a_banner_says_that_this_is_the_embedded_dataset(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = contents()
    said = rematch("reproduce", "hat", "--dry-run").good
    assert "embedded dataset" in said
    assert "No CUDA device" in said
    assert "not comparable with the papers'" in said
    assert "scenes-i2t" in said
    assert "embedded dataset" not in rematch("reproduce", "hat", "scenes", "--dry-run").good
    assert contents() == before, fresh


# -------------------------------------------------------------------------------------- ensembles


def test_an_ensemble_is_the_mean_of_its_members(trained: Path) -> None:
    matrices = [np.load(trained / WORK / run / "0/sims.npy") for run in ("hat-i2t", "hat-t2i")]
    mean = np.zeros((16, 80))
    for row in range(16):
        for column in range(80):
            mean[row, column] = (float(matrices[0][row, column]) + float(matrices[1][row, column])) / 2
    sims = np.load(trained / WORK / "hat-ensemble/0/sims.npy")
    np.testing.assert_allclose(sims, mean, rtol=1e-12)
    record = record_of("hat-ensemble", folder=trained)
    assert record.weights == "members"
    assert [member.run for member in record.members] == ["hat-i2t", "hat-t2i"]
    hashes = [record_of(member.run, folder=trained).canonical_hash for member in record.members]
    assert [member.canonical_hash for member in record.members] == hashes
    assert "ensemble:2" in record.results["scenes"].signature


def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that are trained from here on."""
    started: list[str] = []
    original = module.train_model

    def noted(job: Job, model: Any) -> Any:
        started.append(job.run.name)
        return original(job, model)

    monkeypatch.setattr(module, "train_model", noted)
    return started


def test_an_ensemble_takes_what_its_members_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = trainings(monkeypatch)
    former = record_of("hat-ensemble").canonical_hash
    assert reproduce(BOTH).code == 0
    assert started == [], home
    assert record_of("hat-ensemble").canonical_hash == former


def spoil_recipe() -> None:
    change_recipe(I2T, lambda document: document["training"]["optimizer"].update(lr=0.01))


SPOILT: dict[str, Callable[[], object]] = {
    "another recipe": spoil_recipe,
    "matrix gone": lambda: (I2T_WORK / "sims.npy").unlink(),
    "matrix cut": lambda: cut_in_half(I2T_WORK / "sims.npy"),
    "matrix of another run": lambda: (I2T_WORK / "sims.npy").write_bytes(
        (WORK / "hat-t2i/0/sims.npy").read_bytes()
    ),
    "note cut": lambda: cut_in_half(I2T_WORK / "sims.json"),
    "record gone": lambda: (RUNS / "hat-i2t/0.json").unlink(),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_an_ensemble_trains_a_member_whose_result_is_not_sound(
    home: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    started = trainings(monkeypatch)
    former, ensemble = record_of("hat-i2t"), record_of("hat-ensemble")
    SPOILT[fault]()
    assert reproduce(BOTH).code == 0
    assert started == ["hat-i2t"], home
    same = fault != "another recipe"
    assert (record_of("hat-i2t").canonical_hash == former.canonical_hash) is same
    assert (record_of("hat-i2t").recipe_digest == former.recipe_digest) is same
    assert (record_of("hat-ensemble").canonical_hash == ensemble.canonical_hash) is same


def test_an_ensemble_alone_trains_its_members_with_its_seed(fresh: Path) -> None:
    assert reproduce(BOTH, "--seeds", 3).code == 0
    assert [record_of(run, 3).seed for run in ("hat-i2t", "hat-t2i", "hat-ensemble")] == [3, 3, 3], fresh


def test_members_of_different_test_sets_are_refused(home: Path) -> None:
    change_recipe(T2I, lambda document: document["data"]["options"].update(n_test=20))
    ensemble = record_of("hat-ensemble").canonical_hash
    error = reproduce(BOTH).error
    assert error == f"{BOTH}: the members were not evaluated on the same test split in the same way", home
    assert record_of("hat-ensemble").canonical_hash == ensemble


def put_members(first: str) -> Change:
    return lambda document: document.update(ensemble=[first, "scenes-i2t"])


def test_an_ensemble_of_ensembles_is_refused(fresh: Path) -> None:
    before = contents()
    for member in ("scenes-ensemble", "scenes-more"):
        change_recipe(BOTH, put_members(member))
        if member == "scenes-more":
            Path("recipes/hat/scenes-more.yaml").write_bytes(BOTH.read_bytes())
        before = contents()
        assert f"field 'ensemble': '{member}' is an ensemble itself" in reproduce(BOTH).error
        assert contents() == before, fresh


# -------------------------------------------------------------------------------------- resuming


STEP = Trainer.step


def steps_taken(patch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[int]:
    """Numbers of the steps that are taken from here on; at `stop_at` the machine fails."""
    steps: list[int] = []

    def noted(self: Trainer, batch: PairBatch, where: Progress) -> tuple[float, float, bool]:
        if where.step == stop_at:
            raise RuntimeError("the power is gone")
        steps.append(where.step)
        return STEP(self, batch, where)

    patch.setattr(Trainer, "step", noted)
    return steps


def three_epochs(document: dict[str, Any]) -> None:
    document["training"]["stages"] = [{"epochs": 2}, {"epochs": 1, "frozen": ["text_encoder.*"]}]


def test_an_interrupted_training_ends_as_one_that_was_not(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_recipe(I2T, three_epochs)
    assert reproduce(I2T, "--no-tables").code == 0
    whole = record_of("hat-i2t")
    weights = (I2T_WORK / "best.safetensors").read_bytes()
    matrix = (I2T_WORK / "sims.npy").read_bytes()

    steps = steps_taken(monkeypatch, stop_at=10)  # in the middle of the second epoch
    with pytest.raises(RuntimeError, match="the power is gone"):
        reproduce(I2T, "--no-tables")
    assert steps == list(range(10))
    assert record_of("hat-i2t").canonical_hash == whole.canonical_hash  # the former record is still there

    steps = steps_taken(monkeypatch)
    assert reproduce(I2T, "--no-tables", "--resume").code == 0
    assert steps == list(range(7, 21))
    assert (I2T_WORK / "best.safetensors").read_bytes() == weights
    assert (I2T_WORK / "sims.npy").read_bytes() == matrix
    assert record_of("hat-i2t").canonical_hash == whole.canonical_hash, fresh


def test_resuming_a_finished_training_trains_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    former = record_of("hat-i2t").canonical_hash
    steps = steps_taken(monkeypatch)
    assert reproduce(I2T, "--resume").code == 0
    assert steps == [], home
    assert record_of("hat-i2t").canonical_hash == former


def test_a_loss_that_is_not_a_number_is_one_line(home: Path) -> None:
    change_recipe(I2T, lambda document: document["training"]["optimizer"].update(lr=1e30))
    before = contents(Path("results"))
    error = reproduce(I2T).error
    assert error.startswith("training stopped in epoch 0")
    assert contents(Path("results")) == before, home
    assert (I2T_WORK / "previous/best.safetensors").is_file()


def test_a_log_line_for_every_epoch(trained: Path) -> None:
    lines = (trained / I2T_WORK / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0]
    record = record_of("hat-i2t", folder=trained)
    assert record.training is not None
    assert json.loads(lines[0])["losses"] == record.training.first_losses


# ---------------------------------------------------------------------------------- memory and devices


def test_too_little_memory_for_the_evaluation_is_said_before_training(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(fresh)
    monkeypatch.setattr(module, "free_on_host", lambda: 10_000)
    error = reproduce(I2T).error
    assert "scoring the 16 test images takes about 0.0 GiB of the host's memory" in error
    assert "data.first_images.test" in error
    left = {path: digest for path, digest in contents(fresh).items() if ".rematch" not in path}
    assert left == before, "nothing was trained"


def test_codes_are_kept_for_timings_as_far_as_memory_goes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what is free holds the codes of 5 images; the record says that captions were scored against these."""
    job = prepare(read_run(I2T), Settings(show_progress=False), splits=("test",))
    model = build_model(job, pretrained=False)
    whole = module.score_split(job, model, "test", show_progress=False, keep_codes=True)
    assert len(whole.images) == 16, home
    each = whole.images.nbytes // 16
    monkeypatch.setattr(module, "free_on_host", lambda: 10 * each)
    few = module.score_split(job, model, "test", show_progress=False, keep_codes=True)
    assert len(few.images) == 5
    assert np.array_equal(whole_matrix(few.sims), whole_matrix(whole.sims))
    assert few.plan == whole.plan
    report = module.latency_of(job, model, few)
    assert (
        "t2i a caption against 5 images of 16, whose codes the host has no room for; memory" in report.method
    )
    assert "against 16 images; memory" in module.latency_of(job, model, whole).method
    assert len(module.score_split(job, model, "test", show_progress=False).images) == 0


@pytest.mark.parametrize(
    ("devices", "noted"),
    [
        (["cpu: A"], []),
        (["cpu: A", "cpu: B"], []),
        (["unknown", "cpu: B"], []),
        (["cuda: A"], []),
        (["cuda: A", "cpu: B"], ["training went on on another device: cuda: A, then cpu: B"]),
        (["unknown", "cuda: B"], ["training went on on another device: unknown, then cuda: B"]),
    ],
)
def test_a_training_on_several_devices_is_noted(trained: Path, devices: list[str], noted: list[str]) -> None:
    result = TrainingResult(0, None, 1, [], trained, trained, 1.0, 1, "0" * 64, devices)
    assert module.devices_note(result) == noted
    assert module.devices_note(None) == []
