"""RCAR (Diao et al., IEEE TIP 2023; arXiv 2303.13371), top to bottom.

Region vectors of an image and word vectors of a caption meet in a cross-attention in one of two directions: words
attend to regions (t2i) or regions to words (i2t). Two regulators can be plugged in, alone or together: RCR attends
again, with queries and temperatures adjusted to how each query token aligned before; RAR gathers the alignment
vectors of a pair into one, again and again. Without either, a pair's score is the mean cosine of its query tokens
with what they attend to. Where the paper leaves a choice open, the published code's behaviour is taken
(rcar.md 9, README.md). Citations such as "rcar.md 3.5" are sections of docs/papers/rcar.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from baselines.attention.alignment import attended_cosines, squared_differences
from baselines.attention.cross_attention import attention_scores, pair_bytes, score_in_chunks
from baselines.attention.length_groups import PairScorer, length_group_scores, scores_within_budget
from baselines.attention.regulators import (
    AggregationRegulator,
    AlignmentVector,
    CorrespondenceRegulator,
    Dropout,
    Focus,
    mean_of_queries,
    training_bytes,
)
from baselines.attention.scratch import Scratch
from baselines.attention.two_pass import two_pass_loss
from baselines.layers.gru_encoder import GRUEncoder
from baselines.layers.norms import xavier_linear
from baselines.layers.pair_dropout import PairDropout, draw_seeds, number_rows
from baselines.layers.region_perceptron import RegionPerceptron
from benchmark.batches import CaptionBatch, Codes, ExtraKind, ImageBatch, PairBatch, TrainingCodes
from benchmark.inputs import InputSpec, RegionInput, WordText
from benchmark.method import Baseline, DataFacts, Progress, TripletLoss
from benchmark.strict import Strict

PUBLISHED_TEMPERATURE = {"t2i": 10.0, "i2t": 3.0}


class RCARConfig(Strict):
    """One model of the family; the defaults are the published sizes (rcar.md 3 to 3.6, 5)."""

    direction: Literal["t2i", "i2t"]
    """The side that queries: words attend to regions (t2i), or regions to words (i2t)."""
    regulator: Literal["none", "rcr", "rar", "rcar"]
    """`none` is the paper's BASELINE, `rcar` has both regulators."""
    steps: int = Field(default=2, ge=1)
    """Steps of the regulator, each with weights of its own; `none` has no steps, whatever this says."""
    regions: int = Field(default=36, ge=1)
    """Regions of an image."""
    region_dim: int = Field(default=2048, ge=1)
    """Width of a region's features, which are taken as they are."""
    dim: int = Field(default=1024, ge=2)
    """Width of the common space, and of each direction of the GRU (the published `embed_size`)."""
    sim_dim: int = Field(default=256, ge=2)
    """Width of an alignment vector."""
    word_dim: int = Field(default=300, ge=1)
    gru_layers: int = Field(default=1, ge=1)
    bidirectional: bool = True
    """True averages both directions of the GRU; false has one."""
    normalize_images: bool = True
    """L2 norm of encoded regions; false is the published `--no_imgnorm`."""
    normalize_captions: bool = True
    """L2 norm of encoded words; false is the published `--no_txtnorm`."""
    dropout: float = Field(default=0.4, ge=0, lt=1)
    """Dropout rate of embedded words and of both branches of RAR."""
    temperature: float | None = Field(default=None, gt=0)
    """The paper's lambda before any RCR; None: 10 for t2i, 3 for i2t, as published."""
    negative_slope: float = Field(default=0.1, ge=0)
    """Negative slope of the leaky ReLU on the products."""
    augment: Literal["word_drop", "none"] = "word_drop"
    """Augmentation of the captions in training: some words are hidden, replaced or left out (rcar.md 6)."""

    @property
    def first_temperature(self) -> float:
        """`temperature`, or the published one of the direction."""
        return PUBLISHED_TEMPERATURE[self.direction] if self.temperature is None else self.temperature

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of alignment vectors, RCRs and RARs of the setting (rcar.md 3.7)."""
        n = self.steps
        alignments, correspondences, aggregations = {
            "none": (0, 0, 0),
            "rcr": (n, n, 0),
            "rar": (1, 0, n),
            "rcar": (n, n - 1, n),
        }[self.regulator]
        return {
            "alignments": alignments,
            "correspondences": correspondences,
            "aggregations": aggregations,
        }


def inputs(config: RCARConfig) -> InputSpec:
    """Declare what RCAR reads: every caption with its region features; the last part batch is dropped (rcar.md 2)."""
    text = WordText(mask_token=True, augment=config.augment)
    return InputSpec(RegionInput(config.regions, config.region_dim), text, unit="caption", last_batch="drop")


@dataclass(frozen=True)
class Sides:
    """The two sides of pairs' cross-attention: K contexts, each with N queries."""

    queries: Tensor
    """(N, Q, D), or (K, N, Q, D)."""
    contexts: Tensor
    """(K, S, D)."""
    focus: Focus
    """The focus before any RCR."""
    padding: Tensor | None
    """Broadcast to (K, N, Q), true for padding of queries; None: there is none."""


