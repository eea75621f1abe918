"""Scores of image x caption pairs from cross-attention between their tokens, without a loop over captions.

One direction queries with one side's tokens and attends to the other's (hat.md 3.5; the same attention
serves SAF, SGR and RCAR): leaky ReLU of the raw products, L2 norm over the QUERY axis, softmax over the
CONTEXT axis with a temperature. HAT's score of a pair is the mean cosine between each query token and
its attended context.

The context is not needed for that: q . c = sum_j a_j (q . k_j), and |c|^2 = a^T G a with the Gram matrix
G = k k^T of the context tokens (speed.md 3). `form="direct"` builds the context instead, which is cheaper
where the context has more tokens than the tokens are wide.

Forward, all pairs go through `attention_tiles`. Backward, only pairs with a gradient are computed again,
by plain differentiable code: a loss of hardest negatives reads 3 B of a batch's B^2 scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from baselines.layers.attention_tiles import EPS, MAX_TEMPERATURE, Direction, tiled_scores
from benchmark.baseline import Codes

Form = Literal["auto", "gram", "direct", "naive"]

WORKSPACE_BYTES = 2**27  # of pairs that are computed one by one, with gradient


@dataclass(frozen=True)
class Attention:
    """Settings of one cross-attention."""

    direction: Direction
    temperature: float
    slope: float = 0.1


def attention_scores(
    images: Tensor,
    captions: Tensor,
    lengths: Tensor,
    *,
    direction: Direction,
    temperature: float,
    slope: float = 0.1,
    form: Form = "auto",
) -> Tensor:
    """Return the scores (n, m) of one level: mean cosine of the query tokens with their context (hat.md 3.5).

    `images`: (n, R, D) tokens, not normalised; `captions`: (m, L, D), padded at the end with anything;
    `lengths`: (m,) true lengths, at least 1. `i2t`: each region queries the words; `t2i`: each word
    queries the regions. All forms give the same scores; `naive` is the published loop over captions.
    Half-precision tokens (also by autocast) are multiplied as such, norms and softmax are float32.
    """
    device = images.device.type
    if torch.is_autocast_enabled(device):
        images, captions = (side.to(torch.get_autocast_dtype(device)) for side in (images, captions))
    attention = Attention(direction, temperature, slope)
    with torch.autocast(device, enabled=False):
        if form == "naive":
            return _naive_scores(images, captions, lengths, attention)
        scores: Tensor = _Scores.apply(images, captions, lengths, attention, form)  # type: ignore[no-untyped-call]
        return scores


class _Scores(torch.autograd.Function):
    """All pairs at once without gradient; in the backward pass, pairs whose score has a gradient once more."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        captions: Tensor,
        lengths: Tensor,
        attention: Attention,
        form: Literal["auto", "gram", "direct"],
    ) -> Tensor:
        ctx.save_for_backward(images, captions, lengths)
        ctx.attention = attention
        if abs(attention.temperature) <= MAX_TEMPERATURE:
            return tiled_scores(images, captions, lengths, **vars(attention), form=form)
        every = torch.ones(len(images), len(captions), dtype=torch.bool, device=images.device)
        parts = [
            pair_scores(images[rows], captions[columns], lengths[columns], attention)
            for rows, columns in _pairs(every, images, captions)
        ]
        return torch.cat(parts).view(len(images), len(captions))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, captions, lengths = ctx.saved_tensors
        sides = [
            side.detach().requires_grad_(need)
            for side, need in zip((images, captions), ctx.needs_input_grad, strict=False)
        ]
        needed = [side for side in sides if side.requires_grad]
        sums = [torch.zeros_like(side) for side in needed]
        for rows, columns in _pairs(gradient != 0, images, captions):
            with torch.enable_grad():
                pairs = sides[0].index_select(0, rows), sides[1].index_select(0, columns)
                scores = pair_scores(*pairs, lengths[columns], ctx.attention)
            parts = torch.autograd.grad(scores, needed, gradient[rows, columns])
            for total, part in zip(sums, parts, strict=True):
                total += part
        found = iter(sums)
        return *(next(found) if side.requires_grad else None for side in sides), None, None, None


