"""T-EMDE: sizes, its place in the host by naive loops, padding, what it computes when, parity as its host, mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.sgraf.checks import speed
from baselines.sgraf.checks.parity import make_golden
from baselines.sgraf.checks.published import published_scores
from baselines.sgraf.global_branch import SelfAttentionBranch
from baselines.sgraf.model import SAF, SGRAF, SGRAFConfig, inputs
from baselines.temde import METHOD
from baselines.temde.build import build_temde, refuse_official
from baselines.temde.checks import parity
from baselines.temde.checks.speed import full_size, scoring_cases
from baselines.temde.model import TEMDEConfig
from benchmark.batches import CaptionBatch, Codes, ImageBatch, PairBatch
from benchmark.checks.parity.report import compare, run_parity
from benchmark.errors import UserError
from benchmark.method import DataFacts, Progress
from benchmark.places import GOLDEN
from benchmark.registry import get_method
from tests.baselines.region_models import captions, images, pairs, progress
from tests.baselines.sgraf.models import (
    linear,
    naive_nodes,
    naive_saf_column,
    naive_sgr,
    plain_norm,
    tiny_config,
)
from tests.baselines.temde.models import branch_of, naive_comparison, naive_vector, tiny_temde, unit
from tests.baselines.two_passes import assert_two_passes_are_one

LENGTHS = [2, 7, 12, 5, 1, 7]
MODULES = ["SAF", "SGR"]
PLACES: dict[str, dict[str, Any]] = {
    "default": {},
    "other cells": {"depth": 3, "width": 8},
    "product": {"comparison": "product"},
    "absolute difference": {"comparison": "absolute_difference"},
    "concatenation": {"comparison": "concatenation"},
    "a codebook for each": {"sharing": "per_modality"},
    "images only": {"scope": "image"},
    "text only": {"scope": "text"},
    "text only, projected": {"scope": "text", "depth": 3, "output_projection": True},
    "in addition": {"placement": "in_addition", "depth": 3},
    "in addition, images only": {"placement": "in_addition", "scope": "image", "comparison": "product"},
    "in addition, joined": {
        "placement": "in_addition",
        "comparison": "concatenation",
        "sharing": "per_modality",
    },
}
CASES = [pytest.param(settings, id=name) for name, settings in PLACES.items()]


def in_double(batch: ImageBatch) -> ImageBatch:
    return ImageBatch(batch.pixels.double(), batch.index)


# -------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("module", "vocabulary", "total"),
    [
        ("SAF", 8_481, 14_364_336),
        ("SGR", 8_481, 14_956_205),
        ("SAF", 11_353, 15_225_936),
        ("SGR", 11_353, 15_817_805),
    ],
)
def test_11_full_size_has_the_documented_number_of_parameters(
    module: str, vocabulary: int, total: int
) -> None:
    facts = DataFacts(vocab_size=vocabulary)
    with torch.device("meta"):
        model = build_temde(TEMDEConfig.model_validate({"module": module}), facts)
        host = SGRAF(SGRAFConfig.model_validate({"module": module}), facts)

    def count(part: nn.Module) -> int:
        return sum(parameter.numel() for parameter in part.parameters())

    assert count(model) == total
    assert count(model) == count(host) - 4_202_570 + 1_049_600
    ours, theirs = model.state_dict(), host.state_dict()
    assert set(ours) - set(theirs) == {"global_branch.sketch.weight", "global_branch.sketch.bias"}
    poolings = ("global_branch.image_pooling.", "global_branch.caption_pooling.")
    assert set(theirs) - set(ours) == {name for name in theirs if name.startswith(poolings)}
    assert all(ours[name].shape == theirs[name].shape for name in set(ours) & set(theirs))


@pytest.mark.parametrize("module", MODULES)
def test_what_is_shared_with_the_host_starts_alike(module: str) -> None:
    """So that a comparison with one seed is of the branches and not of the draws."""
    torch.manual_seed(3)
    host = SGRAF(tiny_config(module), DataFacts(vocab_size=40)).state_dict()
    torch.manual_seed(3)
    settings = {**tiny_config(module).model_dump(), "sketch": {"depth": 4, "width": 4}}
    ours = build_temde(TEMDEConfig.model_validate(settings), DataFacts(vocab_size=40)).state_dict()
    shared = set(host) & set(ours)
    assert "global_branch.similarity.weight" in shared
    assert all(torch.equal(host[name], ours[name]) for name in shared)


# --------------------------------------------------------------------------------- its place in the host


def naive_global_nodes(model: SGRAF, regions: Tensor, words: Tensor) -> list[Tensor]:
    """The global nodes of one pair from its regions (R, D) and words (L, D), by the options of temde.md 3.4."""
    branch = branch_of(model)
    config = branch.config
    pooled: dict[str, Tensor] = {}
    if branch.image_pooling is not None:
        pooled["image"] = branch.image_pooling(regions[None])[0][0]
    if branch.caption_pooling is not None:
        pooled["text"] = branch.caption_pooling(words[None], torch.zeros(1, len(words), dtype=torch.bool))[0][
            0
        ]
    sketched = {"image", "text"} if config.scope == "both" else {config.scope}
    vectors = {}
    for side, tokens in (("image", regions), ("text", words)):
        own = branch.caption_sketch if side == "text" and config.sharing == "per_modality" else branch.sketch
        assert own is not None
        vectors[side] = naive_vector(own, tokens) if side in sketched else pooled[side]
    read = naive_comparison(config.comparison, vectors["image"], vectors["text"])
    if config.placement == "replace":
        return [unit(linear(model, "global_branch.similarity", read))]
    return [
        unit(linear(model, "global_branch.similarity", (pooled["image"] - pooled["text"]) ** 2)),
        unit(linear(model, "global_branch.sketch_similarity", read)),
    ]


def naive_scores(model: SGRAF, image_codes: Codes, caption_codes: Codes) -> Tensor:
    """Pair by pair, with the host's own loops for all but the global nodes; running statistics."""
    norm = plain_norm(model) if isinstance(model.head, SAF) else None
    local = tiny_temde(
        model.config.module, sketch={"depth": 4, "width": 4}
    ).double()  # for a fitting global layer
    local.load_state_dict(
        {n: v for n, v in model.state_dict().items() if not n.startswith("global_branch.")}, strict=False
    )
    columns = []
    for words, length in zip(caption_codes["words"], caption_codes["lengths"].tolist(), strict=True):
        nodes = []
        for regions in image_codes["regions"]:
            of_words = naive_nodes(local, regions, words[:length], regions[0], words[0])[1:]
            nodes.append(torch.stack([*naive_global_nodes(model, regions, words[:length]), *of_words]))
        if norm is None:
            columns.append(torch.stack([naive_sgr(model, pair) for pair in nodes]))
        else:
            columns.append(naive_saf_column(model, nodes, norm))
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("settings", CASES)
@torch.no_grad()
def test_similarity_is_the_score_by_hand(module: str, settings: dict[str, Any]) -> None:
    model = tiny_temde(module, sketch=settings).double()
    assert model.global_branch.nodes == (2 if settings.get("placement") == "in_addition" else 1)
    image_codes, caption_codes = (
        model.encode_images(in_double(images(3))),
        model.encode_captions(captions(LENGTHS)),
    )
    ours = model.similarity(image_codes, caption_codes)
    torch.testing.assert_close(ours, naive_scores(model, image_codes, caption_codes), atol=1e-10, rtol=0)
    torch.testing.assert_close(ours, published_scores(model, image_codes, caption_codes), atol=1e-10, rtol=0)


