"""VSE-infinity (Chen et al., CVPR 2021; arXiv 2011.04305), with region features, top to bottom.

An image is one vector, a caption another, and their product is the score. Both come from a generalised pooling
operator, which learns how to weight each dimension's sorted values. Captions go through BERT or a bidirectional GRU.
It is the host of USER, which adds to it (user.md A); where paper and code differ, the code is followed.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines.layers.bert import BERTConfig, build_bert
from baselines.layers.pooled_encoders import PooledBERT, PooledGRU, PooledRegions
from benchmark.batches import CaptionBatch, Codes, ExtraKind, ImageBatch, PairBatch, TrainingCodes
from benchmark.distributed import shares
from benchmark.inputs import InputSpec, RegionInput, WordPieceText, WordText
from benchmark.method import DataFacts, DualEncoder
from benchmark.strict import Strict


class VSEConfig(Strict):
    """A VSE-infinity model; the defaults are the published sizes (user.md 3.1, 3.2, 3.3, A)."""

    text: Literal["bert", "bigru"] = "bert"
    """Encoder of captions: BERT on word pieces, or a bidirectional GRU on whole words."""
    regions: int = Field(default=36, ge=1)
    """Regions of an image before any is dropped."""
    region_dim: int = Field(default=2048, ge=1)
    """Width of a region's features, which are taken as they are."""
    region_drop: float = Field(default=0.2, ge=0, lt=1)
    """Share of the regions left out in training."""
    dim: int = Field(default=1024, ge=2)
    """Width of the common space, and of each direction of the GRU."""
    pool_width: int = Field(default=32, ge=2, multiple_of=2)
    """Width of the position codes and of the GRU in GPO pooling."""
    word_dim: int = Field(default=300, ge=1)
    """Width of an embedded word of `bigru`."""
    augment: Literal["word_drop", "none"] = "word_drop"
    """In training: words are hidden, replaced or left out (user.md 6); of `bigru`, start and end too (user.md A)."""
    vocabulary: Literal["dataset", "letters"] = "dataset"
    """Vocabulary of `bert`. `dataset`: bert-base-uncased's word pieces, as published (scenes has its own); `letters`: a
    small vocabulary of letters and common words that needs no download, for smoke runs without pretraining."""
    bert: BERTConfig = BERTConfig()
    """Sizes of `bert`; not read by `bigru`."""
    replicas: int = Field(default=1, ge=1)
    """Parts of a training batch with batch statistics of their own, as training on so many devices has it; the first
    part's go into the running ones."""


def inputs(config: VSEConfig) -> InputSpec:
    """Declare what VSE-infinity reads: every caption, uncut, with its image's regions, some of which are dropped."""
    if config.text == "bert":
        text: WordPieceText | WordText = WordPieceText(vocabulary=config.vocabulary, augment=config.augment)
    else:
        augment: Literal["word_drop_ends", "none"] = "none" if config.augment == "none" else "word_drop_ends"
        text = WordText(mask_token=True, augment=augment)
    image = RegionInput(config.regions, config.region_dim, drop=config.region_drop)
    return InputSpec(image, text, unit="caption", last_batch="drop")


def pretrained_parts(config: VSEConfig) -> list[str]:
    """Name the Hub repository that `pretrained=True` downloads; a GRU has none."""
    return [config.bert.pretrained] if config.text == "bert" else []


class VSEInfinity(DualEncoder):
    """The model; for `bigru`, `facts.vocab_size` counts `<mask>` too."""

    def __init__(self, config: VSEConfig, facts: DataFacts) -> None:
        """Raises UserError where the pretrained BERT cannot be fetched or does not fit the configuration."""
        super().__init__()
        self.config = config
        words: PooledBERT | PooledGRU  # drawn before the image encoder
        if config.text == "bert":
            words = PooledBERT(build_bert(config.bert, facts), config.dim, config.pool_width)
        else:
            words = PooledGRU(facts.vocab_size, config.word_dim, config.dim, config.pool_width)
        self.image_encoder = PooledRegions(config.region_dim, config.dim, config.pool_width)
        self.text_encoder = words

    def encode_images(self, batch: ImageBatch) -> Codes:
        """`vectors`: (B, D), of length 1."""
        vectors, _ = self.image_encoder(batch.pixels, batch.lengths, batch_statistics=False)
        return Codes({"vectors": vectors})

    def encode_captions(self, batch: CaptionBatch) -> Codes:
        """`vectors`: (B, D), of length 1."""
        return Codes({"vectors": self.text_encoder(batch.ids, batch.lengths)})

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        """Vectors with dropout and the batch's statistics; `extra` carries those to `after_step`."""
        images, whole = batch.images, self.config.replicas
        replicas = shares.replicas_here(len(batch), whole, "model.replicas")
        parts = images.pixels.chunk(replicas)
        lengths = [None] * len(parts) if images.lengths is None else images.lengths.chunk(replicas)
        with nullcontext() if whole == 1 else shares.apart():
            encoded = [
                self.image_encoder(part, length, batch_statistics=self.training)
                for part, length in zip(parts, lengths, strict=True)
            ]
        vectors, statistics = torch.cat([vectors for vectors, _ in encoded]), encoded[0][1]
        captions = self.encode_captions(batch.captions)
        extra: dict[str, Tensor] = {"statistics": statistics}
        kinds: dict[str, ExtraKind] = {"statistics": "statistics"}
        return TrainingCodes(Codes({"vectors": vectors}), captions, extra, kinds)

    def after_step(self, codes: TrainingCodes) -> None:
        """Take the batch's statistics into the running ones."""
        if self.training:
            self.image_encoder.update(codes.extra["statistics"])
