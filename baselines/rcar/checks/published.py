"""The scores as the published code goes about them, caption by caption (rcar.md 3.3 - 3.7), with what lies between.

It is the loop that `rematch time` times scoring and training against, and the probe that gives parity its intermediate
values; the model itself does not use it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.attention.cross_attention import attention_weights
from baselines.attention.regulators import AggregationRegulator, CorrespondenceRegulator
from baselines.layers.norms import EPS, l2_normalize
from baselines.rcar.model import RCAR
from benchmark.batches import Codes, TrainingCodes
from benchmark.method import Progress, TripletLoss


def published_scores(model: RCAR, images: Codes, captions: Codes) -> Tensor:
    """Scores (n, m): each caption is copied once an image and scored alone; dropout as in the model's mode."""
    columns = [published_trace(model, images, captions, caption)["score"] for caption in range(len(captions))]
    return torch.stack(columns, dim=1)


def published_objective(
    model: RCAR,
    codes: TrainingCodes,
    progress: Progress,
    pair_budget: int | None,  # noqa: ARG001
) -> Tensor:
    """The objective with all pairs scored that way, and a gradient through each of them."""
    assert isinstance(progress.loss, TripletLoss)
    return progress.loss(published_scores(model, codes.images, codes.captions))


def published_trace(model: RCAR, images: Codes, captions: Codes, caption: int) -> dict[str, Tensor]:
    """Compute the values that golden files record of one caption with all n images, by name (golden/rcar/README.md)."""
    probe = _Probe(model, images, captions, caption)
    setting, steps = model.config.regulator, model.config.steps
    if setting in ("none", "rcr"):
        for step in range(steps if setting == "rcr" else 0):
            probe.attend()
            probe.correspond(step, probe.align(step))
        probe.score_cosines(probe.attend())
        return probe.trace
    for step in range(steps):
        if step == 0 or setting == "rcar":
            probe.attend()
            alignment = probe.align(step)
        if step == 0:
            vector = alignment.mean(1)  # (n, Z)
        if setting == "rcar" and step < steps - 1:
            probe.correspond(step, alignment)
        vector = probe.gather(step, alignment, vector)
    probe.trace["score"] = model.score(vector).squeeze(1).sigmoid()
    return probe.trace


class _Probe:
    """One caption beside n images; arrays (n, Q, ...) of the query tokens."""

    def __init__(self, model: RCAR, images: Codes, captions: Codes, caption: int) -> None:
        regions, length = images["regions"], int(captions["lengths"][caption])
        words = captions["words"][caption, :length].repeat(len(regions), 1, 1)  # (n, L, D)
        i2t = model.config.direction == "i2t"
        self.model = model
        self.query, self.context = (regions, words) if i2t else (words, regions)
        self.matrix = words.new_ones(model.config.dim)
        self.smooth = words.new_tensor(model.config.first_temperature)
        self.trace: dict[str, Tensor] = {}
        self.passes = 0

    def attend(self) -> Tensor:
        """One pass of attention: contexts (n, Q, D), unit vectors."""
        products = (self.query * self.matrix) @ self.context.mT  # (n, Q, S)
        weights = attention_weights(
            products,
            query_axis=1,
            context_axis=2,
            temperature=self.smooth,
            slope=self.model.config.negative_slope,
        )
        self.attended = l2_normalize(weights @ self.context)
        names, values = ("wcontext", "matrix_in", "smooth_in"), (self.attended, self.matrix, self.smooth)
        self.trace |= {f"attn{self.passes}/{name}": value for name, value in zip(names, values, strict=True)}
        self.passes += 1
        return self.attended

    def align(self, step: int) -> Tensor:
        """Alignment vectors (n, Q, Z)."""
        projection = self.model.alignments[step].get_submodule("projection")
        alignment = l2_normalize(projection((self.query - self.attended).square()))
        self.trace[f"alv_modules.{step}"] = alignment
        return alignment

    def correspond(self, step: int, alignment: Tensor) -> None:
        """RCR: the next modulation (n, Q, D) and temperature (n, Q, 1)."""
        rcr = self.model.correspondences[step]
        assert isinstance(rcr, CorrespondenceRegulator)
        self.matrix = (
            self.matrix + _two(rcr.modulation_hidden, rcr.modulation_step, alignment).tanh()
        ).clamp(-1, 1)
        self.smooth = (self.smooth + _two(rcr.temperature_hidden, rcr.temperature_step, alignment)).relu()
        self.trace[f"rcr_modules.{step}/matrix_out"] = self.matrix
        self.trace[f"rcr_modules.{step}/smooth_out"] = self.smooth

    def gather(self, step: int, alignment: Tensor, vector: Tensor) -> Tensor:
        """RAR: the next vector (n, Z)."""
        rar = self.model.aggregations[step]
        assert isinstance(rar, AggregationRegulator)
        rate, training = self.model.config.dropout, self.model.training
        keys, query = (
            F.dropout(branch.tanh(), rate, training) for branch in (rar.key(alignment), rar.query(vector))
        )
        both = keys * query[:, None]  # (n, Q, Z)
        vector = l2_normalize((rar.score(both).softmax(1) * alignment).sum(1))
        self.trace[f"rar_modules.{step}"] = vector
        return vector

    def score_cosines(self, attended: Tensor) -> None:
        norms = self.query.norm(dim=2) * attended.norm(dim=2)
        cosines = (self.query * attended).sum(2) / norms.clamp_min(EPS)  # (n, Q)
        self.trace["score"] = cosines.mean(1)


def _two(hidden: nn.Linear, step: nn.Linear, alignment: Tensor) -> Tensor:
    return step(hidden(alignment).tanh())  # type: ignore[no-any-return]
