"""RCAR: sizes, scores and gradients by naive loops, blocks and chunks that change nothing, modes, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from baselines.attention.regulators import Focus
from baselines.layers.batch_norm import BatchNorm
from baselines.rcar.checks.published import published_scores
from baselines.rcar.model import RCAR, RCARConfig, Sides, inputs
from benchmark.batches import CaptionBatch, Codes
from benchmark.inputs import RegionInput, WordText
from benchmark.method import DataFacts
from tests.baselines.rcar.models import (
    DIRECTIONS,
    LENGTHS,
    SETTINGS,
    in_double,
    naive_scores,
    tiny_config,
    tiny_rcar,
)
from tests.baselines.region_models import captions, images, pairs, progress
from tests.baselines.two_passes import assert_two_passes_are_one

BOTH = [("t2i", "rcar"), ("i2t", "rcar"), ("t2i", "rcr"), ("i2t", "rar")]
ALL = [*BOTH, ("t2i", "none"), ("i2t", "none")]


def both_codes(model: RCAR, count: int = 5) -> tuple[Codes, Codes]:
    return model.encode_images(images(count)), model.encode_captions(captions(LENGTHS))


@pytest.mark.parametrize(
    ("regulator", "steps", "flickr", "coco", "similarity"),
    [
        ("none", 1, 14_367_449, 15_229_049, 257),
        ("rar", 2, 14_893_531, 15_755_131, 526_339),
        ("rar", 3, 15_025_372, 15_886_972, 658_180),
        ("rcr", 2, 16_272_091, 17_133_691, 1_904_899),
        ("rcr", 3, 17_224_412, 18_086_012, 2_857_220),
        ("rcar", 2, 15_845_852, 16_707_452, 1_478_660),
    ],
)
def test_full_size_has_the_published_number_of_parameters(
    regulator: str, steps: int, flickr: int, coco: int, similarity: int
) -> None:
    config = RCARConfig.model_validate({"direction": "t2i", "regulator": regulator, "steps": steps})
    for vocabulary, total in ((8_482, flickr), (11_354, coco)):
        with torch.device("meta"):
            model = RCAR(config, DataFacts(vocab_size=vocabulary))
        image, text = (
            sum(p.numel() for p in part.parameters()) for part in (model.image_encoder, model.text_encoder)
        )
        assert sum(p.numel() for p in model.parameters()) == total  # rcar.md 3.9
        assert image == 3_675_648
        assert total - image - text == similarity


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("regulator", "steps"), SETTINGS)
def test_similarity_is_the_score_by_hand(direction: str, regulator: str, steps: int) -> None:
    model = tiny_rcar(direction, regulator, steps).double()
    with torch.no_grad():
        codes = model.training_codes(in_double(pairs(LENGTHS)))
        few = codes.images.rows(slice(0, 3))
        ours = model.similarity(few, codes.captions)
        torch.testing.assert_close(ours, naive_scores(model, few, codes.captions), atol=1e-10, rtol=0)
        torch.testing.assert_close(ours, published_scores(model, few, codes.captions), atol=1e-10, rtol=0)


@pytest.mark.parametrize("options", [
    {"normalize_images": False, "normalize_captions": False},
    {"negative_slope": 0.0, "temperature": 4.0},
    {"bidirectional": False, "gru_layers": 2},
])  # fmt: skip
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_options_reach_the_score(direction: str, options: dict[str, Any]) -> None:
    for regulator in ("rcr", "rcar"):
        model = tiny_rcar(direction, regulator, 2, **options).double()
        with torch.no_grad():
            codes = model.training_codes(in_double(pairs([3, 5, 1])))
            ours = model.similarity(codes.images, codes.captions)
            expected = naive_scores(model, codes.images, codes.captions)
        torch.testing.assert_close(ours, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("regulator", "steps"), [("none", 1), ("rcr", 2), ("rar", 2), ("rcar", 2), ("rcar", 3)]
)
@pytest.mark.parametrize("gain", [1.0, 6.0])
def test_gradients_are_those_by_hand(direction: str, regulator: str, steps: int, gain: float) -> None:
    """In float64 from the same codes; with a gain of 6 the clamps and the relu are met."""
    model = tiny_rcar(direction, regulator, steps, gain=gain, dropout=0).double().train()
    codes = model.training_codes(in_double(pairs([3, 7, 1, 5])))
    leaves = [codes.images["regions"], codes.captions["words"]]
    wanted = [*model.parameters(), *leaves]
    weights = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    scores = model.training_scores(codes, None)
    ours = torch.autograd.grad((scores * weights).sum(), wanted, retain_graph=True, allow_unused=True)
    expected = naive_scores(model, codes.images, codes.captions)
    theirs = torch.autograd.grad((expected * weights).sum(), wanted, retain_graph=True, allow_unused=True)
    torch.testing.assert_close(scores, expected, atol=1e-9, rtol=0)
    assert sum(one is not None for one in ours) > 10
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-6)


def test_the_saturated_case_meets_clamps_and_relu() -> None:
    """The gain of 6 above is there for this."""
    model = tiny_rcar("t2i", "rcar", 3, gain=6.0)
    queries = model.encode_captions(captions([7, 7]))["words"][:, :7]
    contexts = model.encode_images(images(3))["regions"]
    sides = Sides(queries, contexts, Focus(None, 10.0), None)
    with torch.no_grad():
        focus = sides.focus
        for step in range(2):
            focus = model.correspondences[step](model._align(step, sides, focus), focus)
    assert focus.modulation is not None
    assert bool((focus.modulation == 1).any())
    assert bool((focus.modulation.abs() <= 1).all())
    strong = tiny_rcar("t2i", "rcar", 2, gain=40.0)
    with torch.no_grad():
        focus = strong.correspondences[0](strong._align(0, sides, Focus(None, 10.0)), Focus(None, 1.0))
        assert bool((torch.as_tensor(focus.temperature) >= 0).all())


# ---------------------------------------------------------------------------- blocks, chunks, padding


@pytest.mark.parametrize(("direction", "regulator"), ALL)
@torch.no_grad()
def test_blocks_change_scores_by_rounding_only(
    direction: str, regulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_rcar(direction, regulator, 2)
    image_codes, caption_codes = both_codes(model)
    whole = model.similarity(image_codes, caption_codes)
    for height, width in ((1, 1), (2, 3), (5, 2)):
        rows = [
            torch.cat(
                [
                    model.similarity(image_codes.rows(slice(i, i + height)), caption_codes.rows(columns))
                    for columns in torch.split(torch.arange(len(LENGTHS)), width)
                ],
                dim=1,
            )
            for i in range(0, 5, height)
        ]
        torch.testing.assert_close(torch.cat(rows), whole, atol=1e-6, rtol=0)
    for size in (1, 1000, 5000):
        monkeypatch.setattr("baselines.attention.length_groups.tile_bytes", lambda _device, size=size: size)
        torch.testing.assert_close(model.similarity(image_codes, caption_codes), whole, atol=1e-6, rtol=0)
    assert model.pair_bytes(image_codes, caption_codes) > 0


@pytest.mark.parametrize(("direction", "regulator"), ALL)
@torch.no_grad()
def test_padding_and_batch_mates_do_not_matter(direction: str, regulator: str) -> None:
    model = tiny_rcar(direction, regulator, 2)
    image_codes, caption_codes = both_codes(model)
    scores = model.similarity(image_codes, caption_codes)
    text = captions(LENGTHS)
    alone = model.encode_captions(CaptionBatch(text.ids[:2, :7], text.lengths[:2], text.index[:2]))
    torch.testing.assert_close(model.similarity(image_codes, alone), scores[:, :2], atol=1e-6, rtol=0)
    padded = Codes({**caption_codes.tensors, "words": caption_codes["words"] + 0})
    padded["words"][torch.arange(12) >= text.lengths[:, None]] = 7.0
    torch.testing.assert_close(model.similarity(image_codes, padded), scores, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("direction", "regulator"), ALL)
@pytest.mark.parametrize("budget", [1, 200_000, 10**9])
def test_loss_and_gradients_do_not_depend_on_the_pair_budget(
    direction: str, regulator: str, budget: int
) -> None:
    """With dropout: it draws the same however captions are grouped and often pairs are computed again."""
    results = []
    for pair_budget in (None, budget):
        model = tiny_rcar(direction, regulator, 2).train()
        torch.manual_seed(7)
        codes = model.training_codes(pairs(LENGTHS))
        loss = model.objective(codes, progress(hardest=False), pair_budget)
        torch.autograd.backward(loss)
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        model.after_step(codes)
        results.append((loss.detach(), gradients, model.state_dict()))
    (loss, gradients, state), (chunked_loss, chunked, chunked_state) = results
    torch.testing.assert_close(loss, chunked_loss, atol=1e-5, rtol=1e-6)
    assert gradients.keys() == chunked.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(chunked[name], gradient, atol=1e-4, rtol=1e-3)
    for name, value in state.items():
        assert torch.equal(chunked_state[name], value)


@pytest.mark.parametrize(("direction", "regulator"), BOTH)
def test_the_estimate_of_bytes_covers_what_training_takes(direction: str, regulator: str) -> None:
    """The largest total of all that is allocated and not yet freed during scores and gradients."""
    model = tiny_rcar(direction, regulator, 2, dim=128, sim_dim=32).train()
    batch = pairs([11] * 24)
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        codes = model.training_codes(batch)
        model.training_scores(codes, None).sum().backward()  # type: ignore[no-untyped-call]
    assert profile.profiler is not None
    held = largest = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            largest = max(largest, held)
    estimate = 24 * 24 * model._training_bytes(11)
    assert 0.3 * estimate < largest < estimate, largest / estimate


# ------------------------------------------------------------------------------ gradients and modes


@pytest.mark.parametrize(("direction", "regulator"), ALL)
def test_what_gets_a_gradient(direction: str, regulator: str) -> None:
    """Everything but the norm that is never applied and, without RAR, the layer that is never read."""
    model = tiny_rcar(direction, regulator, 2).train()
    torch.autograd.backward(model.objective(model.training_codes(pairs(LENGTHS)), progress(), None))
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    unread = {"score.weight", "score.bias"} if regulator in ("none", "rcr") else set()
    assert without == {"image_encoder.output_norm.weight", "image_encoder.output_norm.bias", *unread}


@pytest.mark.parametrize(("direction", "regulator"), ALL)
def test_zero_vectors_have_finite_gradients(direction: str, regulator: str) -> None:
    model = tiny_rcar(direction, regulator, 2, dropout=0).train()
    codes = model.training_codes(pairs(LENGTHS))
    regions, words = codes.images["regions"].detach().clone(), codes.captions["words"].detach().clone()
    regions[3], regions[2, 1], words[2], words[1, 0] = 0, 0, 0, 0
    regions.requires_grad_()
    words.requires_grad_()
    scores = model.training_scores(
        type(codes)(Codes({"regions": regions}), Codes({**codes.captions.tensors, "words": words})), None
    )
    torch.autograd.backward(scores.sum())
    assert bool(scores.isfinite().all())
    for gradient in (regions.grad, words.grad, *(p.grad for p in model.alignments.parameters())):
        assert gradient is not None
        assert bool(gradient.isfinite().all())


def test_statistics_change_once_a_step_and_are_pytorchs() -> None:
    model = tiny_rcar("t2i", "rar", 1, dropout=0).train()
    plain = nn.BatchNorm1d(8)
    plain.load_state_dict(model.image_encoder.hidden_norm.state_dict())
    batch = pairs(LENGTHS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        codes = model.training_codes(batch)
        hidden = plain(model.image_encoder.hidden(batch.images.pixels).flatten(0, 1)).relu()
        encoded = model.image_encoder.projection(batch.images.pixels).flatten(
            0, 1
        ) + model.image_encoder.output(hidden)
        expected = encoded / encoded.norm(dim=1, keepdim=True)
        torch.testing.assert_close(codes.images["regions"].flatten(0, 1), expected)
        for budget in (None, 1):
            model.objective(codes, progress(), budget)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        model.after_step(codes)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(model.image_encoder.hidden_norm.state_dict()[key], value)
    unused = model.image_encoder.output_norm
    assert int(unused.num_batches_tracked) == 0
    assert torch.equal(unused.running_var, before["image_encoder.output_norm.running_var"])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_dropout_acts_in_training_only(direction: str) -> None:
    model = tiny_rcar(direction, "rcar", 2)
    with torch.no_grad():
        codes, again = model.training_codes(pairs(LENGTHS)), model.training_codes(pairs(LENGTHS))
        assert "seeds" not in codes.captions.tensors
        torch.testing.assert_close(
            model.training_scores(codes, None), model.similarity(again.images, again.captions)
        )
        model.train()
        codes = model.training_codes(pairs(LENGTHS))
        scores = model.training_scores(codes, None)
        assert torch.equal(model.training_scores(codes, None), scores)
        others = Codes({**codes.captions.tensors, "seeds": codes.captions["seeds"] + 1})
        other = model.training_scores(type(codes)(codes.images, others), None)
        assert not torch.allclose(other, scores)


def test_loss_settings_reach_the_loss() -> None:
    model = tiny_rcar("i2t", "rcar", 2)
    with torch.no_grad():
        codes = model.training_codes(pairs(LENGTHS))
        hardest = model.objective(codes, progress(), None)
        every = model.objective(codes, progress(hardest=False), None)
        wide = model.objective(codes, progress(margin=0.5), None)
    assert every > hardest
    assert wide > hardest


@pytest.mark.parametrize(("direction", "regulator"), ALL)
def test_trains_under_autocast_near_the_float32_loss(direction: str, regulator: str) -> None:
    model = tiny_rcar(direction, regulator, 2, dropout=0).train()
    exact = model.objective(model.training_codes(pairs(LENGTHS)), progress(), None)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.objective(model.training_codes(pairs(LENGTHS)), progress(), 1)
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.1)


# ------------------------------------------------------------------------- initial weights, configuration


@torch.no_grad()
def test_initial_weights_are_as_published() -> None:
    torch.manual_seed(0)
    config = tiny_config("t2i", "rcar", 3, region_dim=300, dim=200, sim_dim=120)
    model = RCAR(config, DataFacts(vocab_size=500))
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    assert len(linear) == 3 + 3 + 2 * 4 + 3 * 3 + 1
    for name, layer in linear.items():
        published = (6 / (layer.in_features + layer.out_features)) ** 0.5
        fresh = name.startswith(("image_encoder.hidden", "image_encoder.output"))
        bound = layer.in_features**-0.5 if fresh else published
        assert 0.9 * bound < float(layer.weight.abs().max()) <= bound, name
        assert float(layer.weight.std()) == pytest.approx(bound / 3**0.5, rel=0.2), name
        assert bool(layer.bias.any()) == fresh, name
        assert float(layer.bias.abs().max()) <= layer.in_features**-0.5
    assert 0.099 < float(model.text_encoder.embedding.weight.abs().max()) <= 0.1
    for norm in (layer for layer in model.modules() if isinstance(layer, BatchNorm)):
        assert bool((norm.weight == 1).all())
        assert not norm.bias.any()


def test_inputs_are_the_published_ones() -> None:
    spec = inputs(RCARConfig(direction="t2i", regulator="rcar"))
    assert spec.image == RegionInput(36, 2048)
    assert spec.text == WordText(max_length=None, mask_token=True, augment="word_drop")
    assert (spec.unit, spec.last_batch) == ("caption", "drop")


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"direction": "both"}, "direction"), ({"regulator": "RCAR"}, "regulator"), ({"steps": 0}, "steps"),
     ({"rcar_step": 2}, "rcar_step"), ({"dropout": 1.0}, "dropout")],
)  # fmt: skip
def test_impossible_configurations_are_refused(changes: dict[str, Any], word: str) -> None:
    settings = {"direction": "t2i", "regulator": "rcar", **changes}
    with pytest.raises(ValidationError, match=word):
        RCARConfig.model_validate(settings)


# ------------------------------------------------------------- two passes of the hardest negatives


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("regulator", "steps"), [("rcr", 2), ("rar", 2), ("rcar", 2), ("rcar", 3)])
@pytest.mark.parametrize("double", [True, False])
def test_two_passes_are_one(direction: str, regulator: str, steps: int, double: bool) -> None:
    """With dropout and uneven lengths, for batches of 8 and of 2, in parts and in one piece."""
    for lengths, budget in ((LENGTHS, None), (LENGTHS, 50_000), ([7, 2], 1)):
        model = tiny_rcar(direction, regulator, steps).train()
        batch = pairs(lengths)
        if double:
            model, batch = model.double(), in_double(batch)
        assert_two_passes_are_one(model, model.training_codes(batch), budget)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_two_passes_break_ties_as_one(direction: str) -> None:
    """Where all scores are the same, and where images and captions come twice; margins of 0 make hinges inactive."""
    model = tiny_rcar(direction, "rcar", 2).double().train()
    with torch.no_grad():
        model.score.weight.zero_()
    scores = assert_two_passes_are_one(model, model.training_codes(in_double(pairs(LENGTHS))))
    assert len(set(scores.flatten().tolist())) == 1
    model = tiny_rcar(direction, "rcar", 2, dropout=0).double().train()
    codes = model.training_codes(in_double(pairs(LENGTHS)))
    twice = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    codes = type(codes)(codes.images.rows(twice), codes.captions.rows(twice), codes.extra)
    for margin in (0.2, 0.0):
        assert_two_passes_are_one(model, codes, margin=margin)


@pytest.mark.parametrize(("direction", "regulator"), BOTH)
def test_tiles_of_the_first_pass_change_nothing(
    direction: str, regulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (1, 3000):
        monkeypatch.setattr("baselines.attention.length_groups.tile_bytes", lambda _device, size=size: size)
        model = tiny_rcar(direction, regulator, 2).double().train()
        assert_two_passes_are_one(model, model.training_codes(in_double(pairs(LENGTHS))))
