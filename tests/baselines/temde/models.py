"""Small sketches and T-EMDE models, and their numbers by naive loops (temde.md 3.3, 3.4)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from baselines.sgraf.model import SGRAF
from baselines.temde.branch import SketchBranch
from baselines.temde.build import build_temde
from baselines.temde.model import TEMDEConfig
from baselines.temde.sketch import Sketch, SketchConfig
from benchmark.method import DataFacts
from tests.baselines.region_models import VOCABULARY
from tests.baselines.sgraf.models import tiny_config

DIM = 6
ANNEALED: dict[str, Any] = {
    "temperature_rule": "annealed",
    "temperature": 2.0,
    "final_temperature": 0.5,
    "anneal_steps": 10,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "deep": {"depth": 7, "width": 2},
    "wide": {"depth": 1, "width": 9},
    "hyperplane": {"assignment": "hyperplane", "width": 8},
    "one hyperplane": {"assignment": "hyperplane", "width": 2, "temperature": 0.3},
    "distance": {"logit": "distance"},
    "sharp distance": {"logit": "distance", "temperature": 0.2},
    "temperature": {"temperature": 0.25},
    "learned": {"temperature_rule": "learned", "temperature": 0.7},
    "annealed": ANNEALED,
    "l2 rows": {"rows": "l2"},
    "sums": {"rows": "sum"},
    "no final l2": {"final_l2": False},
    "sums as they are": {"rows": "sum", "final_l2": False},
    "projection": {"output_projection": True},
    "transform": {"input_transform": True},
    "much": {"assignment": "hyperplane", "rows": "l2", "output_projection": True, "input_transform": True},
}
"""Settings of the sketch itself, for tests of each; `hard` apart, whose gradient is another's."""


def tiny_sketch(seed: int = 0, dim: int = DIM, **settings: Any) -> Sketch:
    """A sketch in float64 and evaluation mode, 3 x 4 cells, whose biases are not at their initial values."""
    torch.manual_seed(seed)
    sketch = Sketch(SketchConfig.model_validate({"depth": 3, "width": 4, **settings}), dim).double().eval()
    with torch.no_grad():
        for name, parameter in sketch.named_parameters():
            if name.endswith("bias"):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return sketch


def tokens(*shape: int, seed: int = 1) -> Tensor:
    """Unit vectors in float64."""
    generator = torch.Generator().manual_seed(seed)
    return unit_rows(torch.randn(*shape, generator=generator, dtype=torch.float64))


def unit_rows(vectors: Tensor) -> Tensor:
    return vectors / vectors.square().sum(-1, keepdim=True).sqrt()


def tiny_temde(module: str, seed: int = 0, *, sketch: dict[str, Any] | None = None, **changes: Any) -> SGRAF:
    """A tiny model in evaluation mode, 16 wide with a sketch of 4 x 4 unless `sketch` says otherwise."""
    torch.manual_seed(seed)
    settings = tiny_config(module).model_dump() | changes
    settings.setdefault("sketch", {"depth": 4, "width": 4, **(sketch or {})})
    model = build_temde(TEMDEConfig.model_validate(settings), DataFacts(vocab_size=VOCABULARY)).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                tensor.add_(0.2 * torch.randn_like(tensor))
    return model


def branch_of(model: SGRAF) -> SketchBranch:
    assert isinstance(model.global_branch, SketchBranch)
    return model.global_branch


# ------------------------------------------------------------------------------------- naive loops


def unit(vector: Tensor) -> Tensor:
    return vector / (vector.square().sum().sqrt() + 1e-8)


def naive_shares(sketch: Sketch, vector: Tensor) -> Tensor:
    """How one vector (D,) is shared out (N, K), number by number."""
    config = sketch.config
    if sketch.transform is not None:
        vector = (sketch.transform.weight @ vector + sketch.transform.bias).tanh()
    temperature = config.temperature
    if config.temperature_rule != "fixed":
        temperature = math.exp(sketch.log_temperature.item())
    rows = []
    for n in range(config.depth):
        if config.assignment == "hyperplane":
            rows.append(_naive_hyperplanes(sketch, vector, n, temperature))
            continue
        logits = []
        for k in range(config.width):
            codeword, bias = sketch.weight[n * config.width + k], sketch.bias[n * config.width + k]
            match = -((vector - codeword) ** 2).sum() if config.logit == "distance" else codeword @ vector
            logits.append((match + bias) / temperature)
        powers = torch.stack(logits).exp()
        soft = powers / powers.sum()
        if config.assignment == "hard":
            best = max(range(config.width), key=lambda k: logits[k].item())
            soft = torch.stack(
                [(powers[k] * 0 + 1) if k == best else powers[k] * 0 for k in range(config.width)]
            )
        rows.append(soft)
    return torch.stack(rows)


def _naive_hyperplanes(sketch: Sketch, vector: Tensor, n: int, temperature: float) -> Tensor:
    """Every side of every hyperplane; the first hyperplane is the most significant bit of the part's number."""
    planes = sketch.config.width.bit_length() - 1
    over = []
    for h in range(planes):
        row = n * planes + h
        over.append(1 / (1 + (-(sketch.weight[row] @ vector + sketch.bias[row]) / temperature).exp()))
    parts = []
    for bits in itertools.product((0, 1), repeat=planes):  # in the order of the numbers that they write
        share = torch.ones((), dtype=vector.dtype)
        for p, bit in zip(over, bits, strict=True):
            share = share * (p if bit else 1 - p)
        parts.append(share)
    return torch.stack(parts)


def naive_histogram(sketch: Sketch, vectors: Tensor) -> Tensor:
    """S (N, K) of one set (T, D)."""
    total = sum((naive_shares(sketch, vector) for vector in vectors), torch.zeros(()))
    assert isinstance(total, Tensor)
    if sketch.config.rows == "mean":
        return total / len(vectors)
    if sketch.config.rows == "l2":
        return torch.stack([row / (row.square().sum().sqrt() + 1e-6) for row in total])
    return total


def naive_vector(sketch: Sketch, vectors: Tensor) -> Tensor:
    """The vector of one set (T, D), without dropout."""
    vector = naive_histogram(sketch, vectors).flatten()
    if sketch.config.final_l2:
        vector = unit(vector)
    if sketch.projection is not None:
        vector = sketch.projection.weight @ vector + sketch.projection.bias
    return vector


def naive_comparison(kind: str, image: Tensor, caption: Tensor) -> Tensor:
    """The vector that the linear layer of a global node reads."""
    return {
        "squared_difference": (image - caption) ** 2,
        "product": image * caption,
        "absolute_difference": (image - caption).abs(),
        "concatenation": torch.cat([image, caption]),
    }[kind]
