"""SAF and SGR (Diao et al., AAAI 2021; arXiv 2101.01368), top to bottom.

Region vectors of an image and word vectors of a caption meet in a cross-attention: each word attends to the regions.
A similarity vector stands for each word beside its context, and one for the whole image beside the whole caption.
These vectors are the nodes of a pair; one head turns them into a score: SAF filters them by attention, SGR reasons
over their graph. One model has one head; SGRAF is the mean of the scores of one model of each. Where the paper
leaves a choice open, the published code's behaviour is taken (sgraf.md 9, README.md). Citations such as
"sgraf.md 3.5" are sections of docs/papers/sgraf.md.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.attention.alignment import squared_differences
from baselines.attention.length_groups import PairScorer, length_group_scores, scores_within_budget
from baselines.attention.regulators import Focus, Regulators
from baselines.attention.tiles import wide_type
from baselines.attention.two_pass import two_pass_loss
from baselines.layers.batch_norm import BatchNorm
from baselines.layers.dense import dense
from baselines.layers.gru_encoder import GRUEncoder
from baselines.layers.norms import l1_normalize, l2_normalize, xavier_linear
from baselines.layers.pair_dropout import PairDropout, draw_seeds, number_rows
from baselines.layers.region_encoder import RegionEncoder
from baselines.sgraf.global_branch import GlobalBranch, SelfAttentionBranch
from benchmark.batches import CaptionBatch, Codes, ExtraKind, ImageBatch, PairBatch, TrainingCodes
from benchmark.distributed import shares
from benchmark.errors import UserError
from benchmark.inputs import InputSpec, RegionInput, WordText
from benchmark.method import Baseline, DataFacts, Progress, TripletLoss
from benchmark.strict import Strict


class SGRAFConfig(Strict):
    """A SAF or an SGR model; the defaults are the published sizes (sgraf.md 3 to 3.7)."""

    module: Literal["SAF", "SGR"]
    """The head: similarity attention filtration, or similarity graph reasoning."""
    regions: int = Field(default=36, ge=1)
    """Regions of an image; the visual batch norm has a channel for each."""
    region_dim: int = Field(default=2048, ge=1)
    """Width of a region's features, which are taken as they are."""
    dim: int = Field(default=1024, ge=1)
    """Width of the common space, and of each direction of the GRU (the published `embed_size`)."""
    sim_dim: int = Field(default=256, ge=1)
    """Width of a similarity vector."""
    word_dim: int = Field(default=300, ge=1)
    gru_layers: int = Field(default=1, ge=1)
    bidirectional: bool = True
    """True averages both directions of the GRU; false has one."""
    normalize_images: bool = True
    """L2 norm of encoded regions; false is the published `--no_imgnorm`."""
    normalize_captions: bool = True
    """L2 norm of encoded words; false is the published `--no_txtnorm`."""
    dropout: float = Field(default=0.4, ge=0, lt=1)
    """Dropout rate of embedded words and of both branches of both self-attentions."""
    temperature: float = Field(default=9.0, gt=0)
    """The paper's lambda: factor of the normalised products before the softmax over the regions."""
    negative_slope: float = Field(default=0.1, ge=0)
    """Slope of the leaky ReLU on products, as in the published code (sgraf.md 9); 0 keeps the positive part only."""
    sgr_steps: int = Field(default=3, ge=1)
    """Reasoning steps, each with weights of its own; SGR only."""
    edge_scale: float = Field(default=1.0, gt=0)
    """Factor of SGR's edges before their softmax; the published code has none, sim_dim ** -0.5 is the usual other."""
    regulator: Literal["none", "rcr", "rar", "rcar"] = "none"
    """RCAR's regulators, plugged in (rcar.md 3.5 - 3.7); the published SAF and SGR have none."""
    steps: int = Field(default=2, ge=1)
    """Steps of the regulator."""
    bias: bool = True
    """Biases of all linear layers, as in the published code; the formulas of the paper have none (sgraf.md 9)."""


def inputs(config: SGRAFConfig) -> InputSpec:
    """Declare what SAF and SGR read: every caption, whole, with its image's region features (sgraf.md 2, 5, 6)."""
    image = RegionInput(config.regions, config.region_dim)
    return InputSpec(image, WordText(), unit="caption", last_batch="keep", least_batch=2)


Reader = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""G global and L word nodes (n, C, G + L, m) -> what is scored of a pair (n, C, m), and batch-norm statistics (2, C).

