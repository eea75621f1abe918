"""The dual-path CNN: both paths by naive loops, test features, mining, losses, what a step leaves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from baselines.dualpath.batch_norm import DeviationNorm, as_deviation_norms, seen_moments
from baselines.dualpath.losses import IGNORED, hardest, instance_loss, ranking_features, ranking_loss
from baselines.dualpath.model import DualPath
from baselines.dualpath.text import ResidualUnit, place_at_all_starts
from benchmark.batches import CaptionBatch, ImageBatch
from benchmark.errors import UserError
from tests.baselines.dualpath.models import CLASSES, model_of, pairs, progress

# -------------------------------------------------------------------------------------------- norm


def test_the_norm_stores_a_running_deviation_with_epsilon_inside() -> None:
    norm = DeviationNorm(2, eps=0.1, rate=0.3).double().train()
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    values = torch.randn(4, 2, 3, dtype=torch.float64)
    out = norm(values)
    for channel in range(2):
        flat = values[:, channel].flatten().tolist()
        mean = sum(flat) / 12
        deviation = math.sqrt(sum(x * x for x in flat) / 12 - mean**2 + 0.1)
        expected = norm.weight[channel] * (values[:, channel] - mean) / deviation + norm.bias[channel]
        torch.testing.assert_close(out[:, channel], expected)
        assert norm.seen is not None
        assert norm.seen[channel].tolist() == pytest.approx([mean, deviation])
    assert not norm.moments.any()  # nothing is stored before it is told to
    seen = seen_moments(norm)[""]
    norm.update(seen)
    torch.testing.assert_close(norm.moments, 0.3 * seen)
    norm.update(seen)
    torch.testing.assert_close(norm.moments, (1 - 0.7**2) * seen)
    assert seen_moments(norm) == {}
    norm.eval()
    stored = norm.moments[:, :, None]
    expected = norm.weight[:, None] * (values - stored[:, 0]) / stored[:, 1] + norm.bias[:, None]
    torch.testing.assert_close(norm(values), expected)


def test_the_norm_of_one_value_is_its_bias() -> None:
    norm = DeviationNorm(3).train()
    nn.init.normal_(norm.bias)
    torch.testing.assert_close(norm(torch.randn(1, 3, 1, 1)).flatten(), norm.bias)
    assert norm.seen is not None
    torch.testing.assert_close(norm.seen[:, 1], torch.full((3,), math.sqrt(1e-3)))


def test_torch_norms_are_replaced_without_changing_an_evaluation() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    pixels = torch.randn(5, 3, 6, 6)
    net(pixels)  # moves the running statistics
    expected = net.eval()(pixels)
    as_deviation_norms(net, rate=0.25)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    torch.testing.assert_close(net(pixels), expected)


# ------------------------------------------------------------------------------------ the text path


def naive_norm(norm: DeviationNorm, values: list[Tensor]) -> list[Tensor]:
    return [norm.weight * (x - norm.moments[:, 0]) / norm.moments[:, 1] + norm.bias for x in values]


def naive_unit(unit: ResidualUnit, places: list[Tensor], stride: int) -> list[Tensor]:
    hidden = [x.relu() for x in naive_norm(unit.norm1, [unit.conv1.weight[:, :, 0] @ x for x in places])]
    padded = [torch.zeros_like(hidden[0]), *hidden]
    left, right = unit.conv2.weight[:, :, 0], unit.conv2.weight[:, :, 1]
    pairs_ = [left @ padded[p] + right @ padded[p + 1] for p in range(0, len(places), stride)]
    hidden = [x.relu() for x in naive_norm(unit.norm2, pairs_)]
    hidden = naive_norm(unit.norm3, [unit.conv3.weight[:, :, 0] @ x for x in hidden])
    short = places
    if unit.shortcut is not None:
        assert unit.shortcut_norm is not None
        kept = [unit.shortcut.weight[:, :, 0] @ x for x in places[::stride]]
        short = naive_norm(unit.shortcut_norm, kept)
    return [(a + b).relu() for a, b in zip(hidden, short, strict=True)]


def naive_text(model: DualPath, ids: Tensor) -> Tensor:
    text = model.text
    none = torch.zeros_like(text.words.bias)
    places = [(text.words.weight[i - 1] if i else none) + text.words.bias for i in ids.tolist()]
    places = naive_norm(text.word_norm, places)
    for group, stride in zip(text.groups, (1, 2, 2, 1), strict=True):
        assert isinstance(group, nn.Sequential)
        for number, unit in enumerate(group):
            assert isinstance(unit, ResidualUnit)
            places = naive_unit(unit, places, stride if number == 0 else 1)
    pooled = torch.stack(places).amax(0)
    return naive_norm(text.output_norm, [text.output.weight[:, :, 0] @ pooled])[0]


@torch.no_grad()
def test_the_text_path_by_loops() -> None:
    model = model_of().eval()
    ids = pairs().captions.ids
    expected = torch.stack([naive_text(model, row) for row in ids])
    torch.testing.assert_close(model.text(ids), expected)


@torch.no_grad()
def test_a_place_sees_the_one_before_it_and_none_after() -> None:
    model = model_of(text={"positions": 8, "word_dim": 5, "widths": [16] * 6, "units": [2, 1, 1, 1]}).eval()
    group = model.text.groups[0]
    values = torch.randn(50, 8, 5, dtype=torch.float64)  # many, since a ReLU may hide what moved
    changed = values.clone()
    changed[:, 4] += 1
    moved = (group(values) != group(changed)).any(2).any(0)
    assert moved.tolist() == [False] * 4 + [True] * 3 + [False]  # two units: itself and two after it


def test_the_word_layer_is_trained_densely() -> None:
    model = model_of()
    model.text.words(torch.tensor([[1, 0, 2]])).sum().backward()
    gradient = model.text.words.weight.grad
    assert gradient is not None
    assert not gradient.is_sparse
    assert gradient.abs().sum(1).gt(0).tolist() == [True, True] + [False] * 7


def test_all_starts_of_a_caption() -> None:
    rows = place_at_all_starts(torch.tensor([7, 8]), 4)
    assert rows.tolist() == [[7, 8, 0, 0], [0, 7, 8, 0], [0, 0, 7, 8]]
    assert place_at_all_starts(torch.tensor([], dtype=torch.int64), 2).tolist() == [[0, 0]] * 3
    assert place_at_all_starts(torch.tensor([1, 2]), 2).tolist() == [[1, 2]]


# ------------------------------------------------------------------------------------ test features


@torch.no_grad()
@pytest.mark.parametrize("start", ["shift", "left"])
def test_captions_are_summed_over_their_starts(start: str) -> None:
    model = model_of(start=start).eval()
    batch = pairs(5).captions
    found = model.encode_captions(batch)["vectors"]
    for row, ids, length in zip(found, batch.ids, batch.lengths.tolist(), strict=True):
        starts = range(9 - length) if start == "shift" else range(1)
        total = torch.zeros(8, dtype=torch.float64)
        for first in starts:
            placed = torch.zeros(8, dtype=torch.int64)
            placed[first : first + length] = ids[:length]
            total += naive_text(model, placed)
        torch.testing.assert_close(row, total / total.norm())


@torch.no_grad()
def test_captions_do_not_depend_on_their_batch_or_its_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of().eval()
    batch = pairs(7).captions
    whole = model.encode_captions(batch)["vectors"]
    monkeypatch.setattr("baselines.dualpath.model.TEXT_ROWS", 3)
    for row in range(7):
        n = int(batch.lengths[row])
        alone = CaptionBatch(batch.ids[row : row + 1, :n], batch.lengths[row : row + 1], torch.tensor([0]))
        torch.testing.assert_close(model.encode_captions(alone)["vectors"][0], whole[row])


@torch.no_grad()
@pytest.mark.parametrize("flip", [True, False])
def test_images_are_summed_over_windows_and_mirror_images(flip: bool) -> None:
    model = model_of(test_flip=flip).eval()
    pixels = torch.randn(2, 3, 8, 16, dtype=torch.float64) * 60  # wider than in training: three windows
    found = model.encode_images(ImageBatch(pixels, torch.arange(2)))["vectors"]
    for row, picture in zip(found, pixels, strict=True):
        total = torch.zeros(8, dtype=torch.float64)
        for seen in (picture, picture.flip(2))[: 1 + flip]:
            maps = model.image_head(model.trunk(seen[None]))[0]
            assert maps.shape == (8, 1, 3)
            for place in range(3):
                total += maps[:, 0, place]
        torch.testing.assert_close(row, total / total.norm())


def test_a_training_picture_of_another_size_is_refused() -> None:
    model = model_of()
    with pytest.raises(UserError, match="image_size"):
        model.image_features(torch.randn(2, 3, 12, 12, dtype=torch.float64))


# ------------------------------------------------------------------------------------------ losses


def test_losses_by_loops() -> None:
    generator = torch.Generator().manual_seed(3)
    images, texts = (ranking_features(torch.randn(6, 5, generator=generator)) for _ in range(2))
    total = 0.0
    for i in range(3):
        positive = float(images[i] @ texts[i])
        total += max(0.0, 0.4 - positive + float(images[i] @ texts[3 + i]))
        total += max(0.0, 0.4 - positive + float(texts[i] @ images[3 + i]))
    assert float(ranking_loss(images, texts, 0.4)) == pytest.approx(total, rel=1e-5)
    logits = torch.randn(3, 4, generator=generator)
    expected = sum(float(logits[i].logsumexp(0) - logits[i, c]) for i, c in ((0, 2), (2, 1)))
    assert float(instance_loss(logits, torch.tensor([2, IGNORED, 1]))) == pytest.approx(expected, rel=1e-5)


def test_the_first_of_equal_candidates_is_taken() -> None:
    candidates = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert hardest(torch.tensor([[1.0, 0.0]]), candidates).tolist() == [1]


def test_the_objective_is_the_weighted_sum_over_the_pairs() -> None:
    model = model_of()
    batch = pairs()
    codes = model.training_codes(batch)
    where = progress(ranking=2, image=1, text=0.1, margin=0.7)
    parts = model.losses(codes, where.loss)  # type: ignore[arg-type]
    expected = (2 * parts["ranking"] + parts["image"] + 0.1 * parts["text"]) / 6
    torch.testing.assert_close(model.objective(codes, where, None), expected)
    assert parts["ranking"] > 0


# ---------------------------------------------------------------------------------------- training


def test_mining_replaces_the_second_half_by_the_hardest_captions() -> None:
    model = model_of().train()
    batch = pairs(6, candidates=5)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    mined = model.prepare_batch(batch, progress(ranking=2))
    assert model.training
    model.eval()
    with torch.no_grad():
        images = ranking_features(model.image_features(batch.images.pixels[:3]))
        texts = ranking_features(model.text(batch.extra["candidates"]))
    best = [max(range(5), key=lambda k: float(image @ texts[k])) for image in images]
    torch.testing.assert_close(mined.captions.ids[:3], batch.captions.ids[:3])
    torch.testing.assert_close(mined.captions.ids[3:], batch.extra["candidates"][best])
    assert mined.captions.index.tolist() == [0, 1, 2, *(100 + k for k in best)]
    assert mined.extra["classes"].tolist() == [0, 1, 2, *(k % CLASSES for k in best)]
    torch.testing.assert_close(mined.images.pixels, batch.images.pixels)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_an_odd_batch_is_shortened_where_it_ranks() -> None:
    model = model_of().train()
    assert len(model.prepare_batch(pairs(7, candidates=5), progress(ranking=2))) == 6
    assert len(model.prepare_batch(pairs(7, candidates=5), progress(ranking=0))) == 7
    alone = model.prepare_batch(pairs(1, candidates=5), progress(ranking=2))
    assert torch.isfinite(model.objective(model.training_codes(alone), progress(ranking=2), None))


def test_stored_moments_move_once_a_step_and_a_frozen_trunk_s_never() -> None:
    model = model_of().train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    codes = model.training_codes(pairs())
    model.training_codes(pairs(seed=2))
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    model.after_step(codes)
    for name, value in model.named_buffers():
        rate = 0.1 if name.startswith("trunk.") else 0.05
        torch.testing.assert_close(value, (1 - rate) * before[name] + rate * codes.extra[name_of(name)])
    for parameter in model.trunk.parameters():
        parameter.requires_grad_(False)
    frozen = {name: value.clone() for name, value in model.named_buffers()}
    codes = model.training_codes(pairs(seed=4))
    model.after_step(codes)
    for name, value in model.named_buffers():
        assert torch.equal(value, frozen[name]) == name.startswith("trunk."), name


def name_of(buffer: str) -> str:
    return f"moments.{buffer.removesuffix('.moments')}"


def test_a_frozen_trunk_normalises_by_the_batch() -> None:
    model = model_of().train()
    for parameter in model.trunk.parameters():
        parameter.requires_grad_(False)
    batch = pairs()
    first = model.image_features(batch.images.pixels)
    for name, buffer in model.named_buffers():
        if name.startswith("trunk."):
            buffer.add_(1)
    torch.testing.assert_close(model.image_features(batch.images.pixels), first)


def test_new_layers_are_drawn_uniformly_by_their_width() -> None:
    model = model_of(text={"positions": 8, "word_dim": 50, "widths": [30, 40, 50, 60, 70, 80]})
    weight = model.text.output.weight.detach()
    assert float(weight.abs().max()) <= math.sqrt(3 / 80)
    assert float(weight.var()) == pytest.approx(1 / 80, rel=0.1)
    assert float(model.classifier.weight.detach().abs().max()) <= 0.1 * math.sqrt(3 / 80)
    assert not model.classifier.bias.any()
    assert not model.text.words.bias.any()


def test_word_vectors_take_the_place_of_random_ones() -> None:
    from baselines.dualpath.build import build_dualpath
    from benchmark.method import DataFacts

    config = model_of().config
    vectors = torch.randn(9, 5)
    facts = DataFacts(vocab_size=9, n_train_images=4, word_vectors=vectors)
    assert torch.equal(build_dualpath(config, facts).text.words.weight, vectors)
    with pytest.raises(UserError, match="word_dim"):
        build_dualpath(config, DataFacts(vocab_size=9, word_vectors=torch.randn(9, 6)))
