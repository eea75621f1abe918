"""USER: sizes, the enhancement and the losses by naive loops, the order of a step, modes, errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from baselines.layers.queues import KeyQueues
from baselines.user import METHOD
from baselines.user.enhancement import SelfGuidedEnhancement, region_gate
from baselines.user.model import USER, UserConfig, UserLoss, batch_loss, check_batch, inputs, queue_loss
from benchmark.batches import PairBatch
from benchmark.errors import UserError
from benchmark.inputs import RegionInput
from benchmark.method import DataFacts
from benchmark.registry import get_method
from tests.baselines.user.models import (
    LENGTHS,
    REGION_DIM,
    REGIONS,
    captions,
    images,
    pairs,
    progress,
    tiny_user,
    user_config,
)

SETTINGS = [UserLoss(), UserLoss(scale=10, threshold=0.2), UserLoss(scale=5, threshold=0.1, tangent=True)]


def unit(count: int, seed: int, dim: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return nn.functional.normalize(torch.randn(count, dim, generator=generator).double(), dim=1)


# --------------------------------------------------------------------------------------------- encoders


def test_full_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = USER(UserConfig(), DataFacts(vocab_size=30_522))
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert (count["image_encoder"], count["text_encoder"]) == (12_087_273, 110_282_400)  # user.md 3.4
    assert (count["image_keys"], count["text_keys"]) == (12_087_273, 110_282_400)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 122_369_673
    assert model.image_encoder.enhancement is not None
    assert sum(p.numel() for p in model.image_encoder.enhancement.parameters()) == 8_398_921
    assert model.queues.images.shape == model.queues.captions.shape == (1024, 2048)


def test_reads_whole_captions_and_all_regions() -> None:
    spec = inputs(UserConfig())
    assert spec.image == RegionInput(36, 2048)  # SGE needs them all: none is dropped
    assert (spec.unit, spec.last_batch) == ("caption", "drop")
    assert (spec.text.codec, spec.text.max_length, spec.text.augment) == ("wordpiece", None, "word_drop")
    assert inputs(user_config(augment="none")).text.augment == "none"


def test_a_region_takes_of_the_whole_what_concerns_it() -> None:
    regions, guide = torch.randn(3, 5, 4).double(), unit(3, 1, 4)
    found = region_gate(regions, guide, 2.0)
    for image in range(3):
        powers = [math.exp(2 * float(region @ guide[image])) for region in regions[image]]
        shares = [power / sum(powers) for power in powers]
        size = math.sqrt(sum(share**2 for share in shares)) + 1e-8
        assert found[image].tolist() == pytest.approx([share / size for share in shares])


@pytest.mark.parametrize("batch", [True, False])
def test_enhanced_regions_are_those_by_hand(batch: bool) -> None:
    """The batch norm of single regions has a channel for each place (user.md 3.1)."""
    torch.manual_seed(1)
    layer = SelfGuidedEnhancement(REGIONS, REGION_DIM, dropout=0.0, sharpness=1.5).double().train(batch)
    with torch.no_grad():
        for norm in (layer.attention.local_norm, layer.attention.query_norm):
            assert norm is not None
            for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                value.uniform_(0.5, 1.5)
    regions = images(4).pixels.double()
    found, statistics = layer(regions, batch_statistics=batch)
    expected = naive_enhancement(layer, regions, batch=batch)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    assert {name: value.shape for name, value in statistics.items()} == {
        "local": (2, REGIONS),
        "query": (2, REGION_DIM),
    }


def naive_enhancement(layer: SelfGuidedEnhancement, regions: Tensor, *, batch: bool) -> Tensor:
    attention = layer.attention
    assert attention.local_norm is not None
    assert attention.query_norm is not None
    local, query = attention.local(regions), attention.query(regions.mean(1))
    for place in range(REGIONS):
        local[:, place] = naive_norm(local[:, place], attention.local_norm, place, batch)
    for dim in range(REGION_DIM):
        query[:, dim] = naive_norm(query[:, dim], attention.query_norm, dim, batch)
    local, query = local.tanh(), query.tanh()
    rows = []
    for image in range(len(regions)):
        scores = torch.stack([attention.score(local[image, r] * query[image])[0] for r in range(REGIONS)])
        weights = scores.exp() / scores.exp().sum()
        guide = sum(weights[r] * regions[image, r] for r in range(REGIONS))
        assert isinstance(guide, Tensor)
        guide = guide / (guide.norm() + 1e-8)
        gate = region_gate(regions[image : image + 1], guide[None], layer.sharpness)[0]
        rows.append(torch.stack([regions[image, r] + gate[r] * guide for r in range(REGIONS)]))
    return torch.stack(rows)


def naive_norm(values: Tensor, norm: Any, channel: int, batch: bool) -> Tensor:
    mean, variance = norm.running_mean[channel], norm.running_var[channel]
    if batch:
        mean, variance = values.mean(), values.var(unbiased=False)
    scaled: Tensor = norm.weight[channel] * (values - mean) / (variance + 1e-5).sqrt() + norm.bias[channel]
    return scaled


def test_codes_are_unit_vectors_that_padding_and_the_batch_do_not_change() -> None:
    model = tiny_user().eval()
    with torch.no_grad():
        image_codes = model.encode_images(images(4))["vectors"]
        codes = model.encode_captions(captions(LENGTHS))["vectors"]
        wide = model.encode_captions(captions(LENGTHS, width=15))["vectors"]
        alone = torch.cat(
            [model.encode_captions(_row(captions(LENGTHS, width=15), row))["vectors"] for row in range(4)]
        )
    torch.testing.assert_close(image_codes.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(codes, wide, atol=1e-6, rtol=0)
    torch.testing.assert_close(codes, alone, atol=1e-6, rtol=0)


def _row(batch: Any, row: int) -> Any:
    return type(batch)(batch.ids[row : row + 1], batch.lengths[row : row + 1], batch.index[row : row + 1])


def test_a_caption_longer_than_bert_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"max_position': found 16, a caption has 17 word pieces"):
        tiny_user().encode_captions(captions([3, 17]))


# ----------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("loss", SETTINGS)
def test_the_loss_of_a_batch_is_the_one_by_hand(loss: UserLoss) -> None:
    v, t = unit(5, 1), unit(5, 2)
    scores = (v @ t.T).tolist()
    costs = 0.0
    for i in range(5):
        row = [0.0 if i == j else scores[i][j] for j in range(5)]  # the diagonal stays, as 0
        column = [0.0 if i == j else scores[j][i] for j in range(5)]
        costs += (
            naive_negatives(row, loss) + naive_negatives(column, loss) - naive_positive(scores[i][i], loss)
        )
    assert float(batch_loss(v, t, loss)) == pytest.approx(costs / 5, abs=1e-9)


@pytest.mark.parametrize("loss", SETTINGS)
def test_the_loss_of_the_queues_is_the_one_by_hand(loss: UserLoss) -> None:
    v, t, image_keys, text_keys = (unit(4, seed) for seed in (1, 2, 3, 4))
    queues = KeyQueues(12, 8).double()
    costs = 0.0
    for vectors, keys, waiting in ((v, text_keys, queues.captions), (t, image_keys, queues.images)):
        for i in range(4):
            negatives = [float(vectors[i] @ waiting[:, k]) for k in range(8)]
            costs += naive_negatives(negatives, loss) - naive_positive(float(vectors[i] @ keys[i]), loss)
    found = queue_loss(v, t, (image_keys, text_keys), queues, loss)
    assert float(found) == pytest.approx(costs / 4, abs=1e-9)


def test_settings_of_the_loss_are_the_published_ones_and_have_limits() -> None:
    loss = UserLoss()
    assert (loss.scale, loss.threshold, loss.batch_weight, loss.tangent) == (90, 0.5, 20, False)  # user.md 4
    assert UserLoss(scale=0.5, batch_weight=0).batch_weight == 0
    for changes in ({"scale": 0}, {"scale": -0.5}, {"batch_weight": -0.5}):
        with pytest.raises(ValidationError, match=next(iter(changes))):
            UserLoss.model_validate(changes)


def naive_negatives(scores: list[float], loss: UserLoss) -> float:
    powers = [math.exp(loss.scale * (score - loss.threshold)) for score in scores]
    return math.log(1 + sum(powers)) / loss.scale


def naive_positive(score: float, loss: UserLoss) -> float:
    return math.log(1 + max(0.0, score)) + (min(0.0, score) if loss.tangent else 0.0)


def test_a_pair_with_a_negative_score_has_no_gradient_but_by_the_tangent() -> None:
    t = torch.eye(3, 12).double()
    for tangent, size in ((False, 0.0), (True, 1 / 3)):
        v = (-t).requires_grad_()
        batch_loss(v, t, UserLoss(tangent=tangent)).backward()  # type: ignore[no-untyped-call]
        assert v.grad is not None
        assert float(v.grad.diagonal().abs().max()) == pytest.approx(size, abs=1e-6)


def test_large_scores_do_not_overflow() -> None:
    same = torch.ones(4, 12) / math.sqrt(12)
    found = batch_loss(same.half().float(), same, UserLoss(scale=500))
    assert math.isfinite(float(found))


def test_the_objective_weighs_the_batch_and_leaves_the_queues_at_one() -> None:
    model = tiny_user().double()
    batch = model.prepare_batch(_double(pairs()), progress())
    codes = model.training_codes(batch)
    both = [model.objective(codes, progress(batch_weight=w), None).item() for w in (0, 1, 20)]
    queues = queue_loss(
        codes.images["vectors"],
        codes.captions["vectors"],
        (codes.extra["image_keys"], codes.extra["text_keys"]),
        model.queues,
        UserLoss(),
    )
    assert both[0] == pytest.approx(queues.item())
    assert both[2] - both[0] == pytest.approx(20 * (both[1] - both[0]))


def _double(batch: PairBatch) -> PairBatch:
    return PairBatch(
        type(batch.images)(batch.images.pixels.double(), batch.images.index), batch.captions, batch.extra
    )


# --------------------------------------------------------------------------------------- order of a step


def moved(model: USER) -> None:
    """Stand in for an optimiser."""
    with torch.no_grad():
        for parameter in (*model.image_encoder.parameters(), *model.text_encoder.parameters()):
            parameter.add_(0.1 * torch.randn_like(parameter))


def test_momentum_encoders_follow_the_weights_before_the_step() -> None:
    model = tiny_user()
    moved(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = model.prepare_batch(pairs(), progress())
    after = model.state_dict()
    for name, _ in model.named_parameters():
        leader = name.replace("image_keys", "image_encoder").replace("text_keys", "text_encoder")
        if leader == name:
            assert torch.equal(after[name], before[name])
        else:
            torch.testing.assert_close(after[name], 0.9 * before[name] + 0.1 * before[leader])
    assert not batch.extra["image_keys"].requires_grad
    torch.testing.assert_close(batch.extra["text_keys"].norm(dim=1), torch.ones(4))
    with torch.no_grad():  # keys are those of the weights after the momentum update, BERT without dropout
        again = model.text_keys(batch.captions.ids, batch.captions.lengths)
    assert torch.equal(again, batch.extra["text_keys"])


def test_the_loss_reads_the_queues_as_they_were_and_the_keys_are_put_in_after_it() -> None:
    model = tiny_user()
    start = {name: value.clone() for name, value in model.queues.state_dict().items()}
    batches = [pairs(seed=seed) for seed in (1, 2, 3)]
    kept = []
    for number, batch in enumerate(batches):
        codes = model.training_codes(model.prepare_batch(batch, progress()))
        waiting = model.queues.captions.clone()
        model.objective(codes, progress(), None)
        assert torch.equal(model.queues.captions, waiting)
        model.after_step(codes)
        kept.append((codes.extra["image_keys"], codes.extra["text_keys"]))
        assert int(model.queues.pointer) == 4 * (number + 1) % 8
        if number == 0:
            assert torch.equal(model.queues.images[:, 4:], start["images"][:, 4:])
    assert torch.equal(model.queues.images, torch.cat([kept[2][0], kept[1][0]]).T)  # the third over the first
    assert torch.equal(model.queues.captions, torch.cat([kept[2][1], kept[1][1]]).T)


def test_queues_begin_with_positive_unit_vectors() -> None:
    queues = KeyQueues(12, 8)
    for vectors in (queues.images, queues.captions):
        torch.testing.assert_close(vectors.norm(dim=0), torch.ones(8))
        assert bool((vectors >= 0).all())
    assert not torch.equal(queues.images, queues.captions)


def test_codes_and_objective_have_no_side_effects() -> None:
    model = tiny_user()
    batch = model.prepare_batch(pairs(), progress())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for _ in range(2):
            codes = model.training_codes(batch)
            model.objective(codes, progress(), None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.after_step(codes)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert {name for name in changed if not name.startswith("queues.")} == {
        f"image_encoder.{layer}.{leaf}"
        for layer in (
            "enhancement.attention.local_norm",
            "enhancement.attention.query_norm",
            "pooled.perceptron.hidden_norm",
        )
        for leaf in statistics
    }
    assert {name for name in changed if name.startswith("queues.")} == {
        "queues.images",
        "queues.captions",
        "queues.pointer",
    }


def test_momentum_encoders_keep_their_modes() -> None:
    """As the golden files' `training_flags_after_step`: images train for ever, BERT evaluates (user.md 5)."""
    model = tiny_user()
    for mode in (True, False, True):
        model.train(mode)
        assert model.image_encoder.training is model.text_encoder.bert.training is mode
        assert all(module.training for module in model.image_keys.modules())
        assert model.text_keys.training
        assert not any(module.training for module in model.text_keys.bert.modules())