def _pairs(chosen: Tensor, images: Tensor, captions: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Rows and columns of the chosen pairs of (n, m), in parts whose temporaries fit WORKSPACE_BYTES."""
    regions, words, width = images.shape[1], captions.shape[1], images.shape[2]
    per_pair = images.element_size() * (12 * regions * words + 4 * (regions + words) * width)
    rows, columns = chosen.nonzero(as_tuple=True)
    size = max(1, WORKSPACE_BYTES // per_pair)
    return [
        (rows[start : start + size], columns[start : start + size]) for start in range(0, len(rows), size)
    ]


def pair_scores(images: Tensor, captions: Tensor, lengths: Tensor, attention: Attention) -> Tensor:
    """Scores (P,) of P pairs: `images` (P, R, D), `captions` (P, L, D), `lengths` (P,); differentiable."""
    words = torch.arange(captions.shape[1], device=lengths.device) < lengths[:, None]  # (P, L)
    captions = captions.masked_fill(~words[..., None], 0)
    products = (images @ captions.mT).to(torch.promote_types(images.dtype, torch.float32))  # (P, R, L)
    weights = attention_weights(products, words, attention)  # (P, R, L)
    if attention.direction == "t2i":  # the query's axis first, from here on
        images, captions, products, weights = captions, images, products.mT, weights.mT
    queries, contexts = images, captions  # (P, Q, D), (P, K, D)
    dots = (weights * products).sum(2)  # (P, Q)
    if contexts.shape[1] <= queries.shape[1]:
        contexts = contexts.to(products.dtype)
        squares = ((weights @ (contexts @ contexts.mT)) * weights).sum(2)  # (P, Q)
    else:
        squares = (weights.to(contexts.dtype) @ contexts).to(products.dtype).square().sum(2)  # (P, Q)
    norms = _safe_root(queries.to(products.dtype).square().sum(2)) * _safe_root(squares)  # (P, Q)
    cosines = dots / norms.clamp_min(EPS)
    return cosines.mean(1) if attention.direction == "i2t" else cosines.sum(1) / lengths


def attention_weights(products: Tensor, words: Tensor, attention: Attention) -> Tensor:
    """Weights (*, R, L) from raw products: each query's weights sum to 1 over its context.

    `words`: (*, L), true where a word is real; products of padding must be 0; i2t gives it no weight.
    """
    query_axis, context_axis = (-2, -1) if attention.direction == "i2t" else (-1, -2)
    activations = F.leaky_relu(products, attention.slope)
    norms = _safe_root(activations.square().sum(query_axis, keepdim=True)) + EPS
    logits = attention.temperature * activations / norms
    if attention.direction == "i2t":
        logits = logits.masked_fill(~words[..., None, :], -torch.inf)
    return logits.softmax(context_axis)


def _safe_root(squares: Tensor) -> Tensor:
    """Square root with gradient 0, not infinity or NaN, where the argument is 0 (or rounded below)."""
    positive = squares > 0
    return torch.where(positive, squares, 1.0).sqrt() * positive


def _naive_scores(images: Tensor, captions: Tensor, lengths: Tensor, attention: Attention) -> Tensor:
    """The published way: for every caption, copy its words once an image, attend, build the contexts."""
    columns = []
    for caption, length in zip(captions, lengths.tolist(), strict=True):
        words = caption[:length].repeat(len(images), 1, 1)  # (n, l, D)
        query, context = (images, words) if attention.direction == "i2t" else (words, images)
        products = (query @ context.mT).to(torch.promote_types(query.dtype, torch.float32))  # (n, Q, K)
        activations = F.leaky_relu(products, attention.slope)
        activations = activations / (_safe_root(activations.square().sum(1, keepdim=True)) + EPS)
        weights = (attention.temperature * activations).softmax(2)
        attended = weights.to(context.dtype) @ context  # (n, Q, D)
        query, attended = query.to(weights.dtype), attended.to(weights.dtype)
        norms = _safe_root(query.square().sum(2)) * _safe_root(attended.square().sum(2))
        columns.append(((query * attended).sum(2) / norms.clamp_min(EPS)).mean(1))
    return torch.stack(columns, dim=1)


def pair_bytes(regions: int, words: int, width: int, *, gradient: bool = False) -> int:
    """Upper estimate of the temporary bytes a pair takes in `attention_scores`, for a budget of 256 MB or more.

    All temporaries live in work spaces of fixed size, so a pair of many takes at most 8 KB, its share of them.
    """
    own = 4 * 3 * regions * words
    if gradient:
        own = 4 * (12 * regions * words + 4 * (regions + words) * width)
    return min(own, 8192)


def score_in_chunks(
    score: Callable[[Codes, Codes], Tensor],
    images: Codes,
    captions: Codes,
    *,
    budget_bytes: int | None,
    pair_bytes: int,
) -> Tensor:
    """The score matrix (n, m) in one piece where its temporaries fit `budget_bytes`, else in chunks of captions.

    Chunks are computed again in the backward pass, so that only one lives at a time; the results and
    gradients are those of one piece (DESIGN.md, "Baseline: training").
    """
    n_captions = len(captions)
    chunk = n_captions if budget_bytes is None else max(1, budget_bytes // max(1, len(images) * pair_bytes))
    if chunk >= n_captions:
        return score(images, captions)
    return torch.cat(
        [
            checkpoint(score, images, captions.rows(slice(start, start + chunk)), use_reentrant=False)
            for start in range(0, n_captions, chunk)
        ],
        dim=1,
    )
