"""Small RCARs, batches for them, and their scores by naive loops over pairs and query tokens (rcar.md 3.3 - 3.7)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.rcar.model import RCAR, RCARConfig
from benchmark.batches import Codes, ImageBatch, PairBatch
from benchmark.method import DataFacts
from tests.baselines.region_models import SIZES, VOCABULARY, unsettle

LENGTHS = [2, 7, 12, 5, 9, 1, 12, 7]
DIRECTIONS = ["t2i", "i2t"]
SETTINGS = [
    ("none", 1),
    ("rcr", 1),
    ("rcr", 3),
    ("rar", 1),
    ("rar", 3),
    ("rcar", 1),
    ("rcar", 2),
    ("rcar", 3),
]


def tiny_config(direction: str, regulator: str, steps: int, **changes: Any) -> RCARConfig:
    settings = {"direction": direction, "regulator": regulator, "steps": steps, **SIZES, **changes}
    return RCARConfig.model_validate(settings)


def tiny_rcar(
    direction: str, regulator: str, steps: int, seed: int = 0, gain: float = 1.0, **changes: Any
) -> RCAR:
    """A tiny model in eval mode, biases and statistics not at their initial values; `gain`: of RCR's weights."""
    torch.manual_seed(seed)
    config = tiny_config(direction, regulator, steps, **changes)
    model = RCAR(config, DataFacts(vocab_size=VOCABULARY)).eval()
    unsettle(model)
    for name, tensor in model.state_dict().items():
        if name.startswith("correspondences."):
            tensor.mul_(gain)
    return model


def in_double(batch: PairBatch) -> PairBatch:
    return PairBatch(ImageBatch(batch.images.pixels.double(), batch.images.index), batch.captions)


# ------------------------------------------------------------------------------------- naive loops


def unit(vector: Tensor) -> Tensor:
    if not bool(vector.any()):
        return vector * 0
    return vector / (vector.square().sum().sqrt() + 1e-8)


class NaivePair:
    """One pair: queries (Q, D), contexts (S, D), and what RCR has made of m (Q, D) and lambda (Q,)."""

    def __init__(
        self, model: nn.Module, config: Any, queries: Tensor, contexts: Tensor, temperature: float
    ) -> None:
        self.model, self.config = model, config
        self.queries, self.contexts = queries, contexts
        self.modulation = torch.ones_like(queries)
        self.temperature = [queries.new_tensor(temperature) for _ in queries]

    def linear(self, name: str, vector: Tensor) -> Tensor:
        layer = self.model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        return layer.weight @ vector + layer.bias

    def attended(self) -> list[Tensor]:
        """The contexts that query tokens attend to, (D,) each."""
        modulated = [m * query for m, query in zip(self.modulation, self.queries, strict=True)]
        rows = []
        for context in self.contexts:  # of each context token, a norm over the query tokens
            products = torch.stack([context @ query for query in modulated])
            rows.append(unit(torch.where(products > 0, products, self.config.negative_slope * products)))
        found = []
        for j in range(len(self.queries)):
            weights = (self.temperature[j] * torch.stack([row[j] for row in rows])).softmax(0)
            found.append(unit(sum(w * c for w, c in zip(weights, self.contexts, strict=True))))
        return found

    def align(self, name: str) -> list[Tensor]:
        """Alignment vectors (Z,), one a query token."""
        both = zip(self.queries, self.attended(), strict=True)
        return [unit(self.linear(f"{name}.projection", (q - c) ** 2)) for q, c in both]

    def regulate(self, name: str, alignment: list[Tensor]) -> None:
        for j, vector in enumerate(alignment):
            step = self.linear(f"{name}.modulation_hidden", vector).tanh()
            step = self.linear(f"{name}.modulation_step", step).tanh()
            rows = list(self.modulation)
            rows[j] = (rows[j] + step).clamp(-1, 1)
            self.modulation = torch.stack(rows)
            hidden = self.linear(f"{name}.temperature_hidden", vector).tanh()
            change = self.linear(f"{name}.temperature_step", hidden)[0]
            self.temperature[j] = (self.temperature[j] + change).relu()

    def gather(self, name: str, alignment: list[Tensor], vector: Tensor) -> Tensor:
        query = self.linear(f"{name}.query", vector).tanh()
        logits = [
            self.linear(f"{name}.score", self.linear(f"{name}.key", a).tanh() * query)[0] for a in alignment
        ]
        weights = torch.stack(logits).softmax(0)
        return unit(sum((w * a for w, a in zip(weights, alignment, strict=True)), torch.zeros_like(vector)))

    def mean_cosine(self) -> Tensor:
        both = list(zip(self.queries, self.attended(), strict=True))
        return torch.stack([q @ c / (q.norm() * c.norm()).clamp_min(1e-8) for q, c in both]).mean()


def naive_score(model: RCAR, regions: Tensor, words: Tensor) -> Tensor:
    """The score of one pair: regions (R, D), words (L, D)."""
    config = model.config
    queries, contexts = (words, regions) if config.direction == "t2i" else (regions, words)
    temperature = (
        {"t2i": 10.0, "i2t": 3.0}[config.direction] if config.temperature is None else config.temperature
    )
    pair = NaivePair(model, config, queries, contexts, temperature)
    if config.regulator in ("none", "rcr"):
        for n in range(config.steps if config.regulator == "rcr" else 0):
            pair.regulate(f"correspondences.{n}", pair.align(f"alignments.{n}"))
        return pair.mean_cosine()
    for n in range(config.steps):
        if n == 0 or config.regulator == "rcar":
            alignment = pair.align(f"alignments.{n}")
        if n == 0:
            vector = torch.stack(alignment).mean(0)
        if config.regulator == "rcar" and n < config.steps - 1:
            pair.regulate(f"correspondences.{n}", alignment)
        vector = pair.gather(f"aggregations.{n}", alignment, vector)
    return pair.linear("score", vector)[0].sigmoid()


def naive_scores(model: RCAR, image_codes: Codes, caption_codes: Codes) -> Tensor:
    lengths = caption_codes["lengths"].tolist()
    rows = [
        torch.stack(
            [naive_score(model, regions, caption_codes["words"][j, :n]) for j, n in enumerate(lengths)]
        )
        for regions in image_codes["regions"]
    ]
    return torch.stack(rows)