def test_keys_of_images_have_dropout_and_keys_of_captions_have_none() -> None:
    model = tiny_user(dropout=0.4)
    batch = pairs()
    with torch.no_grad():
        first, second = (model.image_keys(batch.images.pixels, batch_statistics=True)[0] for _ in range(2))
        queries = [model.encode_captions(batch.captions)["vectors"] for _ in range(2)]
        keys = [model.text_keys(batch.captions.ids, batch.captions.lengths) for _ in range(2)]
    assert not torch.equal(first, second)
    assert not torch.equal(queries[0], queries[1])
    assert torch.equal(keys[0], keys[1])


def test_gradients_reach_the_query_encoders_alone() -> None:
    model = tiny_user()
    codes = model.training_codes(model.prepare_batch(pairs(), progress()))
    model.objective(codes, progress(scale=5, tangent=True), None).backward()  # type: ignore[no-untyped-call]
    without = {name for name, p in model.named_parameters() if p.grad is None}
    expected = {name for name, _ in model.named_parameters() if name.startswith(("image_keys", "text_keys"))}
    unused = ("bert.pooler.dense", "perceptron.output_norm")
    expected |= {name for name, _ in model.named_parameters() if any(part in name for part in unused)}
    assert without == expected


@pytest.mark.parametrize("changes", [{"queue": 0}, {"enhancement": "none"}])
def test_parts_can_be_left_out(changes: dict[str, Any]) -> None:
    model = tiny_user(**changes)
    codes = model.training_codes(model.prepare_batch(pairs(), progress()))
    loss = model.objective(codes, progress(), None)
    model.after_step(codes)
    assert math.isfinite(loss.item())
    names = set(model.state_dict())
    assert any("keys." in name for name in names) == ("queue" not in changes)
    assert any("enhancement" in name for name in names) == ("enhancement" not in changes)
    if "queue" in changes:
        expected = 20 * batch_loss(codes.images["vectors"], codes.captions["vectors"], UserLoss())
        assert loss.item() == expected.item()


def test_batches_that_do_not_fill_a_queue_are_refused() -> None:
    check_batch(user_config(queue=0), 7)
    check_batch(user_config(queue=2048), 128)
    for queue, batch, nearest in ((2048, 100, "2000 and 2100"), (64, 128, "128; 0 is none")):
        with pytest.raises(
            UserError, match=rf"model.queue': found {queue}.*batch_size \({batch}\).*{nearest}"
        ):
            check_batch(user_config(queue=queue), batch)


def test_misspelt_and_impossible_settings_are_refused() -> None:
    for changes in ({"enhancment": "sge"}, {"momentum": 1.0}, {"enhancement": "cge2"}, {"pool_width": 7}):
        with pytest.raises(ValidationError):
            user_config(**changes)


def test_the_method_is_registered() -> None:
    assert get_method("user") is METHOD
    assert METHOD.check_batch is check_batch
