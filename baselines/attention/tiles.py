"""The fast forward pass of cross-attention scores: many captions and images a call, no gradient.

Both directions are one computation on rectangular blocks: C contexts of K tokens (i2t: captions, t2i: images)
and N queries of Q tokens, laid out (C, K, Q, N), so that the norm over a query's tokens and the softmax over a
context's are sums over outer axes, which run at full vector width. Three facts make it short:

- The cosine does not change when a context is scaled, so the softmax is never divided by its sum.
- The L2 norm leaves no exponent over the temperature, so the softmax needs no maximum either, unless that is high.
- A word of zeros has product 0 and adds nothing to q . c, to |c|^2 or to a norm, so padding needs no mask;
  captions are sorted by length and padded only to the longest of their group.

One large product a block; what follows works in place on tiles that stay in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import log
from typing import Literal

import torch
from torch import Tensor

from benchmark.batches import numbers_of

Direction = Literal["i2t", "t2i"]
EPS = 1e-8  # added to the norm after its root, and the floor of the cosine's denominator (hat.md 3.5)
MAX_TEMPERATURE = 25.0  # above, exp(2 * temperature) times squared norms may leave the range of float32


@dataclass(frozen=True)
class Sizes:
    """The sizes into which the work is cut, in numbers of elements of (C, K, Q, N)."""

    block: int
    """Elements of one matrix product."""
    tile: int
    """Elements of one piece of elementwise work, which reads and writes three such arrays."""
    group: int
    """Most captions of a group of like length."""

    @staticmethod
    def of(device: torch.device) -> Sizes:
        """CPU: the product stays in the last-level cache and the tile near the core; GPU: few, large launches."""
        return Sizes(1 << 21, 1 << 18, 64) if device.type == "cpu" else Sizes(1 << 25, 1 << 25, 256)


@dataclass(frozen=True)
class Queries:
    """N queries of Q tokens, token axis first: `tokens` (Q, N, D), `norms` (Q, N)."""

    tokens: Tensor
    norms: Tensor

    @staticmethod
    def of(items: Tensor) -> Queries:
        """Make queries from tokens (N, Q, D)."""
        tokens = items.transpose(0, 1).contiguous()
        return Queries(tokens, torch.linalg.vector_norm(tokens, dim=2, dtype=wide_type(tokens)))


@dataclass(frozen=True)
class Contexts:
    """C contexts: `tokens` (C, K, D), `lengths` (C,); `gram` (C, K, K) of `_triangular_gram`, None: direct form."""

    tokens: Tensor
    lengths: Tensor
    gram: Tensor | None

    @staticmethod
    def of(items: Tensor, lengths: Tensor, form: Literal["gram", "direct"]) -> Contexts:
        """From tokens (C, K, D), zeros after `lengths`."""
        gram = _triangular_gram(items.to(wide_type(items))) if form == "gram" else None
        return Contexts(items, lengths, gram)

    def __getitem__(self, rows: slice) -> Contexts:
        return Contexts(self.tokens[rows], self.lengths[rows], None if self.gram is None else self.gram[rows])


def tiled_scores(
    images: Tensor,
    captions: Tensor,
    lengths: Tensor,
    *,
    direction: Direction,
    temperature: float,
    slope: float,
    form: Literal["auto", "gram", "direct"],
) -> Tensor:
    """The scores (n, m) of `attention_scores`, without gradient."""
    n, regions = images.shape[:2]
    sizes = Sizes.of(images.device)
    if form == "auto":
        form = chosen_form(images, lengths, direction)
    order = lengths.argsort()
    groups = _caption_groups(captions, lengths, order)
    attend = partial(_summed_cosines, temperature=temperature, slope=slope, sizes=sizes)
    scores = torch.empty(n, len(captions), dtype=wide_type(images), device=images.device)
    if direction == "i2t":
        contexts = [Contexts.of(group, ends, form) for group, ends in groups]
        for rows in range(0, n, step := max(8, 4096 // regions)):
            queries = Queries.of(images[rows : rows + step])
            sums = torch.cat([attend(queries, context) for context in contexts])  # (m, step)
            scores[rows : rows + step, order] = sums.T / regions
        return scores
    queried = [Queries.of(group) for group, _ in groups]
    largest = max(queries.norms.numel() for queries in queried)
    tokens = lengths.new_full((n,), regions)
    for rows in range(0, n, step := max(1, sizes.block // (regions * largest))):
        context = Contexts.of(images[rows : rows + step], tokens[rows : rows + step], form)
        sums = torch.cat([attend(queries, context) for queries in queried], dim=1)  # (step, m)
        scores[rows : rows + step, order] = sums / lengths[order]
    return scores


def chosen_form(images: Tensor, lengths: Tensor, direction: Direction) -> Literal["gram", "direct"]:
    """The form that `auto` takes for images (n, R, D) and captions of these lengths (m,)."""
    n, regions, width = images.shape
    words = sum(numbers_of(lengths))
    if direction == "t2i":
        return cheaper_form(regions, width, words)
    return cheaper_form(-(-words // len(lengths)), width, n * regions)


def cheaper_form(tokens: int, width: int, query_tokens: int) -> Literal["gram", "direct"]:
    """The cheaper way to |context|^2, by multiplications (speed.md 3).

    `tokens` K of a context, `width` D, `query_tokens` of all queries that a context meets. Direct: K D a query
    token. Gram: K^2 a query token and K^2 D once a context, both times the share of blocks that symmetry leaves.
    """
    blocks = -(-tokens // _GRAM_BLOCK)
    gram = tokens * (1 + width / query_tokens) * (blocks + 1) / (2 * blocks)
    return "gram" if gram <= width else "direct"


def group_size(n_captions: int, device: torch.device) -> int:
    """Captions of a group: few enough that lengths in it are alike, enough for full vectors."""
    return min(Sizes.of(device).group, max(16, n_captions // 4))


def _caption_groups(captions: Tensor, lengths: Tensor, order: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Captions in `order` (of length) as groups: tokens (g, longest of the group, D), zeros after `lengths` (g,)."""
    size = group_size(len(order), captions.device)
    ordered, groups = sorted(numbers_of(lengths)), list[tuple[Tensor, Tensor]]()
    for rows, ends in zip(torch.split(order, size), torch.split(lengths[order], size), strict=True):
        longest = ordered[min(len(ordered), size * (len(groups) + 1)) - 1]
        padding = torch.arange(longest, device=ends.device) >= ends[:, None]  # (g, longest)
        groups.append((captions[rows, :longest].masked_fill_(padding[..., None], 0), ends))
    return groups


