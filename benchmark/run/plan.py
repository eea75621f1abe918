"""`--dry-run`: what a run would download, train and write, with estimates of time, memory and disk.

The estimates come from synthetic batches, run forward and backward here and now: their time and the bytes that
autograd keeps are split into what grows with a batch's items and with its pairs, and scaled to the recipe's batch size.
Time is that of one thread, whatever else the machine does meanwhile. They say the order of magnitude.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from benchmark.batches import CaptionBatch, Codes, ImageBatch, PairBatch, TrainingCodes
from benchmark.data.load import check_vocabulary
from benchmark.data.published.hub import Download, download_estimate
from benchmark.data.regions.detector.weights import REPOSITORY
from benchmark.data.splits import SplitName
from benchmark.data.text.codec import vocabulary_size_of
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

PROBE_SIZES = (2, 3, 4)
"""Batches that are tried: as many as a square function of their size has numbers."""
QUICK = 0.25
"""Seconds; where a step takes less, one of twice the size is tried too, up to the recipe's batch: a part of
milliseconds says little about a square that is hundreds of times its size."""
PROBE_BYTES = 2**30
"""That a probed step may keep, those of PROBE_SIZES aside."""
AGAIN = 4 / 3
"""Time of pairs whose scores are computed a second time, where a backward pass takes as long as two forward."""
TYPICAL_CAPTION = 14
"""Tokens of a typical caption, special tokens included."""


@dataclass(frozen=True)
class CostGrowth:
    """How something grows with the size of a batch: a part that does not, one an item and one a pair."""

    once: float
    item: float
    pair: float

    def items(self, size: int) -> float:
        """All but the pairs'."""
        return self.once + self.item * size

    def pairs(self, size: int) -> float:
        """Of all images with all captions."""
        return self.pair * size**2


Measure = Callable[[Baseline, InputSpec, Recipe, int], tuple[CostGrowth, CostGrowth]]
"""A model, its inputs, its recipe and the size of its vocabulary -> seconds and kept bytes of a step."""


@dataclass(frozen=True)
class RunEstimate:
    """Estimates for one training run; bytes and seconds."""

    dataset: str
    images: Mapping[SplitName, int]
    download: Download
    pretrained: list[str]
    parameters: int
    steps_per_epoch: int
    epochs: int
    batch_size: int
    seconds: CostGrowth
    """Of a step."""
    kept: CostGrowth
    """Bytes for its backward pass."""
    pair_budget: int | None
    """Bytes that pairs may take; None: no limit."""
    disk_bytes: int
    writes: list[str]
    moments: int = 2
    """Numbers that the optimiser stores of each parameter."""
    extraction: ExtractionEstimate | None = None
    """Of the region features that the detector makes first; None: it makes none."""
    scoring: Footprint = NOTHING
    """Of the split that takes the most memory to score."""
    frozen: int = 0
    """Parameters that no optimiser moves, such as those of momentum encoders."""

    @property
    def train_seconds(self) -> float:
        return self.step_seconds * self.steps_per_epoch * self.epochs

    @property
    def step_seconds(self) -> float:
        pairs = self.seconds.pairs(self.batch_size)
        return self.seconds.items(self.batch_size) + (AGAIN * pairs if self.in_parts else pairs)

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
        trained = 4 * (2 + self.moments) * (self.parameters - self.frozen)
        return trained + 4 * self.frozen + self.kept.items(self.batch_size) + self.pair_bytes


def synthetic_batch(spec: InputSpec, vocab_size: int, pairs: int, *, ragged: bool = False) -> PairBatch:
    """`pairs` random pairs of the shapes that `spec` declares, captions of a typical length.

    ragged: captions of 3 tokens up to that length, and images with as few regions as dropping leaves.
    """
    index, image = torch.arange(pairs), spec.image
    pixels = torch.randn(pairs, *image.shape)  # (B, 3, H, W) or (B, R, D)
    guides = None if image.guide_dim is None else torch.randn(pairs, image.guide_dim)
    images = ImageBatch(pixels, index, guides=guides)
    length = min(TYPICAL_CAPTION, spec.text.max_length or TYPICAL_CAPTION)
    ids = torch.randint(1, vocab_size, (pairs, length))  # (B, L)
    lengths = torch.full((pairs,), length)
    if ragged:
        lengths = length - index * 5 % (length - 2)
        ids = ids * (torch.arange(length) < lengths[:, None])
        if image.drop:
            left = image.shape[0] - index % max(1, int(2 * image.drop * image.shape[0]))
            images = replace(images, lengths=left)
    captions = CaptionBatch(ids, lengths, index)
    if not spec.candidates:
        return PairBatch(images, captions)
    count = spec.candidates
    names = ("candidate_captions", "candidate_images")
    mined = {"candidates": torch.randint(1, vocab_size, (count, spec.text.max_length or length))}
    return PairBatch(images, captions, mined | {name: index[:1].expand(count) for name in names})


def probe(model: Baseline, spec: InputSpec, recipe: Recipe, vocab_size: int) -> tuple[CostGrowth, CostGrowth]:
    """Seconds of one training step, and bytes that autograd keeps for its backward pass, by the batch's size."""
    loss_type = get_method(recipe.method).loss
    progress = Progress(0, 0, 0, loss_type.model_validate(recipe.training.stages[0].loss))
    model.train()

    def step(size: int) -> ProbedStep:
        return quickest_step(model, synthetic_batch(spec, vocab_size, size), progress)

    with one_thread():
        steps = {size: step(size) for size in PROBE_SIZES}
        kept, size = fit_growth([steps[size].kept for size in PROBE_SIZES]), PROBE_SIZES[-1]
        while steps[size].seconds < QUICK and 2 * size <= recipe.training.batch_size:
            size *= 2
            if kept.items(size) + kept.pairs(size) > PROBE_BYTES:
                break
            steps[size] = step(size)
    return time_growth(steps), kept


