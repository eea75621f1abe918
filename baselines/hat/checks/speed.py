"""Cases of `rematch time scoring hat` and `time training hat`, at full size.

Scoring: random tokens, 768 wide, of the three levels (hat.md 3.1); captions of 8 to 20 words, about what is typical
(hat.md 7.1), padded to 32. A CPU scores 32 images x 128 captions, a GPU 1,000 x 5,000. Training: the whole model on
random pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from baselines.attention.cross_attention import attention_scores
from baselines.attention.tiles import Direction, chosen_form
from baselines.hat.model import HAT, HATConfig
from baselines.published.random_pairs import WORD_PIECES, random_pairs
from benchmark.batches import TrainingCodes
from benchmark.method import DataFacts, Progress, ScoringCase, TrainingCase, TripletLoss

LEVELS = (49, 196, 784)
SIZES = {"cpu": (32, 128), "cuda": (1000, 5000)}
WIDTH, PADDED = 768, 32
SHORTEST, LONGEST = 8, 20
TEMPERATURE = 9.0


def scoring_cases(device: torch.device) -> Iterator[ScoringCase]:
    """Every level in both directions, deepest level first."""
    generator = torch.Generator().manual_seed(0)
    n_images, n_captions = SIZES[device.type]
    lengths = torch.randint(SHORTEST, LONGEST + 1, (n_captions,), generator=generator)
    captions = torch.randn(n_captions, PADDED, WIDTH, generator=generator).to(device)
    for regions in LEVELS:
        images = torch.randn(n_images, regions, WIDTH, generator=generator).to(device)
        directions: tuple[Direction, Direction] = ("i2t", "t2i")
        for direction in directions:
            scores = partial(
                attention_scores,
                images,
                captions,
                lengths.to(device),
                direction=direction,
                temperature=TEMPERATURE,
            )
            yield ScoringCase(
                name=f"{direction}, {regions} tokens, {n_images} x {n_captions}",
                form=chosen_form(images, lengths, direction),
                naive=partial(scores, form="naive"),
                fast=scores,
                floor_flops=floor_flops(n_images, regions, lengths.tolist(), WIDTH, direction),
            )


def training_cases(device: torch.device) -> Iterator[TrainingCase]:
    """Both directions, all of the model trained, with the hardest negatives."""
    for direction in ("i2t", "t2i"):
        config = HATConfig.model_validate({"direction": direction})
        side = config.image_size
        yield TrainingCase(
            name=f"HAT {direction}",
            build=partial(HAT, config, DataFacts(vocab_size=WORD_PIECES)),
            batch=partial(
                random_pairs,
                device=device,
                image=(3, side, side),
                lengths=(SHORTEST, LONGEST),
                vocabulary=WORD_PIECES,
            ),
            published=published_objective,
        )


def published_objective(
    model: HAT,
    codes: TrainingCodes,
    progress: Progress,
    pair_budget: int | None,  # noqa: ARG001
) -> Tensor:
    """The objective with all pairs scored by the published loop over captions, and a gradient through each of them."""
    assert isinstance(progress.loss, TripletLoss)
    return progress.loss(torch.stack(model.level_scores(codes.images, codes.captions, form="naive")).sum(0))


def floor_flops(n_images: int, regions: int, lengths: list[int], width: int, direction: Direction) -> float:
    """FLOPs of the products between all real tokens, and of the cheaper way to the norms of the contexts.

    That is one product as wide as the tokens, or, of Gram matrices, the half that symmetry leaves (speed.md 3, 5).
    """
    words = sum(lengths)
    products = 2.0 * n_images * regions * words * width
    if direction == "i2t":
        gram = sum(n * (n + 1) for n in lengths) * (n_images * regions + width)
    else:
        gram = n_images * regions * (regions + 1) * (words + width)
    return products + min(products, gram)
