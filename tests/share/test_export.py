"""Runs as folders for the Hub: what they hold, that they evaluate to the record's numbers, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData

import benchmark
from benchmark.errors import UserError
from benchmark.files import sha256_file
from benchmark.records.record import RunRecord, read_record
from benchmark.reporting.writers.markdown import escape
from benchmark.share.export.card import model_card
from benchmark.share.export.folder import NEEDED
from benchmark.training import read_weights
from tests.hub.client import pointed_at
from tests.hub.server import HubTwin
from tests.paths import ROOT
from tests.tiny import contents, record_of, refused, rematch

WORK = Path(".rematch/scenes/hat-i2t/0")


@pytest.fixture
def exported(home: Path) -> Path:
    """The tiny run, exported."""
    assert rematch("export", "hat-i2t", "out/tiny").code == 0
    return home / "out/tiny"


def test_the_folder_holds_the_run(exported: Path) -> None:
    assert {item.name for item in exported.iterdir()} == set(NEEDED)
    record = record_of("hat-i2t")
    assert read_record(exported / "record.json") == record
    assert sha256_file(exported / "model.safetensors") == record.weights_sha256
    assert sha256_file(exported / "record.npz") == record.sidecar_sha256
    said = rematch("export", "scenes/hat-i2t/0", "out/again").good
    assert said.splitlines()[0] == f"wrote out/again: {', '.join(sorted(NEEDED))}"
    assert "nothing was uploaded" in said
    assert said.splitlines()[-1] == "  hf upload YOUR-NAME/hat-i2t out/again ."
    assert contents(Path("out/again")) == contents(exported), "byte for byte"
    assert rematch("export", "hat-i2t/0", "out/again").code == 0, "an export may be written again"
    assert contents(Path("out/again")) == contents(exported)


def test_an_exported_folder_evaluates_to_the_records_numbers(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = np.load(WORK / "sims.npy")
    record = record_of("hat-i2t").results["scenes"].metrics
    alone = tmp_path / "elsewhere"
    shutil.copytree(exported, alone)
    monkeypatch.chdir(alone)
    options = ("--recipe", "recipe.yaml", "--checkpoint", "model.safetensors", "--save-sims", "sims.npy")
    said = rematch("evaluate", *options, "--device", "cpu", "--no-progress").good
    assert "note:" not in said, "the recipe is the one that the weights were trained with"
    assert f"{record.rsum:.1f} [" in said
    assert np.array_equal(np.load("sims.npy"), matrix)


def test_the_card_is_what_the_hub_reads(exported: Path) -> None:
    record = record_of("hat-i2t")
    card = ModelCard.load(exported / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "rematch"
    assert card.data.model_name == "hat-i2t"
    found = {result.metric_type: result for result in card.data.eval_results or []}
    metrics = record.results["scenes"].metrics
    assert found.keys() == {f"{d}_recall_at_{k}" for d in ("i2t", "t2i") for k in (1, 5, 10)} | {"rsum"}
    assert found["t2i_recall_at_5"].metric_value == metrics.t2i.r5
    assert found["rsum"].metric_value == metrics.rsum
    for result in found.values():
        assert (result.task_type, result.dataset_type, result.dataset_config) == (
            "image-text-retrieval", "scenes", "scenes",
        )  # fmt: skip
        assert (result.dataset_split, result.dataset_revision) == ("test", "scenes-1")
    assert "(not comparable with the paper)" in str(found["t2i_recall_at_5"].metric_name)
    again = yaml.safe_load(card.data.to_yaml())
    assert again["model-index"] == yaml.safe_load(card.content.split("---")[1])["model-index"]


def test_the_card_says_first_what_the_numbers_are_worth(exported: Path) -> None:
    record = record_of("hat-i2t")
    text = (exported / "README.md").read_text(encoding="utf-8")
    assert text.index("**Not comparable with the paper.**") < text.index("## Results")
    assert all(f"> - {escape(reason)}\n" in text for reason in record.departures)
    assert record.results["scenes"].signature in text
    assert f"| {record.results['scenes'].metrics.i2t.r1:.1f} \\[" in text
    assert "rematch evaluate --recipe recipe.yaml --checkpoint model.safetensors" in text
    assert "The weights: apache-2.0." in text
    assert "eprint = {" in text
    assert "vocabulary.json" not in text
    assert str(Path.home()) not in text


def comparable(record: RunRecord) -> RunRecord:
    """The same numbers, as if of a paper's set-up on Flickr30K."""
    data = record.dataset.model_copy(update={"name": "flickr30k", "revision": "owner/name@0123"})
    return record.model_copy(update={"comparable": True, "departures": [], "dataset": data})


