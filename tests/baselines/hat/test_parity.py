"""Parity of HAT: wrong captions and a wrong manifest fail. The rest is in tests/baselines/test_parity.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from baselines.hat.checks.parity import parity_cases
from tests.baselines.golden_files import computed, failed, load, save

GOLDEN = Path("tests/golden/hat")


MANIFEST = "state_dict_manifest.json"


@pytest.mark.parametrize("direction", ["i2t", "t2i"])
@pytest.mark.parametrize("wrong", [0, 99, -1])
def test_a_wrong_caption_index_fails(direction: str, wrong: int, tmp_path: Path) -> None:
    arrays = load("hat/cross_attention.npz")
    index = arrays[f"outputs/{direction}/caption_index"].copy()
    index[2] = wrong
    arrays[f"outputs/{direction}/caption_index"] = index
    assert failed(parity_cases(save(tmp_path / "x.npz", arrays)))


def test_a_file_may_lack_stage_0(tmp_path: Path) -> None:
    arrays = load("hat/full_i2t.npz")
    del arrays["outputs/eval/vit_stage_0"]
    cases = parity_cases(save(tmp_path / "x.npz", arrays))
    assert {case.name for case in cases} == computed(arrays)
    assert failed(cases) == set()


def test_any_wrong_entry_of_the_manifest_fails(tmp_path: Path) -> None:
    cases = parity_cases(GOLDEN / MANIFEST)
    assert len(cases) == 5
    assert failed(cases) == set()
    original = json.loads((GOLDEN / MANIFEST).read_text(encoding="utf-8"))
    key, buffer = "text_transformer.pooler.dense.bias", "vit_model.layers.2.blocks.17.attn_mask"
    changes: list[tuple[str, Any, str]] = [
        (key, [[769], "float32", "parameter"], "manifest/shapes"),
        (buffer, [[3, 49, 49], "float32", "buffer"], "manifest/shapes"),
        (key, [[768], "float64", "parameter"], "manifest/dtypes"),
        (buffer, [[4, 49, 49], "float32", "parameter"], "manifest/kinds"),
        ("vit_model.head.bias", [[3], "float32", "parameter"], "manifest/keys"),
        (key, None, "manifest/keys_lacking"),
    ]
    for entry, value, quantity in changes:
        manifest = {**original, entry: value}
        if value is None:
            del manifest[entry]
        path = tmp_path / "x.json"
        path.write_text(json.dumps(manifest), encoding="utf-8")
        assert quantity in failed(parity_cases(path))
