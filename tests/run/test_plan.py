"""Dry runs: what they say is what the recipe and the catalog say, and nothing is done."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.batches import Codes, PairBatch, TrainingCodes
from benchmark.data.published.hub import Download
from benchmark.evaluation.footprint import Footprint
from benchmark.inputs import InputSpec, PixelInput, RegionInput, WordPieceText, WordText
from benchmark.method import Baseline, DataFacts, Progress
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import Recipe
from benchmark.recipe.training import Optimizer
from benchmark.registry import get_method
from benchmark.reporting.estimates import estimate_sheet
from benchmark.reporting.writers.terminal import write_text
from benchmark.run import plan, probe
from benchmark.run.job import Settings, build_model, prepare
from benchmark.run.runs import read_run
from benchmark.timing.scoring import threads_set
from benchmark.training.optimizers import make_optimizer
from tests.paths import ROOT
from tests.tiny import I2T, T2I, change_recipe


def recipe_at(path: Path) -> Recipe:
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    return recipe


def shown(made: plan.RunEstimate) -> str:
    return write_text([estimate_sheet(made, "title")])


@pytest.fixture
def weightless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full-size models without their memory: no weights, no probe."""
    method = get_method("hat")
    build = method.build

    def on_meta(*args: object) -> object:
        with torch.device("meta"):
            return build(*args)  # type: ignore[arg-type]

    monkeypatch.setitem(method.__dict__, "build", on_meta)
    growth = probe.CostGrowth(0, 0.5, 0), probe.CostGrowth(0, 1000, 0)
    monkeypatch.setattr(plan, "probe", lambda *_, **__: growth)
    scoring = Footprint(7_400_000_000, 2_000_000_000, 500_000_000, 2_100_000_000, 2_000_000_000)
    monkeypatch.setattr(plan, "bytes_of_codes", lambda *_: 1000)
    monkeypatch.setattr(plan, "largest_footprint", lambda *_: scoring)


@pytest.mark.usefixtures("weightless")
def test_full_size_plans_count_as_the_paper_does() -> None:
    flickr = plan.make_plan(recipe_at(ROOT / "recipes/hat/flickr30k-i2t.yaml"), 30522, ["here"])
    assert dict(flickr.images) == {"train": 29_000, "val": 1_014, "test": 1_000}
    assert (flickr.epochs, flickr.steps_per_epoch) == (100, 2_500)  # hat.md 5
    assert flickr.parameters == 199_377_592
    assert flickr.largest.step_seconds == 0.5 * 58
    assert flickr.train_seconds == 0.5 * 58 * 2_500 * 100
    unused = 590_592  # BERT's pooling layer, which the recipe freezes: no gradient, no moments
    assert flickr.largest.frozen == unused
    assert flickr.largest.memory_bytes == (199_377_592 - unused) * 16 + unused * 4 + 1000 * 58
    assert flickr.disk_bytes > 2 * 4_305_000_000 + 199_377_592 * 16
    text = shown(flickr)
    for part in (
        "199,377,592 parameters",
        "100 epochs x 2,500 steps",
        "83.9 days",
        "umaru97",
        "4.03 GB",
        "here",
        "about 9.9 GB on the host (codes of captions 7.4 GB, of images that wait 2.0 GB",
        "4.9 GB for weights",
    ):
        assert part in text
    assert len(flickr.pretrained) == 2
    assert all(part in text for part in flickr.pretrained)


@pytest.mark.usefixtures("weightless")
def test_mscoco_with_and_without_restval() -> None:
    recipe = recipe_at(ROOT / "recipes/hat/mscoco-t2i.yaml")
    made = plan.make_plan(recipe, 30522, [])
    assert dict(made.images) == {"train": 82_783, "val": 1_000, "test": 5_000}
    assert made.steps_per_epoch == 7_137  # hat.md 5
    data = recipe.data.model_copy(update={"options": {"restval": True}})
    more = plan.make_plan(recipe.model_copy(update={"data": data}), 30522, [])
    assert dict(more.images)["train"] == 113_287
    assert more.steps_per_epoch == 9_767


def test_a_tiny_plan_is_of_the_model_that_is_trained(fresh: Path) -> None:
    recipe = recipe_at(I2T)
    made = plan.make_plan(recipe, plan.vocabulary_size(recipe), [])
    job = prepare(read_run(I2T), Settings())
    model = build_model(job, pretrained=False)
    assert plan.vocabulary_size(recipe) == job.codec.vocab_size, fresh
    assert made.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (made.steps_per_epoch, made.epochs) == (7, 1)
    assert dict(made.images) == {name: len(split) for name, split in job.dataset.splits.items()}
    assert made.largest.step_seconds > 0
    assert made.pretrained == []
    text = shown(made)
    assert "none: random weights" in text
    assert "train 40, val 8, test 16 images" in text
    assert [line for line in text.splitlines() if "download" in line and "nothing" in line]


