"""Parity of RCAR: mistakes that tests/golden/rcar/README.md names fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from baselines.attention.cross_attention import attention_weights
from baselines.attention.regulators import CorrespondenceRegulator, Focus
from baselines.rcar.checks.parity import SIGNED, parity_cases
from tests.baselines.golden_files import failed, golden_cases, load

GOLDEN = Path("tests/golden/rcar")


MODELS = sorted(path.name for path in GOLDEN.glob("?2?_*.npz"))


def test_few_stepped_weights_are_left_out() -> None:
    """Those with a gradient too small to have a sign; everything else of a stepped weight is compared."""
    for name in MODELS:
        arrays, compared = load(f"rcar/{name}"), []
        for key in (case.name.removeprefix("after_step/") for case in golden_cases(f"rcar/{name}")):
            if f"after_step/{key}" in arrays and f"grads/{key}" in arrays:
                size = np.abs(arrays[f"grads/{key}"])
                compared.append(((size == 0) | (size > SIGNED)).ravel())
                assert compared[-1].mean() > 0.1, (name, key)
        assert np.concatenate(compared).mean() > 0.85, name


@pytest.mark.parametrize("name", ["i2t_rcar3_saturated.npz", "t2i_rcr4_saturated.npz"])
@pytest.mark.parametrize("mistake", ["no clamp", "not accumulated", "no relu", "one for all positions"])
def test_a_mistake_in_the_regulator_fails(name: str, mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = CorrespondenceRegulator.forward

    def forward(self: CorrespondenceRegulator, alignment: Tensor, focus: Focus) -> Focus:
        if mistake == "not accumulated":
            return right(self, alignment, Focus(None, focus.temperature))
        if mistake == "one for all positions":
            found = right(self, alignment, focus)
            assert found.modulation is not None
            return Focus(
                found.modulation.mean(2, keepdim=True).expand_as(found.modulation), found.temperature
            )
        step = self.modulation_step(self.modulation_hidden(alignment).tanh()).tanh()
        change = self.temperature_step(self.temperature_hidden(alignment).tanh())
        sums = step + (1.0 if focus.modulation is None else focus.modulation), focus.temperature + change
        return (
            Focus(sums[0], sums[1].relu()) if mistake == "no clamp" else Focus(sums[0].clamp(-1, 1), sums[1])
        )

    monkeypatch.setattr(CorrespondenceRegulator, "forward", forward)
    names = failed(parity_cases(GOLDEN / name))
    assert names & {"outputs/eval/sims", "outputs/train/sims_forward"}, names
    assert "outputs/eval/img_emb" not in names


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_a_mistake_in_the_attention_fails(slope: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(products: Tensor, **settings: Any) -> Tensor:
        return attention_weights(products, **{**settings, "slope": slope})

    monkeypatch.setattr("baselines.attention.alignment.attention_weights", weights)
    for name in ("t2i_rcar2.npz", "i2t_rcr2.npz"):
        assert {"outputs/eval/sims", "outputs/train/sims_forward"} <= failed(parity_cases(GOLDEN / name))
