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
    shape = (*words.shape[:2], *regions.shape[:2])
    products = words.flatten(0, 1) @ regions.flatten(0, 1).mT  # (C L, n R)
    weights = attention_weights(
        products.to(wide_type(products)).view(shape),
        query_axis=1,
        context_axis=3,
        temperature=temperature,
        slope=slope,
    )  # (C, L, n, R)
    contexts: Tensor = weights.to(regions.dtype).flatten(0, 1).transpose(0, 1) @ regions  # (n, C L, D)
    return contexts.view(len(regions), *words.shape)


def squared_differences(contexts: Tensor, queries: Tensor) -> Tensor:
    """(context / |context| - query)^2 (n, C, L, D) of contexts (n, C, L, D) and queries (C, L, D), elementwise."""
    norms = torch.linalg.vector_norm(contexts, dim=-1, keepdim=True, dtype=wide_type(contexts))
    scale = (norms + EPS).reciprocal()
    if torch.is_grad_enabled():
        return torch.addcmul(queries, contexts, scale, value=-1).square()
    return torch.addcmul(
        queries, contexts, scale, value=-1, out=contexts
    ).square_()  # a fresh array is dearer