def _summed_cosines(
    queries: Queries, contexts: Contexts, *, temperature: float, slope: float, sizes: Sizes
) -> Tensor:
    """Sum the cosines of a query's tokens with the vectors that they attend to: (C, N)."""
    (n_tokens, n_queries, width), (n_contexts, size, _) = queries.tokens.shape, contexts.tokens.shape
    flat, cell = queries.tokens.view(-1, width).T, size * n_tokens * n_queries
    per_block, per_tile = max(1, sizes.block // cell), max(1, sizes.tile // cell)
    sums = torch.empty(n_contexts, n_queries, dtype=wide_type(flat), device=flat.device)
    scratch = torch.empty(min(per_tile, n_contexts) * cell, dtype=sums.dtype, device=flat.device)
    for start in range(0, n_contexts, per_block):
        block = contexts.tokens[start : start + per_block]
        products = (block.reshape(-1, width) @ flat).view(-1, size, n_tokens, n_queries)
        for offset in range(0, len(block), per_tile):
            tile = products[offset : offset + per_tile].to(sums.dtype)
            rows = slice(start + offset, start + offset + len(tile))
            work = scratch[: tile.numel()].view_as(tile)
            cosines = _cosines(tile, work, queries.norms, contexts[rows], temperature, slope)  # (C, Q, N)
            torch.sum(cosines, 1, out=sums[rows])
    return sums


def _cosines(
    products: Tensor, work: Tensor, norms: Tensor, contexts: Contexts, temperature: float, slope: float
) -> Tensor:
    """Cosines (C, Q, N) from raw products (C, K, Q, N), in place; `work` is of the same shape."""
    weights = torch.nn.functional.leaky_relu(products, slope)
    torch.mul(weights, weights, out=work)
    scale = (
        work.sum(2, keepdim=True).sqrt_().add_(EPS).reciprocal_().mul_(temperature / log(2))
    )  # (C, K, 1, N)
    totals = exponentials_(weights.mul_(scale), contexts.lengths, temperature)  # (C, Q, N)
    dots = torch.mul(weights, products, out=work).sum(1)  # (C, Q, N)
    squares = _context_squares(weights, work, totals, contexts)  # (C, Q, N)
    return dots.div_(torch.maximum(squares.clamp_min_(0).sqrt_().mul_(norms), totals.mul_(EPS)))


def exponentials_(logits: Tensor, lengths: Tensor, temperature: float) -> Tensor:
    """Turn `logits` (C, K, Q, N), in powers of two, into a softmax over K times its sum; return the sum (C, Q, N).

    Tokens after `lengths` (C,) have logits of 0. They add nothing later on, so their weights may stay.
    """
    size = logits.shape[1]
    if abs(temperature) > MAX_TEMPERATURE:
        padding = torch.arange(size, device=lengths.device) >= lengths[:, None]  # (C, K)
        logits.masked_fill_(padding[..., None, None], -torch.inf)
        return logits.sub_(logits.amax(1, keepdim=True)).exp2_().sum(1)
    return (
        logits.exp2_().sum(1).sub_((size - lengths)[:, None, None])
    )  # less exp(0) for each token of padding


def _context_squares(weights: Tensor, work: Tensor, totals: Tensor, contexts: Contexts) -> Tensor:
    """Squared norms (C, Q, N) of sum_k weights_k token_k; `totals` are the sums of the weights."""
    flat = weights.flatten(2)  # (C, K, Q N)
    if contexts.gram is None:
        if contexts.tokens.dtype != flat.dtype:  # half precision: true weights, which cannot overflow
            flat = (flat / totals.flatten(1)[:, None]).to(contexts.tokens.dtype)
            built = torch.bmm(contexts.tokens.mT, flat).to(totals.dtype)
            return built.square_().sum(1).view_as(totals).mul_(totals.square())
        return torch.bmm(contexts.tokens.mT, flat).square_().sum(1).view_as(totals)
    size = flat.shape[1]
    if size <= _GRAM_BLOCK:
        torch.bmm(contexts.gram, flat, out=work.view_as(flat))
    else:
        products = work.view_as(flat)
        for rows in _gram_blocks(size):
            gram, own = contexts.gram[:, rows, rows.start :], flat[:, rows.start :]
            if len(flat) == 1:  # a tile of one context, as large ones are: no copy
                torch.mm(gram[0], own[0], out=products[0, rows])
            else:
                products[:, rows] = torch.bmm(gram, own)
    return work.mul_(weights).sum(1)


_GRAM_BLOCK = 128


def _gram_blocks(size: int) -> list[slice]:
    """Rows of a Gram matrix in blocks of nearly the same size."""
    step = -(-size // -(-size // _GRAM_BLOCK))
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _triangular_gram(tokens: Tensor) -> Tensor:
    """Gram matrices (C, K, K) whose blocks over the diagonal are doubled; those below are not computed.

    w^T G w needs only these, which saves nearly half the work where K is large.
    """
    size = tokens.shape[1]
    if size <= _GRAM_BLOCK:
        return tokens @ tokens.mT
    gram = tokens.new_empty(len(tokens), size, size)
    for rows in _gram_blocks(size):
        gram[:, rows, rows.start :] = tokens[:, rows] @ tokens[:, rows.start :].mT
        gram[:, rows, rows.stop :] *= 2
    return gram


def wide_type(tensor: Tensor) -> torch.dtype:
    """float32 at least."""
    return torch.promote_types(tensor.dtype, torch.float32)
