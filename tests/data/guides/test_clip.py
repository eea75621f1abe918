"""CLIP's vectors of whole images: preparation, weights, errors, and pictures found for stored regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import v2
from transformers import CLIPConfig, CLIPModel

from benchmark.data import load
from benchmark.data.guides import clip
from benchmark.data.guides.clip import CLIPVectors, prepared
from benchmark.data.guides.sources import rows_among
from benchmark.data.load import load_dataset
from benchmark.data.published.remote import SourceRefusedError
from benchmark.data.regions.grid import FeatureStore
from benchmark.data.splits import Dataset, Split
from benchmark.errors import UserError
from benchmark.recipe.schema import CLIPGuides
from tests.data.guides.test_guides import CPU, GRID, SCAN, scenes
from tests.data.region_files import features, scan_part

TINY = "someone/tiny-clip"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a whole CLIP, tiny, its weights random, in place of the Hub's."""
    torch.manual_seed(5)
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 20},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    folder = tmp_path / "clip"
    CLIPModel(config).save_pretrained(folder)

    def fetch(_repository: str, name: str, _revision: str) -> Path:
        if not (folder / name).is_file():
            raise SourceRefusedError(f"no {name}")
        return folder / name

    monkeypatch.setattr(clip, "fetch_file", fetch)
    monkeypatch.setattr(clip, "try_to_load_from_cache", lambda *_, **__: None)
    return folder


def photos() -> list[Image.Image]:
    draws = np.random.default_rng(0)
    sizes = [(40, 60), (61, 47), (32, 32), (33, 90)]
    return [Image.fromarray(draws.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def test_pictures_are_prepared_as_clips_own_code_does() -> None:
    theirs = v2.Compose(
        [
            v2.Resize(32, interpolation=v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(32),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(clip.MEAN, clip.DEVIATION),
        ]
    )
    for photo in photos():
        torch.testing.assert_close(prepared(photo, 32), theirs(photo), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_vectors_are_those_of_the_whole_clip(weights: Path, kind: str) -> None:
    whole = CLIPModel.from_pretrained(weights).eval()
    if kind == "pytorch_model.bin":  # what the Hub has of ViT-B/32
        (weights / "model.safetensors").unlink()
        places = {
            f"{part}_model.embeddings.position_ids": torch.arange(9)[None] for part in ("text", "vision")
        }
        torch.save({**whole.state_dict(), **places}, weights / kind)  # old files hold those, too
    extractor = CLIPVectors(TINY, "main", CPU)
    assert extractor.weights.name == kind
    found = extractor.vectors(photos())
    pixels = torch.stack([prepared(photo, 32) for photo in photos()])
    with torch.no_grad():
        pooled = whole.vision_model(pixel_values=pixels).pooler_output
        expected = whole.visual_projection(pooled)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert not np.allclose(np.linalg.norm(found, axis=1), 1)  # as they are, not normalised
    assert extractor.identity.startswith("clip-1 someone/tiny-clip at 32 (")


def test_other_weights_are_another_identity(weights: Path) -> None:
    before = CLIPVectors(TINY, "main", CPU).identity
    changed = CLIPModel.from_pretrained(weights)
    with torch.no_grad():
        changed.visual_projection.weight.add_(1)
    changed.save_pretrained(weights)
    assert CLIPVectors(TINY, "main", CPU).identity != before


def test_weights_that_cannot_serve(weights: Path) -> None:
    state = dict(CLIPModel.from_pretrained(weights).state_dict())
    projection = state.pop("visual_projection.weight")
    save_file(state, weights / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"no whole CLIP: it lacks visual_projection.weight"):
        CLIPVectors(TINY, "main", CPU).vectors(photos())
    save_file(
        {**state, "visual_projection.weight": projection[:, :3].contiguous()},
        weights / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(UserError, match=r"model.safetensors of someone/tiny-clip cannot be read as a CLIP"):
        CLIPVectors(TINY, "main", CPU).vectors(photos())
    (weights / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"found neither model.safetensors nor pytorch_model.bin"):
        CLIPVectors(TINY, "main", CPU)


def test_offline_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as caught:
        load_dataset(
            "scenes",
            {"n_test": 3},
            splits=["test"],
            regions=GRID,
            guides=CLIPGuides(source="clip"),
            store=FeatureStore(tmp_path / "store"),
            show_progress=False,
        )
    said = str(caught.value)
    assert said.startswith(
        "config.json of openai/clip-vit-base-patch32 is not in the Hugging Face cache and "
    )
    assert "\n" not in said


def pictures_named(names: list[str]) -> Split:
    split = scenes(len(names))
    return Split("test", names, names, split.captions, split.caption_ids, split.caption_image, split.images)


def test_stored_regions_are_guided_by_the_hubs_pictures(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SCAN's images in another order than the pictures, and fewer of them, found by the number in the name."""
    folder = tmp_path / "precomp"
    scan_part(folder, "test", 3, array=features(range(3), 2, 3) / 1e4, ids=[44, 42, 46])
    names = [f"val2014/COCO_val2014_0000000000{number}.jpg" for number in (42, 43, 44, 45, 46)]
    published = Dataset("mscoco", "somewhere@1", "Hub", "licence", {"test": pictures_named(names)})
    monkeypatch.setattr(load, "_published", lambda *_, **__: published)
    dataset = load_dataset(
        "mscoco",
        splits=["test"],
        data_dir=folder,
        regions=SCAN,
        guides=CLIPGuides(source="clip", model=TINY),
        store=FeatureStore(tmp_path / "store"),
        unverified=True,
        show_progress=False,
    )
    split = dataset.splits["test"]
    assert split.guides is not None
    images = published.splits["test"].images
    expected = CLIPVectors(TINY, "main", CPU).vectors([images[row] for row in (2, 0, 4)])
    np.testing.assert_allclose(split.guides.vectors, expected, atol=1e-6)
    assert split.guides.description == "image vectors of someone/tiny-clip"
    assert "pictures for the guides: somewhere@1" in dataset.notes
    assert not any("guides" in reason for reason in dataset.departures)
    assert weights.is_dir()


def test_images_without_a_picture_are_counted() -> None:
    with pytest.raises(UserError, match=r"split 'test': 2 of 3 images have no picture.*the first is b.jpg"):
        rows_among(pictures_named(["a.jpg", "x.jpg"]), pictures_named(["a.jpg", "b.jpg", "c.jpg"]))
