"""`rematch evaluate-model` against the twin of the Hub: the models' own scores, records, rows, and faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from baselines.dual_encoder import METHOD
from baselines.dual_encoder.config import DualConfig
from baselines.dual_encoder.model import PairedEncoders
from benchmark.batches import CaptionBatch
from benchmark.data.load import load_dataset
from benchmark.data.splits import Split
from benchmark.method import DataFacts
from benchmark.records.record import RunRecord, read_record
from tests.baselines.dual_encoder.tiny_models import NAMES, SAVERS, tiny_repository
from tests.evaluation.naive import naive_ranks, naive_recall
from tests.hub.client import pointed_at
from tests.hub.repositories import karpathy_folder
from tests.hub.rows import mscoco_rows
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
    return rematch(
        "evaluate-model", NAMES[kind], "scenes", *more, "--no-progress", "--device", "cpu", "--no-latency"
    )


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
    if kind == "clip":  # the way from a matrix to recalls is the same for all
        i2t, t2i = naive_ranks(sims, split.caption_image, "lower_index")
        metrics = record.results["scenes"].metrics
        assert (metrics.i2t.r5, metrics.t2i.r10) == (naive_recall(i2t, 5), naive_recall(t2i, 10))
    assert (record.weights, record.training, record.comparable) == ("pretrained", None, False)
    assert record.departures == [f"zero-shot: {NAMES[kind]} as it is on the Hub, not trained on scenes here"]
    assert record.recipe["model"]["revision"] == commit
    assert record.paper_row is not None
    assert record.paper_row.variant == f"{NAMES[kind]}, zero-shot"
    assert commit[:12] in record.codec
    assert commit[:12] in str(record.transform)
    assert "rule:first5|folds:1|ties:lower_index" in record.results["scenes"].signature
    assert "recipe: recipes/dual_encoder/scenes-tiny-" in said
    assert online.is_dir()


def test_a_siglip_reads_the_padding_whatever_the_batch(twin: HubTwin, online: Path) -> None:
    """A short caption alone has the vector that it has beside a long one, and the one that the library gives it."""
    commit, folder = place(twin, "siglip")
    model = built("siglip", commit)
    tokenizer, library = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    captions = ["a red circle", "a small blue star is left of the large green square and above the circle"]
    together = METHOD.inputs(model.config).text.make().encode(captions)  # type: ignore[union-attr]
    index = torch.arange(2)
    ids, lengths = together
    both = model.encode_captions(CaptionBatch(ids, lengths, index))["vectors"]
    first = CaptionBatch(ids[:1, : int(lengths[0])], lengths[:1], index[:1])
    alone = model.encode_captions(first)["vectors"]
    torch.testing.assert_close(both[:1], alone, atol=1e-6, rtol=0)
    whole = tokenizer(captions, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        found = library.get_text_features(**whole)
    vectors = found if isinstance(found, torch.Tensor) else found.pooler_output
    torch.testing.assert_close(both, vectors / vectors.norm(dim=1, keepdim=True), atol=1e-5, rtol=0)
    assert online.is_dir()


def test_the_first_download_locks_the_commit_and_a_second_run_needs_no_hub(
    twin: HubTwin, online: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate("clip", "--no-tables").good
    commit = place(twin, "clip")[0]
    lock = (tmp_path / "cache/revisions.yaml").read_text(encoding="utf-8")
    assert f"someone/tiny-clip: {commit}" in lock
    before = read_back("clip")[0]
    asked = len(twin.asked(NAMES["clip"]))
    pointed_at(twin, monkeypatch, tmp_path / "cache", offline=True)
    assert evaluate("clip", "--no-tables").good
    assert len(twin.asked(NAMES["clip"])) == asked
    assert read_back("clip")[0].canonical_hash == before.canonical_hash
    moved = tiny_repository("clip", tmp_path / "newer", commit="fff9999")
    twin.add(moved)
    moved.commits |= {commit: place_of_old(tmp_path, commit)}
    pointed_at(twin, monkeypatch, tmp_path / "cache")
    assert evaluate("clip", "--no-tables").good
    assert read_back("clip")[0].recipe["model"]["revision"] == commit, "the lock holds"
    assert online.is_dir()


def place_of_old(tmp_path: Path, commit: str) -> Path:
    """The cached snapshot of a commit, as a folder that the twin can go on to serve."""
    (found,) = (tmp_path / "cache/hub").glob(f"models--*/snapshots/{commit}")
    return found


def test_half_precision_and_prompts_are_runs_of_their_own(twin: HubTwin, online: Path) -> None:
    assert evaluate("clip", "--no-tables").good
    assert evaluate("clip", "--precision", "bfloat16", "--prompt", "a photo of {}", "--batch-size", "50").good
    record, _ = read_back("clip", "tiny-clip-bfloat16-prompt")
    plain, _ = read_back("clip")
    assert record.recipe["model"]["precision"] == "bfloat16"
    assert record.recipe["evaluation"]["batch_size"] == 50
    assert record.codec.endswith(":'a photo of {}'")
    assert record.weights_sha256 != plain.weights_sha256
    assert record.results["scenes"].metrics.rsum != plain.results["scenes"].metrics.rsum
    table = Path("results/tables/scenes.md").read_text(encoding="utf-8")
    assert table.count("someone/tiny-clip, zero-shot") >= 2
    assert "zero-shot: someone/tiny-clip as it is on the Hub, not trained on scenes here" in table
    error = evaluate("clip", "--batch-size", "7", "--no-tables").error
    assert error == (
        "recipes/dual_encoder/scenes-tiny-clip.yaml: field 'evaluation.batch_size': found 128, asked for 7; give the "
        "runs another name (--name), or run it as it is: rematch reproduce recipes/dual_encoder/scenes-tiny-clip.yaml"
    )
    assert evaluate("clip", "--batch-size", "7", "--name", "sevens", "--no-tables").good
    sims = read_back("clip", "sevens")[1]
    np.testing.assert_allclose(sims, read_back("clip")[1], atol=1e-6)
    found = rematch(
        "query", "dual_encoder-tiny-clip", "a red circle", "--device", "cpu", "--no-progress"
    ).good
    assert "the Hub, as they are (zero-shot)" in found
    assert (
        "its weights are of the Hub as they are" in rematch("export", "dual_encoder-tiny-clip", "out").error
    )
    assert twin.downloads(NAMES["clip"])
    assert online.is_dir()


def break_file(folder: Path, name: str, content: str) -> Path:
    """Another content of a repository's file; returns it."""
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


