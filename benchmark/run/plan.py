"""`--dry-run`: what a run would download, train and write, with estimates of time, memory and disk.

They come from steps that are tried out here and now (benchmark/run/probe.py), and say the order of magnitude.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmark.data.load import check_vocabulary
from benchmark.data.own.index import captions_by_split
from benchmark.data.published.catalogue import get_entry
from benchmark.data.published.hub import Download, download_estimate
from benchmark.data.regions.detector.weights import REPOSITORY
from benchmark.data.splits import SplitName
from benchmark.data.text.codec import vocabulary_size_of
from benchmark.distributed.traffic import StepTraffic
from benchmark.evaluation.footprint import LONGEST, NOTHING, Footprint, measure_footprint
from benchmark.inputs import InputSpec
from benchmark.memory import MEGABYTE
from benchmark.method import Baseline, DataFacts, Progress
from benchmark.recipe.schema import DetectorRegions, Recipe
from benchmark.recipe.training import Optimizer
from benchmark.registry import get_method
from benchmark.run.extraction import (
    WEIGHT_BYTES,
    ExtractionEstimate,
    converted_weights,
    estimate_extraction,
)
from benchmark.run.job import DTYPES, caption_counts, split_sizes
from benchmark.run.probe import CostGrowth, count_products, probe, synthetic_batch
from benchmark.training.stages import StagePlan, plan_stages, set_trainable

AGAIN = 4 / 3
"""Time of pairs whose scores are computed a second time, where a backward pass takes as long as two forward."""


@dataclass(frozen=True)
class StageEstimate:
    """Estimates for the steps of one stage of a training; bytes and seconds."""

    epochs: int
    batch_size: int
    seconds: CostGrowth
    """Of a step."""
    kept: CostGrowth
    """Bytes for its backward pass."""
    trained: int
    """Parameters that have a gradient."""
    frozen: int = 0
    """Those that have none, such as those of momentum encoders."""
    moments: int = 2
    """Numbers that the optimiser stores of each parameter that has a gradient."""
    pair_budget: int | None = None
    """Bytes that pairs may take; None: no limit."""
    products: CostGrowth | None = None
    """FLOPs of a step's matrix products; None: they were not counted."""

    @property
    def step_seconds(self) -> float:
        return self._all_pairs(self.seconds)

    @property
    def step_flops(self) -> float:
        """0 where products were not counted."""
        return 0.0 if self.products is None else self._all_pairs(self.products)

    def _all_pairs(self, growth: CostGrowth) -> float:
        pairs = growth.pairs(self.batch_size)
        return growth.items(self.batch_size) + (AGAIN * pairs if self.in_parts else pairs)

    @property
    def in_parts(self) -> bool:
        """Whether pairs are scored in parts, each a second time in the backward pass."""
        return self.pair_budget is not None and self.kept.pairs(self.batch_size) > self.pair_budget

    @property
    def pair_bytes(self) -> float:
        """Of a step's pairs, as they are scored."""
        needed = self.kept.pairs(self.batch_size)
        return needed if self.pair_budget is None else min(needed, self.pair_budget)

    @property
    def memory_bytes(self) -> float:
        """While training: weights, their gradients and moments, and what a step keeps."""
        weights = 4 * (2 + self.moments) * self.trained + 4 * self.frozen
        return weights + self.kept.items(self.batch_size) + self.pair_bytes