def test_a_run_that_is_the_papers_says_so_and_names_no_licence_by_itself() -> None:
    record = comparable(read_record(ROOT / "results/runs/scenes/hat-i2t/0.json"))
    text = model_card(record, None, has_vocabulary=True)
    assert "Not comparable" not in text
    assert "not comparable" not in text
    assert (
        yaml.safe_load(text.split("---")[1])["model-index"][0]["results"][0]["dataset"]["revision"]
        == "owner/name@0123"
    )
    assert yaml.safe_load(text.split("---")[1])["license"] == "unknown"
    assert "Nobody has named a licence for these weights" in text
    assert "`vocabulary.json` beside the weights" in text
    assert "The weights: mit." in model_card(record, "mit", has_vocabulary=False)


def test_nothing_in_a_record_becomes_markup_in_the_card() -> None:
    record = read_record(ROOT / "results/runs/scenes/hat-i2t/0.json")
    odd = "<img src=x onerror=alert(1)> `b` [c](d)"
    data = record.dataset.model_copy(update={"source": odd, "revision": odd})
    changes = {"run": odd, "recipe_path": f"recipes/{odd}.yaml", "notes": [odd], "departures": [odd]}
    recipe = record.recipe | {"summary": odd, "profile": odd}
    record = record.model_copy(update={**changes, "dataset": data, "codec": odd, "recipe": recipe})
    text = model_card(record, f"mit {odd}", has_vocabulary=False)
    head, body = text.split("\n---\n", 1)
    assert yaml.safe_load(head.removeprefix("---"))["model-index"][0]["name"] == odd
    assert "<" not in re.sub(r"`[^`\n]*`", "", body), "but in code, which knows no markup"
    assert body.count("&lt;img src=x onerror=alert(1)&gt; \\`b\\` \\[c\\](d)") >= 8
    assert "`recipes/<img src=x onerror=alert(1)> 'b' [c](d).yaml`" in body


def test_a_vocabulary_goes_along_and_an_old_one_goes(exported: Path) -> None:
    shutil.copy(ROOT / "CITATION.cff", WORK / "vocabulary.json")
    assert "vocabulary.json" in rematch("export", "hat-i2t", exported).good
    assert (exported / "vocabulary.json").is_file()
    (WORK / "vocabulary.json").unlink()
    assert rematch("export", "hat-i2t", exported).code == 0
    assert not (exported / "vocabulary.json").exists()


def test_what_has_no_weights_of_ours_is_refused(home: Path) -> None:
    error = refused("export", "hat-ensemble", "out")
    assert error == (
        "run 'hat-ensemble': an ensemble has no weights of its own; export its members: scenes/hat-i2t/0, "
        "scenes/hat-t2i/0"
    ), home
    assert "results/none.json: no such run record" in refused("export", "results/none.json", "out")


def test_other_weights_are_refused(home: Path) -> None:
    other = Path(".rematch/scenes/hat-t2i/0/best.safetensors")
    assert "these are not the weights of that run" in refused("export", "hat-i2t", "out", "--weights", other)
    moved = (WORK / "best.safetensors").rename(home / "moved.safetensors")
    error = refused("export", "hat-i2t", "out")
    assert (
        "are not there; train them again (rematch reproduce recipes/hat/scenes-i2t.yaml --seeds 0)" in error
    )
    assert rematch("export", "hat-i2t", "out", "--weights", moved).code == 0


def test_a_folder_of_other_things_is_left_alone(home: Path) -> None:
    Path("mine").mkdir()
    Path("mine/README.md").write_text("mine")
    error = refused("export", "hat-i2t", "mine")
    assert (
        error
        == "mine: found 1 files that are no export of a run; name another folder, or --force to write among them"
    )
    Path("mine/notes.txt").write_text("stays")
    assert rematch("export", "hat-i2t", "mine", "--force").code == 0
    assert Path("mine/notes.txt").read_text() == "stays"
    assert read_record(Path("mine/record.json")).run == "hat-i2t", home
    assert "found a file, expected a folder" in refused("export", "hat-i2t", "mine/notes.txt")


