"""Subjects of the check: recipes with random weights and made-up batches; nothing is loaded, nothing downloaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmark.batches import Codes, PairBatch
from benchmark.evaluation.encoding import encode_captions
from benchmark.evaluation.metrics import retrieval_metrics
from benchmark.evaluation.ranking import Floats, rank
from benchmark.evaluation.scoring import score_batches
from benchmark.inputs import InputSpec
from benchmark.memory import MEGABYTE
from benchmark.method import Baseline, DataFacts, Method, Progress
from benchmark.recipe.schema import Recipe
from benchmark.registry import get_method
from benchmark.run.job import DTYPES, split_sizes
from benchmark.run.plan import vocabulary_size
from benchmark.run.probe import synthetic_batch
from benchmark.run.resolve import find_runs
from benchmark.run.runs import Run
from benchmark.training import seed_initialisation
from benchmark.training.stages import set_trainable
from benchmark.training.trainer import Trainer


@dataclass(frozen=True)
class Subject:
    """A recipe, with what only its data know."""

    name: str
    recipe: Recipe
    method: Method
    spec: InputSpec
    vocab_size: int
    n_images: int
    """Training images; an instance loss has one class for each."""

    @classmethod
    def of(cls, recipe: Recipe, name: str, vocab_size: int | None = None) -> Subject:
        """Read what a recipe's method asks for. `vocab_size`: None for that of its dataset."""
        method = get_method(recipe.method)
        return cls(
            name,
            recipe,
            method,
            method.inputs(recipe.method_config()),
            vocabulary_size(recipe) if vocab_size is None else vocab_size,
            split_sizes(recipe)["train"],
        )

    @property
    def pairs(self) -> int:
        """The batch size."""
        return self.recipe.training.batch_size

    @property
    def memory_bytes(self) -> int:
        """The budget for a block of pairs."""
        return self.recipe.evaluation.memory_mb * MEGABYTE

    def model(self) -> Baseline:
        """The model on the CPU, of the same weights each time."""
        seed_initialisation(self.recipe.training.seed)
        facts = DataFacts(vocab_size=self.vocab_size, n_train_images=self.n_images)
        return self.method.build(self.recipe.method_config(), facts)

    def batch(self, seed: int = 0) -> PairBatch:
        """A batch of captions of several lengths; the same for the same seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return synthetic_batch(self.spec, self.vocab_size, self.pairs, ragged=True)

    def batches(self, epoch: int) -> OneBatch:
        """An epoch of one batch."""
        return OneBatch(lambda: self.batch(epoch))

    def trainer(self, device: torch.device) -> Trainer:
        """A trainer of a fresh model on the device."""
        return Trainer(
            self.model(), self.recipe.training, self.method.loss, self.batches, device, show_progress=False
        )

    def enter_largest(self, trainer: Trainer) -> Progress:
        """Set up the stage that trains the most, and return its first step's place."""
        plan = max(trainer.plans, key=lambda plan: len(plan.trainable))
        set_trainable(trainer.model, plan.trainable & trainer.free)
        return Progress(plan.first_epoch, plan.first_epoch, plan.index, plan.loss)

    def score(self, model: Baseline, device: torch.device, dtype: torch.dtype) -> tuple[Floats, Codes, Codes]:
        """The scores of a batch's images with its captions, as an evaluation makes them, and the codes."""
        batch = self.batch()
        captions = encode_captions(model, [batch.captions], self.pairs, device, dtype)
        sims, _, images = score_batches(
            model,
            [batch.images],
            self.pairs,
            captions,
            memory_bytes=self.memory_bytes,
            device=device,
            dtype=dtype,
            keep_bytes=sys.maxsize,
        )
        return sims, images, captions

    def validate(self, model: Baseline, device: torch.device) -> dict[str, float]:
        """The metrics of these scores, in the recipe's precision."""
        how = self.recipe.evaluation
        sims = self.score(model, device, DTYPES[how.precision])[0]
        return retrieval_metrics(rank(sims, np.arange(self.pairs), how.tie_rule)).values()


@dataclass(frozen=True)
class OneBatch:
    """An epoch of one batch."""

    make: Callable[[], PairBatch]

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[PairBatch]:
        yield self.make()


def shortened(recipe: Recipe, pairs: int) -> Recipe:
    """The recipe with batches of `pairs`, an epoch a stage and two of the last, and a validation after each."""
    document = recipe.model_dump()
    training = document["training"]
    for stage in training["stages"]:
        stage["epochs"] = 1
        stage.pop("schedule", None)
    training["stages"][-1]["epochs"] = 2
    training |= {"batch_size": pairs, "schedule": "constant", "select": "rsum"}
    training |= {"validate_from_epoch": 0, "validate_every": 1}
    return Recipe.model_validate(document)


def full_runs(methods: list[str], dataset: str = "flickr30k") -> list[Run]:
    """The full-size models of each method: the members of its ensemble, else those with the shortest names."""
    chosen: list[Run] = []
    for method in methods:
        runs = find_runs(method, dataset)
        ensemble = next((run for run in runs if run.members), None)
        if ensemble is not None:
            chosen += ensemble.members
            continue
        fewest = min(run.path.stem.count("-") for run in runs)
        chosen += [run for run in runs if run.path.stem.count("-") == fewest]
    return chosen