def test_memory_grows_with_the_batch_and_the_picture(fresh: Path) -> None:
    def memory() -> float:
        recipe = recipe_at(I2T)
        return plan.make_plan(recipe, plan.vocabulary_size(recipe), []).largest.memory_bytes

    first = memory()
    change_recipe(I2T, lambda document: document["training"].update(batch_size=64))
    second = memory()
    assert second > 1.5 * first, fresh
    change_recipe(I2T, lambda document: document["model"].update(image_size=128))
    assert memory() > 2 * second


def test_the_probes_bytes_are_those_that_autograd_keeps(fresh: Path) -> None:
    recipe = recipe_at(T2I)
    method = get_method("hat")
    job = prepare(read_run(T2I), Settings())
    model = build_model(job, pretrained=False)
    spec = method.inputs(recipe.method_config())
    seconds, kept = probe.probe(model, spec, job.codec.vocab_size, stage_one(recipe), largest=64)
    assert seconds.item > 0, fresh
    pixels = 3 * 64 * 64 * 4
    assert pixels < kept.item < 400 * pixels  # the batch itself is kept; weights are not counted
    assert kept.pair < pixels / 100  # HAT's scores keep nothing but the codes


class Known(nn.Module):
    """What it keeps can be counted: 6 floats of each image, 40 of each pair; 100 once."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.once = nn.Parameter(torch.ones(6)), nn.Parameter(torch.ones(100))

    def prepare_batch(self, batch: PairBatch, progress: Progress) -> PairBatch:  # noqa: ARG002
        return batch

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        images = batch.images.pixels[:, 0, :6].clone() * self.weight  # keeps (B, 6)
        return TrainingCodes(Codes({"images": images}), Codes({"captions": images.detach()}))

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:  # noqa: ARG002
        images, captions = codes.images["images"], codes.captions["captions"]
        pairs = (images[:, None, :1] + captions[:, :1]).expand(-1, -1, 40).contiguous()  # (B, B, 40)
        return pairs.exp().sum() + self.once.exp().sum()  # exp keeps its results


def test_a_step_is_split_into_once_items_and_pairs() -> None:
    spec = InputSpec(RegionInput(2, 7), WordText())
    recipe = recipe_at(ROOT / "recipes/sgraf/flickr30k-saf.yaml")
    model = Known()
    seconds, kept = probe.probe(model, spec, 20, stage_one(recipe), largest=128)  # type: ignore[arg-type]
    assert (kept.once, kept.item, kept.pair) == pytest.approx((400, 24, 160))
    assert min(seconds.once, seconds.item, seconds.pair) >= 0
    assert seconds.items(4) + seconds.pairs(4) > 0
    assert model.weight.grad is not None  # the backward pass went all the way
    assert bool((model.weight.grad != 0).any())


STEADY = {
    size: probe.ProbedStep(0.1 + 0.01 * size, 0.02 + 0.002 * size + 1e-4 * size**2, 0)
    for size in (2, 3, 4, 8)
}


def test_the_parts_of_time_are_those_of_the_steps() -> None:
    growth = probe.time_growth(STEADY)
    assert (growth.once, growth.item, growth.pair) == pytest.approx((0.12, 0.012, 1e-4), rel=1e-6)


def test_no_part_of_time_is_below_nothing() -> None:
    falling = {size: probe.ProbedStep(1 / size, 1 / size, 0) for size in (2, 3, 4)}
    growth = probe.time_growth(falling)
    assert min(growth.once, growth.item, growth.pair) >= 0
    assert 0.5 < growth.items(64) + growth.pairs(64) < 1  # between those of the largest step and of the least


def test_one_slow_call_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time goes by the batch's size; one step after the other takes an hour more."""
    spec, recipe = InputSpec(RegionInput(2, 7), WordText()), region_recipe(None)
    real, calls = probe.probe_step, [0]

    def growth(slow: int) -> probe.CostGrowth:
        calls[0] = 0

        def steady(model: Baseline, batch: PairBatch, progress: Progress) -> probe.ProbedStep:
            calls[0] += 1
            size, late = len(batch), 3600 * (calls[0] == slow)
            kept = real(model, batch, progress).kept
            return probe.ProbedStep(0.01 * size + late, 1e-4 * size**2 + late, kept)

        monkeypatch.setattr(probe, "probe_step", steady)
        return probe.probe(Known(), spec, 20, stage_one(recipe), largest=128)[0]  # type: ignore[arg-type]

    expected = growth(0)
    assert expected.items(128) + expected.pairs(128) == pytest.approx(1.28 + 1.6384, rel=1e-6)
    assert calls[0] == 10  # each size twice: 4, 6, 8, 16 and 32, which takes more than QUICK
    assert [growth(slow) for slow in range(1, 11)] == [expected] * 10


