"""Latency: every operation both ways and at both batch sizes, honest statistics, plain JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pytest
import torch

from benchmark.batches import CaptionBatch, Codes, ImageBatch
from benchmark.records.parts import Latency
from benchmark.reporting.timings import latency_sheet
from benchmark.reporting.writers.terminal import write_text
from benchmark.timing import model as latency
from benchmark.timing.memory import PeakMemory
from benchmark.timing.model import LatencyReport, measure_latency
from tests.pretend_cuda import GPU, PretendedGPU, pretended_gpu
from tests.toy import Toy, ToyConfig, toy_captions, toy_images, toy_model

CPU = torch.device("cpu")
ROWS = torch.arange(40)


def galleries(model: Toy, dtype: torch.dtype = torch.float32) -> tuple[Codes, Codes]:
    """Codes of 40 images and 80 captions."""
    model.eval()
    with torch.no_grad():
        images = model.encode_images(toy_images(ROWS))
        captions = model.encode_captions(toy_captions(torch.cat([ROWS, ROWS + 40])))
    tensors = {**captions.tensors, "vectors": captions["vectors"].to(dtype)}
    return Codes({"vectors": images["vectors"].to(dtype)}), Codes(tensors)


def measured(model: Toy, dtype: torch.dtype = torch.float32, repeats: int = 30) -> LatencyReport:
    first = ROWS[:8]
    return measure_latency(
        model,
        toy_images(first),
        toy_captions(first),
        *galleries(model, dtype),
        device=CPU,
        memory_bytes=2**20,
        repeats=repeats,
        query_batch=4,
    )


def test_every_operation_is_timed_for_one_item_and_for_a_full_batch() -> None:
    report = measured(toy_model())
    assert [(stage.name, stage.batch) for stage in report.stages] == [
        ("encode image", 1),
        ("encode image", 8),
        ("encode caption", 1),
        ("encode caption", 8),
        ("score query i2t", 1),
        ("score query i2t", 4),
        ("rank i2t", 1),
        ("rank i2t", 4),
        ("score query t2i", 1),
        ("score query t2i", 4),
        ("rank t2i", 1),
        ("rank t2i", 4),
    ]
    for stage in report.stages:
        assert stage.repeats == 30
        assert 0 < stage.median_ms <= stage.p95_ms
        assert stage.items_per_second == pytest.approx(1000 * stage.batch / stage.median_ms)
    assert report.gallery_images == 40
    assert report.gallery_captions == 80
    assert report.threads == torch.get_num_threads()
    assert report.hardware
    assert report.peak_memory_bytes > 10 * 2**20


def test_parameters_are_counted_once() -> None:
    model = toy_model()
    expected = sum(int(np.prod(parameter.shape)) for _, parameter in model.named_parameters())
    assert measured(model).parameters == expected


def test_report_is_json_and_fits_the_run_record() -> None:
    report = measured(toy_model())
    fields = json.loads(json.dumps(asdict(report)))
    assert fields["stages"][0]["name"] == "encode image"
    record = Latency.model_validate(json.loads(json.dumps(report.record_fields())))
    assert record.gallery == 80
    assert "40 images" in record.method


def test_median_and_p95_are_those_of_the_timed_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps 1, 2, ..., 30 ms per timed call: median 15.5, 95th percentile 28.55 (linear)."""

    def ticks() -> Iterator[float]:
        now = 0.0
        for jump in range(1, 31):
            yield now
            now += jump / 1000
            yield now

    times = ticks()
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    calls: list[int] = []
    timing = latency._Clock(CPU, warmup=5, repeats=30).time("x", 2, lambda: calls.append(1))
    assert len(calls) == 35
    assert timing.median_ms == pytest.approx(15.5)
    assert timing.p95_ms == pytest.approx(28.55)
    assert timing.items_per_second == pytest.approx(2 / 0.0155)


def test_a_slow_encoder_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model()
    encode = model.encode_captions

    def slow(batch: object) -> Codes:
        time.sleep(0.002)
        return encode(batch)  # type: ignore[arg-type]

    image_gallery, caption_gallery = galleries(model)
    monkeypatch.setattr(model, "encode_captions", slow)
    report = measure_latency(
        model,
        toy_images(ROWS),
        toy_captions(ROWS),
        image_gallery,
        caption_gallery,
        device=CPU,
        memory_bytes=2**20,
    )
    medians = {stage.name: stage.median_ms for stage in report.stages if stage.batch == 1}
    assert medians["encode caption"] >= 2
    assert medians["encode caption"] > medians["encode image"]


