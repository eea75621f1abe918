"""Scores of image x caption pairs from cross-attention between their tokens, without a loop over captions.

One direction queries with one side's tokens and attends to the other's (hat.md 3.5; the same attention
serves SAF and SGR, sgraf.md 3.4, and RCAR, rcar.md 3.3): leaky ReLU of the raw products, L2 norm over the
QUERY axis, softmax over the CONTEXT axis with a temperature. HAT's score of a pair is the mean cosine between
each query token and its attended context.

The context is not needed for that: q . c = sum_j a_j (q . k_j), and |c|^2 = a^T G a with the Gram matrix
G = k k^T of the context tokens (speed.md 3). `form="direct"` builds the context instead, which is cheaper
where the context has more tokens than the tokens are wide.

Forward, all pairs go through `attention_tiles`. Backward (`attention_gradient`), only pairs with a gradient
are computed again: a loss of hardest negatives reads 3 B of a batch's B^2 scores.
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

from baselines.attention.gradient import score_gradients
from baselines.attention.tiles import EPS, Direction, Sizes, group_size, tiled_scores, wide_type
from benchmark.batches import Codes, numbers_of
from benchmark.distributed import shares

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
        scores: Tensor = _Scores.apply(images, captions, lengths, attention, form)
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
        ctx.attention, ctx.numbers = vars(attention), numbers_of(lengths)
        return tiled_scores(images, captions, lengths, **vars(attention), form=form)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, captions, lengths = ctx.saved_tensors
        totals = [torch.zeros_like(side) for side in (images, captions)]
        chosen = gradient != 0
        n, regions, width = images.shape
        if 4 * int(chosen.sum()) > chosen.numel():
            parts = _blocks(n, regions, lengths, sorted(ctx.numbers))
            gradients = [gradient[rows[:, None], columns] for rows, columns, _ in parts]
        else:
            parts = _pairs(chosen, regions, lengths, max(ctx.numbers), width)
            gradients = [gradient[rows, columns] for rows, columns, _ in parts]
        for (rows, columns, longest), own in zip(parts, gradients, strict=True):
            sides = images[rows], captions[columns, :longest]
            found = score_gradients(*sides, lengths[columns], own, **ctx.attention)
            for total, index, part in zip(totals, (rows, columns), found, strict=True):
                total[:, : part.shape[1]].index_add_(0, index, part)
        of_images, of_captions = (
            total if need else None for total, need in zip(totals, ctx.needs_input_grad[:2], strict=True)
        )
        return of_images, of_captions, None, None, None


Part = tuple[Tensor, Tensor, int]
"""Rows and columns of pairs, and the longest of the columns' captions."""


def _pairs(chosen: Tensor, regions: int, lengths: Tensor, longest: int, width: int) -> list[Part]:
    """The chosen pairs of (n, m), in parts whose temporaries fit WORKSPACE_BYTES; `longest` of all captions."""
    size = max(1, WORKSPACE_BYTES // _pair_bytes_with_gradient(regions, longest, width))
    rows, columns = chosen.nonzero(as_tuple=True)
    if not len(rows):
        return []
    parts = zip(torch.split(rows, size), torch.split(columns, size), strict=True)
    return [(some, own, int(lengths[own].max())) for some, own in parts]


def _blocks(n_images: int, regions: int, lengths: Tensor, ordered: list[int]) -> list[Part]:
    """All pairs as blocks of images x captions of like length, each of about a tile; `ordered`: `lengths` that rise."""
    tile, size = Sizes.of(lengths.device).tile, group_size(len(lengths), lengths.device)
    rows, parts = torch.arange(n_images, device=lengths.device), list[Part]()
    for number, columns in enumerate(torch.split(lengths.argsort(), size)):
        longest = ordered[number * size + len(columns) - 1]
        step = max(1, tile // (regions * len(columns) * longest))
        parts += [(some, columns, longest) for some in torch.split(rows, step)]
    return parts


def attention_weights(
    products: Tensor,
    *,
    query_axis: int,
    context_axis: int,
    temperature: float | Tensor,
    slope: float = 0.1,
    padding: Tensor | None = None,
) -> Tensor:
    """Weights from the raw products of query and context tokens, of the same shape; differentiable.

    Leaky ReLU, L2 norm over the query axis, softmax over the context axis (hat.md 3.5). `temperature`: one number,
    or broadcast to `products` (rcar.md 3.3). `padding` (like `products`, or broadcast to it) is true for context
    tokens that get no weight. Products of padding must be 0.
    """
    activations = F.leaky_relu(products, slope)
    norms = safe_root(activations.square().sum(query_axis, keepdim=True)) + EPS
    logits = activations * (temperature / norms)
    if padding is not None:
        logits = logits.masked_fill(padding, -torch.inf)
    return logits.softmax(context_axis)


def safe_root(squares: Tensor) -> Tensor:
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
        weights = attention_weights(
            products, query_axis=1, context_axis=2, temperature=attention.temperature, slope=attention.slope
        )
        attended = weights.to(context.dtype) @ context  # (n, Q, D)
        query, attended = query.to(weights.dtype), attended.to(weights.dtype)
        norms = safe_root(query.square().sum(2)) * safe_root(attended.square().sum(2))
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
    gradients are those of one piece (DESIGN.md, "Baseline: training"). Processes that train together divide the
    captions.
    """

    def in_chunks(captions: Codes) -> Tensor:
        count = len(captions)
        chunk = count if budget_bytes is None else max(1, budget_bytes // max(1, len(images) * pair_bytes))
        if chunk >= count:
            return score(images, captions)
        parts = (captions.rows(slice(start, start + chunk)) for start in range(0, count, chunk))
        return torch.cat([checkpoint(score, images, part, use_reentrant=False) for part in parts], dim=1)

    return shares.divide(in_chunks, captions, dim=1)