# --------------------------------------------------------------------------- committed runs, Python, the Hub


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone, as far as an export reads it: recipes, records and references, and no work folder."""
    for part in ("recipes", "results/paper", "results/runs/scenes", "results/reference/scenes"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).symlink_to(ROOT / part)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_committed_run_goes_out_with_its_reference_weights(clone: Path) -> None:
    said = rematch("export", "scenes/vse_infty-bigru/0", "out").good
    note = "note: the weights are the committed reference, stored in half precision and widened again: rsum "
    assert note in said
    stored, _ = read_weights(Path("results/reference/scenes/vse_infty-bigru.safetensors"))
    found, _ = read_weights(Path("out/model.safetensors"))
    assert found.keys() == stored.keys()
    for name, tensor in found.items():
        assert tensor.dtype != torch.float16
        assert torch.equal(tensor, stored[name].to(tensor.dtype)), name
    card = Path("out/README.md").read_text(encoding="utf-8")
    assert sha256_file(Path("out/model.safetensors")) in card
    assert "stored in half precision" in card
    assert clone.is_dir()


def test_an_exported_folder_answers_in_one_line_of_python(clone: Path) -> None:
    assert rematch("export", "scenes/vse_infty-bigru/0", "out").code == 0
    answer = benchmark.load_run("out").query("a large red circle", top=3)
    assert [hit.rank for hit in answer.hits] == [1, 2, 3]
    asked = rematch("query", "vse_infty-bigru", "a large red circle", "--top", "3", "--format", "json").good
    scores = [row["score"] for row in json.loads(asked)[0]["rows"]]
    np.testing.assert_allclose([hit.score for hit in answer.hits], scores, atol=1e-6)
    with pytest.raises(UserError, match=r"recipes: lacks model.safetensors, .*expected a folder of"):
        benchmark.load_run(clone / "recipes")
    with pytest.raises(UserError, match=r"nowhere: no such folder, and no repository of the Hub"):
        benchmark.load_run("nowhere")


def test_a_seed_without_weights_says_where_they_are_made(clone: Path) -> None:
    error = refused("export", "scenes/vse_infty-bigru/1", "out")
    assert "are not there; train them again (rematch reproduce recipes/vse_infty/scenes-bigru.yaml" in error
    assert error.endswith("--seeds 1), or say where they are (--weights); committed are those of seed 0")
    assert not (clone / "out").exists()


def logged_in(twin: HubTwin, monkeypatch: pytest.MonkeyPatch, cache: Path, token: str | None) -> None:
    """Point the library at the twin, as who has this token."""
    pointed_at(twin, monkeypatch, cache)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)


def test_an_export_is_pushed_when_asked_and_logged_in(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (exported / "private-notes.txt").write_text("not to be uploaded")
    with HubTwin() as twin:
        twin.writers.add("hf_writer")
        logged_in(twin, monkeypatch, tmp_path / "cache", None)
        assert refused("export", "hat-i2t", "out/other", "--push", "alice/tiny").startswith(
            "option '--push': nobody is logged in to the Hub"
        )
        assert not Path("out/other").exists()
        assert "expected OWNER/NAME" in refused("export", "hat-i2t", "out/other", "--push", "tiny")
        logged_in(twin, monkeypatch, tmp_path / "cache", "hf_stranger")
        error = refused("export", "hat-i2t", exported, "--push", "alice/tiny")
        assert error.startswith("the Hub answered 401 for alice/tiny: this login may not write there")
        assert twin.pushed == {}
        logged_in(twin, monkeypatch, tmp_path / "cache", "hf_writer")
        said = rematch("export", "hat-i2t", exported, "--push", "alice/tiny", "--private").good
        assert said.splitlines()[-1] == f"uploaded: {twin.url}/alice/tiny"
        assert twin.pushed["alice/tiny"] == {name: (exported / name).read_bytes() for name in NEEDED}
        assert twin.private == {"alice/tiny": True}


def test_numbers_of_the_card_are_plain_and_read_back(exported: Path) -> None:
    record = read_record(ROOT / "results/runs/scenes/hat-i2t/0.json")
    metrics = record.results["scenes"].metrics
    odd = metrics.model_copy(update={"rsum": np.float64(metrics.rsum)})
    folds = {
        name: record.results["scenes"].model_copy(update={"metrics": odd})
        for name in ("mscoco-1k", "mscoco-5k")
    }
    text = model_card(record.model_copy(update={"results": folds}), None, has_vocabulary=False)
    assert "!!python" not in text
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    found = data.eval_results or []
    assert len(found) == 2 * 7
    for protocol in folds:
        (rsum,) = [one for one in found if (one.dataset_config, one.metric_type) == (protocol, "rsum")]
        assert rsum.metric_value == metrics.rsum
        assert str(rsum.dataset_name).endswith(f", {protocol}")
    assert exported.is_dir()
