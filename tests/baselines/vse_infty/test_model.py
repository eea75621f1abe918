"""VSE-infinity: sizes, scores by naive loops, dropped regions, replicas, parity of its parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from baselines.layers.pooled_encoders import PooledGRU
from baselines.vse_infty import METHOD
from baselines.vse_infty.model import VSEConfig, VSEInfinity, inputs, pretrained_parts
from benchmark.batches import ImageBatch, PairBatch
from benchmark.checks.parity.report import run_parity
from benchmark.inputs import RegionInput, WordText
from benchmark.method import DataFacts, Progress, TripletLoss
from benchmark.registry import get_method
from tests.baselines.user.models import LENGTHS, REGION_DIM, captions, images, pairs, tiny_vse
from tests.baselines.vse_infty.goldens import COPIES, GOLDEN, SELECTIONS, load, selection

PROGRESS = Progress(epoch=0, step=0, stage=0, loss=TripletLoss())
OWN = GOLDEN / "vse_infty"


def test_full_size_is_users_without_enhancement() -> None:
    with torch.device("meta"):
        bert = VSEInfinity(VSEConfig(), DataFacts(vocab_size=30_522))
        words = VSEInfinity(VSEConfig(text="bigru"), DataFacts(vocab_size=11_354))
    assert sum(p.numel() for p in bert.image_encoder.parameters()) == 12_087_273 - 8_398_921  # user.md 3.4
    assert sum(p.numel() for p in bert.text_encoder.parameters()) == 110_282_400
    assert isinstance(words.text_encoder, PooledGRU)
    assert words.text_encoder.words.embedding.weight.shape == (11_354, 300)
    assert words.text_encoder.words.gru.weight_hh_l0.shape == (3 * 1024, 1024)


def test_what_it_reads() -> None:
    bert, words = inputs(VSEConfig()), inputs(VSEConfig(text="bigru"))
    assert bert.image == words.image == RegionInput(36, 2048, drop=0.2)
    assert (bert.text.codec, bert.text.max_length, bert.text.augment) == ("wordpiece", None, "word_drop")
    assert words.text == WordText(mask_token=True, augment="word_drop_ends")
    assert inputs(VSEConfig(text="bigru", augment="none")).text.augment == "none"
    assert bert.last_batch == words.last_batch == "drop"
    assert pretrained_parts(VSEConfig()) == ["google-bert/bert-base-uncased"]
    assert pretrained_parts(VSEConfig(text="bigru")) == []


@pytest.mark.parametrize("text", ["bert", "bigru"])
def test_codes_are_unit_vectors_and_scores_their_products(text: str) -> None:
    model = tiny_vse(text=text).eval()
    with torch.no_grad():
        image_codes, caption_codes = model.encode_images(images(3)), model.encode_captions(captions(LENGTHS))
        wide = model.encode_captions(captions(LENGTHS, width=15))
        scores = model.similarity(image_codes, caption_codes)
    torch.testing.assert_close(caption_codes["vectors"], wide["vectors"], atol=1e-6, rtol=0)
    for i in range(3):
        for j in range(4):
            product = sum(
                a * b for a, b in zip(image_codes["vectors"][i], caption_codes["vectors"][j], strict=True)
            )
            assert float(scores[i, j]) == pytest.approx(float(product), abs=1e-6)
    torch.testing.assert_close(image_codes["vectors"].norm(dim=1), torch.ones(3))


def naive_images(model: VSEInfinity, batch: ImageBatch) -> Tensor:
    """Vectors of images with the batch's statistics, over all rows, padding included."""
    perceptron, pooling = model.image_encoder.perceptron, model.image_encoder.pooling
    assert batch.lengths is not None
    rows = perceptron.hidden(batch.pixels).flatten(0, 1)
    scaled = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
    hidden = (scaled * perceptron.hidden_norm.weight + perceptron.hidden_norm.bias).relu()
    whole = perceptron.projection(batch.pixels) + perceptron.output(hidden).view(*batch.pixels.shape[:2], -1)
    found = []
    for vectors, length in zip(whole, batch.lengths.tolist(), strict=True):
        pooled = pooling(vectors[None, :length])[0]
        found.append(pooled / (pooled.norm() + 1e-8))
    return torch.stack(found)


def with_dropped(batch: PairBatch) -> PairBatch:
    lengths = torch.tensor([7, 3, 5, 1])
    pixels = batch.images.pixels.clone()
    pixels[torch.arange(7) >= lengths[:, None]] = 0
    return PairBatch(ImageBatch(pixels, batch.images.index, lengths), batch.captions)


def test_dropped_regions_count_in_the_batch_norm_alone() -> None:
    model, batch = tiny_vse(), with_dropped(pairs())
    found = model.training_codes(batch).images["vectors"]
    torch.testing.assert_close(found, naive_images(model, batch.images), atol=1e-5, rtol=0)
    model.eval()
    full = model.encode_images(batch.images)["vectors"]
    alone = model.encode_images(ImageBatch(batch.images.pixels[1:2, :3], torch.tensor([1])))["vectors"]
    torch.testing.assert_close(full[1:2], alone, atol=1e-6, rtol=0)


def test_replicas_have_batch_statistics_of_their_own() -> None:
    model, batch = tiny_vse(replicas=2), with_dropped(pairs())
    codes = model.training_codes(batch)
    assert batch.images.lengths is not None
    halves = [
        ImageBatch(batch.images.pixels[rows], batch.images.index[rows], batch.images.lengths[rows])
        for rows in (slice(0, 2), slice(2, 4))
    ]
    expected = torch.cat([naive_images(model, half) for half in halves])
    torch.testing.assert_close(codes.images["vectors"], expected, atol=1e-5, rtol=0)
    plain = nn.BatchNorm1d(6)  # the first replica's statistics are kept
    plain(model.image_encoder.perceptron.hidden(halves[0].pixels).flatten(0, 1))
    model.after_step(codes)
    torch.testing.assert_close(model.image_encoder.perceptron.hidden_norm.running_mean, plain.running_mean)
    torch.testing.assert_close(model.image_encoder.perceptron.hidden_norm.running_var, plain.running_var)


@pytest.mark.parametrize("hardest", [True, False])
def test_the_objective_is_the_ranking_loss_and_has_no_side_effects(hardest: bool) -> None:
    model = tiny_vse()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    codes = model.training_codes(model.prepare_batch(pairs(), PROGRESS))
    found = model.objective(codes, replace(PROGRESS, loss=TripletLoss(hardest=hardest)), None)
    scores = codes.images["vectors"] @ codes.captions["vectors"].T
    assert found.item() == TripletLoss(margin=0.2, hardest=hardest)(scores).item()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.after_step(codes)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.rpartition(".")[0] for name in changed} == {"image_encoder.perceptron.hidden_norm"}


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(ValidationError):
        VSEConfig.model_validate({"text": "gru"})
    assert get_method("vse_infty") is METHOD
    assert images(1).pixels.shape[2] == REGION_DIM


# ----------------------------------------------------------------------------------------------- parity


def test_every_recorded_part_agrees() -> None:
    report = run_parity("vse_infty")
    assert report.ok
    assert {row.file for row in report.rows} == {*COPIES, *SELECTIONS}
    assert report.compared > 40_000


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_the_files_of_the_other_folders(name: str) -> None:
    assert (OWN / name).read_bytes() == (GOLDEN / COPIES[name] / name).read_bytes()


@pytest.mark.parametrize("name", SELECTIONS)
def test_selections_hold_what_users_files_hold(name: str) -> None:
    found, expected = load(OWN / name), selection(load(GOLDEN / "user" / SELECTIONS[name]))
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key])