@pytest.mark.parametrize("memory_bytes", [2**20, 200])
def test_scored_blocks_are_the_similarity_in_gallery_order(memory_bytes: int) -> None:
    model = toy_model()
    images, captions = galleries(model)
    scorer = latency._Scorer(model, images, captions, memory_bytes, latency._Clock(CPU, 0, 1))
    with torch.no_grad():
        expected = images["vectors"] @ captions["vectors"].T
        torch.testing.assert_close(scorer.i2t(), expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(scorer.t2i(), expected.T, atol=1e-6, rtol=0)
    assert (len(scorer.images) * len(scorer.captions) > 1) == (memory_bytes == 200)


def test_a_full_batch_of_queries_that_would_take_too_long_is_made_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 2 ms a query and 33 calls of each, 0.21 s leave room for 3 queries and 0.1 s for 1."""
    model = toy_model()
    similarity = model.similarity
    images, captions = galleries(model)

    def slow(some: Codes, others: Codes) -> torch.Tensor:
        time.sleep(0.002 * min(len(some), len(others)))
        return similarity(some, others)

    monkeypatch.setattr(model, "similarity", slow)
    for seconds, largest in ((0.21, 3), (0.1, 1), (100.0, 16)):
        report = measure_latency(
            model,
            toy_images(ROWS),
            toy_captions(ROWS),
            images,
            captions,
            device=CPU,
            memory_bytes=2**20,
            seconds=seconds,
        )
        batches = {stage.batch for stage in report.stages if stage.name.startswith("score")}
        assert min(batches) == 1
        assert max(batches) <= largest
        assert seconds < 1 or max(batches) == 16


def test_ranking_keeps_equal_scores_in_gallery_order() -> None:
    ranking = latency._ranking(torch.tensor([[0.5, 0.9, 0.5, 0.9, 0.1]]))
    assert ranking.tolist() == [[1, 3, 0, 2, 4]]


def test_double_precision_is_named_and_the_model_comes_back_as_it_was() -> None:
    model = toy_model()
    model.train()
    report = measured(model, torch.float64)
    assert report.precision == "encoders float32, scores float64"
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    # `galleries` had put it into evaluation mode, which measuring keeps
    assert not model.training
    assert measured(model).precision == "float32"


def test_fewer_than_thirty_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 30"):
        measured(toy_model(), repeats=29)


def test_peak_memory_sees_an_allocation_that_is_gone_again() -> None:
    memory = PeakMemory(CPU)
    if memory.what.endswith("since its start"):
        pytest.skip("this system cannot forget a process's earlier peak")
    before = memory.peak()
    block = np.ones(200 * 2**20, np.uint8)
    del block
    assert memory.peak() >= before + 100 * 2**20


def test_table_names_operations_hardware_and_method() -> None:
    report = measured(toy_model())
    text = write_text([latency_sheet(report, "toy")])
    for part in ("score query t2i", "encode image", "median ms", "peak memory", "30 calls", report.hardware):
        assert part in text


def test_a_gallery_that_does_not_fit_is_copied_outside_of_the_clock() -> None:
    """A copy takes 20 ms by the clock, a block of scores 1 ms: the scores' times are those without copies."""
    ticks = [0.0]

    def copied(pretended: PretendedGPU, tensor: torch.Tensor, to_gpu: bool) -> torch.Tensor:
        if pretended.holds(tensor) != to_gpu:
            ticks[0] += 0.02 if to_gpu else 0.001
        return move(pretended, tensor, to_gpu)

    move = PretendedGPU.move
    with pretended_gpu() as gpu, pytest.MonkeyPatch.context() as patch:
        patch.setattr(PretendedGPU, "move", copied)
        patch.setattr(time, "perf_counter", lambda: ticks[0])
        model = Slow(ToyConfig(), ticks)
        codes = galleries(model)
        model.to(GPU)

        def report() -> LatencyReport:
            return measure_latency(
                model,
                toy_images(ROWS[:2]),
                toy_captions(ROWS[:2]),
                *codes,
                device=GPU,
                memory_bytes=200,
                query_batch=2,
                seconds=0,
            )

        near = {stage.name: stage.median_ms for stage in report().stages}
        gpu.free = 2000
        far = report()
    assert not any("copy" in name for name in near)
    found = {stage.name: stage.median_ms for stage in far.stages}
    for way, blocks, tensors in (("i2t", 4, 8), ("t2i", 2, 2)):  # codes of captions have lengths beside them
        assert found[f"score query {way}"] == pytest.approx(near[f"score query {way}"])
        assert found[f"score query {way}"] == pytest.approx(blocks)
        assert found[f"copy gallery {way}"] == pytest.approx(20 * tensors)
    assert "whose copying is timed apart" in far.method
    record = Latency.model_validate(json.loads(json.dumps(far.record_fields())))
    assert "copy gallery i2t" in [stage.name for stage in record.stages]


class Slow(Toy):
    """Takes a millisecond of a clock that is given to score a block, and to encode."""

    def __init__(self, config: ToyConfig, ticks: list[float]) -> None:
        super().__init__(config)
        self.ticks = ticks

    def similarity(self, images: Codes, captions: Codes) -> torch.Tensor:
        self.ticks[0] += 0.001
        return super().similarity(images, captions)

    def encode_captions(self, batch: CaptionBatch) -> Codes:
        self.ticks[0] += 0.001
        return super().encode_captions(batch)

    def encode_images(self, batch: ImageBatch) -> Codes:
        self.ticks[0] += 0.001
        return super().encode_images(batch)