class RCAR(Baseline):
    """The model in one of its settings; `facts.vocab_size` counts `<mask>` too."""

    def __init__(self, config: RCARConfig, facts: DataFacts) -> None:
        super().__init__()
        self.config = config
        dim, sim_dim, counts = config.dim, config.sim_dim, config.counts
        self.text_encoder = GRUEncoder(
            facts.vocab_size,
            config.word_dim,
            dim,
            layers=config.gru_layers,
            bidirectional=config.bidirectional,
            dropout=config.dropout,
            normalize=config.normalize_captions,
        )
        self.image_encoder = RegionPerceptron(config.region_dim, dim, normalize=config.normalize_images)
        self.alignments = nn.ModuleList(AlignmentVector(dim, sim_dim) for _ in range(counts["alignments"]))
        self.correspondences = nn.ModuleList(
            CorrespondenceRegulator(dim, sim_dim) for _ in range(counts["correspondences"])
        )
        self.aggregations = nn.ModuleList(
            AggregationRegulator(sim_dim) for _ in range(counts["aggregations"])
        )
        self.score = xavier_linear(sim_dim, 1)  # not read where there is no RAR

    # Encoding (rcar.md 3.1, 3.2)

    def encode_images(self, batch: ImageBatch) -> Codes:
        """`regions`: (B, R, D)."""
        return Codes({"regions": self.image_encoder(batch.pixels, batch_statistics=False)[0]})

    def encode_captions(self, batch: CaptionBatch) -> Codes:
        """`words`: (B, L, D), zeros after `lengths` (B,)."""
        return Codes({"words": self.text_encoder(batch.ids, batch.lengths), "lengths": batch.lengths})

    # Scores (rcar.md 3.3 - 3.7)

    def similarity(self, images: Codes, captions: Codes) -> Tensor:
        """Scores (n, m): in (0, 1) with RAR, in [-1, 1] without (rcar.md 3.7)."""
        if self.config.regulator == "none":
            return self._mean_cosines(images, captions)
        return length_group_scores(self._scorer(None), images, captions)

    def _scorer(self, dropout: PairDropout | None) -> PairScorer:
        return PairScorer(
            partial(self._pair_scores, dropout, Scratch()),
            self.config.direction,
            self._query_floats,
            self._training_bytes,
        )

    def _mean_cosines(self, images: Codes, captions: Codes) -> Tensor:
        config = self.config
        return attention_scores(
            images["regions"],
            captions["words"],
            captions["lengths"],
            direction=config.direction,
            temperature=config.first_temperature,
            slope=config.negative_slope,
        )

    def _pair_scores(
        self, dropout: PairDropout | None, scratch: Scratch, images: Codes, captions: Codes
    ) -> tuple[Tensor]:
        """Scores (n, C); or (n, 1), each image with a caption of its own (n, 1, L, D)."""
        regions, words = images["regions"], captions["words"]  # (n, R, D), (C, L, D)
        padding = captions.tensors.get("padding")  # (C, L)
        i2t, listed = self.config.direction == "i2t", words.ndim == 4
        if not i2t:
            sides = Sides(words, regions, self._first_focus(None, scratch), padding)
        elif listed:
            of_words = None if padding is None else padding[:, 0]
            sides = Sides(regions[:, None], words[:, 0], self._first_focus(of_words, scratch), None)
        else:
            sides = Sides(regions, words, self._first_focus(padding, scratch), None)
        if self.config.regulator == "rcr":
            scores = self._regulated_cosines(sides)  # (K, N)
        else:
            own = None
            if dropout is not None:
                lengths = captions["lengths"] if sides.padding is not None else None
                own = dropout.of_pairs(images["row"], captions["seeds"], 0 if i2t else 1, lengths)
            vectors = self._gather(sides, own)  # (K, N, Z)
            with torch.autocast(
                vectors.device.type, enabled=False
            ):  # a few products, and scores are compared
                scores = self.score(vectors).squeeze(2).sigmoid()
        return (scores.T if i2t and not listed else scores,)

    def _first_focus(self, padding: Tensor | None, scratch: Scratch) -> Focus:
        return Focus(None, self.config.first_temperature, padding, scratch)

    def _gather(self, sides: Sides, dropout: Dropout | None) -> Tensor:
        """The vectors of pairs (K, N, Z) by RAR, whose steps share an alignment, or by RCAR, which aligns anew."""
        focus, padding = sides.focus, sides.padding
        alignment = self._align(0, sides, focus)  # (K, N, Q, Z)
        vector = mean_of_queries(alignment, padding)  # (K, N, Z)
        for step, aggregate in enumerate(self.aggregations):
            if step and self.config.regulator == "rcar":
                focus = self.correspondences[step - 1](alignment, focus)
                alignment = self._align(step, sides, focus)
            with torch.autocast(vector.device.type, enabled=False):
                vector = aggregate(alignment, vector, dropout, padding)
        return vector

    def _regulated_cosines(self, sides: Sides) -> Tensor:
        """The mean cosines of pairs (K, N), by the attention that RCR's last step leaves."""
        focus = sides.focus
        for step, regulate in enumerate(self.correspondences):
            focus = regulate(self._align(step, sides, focus), focus)
        slope = self.config.negative_slope
        cosines = attended_cosines(sides.queries, sides.contexts, **vars(focus), slope=slope)
        return mean_of_queries(cosines, sides.padding)

    def _align(self, step: int, sides: Sides, focus: Focus) -> Tensor:
        """Alignment vectors (K, N, Q, Z) of one pass of attention."""
        slope = self.config.negative_slope
        differences = squared_differences(sides.queries, sides.contexts, **vars(focus), slope=slope)
        alignment: Tensor = self.alignments[step](differences)
        return alignment

    def pair_bytes(self, images: Codes, captions: Codes) -> int:
        """Upper estimate of the bytes a pair takes while it is scored; a pair of many takes its share of a tile."""
        longest = int(captions["lengths"].max())
        if self.config.regulator == "none":
            return pair_bytes(images["regions"].shape[1], longest, self.config.dim)
        return min(16 * self._query_floats(longest), 8192)

    def _query_floats(self, length: int) -> int:
        """Count the numbers that the query tokens of one pair attend to."""
        return (length if self.config.direction == "t2i" else self.config.regions) * self.config.dim

    # Training (rcar.md 4, 5)

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        """The codes with dropout and the batch's statistics; `extra` carries those to `after_step`."""
        regions, statistics = self.image_encoder(batch.images.pixels, batch_statistics=self.training)
        images, captions = {"regions": regions}, dict(self.encode_captions(batch.captions).tensors)
        if self.training and self.config.dropout and self.aggregations:
            captions["seeds"] = draw_seeds(len(batch), regions.device)
            images["row"] = number_rows(len(batch), regions.device)
        extra: dict[str, Tensor] = {"statistics": statistics}
        kinds: dict[str, ExtraKind] = {"statistics": "statistics"}
        return TrainingCodes(Codes(images), Codes(captions), extra, kinds)

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:
        """Triplet ranking loss over the batch's B x B scores, summed (rcar.md 4)."""
        loss = progress.loss
        assert isinstance(loss, TripletLoss)
        if self.config.regulator == "none" or not loss.hardest:
            return loss(self.training_scores(codes, pair_budget))
        return two_pass_loss(loss, self._training_scorer(codes), codes.images, codes.captions, pair_budget)

    def _training_scorer(self, codes: TrainingCodes) -> PairScorer:
        """The scorer of the batch's pairs, with dropout in RAR where the codes bring seeds for it."""
        seeded = "seeds" in codes.captions.tensors
        return self._scorer(PairDropout(self.config.dropout, len(codes.images)) if seeded else None)

    def training_scores(self, codes: TrainingCodes, pair_budget: int | None) -> Tensor:
        """The batch's scores (B, B), all with gradient, and with dropout in RAR where the codes bring seeds for it."""
        images, captions = codes.images, codes.captions
        if self.config.regulator == "none":
            longest = int(captions["lengths"].max())
            own = pair_bytes(images["regions"].shape[1], longest, self.config.dim, gradient=True)
            return score_in_chunks(
                self._mean_cosines, images, captions, budget_bytes=pair_budget, pair_bytes=own
            )
        (scores,) = scores_within_budget(self._training_scorer(codes), images, captions, pair_budget)
        return scores

    def _training_bytes(self, length: int) -> int:
        """Bytes of one pair until its gradients are there, in all passes of attention and all regulators."""
        config = self.config
        tokens = (length, config.regions) if config.direction == "t2i" else (config.regions, length)
        passes = config.counts["alignments"] + (config.regulator == "rcr")
        sizes = config.dim, config.sim_dim
        return training_bytes(**config.counts, passes=passes, tokens=tokens, sizes=sizes)

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """The encoder of the regions, passes of attention, and RCR."""
        modules = [self.image_encoder, *self.correspondences]
        return [(module, "forward") for module in modules] + [(self, "_align")]

    def after_step(self, codes: TrainingCodes) -> None:
        """Take the batch's statistics into the running ones."""
        if self.training:
            self.image_encoder.update(codes.extra["statistics"])
