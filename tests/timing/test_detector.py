"""Timing of the detector: the recorded way computes the same, the floor is counted, and the command prints both."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from benchmark.data.regions.detector import Detector, DetectorSettings
from benchmark.data.regions.detector.network import PUBLISHED
from benchmark.data.regions.detector.published import build_network, sizes_of
from benchmark.reporting.timings import detector_sheet
from benchmark.timing import detector
from benchmark.timing.detector import PlainDetector, convolution_flops, detector_benchmark
from tests.data.regions.detector.narrow import CPU, golden, narrow_weights
from tests.tiny import rematch

SMALL = {"height": 64, "width": 96, "proposals": 20, "sizes": sizes_of(narrow_weights())}


def test_the_recorded_way_gives_the_recorded_features() -> None:
    recorded = golden("narrow_b_portrait")
    settings = DetectorSettings(mode="hub", short_side=200, longest_side=333, proposals=120)
    plain = PlainDetector(narrow_weights(), settings)
    picture = recorded["image_bgr"][..., ::-1].copy()
    with torch.no_grad():
        found = plain.features([picture, picture])
    expected = torch.from_numpy(recorded["outputs/kept_roi_features"])
    torch.testing.assert_close(found, expected.expand(2, -1, -1), rtol=1e-4, atol=1e-4)
    ours = Detector(build_network(narrow_weights()), settings, CPU).detect([picture])[0]
    torch.testing.assert_close(torch.from_numpy(ours.features), found[0], rtol=1e-4, atol=1e-4)


def stage_flops(blocks: int, before: int, inner: int, outer: int, places: int, earlier: int) -> int:
    """Products and sums of a stage, by hand; `earlier`: places before its stride."""
    assert earlier >= places
    first = before * inner + 9 * inner * inner + inner * outer + before * outer
    rest = outer * inner + 9 * inner * inner + inner * outer
    return 2 * places * (first + (blocks - 1) * rest)


def test_the_floor_counts_every_convolution() -> None:
    """600 x 800 pixels: 300 x 400 places after the stem, 150 x 200 after its pooling, then half of that twice."""
    stem = 2 * 300 * 400 * 64 * 3 * 49
    second = stage_flops(3, 64, 64, 256, 150 * 200, 150 * 200)
    third = stage_flops(4, 256, 128, 512, 75 * 100, 150 * 200)
    fourth = stage_flops(23, 512, 256, 1024, 38 * 50, 75 * 100)
    region = 2 * 38 * 50 * (9 * 1024 * 512 + 512 * 60)
    last = 300 * stage_flops(3, 1024, 512, 2048, 14 * 14, 14 * 14)
    total = stem + second + third + fourth + region + last
    assert convolution_flops(PUBLISHED, 600, 800, 300) == total
    assert 1.85e12 < total < 2e12


def test_both_ways_and_the_floor_in_one_run() -> None:
    speed = detector_benchmark(**SMALL, pictures=2, repeats=2)  # type: ignore[arg-type]
    (row,) = speed.rows
    assert (row.name, row.form) == ("2 x 64 x 96, 20 proposals", "chunks of 16")
    assert row.difference < 1e-3
    assert min(row.naive, row.fast, row.floor) > 0
    assert speed.peak_bytes > 2**20
    sheet = detector_sheet(speed, "detector")
    assert sheet.notes[0] == f"chunks of 16: {2 / row.fast:.3g} images/s"
    assert sheet.notes[1].startswith("peak memory of ours ")


def test_the_command_prints_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "detector_benchmark", partial(detector_benchmark, sizes=SMALL["sizes"]))  # type: ignore[arg-type]
    asked = "time detector --height 64 --width 96 --proposals 20 --repeats 1 --format csv"
    outcome = rematch(*asked.split())
    assert outcome.code == 0
    head, row = [
        line.split(",") for line in outcome.out.splitlines() if "chunks of 16" in line or "loop" in line
    ][:2]
    assert len(head) <= len(row)
    assert float(dict(zip(head[-5:], row[-5:], strict=True))["difference"]) < 1e-3
