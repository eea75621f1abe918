"""Alignment vectors: queries beside what they attend to, W (context - query)^2, normalised (sgraf.md 3.4, 3.5).

The context is needed in full width here, so all of it is built; what is saved is copies of queries and contexts
for each pair, and passes over the memory (speed.md 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.layers.attention_tiles import wide_type
from baselines.layers.cross_attention import attention_weights
from baselines.layers.norms import EPS


def word_contexts(regions: Tensor, words: Tensor, *, temperature: float, slope: float) -> Tensor:
    """What each word attends to in each image, (n, C, L, D), not normalised.

    `regions`: (n, R, D); `words`: (C, L, D) of C captions that have L words each, without padding.
    """
    products = regions @ words.flatten(0, 1).mT  # (n, R, C L)
    shape = (len(regions), regions.shape[1], *words.shape[:2])
    products = products.to(wide_type(products)).view(shape)  # (n, R, C, L)
    weights = attention_weights(
        products, query_axis=3, context_axis=1, temperature=temperature, slope=slope
    )  # (n, R, C, L)
    # a copy in reading order makes the product faster than its price
    contexts: Tensor = weights.flatten(2).mT.contiguous().to(regions.dtype) @ regions  # (n, C L, D)
    return contexts.view(len(regions), *words.shape)


def squared_differences(contexts: Tensor, queries: Tensor) -> Tensor:
    """(context / |context| - query)^2 (n, C, L, D) of contexts (n, C, L, D) and queries (C, L, D), elementwise."""
    norms = torch.linalg.vector_norm(contexts, dim=-1, keepdim=True, dtype=wide_type(contexts))
    scale = (norms + EPS).reciprocal()
    if torch.is_grad_enabled():
        return torch.addcmul(-queries, contexts, scale).square()
    return torch.addcmul(
        -queries, contexts, scale, out=contexts
    ).square_()  # a fresh array costs more than the sum
