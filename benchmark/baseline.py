"""The contract between the harness and a method: what a baseline offers, declares and returns.

The harness owns devices, precision, blocks and files; a method owns the maths. A method is an
`nn.Module` that has the members of `Baseline`, and a `Method` that says how to build it. `baselines/`
imports this module and torch, never the rest of `benchmark`; the harness finds a method by name
through the entry points `rematch.baselines`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from benchmark.errors import UserError, nearest


class Strict(BaseModel):
    """Base of every configuration: a misspelt field is an error that names it; nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --------------------------------------------------------------------------------------- inputs


@dataclass(frozen=True)
class PixelInput:
    """Images as normalised RGB tensors of shape (3, size, size); evaluated whole, (3, height, width)."""

    size: int
    train: Literal["random_resized_crop_flip", "scale_crop_flip", "plain"]
    """`random_resized_crop_flip`: torchvision's defaults (hat.md 6); `scale_crop_flip`: large bicubic crops
    (dualpath.md 5.5); `plain`: the evaluation transform, where that is whole straight to size."""
    evaluate: Literal["resize_center_crop", "resize", "whole"]
    """`resize_center_crop`: shorter side to `resize_to`, bilinear, then the centre; `resize`: straight to size;
    `whole`: shorter side to `resize_to`, bicubic, nothing cut off: pictures differ in shape."""
    resize_to: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    divisor: float = 255.0
    """What values of 0..255 are divided by, before mean and deviation."""
    stored_quality: int | None = None
    """With `whole` and `scale_crop_flip`: pictures go through a JPEG file of this quality at `resize_to`."""


@dataclass(frozen=True)
class RegionInput:
    """Images as region features of shape (n_regions, dim)."""

    n_regions: int
    dim: int
    drop: float = 0.0
    """Share of an image's regions left out in training, drawn anew every time (user.md, appendix A)."""
    guide_dim: int | None = None
    """Width of a vector of the whole image beside its regions, from a model that is not trained (user.md 3.5)."""


@dataclass(frozen=True)
class TextInput:
    """Captions as ids: WordPiece, a word vocabulary, or a word-vector dictionary."""

    codec: Literal["wordpiece", "words", "word_vectors"]
    max_length: int | None = None
    """Longest caption in tokens, special tokens included; longer captions are cut. None: none is."""
    vocabulary: Literal["dataset", "letters"] = "dataset"
    """Of WordPiece. `dataset`: that of bert-base-uncased, or what the dataset brings along; `letters`: made by code."""
    min_count: int = 4
    """Of words: how often one must come in the training and validation captions to be in a vocabulary that is built."""
    mask_token: bool = False
    """Of words: `<mask>` is added at the end of the vocabulary."""
    augment: Literal["none", "word_drop", "word_drop_ends", "position_shift"] = "none"
    """In training. `word_drop`: some words, all pieces of each, are hidden, replaced or left out (rcar.md 6, user.md
    6); a word vocabulary needs `mask_token`. `word_drop_ends`: start and end are among them (user.md, appendix A).
    `position_shift`, of word vectors: a caption begins at a random place of `max_length`, zeros around it."""
    vectors: Literal["word2vec", "random"] = "random"
    """Of word vectors. `word2vec`: of a file, whose words are the only ones that are read; `random`: drawn."""
    word_dim: int = 300
    """Of word vectors: their width."""
    delimiters: str = "- .,()"
    """Of word vectors: what captions are split at."""
    dictionary: Literal["whitespace", "delimiters"] = "delimiters"
    """Of word vectors: what captions are split at when the dictionary is made of them (dualpath.md 6)."""


@dataclass(frozen=True)
class InputSpec:
    """What a method reads, declared and not fetched; the codecs and transforms live in `benchmark/data`."""

    image: PixelInput | RegionInput
    text: TextInput
    unit: Literal["caption", "image"] = "caption"
    """What an epoch runs over: every caption with its image, or every image with one random caption."""
    last_batch: Literal["keep", "drop"] = "keep"
    candidates: int = 0
    """Training captions of other images that come with a batch, to mine from: `extra` then has `candidates` (K, L) as
    a caption is trained on, `candidate_captions` and `candidate_images` (K,), the rows they come from."""
    exclude: Literal["batch", "anchors"] = "batch"
    """Images that candidates don't come from: those of the batch, or of its first half."""


