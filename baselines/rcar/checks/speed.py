"""Cases of `rematch time scoring rcar` and `time training rcar`, beside the published loop over captions.

36 regions, 1024 wide, alignment vectors of 256; captions of 6 to 20 words, 13 on average. A CPU scores 50 images
x 250 captions of random codes, a GPU 1,000 x 5,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch.nn import functional as F

from baselines.published.random_pairs import VOCABULARY, random_pairs
from baselines.rcar.checks.published import published_objective, published_scores
from baselines.rcar.model import RCAR, RCARConfig
from benchmark.batches import Codes
from benchmark.method import DataFacts, ScoringCase, TrainingCase

SIZES = {"cpu": (50, 250), "cuda": (1000, 5000)}
SHORTEST, LONGEST = 6, 20
TITLES = {"none": "BASELINE", "rcar": "RCAR"}


def scoring_cases(device: torch.device) -> Iterator[ScoringCase]:
    """BASELINE, and RCAR with its published two steps, in both directions."""
    n_images, n_captions = SIZES[device.type]
    for regulator, title in TITLES.items():
        for direction in ("t2i", "i2t"):
            config = RCARConfig.model_validate({"direction": direction, "regulator": regulator})
            torch.manual_seed(0)
            model = RCAR(config, DataFacts(vocab_size=1)).to(device).eval()
            images, captions = _random_codes(config, n_images, n_captions, device)
            yield ScoringCase(
                name=f"{title} {direction}, {n_images} x {n_captions}",
                form="gram" if regulator == "none" else "by length",
                naive=partial(published_scores, model, images, captions),
                fast=partial(model.similarity, images, captions),
                floor_flops=n_images * sum(floor_flops(config, n) for n in captions["lengths"].tolist()),
            )


def training_cases(device: torch.device) -> Iterator[TrainingCase]:
    """Yield RCAR with its published two steps, in both directions, with the hardest negatives."""
    for direction in ("i2t", "t2i"):
        config = RCARConfig.model_validate({"direction": direction, "regulator": "rcar"})
        yield TrainingCase(
            name=f"RCAR(2) {direction}",
            build=partial(RCAR, config, DataFacts(vocab_size=VOCABULARY)),
            batch=partial(random_pairs, device=device),
            published=published_objective,
        )


def _random_codes(
    config: RCARConfig, n_images: int, n_captions: int, device: torch.device
) -> tuple[Codes, Codes]:
    generator = torch.Generator().manual_seed(0)
    regions = torch.randn(n_images, config.regions, config.dim, generator=generator)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (n_captions,), generator=generator)
    words = F.normalize(torch.randn(n_captions, LONGEST, config.dim, generator=generator), dim=2)
    words[torch.arange(LONGEST) >= lengths[:, None]] = 0
    images = Codes({"regions": F.normalize(regions, dim=2)})
    return images.to(device), Codes({"words": words, "lengths": lengths}).to(device)


def floor_flops(config: RCARConfig, length: int) -> float:
    """FLOPs of the products of one pair that no algebra removes (speed.md 4, 5), 2 for each multiplication.

    A pass of attention: products of the tokens, and contexts of full width; the pass that only cosines are taken of
    needs quadratic forms of the Gram matrix instead (speed.md 3), of which symmetry leaves half. Alignment vector:
    one linear layer for each query token. RCR: the two layers of the modulation, the two of the temperature. RAR:
    a layer for each query token, one for the vector, the logits and the weighted sum.
    """
    t2i = config.direction == "t2i"
    queries, contexts = (length, config.regions) if t2i else (config.regions, length)
    dim, sim_dim, counts = config.dim, config.sim_dim, config.counts
    tokens = queries * contexts * dim
    alignment = queries * dim * sim_dim
    correspondence = queries * (2 * sim_dim**2 + 2 * sim_dim * dim + (sim_dim + 1) * (sim_dim // 2))
    aggregation = queries * (sim_dim**2 + 2 * sim_dim) + sim_dim**2
    products = counts["alignments"] * (2 * tokens + alignment)
    products += counts["correspondences"] * correspondence + counts["aggregations"] * aggregation
    if not counts["aggregations"]:
        products += tokens + min(tokens, queries * contexts * (contexts + 1) // 2)
    return 2.0 * products
