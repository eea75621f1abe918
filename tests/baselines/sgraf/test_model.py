"""SAF and SGR: sizes, scores and gradients by naive loops, blocks and chunks that change nothing, modes, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from baselines.sgraf.checks.published import published_scores
from baselines.sgraf.global_branch import SelfAttentionBranch
from baselines.sgraf.model import SAF, SGRAF, SGRAFConfig, inputs
from benchmark.batches import CaptionBatch, Codes, TrainingCodes
from benchmark.errors import UserError
from benchmark.inputs import RegionInput, WordText
from benchmark.method import DataFacts
from tests.baselines.region_models import captions, images, pairs, progress
from tests.baselines.sgraf.models import (
    naive_nodes,
    naive_saf_column,
    naive_sgr,
    plain_norm,
    tiny_config,
    tiny_sgraf,
)
from tests.baselines.two_passes import assert_two_passes_are_one

LENGTHS = [2, 7, 12, 5, 9, 1, 12, 7]
MODULES = ["SAF", "SGR"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"normalize_images": False, "normalize_captions": False},
    {"bias": False, "negative_slope": 0.0, "temperature": 4.0},
    {"sgr_steps": 1, "edge_scale": 0.5, "bidirectional": False},
]


def published_branch(model: SGRAF) -> SelfAttentionBranch:
    assert isinstance(model.global_branch, SelfAttentionBranch)
    return model.global_branch


def both_codes(model: SGRAF, count: int = 5) -> tuple[Codes, Codes]:
    return model.encode_images(images(count)), model.encode_captions(captions(LENGTHS))


def naive_scores(model: SGRAF, image_codes: Codes, caption_codes: Codes) -> Tensor:
    """Pair by pair; SAF column by column, longest caption first, as the published loop goes (sgraf.md 3.7)."""
    norm = plain_norm(model) if isinstance(model.head, SAF) else None
    lengths = caption_codes["lengths"].tolist()
    columns: dict[int, Tensor] = {}
    for j in sorted(range(len(lengths)), key=lambda j: -lengths[j]):
        nodes = [
            naive_nodes(
                model, regions, caption_codes["words"][j, : lengths[j]], own, caption_codes["global"][j]
            )
            for regions, own in zip(image_codes["regions"], image_codes["global"], strict=True)
        ]
        if norm is None:
            columns[j] = torch.stack([naive_sgr(model, pair) for pair in nodes])
        else:
            columns[j] = naive_saf_column(model, nodes, norm)
    return torch.stack([columns[j] for j in range(len(lengths))], dim=1)


@pytest.mark.parametrize(
    ("module", "vocabulary", "total"),
    [
        ("SAF", 8_481, 17_517_306),
        ("SGR", 8_481, 18_109_175),
        ("SAF", 11_353, 18_378_906),
        ("SGR", 11_353, 18_970_775),
    ],
)
def test_full_size_has_the_published_number_of_parameters(module: str, vocabulary: int, total: int) -> None:
    with torch.device("meta"):
        model = SGRAF(SGRAFConfig.model_validate({"module": module}), DataFacts(vocab_size=vocabulary))

    def count(part: nn.Module) -> int:
        return sum(parameter.numel() for parameter in part.parameters())

    assert count(model) == total  # sgraf.md 3.9
    assert count(model.image_encoder) == 2_098_176
    assert count(model.text_encoder) == total - 2_098_176 - (4_727_886 if module == "SAF" else 5_319_755)
    assert count(published_branch(model).image_pooling) == 2_102_345
    assert count(published_branch(model).caption_pooling) == 2_100_225


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("options", OPTIONS)
def test_similarity_is_the_score_by_hand(module: str, options: dict[str, Any]) -> None:
    model = tiny_sgraf(module, **options).double()
    with torch.no_grad():
        batch = images(4)
        image_codes = model.encode_images(type(batch)(batch.pixels.double(), batch.index))
        caption_codes = model.encode_captions(captions(LENGTHS))
        ours = model.similarity(image_codes, caption_codes)
        torch.testing.assert_close(ours, naive_scores(model, image_codes, caption_codes), atol=1e-10, rtol=0)
        torch.testing.assert_close(
            ours, published_scores(model, image_codes, caption_codes), atol=1e-10, rtol=0
        )
    assert ours.min() > 0
    assert ours.max() < 1


@pytest.mark.parametrize("module", MODULES)
def test_training_scores_loss_gradients_and_statistics_are_those_by_hand(module: str) -> None:
    """Both sides in float64 from the same codes; the naive side has PyTorch's batch norm, called once a caption."""
    model = tiny_sgraf(module, dropout=0).double().train()
    codes = model.training_codes(in_double(pairs(LENGTHS)))
    leaves = [
        codes.images["regions"],
        codes.images["global"],
        codes.captions["words"],
        codes.captions["global"],
    ]
    wanted = [*(p for p in model.parameters() if p.requires_grad), *leaves]
    weights = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    scores = model.training_scores(codes, None)
    ours = torch.autograd.grad((scores * weights).sum(), wanted, retain_graph=True, allow_unused=True)
    expected = naive_scores(model, codes.images, codes.captions)
    theirs = torch.autograd.grad((expected * weights).sum(), wanted, retain_graph=True, allow_unused=True)
    torch.testing.assert_close(scores, expected, atol=1e-10, rtol=0)
    for one, other in zip(ours, theirs, strict=True):
        zero = torch.zeros(())
        torch.testing.assert_close(
            zero if one is None else one.norm(),
            zero if other is None else other.norm(),
            atol=1e-10,
            rtol=1e-8,
            check_dtype=False,
        )
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