@dataclass(frozen=True)
class ImageBatch:
    """Images of a batch. `pixels`: (B, 3, H, W) or regions (B, R, D); `index`: (B,) rows of the split.

    `lengths` (B,): where regions were dropped, how many of each image are left, zeros after them; None: all.
    `guides`: (B, guide_dim), where a `RegionInput` asks for them.
    """

    pixels: Tensor
    index: Tensor
    lengths: Tensor | None = None
    guides: Tensor | None = None

    def to(self, device: torch.device) -> ImageBatch:
        lengths, guides = (None if part is None else part.to(device) for part in (self.lengths, self.guides))
        return ImageBatch(self.pixels.to(device, non_blocking=True), self.index.to(device), lengths, guides)

    def first(self, count: int) -> ImageBatch:
        """The first `count` images."""
        lengths, guides = (None if part is None else part[:count] for part in (self.lengths, self.guides))
        return ImageBatch(self.pixels[:count], self.index[:count], lengths, guides)


@dataclass(frozen=True)
class CaptionBatch:
    """Captions of a batch. `ids`: (B, L), padded at the end; `lengths`: (B,); `index`: (B,) rows of the split."""

    ids: Tensor
    lengths: Tensor
    index: Tensor

    def to(self, device: torch.device) -> CaptionBatch:
        return CaptionBatch(self.ids.to(device), self.lengths.to(device), self.index.to(device))


@dataclass(frozen=True)
class PairBatch:
    """B matching pairs: row i of `images` belongs to row i of `captions`; `images.index` are the instance ids.

    `extra` holds what `prepare_batch` added (mined captions, keys of a momentum encoder).
    """

    images: ImageBatch
    captions: CaptionBatch
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images.index)

    def to(self, device: torch.device) -> PairBatch:
        extra = {name: value.to(device) for name, value in self.extra.items()}
        return PairBatch(self.images.to(device), self.captions.to(device), extra)


# ---------------------------------------------------------------------------------------- codes


@dataclass(frozen=True)
class Codes:
    """Encoded items: named tensors whose first dimension is the item, so that the harness can store, slice, move.

    A tensor named `lengths` (n_items,) holds true lengths where sizes vary: the harness then forms
    blocks of captions of like length.
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def rows(self, index: slice | Tensor) -> Codes:
        """The items at `index`."""
        return Codes({name: tensor[index] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device) -> Codes:
        return Codes({name: tensor.to(device) for name, tensor in self.tensors.items()})

    @staticmethod
    def concat(parts: Iterable[Codes]) -> Codes:
        """Join batches of codes; every tensor must agree in all dimensions but the first."""
        listed = list(parts)
        return Codes({name: torch.cat([part[name] for part in listed]) for name in listed[0].tensors})


@dataclass(frozen=True)
class TrainingCodes:
    """What the objective reads: codes of the batch's images and captions, and whatever else the method needs."""

    images: Codes
    captions: Codes
    extra: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Where training stands, as the objective sees it."""

    epoch: int
    """0-based, running on across stages."""
    step: int
    """0-based optimiser step since the start of training."""
    stage: int
    loss: BaseModel
    """The stage's loss settings, of the type `Method.loss`."""


# --------------------------------------------------------------------------------------- method


