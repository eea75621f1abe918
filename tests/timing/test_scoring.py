"""The scoring benchmark: ratios, floor and differences of made-up cases; HAT's cases are what they say."""

import time

import pytest
import torch
from torch import Tensor

from baselines.hat.checks.speed import floor_flops, scoring_cases
from benchmark.method import ScoringCase
from benchmark.registry import get_method
from benchmark.reporting.timings import rank_sheet, scoring_sheet
from benchmark.reporting.writers.terminal import write_text
from benchmark.timing import scoring as speed


def sleeping(seconds: float, value: float) -> Tensor:
    time.sleep(seconds)
    return torch.full((2, 3), value)


def case(naive: float, fast: float, *, off: float = 0.0) -> ScoringCase:
    return ScoringCase("made up", "gram", lambda: sleeping(naive, 1), lambda: sleeping(fast, 1 + off), 1e6)


def test_ratio_difference_and_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MATRIX", 64)
    (row,) = speed.scoring_benchmark([case(0.05, 0.01, off=-0.25)], repeats=3)
    assert row.naive >= 0.05
    assert row.fast >= 0.01
    assert row.ratio == row.naive / row.fast
    assert row.difference == 0.25
    assert row.over_floor == pytest.approx(row.fast / row.floor)
    assert row.floor > 0


def test_floor_is_at_the_rate_of_the_plain_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MATRIX", 10)
    clock = iter(
        [0, 9, 0, 9, 0, 8, 0, 4, 0, 2]
    )  # fast and plain once untimed; then loop 8 s, fast 4 s, plain 2 s
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    (row,) = speed.scoring_benchmark(
        [ScoringCase("made up", "gram", lambda: sleeping(0, 1), lambda: sleeping(0, 1), 500.0)], repeats=1
    )
    assert (row.naive, row.fast) == (8, 4)
    assert row.floor == 500 * 2 / 2000  # 2 * 10^3 FLOPs took 2 s
    assert row.ratio == 2
    assert row.over_floor == 8


@pytest.mark.parametrize(("patience", "expected"), [(0.0, 1), (3600.0, 4)])
def test_a_slow_loop_is_not_repeated(monkeypatch: pytest.MonkeyPatch, patience: float, expected: int) -> None:
    monkeypatch.setattr(speed, "MATRIX", 64)
    monkeypatch.setattr(speed, "NAIVE_SECONDS", patience)
    calls: list[int] = []

    def loop() -> Tensor:
        calls.append(0)
        return sleeping(0.001, 1)

    slow = ScoringCase("slow", "gram", loop, lambda: sleeping(0, 1), 1e6)
    speed.scoring_benchmark([slow], repeats=4)
    assert len(calls) == expected


def test_threads_are_set_and_given_back() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def loop() -> Tensor:
        seen.append(torch.get_num_threads())
        return torch.ones(1)

    threads = ScoringCase("threads", "-", loop, lambda: torch.ones(1), 1.0)
    speed.scoring_benchmark([threads], repeats=1, threads=before + 1)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_tables_show_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MATRIX", 64)
    rows = speed.scoring_benchmark([case(0.002, 0.001), case(0.001, 0.001, off=1)], repeats=1)
    ranked = rank_sheet(speed.rank_benchmark([(20, 100)], repeats=1))
    text = write_text([scoring_sheet(rows, "scores"), ranked])
    assert text.count("made up") == 2
    assert f"{rows[0].ratio:.2f}" in text
    assert "1.0e+00" in text
    assert [cell.value for cell in ranked.rows[0].cells[:2]] == [20, 100]


def test_hat_offers_every_level_and_direction() -> None:
    assert get_method("hat").scoring_cases is scoring_cases
    cases = scoring_cases(torch.device("cpu"))
    first = next(cases)
    assert first.name == "i2t, 49 tokens, 32 x 128"
    scores = first.fast()
    assert scores.shape == (32, 128)
    torch.testing.assert_close(scores, first.naive(), rtol=0, atol=1e-6)
    names = [first.name, *(later.name for later in cases)]
    assert names == [f"{d}, {r} tokens, 32 x 128" for r in (49, 196, 784) for d in ("i2t", "t2i")]


def test_floor_counts_what_cannot_be_removed() -> None:
    # 2 images of 3 tokens, captions of 2 and 4 words, 10 wide: 2 * (2 * 3) * 6 * 10 for the products
    assert floor_flops(2, 3, [2, 4], 10, "i2t") == 720 + (2 * 3 + 4 * 5) * (2 * 3 + 10)
    assert floor_flops(2, 3, [2, 4], 10, "t2i") == 720 + 2 * 3 * 4 * (6 + 10)
    assert floor_flops(2, 300, [2, 4], 10, "t2i") == 2 * 72_000  # contexts built outright
