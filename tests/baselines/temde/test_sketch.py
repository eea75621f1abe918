"""The sketch: its worked example (temde.md 11), every option by naive loops, temperatures, dropout, mistakes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from baselines.layers.norms import l2_normalize
from baselines.sgraf.global_branch import SelfAttentionBranch
from baselines.temde.branch import SketchBranch
from baselines.temde.sketch import Sketch, SketchConfig
from benchmark.batches import Codes
from benchmark.errors import UserError
from tests.baselines.temde.models import (
    ANNEALED,
    DIM,
    OPTIONS,
    naive_histogram,
    naive_vector,
    tiny_sketch,
    tokens,
)

CASES = [pytest.param(settings, id=name) for name, settings in OPTIONS.items()]


# -------------------------------------------------------------------------------- the worked example


def example(**settings: Any) -> Sketch:
    """D = 2, N = 2, K = 2, codewords of logarithms."""
    sketch = Sketch(SketchConfig.model_validate({"depth": 2, "width": 2, **settings}), 2).double()
    log2, log3, log7 = math.log(2), math.log(3), math.log(7)
    with torch.no_grad():
        sketch.weight.copy_(torch.tensor([[log2, 0], [0, log3], [0, 0], [log3, log7]], dtype=torch.float64))
        sketch.bias.zero_()
    return sketch


IMAGE = torch.eye(2, dtype=torch.float64)[None]
CAPTION = IMAGE[:, :1]


def test_worked_example_shares_and_sketches() -> None:
    sketch = example()
    of_tokens = torch.tensor(
        [[[2 / 3, 1 / 3], [1 / 4, 3 / 4]], [[1 / 4, 3 / 4], [1 / 8, 7 / 8]]], dtype=torch.float64
    )
    image = torch.tensor([[11 / 24, 13 / 24], [3 / 16, 13 / 16]], dtype=torch.float64)
    torch.testing.assert_close(sketch.shares(IMAGE)[0], of_tokens)
    torch.testing.assert_close(sketch.histogram(IMAGE)[0], image)
    torch.testing.assert_close(sketch.histogram(CAPTION)[0], of_tokens[0])
    assert sketch.histogram(IMAGE).square().sum().item() == pytest.approx(290 / 576 + 178 / 256, abs=1e-12)
    assert sketch.histogram(IMAGE).square().sum().item() == pytest.approx(1.1987847, abs=5e-8)
    assert sketch.histogram(CAPTION).square().sum().item() == pytest.approx(1.1805556, abs=5e-8)


def test_worked_example_vectors() -> None:
    image, caption = example()(IMAGE)[0], example()(CAPTION)[0]
    assert image.tolist() == pytest.approx([0.4186112, 0.4947223, 0.1712500, 0.7420835], abs=6e-8)
    assert caption.tolist() == pytest.approx([0.6135720, 0.3067860, 0.2300895, 0.6902685], abs=6e-8)
    assert (image @ caption).item() == pytest.approx(0.9602617, abs=6e-8)
    squares = (image - caption).square().tolist()
    assert squares == pytest.approx([0.0380097, 0.0353201, 0.0034621, 0.0026848], abs=6e-8)


def example_node(**settings: Any) -> tuple[list[float], list[float]]:
    """The global node through the branch, before and after the host's norm."""
    host = SelfAttentionBranch(2, 2, regions=2, dropout=0, bias=True)
    branch = SketchBranch(
        SketchConfig.model_validate({"depth": 2, "width": 2, **settings}), host, bias=True
    ).double()
    branch.sketch = example(**settings)
    with torch.no_grad():
        branch.similarity.weight.copy_(torch.tensor([[1, 0, 0, 0], [0, 0, 1, 1]]))
        branch.similarity.bias.zero_()
        images, _ = branch.encode_images(IMAGE, batch_statistics=False)
        captions = branch.encode_captions(CAPTION, torch.zeros(1, 1, dtype=torch.bool))
        node = branch.compare(Codes(images), Codes(captions))
    assert node.shape == (1, 1, 1, 2)
    return node.flatten().tolist(), l2_normalize(node).flatten().tolist()


def test_worked_example_similarity() -> None:
    before, after = example_node()
    assert before == pytest.approx([0.0380097, 0.0061469], abs=6e-8)
    assert after == pytest.approx([0.9871743, 0.1596444], abs=2e-7)


def test_worked_example_without_the_final_norm() -> None:
    sketch = example(final_l2=False)
    squares = (sketch(IMAGE) - sketch(CAPTION)).square()[0].tolist()
    assert squares == pytest.approx([25 / 576, 25 / 576, 1 / 256, 1 / 256], abs=1e-12)
    before, after = example_node(final_l2=False)
    assert before == pytest.approx([0.0434028, 0.0078125], abs=6e-8)
    assert after == pytest.approx([0.9841831, 0.1771530], abs=2e-7)


