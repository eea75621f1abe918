"""Fine-tuning: a tiny CLIP of the twin learns, its temperature too, from a recipe; and models without a repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.dual_encoder import METHOD
from baselines.dual_encoder.config import DualConfig
from baselines.dual_encoder.losses import ContrastiveLoss
from baselines.dual_encoder.model import PairedEncoders
from benchmark.batches import CaptionBatch, ImageBatch, PairBatch
from benchmark.errors import UserError
from benchmark.inputs import OwnPixelInput, PixelInput, WordPieceText
from benchmark.method import DataFacts, Progress
from benchmark.training import read_weights
from tests.baselines.dual_encoder.tiny_models import NAMES, TOWER, tiny_repository
from tests.hub.client import pointed_at
from tests.hub.server import HubTwin
from tests.tiny import record_of, refused, rematch, tiny_recipe, write_recipe

SIZES: dict[str, Any] = {
    "kind": "chinese_clip",
    "projection_dim": 8,
    "text": {**TOWER, "max_position_embeddings": 16},
    "vision": {**TOWER, "image_size": 16, "patch_size": 8},
}
RECIPE = Path("recipes/dual_encoder/scenes-tuned.yaml")


def siglip_sizes() -> dict[str, Any]:
    text = {**TOWER, "max_position_embeddings": 16, "projection_size": 16}
    return {"kind": "siglip", "text": text, "vision": SIZES["vision"]}


def batch(size: int, length: int = 6) -> PairBatch:
    draws, index = torch.Generator().manual_seed(1), torch.arange(size)
    pixels = torch.randn(size, 3, 16, 16, generator=draws)
    ids = torch.randint(1, 30, (size, length), generator=draws)
    lengths = torch.full((size,), length)
    return PairBatch(ImageBatch(pixels, index), CaptionBatch(ids, lengths, index))


@pytest.mark.parametrize(("sizes", "kind"), [(SIZES, "softmax"), (siglip_sizes(), "sigmoid")])
def test_a_model_of_random_weights_learns_a_batch(sizes: dict[str, Any], kind: Any) -> None:
    torch.manual_seed(0)
    config = DualConfig.model_validate({"architecture": sizes})
    model = METHOD.build(config, DataFacts(vocab_size=30))
    assert isinstance(model, PairedEncoders)
    assert (config.side, config.longest) == (16, 16)
    loss, pairs = ContrastiveLoss(kind=kind), batch(8)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        value = model.objective(model.training_codes(pairs), Progress(0, step, 0, loss), None)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(value))
    assert losses[-1] < 0.5 * losses[0]
    scale = dict(model.named_parameters())["towers.network.logit_scale"]
    assert scale.grad is not None
    assert float(scale.grad) != 0
    if kind == "sigmoid":
        begun = METHOD.build(config, DataFacts(vocab_size=30))
        assert isinstance(begun, PairedEncoders)
        assert float(begun.towers.scale()) == pytest.approx(10)
        bias = begun.towers.bias()
        assert bias is not None
        assert float(bias) == -10


def test_what_a_model_reads() -> None:
    own = METHOD.inputs(DualConfig.model_validate({"architecture": SIZES, "max_length": 12, "unit": "image"}))
    assert isinstance(own.image, PixelInput)
    assert isinstance(own.text, WordPieceText)
    assert (own.image.size, own.text.max_length, own.unit) == (16, 12, "image")
    hub = METHOD.inputs(DualConfig(name="someone/thing"))
    assert isinstance(hub.image, OwnPixelInput)
    assert hub.image.shape == (3, 224, 224)  # nothing was fetched


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ({}, "field 'model.name' is missing"),
        ({"architecture": {"kind": "clip"}}, "found 'clip' without a repository"),
        (
            {"architecture": {**SIZES, "text": {"hiden_size": 3}}},
            "text.hiden_size': chinese_clip has no such size",
        ),
        ({"architecture": {**siglip_sizes(), "projection_dim": 3}}, "projection_dim': siglip has none"),
        ({"architecture": SIZES, "image_size": 32}, "'model.image_size': found 32, expected 16"),
        ({"architecture": SIZES, "max_length": 17}, "'model.max_length': found 17, expected at most 16"),
        ({"architecture": SIZES, "prompt": "a {}"}, "'model.prompt': is for a repository"),
        (
            {"name": "a/b", "prompt": "a photo"},
            "'model.prompt': found 'a photo', expected a text with one {} in it",
        ),
    ],
)
def test_faults_of_a_configuration(model: dict[str, Any], fault: str) -> None:
    with pytest.raises(UserError) as caught:
        DualConfig.model_validate(model)
    assert fault in str(caught.value)


@pytest.fixture
def twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: Path) -> Iterator[HubTwin]:
    with HubTwin([tiny_repository("clip", tmp_path / "models")]) as served:
        pointed_at(served, monkeypatch, tmp_path / "cache")
        document = tiny_recipe() | {"method": "dual_encoder", "pretrained": True}
        document["model"] = {"name": NAMES["clip"], "train_transform": "large_crops"}
        document["paper_row"] = {"method": "dual_encoder", "variant": "tuned"}
        document["training"]["stages"] = [{"epochs": 1, "loss": {"kind": "softmax"}}]
        document["training"]["optimizer"] = {"name": "adamw", "lr": 1.0e-3}
        write_recipe(RECIPE, document)
        yield served
    assert fresh.is_dir()


def test_a_clip_of_the_hub_is_fine_tuned_and_asked(twin: HubTwin) -> None:
    run = ("--no-progress", "--device", "cpu")
    assert rematch("reproduce", RECIPE, "--no-latency", "--no-tables", *run).good
    record = record_of("dual_encoder-tuned")
    assert record.weights == "trained"
    assert record.recipe["model"]["revision"] == twin.repositories[NAMES["clip"]].main
    assert (record.recipe["model"]["image_size"], record.recipe["model"]["max_length"]) == (32, 24)
    assert str(record.transform).endswith("; large crops")
    found, _ = read_weights(Path(".rematch/scenes/dual_encoder-tuned/0/best.safetensors"))
    before, _ = read_weights(
        next(
            twin.repositories[NAMES["clip"]]
            .commits[twin.repositories[NAMES["clip"]].main]
            .glob("*.safetensors")
        )
    )
    scale = found["towers.network.logit_scale"]
    assert not torch.equal(scale, before["logit_scale"]), "the temperature is learnt"
    assert rematch("evaluate", "--recipe", RECIPE, *run).good
    assert "the last training, seed 0" in rematch("query", RECIPE, "a red circle", *run).good
    again = rematch("reproduce", RECIPE, "--no-latency", "--no-tables", *run)
    assert again.good
    assert record_of("dual_encoder-tuned").canonical_hash == record.canonical_hash


def test_half_precision_weights_are_not_trained(twin: HubTwin) -> None:
    text = RECIPE.read_text(encoding="utf-8").replace("large_crops", "plain\n  precision: float16")
    RECIPE.write_text(text, encoding="utf-8")
    error = refused("reproduce", RECIPE, "--device", "cpu")
    assert "field 'model.precision': found 'float16' with a training, expected float32" in error
    RECIPE.write_text(text.replace("pretrained: true", "pretrained: false"), encoding="utf-8")
    assert refused("reproduce", RECIPE, "--device", "cpu")
    assert not twin.downloads()
