"""What queries attend to, and alignment vectors W (context - query)^2 of both (sgraf.md 3.4, 3.5; rcar.md 3.3, 3.4).

Queries are words and contexts regions (t2i), or the other way round (i2t). The context is needed in full width
here, so all of it is built; what is saved is copies of queries and contexts for each pair, and passes over the
memory (speed.md 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.layers.attention_tiles import wide_type
from baselines.layers.cross_attention import attention_weights, safe_root
from baselines.layers.norms import EPS


def attended_contexts(
    queries: Tensor,
    contexts: Tensor,
    *,
    temperature: float | Tensor,
    slope: float,
    modulation: Tensor | None = None,
) -> Tensor:
    """What each query token attends to in each context, (K, N, Q, D), not normalised.

    `queries`: (N, Q, D), N items of Q tokens each; `contexts`: (K, S, D), K items of S tokens each; neither has
    padding. `modulation` (K, N, Q, D) multiplies the queries, each pair's with its own; `temperature` is one
    number, or (K, N, Q, 1).
    """
    weights = _weights(_products(queries, contexts, modulation), temperature, slope)  # (K, N, Q, S)
    attended: Tensor = weights.to(contexts.dtype).flatten(1, 2) @ contexts  # (K, N Q, D)
    return attended.view(*weights.shape[:3], -1)


def _products(queries: Tensor, contexts: Tensor, modulation: Tensor | None) -> Tensor:
    """Products (K, N, Q, S) of all tokens, at least float32."""
    if modulation is None:
        products = queries.flatten(0, 1) @ contexts.flatten(0, 1).mT  # (N Q, K S)
        products = products.view(*queries.shape[:2], *contexts.shape[:2]).movedim(2, 0)
    else:
        products = (queries * modulation).flatten(1, 2) @ contexts.mT  # (K, N Q, S)
        products = products.view(*modulation.shape[:3], -1)
    return products.to(wide_type(products))


def _weights(products: Tensor, temperature: float | Tensor, slope: float) -> Tensor:
    return attention_weights(products, query_axis=2, context_axis=3, temperature=temperature, slope=slope)


def squared_differences(contexts: Tensor, queries: Tensor) -> Tensor:
    """(context / |context| - query)^2 (K, N, Q, D) of contexts (K, N, Q, D) and queries (N, Q, D), elementwise.

    Without gradient the result takes the place of `contexts`.
    """
    norms = torch.linalg.vector_norm(contexts, dim=-1, keepdim=True, dtype=wide_type(contexts))
    scale = (norms + EPS).reciprocal()
    if torch.is_grad_enabled():
        return torch.addcmul(queries, contexts, scale, value=-1).square()
    return torch.addcmul(
        queries, contexts, scale, value=-1, out=contexts
    ).square_()  # a fresh array is dearer


def attended_cosines(
    queries: Tensor,
    contexts: Tensor,
    *,
    temperature: float | Tensor,
    slope: float,
    modulation: Tensor | None = None,
) -> Tensor:
    """Cosines (K, N, Q) of each query token, not modulated, with what `attended_contexts` says that it attends to.

    The contexts are not built: q . c and |c|^2 follow from products of tokens and the contexts' Gram matrices
    (speed.md 3). A vector of zeros has cosine 0.
    """
    products = _products(queries, contexts, None)  # (K, N, Q, S)
    modulated = products if modulation is None else _products(queries, contexts, modulation)
    weights = _weights(modulated, temperature, slope)
    dots = (weights * products).sum(3)  # (K, N, Q)
    gram = (contexts @ contexts.mT).to(weights.dtype)  # (K, S, S)
    squares = (weights * (weights.flatten(1, 2) @ gram).view_as(weights)).sum(3)
    norms = torch.linalg.vector_norm(queries, dim=2, dtype=weights.dtype) * safe_root(squares)
    cosines: Tensor = dots / norms.clamp_min(EPS)
    return cosines
