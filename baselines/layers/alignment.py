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
    weights = _weights(_products(queries, contexts, modulation), temperature, slope)  # (K, S, N, Q)
    # a copy in reading order makes the product faster than its price
    weights = weights.to(contexts.dtype).flatten(2).mT.contiguous()  # (K, N Q, S)
    attended: Tensor = weights @ contexts
    return attended.view(len(contexts), *queries.shape)


def _products(queries: Tensor, contexts: Tensor, modulation: Tensor | None) -> Tensor:
    """Products (K, S, N, Q) of all tokens, at least float32."""
    if modulation is None:
        products = contexts.flatten(0, 1) @ queries.flatten(0, 1).mT  # (K S, N Q)
    else:
        products = contexts @ (queries * modulation).flatten(1, 2).mT  # (K, S, N Q)
    return products.to(wide_type(products)).view(*contexts.shape[:2], *queries.shape[:2])


def _weights(products: Tensor, temperature: float | Tensor, slope: float) -> Tensor:
    """Weights of products (K, S, N, Q); a temperature of each query token comes as (K, N, Q, 1)."""
    if isinstance(temperature, Tensor):
        temperature = temperature.squeeze(3).unsqueeze(1)  # (K, 1, N, Q)
    return attention_weights(products, query_axis=3, context_axis=1, temperature=temperature, slope=slope)


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
    products = _products(queries, contexts, None)  # (K, S, N, Q)
    modulated = products if modulation is None else _products(queries, contexts, modulation)
    weights = _weights(modulated, temperature, slope)
    dots = (weights * products).sum(1)  # (K, N, Q)
    gram = (contexts @ contexts.mT).to(weights.dtype)  # (K, S, S)
    squares = (weights * (gram @ weights.flatten(2)).view_as(weights)).sum(1)
    norms = torch.linalg.vector_norm(queries, dim=2, dtype=weights.dtype) * safe_root(squares)
    cosines: Tensor = dots / norms.clamp_min(EPS)
    return cosines
