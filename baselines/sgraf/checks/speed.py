"""Cases of `rematch time scoring sgraf` and `time training sgraf`, beside the published loop over captions.

36 regions, 1024 wide, similarity vectors of 256; captions of 6 to 20 words, 13 on average. A CPU scores 50 images
x 250 captions of random codes, a GPU 1,000 x 5,000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.published.random_pairs import VOCABULARY, random_pairs
from baselines.sgraf.checks.published import published_objective, published_scores
from baselines.sgraf.model import SGRAF, SGRAFConfig
from benchmark.batches import Codes
from benchmark.method import DataFacts, ScoringCase, TrainingCase

SIZES = {"cpu": (50, 250), "cuda": (1000, 5000)}
SHORTEST, LONGEST = 6, 20


def scoring_cases(device: torch.device) -> Iterator[ScoringCase]:
    """Yield the cases of both modules."""
    return make_cases(full_size, device)


def training_cases(device: torch.device) -> Iterator[TrainingCase]:
    """Yield the cases of both modules, with the hardest negatives."""
    return make_training_cases(full_size, device)


def full_size(module: str, vocabulary: int) -> SGRAF:
    """Build the published SAF or SGR."""
    return SGRAF(SGRAFConfig.model_validate({"module": module}), DataFacts(vocab_size=vocabulary))


def make_training_cases(build: Callable[[str, int], SGRAF], device: torch.device) -> Iterator[TrainingCase]:
    """A case for each module, with the full-size model that `build` makes of its name and a vocabulary's size."""
    for module in ("SAF", "SGR"):
        yield TrainingCase(
            name=module,
            build=partial(build, module, VOCABULARY),
            batch=partial(random_pairs, device=device),
            published=published_objective,
        )


def make_cases(build: Callable[[str, int], SGRAF], device: torch.device) -> Iterator[ScoringCase]:
    """A case for each module, with the full-size model that `build` makes of its name and a vocabulary's size."""
    n_images, n_captions = SIZES[device.type]
    for module in ("SAF", "SGR"):
        torch.manual_seed(0)
        model = build(module, 1).to(device).eval()
        config = model.config
        images, captions = _random_codes(config, n_images, n_captions, device)
        lengths = captions["lengths"].tolist()
        yield ScoringCase(
            name=f"{module}, {n_images} x {n_captions}",
            form="by length",
            naive=partial(published_scores, model, images, captions),
            fast=partial(model.similarity, images, captions),
            floor_flops=n_images * sum(floor_flops(config, length) for length in lengths),
        )


def _random_codes(
    config: SGRAFConfig, n_images: int, n_captions: int, device: torch.device
) -> tuple[Codes, Codes]:
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> Tensor:
        return F.normalize(torch.randn(*shape, config.dim, generator=generator), dim=-1).to(device)

    images = Codes({"regions": unit(n_images, config.regions), "global": unit(n_images)})
    lengths = torch.randint(SHORTEST, LONGEST + 1, (n_captions,), generator=generator).to(device)
    padding = torch.arange(LONGEST, device=device) >= lengths[:, None]
    words = unit(n_captions, LONGEST).masked_fill(padding[..., None], 0)
    return images, Codes({"words": words, "global": unit(n_captions), "lengths": lengths})


def floor_flops(config: SGRAFConfig, length: int) -> float:
    """FLOPs of the products of one pair that no algebra removes (speed.md 4, 5), 2 for each multiplication.

    Attention: the products of words and regions, and the contexts. Alignment: one linear layer for each node. SAF: a
    dot product and a weighted sum. SGR: a step has query and key map merged, edges, what is read along them, and the
    graph's map; the last step has one reader.
    """
    nodes, width = length + 1, config.sim_dim
    attention = 2 * config.regions * length * config.dim
    alignment = nodes * config.dim * width
    if config.module == "SAF":
        return 2.0 * (attention + alignment + 2 * nodes * width)
    readers = (config.sgr_steps - 1) * nodes + 1
    return 2.0 * (attention + alignment + readers * (2 * width**2 + 2 * nodes * width))
