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

from baselines.layers.attention_tiles import (
    EPS,
    MAX_TEMPERATURE,
    Direction,
    Sizes,
    cheaper_form,
    group_size,
    tiled_scores,
    wide_type,
)
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
    """All pairs without gradient; in the backward pass, pairs whose score has a gradient are computed again."""

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
        scores = images.new_empty(len(images), len(captions), dtype=wide_type(images))
        for rows, columns in _blocks(len(images), images.shape[1], lengths):
            block = _block_scores(images[rows], captions[columns], lengths[columns], attention)
            scores[rows[:, None], columns] = block
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, captions, lengths = (tensor.detach() for tensor in ctx.saved_tensors)
        needs: tuple[bool, bool] = ctx.needs_input_grad[:2]
        totals = [torch.zeros_like(side) for side in (images, captions)]
        chosen = gradient != 0
        dense = 4 * int(chosen.sum()) > chosen.numel()
        n, regions, width = images.shape
        for rows, columns in (
            _blocks(n, regions, lengths) if dense else _pairs(chosen, regions, lengths, width)
        ):
            longest = int(lengths[columns].max())
            sides = images[rows], captions[columns, :longest]
            with torch.enable_grad():
                for side, need in zip(sides, needs, strict=True):
                    side.requires_grad_(need)
                scores = (_block_scores if dense else _pair_scores)(*sides, lengths[columns], ctx.attention)
            torch.autograd.backward(
                scores, gradient[rows[:, None], columns] if dense else gradient[rows, columns]
            )
            for total, index, side in zip(totals, (rows, columns), sides, strict=True):
                if side.grad is not None:
                    total[:, : side.shape[1]].index_add_(0, index, side.grad)
        return *(total if need else None for total, need in zip(totals, needs, strict=True)), None, None, None


def _pairs(chosen: Tensor, regions: int, lengths: Tensor, width: int) -> list[tuple[Tensor, Tensor]]:
    """Rows and columns of the chosen pairs of (n, m), in parts whose temporaries fit WORKSPACE_BYTES."""
    size = max(1, WORKSPACE_BYTES // _pair_bytes_with_gradient(regions, int(lengths.max()), width))
    rows, columns = chosen.nonzero(as_tuple=True)
    return list(zip(torch.split(rows, size), torch.split(columns, size), strict=True)) if len(rows) else []


def _blocks(n_images: int, regions: int, lengths: Tensor) -> list[tuple[Tensor, Tensor]]:
    """All rows and columns as blocks of images x captions of like length, each of about a tile."""
    tile, size = Sizes.of(lengths.device).tile, group_size(len(lengths), lengths.device)
    rows, parts = torch.arange(n_images, device=lengths.device), []
    for columns in torch.split(lengths.argsort(), size):
        step = max(1, tile // (regions * len(columns) * int(lengths[columns[-1]])))
        parts += [(some, columns) for some in torch.split(rows, step)]
    return parts


def _block_scores(images: Tensor, captions: Tensor, lengths: Tensor, attention: Attention) -> Tensor:
    """Scores (n, m) of all pairs of `images` (n, R, D) and `captions` (m, L, D); differentiable."""
    padding = torch.arange(captions.shape[1], device=lengths.device) >= lengths[:, None]  # (m, L)
    captions = captions.masked_fill(padding[..., None], 0)
    contexts, queries = (captions, images) if attention.direction == "i2t" else (images, captions)
    queries = queries.transpose(0, 1)  # (Q, N, D)
    products = contexts.flatten(0, 1) @ queries.flatten(0, 1).T
    products = products.view(*contexts.shape[:2], *queries.shape[:2])  # (C, K, Q, N)
    if attention.direction == "i2t":
        return _cosines(products, contexts, queries, attention, padding).mean(1).T
    return _cosines(products, contexts, queries, attention, None).sum(1) / lengths


def _pair_scores(images: Tensor, captions: Tensor, lengths: Tensor, attention: Attention) -> Tensor:
    """Scores (P,) of P pairs of `images` (P, R, D) and `captions` (P, L, D); differentiable."""
    padding = torch.arange(captions.shape[1], device=lengths.device) >= lengths[:, None]  # (P, L)
    captions = captions.masked_fill(padding[..., None], 0)
    if attention.direction == "i2t":
        products = (captions @ images.mT)[..., None]  # (P, L, R, 1)
        return _cosines(products, captions, images[..., None, :], attention, padding).mean((1, 2))
    products = (images @ captions.mT)[..., None]  # (P, R, L, 1)
    return _cosines(products, images, captions[..., None, :], attention, None).sum((1, 2)) / lengths


def _cosines(
    products: Tensor, contexts: Tensor, queries: Tensor, attention: Attention, padding: Tensor | None
) -> Tensor:
    """Cosines (C, Q, N) of query tokens with their contexts, from raw products (C, K, Q, N).

    `contexts`: (C, K, D); `queries`: (Q, N, D), or (C, Q, 1, D) where each context has a query of its own.
    """
    products = products.to(wide_type(products))
    weights = attention_weights(products, attention, padding)  # (C, K, Q, N)
    dots = (weights * products).sum(1)  # (C, Q, N)
    flat, n_query_tokens = weights.flatten(2), products[0, 0].numel()  # (C, K, Q N)
    if cheaper_form(contexts.shape[1], contexts.shape[2], n_query_tokens) == "gram":
        contexts = contexts.to(flat.dtype)
        squares = ((contexts @ contexts.mT @ flat) * flat).sum(1)  # (C, Q N)
    else:
        squares = (contexts.mT @ flat.to(contexts.dtype)).to(flat.dtype).square().sum(1)  # (C, Q N)
    norms = _safe_root(queries.to(flat.dtype).square().sum(-1)) * _safe_root(squares.view_as(dots))
    return dots / norms.clamp_min(EPS)


def attention_weights(products: Tensor, attention: Attention, padding: Tensor | None = None) -> Tensor:
    """Weights (C, K, Q, N) from raw products: a query's weights sum to 1 over the K tokens of a context.

    `padding`: (C, K), true for context tokens that get no weight; products of padding must be 0.
    """
    activations = F.leaky_relu(products, attention.slope)
    norms = _safe_root(activations.square().sum(2, keepdim=True)) + EPS  # (C, K, 1, N)
    scale = attention.temperature / norms
    if padding is None:
        return (activations * scale).softmax(1)
    bias = scale.new_zeros(padding.shape).masked_fill_(padding, -torch.inf)[:, :, None, None]
    return torch.addcmul(bias, activations, scale).softmax(1)


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
        products = (query @ context.mT).to(wide_type(query))  # (n, Q, K)
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
    own = _pair_bytes_with_gradient(regions, words, width) if gradient else 12 * regions * words
    return min(own, 8192)


def _pair_bytes_with_gradient(regions: int, words: int, width: int) -> int:
    """Products, weights and what autograd keeps of them; copies of both sides' tokens and their gradients."""
    return 4 * (12 * regions * words + 4 * (regions + words) * width)


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
