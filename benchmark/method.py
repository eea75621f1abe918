"""The contract between the harness and a method: what a baseline offers, declares and returns.

The harness owns devices, precision, blocks and files; a method owns the maths. A method is a subclass of
`Baseline` or of `DualEncoder`, and a `Method` that says how to build it; docs/plugin.md has one in thirty lines. The
harness finds a method by name through the entry points `rematch.baselines`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from benchmark.batches import CaptionBatch, Codes, ImageBatch, PairBatch, TrainingCodes
from benchmark.inputs import InputSpec, ListedSplit
from benchmark.strict import Strict


@dataclass(frozen=True)
class Progress:
    """The place of a step in training, as the objective sees it."""

    epoch: int
    """The epoch from 0, running on across stages."""
    step: int
    """The optimiser step from 0 since the start of training."""
    stage: int
    loss: BaseModel
    """The stage's loss settings, of the type `Method.loss`."""


class TripletLoss(Strict):
    """The ranking loss of a batch's score matrix, and its settings."""

    margin: float = Field(default=0.2, ge=0)
    """The lead that a matching pair's score must have."""
    hardest: bool = True
    """Only the worst negative of each row and column counts; false: all of them, summed."""

    def __call__(self, scores: Tensor) -> Tensor:
        """Return the hinge loss of `scores` (B, B) over both directions: row = image, column = caption, S_ii matches.

        With `hardest`, each image pays for its worst caption and each caption for its worst image:

            L = sum_i max_{j != i} [m + S_ij - S_ii]_+  +  sum_j max_{i != j} [m + S_ij - S_jj]_+

        Another caption of the same image is a negative like any other. Where the maximum is tied, the first index
        takes the whole gradient (CPU).
        """
        size = len(scores)
        positives = scores.diagonal().view(size, 1)
        diagonal = scores.new_ones(size).diag().bool()
        of_images = (self.margin + scores - positives).clamp(min=0).masked_fill(diagonal, 0)  # (B, B)
        of_captions = (self.margin + scores - positives.T).clamp(min=0).masked_fill(diagonal, 0)  # (B, B)
        if not self.hardest:
            return of_images.sum() + of_captions.sum()
        return of_images.max(dim=1).values.sum() + of_captions.max(dim=0).values.sum()


class Baseline(nn.Module, ABC):
    """A model as the harness trains and evaluates it. Shapes: n images, m captions, B pairs of a batch.

    A step is `prepare_batch`, `training_codes`, `objective`, backward, clip, update, `after_step`. A method
    overrides `train()` where parts keep a mode of their own.
    """

    @abstractmethod
    def encode_images(self, batch: ImageBatch) -> Codes:
        """Return codes of n images; every pass that test features are made of happens in here."""

    @abstractmethod
    def encode_captions(self, batch: CaptionBatch) -> Codes:
        """Return codes of m captions."""

    @abstractmethod
    def similarity(self, images: Codes, captions: Codes) -> Tensor:
        """Return scores (n_images, n_captions); other blocks change them by rounding at most (1e-6)."""

    @abstractmethod
    def pair_bytes(self, images: Codes, captions: Codes) -> int:
        """Return an upper estimate of the temporary bytes one image x caption pair takes in `similarity`."""

    @abstractmethod
    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:
        """Return the loss of the whole batch, a scalar; no side effects.

        `pair_budget`: bytes that temporary pair tensors may take (None: no limit). Over it, pairs are scored
        in chunks that are computed again in the backward pass; results do not depend on the chunk size.
        """

    def prepare_batch(self, batch: PairBatch, progress: Progress) -> PairBatch:  # noqa: ARG002
        """Mine, or update by momentum, once a step and without gradient; returns the batch, perhaps with `extra`."""
        return batch

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        """Return codes of this rank's part of the batch, those of evaluation by default; no side effects."""
        return TrainingCodes(self.encode_images(batch.images), self.encode_captions(batch.captions))

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """Return modules and names of their methods that `training.compile` may compile; [] for none.

        Each is a function of tensors alone: no random draws, no side effects, no question about their numbers.
        """
        return []

    def after_step(self, codes: TrainingCodes) -> None:
        """Do what must happen exactly once a step (enqueue, running statistics)."""


class DualEncoder(Baseline):
    """A model that makes an image and a caption one vector each; a pair's score is their product.

    `encode_images` and `encode_captions` give codes with `vectors` (B, D); all else is here. The loss settings of a
    stage are called on the score matrix, as `TripletLoss` can be; a method with another loss has an `objective`.
    """

    def similarity(self, images: Codes, captions: Codes) -> Tensor:
        """Return products (n, m) of the vectors: cosines, where they have unit length."""
        return images["vectors"] @ captions["vectors"].T

    def pair_bytes(self, images: Codes, captions: Codes) -> int:  # noqa: ARG002
        """Return the bytes of a score; a pair takes no more."""
        return images["vectors"].element_size()

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:  # noqa: ARG002
        """Return the stage's loss of the batch's B x B scores; such a matrix needs no budget.

        In float32, also where the encoders are in half precision: cosines of eight bits are 0.004 apart, and the
        hardest negatives are no longer the hardest.
        """
        assert isinstance(progress.loss, TripletLoss), "a method with another loss needs an objective"
        images, captions = (_at_least_float32(codes) for codes in (codes.images, codes.captions))
        with torch.autocast(images["vectors"].device.type, enabled=False):
            return progress.loss(self.similarity(images, captions))


