"""Parity of SAF and SGR: mistakes that tests/golden/sgraf/README.md names fail."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from baselines.sgraf.checks.parity import parity_cases
from tests.baselines.golden_files import failed

GOLDEN = Path("tests/golden/sgraf")


MISTAKES: dict[str, tuple[float, str]] = {
    "ReLU for leaky ReLU": (0.0, "query"),
    "no norm over the words": (0.1, "none"),
    "a norm over the regions": (0.1, "context"),
}


@pytest.mark.parametrize("name", ["saf_base.npz", "sgr_base.npz"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_attention_fails(name: str, mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    negative_slope, norm = MISTAKES[mistake]

    def weights(
        products: Tensor,
        *,
        query_axis: int,
        context_axis: int,
        temperature: float,
        slope: float,
        padding: Tensor | None,
    ) -> Tensor:
        assert slope == 0.1
        assert padding is None  # regions have none
        activations = torch.nn.functional.leaky_relu(products, negative_slope)
        if norm != "none":
            axis = query_axis if norm == "query" else context_axis
            activations = activations / (activations.norm(dim=axis, keepdim=True) + 1e-8)
        return (temperature * activations).softmax(context_axis)

    monkeypatch.setattr("baselines.attention.alignment.attention_weights", weights)
    names = failed(parity_cases(GOLDEN / name))
    assert {"outputs/eval/sims", "outputs/train/sims"} <= names
    assert "outputs/eval/img_emb" not in names
