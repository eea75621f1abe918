"""The authors' checkpoint: every key has its place, nothing in the file runs, wrong files are one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from baselines.rcar.checkpoint import read_official
from baselines.rcar.model import RCAR, RCARConfig
from benchmark.method import DataFacts
from tests.baselines.checkpoint_files import (
    one_line_error,
)
from tests.baselines.rcar.models import tiny_rcar
from tests.baselines.rcar.official import (
    COUNTS,
    official_entries,
    published_shapes,
    save_checkpoint,
)


@pytest.mark.parametrize(("regulator", "steps", "alv", "rcr", "rar"), COUNTS)
def test_every_published_key_has_its_place(
    regulator: str, steps: int, alv: int, rcr: int, rar: int, tmp_path: Path
) -> None:
    config = RCARConfig.model_validate({"direction": "t2i", "regulator": regulator, "steps": steps})
    with torch.device("meta"):
        model = RCAR(config, DataFacts(vocab_size=8482))
    entries = {
        key: torch.zeros((), dtype=torch.int64 if key.endswith("tracked") else torch.float32).expand(shape)
        for key, shape in published_shapes(alv, rcr, rar).items()
    }
    weights = read_official(save_checkpoint(tmp_path / "model_best.pth", entries), model)
    assert (weights.missing, weights.unexpected, weights.dropped) == ([], [], [])
    assert {name: tensor.shape for name, tensor in weights.state.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }


@pytest.mark.parametrize(
    ("saved", "wanted", "words"),
    [
        (("none", 1), ("rcar", 2), ("found a checkpoint of BASELINE", "model is RCAR with 2 steps")),
        (("rcar", 2), ("none", 1), ("RCAR with 2 steps", "model is BASELINE")),
        (("rcr", 2), ("rcr", 3), ("RCR with 2 steps", "RCR with 3 steps")),
        (("rar", 3), ("rcar", 3), ("RAR with 3 steps", "RCAR with 3 steps")),
    ],
)
def test_another_setting_is_named(
    saved: tuple[str, int], wanted: tuple[str, int], words: tuple[str, str], tmp_path: Path
) -> None:
    path = save_checkpoint(tmp_path / "x.pth", official_entries(tiny_rcar("t2i", *saved)))
    message = one_line_error("rcar", path, tiny_rcar("t2i", *wanted))
    assert all(word in message for word in words), message


def test_another_size_or_vocabulary_is_named(tmp_path: Path) -> None:
    model, path = tiny_rcar("t2i", "rcar", 2), tmp_path / "x.pth"
    entries = official_entries(model)
    save_checkpoint(path, official_entries(tiny_rcar("t2i", "rcar", 2, dim=12)))
    assert "other sizes" in one_line_error("rcar", path, model)
    entries["txt_enc.embed.weight"] = torch.zeros(8482, 10)
    message = one_line_error("rcar", save_checkpoint(path, entries), model)
    assert "8482 entries, <mask> included" in message