def in_double(batch: Any) -> Any:
    pixels = type(batch.images)(batch.images.pixels.double(), batch.images.index)
    return type(batch)(pixels, batch.captions)


def test_running_statistics_are_those_of_one_update_a_caption() -> None:
    model = tiny_sgraf("SAF", dropout=0).double().train()
    assert isinstance(model.head, SAF)
    norm = plain_norm(model)
    with torch.no_grad():
        codes = model.training_codes(in_double(pairs(LENGTHS)))
        for j in sorted(range(len(LENGTHS)), key=lambda j: -LENGTHS[j]):
            nodes = [
                naive_nodes(
                    model, regions, codes.captions["words"][j, : LENGTHS[j]], own, codes.captions["global"][j]
                )
                for regions, own in zip(codes.images["regions"], codes.images["global"], strict=True)
            ]
            naive_saf_column(model, nodes, norm)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        for budget in (None, 1):  # computed twice, in one piece and in chunks: counted once
            model.objective(codes, progress(), budget)
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name
        model.after_step(codes)
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(model.head.norm.state_dict()[name], value, atol=1e-12, rtol=0)
    assert int(model.head.norm.num_batches_tracked) == len(LENGTHS)
    assert int(published_branch(model).image_pooling.get_buffer("local_norm.num_batches_tracked")) == 1


def test_visual_statistics_are_those_of_the_whole_batch() -> None:
    model = tiny_sgraf("SGR", dropout=0).train()
    pooling = published_branch(model).image_pooling
    plain = {"local": nn.BatchNorm1d(6), "query": nn.BatchNorm1d(16)}
    plain["local"].load_state_dict(pooling.get_submodule("local_norm").state_dict())
    plain["query"].load_state_dict(pooling.get_submodule("query_norm").state_dict())
    with torch.no_grad():
        codes = model.training_codes(pairs(LENGTHS))
        regions = codes.images["regions"]
        local = plain["local"](pooling.local(regions)).tanh()
        query = plain["query"](pooling.query(regions.mean(1))).tanh()
        weights = pooling.score(local * query[:, None]).softmax(1)
        pooled = (weights * regions).sum(1)
        torch.testing.assert_close(codes.images["global"], pooled / pooled.norm(dim=1, keepdim=True))
        model.after_step(codes)
    for name, norm in plain.items():
        for key, value in norm.state_dict().items():
            torch.testing.assert_close(pooling.get_submodule(f"{name}_norm").state_dict()[key], value)


# ---------------------------------------------------------------------------- blocks, chunks, padding


