"""The check of a GPU runs to its end on a CPU, sees what is planted, keeps its time, and needs no data."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmark.checks.gpu import check as module
from benchmark.checks.gpu.check import check_gpu
from benchmark.checks.gpu.half import HALF_COSINE, HALF_TOLERANCE, compare_precisions
from benchmark.checks.gpu.measures import drawn_pictures, precision_gap, resumes_to_the_bit, take_steps
from benchmark.checks.gpu.report import GPUReport, write_report
from benchmark.checks.gpu.subjects import Subject, full_runs, shortened
from benchmark.registry import method_names
from benchmark.run.runs import read_run
from tests.baselines.small import RECIPES, small
from tests.paths import ROOT
from tests.pretend_cuda import GPU, pretended_gpu
from tests.tiny import rematch

CPU = torch.device("cpu")
SAF = ROOT / "recipes/sgraf/scenes-saf.yaml"


@pytest.mark.usefixtures("fresh")
def test_the_command_checks_every_recipe_that_is_there() -> None:
    """Two tiny HATs; every part is done, and the tables are those of the file."""
    said = rematch("gpu-check", "--device", "cpu", "--no-progress", "--folder", "found").good
    (document,) = Path("found").glob("*.json")
    report = GPUReport.model_validate(json.loads(document.read_text()))
    assert report.passed
    assert (report.size, report.left_out) == ("small", [])
    kinds = ("placement", "determinism", "float32 scores", "bfloat16", "killed and resumed")
    assert sorted((line.subject, line.what) for line in report.checks) == sorted(
        itertools.product(("hat-i2t", "hat-t2i"), kinds)
    )
    assert [line.recipe for line in report.steps] == ["hat-i2t", "hat-t2i"]
    assert all(line.seconds > 0 and line.peak_bytes > 0 for line in report.steps)
    assert [line.case for line in report.scoring] == ["hat-i2t, 20 x 100", "hat-t2i, 20 x 100"]
    assert all(line.pairs_per_second > 0 and line.over_floor is None for line in report.scoring)
    assert [line.recipe for line in report.half] == ["hat-i2t", "hat-t2i"]
    assert all(
        0 < line.loss_gap < HALF_TOLERANCE and line.gradient_cosine > HALF_COSINE for line in report.half
    )
    assert report.loader[0].workers == 0
    table = document.with_suffix(".md").read_text()
    for part in ("hat-i2t", "determinism", "the same bits twice", "peak memory", "pairs/s", "images/s"):
        assert part in table
        assert part in said


def test_time_that_is_over_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    report = check_gpu(CPU, "small", minutes=0)
    assert not [*report.checks, *report.steps, *report.loader]
    assert f"{small_name()}, step: the time is over" in report.left_out
    assert "loader, pictures a second: the time is over" in report.left_out


def small_name() -> str:
    return "sgraf-saf"


# --------------------------------------------------------------------------------- planted faults


def planted(monkeypatch: pytest.MonkeyPatch, change: Callable[[Tensor], Tensor]) -> Subject:
    """A SAF whose encoded regions are changed."""
    from baselines.layers.region_encoder import RegionEncoder

    real = RegionEncoder.forward
    monkeypatch.setattr(RegionEncoder, "forward", lambda self, regions: change(real(self, regions)))
    return small(SAF)


def test_a_sound_step_is_the_same_twice() -> None:
    line, model = take_steps(small(SAF), CPU)
    assert (line.elsewhere, line.differing) == ([], [])
    assert line.moved > 0
    assert precision_gap(small(SAF), model, CPU) < 1e-5
    assert all(parameter.grad is None for parameter in model.parameters())


def as_wide_as_on_scenes() -> Subject:
    """A SAF whose layers are wide enough for the rounding of single numbers to cancel."""
    return Subject.of(shortened(read_run(SAF).single, 8), "sgraf-saf")


def test_products_are_cut_and_nothing_else() -> None:
    """Of the same weights: what is left is the rounding of bfloat16."""
    line = compare_precisions(as_wide_as_on_scenes(), CPU)
    assert 0 < line.loss_gap < HALF_TOLERANCE
    assert 0 < line.score_gap < 0.02
    assert 0.9 < line.gradient_cosine < 1


def test_gradients_that_are_lost_in_bfloat16_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    from baselines.layers.region_encoder import RegionEncoder

    real = RegionEncoder.forward

    def forward(self: RegionEncoder, regions: Tensor) -> Tensor:
        encoded: Tensor = real(self, regions)
        return encoded.flip(0) if torch.is_autocast_enabled("cpu") else encoded

    monkeypatch.setattr(RegionEncoder, "forward", forward)
    line = compare_precisions(as_wide_as_on_scenes(), CPU)
    assert line.gradient_cosine < HALF_COSINE


def test_a_step_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = itertools.count(1)
    subject = planted(monkeypatch, lambda regions: regions * (1 + 1e-6 * next(counter)))
    line, _ = take_steps(subject, CPU)
    assert line.differing
    assert not resumes_to_the_bit(subject, CPU)


def test_a_score_that_is_imprecise_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    from baselines.sgraf.model import SGRAF

    real = SGRAF.similarity
    monkeypatch.setattr(
        SGRAF,
        "similarity",
        lambda *codes: real(*codes).half() if codes[1]["regions"].dtype == torch.float32 else real(*codes),
    )
    line, model = take_steps(small(SAF), CPU)
    assert line.differing == []
    assert precision_gap(small(SAF), model, CPU) > 1e-5


def test_errors_are_checks_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(subject: Subject, device: torch.device) -> None:
        raise RuntimeError(
            f"{subject.name} on {device}:\n adaptive_avg_pool2d_backward_cuda does not have a form"
        )

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(module, "single_models", lambda name: full_runs(["hat"], name)[:1])
    monkeypatch.setattr(module, "take_steps", fail)
    monkeypatch.setattr(module, "resumes_to_the_bit", lambda *_: False)
    monkeypatch.setattr(module, "load_pictures", lambda *_: [])
    report = check_gpu(CPU, "small")
    assert not report.passed
    assert report.checks[0].found == "hat-i2t on cpu: adaptive_avg_pool2d_backward_cuda does not have a form"
    assert {line.what: line.found for line in report.checks}["killed and resumed"] == "other weights"
    assert report.sheets()[0].passed is False


def test_a_method_that_cannot_be_imported_is_left_out_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(name: str) -> None:
        raise ImportError(f"No module named 'library of {name}'")

    monkeypatch.setattr(module, "get_method", get)
    checking = module.Checking(CPU, "small", 1, show_progress=False)
    assert checking.known_methods() == []
    assert "hat: cannot be imported (No module named 'library of hat')" in checking.left_out


# ------------------------------------------------------------------------------------- the subjects


def test_full_size_models_of_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = [run.path.stem.removeprefix("flickr30k-") for run in full_runs(method_names())]
    assert {"i2t", "t2i", "saf", "sgr", "sge", "cge", "bert", "bigru", "resnet50", "vgg19"} <= set(names)
    assert not any("baseline" in name or "stage1" in name for name in names)
    assert len(names) < 20


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_batches_are_the_same_for_a_seed_and_draw_nothing(path: Path) -> None:
    subject = small(path)
    state = torch.get_rng_state()
    one, other = subject.batch(3), subject.batch(3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.images.pixels, other.images.pixels)
    assert torch.equal(one.captions.ids, other.captions.ids)
    assert not torch.equal(one.images.pixels, subject.batch(4).images.pixels)
    assert len(set(one.captions.lengths.tolist())) > 1
    places = torch.arange(one.captions.ids.shape[1]) < one.captions.lengths[:, None]
    assert bool((one.captions.ids[places] > 0).all())
    assert not one.captions.ids[~places].any()


def test_a_recipe_is_shortened_in_nothing_but_its_training() -> None:
    recipe = small(SAF).recipe
    short = shortened(recipe, 4)
    assert (short.training.batch_size, short.training.select) == (4, "rsum")
    assert [stage.epochs for stage in short.training.stages][-1] == 2
    assert short.model == recipe.model
    assert short.evaluation == recipe.evaluation


def test_drawn_pictures_are_files_of_one_size(tmp_path: Path) -> None:
    split = drawn_pictures(tmp_path, 3)
    assert [split.images[row].size for row in range(3)] == [(500, 375)] * 3
    assert all(20_000 < path.stat().st_size < 200_000 for path in tmp_path.iterdir())


def test_the_report_of_a_gpu_names_it(tmp_path: Path) -> None:
    with pretended_gpu():
        checking = module.Checking(GPU, "full", 1, show_progress=False)
        checking.scoring = []
        report = checking.report()
        paths = write_report(report, tmp_path)
    assert [path.name for path in paths] == ["pretended-gpu.json", "pretended-gpu.md"]
    assert report.memory_bytes == 80 * 2**30
    assert report.environment.compute_capability == "9.0"


def test_full_scoring_takes_what_methods_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.method import ScoringCase
    from benchmark.registry import get_method

    def cases(_device: torch.device) -> Iterator[ScoringCase]:
        for number in range(2):
            yield ScoringCase(f"case {number}", "form", no_scores, scores, 1e6)

    def scores() -> Tensor:
        return torch.ones(3, 4)

    def no_scores() -> Tensor:
        raise AssertionError("the published loop is not timed")

    monkeypatch.setitem(get_method("hat").__dict__, "scoring_cases", cases)
    checking = module.Checking(CPU, "full", 1, show_progress=False)
    checking.full_scoring(["hat"])
    assert [line.case for line in checking.scoring] == ["case 0", "case 1"]
    assert all(line.over_floor is not None and line.over_floor > 0 for line in checking.scoring)
    assert not [*checking.left_out, *checking.checks]


# ---------------------------------------------------------------------------- a machine with little on it


def test_it_runs_from_a_clone_that_is_not_installed_without_the_library_of_datasets(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import importlib.metadata, sys
        sys.modules["datasets"] = None            # an import of it fails
        real = importlib.metadata.entry_points
        none = importlib.metadata.EntryPoints()
        importlib.metadata.entry_points = lambda **k: none if k.get("group") == "rematch.baselines" else real(**k)
        sys.argv = ["rematch", "gpu-check", "--device", "cpu", "--minutes", "0", "--folder", sys.argv[1]]
        from benchmark.cli import main
        main()
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (document,) = tmp_path.glob("*.json")
    left = json.loads(document.read_text())["left_out"]
    assert {line.split(",")[0].split("-")[0] for line in left if ", step" in line} == set(method_names())
