"""What queries attend to, and alignment vectors W (context - query)^2 of both (sgraf.md 3.4, 3.5; rcar.md 3.3, 3.4).

Queries are words and contexts regions (t2i), or the other way round (i2t). The context is needed in full width
here, so all of it is built; what is saved is copies of queries and contexts for each pair, and passes over the
memory (speed.md 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.layers.attention_tiles import wide_type
from baselines.layers.cross_attention import attention_weights
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
    n_queries, n_tokens, width = queries.shape
    if modulation is None:
        shape = (*queries.shape[:2], *contexts.shape[:2])
        products = (queries.flatten(0, 1) @ contexts.flatten(0, 1).mT).view(shape).movedim(2, 0)
    else:
        shape = (len(contexts), n_queries, n_tokens, contexts.shape[1])
        products = ((queries * modulation).flatten(1, 2) @ contexts.mT).view(shape)
    weights = attention_weights(
        products.to(wide_type(products)),  # (K, N, Q, S)
        query_axis=2,
        context_axis=3,
        temperature=temperature,
        slope=slope,
    )
    attended: Tensor = weights.to(contexts.dtype).flatten(1, 2) @ contexts  # (K, N Q, D)
    return attended.view(len(contexts), n_queries, n_tokens, width)


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
