"""`--dry-run`: what a run would download, train and write, with estimates of time, memory and disk.

The estimates come from one small synthetic batch, run forward and backward here and now: its time and
the bytes that autograd keeps are scaled to the recipe's batch size. They say the order of magnitude.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from benchmark.baseline import (
    Baseline,
    CaptionBatch,
    DataFacts,
    ImageBatch,
    InputSpec,
    PairBatch,
    PixelInput,
    Progress,
    get_method,
)
from benchmark.data import check_vocabulary
from benchmark.data.captions import vocabulary_size_of
from benchmark.data.catalog import get_entry
from benchmark.data.hub import Download, download_estimate
from benchmark.data.scenes import ScenesOptions
from benchmark.data.splits import SplitName
from benchmark.recipe import EnsembleRecipe, Recipe, StoredRegions, about, check_fields, load_recipe, run_name
from benchmark.select import dataset_of, default_seed

PROBE_PAIRS = 4
TYPICAL_CAPTION = 14
"""Tokens of a typical caption, special tokens included (hat.md 7.1)."""


@dataclass(frozen=True)
class Plan:
    """Estimates for one training run; bytes and seconds."""

    dataset: str
    images: Mapping[SplitName, int]
    download: Download
    pretrained: list[str]
    parameters: int
    steps_per_epoch: int
    epochs: int
    step_seconds: float
    memory_bytes: int
    disk_bytes: int
    writes: list[str]

    @property
    def train_seconds(self) -> float:
        return self.step_seconds * self.steps_per_epoch * self.epochs


def synthetic_batch(spec: InputSpec, vocab_size: int, pairs: int) -> PairBatch:
    """`pairs` random pairs of the shapes that `spec` declares, captions of a typical length."""
    index = torch.arange(pairs)
    if isinstance(spec.image, PixelInput):
        images = torch.randn(pairs, 3, spec.image.size, spec.image.size)  # (B, 3, H, W)
    else:
        images = torch.randn(pairs, spec.image.n_regions, spec.image.dim)  # (B, R, D)
    length = min(TYPICAL_CAPTION, spec.text.max_length or TYPICAL_CAPTION)
    ids = torch.randint(1, vocab_size, (pairs, length))  # (B, L)
    captions = CaptionBatch(ids, torch.full((pairs,), length), index)
    return PairBatch(ImageBatch(images, index), captions)


def probe(model: Baseline, spec: InputSpec, recipe: Recipe, vocab_size: int) -> tuple[float, int]:
    """Seconds and bytes kept for the backward pass of one training step, both per pair of the batch."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    loss_type = get_method(recipe.method).loss
    progress = Progress(0, 0, 0, loss_type.model_validate(recipe.training.stages[0].loss))
    batch = synthetic_batch(spec, vocab_size, PROBE_PAIRS)
    model.train()
    seconds = []
    for _ in range(2):  # the first pass warms up
        kept.clear()
        start = time.perf_counter()
        with torch.no_grad():
            prepared = model.prepare_batch(batch, progress)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = model.objective(model.training_codes(prepared), progress, None)
        torch.autograd.backward(loss)
        seconds.append(time.perf_counter() - start)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    activations = sum(size for pointer, size in kept.items() if pointer not in own)
    return seconds[-1] / PROBE_PAIRS, activations // PROBE_PAIRS


def split_sizes(recipe: Recipe) -> Mapping[SplitName, int]:
    """Images of each split, from the catalog, the recipe's options and its first images."""
    entry = get_entry(recipe.data.name)
    options = check_fields("data.options", recipe.data.options, entry.options)
    sizes = dict(entry.counts)
    if isinstance(options, ScenesOptions):
        sizes = {"train": options.n_train, "val": options.n_val, "test": options.n_test}
    if entry.train_images_with_restval is not None and getattr(options, "restval", False):
        sizes["train"] = entry.train_images_with_restval
    kept = recipe.data.first_images.counts()
    return {name: min(size, kept.get(name, size)) for name, size in sizes.items()}


def what_is_fetched(recipe: Recipe, data_dir: Path | None) -> Download:
    """All splits as `load_dataset` would fetch them; features that users have are never fetched."""
    if isinstance(recipe.data.regions, StoredRegions):
        return Download(["nothing: the features are in the folder that --data-dir names"], 0, 0)
    return download_estimate(recipe.data.name, ("train", "val", "test"), data_dir)