Without batch norm there are none, (0, C). Second: true for padding among the words, broadcast to (n, C, L); or None."""


class SAF(nn.Module):
    """Similarity attention filtration: a weighted sum of the nodes (sgraf.md 3.7)."""

    def __init__(self, config: SGRAFConfig) -> None:
        super().__init__()
        self.attention = xavier_linear(config.sim_dim, 1, bias=config.bias)
        self.norm = BatchNorm(1)

    def reader(self, *, batch_statistics: bool) -> Reader:
        """The head as a function; `batch_statistics`: each caption has its own, over all images and its nodes."""
        return partial(self._filter, batch_statistics=batch_statistics)

    def _filter(
        self, nodes: Tensor, padding: Tensor | None, *, batch_statistics: bool
    ) -> tuple[Tensor, Tensor]:
        logits = self.attention(nodes).squeeze(3)  # (n, C, G + L)
        if padding is not None:
            padding = F.pad(padding, (nodes.shape[2] - padding.shape[-1], 0))  # (C, G + L)
        normalised, statistics = self.norm(logits, batch_statistics=batch_statistics, padding=padding)
        weights = normalised.sigmoid()
        if padding is not None:
            weights = weights.masked_fill(padding, 0)
        weights = l1_normalize(weights)[..., None, :]  # (n, C, 1, G + L)
        return l2_normalize((weights @ nodes).squeeze(2)), statistics


class ReasoningStep(nn.Module):
    """One step of SGR: nodes read each other along learnt edges (sgraf.md 3.6)."""

    def __init__(self, config: SGRAFConfig) -> None:
        super().__init__()
        width = config.sim_dim
        self.scale = config.edge_scale
        self.query, self.key, self.graph = (xavier_linear(width, width, bias=config.bias) for _ in range(3))

    def merge(self) -> tuple[Tensor, Tensor | None]:
        """Query and key map as one: (S Wq' + q)(S Wk' + k)' = (S Wq' Wk + q Wk) S', but for terms constant along a row.

        The softmax does not see those, so the key's bias has no influence (sgraf.md 3.6); merging saves products
        (speed.md 4).
        """
        weight = self.scale * self.key.weight.mT @ self.query.weight  # (m, m)
        return weight, None if self.query.bias is None else self.scale * self.query.bias @ self.key.weight

    def forward(
        self,
        readers: Tensor,
        nodes: Tensor,
        merged: tuple[Tensor, Tensor | None],
        padding: Tensor | None = None,
    ) -> Tensor:
        """Renew `readers` (P, k, m), some or all of `nodes` (P, G + L, m), in the step; `padding` (P, 1, G + L)."""
        edges = dense(readers, *merged) @ nodes.mT  # (P, k, G + L)
        if padding is not None:
            edges = edges.masked_fill(padding, -torch.inf)
        edges = edges.softmax(2)
        return dense(edges @ nodes, self.graph.weight, self.graph.bias, "relu")


class SGR(nn.Module):
    """Similarity graph reasoning: a few steps on the graph of the nodes; the first node is scored (sgraf.md 3.6)."""

    def __init__(self, config: SGRAFConfig) -> None:
        super().__init__()
        self.steps = nn.ModuleList(ReasoningStep(config) for _ in range(config.sgr_steps))

    def reader(self, *, batch_statistics: bool) -> Reader:  # noqa: ARG002
        """The head as a function; merged weights are computed here, once for all pairs."""
        return partial(self._reason, [step.merge() for step in self.reasoning_steps()])

    def reasoning_steps(self) -> list[ReasoningStep]:
        """`steps`, with their type."""
        return [step for step in self.steps if isinstance(step, ReasoningStep)]

    def _reason(
        self, merged: list[tuple[Tensor, Tensor | None]], nodes: Tensor, padding: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        pairs = nodes.flatten(0, 1)  # (n C, G + L, m)
        if padding is not None:
            padding = F.pad(padding, (nodes.shape[2] - padding.shape[-1], 0))  # (C, G + L), or (n, 1, G + L)
            padding = padding.expand(nodes.shape[:3]).flatten(0, 1).unsqueeze(1)  # (n C, 1, G + L)
        *steps, last = zip(self.reasoning_steps(), merged, strict=True)
        for step, weights in steps:
            pairs = step(pairs, pairs, weights, padding)
        step, weights = last
        first = step(
            pairs[:, :1].contiguous(), pairs, weights, padding
        )  # (n C, 1, m), the only one that is scored
        return first.view(*nodes.shape[:2], -1), nodes.new_empty(0, nodes.shape[1])


class SGRAF(Baseline):
    """The model with one of the heads."""

    global_branch: GlobalBranch

    def __init__(self, config: SGRAFConfig, facts: DataFacts) -> None:
        super().__init__()
        self.config = config
        dim, bias = config.dim, config.bias
        self.text_encoder = GRUEncoder(
            facts.vocab_size,
            config.word_dim,
            dim,
            layers=config.gru_layers,
            bidirectional=config.bidirectional,
            dropout=config.dropout,
            normalize=config.normalize_captions,
        )
        self.image_encoder = RegionEncoder(
            config.region_dim, dim, normalize=config.normalize_images, bias=bias
        )
        self.global_branch = SelfAttentionBranch(
            dim, config.sim_dim, regions=config.regions, dropout=config.dropout, bias=bias
        )
        self.local_similarity = xavier_linear(dim, config.sim_dim, bias=bias)
        self.head = SAF(config) if config.module == "SAF" else SGR(config)
        self.score = xavier_linear(config.sim_dim, 1, bias=bias)
        self.regulators = (
            None
            if config.regulator == "none"
            else Regulators(config.regulator, config.steps, dim, config.sim_dim)
        )

    # Encoding (sgraf.md 3.1 - 3.3)

    def encode_images(self, batch: ImageBatch) -> Codes:
        """`regions`: (B, R, D); `global`: (B, D), their self-attention, or what another branch makes of them."""
        return self._encode_images(batch, batch_statistics=False)[0]

    def encode_captions(self, batch: CaptionBatch) -> Codes:
        """`words`: (B, L, D), zeros after `lengths` (B,); `global` as of images."""
        words = self.text_encoder(batch.ids, batch.lengths)
        padding = torch.arange(words.shape[1], device=words.device) >= batch.lengths[:, None]  # (B, L)
        own = self.global_branch.encode_captions(words, padding)
        return Codes({"words": words, "lengths": batch.lengths, **own})

    def _encode_images(self, batch: ImageBatch, *, batch_statistics: bool) -> tuple[Codes, dict[str, Tensor]]:
        regions = self.image_encoder(batch.pixels)  # (B, R, D)
        own, statistics = self.global_branch.encode_images(regions, batch_statistics=batch_statistics)
        return Codes({"regions": regions, **own}), statistics

    # Scores (sgraf.md 3.4 - 3.7)

    def similarity(self, images: Codes, captions: Codes) -> Tensor:
        """Scores (n, m) in (0, 1), with the running statistics of the batch norms (sgraf.md 7)."""
        return length_group_scores(self._scorer(None, batch_statistics=False), images, captions)

    def _scorer(self, dropout: PairDropout | None, *, batch_statistics: bool) -> PairScorer:
        return PairScorer(
            partial(self._pair_scores, self._reader(batch_statistics=batch_statistics), dropout),
            "t2i",
            lambda length: length * self.config.dim,
            partial(self._bytes, copies=4),
        )

    def _reader(self, *, batch_statistics: bool) -> Reader:
        with torch.autocast(self.score.weight.device.type, enabled=False):
            return self.head.reader(batch_statistics=batch_statistics)

    def _pair_scores(
        self, reader: Reader, dropout: PairDropout | None, images: Codes, captions: Codes
    ) -> tuple[Tensor, Tensor]:
        """Scores (n, C), and the head's batch-norm statistics.

        Or scores (n, 1), each image with a caption of its own (n, 1, L, D); a head with batch statistics has none.
        """
        padding = captions.tensors.get("padding")  # (C, L)
        focus, passed = Focus(None, self.config.temperature), list[Tensor]()
        if self.regulators is not None:
            focus, passed = self.regulators.regulate(
                captions["words"], images["regions"], temperature=self.config.temperature, slope=self._slope
            )
        nodes = self.nodes(images, captions, focus)
        with torch.autocast(
            nodes.device.type, enabled=False
        ):  # the head is small, and its scores are compared
            vectors, statistics = reader(nodes, padding)
            if self.regulators is not None:
                words, own = nodes[:, :, self.global_branch.nodes :], None
                if dropout is not None:
                    lengths = None if padding is None else captions["lengths"]
                    own = dropout.of_pairs(images["row"], captions["seeds"], 1, lengths)
                vectors = self.regulators.gather(passed, words, vectors, own, padding)
            return self.score(vectors).squeeze(2).sigmoid(), statistics

    def nodes(self, images: Codes, captions: Codes, focus: Focus) -> Tensor:
        """The similarity vectors of pairs (n, C, G + L, m), the G global ones first (sgraf.md 3.5); no padding."""
        words = captions["words"]  # (C, L, D)
        differences = squared_differences(words, images["regions"], **vars(focus), slope=self._slope)
        local = dense(differences, self.local_similarity.weight, self.local_similarity.bias)  # (n, C, L, m)
        both = torch.cat([self.global_branch.compare(images, captions), local], dim=2)
        return l2_normalize(both.to(wide_type(both)))

    @property
    def _slope(self) -> float:
        return self.config.negative_slope

    def pair_bytes(self, images: Codes, captions: Codes) -> int:  # noqa: ARG002
        """Upper estimate of the bytes a pair takes while it is scored; a pair of many takes its share of a tile."""
        return min(self._bytes(int(captions["lengths"].max()), copies=3), 8192)

    def _bytes(self, length: int, *, copies: int) -> int:
        """Bytes of one pair with so many arrays of each kind."""
        config = self.config
        regulators = self.regulators.training_bytes(length, config.regions) if self.regulators else 0
        nodes = self.global_branch.nodes + length
        wide = length * config.dim + self.global_branch.pair_floats
        floats = wide + 3 * config.regions * length + 4 * nodes * config.sim_dim
        return 4 * copies * floats + regulators

    # Training (sgraf.md 4, 5)

    def prepare_batch(self, batch: PairBatch, progress: Progress) -> PairBatch:
        """Nothing to mine; the global branch may have something to set."""
        self.global_branch.begin_step(progress.step)
        return batch

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        """The codes with dropout and the batch's statistics; `extra` carries those to `after_step`."""
        if self.training and len(batch) < 2:
            raise UserError(
                "field 'training.batch_size': the last batch has a single pair, and batch norm needs two or more; "
                "choose another batch size"
            )
        images, statistics = self._encode_images(batch.images, batch_statistics=self.training)
        captions = self.encode_captions(batch.captions)
        if self.training and self.config.dropout and self.regulators is not None:
            device = captions["lengths"].device
            captions = Codes({**captions.tensors, "seeds": draw_seeds(len(batch), device)})
            images = Codes({**images.tensors, "row": number_rows(len(batch), device)})
        of_head = images["global"].new_empty(2, shares.whole_count(len(batch)))  # filled by the objective
        kinds: dict[str, ExtraKind] = {**dict.fromkeys(statistics, "statistics"), "head": "batch"}
        return TrainingCodes(images, captions, {**statistics, "head": of_head}, kinds)

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:
        """Triplet ranking loss over the batch's B x B scores, summed (sgraf.md 4)."""
        loss = progress.loss
        assert isinstance(loss, TripletLoss)
        if isinstance(self.head, SAF) or not loss.hardest:
            return loss(self.training_scores(codes, pair_budget))
        return two_pass_loss(loss, self._training_scorer(codes), codes.images, codes.captions, pair_budget)

    def _training_scorer(self, codes: TrainingCodes) -> PairScorer:
        """The scorer of the batch's pairs, with dropout in RAR where the codes bring seeds for it."""
        seeded = "seeds" in codes.captions.tensors
        dropout = PairDropout(self.config.dropout, len(codes.images)) if seeded else None
        return self._scorer(dropout, batch_statistics=self.training)

    def training_scores(self, codes: TrainingCodes, pair_budget: int | None) -> Tensor:
        """The batch's scores (B, B), all with gradient; SAF leaves each caption's statistics in `codes.extra`."""
        scores, statistics = scores_within_budget(
            self._training_scorer(codes), codes.images, codes.captions, pair_budget
        )
        if isinstance(self.head, SAF):
            codes.extra["head"].copy_(statistics.detach())
        return scores

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """The encoder of the regions, the nodes of pairs, SGR's steps, and the regulators that go before them."""
        modules: list[nn.Module] = [self.image_encoder]
        if isinstance(self.head, SGR):
            modules += self.head.steps
        if self.regulators is not None:
            modules += [*self.regulators.alignments, *self.regulators.correspondences]
        return [(module, "forward") for module in modules] + [(self, "nodes")]

    def after_step(self, codes: TrainingCodes) -> None:
        """Take the batch's statistics into the running ones; SAF's caption by caption, longest first (sgraf.md 3.7)."""
        if not self.training:
            return
        self.global_branch.update(codes.extra)
        if isinstance(self.head, SAF):
            order = codes.captions["lengths"].argsort(descending=True, stable=True)
            self.head.norm.update(codes.extra["head"][:, order])
