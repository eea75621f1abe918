"""The layers that region-based methods share: norms, batch norm, GRU, self-attention, groups of one length."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from baselines.attention.length_groups import (
    PairScorer,
    PairScores,
    length_group_scores,
    listed_scores,
    scores_within_budget,
)
from baselines.layers.batch_norm import BatchNorm
from baselines.layers.gru_encoder import GRUEncoder
from baselines.layers.norms import l1_normalize, l2_normalize, xavier_linear
from baselines.layers.region_encoder import RegionEncoder
from baselines.layers.self_attention_pooling import SelfAttentionPooling
from benchmark.batches import Codes


def test_eps_is_added_to_the_norm() -> None:
    vectors = torch.tensor([[3e-8, 4e-8], [3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(l2_normalize(vectors)[0], torch.tensor([0.5, 2 / 3], dtype=torch.float64))
    torch.testing.assert_close(l2_normalize(vectors)[1], torch.tensor([0.6, 0.8], dtype=torch.float64))
    assert not l2_normalize(vectors)[2].any()
    torch.testing.assert_close(l1_normalize(vectors)[0], torch.tensor([3 / 8, 4 / 8], dtype=torch.float64))
    torch.testing.assert_close(l2_normalize(vectors, 0)[1, 1], torch.tensor(1.0, dtype=torch.float64))


def test_a_zero_vector_has_a_finite_gradient() -> None:
    vectors = torch.zeros(2, 3, requires_grad=True)
    l2_normalize(vectors).sum().backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    assert bool(vectors.grad.isfinite().all())


def test_xavier_spread() -> None:
    torch.manual_seed(0)
    layer = xavier_linear(200, 100)
    bound = (6 / 300) ** 0.5
    assert float(layer.weight.detach().abs().max()) <= bound
    assert float(layer.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not layer.bias.any()
    assert xavier_linear(3, 2, bias=False).bias is None


# ----------------------------------------------------------------------------------------- batch norm


@pytest.mark.parametrize("shape", [(8, 5), (4, 5, 7)])
def test_batch_norm_is_pytorchs_once_it_is_told(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours, plain = BatchNorm(5).double(), nn.BatchNorm1d(5).double()
    for step in range(3):
        values = (step + torch.randn(shape, dtype=torch.float64)).requires_grad_()
        normalised, statistics = ours(values, batch_statistics=True)
        expected = plain(values)
        torch.testing.assert_close(normalised, expected)
        for one, other in zip(
            torch.autograd.grad((normalised**3).sum(), [values, ours.weight, ours.bias]),
            torch.autograd.grad((expected**3).sum(), [values, plain.weight, plain.bias]),
            strict=True,
        ):
            torch.testing.assert_close(one, other)
        assert ours.state_dict().keys() == plain.state_dict().keys()
        assert int(ours.num_batches_tracked) == step
        ours.update(statistics)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours(values, batch_statistics=False)[0], plain.eval()(values))


@pytest.mark.parametrize("count", [1, 2, 128, 500])
def test_many_batches_at_once_are_many_batches_one_by_one(count: int) -> None:
    torch.manual_seed(0)
    ours, plain = BatchNorm(1), nn.BatchNorm1d(1)
    values = torch.randn(6, count, 4) * torch.rand(count, 1) + torch.randn(count, 1)
    normalised, statistics = ours(values, batch_statistics=True)
    expected = torch.cat([plain(values[:, k : k + 1]) for k in range(count)], dim=1)
    torch.testing.assert_close(normalised, expected, atol=1e-5, rtol=0)
    ours.update(statistics)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, atol=1e-6, rtol=0)


def test_padding_does_not_count() -> None:
    """As batches of their own, one a length."""
    torch.manual_seed(0)
    ours, lengths = BatchNorm(1).double(), [4, 2, 1]
    ours.load_state_dict({**ours.state_dict(), "weight": torch.tensor([1.5]), "bias": torch.tensor([-0.5])})
    values = torch.randn(6, 3, 4, dtype=torch.float64).requires_grad_()
    padding = torch.arange(4) >= torch.tensor(lengths)[:, None]
    normalised, statistics = ours(values, batch_statistics=True, padding=padding)
    parts = [ours(values[:, [k], :length], batch_statistics=True) for k, length in enumerate(lengths)]
    torch.testing.assert_close(statistics, torch.cat([part for _, part in parts], dim=1))
    expected = torch.zeros(())
    for k, (part, _) in enumerate(parts):
        torch.testing.assert_close(normalised[:, [k], : lengths[k]], part)
        expected = expected + (part**3).sum()
    wanted = [values, ours.weight, ours.bias]
    found = torch.autograd.grad((normalised.masked_fill(padding, 0) ** 3).sum(), wanted)
    for one, other in zip(found, torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(one, other)


# -------------------------------------------------------------------------------------------- encoders


@pytest.mark.parametrize(("bidirectional", "layers"), [(True, 1), (False, 1), (True, 2)])
def test_gru_reads_each_caption_as_if_it_were_alone(bidirectional: bool, layers: int) -> None:
    torch.manual_seed(0)
    encoder = GRUEncoder(30, 6, 8, layers=layers, bidirectional=bidirectional, dropout=0.5).eval()
    lengths = torch.tensor([3, 7, 1, 7, 5])
    ids = torch.randint(0, 30, (5, 9))
    words = encoder(ids, lengths)
    assert words.shape == (5, 9, 8)
    for row, length in enumerate(lengths.tolist()):
        alone = encoder.gru(encoder.embedding(ids[row, :length]))[0]
        if bidirectional:
            alone = (alone[:, :8] + alone[:, 8:]) / 2
        torch.testing.assert_close(words[row, :length], alone / alone.norm(dim=1, keepdim=True))
        assert not words[row, length:].any()


@torch.no_grad()
def test_gru_without_norm_and_its_initial_weights() -> None:
    torch.manual_seed(0)
    encoder = GRUEncoder(300, 20, 64, normalize=False)
    assert float(encoder.embedding.weight.abs().max()) <= 0.1
    assert float(encoder.embedding.weight.std()) == pytest.approx(0.1 / 3**0.5, rel=0.05)
    assert float(encoder.embedding.weight[0].abs().max()) > 0  # no padding index
    for name, weight in encoder.gru.named_parameters():
        assert float(weight.abs().max()) <= 64**-0.5, name
        assert float(weight.std()) == pytest.approx(64**-0.5 / 3**0.5, rel=0.15), name
    words = encoder(torch.randint(0, 300, (2, 4)), torch.tensor([4, 2]))
    assert not torch.allclose(words[0].norm(dim=1), torch.ones(4))


def test_region_encoder() -> None:
    torch.manual_seed(0)
    regions = torch.randn(2, 3, 5)
    encoder, bare = RegionEncoder(5, 4), RegionEncoder(5, 4, normalize=False, bias=False)
    projected = regions @ encoder.projection.weight.T
    torch.testing.assert_close(encoder(regions), projected / projected.norm(dim=2, keepdim=True))
    torch.testing.assert_close(bare(regions), regions @ bare.projection.weight.T)


def test_self_attention_skips_padding() -> None:
    torch.manual_seed(0)
    pooling = SelfAttentionPooling(6, tokens=None, dropout=0.4).eval()
    vectors, lengths = torch.randn(3, 5, 6), torch.tensor([5, 1, 3])
    padding = torch.arange(5) >= lengths[:, None]
    vectors[padding] = 0
    pooled, statistics = pooling(vectors, padding)
    assert statistics == {}
    for row, length in enumerate(lengths.tolist()):
        own = vectors[row, :length]
        scores = pooling.score(pooling.local(own).tanh() * pooling.query(own.mean(0)).tanh())
        expected = (scores.softmax(0) * own).sum(0)
        torch.testing.assert_close(pooled[row], expected / expected.norm())


# ----------------------------------------------------------------------------- groups of one length


def product_scores(images: Codes, captions: Codes) -> tuple[Tensor, Tensor]:
    """A score that needs true lengths, and one number a caption; padding must be zeros, and be named."""
    words, lengths = captions["words"], captions["lengths"]
    padding = torch.arange(words.shape[-2]) >= lengths[..., None]
    assert torch.equal(captions.tensors.get("padding", torch.zeros_like(padding)), padding)
    assert not bool(words[padding].any())
    means = words.sum(-2) / lengths[..., None]  # (C, D), or (P, 1, D)
    return (images["vectors"].unsqueeze(1) * means).sum(2), means.sum(-1)[None]


def random_codes(lengths: list[int]) -> tuple[Codes, Codes]:
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(len(lengths), 9, 4, generator=generator)
    images = Codes({"vectors": torch.randn(7, 4, generator=generator)})
    return images, Codes({"words": words, "lengths": torch.tensor(lengths)})


LENGTHS = [4, 9, 4, 1, 9, 9, 4, 2, 4]


def scoring(score: PairScores) -> PairScorer:
    return PairScorer(score, "t2i", lambda length: 2 * length, lambda length: 2 * length)


@pytest.fixture
def no_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baselines.attention.length_groups.tile_bytes", lambda _device: 0)


@pytest.mark.parametrize("floats", [1, 40, 10**6])
def test_tiles_cover_every_pair_in_its_place(floats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baselines.attention.length_groups.tile_bytes", lambda _device: 4 * floats)
    images, captions = random_codes(LENGTHS)
    sizes: list[int] = []

    def score(part: Codes, group: Codes) -> tuple[Tensor, ...]:
        sizes.append(len(part) * len(group) * group["words"].shape[1] * 2)
        return product_scores(part, group)

    scores = length_group_scores(scoring(score), images, captions)
    for j, length in enumerate(LENGTHS):
        expected = images["vectors"] @ captions["words"][j, :length].mean(0)
        torch.testing.assert_close(scores[:, j], expected)
    assert 7 * sum(LENGTHS) * 2 <= sum(sizes) <= 7 * sum(LENGTHS) * 2 + len(LENGTHS) * floats // 16
    assert max(sizes) <= max(floats, 2 * max(LENGTHS))


@pytest.mark.usefixtures("no_padding")
@pytest.mark.parametrize("budget", [None, 1, 7 * 18, 7 * 2 * 18, 10**6])
def test_parts_stay_within_the_budget_and_come_back_in_order(budget: int | None) -> None:
    images, captions = random_codes(LENGTHS)
    calls: list[tuple[int, int]] = []

    def score(part: Codes, group: Codes) -> tuple[Tensor, ...]:
        assert len(part) == 7  # statistics over a caption's images need all of them
        calls.append((group["words"].shape[1], len(group)))
        return product_scores(part, group)

    scores, sums = scores_within_budget(scoring(score), images, captions, budget)
    for j, length in enumerate(LENGTHS):
        mean = captions["words"][j, :length].mean(0)
        torch.testing.assert_close(scores[:, j], images["vectors"] @ mean)
        torch.testing.assert_close(sums[0, j], mean.sum())
    assert all(first[0] >= second[0] for first, second in pairwise(calls))
    if budget in (None, 10**6):
        assert calls == [(9, 3), (4, 4), (2, 1), (1, 1)]
    else:
        assert budget is not None
        assert all(count == 1 or 7 * 2 * length * count <= budget for length, count in calls)
        assert max(count for _, count in calls) == (1 if budget == 1 else {126: 2, 252: 4}[budget])


@pytest.mark.parametrize(
    ("floats", "expected"),
    [
        (10**6, [(9, 9)]),
        # 14 numbers a word for 7 images: two captions of 4 words beside 9 take 140 more, as many as are allowed
        (64 * 140, [(9, 5), (4, 4)]),
        (64 * 13, [(9, 3), (4, 4), (2, 1), (1, 1)]),
    ],
)
def test_unlike_lengths_come_together_where_padding_is_little(
    floats: int, expected: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baselines.attention.length_groups.tile_bytes", lambda _device: floats)
    images, captions = random_codes(LENGTHS)
    calls: list[tuple[int, int]] = []

    def score(part: Codes, group: Codes) -> tuple[Tensor, ...]:
        calls.append((group["words"].shape[-2], len(group)))
        return product_scores(part, group)

    means = torch.stack([captions["words"][j, :n].mean(0) for j, n in enumerate(LENGTHS)])
    scores, _ = scores_within_budget(scoring(score), images, captions, None)
    torch.testing.assert_close(scores, images["vectors"] @ means.T)
    assert calls == expected
    calls.clear()
    rows, columns = torch.tensor([0, 6, 3, 3]), torch.tensor([1, 1, 8, 0])
    listed = listed_scores(scoring(score), images, captions, rows, columns, None)
    torch.testing.assert_close(listed, (images["vectors"][rows] * means[columns]).sum(1))


@pytest.mark.usefixtures("no_padding")
def test_pairs_that_are_computed_again_draw_the_same_numbers() -> None:
    images, captions = random_codes(LENGTHS)
    vectors = images["vectors"].requires_grad_()
    masks: list[Tensor] = []

    def score(part: Codes, group: Codes) -> tuple[Tensor, ...]:
        masks.append(torch.rand(len(part), len(group)))
        return (product_scores(part, group)[0] * masks[-1],)

    (scores,) = scores_within_budget(scoring(score), Codes({"vectors": vectors}), captions, 1)
    first = len(masks)
    assert first == len(LENGTHS)
    scores.sum().backward()  # type: ignore[no-untyped-call]
    assert len(masks) == 2 * first
    once, again = (
        {tuple(mask.flatten().tolist()) for mask in part} for part in (masks[:first], masks[first:])
    )
    assert once == again
    drawn = torch.cat(masks[:first], dim=1)  # in the order of the parts: longest first
    order = captions["lengths"].argsort(descending=True, stable=True)
    means = torch.stack([captions["words"][j, : LENGTHS[j]].mean(0) for j in order.tolist()])
    torch.testing.assert_close(vectors.grad, drawn @ means)
