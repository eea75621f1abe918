"""Linear layers with their activation: the same numbers with and without gradient, by oneDNN and without it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from baselines.layers import dense as layer
from baselines.layers.dense import Activation, dense, dense_rows

ACTIVATIONS: dict[Activation, object] = {
    "none": lambda values: values,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def parts(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 5, 16, generator=generator, dtype=dtype)
    weight = torch.randn(8, 16, generator=generator, dtype=dtype) / 4
    return inputs, weight, torch.randn(8, generator=generator, dtype=dtype)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("worth", [0, 2**23])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_the_activation_of_a_linear_layer(
    activation: Activation, worth: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "WORTH", worth)
    inputs, weight, bias = parts(dtype)
    exact = inputs.double() @ weight.double().T
    for own in (bias, None):
        sums = exact if own is None else exact + own.double()
        expected = ACTIVATIONS[activation](sums).to(dtype)  # type: ignore[operator]
        for gradient in (True, False):
            with torch.set_grad_enabled(gradient):
                found = dense(inputs, weight.requires_grad_(gradient), own, activation)
            assert found.requires_grad == gradient
            torch.testing.assert_close(found.detach(), expected, atol=2e-6, rtol=0)


def test_what_is_worth_it_goes_through_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def fused(inputs: Tensor, weight: Tensor, bias: Tensor | None, activation: str, *_: object) -> Tensor:
        calls.append(activation)
        return torch.nn.functional.linear(inputs, weight, bias)

    monkeypatch.setattr(layer, "_FUSED", fused)
    monkeypatch.setattr(layer, "WORTH", 3 * 5 * 16 * 8)
    inputs, weight, bias = parts()
    with torch.no_grad():
        dense(inputs, weight, bias, "relu")
        dense(inputs[:2], weight, bias)  # too small
        dense(inputs.double(), weight.double(), bias.double())
        with torch.autocast("cpu", torch.bfloat16):
            assert dense(inputs, weight, bias).dtype == torch.bfloat16
    dense(inputs, weight, bias)
    assert calls == ["relu"]


def test_the_activation_is_taken_in_the_type_of_the_result() -> None:
    inputs, weight, bias = parts()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = dense(inputs, weight, bias, "sigmoid", torch.float32)
        product = torch.nn.functional.linear(inputs, weight, bias)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, product.float().sigmoid())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_rows_are_the_same_on_every_processor(
    activation: Activation, wide: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "WIDE_VECTORS", wide)
    inputs, weight, bias = parts(dtype)
    sums = inputs.double() @ weight.double().T + bias.double()
    for scale in (1, 2):
        expected = ACTIVATIONS[activation](scale * sums).to(dtype)  # type: ignore[operator]
        for gradient in (True, False):
            with torch.set_grad_enabled(gradient):
                found = dense_rows(inputs, weight, bias, activation, scale=scale)
            torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
        out = torch.full((3, 5, 8), torch.nan, dtype=dtype)
        with torch.no_grad():
            found = dense_rows(inputs, weight, bias, activation, scale=scale, out=out)
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
        assert (found.data_ptr() == out.data_ptr()) == (not wide and dtype == torch.float32)