def test_repositories_that_cannot_serve_end_in_one_line(
    online: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_repository("clip", tmp_path / "bert")
    (folder,) = other.commits.values()
    document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    break_file(folder, "config.json", json.dumps({**document["text_config"], "model_type": "bert"}))
    with HubTwin([other]) as served:
        pointed_at(served, monkeypatch, tmp_path / "another")
        missing = rematch("evaluate-model", "someone/nothing", "scenes", "--device", "cpu").error
        assert missing == "someone/nothing: no such repository (any more), or a private one"
        found = evaluate("clip")
        assert found.code == 2
        assert "(field model.name)" in found.err.splitlines()[-1]  # the library has said something, too
        assert "field 'model.library'" in evaluate("clip", "--library", "nolib").error
    pointed_at(served, monkeypatch, tmp_path / "empty")
    gone = evaluate("siglip").error
    assert gone.startswith("model someone/tiny-siglip is not in the Hugging Face cache and ")
    assert online.is_dir()


def test_folds_and_a_dry_run_as_for_every_method(twin: HubTwin, online: Path, tmp_path: Path) -> None:
    """MSCOCO's two protocols: the whole gallery, and the mean of five blocks of images with their own captions."""
    data = karpathy_folder(
        "coco", mscoco_rows({"test": 20, "val": 2, "restval": 2, "train": 4}), tmp_path / "coco"
    )
    given = (
        "--data-dir",
        data,
        "--unverified",
        "--no-progress",
        "--device",
        "cpu",
        "--no-latency",
        "--no-tables",
    )
    assert rematch("evaluate-model", NAMES["clip"], "mscoco", *given).good
    record = read_record(Path("results/runs/mscoco/dual_encoder-tiny-clip/0.json"))
    sims = np.load(".rematch/mscoco/dual_encoder-tiny-clip/0/sims.npy")
    assert sims.shape == (20, 100)
    owners = np.repeat(np.arange(20), 5)
    for protocol, folds in {"mscoco-5k": 1, "mscoco-1k": 5}.items():
        size, found = 20 // folds, record.results[protocol]
        recalls = []
        for fold in range(folds):
            rows, columns = (
                slice(fold * size, (fold + 1) * size),
                slice(5 * fold * size, 5 * (fold + 1) * size),
            )
            i2t, t2i = naive_ranks(sims[rows, columns], owners[: 5 * size], "lower_index")
            recalls.append((naive_recall(i2t, 1), naive_recall(t2i, 5)))
        expected = tuple(float(np.mean(values)) for values in zip(*recalls, strict=True))
        assert (found.metrics.i2t.r1, found.metrics.t2i.r5) == pytest.approx(expected)
        assert f"folds:{folds}|" in found.signature
    assert record.departures[0].startswith("not verified")
    said = rematch(
        "reproduce", "recipes/dual_encoder/mscoco-tiny-clip.yaml", "--dry-run", "--data-dir", data
    ).good
    assert "none: the weights are taken as they are" in said
    assert NAMES["clip"] in said
    assert twin.downloads(NAMES["clip"])
    assert online.is_dir()