@dataclass(frozen=True)
class RunEstimate:
    """Estimates for one training run; bytes and seconds."""

    dataset: str
    images: Mapping[SplitName, int]
    download: Download
    pretrained: list[str]
    parameters: int
    steps_per_epoch: int
    stages: Sequence[StageEstimate]
    disk_bytes: int
    writes: list[str]
    extraction: ExtractionEstimate | None = None
    """Of the region features that the detector makes first; None: it makes none."""
    scoring: Footprint = NOTHING
    """Of the split that takes the most memory to score."""
    code_bytes: int = 0
    """Bytes of the codes of a pair in training, which several processes gather."""

    def traffic(self, processes: int) -> StepTraffic:
        """Return what a step of several processes sends, in the stage that trains the most."""
        stage = max(self.stages, key=lambda stage: stage.trained)
        return StepTraffic(stage.batch_size, self.code_bytes, 4 * stage.trained, processes)

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)

    @property
    def train_seconds(self) -> float:
        return self.steps_per_epoch * sum(stage.epochs * stage.step_seconds for stage in self.stages)

    @property
    def train_flops(self) -> float:
        return self.steps_per_epoch * sum(stage.epochs * stage.step_flops for stage in self.stages)

    @property
    def largest(self) -> StageEstimate:
        """The stage that takes the most memory."""
        return max(self.stages, key=lambda stage: stage.memory_bytes)


def what_is_fetched(recipe: Recipe, data_dir: Path | None) -> Download:
    """All splits as `load_dataset` would fetch them; features that users have are never fetched."""
    splits: tuple[SplitName, ...] = ("train", "val", "test")
    data = recipe.data
    model = None if data.guides is None else data.guides.model
    if data.regions_in_folder and model is None:
        return Download(["nothing: the features are in the folder that --data-dir names"], 0, 0)
    found = download_estimate(data.name, splits, None if data.regions_in_folder else data_dir, data.options)
    if model is not None:
        found = replace(found, items=[*found.items, f"{model}, to make guides of these pictures"])
    if not isinstance(data.regions, DetectorRegions) or converted_weights():
        return found
    line = f"{REPOSITORY}: about {WEIGHT_BYTES / 1e9:.2f} GB to download, the detector's weights"
    return replace(
        found,
        items=[*found.items, line],
        bytes=found.bytes + WEIGHT_BYTES,
        disk_bytes=found.disk_bytes + 2 * WEIGHT_BYTES,
    )


def largest_footprint(model: Baseline, spec: InputSpec, recipe: Recipe) -> Footprint:
    """The memory that validation or test will take, whichever takes more on the host."""
    images, captions, how = split_sizes(recipe), caption_counts(recipe), recipe.evaluation
    names: tuple[SplitName, ...] = ("val", "test")
    return max(
        (
            measure_footprint(
                model,
                spec,
                n_images=images[name],
                n_captions=captions[name],
                longest=spec.text.max_length or LONGEST,
                batch_size=how.batch_size,
                memory_bytes=how.memory_mb * MEGABYTE,
                dtype=DTYPES[how.precision],
                device=torch.device("cpu"),
            )
            for name in names
        ),
        key=lambda found: found.host,
    )


Growth = tuple[CostGrowth, CostGrowth, CostGrowth | None]
"""Seconds, kept bytes and products of a step, by the size of its batch."""


def estimate_stages(
    model: Baseline,
    spec: InputSpec,
    recipe: Recipe,
    vocab_size: int,
    *,
    products: bool,
    known: dict[str, Growth] | None = None,
) -> list[StageEstimate]:
    """Probe each stage with its loss and its frozen parameters; those that are alike in both are probed once.

    known: stages that were probed before, of other recipes too; models that differ in the number of words are alike.
    """
    training, known = recipe.training, {} if known is None else known
    budget = training.pair_budget_mb

    def measure(stage: StagePlan) -> Growth:
        key = _step_key(model, recipe, stage, vocab_size)
        if key not in known:
            progress = Progress(stage.first_epoch, 0, stage.index, stage.loss)
            seconds, kept = probe(model, spec, vocab_size, progress, largest=training.batch_size)
            counted = count_products(model, spec, vocab_size, progress) if products else None
            known[key] = seconds, kept, counted
        return known[key]

    found = []
    for stage in plan_stages(model, training, get_method(recipe.method).loss):
        set_trainable(model, stage.trainable)
        seconds, kept, counted = measure(stage)
        trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
        found.append(
            StageEstimate(
                epochs=stage.epochs,
                batch_size=training.batch_size,
                seconds=seconds,
                kept=kept,
                trained=trained,
                frozen=sum(one.numel() for one in model.parameters()) - trained,
                moments=stored_moments(training.optimizer),
                pair_budget=None if budget is None else budget * MEGABYTE,
                products=counted,
            )
        )
        model.zero_grad(set_to_none=True)
    return found


