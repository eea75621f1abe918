"""The extras open_clip and sentence-transformers, where they are installed: vectors as the libraries make them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.dual_encoder import METHOD
from baselines.dual_encoder.config import DualConfig
from baselines.dual_encoder.model import PairedEncoders
from benchmark.batches import CaptionBatch, ImageBatch
from benchmark.errors import UserError
from benchmark.inputs import OwnPixelInput, OwnText
from benchmark.method import DataFacts
from tests.baselines.dual_encoder.tiny_models import tiny_repository
from tests.hub.client import pointed_at
from tests.hub.server import HubTwin
from tests.hub.store import Repository, made_up_commit

CAPTIONS = ["a red circle", "a small blue star left of the large green square"]


def pictures() -> list[Image.Image]:
    draws = np.random.default_rng(0)
    return [Image.fromarray(draws.integers(0, 256, (40, 52, 3), dtype=np.uint8)) for _ in range(3)]


def our_vectors(repository: Repository, library: str) -> tuple[PairedEncoders, torch.Tensor, torch.Tensor]:
    """The model, and vectors of pictures and captions, as a run makes them."""
    config = METHOD.settle(
        DualConfig.model_validate({"name": repository.name, "library": library}), lambda _: repository.main
    )
    spec = METHOD.inputs(config)
    assert isinstance(spec.image, OwnPixelInput)
    assert isinstance(spec.text, OwnText)
    codec = spec.text.make()
    model = METHOD.build(config, DataFacts(codec.vocab_size, codec.pad_id, pretrained=True))
    assert isinstance(model, PairedEncoders)
    model.eval()
    pixels = torch.stack([spec.image.transform.evaluate(picture) for picture in pictures()])
    ids, lengths = codec.encode(CAPTIONS)
    with torch.no_grad():
        images = model.encode_images(ImageBatch(pixels, torch.arange(3)))["vectors"]
        captions = model.encode_captions(CaptionBatch(ids, lengths, torch.arange(2)))["vectors"]
    return model, images, captions


def test_open_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_clip: Any = pytest.importorskip("open_clip")
    folder = tmp_path / "tiny"
    folder.mkdir()
    tower = {"width": 16, "layers": 2}
    model_cfg = {
        "embed_dim": 12,
        "vision_cfg": {**tower, "image_size": 32, "patch_size": 8, "head_width": 8},
        "text_cfg": {**tower, "context_length": 24, "vocab_size": 49_408, "heads": 2},
    }
    settings = {
        "model_cfg": model_cfg,
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(settings), encoding="utf-8")
    torch.manual_seed(0)
    made = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(made.state_dict(), folder / "open_clip_pytorch_model.bin")
    repository = Repository("someone/tiny", {made_up_commit("abc", "tiny"): folder}, kind="model")
    with HubTwin([repository]) as twin:
        pointed_at(twin, monkeypatch, tmp_path / "cache")
        model, images, captions = our_vectors(repository, "open_clip")
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    theirs.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        seen = theirs.encode_image(
            torch.stack([preprocess(picture) for picture in pictures()]), normalize=True
        )
        read = theirs.encode_text(tokenizer(CAPTIONS), normalize=True)
    torch.testing.assert_close(images, seen, atol=1e-6, rtol=0)
    torch.testing.assert_close(captions, read, atol=1e-6, rtol=0)
    logits = theirs.logit_scale.exp() * seen @ read.T
    torch.testing.assert_close(model.logits(images @ captions.T), logits, atol=1e-5, rtol=1e-5)


def test_sentence_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library: Any = pytest.importorskip("sentence_transformers")
    (inner,) = tiny_repository("clip", tmp_path / "inner").commits.values()
    folder = tmp_path / "saved"
    modules = pytest.importorskip("sentence_transformers.base.modules")
    library.SentenceTransformer(modules=[modules.Transformer(str(inner))], device="cpu").save(str(folder))
    repository = Repository("someone/wrapped", {made_up_commit("abc", "wrapped"): folder}, kind="model")
    with HubTwin([repository]) as twin:
        pointed_at(twin, monkeypatch, tmp_path / "cache")
        _, images, captions = our_vectors(repository, "sentence_transformers")
    theirs = library.SentenceTransformer(str(folder), device="cpu")
    for found, given in ((images, pictures()), (captions, CAPTIONS)):
        expected = torch.from_numpy(theirs.encode(given, normalize_embeddings=True))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("library", ["open_clip", "sentence_transformers"])
def test_an_extra_that_is_not_installed_is_named(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for name in ("open_clip_models", "sentence_models"):
        monkeypatch.delitem(sys.modules, f"baselines.dual_encoder.libraries.{name}", raising=False)
    with pytest.raises(UserError) as caught:
        METHOD.inputs(DualConfig(name="someone/thing", library=library))
    assert str(caught.value).endswith(f"uv pip install 'rematch-bench[{library}]' adds it")