def make_plan(recipe: Recipe, vocab_size: int, writes: list[str], data_dir: Path | None = None) -> Plan:
    """Estimate a run of `recipe` from the catalog and one synthetic batch; downloads nothing."""
    method, config, training = get_method(recipe.method), recipe.method_config(), recipe.training
    spec = method.inputs(config)
    images = split_sizes(recipe)
    download = what_is_fetched(recipe, data_dir)
    facts = DataFacts(vocab_size=vocab_size, n_train_images=images["train"], pretrained=False)
    model = method.build(config, facts)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    pair_seconds, pair_memory = probe(model, spec, recipe, vocab_size)
    units = images["train"] * (recipe.data.captions_per_image if spec.unit == "caption" else 1)
    gallery = images["test"] ** 2 * recipe.data.captions_per_image * 4
    return Plan(
        dataset=recipe.data.name,
        images=images,
        download=download,
        pretrained=method.pretrained_parts(config) if recipe.pretrained else [],
        parameters=parameters,
        steps_per_epoch=max(1, -(-units // training.batch_size)),
        epochs=training.epochs,
        step_seconds=pair_seconds * training.batch_size,
        memory_bytes=parameters * 16 + pair_memory * training.batch_size,  # weights, gradients, two moments
        # data, checkpoint (weights and two moments), best weights, similarity matrix
        disk_bytes=download.disk_bytes + parameters * 16 + gallery,
        writes=writes,
    )


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def plan_table(plan: Plan, title: str) -> Table:
    """The plan as two columns for a terminal."""
    table = Table(title=f"dry run: {title} (nothing downloaded, trained or written)", show_header=False)
    sizes = ", ".join(f"{name} {count:,}" for name, count in plan.images.items())
    table.add_row("data", f"{plan.dataset}: {sizes} images")
    table.add_row("download", "\n".join(plan.download.items) or "nothing")
    table.add_row("pretrained parts", ", ".join(plan.pretrained) or "none: random weights")
    table.add_row("model", f"{plan.parameters:,} parameters")
    table.add_row("training", f"{plan.epochs} epochs x {plan.steps_per_epoch:,} steps")
    table.add_row(
        "time, on this machine's CPU", f"about {_duration(plan.train_seconds)}; a GPU is far faster"
    )
    table.add_row("memory while training", f"about {_bytes(plan.memory_bytes)}")
    table.add_row("disk", f"about {_bytes(plan.disk_bytes)}, data and work folder")
    table.add_row("writes", "\n".join(plan.writes))
    return table


def dry_run_tables(
    paths: Sequence[Path],
    seeds: Sequence[int] | None,
    data_dir: Path | None,
    profile: str | None = None,
    vocabulary: Path | None = None,
) -> list[Table]:
    """The plan of every recipe, under a profile where one is named; an ensemble trains nothing of its own.

    vocabulary: the file of a word vocabulary; None: it is built, and its size the published one.
    """
    tables = []
    for path in paths:
        recipe, dataset = load_recipe(path, profile), dataset_of(path)
        chosen = list(seeds or [default_seed(path, profile)])
        folder = f"{dataset}/{run_name(path, dataset, profile)}"
        writes = [f".rematch/{folder}/{seed}/ and results/runs/{folder}/{seed}.json, .npz" for seed in chosen]
        if isinstance(recipe, EnsembleRecipe):
            table = Table(title=f"dry run: {path.as_posix()}", show_header=False)
            table.add_row("ensemble", f"mean of the similarity matrices of {', '.join(recipe.ensemble)}")
            table.add_row("writes", "\n".join(writes))
            tables.append(table)
            continue
        with about(path):
            plan = make_plan(recipe, vocabulary_size(recipe, vocabulary), writes, data_dir)
        tables.append(plan_table(plan, f"{path.as_posix()}, {len(chosen)} seed(s)"))
    return tables


def vocabulary_size(recipe: Recipe, vocabulary: Path | None = None) -> int:
    """Of the codec that the recipe's captions go through; known without a download."""
    spec = get_method(recipe.method).inputs(recipe.method_config())
    check_vocabulary(spec.text, vocabulary)
    return vocabulary_size_of(spec.text, recipe.data.name, vocabulary)