def fit_growth(counts: Sequence[float]) -> CostGrowth:
    """The growth of what was counted at PROBE_SIZES, no part of it below 0."""
    pair, item, once = (max(0.0, float(value)) for value in np.polyfit(PROBE_SIZES, counts, 2))
    return CostGrowth(once, item, pair)


def time_growth(steps: Mapping[int, ProbedStep]) -> CostGrowth:
    """Nowhere falling, and nearest to the steps in proportion; encoding alone has no part that grows with pairs."""
    sizes = np.array(list(steps), dtype=float)  # (n,)
    powers = np.stack([sizes**0, sizes, sizes**2], 1)  # (n, 3)
    encoding, scoring = (
        np.array([max(value, 1e-9) for value in values])
        for values in ([s.encoding for s in steps.values()], [s.scoring for s in steps.values()])
    )
    encoded = nnls(powers[:, :2] / encoding[:, None], np.ones(len(sizes)))[0]
    once, item, pair = nnls(powers / scoring[:, None], np.ones(len(sizes)))[0]
    return CostGrowth(float(encoded[0] + once), float(encoded[1] + item), float(pair))


@contextmanager
def one_thread() -> Iterator[None]:
    """Several threads wait for each other busily: on a machine with other work to do, hours of nothing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class ProbedStep:
    """Seconds forward and backward, of encoding and of scoring pairs; bytes kept in between, weights not counted."""

    encoding: float
    scoring: float
    kept: int

    @property
    def seconds(self) -> float:
        return self.encoding + self.scoring


def quickest_step(model: Baseline, batch: PairBatch, progress: Progress) -> ProbedStep:
    """Probe a step twice and take the shorter times: a first call may plan and allocate, any call may be held up."""
    first, second = (probe_step(model, batch, progress) for _ in range(2))
    encoding, scoring = min(first.encoding, second.encoding), min(first.scoring, second.scoring)
    return ProbedStep(encoding, scoring, second.kept)


def probe_step(model: Baseline, batch: PairBatch, progress: Progress) -> ProbedStep:
    """One step, its backward pass in two parts, so that the time of the pairs is known by itself."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    start = time.process_time()
    with torch.no_grad():
        prepared = model.prepare_batch(batch, progress)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        codes = model.training_codes(prepared)
        encoded = time.process_time()
        leaves: dict[Tensor, Tensor] = {}
        loss = model.objective(_cut(codes, leaves), progress, None)
    torch.autograd.backward(loss)
    scored = time.process_time()
    reached = {tensor: leaf.grad for tensor, leaf in leaves.items() if leaf.grad is not None}
    torch.autograd.backward(list(reached), list(reached.values()))
    end = time.process_time()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    total = sum(size for pointer, size in kept.items() if pointer not in own)
    return ProbedStep(encoded - start + end - scored, scored - encoded, total)


def _cut(codes: TrainingCodes, leaves: dict[Tensor, Tensor]) -> TrainingCodes:
    """The codes without their history; `leaves` has the new tensor of each that has one."""

    def cut(tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor
        if tensor not in leaves:
            leaves[tensor] = tensor.detach().requires_grad_()
        return leaves[tensor]

    images, captions = (
        Codes({name: cut(tensor) for name, tensor in side.tensors.items()})
        for side in (codes.images, codes.captions)
    )
    return TrainingCodes(images, captions, {name: cut(tensor) for name, tensor in codes.extra.items()})


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


def make_plan(
    recipe: Recipe,
    vocab_size: int,
    writes: list[str],
    data_dir: Path | None = None,
    measure: Measure | None = None,
) -> RunEstimate:
    """Estimate a run of `recipe` from the catalog and synthetic batches; downloads nothing.

    measure: gives the seconds and the bytes of a step in place of `probe`.
    """
    method, config, training = get_method(recipe.method), recipe.method_config(), recipe.training
    spec = method.inputs(config)
    images = split_sizes(recipe)
    download = what_is_fetched(recipe, data_dir)
    facts = DataFacts(vocab_size=vocab_size, n_train_images=images["train"], pretrained=False)
    model = method.build(config, facts)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    seconds, kept = (measure or probe)(model, spec, recipe, vocab_size)
    budget = training.pair_budget_mb
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
        epochs=training.epochs,
        batch_size=training.batch_size,
        seconds=seconds,
        kept=kept,
        pair_budget=None if budget is None else budget * MEGABYTE,
        # data, region features, checkpoint (weights and moments), best weights, similarity matrix
        disk_bytes=download.disk_bytes + features + parameters * 4 * (2 + moments) + gallery,
        writes=writes,
        moments=moments,
        extraction=extraction,
        scoring=largest_footprint(model, spec, recipe),
        frozen=parameters - sum(one.numel() for one in model.parameters() if one.requires_grad),
    )


def stored_moments(optimizer: Optimizer) -> int:
    """Numbers that an optimiser stores of each parameter: a velocity, or Adam's two."""
    if optimizer.name == "sgd":
        return 1 if optimizer.momentum else 0
    return 2


def vocabulary_size(recipe: Recipe, vocabulary: Path | None = None) -> int:
    """Of the codec that the recipe's captions go through; known without a download."""
    spec = get_method(recipe.method).inputs(recipe.method_config())
    check_vocabulary(spec.text, vocabulary)
    return vocabulary_size_of(spec.text, recipe.data.name, vocabulary)
