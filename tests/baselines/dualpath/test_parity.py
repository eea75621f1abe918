"""Parity of the dual-path CNN: full-size layers, learning rates, and files that the harness compares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from baselines.dualpath.checks.parity import parity_cases
from benchmark.checks.parity.report import check_file
from tests.baselines.golden_files import failed, load, save

GOLDEN = Path("tests/golden/dualpath")


HARNESS = ["metric_0.npz", "metric_1.npz", "text_encoding.json"]


@pytest.mark.parametrize("name", HARNESS)
def test_what_is_the_harness_s_passes(name: str) -> None:
    rows = check_file("dualpath", GOLDEN / name)
    assert len(rows) >= 6
    assert all(row.ok for row in rows)


def test_full_size_layers_and_counts_are_the_published_ones() -> None:
    cases = parity_cases(GOLDEN / "layer_lists.json")
    assert failed(cases) == set()
    assert sum("/parameters/" in case.name for case in cases) == 16
    assert len(cases) == 700


def test_a_wrong_multiplier_fails(tmp_path: Path) -> None:
    arrays = load("dualpath/stage2_a.npz")
    config = json.loads(str(arrays["config"]))
    config["lr_mult"]["fc5_2f"] = 0.2
    arrays["config"] = np.array(json.dumps(config))
    assert "after_step1/fc5_2f" in failed(parity_cases(save(tmp_path / "x.npz", arrays)))