def test_worked_example_temperatures() -> None:
    half = example(temperature=0.5).histogram(IMAGE).flatten().tolist()
    assert half == pytest.approx([0.45, 0.55, 0.06, 0.94], abs=1e-12)
    limit = example(temperature=1e-3).histogram(IMAGE).flatten().tolist()
    assert limit == pytest.approx([0.5, 0.5, 0, 1], abs=1e-12)


def test_worked_example_hyperplanes() -> None:
    """p_0 = 3/4 and p_1 = 1/4: buckets 00, 01, 10, 11."""
    sketch = Sketch(SketchConfig(depth=1, width=4, assignment="hyperplane"), 2).double()
    with torch.no_grad():
        sketch.weight.copy_(torch.tensor([[math.log(3), 0], [-math.log(3), 0]], dtype=torch.float64))
        found = sketch.histogram(CAPTION).flatten().tolist()
    assert found == pytest.approx([3 / 16, 1 / 16, 9 / 16, 3 / 16], abs=1e-12)


# ------------------------------------------------------------------------------------- every option


@pytest.mark.parametrize("settings", CASES)
def test_values_and_gradients_are_those_by_hand(settings: dict[str, Any]) -> None:
    sketch, vectors = tiny_sketch(**settings), tokens(3, 5, DIM).requires_grad_()
    expected = torch.stack([naive_histogram(sketch, item) for item in vectors])
    torch.testing.assert_close(sketch.histogram(vectors), expected, atol=1e-12, rtol=0)
    ours, theirs = sketch(vectors), torch.stack([naive_vector(sketch, item) for item in vectors])
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(0)).double()
    wanted = [vectors, *(value for name, value in sketch.named_parameters() if name != "log_temperature")]
    pairs = zip(*(torch.autograd.grad((x * weights).sum(), wanted) for x in (ours, theirs)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


def test_hard_values_are_counts_and_gradients_the_softmaxs() -> None:
    soft, hard, vectors = tiny_sketch(), tiny_sketch(assignment="hard"), tokens(3, 5, DIM)
    assert set(hard.shares(vectors).flatten().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(
        hard.histogram(vectors), torch.stack([naive_histogram(hard, item) for item in vectors])
    )
    weights = torch.randn(3, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    gradients = [
        torch.autograd.grad((sketch.histogram(vectors) * weights).sum(), [sketch.weight, sketch.bias])
        for sketch in (soft, hard)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-14, rtol=0)
    assert gradients[0][0].abs().max() > 0


def test_hyperplanes_become_the_signs_of_emde() -> None:
    """At a low temperature a vector lies in the part whose bits are its sides, the first one most significant."""
    sketch, vectors = tiny_sketch(assignment="hyperplane", width=8, temperature=1e-6), tokens(1, 6, DIM)
    shares = sketch.shares(vectors)[0]
    for t, n in [(t, n) for t in range(6) for n in range(3)]:
        sides = [int(sketch.weight[3 * n + h] @ vectors[0, t] + sketch.bias[3 * n + h] > 0) for h in range(3)]
        part = 4 * sides[0] + 2 * sides[1] + sides[2]
        assert shares[t, n].tolist() == pytest.approx([float(k == part) for k in range(8)], abs=1e-9)


def test_default_start_is_gaussian_with_a_zero_bias() -> None:
    torch.manual_seed(0)
    sketch = Sketch(SketchConfig(), 256)
    assert set(sketch.state_dict()) == {"weight", "bias"}
    assert sketch.weight.shape == (1024, 256)
    assert sketch.weight.mean().item() == pytest.approx(0, abs=0.01)
    assert sketch.weight.std().item() == pytest.approx(1, abs=0.01)
    assert sketch.bias.abs().max() == 0


def test_centroids_start_without_a_favourite() -> None:
    """Their lengths differ; without a bias against that the shortest would take every vector."""
    torch.manual_seed(0)
    sketch = Sketch(SketchConfig(logit="distance"), 1024)
    vectors = tokens(1, 200, 1024).float()
    with torch.no_grad():
        busiest = sketch.histogram(vectors).max()
        assert busiest < 0.05
        sketch.bias.zero_()
        assert sketch.histogram(vectors).max() > 0.9


# ------------------------------------------------------------------------- temperature and dropout


def test_a_learned_temperature_starts_where_it_is_told_and_learns() -> None:
    sketch, vectors = tiny_sketch(temperature_rule="learned", temperature=0.5), tokens(2, 5, DIM)
    fixed = tiny_sketch(temperature=0.5)
    fixed.load_state_dict(
        {name: value for name, value in sketch.state_dict().items() if name != "log_temperature"}
    )
    torch.testing.assert_close(sketch(vectors), fixed(vectors), atol=1e-8, rtol=0)
    sketch(vectors)[:, 0].sum().backward()
    slope = sketch.log_temperature.grad
    assert slope is not None
    step, values = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            moved = sketch.log_temperature + sign * step
            rows = fixed.logits(vectors) * 0.5 / moved.exp()
            values.append(l2_normalize(rows.softmax(3).mean(1).flatten(1))[:, 0].sum())
    assert float(slope) == pytest.approx(float(values[0] - values[1]) / (2 * step), rel=1e-4)


def test_an_annealed_temperature_goes_geometrically_and_stays() -> None:
    sketch, vectors = tiny_sketch(**ANNEALED), tokens(2, 5, DIM)
    for step, expected in ((0, 2.0), (5, 1.0), (10, 0.5), (99, 0.5)):
        sketch.anneal(step)
        assert float(sketch.log_temperature.exp()) == pytest.approx(expected)
        fixed = tiny_sketch(temperature=expected)
        fixed.load_state_dict({name: sketch.state_dict()[name] for name in ("weight", "bias")})
        torch.testing.assert_close(sketch(vectors), fixed(vectors), atol=1e-7, rtol=0)
    other = tiny_sketch(seed=1, **ANNEALED)
    other.load_state_dict(sketch.state_dict())  # a checkpoint knows the temperature that it was trained to
    assert torch.equal(other(vectors), sketch(vectors))


def test_a_fixed_temperature_is_left_alone() -> None:
    sketch, vectors = tiny_sketch(), tokens(2, 5, DIM)
    before = sketch(vectors)
    sketch.anneal(1000)
    assert torch.equal(sketch(vectors), before)


@pytest.mark.parametrize(
    ("settings", "dropped"),
    [
        ({"dropout": 0.4, "final_l2": False}, True),
        ({"input_transform": True, "transform_dropout": 0.4}, False),
    ],
)
def test_dropout_is_for_training(settings: dict[str, Any], dropped: bool) -> None:
    sketch, vectors = tiny_sketch(**settings), tokens(400, 5, DIM)
    assert torch.equal(sketch(vectors), sketch(vectors))
    plain = sketch(vectors)
    sketch.train()
    torch.manual_seed(0)
    found = sketch(vectors)
    assert not torch.equal(found, sketch(vectors))
    if dropped:  # cells are 0, or larger by 1 / 0.6
        zero = found == 0
        assert float(zero.double().mean()) == pytest.approx(0.4, abs=0.03)
        torch.testing.assert_close(found[~zero], (plain / 0.6)[~zero], atol=1e-12, rtol=0)


def test_dropped_cells_leave_a_unit_vector() -> None:
    sketch = tiny_sketch(dropout=0.4).train()
    found = sketch(tokens(20, 5, DIM))
    assert (found == 0).any()
    torch.testing.assert_close(found.norm(dim=1), torch.ones(20).double(), atol=1e-7, rtol=0)


# ------------------------------------------------------------------------------------------ precision


@pytest.mark.parametrize(
    "settings", [{}, {"assignment": "hyperplane"}, {"assignment": "hard"}, {"logit": "distance"}]
)
def test_shares_are_wide_in_half_precision(settings: dict[str, Any]) -> None:
    """Only the products are narrow: rows still sum to 1, and little differs."""
    sketch, vectors = tiny_sketch(**settings).float(), tokens(3, 5, DIM).float()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert sketch.logits(vectors).dtype == torch.float32
        cells = sketch.histogram(vectors)
    assert cells.dtype == torch.float32
    torch.testing.assert_close(cells.sum(2), torch.ones(3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(cells, sketch.histogram(vectors), atol=0.03, rtol=0)


# ------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"assignment": "hyperplane", "width": 100}, ("'model.sketch.width'", "found 100", "64 and 128")),
        ({"assignment": "hyperplane", "logit": "distance"}, ("'model.sketch.logit'", "'distance'", "'dot'")),
        ({"sharing": "per_modality", "scope": "image"}, ("'model.sketch.sharing'", "scope 'image'")),
        (
            {"temperature_rule": "annealed", "anneal_steps": 5},
            ("final_temperature", "found None", "needs it"),
        ),
        ({"temperature_rule": "annealed", "final_temperature": 1}, ("anneal_steps", "found None")),
        ({"final_temperature": 0.5}, ("final_temperature", "found 0.5", "'fixed'")),
        ({"temperature_rule": "learned", "anneal_steps": 7}, ("anneal_steps", "found 7", "'learned'")),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(
    settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(UserError) as caught:
        SketchConfig.model_validate(settings)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings", [{"depth": 0}, {"width": 1}, {"temperature": 0}, {"rows": "median"}, {"breadth": 3}]
)
def test_impossible_settings_are_errors(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SketchConfig.model_validate(settings)
