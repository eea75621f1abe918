"""The frame of all records: one row a record and protocol, with the values that the records have."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmark.records.frame import COLUMNS, frame
from benchmark.records.parts import METRICS
from tests.paths import ROOT
from tests.reporting import factory
from tests.reporting.leaderboard.test_rows import sgr


def test_a_row_has_the_values_of_its_record() -> None:
    plain = sgr(2, departures=["x", "y"], protocols=("mscoco-1k", "mscoco-5k"))
    timed = factory.record(latency=factory.latency(2.5))
    found = frame([plain, timed])
    assert list(found.columns) == list(COLUMNS)
    assert len(found) == 3
    assert list(found["protocol"][:2]) == ["mscoco-1k", "mscoco-5k"]
    row, other = found.iloc[1], found.iloc[2]
    result = plain.results["mscoco-5k"]
    for name in METRICS:
        assert row[name] == result.metrics.value(name)
    assert (row["run"], row["seed"], row["method"]) == (plain.run, 2, plain.method)
    assert (row["departures"], row["reasons"], row["comparable"]) == (2, "x; y", False)
    assert (row["rsum_low"], row["rsum_high"]) == (
        result.intervals["rsum"].low,
        result.intervals["rsum"].high,
    )
    assert (row["signature"], row["canonical_hash"]) == (result.signature, plain.canonical_hash)
    assert other["query_t2i_ms"] == 2.5
    assert found["query_t2i_ms"].isna().tolist() == [True, True, False]


def test_all_committed_records_group_by_run() -> None:
    found = frame(runs=ROOT / "results/runs")
    assert len(found) == len(list((ROOT / "results/runs").rglob("*.json")))
    assert not found.duplicated(["protocol", "run", "seed"]).any()
    means = found.groupby("run")["rsum"].mean()
    paths = list((ROOT / "results/runs/scenes/sgraf-saf").glob("*.json"))
    sums = [json.loads(path.read_text("utf-8"))["results"]["scenes"]["metrics"]["rsum"] for path in paths]
    assert len(sums) > 1
    assert means["sgraf-saf"] == pytest.approx(sum(sums) / len(sums))


def test_no_records_make_an_empty_frame_with_all_columns() -> None:
    found = frame([])
    assert found.empty
    assert list(found.columns) == list(COLUMNS)


def test_importing_it_loads_neither_pandas_nor_torch() -> None:
    code = "import sys, benchmark.records.frame; assert not {'pandas', 'torch'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
