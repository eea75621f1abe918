"""`rematch evaluate-model` against the twin of the Hub: the models' own scores, records, rows, and what can go wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import pad
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from baselines.dual_encoder import METHOD
from baselines.dual_encoder.config import DualConfig
from baselines.dual_encoder.model import PairedEncoders
from benchmark.batches import CaptionBatch, Codes, ImageBatch
from benchmark.data.load import load_dataset
from benchmark.data.splits import Split
from benchmark.method import DataFacts
from benchmark.records.record import RunRecord, read_record
from tests.baselines.dual_encoder.tiny_models import NAMES, SAVERS, tiny_repository
from tests.evaluation.naive import naive_ranks, naive_recall
from tests.hub.client import pointed_at
from tests.hub.server import HubTwin
from tests.tiny import Outcome, rematch

KINDS = sorted(SAVERS)
FEW = 12
"""Test images whose scores are compared with the library's."""


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubTwin]:
    folder = tmp_path_factory.mktemp("models")
    with HubTwin([tiny_repository(kind, folder) for kind in KINDS]) as served:
        yield served


@pytest.fixture
def online(twin: HubTwin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, on the twin, with a cache of its own."""
    pointed_at(twin, monkeypatch, tmp_path / "cache")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


def evaluate(kind: str, *more: object) -> Outcome:
    return rematch("evaluate-model", NAMES[kind], "scenes", *more, "--no-progress", "--device", "cpu", "--no-latency")


def place(twin: HubTwin, kind: str) -> tuple[str, Path]:
    """Commit and folder of a tiny model."""
    repository = twin.repositories[NAMES[kind]]
    return repository.main, repository.commits[repository.main]


def scenes_test() -> Split:
    return load_dataset("scenes", splits=["test"], show_progress=False).splits["test"]


def library_logits(folder: Path, split: Split, images: int) -> np.ndarray[Any, Any]:
    """What the library itself says of the first images and their captions: its processor, tokenizer and forward."""
    model = AutoModel.from_pretrained(folder).eval()
    processor, tokenizer = AutoImageProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    pictures = [split.images[row] for row in range(images)]
    padding = "max_length" if model.config.model_type == "siglip" else "longest"
    texts = tokenizer(split.captions[: 5 * images], padding=padding, truncation=True, return_tensors="pt")
    with torch.no_grad():
        found = model(**processor(images=pictures, return_tensors="pt"), **texts).logits_per_image
    logits: np.ndarray[Any, Any] = found.numpy()
    return logits


def read_back(kind: str, label: str | None = None) -> tuple[RunRecord, np.ndarray[Any, Any]]:
    """Record and matrix of the run of a tiny model."""
    run = f"dual_encoder-{label or NAMES[kind].split('/')[1]}"
    record = read_record(Path(f"results/runs/scenes/{run}/0.json"))
    return record, np.load(f".rematch/scenes/{run}/0/sims.npy")


def built(kind: str, commit: str, **settings: Any) -> PairedEncoders:
    """The model of a repository as a run builds it."""
    config = METHOD.settle(DualConfig(name=NAMES[kind], **settings), lambda _: commit)
    codec = METHOD.inputs(config).text.make()  # type: ignore[union-attr]
    model = METHOD.build(config, DataFacts(codec.vocab_size, codec.pad_id, pretrained=True))
    assert isinstance(model, PairedEncoders)
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_librarys_own(kind: str, twin: HubTwin, online: Path) -> None:
    said = evaluate(kind, "--no-tables").good
    commit, folder = place(twin, kind)
    record, sims = read_back(kind)
    split, rows = scenes_test(), slice(0, FEW)
    model = built(kind, commit)
    ours = model.logits(torch.from_numpy(sims[rows, : 5 * FEW]).float()).detach().numpy()
    np.testing.assert_allclose(ours, library_logits(folder, split, FEW), atol=1e-5, rtol=1e-5)
    assert np.abs(ours - np.roll(ours, 1, axis=0)).max() > 0.1  # the order of the images is seen
    i2t, t2i = naive_ranks(sims, split.caption_image, "lower_index")
    metrics = record.results["scenes"].metrics
    assert (metrics.i2t.r5, metrics.t2i.r10) == (naive_recall(i2t, 5), naive_recall(t2i, 10))
    assert (record.weights, record.training, record.comparable) == ("pretrained", None, False)
    assert record.departures == [f"zero-shot: {NAMES[kind]} as it is on the Hub, not trained on scenes here"]
    assert record.recipe["model"]["revision"] == commit
    assert record.paper_row.variant == f"{NAMES[kind]}, zero-shot"
    assert commit[:12] in record.codec
    assert commit[:12] in str(record.transform)
    assert "rule:first5|folds:1|ties:lower_index" in record.results["scenes"].signature
    assert "recipe: recipes/dual_encoder/scenes-tiny-" in said
    assert online.is_dir()