def _at_least_float32(codes: Codes) -> Codes:
    half = {
        name: tensor.float()
        for name, tensor in codes.tensors.items()
        if tensor.dtype in (torch.float16, torch.bfloat16)
    }
    return Codes({**codes.tensors, **half})


@dataclass(frozen=True)
class DataFacts:
    """The facts that only the data know when a model is built."""

    vocab_size: int
    pad_id: int = 0
    n_train_images: int = 0
    """The number of training images; the instance loss has one class for each."""
    n_regions: int = 36
    region_dim: int = 2048
    pretrained: bool = False
    """True where the pretrained parts that the configuration names are fetched; False: weights are random."""
    trunk: nn.Module | None = None
    """A stand-in for an image trunk, which parity may hand in."""
    word_vectors: Tensor | None = None
    """The vectors that a word layer begins with, (vocab_size, dim); None: random ones."""


@dataclass(frozen=True)
class ParityCase:
    """One recorded quantity beside ours. `relative`: the error is divided by the largest |expected|.

    `share`: each entry may be off by `tolerance` and this share of its own |expected|.
    """

    name: str
    expected: np.ndarray[Any, Any]
    actual: np.ndarray[Any, Any]
    tolerance: float
    relative: bool = False
    share: float = 0.0


@dataclass(frozen=True)
class OfficialWeights:
    """An authors' checkpoint, translated: `state` fits the model; the rest is a report for the user."""

    state: dict[str, Tensor]
    missing: list[str]
    unexpected: list[str]
    dropped: list[str]
    """The keys that have no counterpart by design (recomputed buffers)."""


@dataclass(frozen=True)
class ScoringCase:
    """The same scores computed twice, by the published loop and by the method's own code, to be timed."""

    name: str
    form: str
    """The way that the fast code takes, where it has a choice."""
    naive: Callable[[], Tensor]
    fast: Callable[[], Tensor]
    floor_flops: float
    """FLOPs of the matrix products that no algebra removes (speed.md 5)."""


@dataclass(frozen=True)
class TrainingCase:
    """A training step twice, as the published code goes about its pairs and as the method does, to be timed."""

    name: str
    build: Callable[[], Baseline]
    """Makes the model, of full size and random weights, once for each of the two."""
    batch: Callable[[int], PairBatch]
    """Makes a batch of so many pairs, the same every time."""
    published: Callable[[Any, TrainingCodes, Progress, int | None], Tensor] | None = None
    """The objective of such a model with all pairs scored as published; None: its own, which scores pairs as simply."""
    loss: Strict = field(default_factory=TripletLoss)
    """The settings of the stage's loss."""


@dataclass(frozen=True)
class TimingGroup:
    """Contenders for one task, which a study of latency times in turns; the first is what the others are held against.

    Groups of one task and several sizes say how time grows.
    """

    task: str
    size: int | None
    """The size that time may grow with, such as tokens; None where a task has one size."""
    calls: Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Method:
    """A method as the registry knows it: its types, and the functions that build, import and check it."""

    name: str
    title: str
    config: type[Strict]
    inputs: Callable[[Any], InputSpec]
    """Gives the inputs of a model of this configuration, before it is built, since the vocabulary sizes it."""
    build: Callable[[Any, DataFacts], Baseline]
    """Builds a model, and is usually its class; `facts` say what only the data know."""
    loss: type[Strict] = TripletLoss
    """The settings of the objective that a stage may change."""
    parity_cases: Callable[[Path], list[ParityCase]] = lambda _path: []
    """Puts every recorded quantity of one golden file beside ours; [] where the file is not of this method."""
    golden: str | None = None
    """The folder in tests/golden/ that `rematch parity` takes without files. None: that of the method's name."""
    splits: tuple[ListedSplit, ...] = ()
    """The splits of a dataset's whole corpus that the method's authors made by lists of file names."""
    half_precision: Literal["float16", "bfloat16"] | None = None
    """The half precision that the authors train in; None: float32. A training in another half one departs from it."""
    reconstruction: bool = False
    """True where no authors' code is known: all runs say so, in the record and wherever their numbers stand."""
    read_official: Callable[[Path, Baseline], OfficialWeights] | None = None
    check_batch: Callable[[Any, int], None] = lambda _config, _batch_size: None
    """Raises UserError where a configuration cannot be trained in batches of that size; asked when a recipe is read."""
    settle: Callable[[Any, Callable[[str], str]], Any] = lambda config, _commit_of: config
    """Gives a configuration with what its repositories decide, read at their commits (name -> 40 digits), before data
    are loaded; the record has it so. For methods whose models are known by name alone."""
    hub_models: bool = False
    """True where a configuration of a `name`, a repository of the Hub, is what `rematch evaluate-model` takes."""
    pretrained_parts: Callable[[Any], list[str]] = lambda _config: []
    """Names all that `pretrained=True` would download, for `--dry-run`."""
    scoring_cases: Callable[[torch.device], Iterable[ScoringCase]] | None = None
    """Gives the cases of `rematch time scoring`: full-size scores of random codes on a device."""
    training_cases: Callable[[torch.device], Iterable[TrainingCase]] | None = None
    """Gives the cases of `rematch time training`: full-size models and batches of random pairs on a device."""
    timing_groups: Callable[[torch.device], Iterable[TimingGroup]] | None = None
    """Gives the groups of a study of latency, one by one, so that tensors may be made then."""