class Baseline(Protocol):
    """An `nn.Module` with these members. Shapes: n images, m captions, B pairs of a batch."""

    training: bool

    # evaluation
    def encode_images(self, batch: ImageBatch) -> Codes:
        """Codes of n images; every pass that test features are made of happens in here."""
        ...

    def encode_captions(self, batch: CaptionBatch) -> Codes:
        """Codes of m captions."""
        ...

    def similarity(self, images: Codes, captions: Codes) -> Tensor:
        """Scores (n_images, n_captions); another division into blocks changes them by rounding at most (1e-6)."""
        ...

    def pair_bytes(self, images: Codes, captions: Codes) -> int:
        """Upper estimate of the temporary bytes one image x caption pair takes in `similarity`."""
        ...

    # training
    def prepare_batch(self, batch: PairBatch, progress: Progress) -> PairBatch:
        """Once a step, without gradient: mining, momentum updates. Returns the batch, perhaps with `extra`."""
        ...

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        """Codes of this rank's part of the batch; no side effects."""
        ...

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:
        """The loss of the whole batch, a scalar; no side effects.

        `pair_budget`: bytes that temporary pair tensors may take (None: no limit). Over it, pairs are scored
        in chunks that are computed again in the backward pass; results don't depend on the chunk size.
        """
        ...

    def after_step(self, codes: TrainingCodes) -> None:
        """Side effects that must happen exactly once a step (enqueue)."""
        ...

    # what `nn.Module` brings
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...
    def to(self, device: torch.device) -> Any: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...


@dataclass(frozen=True)
class DataFacts:
    """What only the data know when a model is built."""

    vocab_size: int
    pad_id: int = 0
    has_mask_token: bool = True
    n_train_images: int = 0
    """The instance loss has one class for each."""
    n_regions: int = 36
    region_dim: int = 2048
    pretrained: bool = False
    """Fetch the pretrained parts that the configuration names (needs the Hub); False: random weights."""
    trunk: nn.Module | None = None
    """Parity may hand in a stand-in for an image trunk."""
    word_vectors: Tensor | None = None
    """(vocab_size, dim): what a word layer begins with; None: random."""


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
    """Keys that have no counterpart by design (recomputed buffers)."""


@dataclass(frozen=True)
class ScoringCase:
    """The same scores computed twice, by the published loop and by the method's own code, to be timed."""

    name: str
    form: str
    """How the fast code goes about it, where it has a choice."""
    naive: Callable[[], Tensor]
    fast: Callable[[], Tensor]
    floor_flops: float
    """FLOPs of the matrix products that no algebra removes (speed.md 5)."""


@dataclass(frozen=True)
class TimingGroup:
    """Contenders for one task, which a study of latency times in turns; the first is what the others are held against.

    Groups of one task and several sizes say how time grows.
    """

    task: str
    size: int | None
    """Of what time may grow with, such as tokens; None where a task has one size."""
    calls: Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Method:
    """A method as the registry knows it: its types, and the functions that build, import and check it."""

    name: str
    title: str
    config: type[Strict]
    loss: type[Strict]
    """Settings of the objective that a stage may change."""
    inputs: Callable[[Any], InputSpec]
    """What a model of this configuration reads; asked before it is built, since the vocabulary sizes it."""
    build: Callable[[Any, DataFacts], Baseline]
    parity_cases: Callable[[Path], list[ParityCase]]
    """Every recorded quantity of one golden file beside ours; [] where the file is not of this method."""
    golden: str | None = None
    """Folder in tests/golden/ that `rematch parity` takes without files. None: that of the method's name."""
    reconstruction: bool = False
    """No authors' code is known: all runs say so, in the record and wherever their numbers stand."""
    read_official: Callable[[Path, Baseline], OfficialWeights] | None = None
    check_batch: Callable[[Any, int], None] = lambda _config, _batch_size: None
    """Raises UserError where a configuration can't be trained in batches of that size; asked when a recipe is read."""
    pretrained_parts: Callable[[Any], list[str]] = lambda _config: []
    """What `pretrained=True` would download, for `--dry-run`."""
    scoring_cases: Callable[[torch.device], Iterable[ScoringCase]] | None = None
    """What `rematch bench` times: full-size scores of random codes on a device."""
    timing_groups: Callable[[torch.device], Iterable[TimingGroup]] | None = None
    """What a study of latency times, of this method beside others; drawn one by one, so tensors may be made then."""


@cache
def _entry_points() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group="rematch.baselines")}


def method_names() -> list[str]:
    """Names of all registered methods, sorted."""
    return sorted(_entry_points())


def get_method(name: str) -> Method:
    """Return the method registered as `name`; raises UserError that names the nearest one."""
    points = _entry_points()
    if name not in points:
        raise UserError(f"unknown method '{name}'{nearest(name, points)}")
    method = points[name].load()
    assert isinstance(method, Method), f"entry point {name} is not a Method"
    return method