@pytest.mark.parametrize("settings", CASES)
def test_the_sketch_decides_and_all_of_it_learns(settings: dict[str, Any]) -> None:
    """Another codebook gives other scores, and every weight of the branch has a gradient."""
    model = tiny_temde("SAF", sketch=settings)
    codes = model.encode_images(images(3)), model.encode_captions(captions(LENGTHS))
    with torch.no_grad():
        before = model.similarity(*codes)
        other = tiny_temde("SAF", sketch=settings)
        nn.init.normal_(branch_of(other).sketch.weight, std=3)
        after = other.similarity(other.encode_images(images(3)), other.encode_captions(captions(LENGTHS)))
    assert (before - after).abs().max() > 1e-5
    model.train()
    torch.autograd.backward(
        model.objective(model.training_codes(pairs(LENGTHS)), progress(hardest=False), None)
    )
    for name, parameter in branch_of(model).named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith("_pooling.score.bias"):  # a softmax does not see it
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("settings", CASES)
@torch.no_grad()
def test_captions_in_a_padded_batch_are_captions_alone(settings: dict[str, Any]) -> None:
    model, text = tiny_temde("SGR", sketch=settings).double(), captions(LENGTHS)
    together = model.encode_captions(text)
    for i, length in enumerate(LENGTHS):
        alone = model.encode_captions(
            CaptionBatch(text.ids[i : i + 1, :length], text.lengths[i : i + 1], text.index[i : i + 1])
        )
        for name in set(together.tensors) - {"words"}:
            torch.testing.assert_close(alone[name][0], together[name][i], atol=1e-12, rtol=0)


