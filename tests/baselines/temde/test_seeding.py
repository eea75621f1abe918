"""Starting from a checkpoint of the host's authors: all but the sketch (temde.md 8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.sgraf.model import SGRAF
from baselines.temde.build import build_temde
from baselines.temde.model import TEMDEConfig
from benchmark.errors import UserError
from benchmark.method import DataFacts
from tests.baselines.region_models import VOCABULARY
from tests.baselines.sgraf.models import tiny_sgraf
from tests.baselines.sgraf.official import official_entries, save_checkpoint
from tests.baselines.temde.models import branch_of, tiny_temde


def config_of(model: SGRAF) -> TEMDEConfig:
    assert isinstance(model.config, TEMDEConfig)
    return model.config


def seeded(
    path: Path | None, module: str = "SAF", sketch: dict[str, Any] | None = None, **changes: Any
) -> SGRAF:
    """A tiny model that is built as a recipe with `pretrained: true` does."""
    own = config_of(tiny_temde(module, sketch=sketch, **changes))
    config = own.model_copy(update={"host_checkpoint": None if path is None else str(path)})
    return build_temde(config, DataFacts(vocab_size=VOCABULARY, pretrained=True))


def checkpoint(folder: Path, host: SGRAF) -> Path:
    return save_checkpoint(folder / "model_best.pth.tar", official_entries(host))


def one_line(path: Path | None, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        seeded(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("module", ["SAF", "SGR"])
@pytest.mark.parametrize(
    "sketch",
    [
        {},
        {"assignment": "hyperplane", "temperature_rule": "learned"},
        {"sharing": "per_modality"},
        {"scope": "text"},
        {"placement": "in_addition", "depth": 3},
        {"depth": 3, "output_projection": True},
    ],
)
def test_all_but_the_sketch_is_the_hosts(module: str, sketch: dict[str, Any], tmp_path: Path) -> None:
    host = tiny_sgraf(module, seed=5)
    path = checkpoint(tmp_path, host)
    torch.manual_seed(1)
    model = seeded(path, module, sketch)
    theirs, ours = host.state_dict(), model.state_dict()
    own = {name for name in ours if name not in theirs}
    assert {name.split(".")[1] for name in own} <= {"sketch", "caption_sketch", "sketch_similarity"}
    assert "global_branch.sketch.weight" in own
    for name in set(ours) - own:
        assert torch.equal(ours[name], theirs[name]), name
    if model.global_branch.nodes == 1 and not sketch:
        assert own == {"global_branch.sketch.weight", "global_branch.sketch.bias"}
        assert branch_of(model).sketch.weight.std().item() == pytest.approx(
            1, abs=0.2
        )  # drawn, as without a host


def test_without_the_flag_nothing_is_read(tmp_path: Path) -> None:
    config = config_of(tiny_temde("SAF", host_checkpoint=str(tmp_path / "absent")))
    build_temde(config, DataFacts(vocab_size=VOCABULARY))


def test_a_checkpoint_must_be_named() -> None:
    message = one_line(None)
    assert "field 'pretrained'" in message
    assert "'model.host_checkpoint'" in message


@pytest.mark.parametrize(
    ("removed", "added", "named"),
    [
        ("img_enc.fc.bias", None, "image_encoder.projection.bias"),
        ("sim_enc.v_global_w.embedding_local.0.bias", None, "global_branch.image_pooling.local.bias"),
        (None, "sim_enc.sketch.weight", "sim_enc.sketch.weight"),
    ],
)
def test_anything_else_missing_or_left_over_is_named(
    removed: str | None, added: str | None, named: str, tmp_path: Path
) -> None:
    entries = official_entries(tiny_sgraf("SAF"))
    if removed:
        del entries[removed]
    if added:
        entries[added] = torch.zeros(3)
    message = one_line(save_checkpoint(tmp_path / "x.pth.tar", entries))
    assert f"'{named}' is at fault (1 such)" in message
    assert "not a whole checkpoint of the host" in message


def test_other_files_are_one_line_errors(tmp_path: Path) -> None:
    assert "no such checkpoint" in one_line(tmp_path / "absent.pth.tar")
    path = checkpoint(tmp_path, tiny_sgraf("SGR"))
    assert "found a checkpoint of SGR with 3 steps" in one_line(path, module="SAF")
    path = checkpoint(tmp_path, tiny_sgraf("SAF"))
    sizes = one_line(path, sketch={"depth": 3})  # N K = 12, the host's vectors have 16
    assert "'sim_enc.sim_tranglo_w.weight' has shape (8, 16), this recipe's model expects (8, 12)" in sizes