def _step_key(model: Baseline, recipe: Recipe, stage: StagePlan, vocab_size: int) -> str:
    """Return what a step costs by: the method, its settings, the loss, and the parameters with a gradient."""
    shapes = {
        name: ["words" if size == vocab_size else size for size in parameter.shape]
        for name, parameter in model.named_parameters()
        if name in stage.trainable
    }
    config = recipe.method_config().model_dump_json()
    return f"{recipe.method} {config} {recipe.training.batch_size} {stage.loss.model_dump_json()} {shapes}"


def make_plan(
    recipe: Recipe,
    vocab_size: int,
    writes: list[str],
    data_dir: Path | None = None,
    *,
    products: bool = False,
    known: dict[str, Growth] | None = None,
) -> RunEstimate:
    """Estimate a run of `recipe` from the catalog and synthetic batches; downloads nothing.

    products: count the FLOPs of a step's matrix products too. known: of steps that other plans tried (estimate_stages).
    """
    method, config, training = get_method(recipe.method), recipe.method_config(), recipe.training
    spec = method.inputs(config)
    images = split_sizes(recipe)
    download = what_is_fetched(recipe, data_dir)
    facts = DataFacts(vocab_size=vocab_size, n_train_images=images["train"], pretrained=False)
    model = method.build(config, facts)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    captions = caption_counts(recipe)
    units = captions["train"] if spec.unit == "caption" else images["train"]
    steps = units // training.batch_size if spec.last_batch == "drop" else -(-units // training.batch_size)
    moments = stored_moments(training.optimizer)
    gallery = images["test"] * captions["test"] * 4
    extraction = None
    if isinstance(recipe.data.regions, DetectorRegions):
        extraction = estimate_extraction(recipe.data.regions, sum(images.values()))
    features = extraction.disk_bytes if extraction is not None else 0
    return RunEstimate(
        dataset=recipe.data.name,
        images=images,
        download=download,
        pretrained=method.pretrained_parts(config) if recipe.pretrained else [],
        parameters=parameters,
        steps_per_epoch=max(1, steps),
        stages=estimate_stages(model, spec, recipe, vocab_size, products=products, known=known),
        # data, region features, checkpoint (weights and moments), best weights, similarity matrix
        disk_bytes=download.disk_bytes + features + parameters * 4 * (2 + moments) + gallery,
        writes=writes,
        extraction=extraction,
        scoring=largest_footprint(model, spec, recipe),
        code_bytes=bytes_of_codes(model, spec, vocab_size),
    )


def bytes_of_codes(model: Baseline, spec: InputSpec, vocab_size: int) -> int:
    """The bytes of a pair's codes in training, with a caption of typical length."""
    with torch.no_grad():
        codes = model.train().training_codes(synthetic_batch(spec, vocab_size, 2))
    return (codes.images.nbytes + codes.captions.nbytes) // 2


def stored_moments(optimizer: Optimizer) -> int:
    """Numbers that an optimiser stores of each parameter: a velocity, or Adam's two."""
    if optimizer.name == "sgd":
        return 1 if optimizer.momentum else 0
    return 2


def vocabulary_size(recipe: Recipe, vocabulary: Path | None = None) -> int:
    """Count the ids of the codec of a recipe, without a download; an own dataset's words are those of its index."""
    spec = get_method(recipe.method).inputs(recipe.method_config())
    check_vocabulary(spec.text, vocabulary)
    own = get_entry(recipe.data.name).own
    captions = None if own is None else captions_by_split(own, recipe.data.captions_each)
    return vocabulary_size_of(spec.text, recipe.data.name, vocabulary, captions)