@torch.no_grad()
def test_each_sketch_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In encoding; pairs read the codes."""
    model, calls = tiny_temde("SAF"), list[int]()
    sketch = branch_of(model).sketch
    forward = sketch.forward

    def counted(vectors: Tensor, padding: Tensor | None = None) -> Tensor:
        calls.append(len(vectors))
        return forward(vectors, padding)

    monkeypatch.setattr(sketch, "forward", counted)
    image_codes, caption_codes = model.encode_images(images(3)), model.encode_captions(captions(LENGTHS))
    assert calls == [3, len(LENGTHS)]
    model.similarity(image_codes, caption_codes)
    model.similarity(image_codes.rows(slice(0, 2)), caption_codes)
    assert calls == [3, len(LENGTHS)]
    assert image_codes["global"].shape == (3, 16)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("settings", [{}, PLACES["in addition, joined"], {"dropout": 0.4}])
def test_loss_and_gradients_do_not_depend_on_the_pair_budget(module: str, settings: dict[str, Any]) -> None:
    results = []
    for budget in (None, 1, 100_000):
        model = tiny_temde(module, sketch=settings).double().train()
        torch.manual_seed(7)
        batch = pairs(LENGTHS)
        codes = model.training_codes(type(batch)(in_double(batch.images), batch.captions))
        loss = model.objective(codes, progress(), budget)
        torch.autograd.backward(loss)
        model.after_step(codes)
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        results.append((loss.detach(), gradients, model.state_dict()))
    for loss, gradients, state in results[1:]:
        torch.testing.assert_close(loss, results[0][0], atol=1e-10, rtol=0)
        assert gradients.keys() == results[0][1].keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, results[0][1][name], atol=1e-9, rtol=0)
        for name, value in state.items():
            torch.testing.assert_close(value, results[0][2][name], atol=1e-10, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"placement": "in_addition"}, {"comparison": "concatenation"}])
def test_two_passes_of_the_hardest_negatives_are_one(settings: dict[str, Any]) -> None:
    model, batch = tiny_temde("SGR", sketch=settings).double().train(), pairs(LENGTHS)
    codes = model.training_codes(PairBatch(in_double(batch.images), batch.captions))
    for budget in (None, 50_000):
        assert_two_passes_are_one(model, codes, budget)


def test_larger_sketches_are_in_the_estimate_of_bytes() -> None:
    small, large = (tiny_temde("SAF", sketch={"depth": depth}) for depth in (4, 400))
    assert large._bytes(5, copies=4) - small._bytes(5, copies=4) == 4 * 4 * 4 * (400 - 4)
    host = SGRAF(tiny_config("SAF"), DataFacts(vocab_size=40))
    same = parity.build_host(tiny_config("SAF"), DataFacts(vocab_size=40))
    assert same._bytes(5, copies=4) == host._bytes(5, copies=4)


# ------------------------------------------------------------------------------------------- training


def test_annealing_follows_the_steps_of_training() -> None:
    rule = {"temperature_rule": "annealed", "final_temperature": 0.1, "anneal_steps": 4}
    for sharing in ("one", "per_modality"):
        model = tiny_temde("SAF", sketch={**rule, "sharing": sharing}, dropout=0.0).train()
        codes, loss = list[Tensor](), progress().loss
        for step in (0, 2, 4, 40):
            batch = model.prepare_batch(pairs(LENGTHS), Progress(epoch=0, step=step, stage=0, loss=loss))
            codes.append(model.training_codes(batch).captions["global"])
        own = branch_of(model).caption_sketch or branch_of(model).sketch
        assert float(own.log_temperature.exp()) == pytest.approx(0.1)
        assert (codes[1] - codes[0]).abs().max() > 1e-3
        assert (codes[2] - codes[1]).abs().max() > 1e-3
        assert torch.equal(codes[3], codes[2])


def steps_of(model: SGRAF, count: int) -> Iterator[Tensor]:
    """The spread of the global nodes of pairs after each Adam step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    batch = pairs([3, 5, 7, 9, 4, 6, 8, 10])
    for _ in range(count):
        optimizer.zero_grad()
        codes = model.training_codes(batch)
        torch.autograd.backward(model.objective(codes, progress(hardest=False), None))
        optimizer.step()
        with torch.no_grad():
            node = model.global_branch.compare(codes.images, codes.captions)
            node = node / node.norm(dim=-1, keepdim=True)
            yield node.flatten(0, 2).std(0).mean()