@pytest.mark.parametrize("module", MODULES)
@torch.no_grad()
def test_blocks_change_scores_by_rounding_only(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_sgraf(module)
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


@pytest.mark.parametrize("module", MODULES)
@torch.no_grad()
def test_padding_and_batch_mates_do_not_matter(module: str) -> None:
    model = tiny_sgraf(module)
    image_codes, caption_codes = both_codes(model)
    scores = model.similarity(image_codes, caption_codes)
    text = captions(LENGTHS)
    junk = text.ids.clone()
    junk[torch.arange(12) >= text.lengths[:, None]] = 7
    junked = model.encode_captions(CaptionBatch(junk, text.lengths, text.index))
    torch.testing.assert_close(model.similarity(image_codes, junked), scores, atol=1e-6, rtol=0)
    alone = model.encode_captions(CaptionBatch(text.ids[:2, :7], text.lengths[:2], text.index[:2]))
    torch.testing.assert_close(model.similarity(image_codes, alone), scores[:, :2], atol=1e-6, rtol=0)
    padded = Codes({**caption_codes.tensors, "words": caption_codes["words"] + 0})
    padded["words"][torch.arange(12) >= text.lengths[:, None]] = float("nan")
    torch.testing.assert_close(model.similarity(image_codes, padded), scores, atol=1e-6, rtol=0)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("budget", [1, 300_000, 10**9])
def test_loss_gradients_and_statistics_do_not_depend_on_the_pair_budget(module: str, budget: int) -> None:
    """With dropout: it draws the same however often pairs are computed again."""
    results = []
    for pair_budget in (None, budget):
        model = tiny_sgraf(module).train()
        torch.manual_seed(7)
        codes = model.training_codes(pairs(LENGTHS))
        loss = model.objective(codes, progress(), pair_budget)
        torch.autograd.backward(loss)
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        model.after_step(codes)
        results.append((loss.detach(), gradients, model.state_dict()))
    (loss, gradients, state), (chunked_loss, chunked, chunked_state) = results
    torch.testing.assert_close(loss, chunked_loss, atol=1e-5, rtol=1e-6)
    assert gradients.keys() == chunked.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(chunked[name], gradient, atol=2e-5, rtol=1e-4)
    for name, value in state.items():
        torch.testing.assert_close(chunked_state[name], value, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("module", MODULES)
def test_the_estimate_of_bytes_covers_what_training_takes(module: str) -> None:
    """The largest total of all that is allocated and not yet freed during scores and gradients."""
    model = tiny_sgraf(module, dim=128, sim_dim=32).train()
    batch = pairs([11] * 24)
    with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
        codes = model.training_codes(batch)
        model.training_scores(codes, None).sum().backward()  # type: ignore[no-untyped-call]
    assert profile.profiler is not None
    events = profile.profiler.kineto_results.events()
    held = largest = 0
    for event in events:
        if event.name() == "[memory]":
            held += event.nbytes()
            largest = max(largest, held)
    estimate = 24 * 24 * model._bytes(11, copies=4)
    assert 0.3 * estimate < largest < estimate


# ------------------------------------------------------------------------------ gradients and modes


@pytest.mark.parametrize("module", MODULES)
def test_what_gets_a_gradient(module: str) -> None:
    """Everything but the biases of SGR's keys, which its softmax does not see."""
    model = tiny_sgraf(module).train()
    torch.autograd.backward(model.objective(model.training_codes(pairs(LENGTHS)), progress(), None))
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == ({f"head.steps.{k}.key.bias" for k in range(3)} if module == "SGR" else set())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("module", MODULES)
def test_all_zero_images_have_finite_gradients(module: str) -> None:
    model = tiny_sgraf(module, bias=False, dropout=0).train()
    batch = pairs(LENGTHS)
    batch.images.pixels[3] = 0
    torch.autograd.backward(model.objective(model.training_codes(batch), progress(), None))
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_loss_settings_reach_the_loss() -> None:
    model = tiny_sgraf("SGR")
    with torch.no_grad():
        codes = model.training_codes(pairs(LENGTHS))
        scores = model.training_scores(codes, None)
        hardest = model.objective(codes, progress(), None)
        every = model.objective(codes, progress(hardest=False), None)
        wide = model.objective(codes, progress(margin=0.5), None)
    diagonal = scores.diagonal()
    wrong = scores.masked_fill(torch.eye(8, dtype=torch.bool), -1)
    expected = (0.2 + wrong.amax(1) - diagonal).clamp(min=0).sum() + (0.2 + wrong.amax(0) - diagonal).clamp(
        min=0
    ).sum()
    torch.testing.assert_close(hardest, expected)
    assert every > hardest
    assert wide > hardest


def test_modes() -> None:
    """Dropout and batch statistics act in train mode only; evaluation changes nothing."""
    model = tiny_sgraf("SAF")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        codes, again = model.training_codes(pairs(LENGTHS)), model.training_codes(pairs(LENGTHS))
        assert torch.equal(codes.captions["words"], again.captions["words"])
        torch.testing.assert_close(
            model.training_scores(codes, None), model.similarity(codes.images, codes.captions)
        )
        model.after_step(codes)
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        model.train()
        once, again = model.training_codes(pairs(LENGTHS)), model.training_codes(pairs(LENGTHS))
        assert not torch.equal(once.captions["words"], again.captions["words"])
        assert not torch.equal(once.captions["global"], again.captions["global"])
        assert not torch.equal(once.images["global"], again.images["global"])
        assert torch.equal(once.images["regions"], again.images["regions"])


@pytest.mark.parametrize("module", MODULES)
def test_trains_under_autocast_near_the_float32_loss(module: str) -> None:
    model = tiny_sgraf(module, dropout=0).train()
    exact = model.objective(model.training_codes(pairs(LENGTHS)), progress(), None)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.objective(model.training_codes(pairs(LENGTHS)), progress(), 1)
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.05)


def test_a_batch_of_one_pair_is_a_one_line_error() -> None:
    model = tiny_sgraf("SAF").train()
    with pytest.raises(UserError, match=r"training\.batch_size") as caught:
        model.training_codes(pairs([4]))
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------ configuration


def test_inputs_are_the_published_ones() -> None:
    spec = inputs(SGRAFConfig(module="SAF"))
    assert spec.image == RegionInput(36, 2048)
    assert spec.text == WordText(max_length=None, min_count=4, mask_token=False, augment="none")
    assert (spec.unit, spec.last_batch) == ("caption", "keep")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"module": "SGRAF"}, "SAF"),
        ({"dropout": 1.0}, "dropout"),
        ({"sgr_step": 2}, "sgr_step"),
        ({"dim": 0}, "dim"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        tiny_config(**{"module": "SAF", **changes})


def test_training_codes_are_those_of_evaluation_where_nothing_is_random() -> None:
    model = tiny_sgraf("SGR")
    batch = pairs(LENGTHS)
    with torch.no_grad():
        codes: TrainingCodes = model.training_codes(batch)
        assert torch.equal(codes.images["global"], model.encode_images(batch.images)["global"])
        assert torch.equal(codes.captions["global"], model.encode_captions(batch.captions)["global"])


# ------------------------------------------------------------- two passes of the hardest negatives


@pytest.mark.parametrize("options", [{}, {"regulator": "rar"}, {"regulator": "rcar"}])
@pytest.mark.parametrize("double", [True, False])
def test_two_passes_are_one(options: dict[str, Any], double: bool) -> None:
    """With dropout and uneven lengths, for batches of 8 and of 2, in parts and in one piece."""
    for lengths, budget in ((LENGTHS, None), (LENGTHS, 50_000), ([7, 2], 1)):
        model = tiny_sgraf("SGR", **options).train()
        batch = pairs(lengths)
        if double:
            model, batch = model.double(), in_double(batch)
        assert_two_passes_are_one(model, model.training_codes(batch), budget)


def test_two_passes_break_ties_as_one() -> None:
    """Where all scores are the same, and where images and captions come twice; margins of 0 make hinges inactive."""
    model = tiny_sgraf("SGR").double().train()
    with torch.no_grad():
        model.score.weight.zero_()
    scores = assert_two_passes_are_one(model, model.training_codes(in_double(pairs(LENGTHS))))
    assert len(set(scores.flatten().tolist())) == 1
    codes = tiny_sgraf("SGR").double().training_codes(in_double(pairs(LENGTHS)))
    twice = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    codes = TrainingCodes(codes.images.rows(twice), codes.captions.rows(twice), codes.extra)
    for margin in (0.2, 0.0):
        assert_two_passes_are_one(tiny_sgraf("SGR").double(), codes, margin=margin)