def test_waiting_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that sleeps, as where others have the processor, takes no longer."""
    encode = Known.training_codes

    def late(self: Known, batch: PairBatch) -> TrainingCodes:
        time.sleep(0.05)
        return encode(self, batch)

    monkeypatch.setattr(Known, "training_codes", late)
    spec = InputSpec(RegionInput(2, 7), WordText())
    step = probe.quickest_step(Known(), probe.synthetic_batch(spec, 20, 4), stage_one(region_recipe(None)))  # type: ignore[arg-type]
    assert 0 < step.seconds < 0.04


def stage_one(recipe: Recipe) -> Progress:
    return Progress(0, 0, 0, get_method(recipe.method).loss.model_validate(recipe.training.stages[0].loss))


def test_the_estimate_is_about_what_a_step_takes() -> None:
    """The dual-path on scenes, whose step at 64 pairs was once put at a hundred times what it takes."""
    recipe = recipe_at(ROOT / "recipes/dualpath/scenes.yaml")
    method, config = get_method("dualpath"), recipe.method_config()
    spec, words = method.inputs(config), plan.vocabulary_size(recipe)
    made = plan.make_plan(recipe, words, [])
    assert (made.steps_per_epoch, made.epochs) == (32, 66)  # the last batch is kept: 31 and a quarter
    model = method.build(config, DataFacts(vocab_size=words, n_train_images=2_000, pretrained=False))
    with threads_set(1):
        step = probe.quickest_step(model.train(), probe.synthetic_batch(spec, words, 64), stage_one(recipe))
    assert step.seconds / 4 < made.stages[0].step_seconds < 4 * step.seconds


@pytest.mark.parametrize(
    ("optimizer", "moments"),
    [
        ({"name": "sgd"}, 0),
        ({"name": "sgd", "momentum": 0.9}, 1),
        ({"name": "adam"}, 2),
        ({"name": "adamw"}, 2),
    ],
)
def test_moments_are_those_that_the_optimiser_stores(optimizer: dict[str, Any], moments: int) -> None:
    model = nn.Linear(3, 5)
    settings = Optimizer.model_validate({"lr": 0.1, **optimizer})
    made = make_optimizer(model, settings)  # type: ignore[arg-type]
    model(torch.ones(1, 3)).sum().backward()
    made.step()
    stored = sum(
        value.numel()
        for state in made.state.values()
        for value in state.values()
        if isinstance(value, Tensor) and value.ndim
    )
    assert stored == moments * 20
    assert plan.stored_moments(settings) == moments


def region_recipe(budget: int | None) -> Recipe:
    """RCAR(2) i2t at full size, with a loss over all negatives: all pairs have a gradient."""
    recipe = recipe_at(ROOT / "recipes/sgraf/flickr30k-saf.yaml")
    stages = [stage.model_copy(update={"loss": {"hardest": False}}) for stage in recipe.training.stages]
    training = recipe.training.model_copy(update={"pair_budget_mb": budget, "stages": stages})
    model = {"direction": "i2t", "regulator": "rcar", "steps": 2}
    return recipe.model_copy(update={"method": "rcar", "model": model, "training": training})


def test_pairs_grow_with_the_square_and_stay_within_the_budget() -> None:
    plans = [plan.make_plan(region_recipe(budget), 8481, []) for budget in (None, 12288)]
    whole, capped = (made.largest for made in plans)
    assert 25e9 < whole.memory_bytes < 60e9  # 128 x 128 pairs, each 13 arrays of 36 x 1024 or so
    assert not whole.in_parts
    assert plans[0].steps_per_epoch == 145_000 // 128  # the last batch is dropped
    assert whole.pair_bytes == whole.kept.pair * 128**2
    assert "in one piece" in shown(plans[0])
    assert capped.in_parts
    assert capped.memory_bytes < 20e9
    assert capped.memory_bytes - capped.pair_bytes == pytest.approx(
        whole.memory_bytes - whole.pair_bytes, rel=0.01
    )
    assert "of which pairs 13 GB, the recipe's pair_budget_mb; they would take" in shown(plans[1])


def test_pairs_in_parts_take_their_time_again() -> None:
    growth = probe.CostGrowth(1, 2, 3), probe.CostGrowth(5, 6, 700)
    made = plan.StageEstimate(1, 4, *growth, trained=10, products=probe.CostGrowth(7, 0, 1))
    assert (made.step_seconds, made.memory_bytes) == (1 + 8 + 48, 160 + 29 + 11_200)
    assert made.step_flops == 7 + 16
    less = replace(made, pair_budget=10_000)
    assert (less.step_seconds, less.memory_bytes) == (1 + 8 + 64, 160 + 29 + 10_000)
    assert less.step_flops == pytest.approx(7 + 16 * 4 / 3)
    assert replace(made, trained=6, frozen=4).memory_bytes == 6 * 16 + 4 * 4 + 29 + 11_200
    assert replace(made, pair_budget=11_200).step_seconds == made.step_seconds


def test_a_run_takes_all_its_stages_and_the_memory_of_the_largest() -> None:
    growth = probe.CostGrowth(1, 0, 0), probe.CostGrowth(5, 0, 0)
    first = plan.StageEstimate(2, 4, *growth, trained=10, products=probe.CostGrowth(7, 0, 0))
    second = replace(first, epochs=3, seconds=probe.CostGrowth(10, 0, 0), trained=100)
    made = plan.RunEstimate("d", {}, Download([], 0, 0), [], 100, 6, [first, second], 0, [])
    assert (made.epochs, made.largest) == (5, second)
    assert (made.train_seconds, made.train_flops) == (6 * (2 * 1 + 3 * 10), 6 * 5 * 7)


def test_a_frozen_trunk_keeps_nothing_and_has_no_moments(fresh: Path) -> None:
    """The dual-path on scenes, its trunk frozen in the first stage as at full size."""
    recipe = recipe_at(ROOT / "recipes/dualpath/scenes.yaml")
    one, two, *_ = recipe.training.stages
    stages = [one.model_copy(update={"frozen": ["trunk.*"]}), two]
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"stages": stages})})
    first, second = plan.make_plan(recipe, plan.vocabulary_size(recipe), []).stages
    assert first.kept.items(64) < second.kept.items(64) / 2, fresh
    assert first.frozen > 0
    assert second.frozen == 0
    assert first.trained + first.frozen == second.trained


@pytest.mark.parametrize("variant", ["saf", "sgr"])
def test_published_sizes_fit_twenty_gigabytes(variant: str) -> None:
    recipe = recipe_at(ROOT / f"recipes/sgraf/flickr30k-{variant}.yaml")
    assert recipe.training.pair_budget_mb is not None
    assert plan.make_plan(recipe, 8481, []).largest.memory_bytes < 20e9


def test_synthetic_batches_have_the_declared_shapes() -> None:
    pixels = PixelInput(size=48, train="plain", evaluate="resize", resize_to=48)
    batch = probe.synthetic_batch(InputSpec(pixels, WordPieceText(9)), 50, 3)
    assert batch.images.pixels.shape == (3, 3, 48, 48)
    assert batch.captions.ids.shape == (3, 9)
    assert 0 < int(batch.captions.ids.min()) <= int(batch.captions.ids.max()) < 50
    batch = probe.synthetic_batch(InputSpec(RegionInput(36, 20), WordText(40)), 50, 2)
    assert batch.images.pixels.shape == (2, 36, 20)
    assert batch.captions.ids.shape == (2, probe.TYPICAL_CAPTION)
    assert len(batch) == 2


def test_a_step_is_tried_once_for_recipes_that_differ_in_their_words(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, tries = recipe_at(T2I), []
    real = probe.probe

    def counted(*arguments: Any, **named: Any) -> Any:
        tries.append(1)
        return real(*arguments, **named)

    monkeypatch.setattr(plan, "probe", counted)
    known: dict[str, plan.Growth] = {}
    first, second = (plan.make_plan(recipe, words, [], known=known) for words in (600, 700))
    assert len(tries) == 1, fresh
    assert second.stages[0].seconds == first.stages[0].seconds
    assert second.parameters > first.parameters
    other = recipe.model_copy(update={"model": recipe.model | {"hidden": 24}})
    plan.make_plan(other, 600, [], known=known)
    assert len(tries) == 2