@pytest.mark.parametrize("module", MODULES)
def test_the_global_node_stays_alive_in_training(module: str) -> None:
    """Its spread over pairs is clearly above zero (temde.md 5), and the loss falls."""
    model = tiny_temde(module, dropout=0.0).train()
    before = model.objective(model.training_codes(pairs(LENGTHS)), progress(), None)
    spreads = list(steps_of(model, 60))
    assert min(spreads) > 0.01
    codes = model.training_codes(pairs([3, 5, 7, 9, 4, 6, 8, 10]))
    assert model.objective(codes, progress(), None) < 0.7 * before


@pytest.mark.parametrize("settings", [{"placement": "in_addition"}, {"scope": "text"}])
def test_a_pooling_that_is_kept_counts_its_batches(settings: dict[str, Any]) -> None:
    """Once a step, with the statistics of the batch's regions."""
    model = tiny_temde("SGR", sketch=settings, dropout=0.0).train()
    pooling = branch_of(model).image_pooling
    assert pooling is not None
    assert pooling.query_norm is not None
    plain = nn.BatchNorm1d(16)
    plain.load_state_dict(pooling.query_norm.state_dict())
    with torch.no_grad():
        codes = model.training_codes(pairs(LENGTHS))
        plain(pooling.query(codes.images["regions"].mean(1)))
        model.after_step(codes)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(pooling.query_norm.state_dict()[name], value)


# --------------------------------------------------------------------------------------------- parity


def test_with_self_attention_it_is_the_host_in_every_recorded_number() -> None:
    report = run_parity("temde")
    assert report.ok, report.summary()
    assert report.compared == run_parity("sgraf").compared > 90_000


def test_parity_is_of_this_methods_model() -> None:
    model = parity.build_host(tiny_config("SGR"), DataFacts(vocab_size=40))
    assert isinstance(model.config, TEMDEConfig)
    assert isinstance(model.global_branch, SelfAttentionBranch)


def test_a_changed_host_fails() -> None:
    def other(config: SGRAFConfig, facts: DataFacts) -> SGRAF:
        changed = config.model_dump() | {"global_branch": "self_attention", "temperature": 8.0}
        return build_temde(TEMDEConfig.model_validate(changed), facts)

    cases = make_golden(other)(GOLDEN / "sgraf" / "saf_base.npz")
    assert {case.name for case in cases if not compare("file", case).ok} >= {"outputs/eval/sims"}


def test_a_model_with_a_sketch_is_not_the_host() -> None:
    def sketched(config: SGRAFConfig, facts: DataFacts) -> SGRAF:
        sketch = {"depth": 1, "width": config.dim}
        return build_temde(TEMDEConfig.model_validate({**config.model_dump(), "sketch": sketch}), facts)

    with pytest.raises(UserError, match="cannot be replayed"):
        make_golden(sketched)(GOLDEN / "sgraf" / "saf_base.npz")


# --------------------------------------------------------------------------------------------- the rest


def test_the_method_is_registered() -> None:
    assert get_method("temde") is METHOD
    assert METHOD.reconstruction
    assert METHOD.inputs is inputs
    assert [name for name in ("hat", "sgraf", "rcar") if get_method(name).reconstruction] == []


def test_the_timed_scores_are_those_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SIZES", {"cpu": (2, 4)})
    cases = list(scoring_cases(torch.device("cpu")))
    assert [case.name for case in cases] == ["SAF, 2 x 4", "SGR, 2 x 4"]
    with torch.no_grad():
        for case in cases:
            torch.testing.assert_close(case.fast(), case.naive(), atol=1e-5, rtol=0)
    branch = branch_of(full_size("SAF", 1))
    assert (branch.config.depth, branch.config.width) == (8, 128)


def test_there_is_no_checkpoint_of_the_authors() -> None:
    with pytest.raises(UserError) as caught:
        refuse_official(Path("x.pth.tar"), tiny_temde("SAF"))
    assert "x.pth.tar: T-EMDE's authors published no checkpoint" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"global_branch": "self_attention", "sketch": {"depth": 4}}, ("'model.sketch'", "'self_attention'")),
        ({"sketch": {"scope": "image", "depth": 4}}, ("'model.sketch.scope'", "4 x 128", "1024")),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(
    settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(UserError) as caught:
        TEMDEConfig.model_validate({"module": "SAF", **settings})
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)
