"""The authors' checkpoint: every key has its place, nothing in the file runs, wrong files are one-line errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.sgraf.checkpoint import read_official
from tests.baselines.checkpoint_files import (
    one_line_error,
)
from tests.baselines.sgraf.models import tiny_sgraf
from tests.baselines.sgraf.official import (
    full_size,
    official_entries,
    published_entries,
    save_checkpoint,
)


@pytest.mark.parametrize("module", ["SAF", "SGR"])
def test_every_published_key_has_its_place(module: str, tmp_path: Path) -> None:
    model = full_size(module)
    weights = read_official(
        save_checkpoint(tmp_path / "model_best.pth.tar", published_entries(module)), model
    )
    assert (weights.missing, weights.unexpected, weights.dropped) == ([], [], [])
    assert {name: tensor.shape for name, tensor in weights.state.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }


@pytest.mark.parametrize(
    ("saved", "wanted", "words"),
    [
        (("SAF", {}), ("SGR", {}), ("found a checkpoint of SAF", "SGR with 3 steps")),
        (("SGR", {}), ("SAF", {}), ("SGR with 3 steps", "model is SAF")),
        (("SGR", {"sgr_steps": 2}), ("SGR", {}), ("SGR with 2 steps", "model is SGR with 3 steps")),
        (("SAF", {"dim": 12}), ("SAF", {}), ("(36, 10)", "(48, 10)", "other sizes")),
        (("SAF", {"regions": 5}), ("SAF", {}), ("embedding_local.1", "(5,)", "(6,)")),
    ],
)
def test_another_module_or_size_is_named(
    saved: tuple[str, dict[str, Any]],
    wanted: tuple[str, dict[str, Any]],
    words: tuple[str, ...],
    tmp_path: Path,
) -> None:
    path = save_checkpoint(tmp_path / "x.pth.tar", official_entries(tiny_sgraf(saved[0], **saved[1])))
    message = one_line_error("sgraf", path, tiny_sgraf(wanted[0], **wanted[1]))
    assert all(word in message for word in words), message


def test_another_vocabulary_is_named(tmp_path: Path) -> None:
    model = tiny_sgraf("SAF")
    entries = official_entries(model)
    entries["txt_enc.embed.weight"] = torch.zeros(8481, 10)
    message = one_line_error("sgraf", save_checkpoint(tmp_path / "x.pth.tar", entries), model)
    assert "vocabulary" in message
    assert "8481 entries" in message
