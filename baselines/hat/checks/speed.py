"""Cases that `rematch time scoring hat` times: the scores of each level at full size, 32 images x 128 captions.

Random tokens, 768 wide, of the three levels (hat.md 3.1); captions of 8 to 20 words, about what is typical
(hat.md 7.1), padded to 32.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from baselines.attention.cross_attention import attention_scores
from baselines.attention.tiles import Direction, chosen_form
from benchmark.method import ScoringCase

LEVELS = (49, 196, 784)
IMAGES, CAPTIONS, WIDTH, PADDED = 32, 128, 768, 32
SHORTEST, LONGEST = 8, 20
TEMPERATURE = 9.0


def scoring_cases(device: torch.device) -> Iterator[ScoringCase]:
    """Every level in both directions, deepest level first."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (CAPTIONS,), generator=generator)
    captions = torch.randn(CAPTIONS, PADDED, WIDTH, generator=generator).to(device)
    for regions in LEVELS:
        images = torch.randn(IMAGES, regions, WIDTH, generator=generator).to(device)
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
                name=f"{direction}, {regions} tokens",
                form=chosen_form(images, lengths, direction),
                naive=partial(scores, form="naive"),
                fast=scores,
                floor_flops=floor_flops(IMAGES, regions, lengths.tolist(), WIDTH, direction),
            )


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
