"""USER (Zhang et al., IEEE TIP 2024; arXiv 2301.06844), top to bottom.

An image is one vector, a caption another, and their product is the score. Regions are enhanced by a vector of the
whole image before they are pooled: one that they make themselves (SGE), or CLIP's (CGE); captions go through BERT. In
training each encoder has a momentum copy, whose vectors of the latest batches wait in two queues: a loss over the
batch and one over the queues have the same form (UTO). Where the paper leaves a choice open, the published code's
behaviour is taken (user.md 9; README.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_serializer, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.bert import BERTConfig, build_bert
from baselines.layers.momentum import follow, momentum_copy
from baselines.layers.pooled_encoders import PooledBERT, PooledRegions
from baselines.layers.queues import KeyQueues
from baselines.user.enhancement import GuideConfig, ProjectedGuide, SelfGuidedEnhancement, add_guide
from benchmark.batches import CaptionBatch, Codes, ExtraKind, ImageBatch, PairBatch, TrainingCodes
from benchmark.errors import UserError
from benchmark.inputs import InputSpec, RegionInput, WordPieceText
from benchmark.method import DataFacts, DualEncoder, Progress
from benchmark.strict import Strict


class UserConfig(Strict):
    """A USER model; the defaults are the published sizes (user.md 3.1, 3.3, 5)."""

    enhancement: Literal["sge", "cge", "none"] = "sge"
    """`sge`: self-guided enhancement of the regions; `cge`: CLIP-guided, reconstructed (UNCERTAIN); `none`: regions as
    they come, the host VSE-infinity's encoder."""
    regions: int = Field(default=36, ge=1)
    """Regions of an image; SGE is built for this many."""
    region_dim: int = Field(default=2048, ge=1)
    """Width of a region's features, which are taken as they are."""
    dim: int = Field(default=1024, ge=2)
    """Width of the common space."""
    pool_width: int = Field(default=32, ge=2, multiple_of=2)
    """Width of the position codes and of the GRU in GPO pooling."""
    dropout: float = Field(default=0.4, ge=0, lt=1)
    """Dropout rate of both branches of SGE."""
    sharpness: float = 1.0
    """The factor of the products that decide a region's share of the guide (the published `attention_lamda`)."""
    guide: GuideConfig = GuideConfig()
    """The settings of the layers that turn a CLIP vector into the guide of the regions."""
    queue: int = Field(default=2048, ge=0)
    """Keys that wait in each queue, a multiple of the batch size; 0: no queues, no momentum encoders."""
    momentum: float = Field(default=0.999, ge=0, lt=1)
    """Share of its own weights that a momentum encoder keeps at a step."""
    augment: Literal["word_drop", "none"] = "word_drop"
    """Augmentation of the captions in training: some words are hidden, replaced or left out (user.md 6)."""
    vocabulary: Literal["dataset", "letters"] = "dataset"
    """`dataset`: bert-base-uncased's word pieces, as published (scenes has its own); `letters`: a small vocabulary
    of letters and common words that needs no download, for smoke runs without pretraining."""
    bert: BERTConfig = BERTConfig()

    @model_validator(mode="after")
    def _guide_of_cge(self) -> Self:
        if self.enhancement != "cge" and "guide" in self.model_fields_set:
            raise UserError(
                f"field 'model.guide': enhancement '{self.enhancement}' has none; leave it out, or take 'cge'"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Leave out the guide where nothing reads it: it came after the first records were made."""
        document = dump(self)
        return {key: value for key, value in document.items() if key != "guide" or self.enhancement == "cge"}


class UserLoss(Strict):
    """Settings of the unified training objective (user.md 4)."""

    scale: float = Field(default=90.0, gt=0)
    """mu: the larger, the more the hardest negatives alone count."""
    threshold: float = 0.5
    """gamma: scores of negatives well below it cost nothing."""
    batch_weight: float = Field(default=20.0, ge=0)
    """lambda, of the loss over the batch; the loss over the queues has a weight of 1."""
    tangent: bool = False
    """Below 0, a matching pair's ln(1 + s) goes on as s; false: it stays 0, as published, and a pair whose score is
    negative has no gradient, which a model without pretraining may never get out of (user.md 4)."""


def inputs(config: UserConfig) -> InputSpec:
    """Declare what USER reads: every caption, uncut, with its regions; the last partial batch is dropped (user.md 5).

    CGE also reads a CLIP vector of the image.
    """
    text = WordPieceText(vocabulary=config.vocabulary, augment=config.augment)
    guide = config.guide.dim if config.enhancement == "cge" else None
    image = RegionInput(config.regions, config.region_dim, guide_dim=guide)
    return InputSpec(image, text, unit="caption", last_batch="drop")


def check_batch(config: UserConfig, batch_size: int) -> None:
    """Raise UserError where batches do not fill the queues evenly (user.md 5)."""
    if config.queue % batch_size:
        times = config.queue // batch_size
        near = " and ".join(str(n * batch_size) for n in (times, times + 1) if n)
        raise UserError(
            f"field 'model.queue': found {config.queue}, expected a multiple of training.batch_size ({batch_size}), "
            f"such as {near}; 0 is none"
        )


class ImageEncoder(nn.Module):
    """Regions, enhanced or not, -> one unit vector (user.md 3.1)."""

    def __init__(self, config: UserConfig) -> None:
        super().__init__()
        self.sharpness, self.in_space = config.sharpness, config.guide.width == "space"
        self.enhancement = (
            SelfGuidedEnhancement(
                config.regions, config.region_dim, dropout=config.dropout, sharpness=config.sharpness
            )
            if config.enhancement == "sge"
            else None
        )
        width = config.dim if self.in_space else config.region_dim
        self.guide = ProjectedGuide(config.guide, width) if config.enhancement == "cge" else None
        self.pooled = PooledRegions(config.region_dim, config.dim, config.pool_width)

    def forward(
        self, regions: Tensor, clip: Tensor | None = None, *, batch_statistics: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Unit vectors (B, D) of features (B, R, region_dim), and the statistics that `update` wants.

        `clip` (B, guide.dim): CLIP vectors of the images, which CGE reads.
        """
        statistics: dict[str, Tensor] = {}
        if self.enhancement is not None:
            regions, statistics = self.enhancement(regions, batch_statistics=batch_statistics)
        guide = None
        if self.guide is not None:
            assert clip is not None, "CGE reads a CLIP vector of each image"
            guide, statistics = self.guide(clip, batch_statistics=batch_statistics)
            if not self.in_space:
                regions = add_guide(regions, guide, self.sharpness)
        encoded, hidden = self.pooled.encode(regions, batch_statistics=batch_statistics)
        if guide is not None and self.in_space:
            encoded = add_guide(encoded, guide, self.sharpness)
        return self.pooled.pool(encoded), {**statistics, "hidden": hidden}

    def update(self, statistics: dict[str, Tensor]) -> None:
        """Take the statistics of a batch into the running ones."""
        for part in (self.enhancement, self.guide):
            if part is not None:
                part.update(statistics)
        self.pooled.update(statistics["hidden"])


def pretrained_parts(config: UserConfig) -> list[str]:
    """Name the Hub repository that `pretrained=True` downloads."""
    return [config.bert.pretrained]


class USER(DualEncoder):
    """The model with its momentum encoders, which begin as copies of the others, and its queues."""

    def __init__(self, config: UserConfig, facts: DataFacts) -> None:
        """Raises UserError where the pretrained BERT cannot be fetched or does not fit the configuration."""
        super().__init__()
        self.config = config
        bert = build_bert(config.bert, facts)
        self.image_encoder = ImageEncoder(config)
        self.text_encoder = PooledBERT(bert, config.dim, config.pool_width)
        if config.queue:
            self.image_keys = momentum_copy(self.image_encoder)
            self.text_keys = momentum_copy(self.text_encoder)
            self.queues = KeyQueues(config.dim, config.queue)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """The momentum encoders have modes of their own: all train for ever but BERT, which evaluates (user.md 5)."""
        super().train(mode)
        if self.config.queue:
            self.image_keys.train()
            self.text_keys.train()
            self.text_keys.bert.eval()
        return self

    # Encoding (user.md 3.1, 3.2) and scores, which are cosines (user.md 7)

    def encode_images(self, batch: ImageBatch) -> Codes:
        """`vectors`: (B, D), of length 1."""
        return Codes({"vectors": self.image_encoder(batch.pixels, batch.guides, batch_statistics=False)[0]})

    def encode_captions(self, batch: CaptionBatch) -> Codes:
        """`vectors`: (B, D), of length 1."""
        return Codes({"vectors": self.text_encoder(batch.ids, batch.lengths)})

    # A step (user.md 5)

    @torch.no_grad()
    def prepare_batch(self, batch: PairBatch, progress: Progress) -> PairBatch:  # noqa: ARG002
        """The momentum encoders follow the weights as they are before the step, and encode the batch: `*_keys`.

        The image's keys are made with the batch's statistics; the running ones, which nothing reads, follow along.
        """
        if not self.config.queue:
            return batch
        follow(self.image_keys, self.image_encoder, self.config.momentum)
        follow(self.text_keys, self.text_encoder, self.config.momentum)
        image_keys, statistics = self.image_keys(
            batch.images.pixels, batch.images.guides, batch_statistics=True
        )
        self.image_keys.update(statistics)
        text_keys = self.text_keys(batch.captions.ids, batch.captions.lengths)
        keys = {"image_keys": image_keys, "text_keys": text_keys}
        return PairBatch(batch.images, batch.captions, {**batch.extra, **keys})

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        """Vectors with dropout and the batch's statistics; `extra` carries those and the keys to `after_step`."""
        images, statistics = self.image_encoder(
            batch.images.pixels, batch.images.guides, batch_statistics=self.training
        )
        named = {f"statistics.{name}": value for name, value in statistics.items()}
        captions = self.encode_captions(batch.captions)
        kinds: dict[str, ExtraKind] = {
            **dict.fromkeys(batch.extra, "item"),  # the keys
            **dict.fromkeys(named, "statistics"),
        }
        return TrainingCodes(Codes({"vectors": images}), captions, {**batch.extra, **named}, kinds)

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:  # noqa: ARG002
        """Lambda * loss of the batch + loss of the queues as they were before; a B x B matrix needs no budget."""
        loss = progress.loss
        assert isinstance(loss, UserLoss)
        images, captions = codes.images["vectors"], codes.captions["vectors"]  # (B, D)
        with torch.autocast(images.device.type, enabled=False):  # exponents of scores that are compared
            images, captions = _single(images), _single(captions)
            total = loss.batch_weight * batch_loss(images, captions, loss)
            if self.config.queue:
                keys = _single(codes.extra["image_keys"]), _single(codes.extra["text_keys"])
                total = total + queue_loss(images, captions, keys, self.queues, loss)
        return total

    @torch.no_grad()
    def after_step(self, codes: TrainingCodes) -> None:
        """Put the keys into the queues, and the batch's statistics into the running ones."""
        if self.config.queue:
            self.queues.enqueue(codes.extra["image_keys"], codes.extra["text_keys"])
        if self.training:
            prefix = "statistics."
            found = {name: value for name, value in codes.extra.items() if name.startswith(prefix)}
            self.image_encoder.update({name.removeprefix(prefix): value for name, value in found.items()})


# The unified training objective (user.md 4): for a batch and for queues, a term of negatives and one of positives


def batch_loss(images: Tensor, captions: Tensor, loss: UserLoss) -> Tensor:
    """L_b of vectors (B, D) whose rows match: all other pairs are negatives, of images and of captions.

    The diagonal stays in the sums with a score of 0; the positive term counts once a pair.
    """
    scores = images @ captions.T  # (B, B)
    positives = scores.diagonal()
    others = scores - positives.diag()
    costs = negative_term(others, loss, dim=0) + negative_term(others, loss, dim=1)  # (B,)
    return (costs - positive_term(positives, loss)).mean()


def queue_loss(
    images: Tensor, captions: Tensor, keys: tuple[Tensor, Tensor], queues: KeyQueues, loss: UserLoss
) -> Tensor:
    """L_q of vectors (B, D) beside the keys (B, D) of the images and of the captions, and what waits in the queues."""
    image_keys, text_keys = keys
    sides = ((images, text_keys, queues.captions), (captions, image_keys, queues.images))
    costs = [
        negative_term(vectors @ waiting.to(vectors.dtype), loss, dim=1)
        - positive_term((vectors * own).sum(1), loss)
        for vectors, own, waiting in sides
    ]
    return torch.stack(costs).sum(0).mean()


def negative_term(scores: Tensor, loss: UserLoss, dim: int) -> Tensor:
    """ln(1 + sum exp(mu (s - gamma))) / mu along `dim`, without overflow."""
    return F.softplus((loss.scale * (scores - loss.threshold)).logsumexp(dim)) / loss.scale


def positive_term(scores: Tensor, loss: UserLoss) -> Tensor:
    """ln(1 + max(0, s)), without gradient where a score is negative; with `tangent`, plus min(0, s)."""
    term = scores.relu().log1p()
    return term + scores.clamp(max=0) if loss.tangent else term


def _single(vectors: Tensor) -> Tensor:
    """Float32, where a vector is in half precision."""
    return vectors if vectors.dtype == torch.float64 else vectors.float()
