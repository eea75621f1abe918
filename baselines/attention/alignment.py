"""Contexts of queries, and alignment vectors W (context - query)^2 of both (sgraf.md 3.4, 3.5; rcar.md 3.3, 3.4).

Queries are words and contexts regions (t2i), or the other way round (i2t). The context is needed in full width
here, so all of it is built; what is saved is copies of queries and contexts for each pair, and passes over the
memory (speed.md 4): without gradient the norm comes from Gram matrices and goes into the weights, so that the context
is built with norm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.attention.blockwise import by_blocks, squared_unit_differences
from baselines.attention.cross_attention import attention_weights, safe_root
from baselines.attention.scratch import Scratch
from baselines.attention.tiles import wide_type
from baselines.layers.norms import EPS

CANCELLED = 0.01  # of the longest token's square: a sum with a smaller square has its norm taken directly


def squared_differences(
    queries: Tensor,
    contexts: Tensor,
    *,
    temperature: float | Tensor,
    slope: float,
    modulation: Tensor | None = None,
    padding: Tensor | None = None,
    scratch: Scratch | None = None,
) -> Tensor:
    """(attended / |attended| - query)^2 (K, N, Q, D), elementwise: each query token, and what it attends to.

    `queries`: (N, Q, D), N items of Q tokens each, or (K, N, Q, D), where each context has its own; `contexts`:
    (K, S, D), K items of S tokens each; padding of either is zeros. `padding` (K, S): true for padding of contexts,
    which gets no weight; that of queries is not to be read. `modulation` (K, N, Q, D) multiplies the queries in the
    attention, each pair's with its own, not in the difference; `temperature` is one number, or (K, N, Q, 1).
    Without gradient, the result is in `scratch`, where there is one.
    """
    plain = not torch.is_grad_enabled() and not _is_half(contexts)
    scratch = scratch if plain else None
    products = _products(queries, contexts, modulation, scratch)  # (K, S, N, Q)
    weights = _weights(products, temperature, slope, padding)
    if not plain:
        return _normalised_differences(_attend(weights, contexts), queries)
    squares, safe = _squared_norms(weights, contexts)
    if not safe:
        return _normalised_differences(_attend(weights, contexts), queries)
    attended = _attend(weights.div_(squares.sqrt_().add_(EPS).unsqueeze(1)), contexts, scratch)
    # subtract and square in one pass over what is the largest array by far
    differences: Tensor = torch.ops.aten.mse_loss.out(attended, queries, 0, out=attended)
    return differences


def _attend(weights: Tensor, contexts: Tensor, scratch: Scratch | None = None) -> Tensor:
    """Sums (K, N, Q, D) of context tokens by weights (K, S, N, Q); in `scratch`, where there is one."""
    # a copy in reading order makes the product faster than its price
    flat = weights.to(contexts.dtype).flatten(2).mT.contiguous()  # (K, N Q, S)
    shape = (*flat.shape[:2], contexts.shape[2])
    out = None if scratch is None else scratch.take("wide", shape, contexts)
    return torch.bmm(flat, contexts, out=out).view(len(contexts), *weights.shape[2:], -1)


def _normalised_differences(attended: Tensor, queries: Tensor) -> Tensor:
    """Return (attended / |attended| - query)^2 of attended vectors (K, N, Q, D), in their place if without gradient."""
    if by_blocks(attended, queries):
        return squared_unit_differences(attended, queries)
    norms = torch.linalg.vector_norm(attended, dim=-1, keepdim=True, dtype=wide_type(attended))
    scale = (norms + EPS).reciprocal()
    if torch.is_grad_enabled():
        return torch.addcmul(queries, attended, scale, value=-1).square()
    return torch.addcmul(queries, attended, scale, value=-1, out=attended).square_()


def _squared_norms(weights: Tensor, contexts: Tensor) -> tuple[Tensor, bool]:
    """|sum_s weights_s context_s|^2 (K, N, Q) of weights (K, S, N, Q), by Gram matrices; and whether they are safe.

    They are not where context tokens nearly cancel: the rounding of the longest token's square then shows.
    """
    gram = _gram(contexts, weights)
    squares = _quadratic_forms(weights, gram)
    longest = gram.diagonal(dim1=1, dim2=2).amax(1)[:, None, None]  # (K, 1, 1)
    return squares, bool((squares > CANCELLED * longest).all())


def _gram(contexts: Tensor, weights: Tensor) -> Tensor:
    """Products (K, S, S) of the tokens of each context, of the weights' type."""
    return (contexts @ contexts.mT).to(weights.dtype)


def _quadratic_forms(weights: Tensor, gram: Tensor) -> Tensor:
    """Forms w' G w (K, N, Q) of weights w (K, S, N, Q) and Gram matrices G (K, S, S): squared norms (speed.md 3)."""
    return (weights * (gram @ weights.flatten(2)).view_as(weights)).sum(1)


def _is_half(tokens: Tensor) -> bool:
    """Return True if products of these tokens are in half precision, by their own type or by autocast."""
    return wide_type(tokens) != tokens.dtype or torch.is_autocast_enabled(tokens.device.type)


def _products(
    queries: Tensor, contexts: Tensor, modulation: Tensor | None, scratch: Scratch | None = None
) -> Tensor:
    """Products (K, S, N, Q) of all tokens, at least float32."""
    if modulation is not None:
        # what the queries are before their products is what the contexts are after them: the same array
        out = None if scratch is None else scratch.take("wide", tuple(modulation.shape), queries)
        queries = torch.mul(queries, modulation, out=out)
    if queries.ndim == 3:
        products = contexts.flatten(0, 1) @ queries.flatten(0, 1).mT  # (K S, N Q)
    else:
        products = contexts @ queries.flatten(1, 2).mT  # (K, S, N Q)
    return products.to(wide_type(products)).view(*contexts.shape[:2], *queries.shape[-3:-1])


def _weights(products: Tensor, temperature: float | Tensor, slope: float, padding: Tensor | None) -> Tensor:
    """Weights of products (K, S, N, Q); a temperature of each query token comes as (K, N, Q, 1)."""
    if isinstance(temperature, Tensor):
        temperature = temperature.squeeze(3).unsqueeze(1)  # (K, 1, N, Q)
    return attention_weights(
        products,
        query_axis=3,
        context_axis=1,
        temperature=temperature,
        slope=slope,
        padding=None if padding is None else padding[..., None, None],
    )


def attended_cosines(
    queries: Tensor,
    contexts: Tensor,
    *,
    temperature: float | Tensor,
    slope: float,
    modulation: Tensor | None = None,
    padding: Tensor | None = None,
    scratch: Scratch | None = None,
) -> Tensor:
    """Cosines (K, N, Q) of each query token, not modulated, with what it attends to, as in `squared_differences`.

    The contexts are not built: q . c and |c|^2 follow from products of tokens and the contexts' Gram matrices
    (speed.md 3). A vector of zeros has cosine 0.
    """
    products = _products(queries, contexts, None)  # (K, S, N, Q)
    scratch = None if torch.is_grad_enabled() or _is_half(contexts) else scratch
    modulated = products if modulation is None else _products(queries, contexts, modulation, scratch)
    weights = _weights(modulated, temperature, slope, padding)
    dots = (weights * products).sum(1)  # (K, N, Q)
    squares = _quadratic_forms(weights, _gram(contexts, weights))
    norms = torch.linalg.vector_norm(queries, dim=-1, dtype=weights.dtype) * safe_root(squares)
    cosines: Tensor = dots / norms.clamp_min(EPS)
    return cosines
