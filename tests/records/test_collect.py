"""What data, training and evaluation return goes into a record and comes back unchanged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.splits import Dataset, Images, Split
from benchmark.evaluation.protocol import evaluate
from benchmark.evaluation.ranking import top_k
from benchmark.files import sha256_bytes
from benchmark.records.collect import dataset_part, make_sidecar, protocol_part, training_part
from benchmark.records.record import new_record, read_record, write_record
from benchmark.records.sidecar import pack, read_sidecar, write_sidecar
from benchmark.timing.model import LatencyReport, Timing
from benchmark.training import TrainingResult
from tests.reporting import factory

N = 20
CAPTION_IMAGE = np.repeat(np.arange(N), 5)


class Pictures(Images):
    """No pictures, an identity only."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, row: int) -> Image.Image:
        raise AssertionError("no picture is needed")

    def select(self, rows: Sequence[int]) -> Pictures:
        raise AssertionError(f"no picture is needed, {rows} neither")

    def identity(self) -> bytes:
        return b"pictures"


def _split() -> Split:
    ids = [f"{row}" for row in range(N)]
    texts = [f"caption {row}" for row in range(5 * N)]
    return Split("test", ids, [f"{name}.png" for name in ids], texts, texts, CAPTION_IMAGE, Pictures())


def _sims() -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((N, 5 * N))
    return (noise + 1.5 * np.repeat(np.eye(N), 5, axis=1)).astype(np.float32)


def _log() -> list[dict]:
    steps = [[1.0 / (step + 1) for step in range(epoch * 15, epoch * 15 + 15)] for epoch in range(2)]
    return [
        {
            "epoch": epoch,
            "loss": sum(losses) / 15,
            "losses": losses,
            "seconds": 1.5,
            "validation_seconds": 0.5,
        }
        for epoch, losses in enumerate(steps)
    ]


def test_a_whole_run_goes_through_disk(tmp_path: Path) -> None:
    results = [
        evaluate(_sims(), CAPTION_IMAGE, name, n_images=N, resamples=20)
        for name in ("mscoco-1k", "mscoco-5k")
    ]
    split = _split()
    dataset = Dataset("mscoco", "r1", "made for a test", "none", {"test": split}, {"restval": False})
    training = TrainingResult(1, 55.5, 2, _log(), tmp_path / "b", tmp_path / "c", 3.0, None, "0" * 64)
    packed = pack(make_sidecar(results, top_k(_sims(), 10), split, training.log))
    fields = factory.parts(
        protocols=("mscoco-1k", "mscoco-5k"),
        dataset=dataset_part(dataset, 5),
        results={result.protocol.name: protocol_part(result) for result in results},
        training=training_part(training, "rsum"),
        sidecar_sha256=sha256_bytes(packed),
    )
    record = new_record(**fields)
    write_sidecar(packed, record, tmp_path)
    read = read_record(write_record(record, tmp_path))

    for result in results:
        found = read.results[result.protocol.name]
        assert len(found.folds) == result.protocol.folds
        assert found.metrics.rsum == result.metrics.rsum
        assert found.metrics.t2i.mean_rank == result.metrics.t2i.mean_rank
        assert found.intervals["rsum"].low == result.intervals.bounds["rsum"][0]
        assert found.metrics.value("mean_r1") == pytest.approx(result.metrics.r1_sum / 2)
    assert read.dataset.splits["test"].fingerprint == split.fingerprint
    assert read.dataset.fingerprint == dataset.fingerprint
    assert read.training is not None
    assert read.training.first_losses == [1.0 / (step + 1) for step in range(20)]
    assert read.training.final_loss == _log()[-1]["loss"]

    side = read_sidecar(read, tmp_path)
    for result in results:
        np.testing.assert_array_equal(side.ranks[result.protocol.name][1], result.ranks.t2i)
    order = np.argsort(-_sims(), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(side.i2t_top, order)
    np.testing.assert_array_equal(side.i2t_scores, np.take_along_axis(_sims(), order, axis=1))
    assert [set(entry) for entry in json.loads(side.log)] == [{"epoch", "loss", "losses"}] * 2


def test_the_rank_of_a_query_agrees_with_its_top_list() -> None:
    result = evaluate(_sims(), CAPTION_IMAGE, "scenes", resamples=20)
    side = make_sidecar([result], top_k(_sims(), 10), _split(), [])
    for query, rank in enumerate(side.ranks["scenes"][1]):
        where = np.flatnonzero(side.t2i_top[query] == CAPTION_IMAGE[query])
        assert list(where) == ([rank] if rank < 10 else [])


def test_a_latency_report_fits_in() -> None:
    timing = Timing("score query t2i", 1, 3, 30, 2.5, 3.5, 400.0)
    report = LatencyReport("clock", "a processor", "cpu", 2, "float32", 20, 100, 12345, 99, [timing])
    record = factory.record(latency=report.record_fields())
    assert record.latency is not None
    assert record.latency.stages[0].median_ms == 2.5
