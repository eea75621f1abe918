"""The scores as the published code goes about them, caption by caption (sgraf.md 3.4 - 3.7), with what lies between.

It is the loop that `rematch time` times scoring and training against, and the probe that gives parity its intermediate
values; the model itself does not use it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.attention.cross_attention import attention_weights
from baselines.layers.norms import l1_normalize, l2_normalize
from baselines.sgraf.model import SAF, SGRAF
from benchmark.batches import Codes, TrainingCodes
from benchmark.method import Progress, TripletLoss


def published_scores(model: SGRAF, images: Codes, captions: Codes) -> Tensor:
    """Scores (n, m): each caption is copied once an image and scored alone; batch statistics as in the model's mode."""
    columns = [published_trace(model, images, captions, caption)["score"] for caption in range(len(captions))]
    return torch.stack(columns, dim=1)


def published_objective(
    model: SGRAF,
    codes: TrainingCodes,
    progress: Progress,
    pair_budget: int | None,  # noqa: ARG001
) -> Tensor:
    """The objective with all pairs scored that way, and a gradient through each of them."""
    assert isinstance(progress.loss, TripletLoss)
    statistics = list[Tensor]()
    scores = [
        published_trace(model, codes.images, codes.captions, caption, statistics)["score"]
        for caption in range(len(codes.captions))
    ]
    if statistics:
        codes.extra["head"].copy_(torch.cat(statistics, dim=1))
    return progress.loss(torch.stack(scores, dim=1))


def published_trace(
    model: SGRAF, images: Codes, captions: Codes, caption: int, statistics: list[Tensor] | None = None
) -> dict[str, Tensor]:
    """Compute what golden files record of one caption with all n images, by name (golden/sgraf/README.md).

    `statistics` takes those of SAF's batch norm (2, 1).
    """
    config, regions = model.config, images["regions"]
    length = int(captions["lengths"][caption])
    words = captions["words"][caption, :length].repeat(len(images), 1, 1)  # (n, L, D)
    weights = attention_weights(
        regions @ words.mT,  # (n, R, L)
        query_axis=2,
        context_axis=1,
        temperature=config.temperature,
        slope=config.negative_slope,
    )
    context = l2_normalize(weights.mT @ regions)  # (n, L, D)
    own = captions.rows(slice(caption, caption + 1))
    local = l2_normalize(model.local_similarity((context - words).square()))  # (n, L, m)
    whole = l2_normalize(model.global_branch.compare(images, own).squeeze(1))  # (n, G, m), published: G = 1
    trace = {"context": context, "sim_loc": local, "sim_glo": whole[:, 0]}
    nodes = torch.cat([whole, local], dim=1)  # (n, G + L, m)
    if isinstance(model.head, SAF):
        logits = model.head.attention(nodes).mT  # (n, 1, G + L)
        normalised, own_statistics = model.head.norm(logits, batch_statistics=model.training)
        if statistics is not None:
            statistics.append(own_statistics.detach())
        filters = l1_normalize(normalised.sigmoid())
        trace["saf_weights"] = filters.squeeze(1)
        trace["sim_vec"] = l2_normalize((filters @ nodes).squeeze(1))
    else:
        for number, step in enumerate(model.head.reasoning_steps(), start=1):
            edges = (step.scale * step.query(nodes) @ step.key(nodes).mT).softmax(2)  # (n, G + L, G + L)
            nodes = step.graph(edges @ nodes).relu()
            trace[f"sgr_step{number}"] = nodes
        trace["sim_vec"] = nodes[:, 0]
    trace["score"] = model.score(trace["sim_vec"]).squeeze(1).sigmoid()
    return trace
