"""The sketch: the invariants of temde.md 11, by their numbers; 11 is in test_temde_model.py."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from baselines.layers.norms import l2_normalize
from baselines.sgraf.global_branch import SelfAttentionBranch
from baselines.temde.branch import SketchBranch
from baselines.temde.sketch import Sketch, SketchConfig
from benchmark.batches import Codes
from tests.baselines.temde.models import DIM, OPTIONS, tiny_sketch, tokens, unit_rows

CASES = [pytest.param(settings, id=name) for name, settings in OPTIONS.items()]


def filled(padding_of: list[int], width: int, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Sets of so many vectors with other numbers behind them, (B, width, D), and where those are."""
    places = torch.arange(width) >= torch.tensor(padding_of)[:, None]
    return tokens(len(padding_of), width, DIM, seed=seed), places


def test_1_rows_are_distributions_and_norms_are_bounded() -> None:
    sketch = tiny_sketch()
    cells = sketch.histogram(4 * tokens(5, 7, DIM))
    torch.testing.assert_close(cells.sum(2), torch.ones(5, 3, dtype=torch.float64))
    assert cells.min() >= 0
    assert cells.max() <= 1
    norms = cells.flatten(1).norm(dim=1)
    assert norms.min() >= math.sqrt(3 / 4) - 1e-12
    assert norms.max() <= math.sqrt(3) + 1e-12
    unit_norms = sketch(tokens(5, 7, DIM)).norm(dim=1)
    torch.testing.assert_close(unit_norms, torch.ones_like(unit_norms), atol=1e-6, rtol=0)


def test_2_neither_order_nor_repetition_matter() -> None:
    sketch, vectors = tiny_sketch(), tokens(2, 5, DIM)
    shuffled = vectors[:, torch.tensor([3, 0, 4, 1, 2])]
    torch.testing.assert_close(sketch(shuffled), sketch(vectors), atol=1e-14, rtol=0)
    torch.testing.assert_close(sketch(vectors.repeat(1, 3, 1)), sketch(vectors), atol=1e-14, rtol=0)


def test_3_unions_are_weighted_means() -> None:
    sketch, one, other = tiny_sketch(), tokens(1, 5, DIM, seed=1), tokens(1, 2, DIM, seed=2)
    expected = (5 * sketch.histogram(one) + 2 * sketch.histogram(other)) / 7
    torch.testing.assert_close(sketch.histogram(torch.cat([one, other], 1)), expected, atol=1e-14, rtol=0)
    torch.testing.assert_close(sketch.histogram(one[:, :1]), sketch.shares(one)[:, 0], atol=1e-15, rtol=0)


