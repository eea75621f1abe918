"""Groups of `rematch study temde-latency`: hosts and T-EMDE on the same tensors, in the same blocks (temde.md 10).

(a) the global vectors alone, (b) a training step, (c) scoring, (d) how (a) grows with the number of vectors of a set,
also beside an attention from each of them to each. Models are full-size, with random weights and inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.norms import l2_normalize, xavier_linear
from baselines.layers.self_attention_pooling import SelfAttentionPooling
from baselines.published.random_pairs import VOCABULARY, random_pairs
from baselines.sgraf.model import SGRAF
from baselines.temde.build import build_temde
from baselines.temde.model import TEMDEConfig
from baselines.temde.sketch import Sketch, SketchConfig
from benchmark.batches import PairBatch
from benchmark.method import DataFacts, Progress, TimingGroup, TripletLoss

SKETCHES = {"T-EMDE 8 x 128": SketchConfig(), "T-EMDE 8 x 64": SketchConfig(width=64)}
"""The default of temde.md 3.3, whose cost is near the host's (temde.md 3.5), and one with half of the cells."""
Host = Literal["SAF", "SGR"]
HOSTS: tuple[Host, ...] = ("SAF", "SGR")


@dataclass(frozen=True)
class Sizes:
    """Sizes of everything that is timed; the study uses the defaults."""

    items: int = 100
    """Images, and captions, of (a) and (c)."""
    batch: int = 32
    """Pairs of a training step; on a GPU the published 128."""
    sets: int = 16
    """Sets of vectors of (d)."""
    tokens: tuple[int, ...] = (36, 72, 144, 288, 576)
    """Vectors of a set of (d)."""
    shortest: int = 6
    longest: int = 20
    """Words of a caption."""
    vocabulary: int = VOCABULARY
    region_dim: int = 2048
    dim: int = 1024
    sim_dim: int = 256


def timing_groups(device: torch.device) -> Iterator[TimingGroup]:
    """The groups of the study, at full size."""
    return make_groups(Sizes(batch=128) if device.type == "cuda" else Sizes(), device)


def make_groups(sizes: Sizes, device: torch.device) -> Iterator[TimingGroup]:
    """The groups (a), (b), (c) for both hosts, and (d)."""
    sides = f"{sizes.items} images and {sizes.items} captions"
    yield TimingGroup(f"(a) global vectors of {sides}", None, _vectors(sizes, device))
    for host in HOSTS:
        calls = {name: _training_step(model, sizes) for name, model in _models(host, sizes, device).items()}
        yield TimingGroup(f"(b) a training step of {sizes.batch} pairs, {host}", None, calls)
    for host in HOSTS:
        calls = {name: _scoring(model, sizes) for name, model in _models(host, sizes, device).items()}
        yield TimingGroup(f"(c) scores of {sizes.items} x {sizes.items}, {host}", None, calls)
    for tokens in sizes.tokens:
        task = f"(d) global vectors of {sizes.sets} sets, by number of vectors in a set"
        yield TimingGroup(task, tokens, _growth(sizes, tokens, device))


def _models(host: Host, sizes: Sizes, device: torch.device) -> dict[str, SGRAF]:
    """The host and the host with sketches, drawn from one seed."""
    made = {}
    widths = {"region_dim": sizes.region_dim, "dim": sizes.dim, "sim_dim": sizes.sim_dim}
    common: dict[str, object] = {"module": host, **widths}
    changes: dict[str, dict[str, object]] = {name: {"sketch": sketch} for name, sketch in SKETCHES.items()}
    for name, change in ({host: {"global_branch": "self_attention"}} | changes).items():
        torch.manual_seed(0)
        config = TEMDEConfig.model_validate(common | change)
        made[name] = build_temde(config, DataFacts(vocab_size=sizes.vocabulary)).to(device)
    return made


def _pairs(count: int, sizes: Sizes, device: torch.device) -> PairBatch:
    return random_pairs(
        count,
        device,
        image=(36, sizes.region_dim),
        lengths=(sizes.shortest, sizes.longest),
        vocabulary=sizes.vocabulary,
    )


def _vectors(sizes: Sizes, device: torch.device) -> dict[str, Callable[[], object]]:
    """(a): encoded regions and words are there; the branches alone are run."""
    host, *others = _models("SAF", sizes, device).items()  # SGR's branch is the same
    pairs = _pairs(sizes.items, sizes, device)
    with torch.no_grad():
        regions = host[1].eval().encode_images(pairs.images)["regions"]
        words = host[1].encode_captions(pairs.captions)["words"]
    padding = torch.arange(words.shape[1], device=device) >= pairs.captions.lengths[:, None]

    @torch.no_grad()
    def run(model: SGRAF) -> None:
        model.global_branch.encode_images(regions, batch_statistics=False)
        model.global_branch.encode_captions(words, padding)

    models = {"self-attention": host[1], **dict(others)}
    return {name: partial(run, model.eval()) for name, model in models.items()}


def _training_step(model: SGRAF, sizes: Sizes) -> Callable[[], object]:
    """(b): forward, backward, clipping, Adam; dropout and batch statistics included."""
    pairs = _pairs(sizes.batch, sizes, model.score.weight.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)
    model.train()

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        codes = model.training_codes(pairs)
        torch.autograd.backward(model.objective(codes, Progress(0, 0, 0, TripletLoss()), None))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        model.after_step(codes)

    return run


def _scoring(model: SGRAF, sizes: Sizes) -> Callable[[], object]:
    """(c): codes are there, global vectors too; each image with each caption."""
    pairs = _pairs(sizes.items, sizes, model.score.weight.device)
    model.eval()
    with torch.no_grad():
        images, captions = model.encode_images(pairs.images), model.encode_captions(pairs.captions)

    @torch.no_grad()
    def run() -> Tensor:
        return model.similarity(images, captions)

    return run


class TokenAttention(nn.Module):
    """Attention from each vector of a set to each, then their mean: the quadratic cost that linear ones are held to."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key = xavier_linear(dim, dim), xavier_linear(dim, dim)

    def forward(self, vectors: Tensor) -> Tensor:
        """One vector (B, D) of each set (B, T, D)."""
        products = self.query(vectors) @ self.key(vectors).mT  # (B, T, T)
        weights = (products * vectors.shape[2] ** -0.5).softmax(2)
        return l2_normalize((weights @ vectors).mean(1))


def _growth(sizes: Sizes, tokens: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """(d): sets of `tokens` unit vectors."""
    draw = torch.Generator().manual_seed(2)
    vectors = F.normalize(torch.randn(sizes.sets, tokens, sizes.dim, generator=draw), dim=2).to(device)
    torch.manual_seed(0)
    modules: dict[str, nn.Module] = {
        "pooled self-attention": SelfAttentionPooling(sizes.dim, tokens=tokens, dropout=0.4),
        "token-to-token attention": TokenAttention(sizes.dim),
        **{name: Sketch(sketch, sizes.dim, bias=True) for name, sketch in SKETCHES.items()},
    }

    @torch.no_grad()
    def run(module: nn.Module) -> None:
        module(vectors)

    return {name: partial(run, module.to(device).eval()) for name, module in modules.items()}
