"""Scores of image x caption pairs from cross-attention between their tokens, without a loop over captions.

One direction queries with one side's tokens and attends to the other's (hat.md 3.5; the same attention
serves SAF, SGR and RCAR): leaky ReLU of the raw products, L2 norm over the QUERY axis, softmax over the
CONTEXT axis with a temperature. HAT's score of a pair is the mean cosine between each query token and
its attended context.

The context is never needed itself: q . c = sum_j a_j (q . k_j), and |c|^2 = a^T G a with the Gram matrix
G = k k^T of the context tokens (speed.md 3). `form="direct"` builds the context instead, which is cheaper
where the context has more tokens than the tokens are wide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from benchmark.baseline import Codes

Direction = Literal["i2t", "t2i"]
Form = Literal["auto", "gram", "direct", "naive"]

EPS = 1e-8  # added to the norm after its root, and the floor of the cosine's denominator (hat.md 3.5)


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
    """
    if form == "naive":
        return _naive_scores(images, captions, lengths, direction, temperature, slope)
    if form == "auto":
        form = cheaper_form(images.shape[1], captions.shape[1], images.shape[2], direction)
    mask = torch.arange(captions.shape[1], device=lengths.device) < lengths[:, None]  # (m, L)
    captions = captions.masked_fill(~mask[..., None], 0)
    products = torch.einsum("nrd,mld->nrml", images, captions).float()  # (n, R, m, L)
    weights = attention_weights(products, mask, direction, temperature, slope)  # (n, R, m, L)
    context_axis, query_axis = (3, 1) if direction == "i2t" else (1, 3)
    dots = (weights * products).sum(context_axis)  # i2t (n, R, m), t2i (n, m, L)
    squares = _context_squares(weights, images, captions, direction, form)  # like `dots`
    queries = images[:, :, None] if direction == "i2t" else captions  # (n, R, 1, D) or (m, L, D)
    norms = _safe_root(queries.float().square().sum(-1)) * _safe_root(squares)
    cosines = dots / norms.clamp_min(EPS)
    if query_axis == 1:
        return cosines.mean(1)
    return (cosines * mask).sum(2) / lengths


def attention_weights(
    products: Tensor, mask: Tensor, direction: Direction, temperature: float, slope: float
) -> Tensor:
    """Weights (n, R, m, L) from raw products: each query's weights sum to 1 over its context.

    `mask`: (m, L) true where a word is real; the products of padding must be 0 and get weight 0 (i2t).
    """
    query_axis, context_axis = (1, 3) if direction == "i2t" else (3, 1)
    activations = F.leaky_relu(products, slope)
    norms = _safe_root(activations.square().sum(query_axis, keepdim=True)) + EPS
    logits = temperature * activations / norms
    if direction == "i2t":
        logits = logits.masked_fill(~mask, -torch.inf)
    return logits.softmax(context_axis)


def cheaper_form(regions: int, words: int, width: int, direction: Direction) -> Literal["gram", "direct"]:
    """The cheaper way to |context|^2 of a pair: Gram costs K + 1 multiplications a weight, direct D (speed.md 3)."""
    context = words if direction == "i2t" else regions
    return "gram" if context < width else "direct"


def _context_squares(
    weights: Tensor, images: Tensor, captions: Tensor, direction: Direction, form: Form
) -> Tensor:
    """Squared norms of the attended contexts: (n, R, m) for i2t, (n, m, L) for t2i."""
    if direction == "i2t":
        if form == "direct":
            return (
                torch.einsum("nrml,mld->nrmd", weights.to(captions.dtype), captions).float().square().sum(-1)
            )
        gram = captions.float() @ captions.float().mT  # (m, L, L)
        return (torch.einsum("nrml,mlk->nrmk", weights, gram) * weights).sum(-1)
    if form == "direct":
        return torch.einsum("nrml,nrd->nmld", weights.to(images.dtype), images).float().square().sum(-1)
    gram = images.float() @ images.float().mT  # (n, R, R)
    return (torch.einsum("nrml,nrs->nsml", weights, gram) * weights).sum(1)


def _safe_root(squares: Tensor) -> Tensor:
    """Square root with gradient 0, not infinity or NaN, where the argument is 0 (or rounded below)."""
    positive = squares > 0
    return torch.where(positive, squares, 1.0).sqrt() * positive


def _naive_scores(
    images: Tensor, captions: Tensor, lengths: Tensor, direction: Direction, temperature: float, slope: float
) -> Tensor:
    """The published way: for every caption, copy its words once an image, attend, build the contexts."""
    columns = []
    for caption, length in zip(captions, lengths.tolist(), strict=True):
        words = caption[:length].expand(len(images), length, -1)  # (n, l, D)
        query, context = (images, words) if direction == "i2t" else (words, images)
        activations = F.leaky_relu(query @ context.mT, slope)  # (n, Q, K)
        activations = activations / (_safe_root(activations.square().sum(1, keepdim=True)) + EPS)
        attended = (temperature * activations).softmax(2) @ context  # (n, Q, D)
        norms = _safe_root(query.square().sum(2)) * _safe_root(attended.square().sum(2))
        columns.append(((query * attended).sum(2) / norms.clamp_min(EPS)).mean(1))
    return torch.stack(columns, dim=1)


def pair_bytes(regions: int, words: int, width: int, direction: Direction, *, gradient: bool = False) -> int:
    """Upper estimate of the temporary bytes a pair takes in `attention_scores` (float32)."""
    per_product = 12 if gradient else 6
    floats = per_product * regions * words
    if cheaper_form(regions, words, width, direction) == "direct":
        floats += (words if direction == "t2i" else regions) * width * (3 if gradient else 2)
    return 4 * floats


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