@pytest.mark.parametrize("settings", [*CASES, pytest.param({"assignment": "hard"}, id="hard")])
def test_4_padding_changes_neither_values_nor_gradients(settings: dict[str, Any]) -> None:
    sketch, sizes = tiny_sketch(**settings), [3, 1, 7, 5]
    vectors, padding = filled(sizes, 7)
    weights = torch.randn(4, sketch.out_dim, generator=torch.Generator().manual_seed(0)).double()
    parameters = list(sketch.parameters())

    def outcome(batch: Tensor) -> tuple[Tensor, list[Tensor]]:
        leaf = batch.clone().requires_grad_()
        found = sketch(leaf, padding)
        return found, list(torch.autograd.grad((found * weights).sum(), [leaf, *parameters]))

    found, gradients = outcome(vectors)
    garbage, other_gradients = outcome(
        torch.where(padding[..., None], 50 * tokens(4, 7, DIM, seed=9), vectors)
    )
    assert torch.equal(found, garbage)
    assert all(torch.equal(one, other) for one, other in zip(gradients, other_gradients, strict=True))
    assert gradients[0][padding].abs().max() == 0

    alone = [vectors[i : i + 1, :size].clone().requires_grad_() for i, size in enumerate(sizes)]
    rows = [sketch(item) for item in alone]
    torch.testing.assert_close(torch.cat(rows), found, atol=1e-13, rtol=0)
    total = (torch.cat(rows) * weights).sum()
    for one, other in zip(torch.autograd.grad(total, [*alone, *parameters]), (
        *(gradients[0][i : i + 1, :size] for i, size in enumerate(sizes)),
        *gradients[1:],
    ), strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_5_zero_codebooks_are_uniform_and_shifts_are_not_seen() -> None:
    sketch, vectors = tiny_sketch(), tokens(2, 5, DIM)
    before = sketch.histogram(vectors)
    with torch.no_grad():
        sketch.weight[4:8] += torch.randn(DIM).double()  # all codewords of the second partition
        sketch.bias[8:] += 3.7  # all biases of the third
    torch.testing.assert_close(sketch.histogram(vectors), before, atol=1e-13, rtol=0)
    with torch.no_grad():
        sketch.weight[4] += 1.0  # one of them is seen
    assert (sketch.histogram(vectors) - before).abs().max() > 1e-3
    nn.init.zeros_(sketch.weight)
    nn.init.zeros_(sketch.bias)
    assert torch.equal(sketch.histogram(vectors), torch.full_like(before, 0.25))


def test_6_temperature_limits() -> None:
    vectors = tokens(3, 8, DIM)
    cold, hot, hard = (
        tiny_sketch(**settings)
        for settings in ({"temperature": 1e-6}, {"temperature": 1e6}, {"assignment": "hard"})
    )
    counts = torch.zeros(3, 3, 4, dtype=torch.float64)
    for b in range(3):
        for vector in vectors[b]:
            logits = (cold.weight @ vector + cold.bias).view(3, 4)
            for n in range(3):
                counts[b, n, int(logits[n].argmax())] += 1
    torch.testing.assert_close(cold.histogram(vectors), counts / 8, atol=1e-12, rtol=0)
    torch.testing.assert_close(hard.histogram(vectors), counts / 8, atol=1e-15, rtol=0)
    torch.testing.assert_close(hot.histogram(vectors), torch.full_like(counts, 0.25), atol=1e-6, rtol=0)


def test_7_equal_sets_leave_the_bias() -> None:
    host = SelfAttentionBranch(DIM, 5, regions=4, dropout=0, bias=True)
    branch = SketchBranch(SketchConfig(depth=2, width=4), host, bias=True).double()
    vectors = tokens(1, 4, DIM)
    no_padding = torch.zeros(1, 4, dtype=torch.bool)
    for bias in (torch.randn(5).double(), torch.zeros(5).double()):
        with torch.no_grad():
            branch.similarity.bias.copy_(bias)
            images, _ = branch.encode_images(vectors, batch_statistics=False)
            captions = branch.encode_captions(vectors.flip(1), no_padding)
            node = l2_normalize(branch.compare(Codes(images), Codes(captions))).flatten()
        torch.testing.assert_close(node, l2_normalize(bias), atol=1e-12, rtol=0)


def test_8_gradient_is_that_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    sketch, count = tiny_sketch(), 5
    vectors = tokens(1, count, DIM)
    logits = sketch.logits(vectors).detach().requires_grad_()  # (1, T, N, K)
    monkeypatch.setattr(sketch, "logits", lambda _: logits)
    shares, cells = logits.detach().softmax(3)[0], sketch.histogram(vectors)[0]
    for n, k in [(n, k) for n in range(3) for k in range(4)]:
        (gradient,) = torch.autograd.grad(cells[n, k], logits, retain_graph=True)
        expected = torch.zeros_like(logits)  # across partitions there is none
        for t, other in [(t, other) for t in range(count) for other in range(4)]:
            expected[0, t, n, other] = shares[t, n, k] * (float(k == other) - shares[t, n, other]) / count
        torch.testing.assert_close(gradient, expected, atol=1e-15, rtol=0)


def test_8_gradients_of_the_biases_of_a_partition_cancel() -> None:
    sketch = tiny_sketch()
    found = sketch(tokens(4, 5, DIM))
    (found * torch.randn(found.shape).double()).sum().backward()
    assert sketch.bias.grad is not None
    assert sketch.bias.grad.abs().max() > 1e-3
    assert sketch.bias.grad.view(3, 4).sum(1).abs().max() < 1e-15


class Sizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The largest tensor that comes out of an operation, and the multiply-adds of matrix products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for item in found if isinstance(found, tuple | list) else [found]:
            if isinstance(item, Tensor):
                self.largest = max(self.largest, item.numel())
        name = str(func)
        if "addmm" in name or "aten.mm" in name or "bmm" in name:
            left = [item for item in args if isinstance(item, Tensor)][-2]
            self.products += found.numel() * left.shape[-1]
        return found


@pytest.mark.parametrize("assignment", ["softmax", "hard", "hyperplane"])
def test_9_cost_is_linear_in_the_tokens(assignment: str) -> None:
    sketch = tiny_sketch(assignment=assignment)  # 12 cells, 6 wide
    products = []
    for count in (200, 400):
        with Sizes() as sizes:
            sketch(tokens(1, count, DIM)).sum().backward()
        assert sizes.largest <= count * 12  # far under count * count
        products.append(sizes.products)
    assert products[1] == 2 * products[0]
    with Sizes() as sizes, torch.no_grad():
        sketch(tokens(1, 200, DIM))
    if assignment != "hyperplane":
        assert sizes.products == 200 * DIM * 12  # T D N K


@pytest.mark.parametrize(("common", "expected"), [(0.0, 1.6e-4), (1.0, 7.6e-4)])
def test_10_the_signal_at_the_start_is_of_the_hosts_size(common: float, expected: float) -> None:
    signal = start_signal(Sketch(SketchConfig(), 1024), common)
    assert 5e-5 < signal < 5e-3
    assert signal == pytest.approx(expected, rel=0.35)


def test_10_fails_with_the_usual_start() -> None:
    sketch = Sketch(SketchConfig(), 1024)
    for partition in sketch.weight.detach().view(8, 128, 1024):
        nn.init.xavier_uniform_(partition)
    for common in (0.0, 1.0):
        assert start_signal(sketch, common) < 5e-6


def start_signal(sketch: Sketch, common: float) -> float:
    """Mean of (g_img - g_txt)^2 over 12 pairs of 36 regions and 12 words; `common`: what an item's vectors share."""
    torch.manual_seed(0)

    def vectors(count: int) -> Tensor:
        return unit_rows(torch.randn(12, count, 1024) + common * torch.randn(12, 1, 1024))

    with torch.no_grad():
        return float((sketch(vectors(36)) - sketch(vectors(12))).square().mean())
