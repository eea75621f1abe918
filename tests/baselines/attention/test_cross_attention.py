"""Cross-attention scores against recorded ones, against the formulas pair by pair, and in every form and precision."""

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.attention.cross_attention import (
    Form,
    attention_scores,
    attention_weights,
    pair_bytes,
    score_in_chunks,
)
from baselines.attention.tiles import MAX_TEMPERATURE, Direction, Sizes, cheaper_form
from benchmark.batches import Codes
from tests.paths import ROOT

GOLDEN = ROOT / "tests" / "golden" / "hat" / "cross_attention.npz"
DIRECTIONS: tuple[Direction, ...] = ("i2t", "t2i")
FORMS: tuple[Form, ...] = ("auto", "gram", "direct", "naive")


def tokens(
    n: int, m: int, regions: int, width: int, lengths: list[int], *, seed: int = 0, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Random images (n, R, D), captions (m, L + 2, D) with junk after their ends, lengths (m,); float64."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.tensor(lengths)[torch.randint(len(lengths), (m,), generator=generator)]
    images = scale * torch.randn(n, regions, width, generator=generator, dtype=torch.float64)
    captions = scale * torch.randn(m, max(lengths) + 2, width, generator=generator, dtype=torch.float64)
    padding = torch.arange(captions.shape[1]) >= drawn[:, None]
    return images, captions.masked_fill(padding[..., None], 1e3), drawn


def by_the_formula(v: Tensor, t: Tensor, direction: Direction, temperature: float, slope: float) -> float:
    """hat.md 3.5 for one image (R, D) and one caption (n, D), token by token in NumPy."""
    s = v.numpy() @ t.numpy().T
    a = np.where(s > 0, s, slope * s)
    queries, contexts = (v.numpy(), t.numpy()) if direction == "i2t" else (t.numpy(), v.numpy())
    a = a if direction == "i2t" else a.T  # (Q, K)
    a = a / (np.sqrt((a**2).sum(0)) + 1e-8)
    cosines = []
    for query, row in zip(queries, a, strict=True):
        weights = np.exp(temperature * row) / np.exp(temperature * row).sum()
        context = sum(weight * token for weight, token in zip(weights, contexts, strict=True))
        cosines.append(query @ context / max(np.linalg.norm(query) * np.linalg.norm(context), 1e-8))
    return float(np.mean(cosines))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_recorded_scores_and_gradients(direction: Direction, form: Form) -> None:
    with np.load(GOLDEN) as golden:
        used = golden[f"outputs/{direction}/caption_index"]
        images = torch.tensor(golden["inputs/images"], requires_grad=True)
        captions = torch.tensor(golden["inputs/captions"][used], requires_grad=True)
        lengths = torch.tensor(golden["inputs/lengths"][used])
        scores = attention_scores(images, captions, lengths, direction=direction, temperature=9.0, form=form)
        torch.autograd.backward((scores * torch.linspace(-1, 1, scores.numel()).view_as(scores)).sum())
        np.testing.assert_allclose(scores.detach(), golden[f"outputs/{direction}/sims"], rtol=0, atol=1e-6)
        assert images.grad is not None
        assert captions.grad is not None
        np.testing.assert_allclose(images.grad, golden[f"grads/{direction}/images"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(captions.grad, golden[f"grads/{direction}/captions"], rtol=0, atol=1e-6)
        wide = [torch.tensor(golden["inputs/images"]).double(), captions.detach().double()]
        scores = attention_scores(wide[0], wide[1], lengths, direction=direction, temperature=9.0, form=form)
        np.testing.assert_allclose(
            scores, golden[f"outputs/{direction}/sims_float64_path"], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_form_is_the_formula(direction: Direction, form: Form) -> None:
    images, captions, lengths = tokens(3, 6, 5, 7, [1, 2, 4, 9])
    scores = attention_scores(
        images, captions, lengths, direction=direction, temperature=4.0, slope=0.3, form=form
    )
    for i, image in enumerate(images):
        for j, (caption, length) in enumerate(zip(captions, lengths.tolist(), strict=True)):
            expected = by_the_formula(image, caption[:length], direction, 4.0, 0.3)
            assert scores[i, j].item() == pytest.approx(expected, abs=1e-12)


SHAPES = [  # images, captions, regions, width, lengths
    (1, 1, 1, 3, [1]),
    (2, 3, 1, 5, [1, 2]),
    (5, 70, 4, 8, [1, 2, 3, 17]),
    (9, 20, 49, 16, [2, 8, 20]),
    (2, 18, 300, 24, [3, 12]),  # Gram matrices in several blocks
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_fast_forms_are_the_naive_loop_with_gradients(direction: Direction, shape: tuple) -> None:
    images, captions, lengths = tokens(*shape, seed=sum(shape[:4]))
    weights = torch.randn(len(images), len(captions), dtype=torch.float64)
    results = {}
    for form in FORMS:
        leaves = [side.clone().requires_grad_() for side in (images, captions)]
        scores = attention_scores(
            leaves[0], leaves[1], lengths, direction=direction, temperature=9.0, form=form
        )
        torch.autograd.backward((scores * weights).sum())
        results[form] = (scores.detach(), *(leaf.grad for leaf in leaves))
    for form in FORMS[:-1]:
        for found, expected in zip(results[form], results["naive"], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("regions", [49, 196])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_float32_at_full_width(direction: Direction, regions: int, scale: float) -> None:
    """768 wide; tokens share a mean, as projected ones do, so that scores are not all near 0."""
    images, captions, lengths = tokens(3, 24, regions, 768, list(range(2, 33)), scale=scale)
    shared = scale * torch.randn(768, dtype=torch.float64)
    images, captions = (images + shared).float(), (captions + shared).float()
    naive = attention_scores(images, captions, lengths, direction=direction, temperature=9.0, form="naive")
    exact = attention_scores(
        images.double(), captions.double(), lengths, direction=direction, temperature=9.0
    )
    assert naive.abs().max() > 0.1
    for form in ("auto", "gram", "direct"):
        scores = attention_scores(images, captions, lengths, direction=direction, temperature=9.0, form=form)
        torch.testing.assert_close(scores, naive, rtol=0, atol=1e-6)
        torch.testing.assert_close(scores.double(), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradient_of_a_few_pairs_is_the_naive_one(direction: Direction) -> None:
    """A hardest-negative loss: most pairs have no gradient and are not computed again."""
    images, captions, lengths = tokens(8, 8, 6, 10, [1, 3, 7])
    gradients = []
    compared: tuple[Form, ...] = ("auto", "naive")
    for form in compared:
        leaves = [side.clone().requires_grad_() for side in (images, captions)]
        scores = attention_scores(
            leaves[0], leaves[1], lengths, direction=direction, temperature=9.0, form=form
        )
        off = scores - 9 * torch.eye(8, dtype=scores.dtype)
        torch.autograd.backward((off.amax(1) + off.amax(0) - 2 * scores.diagonal()).sum())
        gradients.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradients_are_the_numeric_ones(direction: Direction) -> None:
    images, captions, lengths = tokens(2, 3, 3, 4, [1, 2, 3])
    leaves = (images.requires_grad_(), captions.clamp(max=5).requires_grad_())
    assert torch.autograd.gradcheck(
        lambda v, t: attention_scores(v, t, lengths, direction=direction, temperature=3.0), leaves
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_zero_vectors_give_zero_and_finite_gradients(direction: Direction, form: Form) -> None:
    images, captions, lengths = tokens(2, 3, 4, 5, [2, 3])
    images[0], captions[1], captions[2, 0] = 0, 0, 0
    leaves = [side.clone().requires_grad_() for side in (images, captions)]
    scores = attention_scores(leaves[0], leaves[1], lengths, direction=direction, temperature=9.0, form=form)
    torch.autograd.backward(scores.sum())
    assert (scores[0] == 0).all()
    assert (scores[:, 1] == 0).all()
    assert (scores[1, ::2] != 0).all()
    assert all(leaf.grad is not None and torch.isfinite(leaf.grad).all() for leaf in leaves)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_floor_of_the_cosine(direction: Direction) -> None:
    """Tokens so short that |q| |c| < 1e-8: the published floor shows, in every form."""
    images, captions, lengths = tokens(2, 5, 4, 5, [1, 3, 6], scale=2e-5)
    naive = attention_scores(images, captions, lengths, direction=direction, temperature=9.0, form="naive")
    for form in ("gram", "direct"):
        scores = attention_scores(images, captions, lengths, direction=direction, temperature=9.0, form=form)
        torch.testing.assert_close(scores, naive, rtol=1e-9, atol=1e-12)
    long = attention_scores(1e5 * images, 1e5 * captions, lengths, direction=direction, temperature=9.0)
    assert (long - naive).abs().max() > 1e-3


@pytest.mark.parametrize("temperature", [0.0, -5.0, MAX_TEMPERATURE, 100.0])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_any_temperature(direction: Direction, temperature: float) -> None:
    images, captions, lengths = tokens(3, 4, 6, 8, [1, 2, 5], scale=30)
    images, captions = images.float(), captions.float()
    naive, fast = (
        attention_scores(images, captions, lengths, direction=direction, temperature=temperature, form=form)
        for form in ("naive", "auto")
    )
    torch.testing.assert_close(fast, naive, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_half_precision(direction: Direction, dtype: torch.dtype) -> None:
    """By autocast and by type; only products and contexts are rounded, never the norms or the softmax."""
    images, captions, lengths = tokens(4, 6, 20, 32, [2, 5, 9])
    images, captions = images.float().requires_grad_(), captions.clamp(max=5).float().requires_grad_()
    exact = attention_scores(images, captions, lengths, direction=direction, temperature=9.0)
    for form in FORMS:
        with torch.autocast("cpu", dtype=dtype):
            scores = attention_scores(
                images, captions, lengths, direction=direction, temperature=9.0, form=form
            )
        assert scores.dtype == torch.float32
        torch.testing.assert_close(scores, exact, rtol=0, atol=0.03 if dtype == torch.bfloat16 else 4e-3)
    halves = (images.to(dtype), captions.to(dtype))
    by_type = attention_scores(
        halves[0], halves[1], lengths, direction=direction, temperature=9.0, form="naive"
    )
    torch.testing.assert_close(by_type, scores, rtol=0, atol=1e-6)
    torch.autograd.backward(scores.sum())
    assert images.grad is not None
    assert images.grad.dtype == torch.float32


def test_padding_is_never_read() -> None:
    images, captions, lengths = tokens(2, 4, 3, 5, [1, 4])
    padding = torch.arange(captions.shape[1]) >= lengths[:, None]
    for direction in DIRECTIONS:
        for form in FORMS:
            expected, found = (
                attention_scores(images, words, lengths, direction=direction, temperature=9.0, form=form)
                for words in (captions, captions.masked_fill(padding[..., None], torch.nan))
            )
            assert torch.equal(found, expected)


def test_only_the_side_that_needs_it_gets_a_gradient() -> None:
    images, captions, lengths = tokens(2, 3, 4, 5, [2, 3])
    captions.requires_grad_()
    torch.autograd.backward(
        attention_scores(images, captions, lengths, direction="i2t", temperature=9.0).sum()
    )
    assert images.grad is None
    assert captions.grad is not None
    assert captions.grad.abs().sum() > 0


def test_inputs_are_left_as_they_are() -> None:
    images, captions, lengths = tokens(2, 40, 4, 5, [2, 3])
    before = images.clone(), captions.clone(), lengths.clone()
    for direction in DIRECTIONS:
        attention_scores(images, captions, lengths, direction=direction, temperature=9.0)
    assert all(torch.equal(a, b) for a, b in zip(before, (images, captions, lengths), strict=True))


def test_tile_sizes_do_not_change_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    images, captions, lengths = tokens(40, 50, 7, 12, [1, 2, 9])
    for direction in DIRECTIONS:
        whole = attention_scores(images, captions, lengths, direction=direction, temperature=9.0)
        for sizes in (Sizes(1, 1, 1), Sizes(3000, 1000, 16)):
            monkeypatch.setattr(Sizes, "of", staticmethod(lambda _device, sizes=sizes: sizes))
            scores = attention_scores(images, captions, lengths, direction=direction, temperature=9.0)
            torch.testing.assert_close(scores, whole, rtol=0, atol=1e-12)
            monkeypatch.undo()


def test_weights_sum_to_one_over_the_context() -> None:
    padding = torch.tensor([[False] * 4, [False, False, True, True]])[:, None]
    products = torch.randn(2, 5, 4).masked_fill(padding, 0)
    weights = attention_weights(products, query_axis=1, context_axis=2, temperature=9.0, padding=padding)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 5))
    assert (weights[1, :, 2:] == 0).all()
    assert (weights[0] > 0).all()
    weights = attention_weights(products, query_axis=2, context_axis=1, temperature=9.0)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 4))


def test_cheaper_form_counts_multiplications() -> None:
    assert cheaper_form(16, 768, 10_000) == "gram"
    assert cheaper_form(784, 768, 70_000) == "gram"  # symmetry leaves little more than half of it
    assert cheaper_form(784, 768, 100) == "direct"  # too few queries to pay for the Gram matrix
    assert cheaper_form(784, 64, 10**9) == "direct"


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_chunks_change_nothing(direction: Direction) -> None:
    images, captions, lengths = tokens(4, 9, 6, 8, [1, 3, 5])
    weights = torch.randn(4, 9, dtype=torch.float64)
    calls = []

    def score(left: Codes, right: Codes) -> Tensor:
        calls.append(len(right))
        return attention_scores(left["v"], right["t"], right["lengths"], direction=direction, temperature=9.0)

    results = []
    for budget in (None, 10**9, 4 * 100 * 4, 1):
        leaves = [side.clone().requires_grad_() for side in (images, captions)]
        left, right = Codes({"v": leaves[0]}), Codes({"t": leaves[1], "lengths": lengths})
        calls.clear()
        scores = score_in_chunks(score, left, right, budget_bytes=budget, pair_bytes=100)
        forward_calls = list(calls)
        torch.autograd.backward((scores * weights).sum())
        results.append((scores.detach(), *(leaf.grad for leaf in leaves)))
        expected = {None: [9], 10**9: [9], 1600: [4, 4, 1], 1: [1] * 9}[budget]
        assert forward_calls == expected
        assert len(calls) == len(expected) * (1 if len(expected) == 1 else 2)  # computed again backward
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-10, atol=1e-12)


def test_pair_bytes_grow_to_a_share_of_the_work_space() -> None:
    assert pair_bytes(4, 2, 8) == 96
    assert pair_bytes(784, 32, 768) == pair_bytes(784, 32, 768, gradient=True) == 8192
