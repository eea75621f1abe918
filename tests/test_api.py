"""The API: light to import, the commands' numbers, and the notebook that shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import benchmark
from benchmark.data.load import load_dataset
from benchmark.errors import UserError
from benchmark.evaluation.protocol import evaluate as evaluate_protocol
from benchmark.evaluation.protocol import evaluate_places
from benchmark.run.job import Settings
from tests.paths import ROOT
from tests.tiny import I2T, make_home

NOTEBOOK = ROOT / "docs/notebooks/scores.ipynb"


def test_importing_it_costs_nothing_and_every_name_is_there() -> None:
    code = "import sys, benchmark; assert not {'numpy', 'torch', 'pydantic'} & set(sys.modules); print(dir(benchmark))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
    assert all(getattr(benchmark, name).__doc__ for name in benchmark.__all__)
    with pytest.raises(AttributeError, match="evaluat'"):
        benchmark.evaluat  # noqa: B018


def test_evaluate_gives_the_protocols_numbers() -> None:
    sims = np.random.default_rng(0).standard_normal((8, 24))
    owner = np.arange(24) // 3
    found = benchmark.evaluate(sims, 3, ks=[2])
    expected = evaluate_protocol(sims, owner, "scenes", ks=[2])
    places = evaluate_places(sims, owner, expected)
    wanted = expected.metrics.values() | {
        f"{way}_{name}": getattr(places[way], name)
        for way in ("i2t", "t2i")
        for name in ("mrr", "map", "ndcg")
    }
    assert found.values() == wanted == benchmark.evaluate(sims, owner, "scenes", ks=[2]).values()
    assert {"i2t_r2", "rsum", "t2i_map"} <= set(wanted)
    assert found.intervals() == expected.intervals.bounds
    with pytest.raises(UserError, match="expected 1000"):
        benchmark.evaluate(sims, 3, "flickr30k")
    with pytest.raises(UserError, match="expected 'scenes'"):
        benchmark.compare(benchmark.evaluate(sims, 3, "scenes"), "hat-i2t", protocol="flickr30k")


def test_load_split_is_the_datasets() -> None:
    split = benchmark.load_split("scenes", "val", first_images=3)
    whole = load_dataset("scenes", splits=["val"], show_progress=False).splits["val"]
    assert list(split.captions) == list(whole.captions[:15])
    assert split.caption_image.tolist() == [row // 5 for row in range(15)]


def test_reproduce_leaves_the_commands_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_home(tmp_path))
    settings = Settings(latency=False, show_progress=False)
    (made,) = benchmark.reproduce(I2T.as_posix(), seeds=[4], settings=settings, device="cpu")
    assert made.seed == 4
    table = benchmark.frame()
    assert table[["run", "seed", "canonical_hash"]].values.tolist() == [["hat-i2t", 4, made.canonical_hash]]


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    mpl.use("Agg")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    monkeypatch.chdir(NOTEBOOK.parent)  # as Jupyter does
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "commit it without outputs"
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    recalls = names["ours"].result.metrics.t2i.recall
    drawn = [line.get_ydata().tolist() for line in names["axes"].lines]
    assert list(recalls.values()) in drawn
    assert names["found"].test.n == 400
    assert names["found"].p < 0.05
