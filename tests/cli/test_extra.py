"""Extra metrics on the command line: tables of several right answers, and scores post-processed against hubs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from benchmark.cli.extra import score_run_relevance
from benchmark.data.splits import Dataset, NoPictures, Split
from benchmark.errors import UserError
from benchmark.evaluation.extra.hubness import qb_norm
from benchmark.evaluation.extra.labels import load_relevance
from benchmark.evaluation.metrics import recall_at_k
from benchmark.evaluation.protocol import PROTOCOLS
from benchmark.evaluation.ranking import rank
from benchmark.records.signature import parse
from benchmark.reporting.writers.json import write_json
from benchmark.run.evaluate import Evaluated
from tests.tiny import I2T, refused, rematch

IMAGES = 10
I2T_WORK = Path(".rematch/scenes/hat-i2t/0")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scores of ten images of MSCOCO, their ids, and a file of CxC's layout; the protocols cut down to them."""
    for name in ("mscoco-1k", "mscoco-5k"):
        monkeypatch.setitem(PROTOCOLS, name, replace(PROTOCOLS[name], n_images=IMAGES))
    monkeypatch.chdir(tmp_path)
    np.save("sims.npy", sims())
    Path("images.txt").write_text("".join(f"COCO_val2014_{row:012d}.jpg\n" for row in range(IMAGES)))
    np.save("captions.npy", 100 + np.arange(5 * IMAGES))
    lines = [
        f"COCO_val2014:sentid:{100 + j},COCO_val2014_{j // 5:012d}.jpg,4.5,x" for j in range(50) if j != 3
    ]
    lines.append("COCO_val2014:sentid:149,COCO_val2014_000000000000.jpg,3.0,x")
    Path("sits_test.csv").write_text("\n".join(["caption,image,agg_score,sampling_method", *lines]))
    return tmp_path


def sims() -> np.ndarray[Any, Any]:
    values = np.random.default_rng(0).standard_normal((IMAGES, 5 * IMAGES)).astype(np.float32)
    values[np.arange(50) // 5, np.arange(50)] += 1
    return values


SCORE = ("score", "sims.npy", "--dataset", "mscoco")
CXC = ("--relevance", "cxc", "--relevance-file", "sits_test.csv")
IDS = ("--image-ids", "images.txt", "--caption-ids", "captions.npy")


def test_cxc_has_a_table_and_a_signature_of_its_own(folder: Path) -> None:
    plain = rematch(*SCORE).good
    said = rematch(*SCORE, *CXC, *IDS).good
    assert said.startswith(plain), folder
    extra = said.removeprefix(plain)
    assert "cxc: sits file, agg_score >= 3.0" in extra
    ranks = rank(sims()[:, np.arange(50) != 3], np.delete(np.arange(50) // 5, 3))  # caption 3 is no query
    full = rank(sims(), np.arange(50) // 5).t2i
    hits = np.delete(full, 3) == 0
    hits[-1] |= int(sims()[:, 49].argmax()) == 0
    row = next(line for line in extra.splitlines() if "t2i" in line)
    assert f"{100 * hits.mean():.2f}" in row
    assert len(ranks.t2i) == 49
    assert "│      49 │        50 │" in row
    line = extra.splitlines()[-1]
    assert line.startswith("relevance:cxc|labels:")
    assert "|dataset:mscoco|fingerprint:unknown|split:unknown|images:10|captions:50|" in line
    with pytest.raises(UserError, match="field 'relevance' is not known"):
        parse(line)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (CXC, "option '--image-ids': --relevance needs the ids of the rows and of the columns"),
        ((*CXC, "--image-ids", "images.txt"), "option '--caption-ids': --relevance needs the ids"),
        (IDS, "options '--image-ids' and '--caption-ids' are for --relevance"),
        (CXC[2:], "option '--relevance-file': say what it is (--relevance cxc or eccv)"),
        (("--relevance", "cxd", *IDS), "unknown relevance 'cxd'; did you mean 'cxc'?"),
        (
            (*CXC, "--image-ids", "captions.npy", "--caption-ids", "captions.npy"),
            "image ids: found 50, expected 10",
        ),
        (("--bank", "captions=a.npy"), "options '--bank' and '--transductive' are for --postprocess"),
        (("--postprocess", "qbnorm"), "post-processing qbnorm needs a bank: --bank ROLE=FILE"),
        (("--postprocess", "qb", "--transductive"), "unknown post-processing 'qb'; did you mean 'qbnorm'?"),
        (("--postprocess", "qbnorm", "--bank", "captions=none.npy"), "none.npy: no such file"),
        (("--postprocess", "qbnorm", "--bank", "captions=sims.npy"), "has the scores of test caption 0"),
        (
            ("--postprocess", "qbnorm", "--bank", "images=sims.npy", "--bank", "images=sims.npy"),
            "option '--bank': role 'images' was given twice",
        ),
    ],
)
def test_mistakes_are_one_line(folder: Path, options: tuple[str, ...], message: str) -> None:
    assert message in refused(*SCORE, *options), folder


def test_the_tables_are_about_mscoco(folder: Path) -> None:
    error = refused("score", "sims.npy", "--dataset", "scenes", *CXC, *IDS)
    assert error == "option '--relevance': the tables are about mscoco, found dataset 'scenes'", folder
    np.save("more.npy", np.zeros((11, 55)))
    assert "found scores of 11 images" in refused("score", "more.npy", "--dataset", "mscoco", *CXC, *IDS)


def test_post_processed_scores_are_marked(folder: Path) -> None:
    bank = np.random.default_rng(1).standard_normal((IMAGES, 30))
    np.save("bank.npy", bank)
    plain = rematch(*SCORE, "--protocol", "mscoco-5k").good
    said = rematch(
        *SCORE, "--protocol", "mscoco-5k", "--postprocess", "qbnorm:b=2", "--bank", "captions=bank.npy"
    ).good
    assert said.startswith(plain), folder
    extra = said.removeprefix(plain)
    assert "post-processed: qbnorm(b=2,k=1)" in extra
    assert "never to be mixed with plain numbers" in extra
    recall = recall_at_k(rank(qb_norm(sims().T, bank.T, 2.0).T.copy(), np.arange(50) // 5).t2i, 1)
    row = next(line for line in extra.splitlines() if "t2i" in line)
    assert f" {recall:.1f} [" in row
    assert not any("i2t" in line for line in extra.splitlines()), "no bank, no result"
    line = extra.splitlines()[-1]
    assert line.startswith("postprocess:qbnorm(b=2,k=1)|bank:t2i=30|transductive:no|dataset:mscoco|")
    with pytest.raises(UserError, match="field 'postprocess' is not known"):
        parse(line)


def test_a_transductive_result_says_so(folder: Path) -> None:
    said = rematch(*SCORE, "--postprocess", "nnn:a=0.5,k=2", "--transductive").good
    assert "post-processed with the test queries themselves (transductive)" in said, folder
    lines = [line for line in said.splitlines() if line.startswith("postprocess:")]
    assert [line.split("|folds:")[1].split("|")[0] for line in lines] == ["5", "1"]
    assert all("|transductive:yes|" in line for line in lines)
    assert "|bank:i2t=2,t2i=10|" in lines[0], "each fold is its own test set"


def test_evaluate_refuses_a_table_about_other_data(home: Path) -> None:
    error = rematch("evaluate", "--recipe", I2T, *CXC).error
    assert error == "option '--relevance': the tables are about mscoco, found dataset 'scenes'", home


def test_a_run_of_mscoco_brings_its_own_ids(folder: Path) -> None:
    image_ids, caption_ids = [str(row) for row in range(IMAGES)], [str(100 + j) for j in range(50)]
    rows = np.repeat(np.arange(IMAGES), 5)
    split = Split("test", image_ids, image_ids, ["a dog"] * 50, caption_ids, rows, NoPictures(IMAGES))
    evaluation = SimpleNamespace(tie_rule="lower_index", precision="float32")
    recipe = SimpleNamespace(
        evaluation=evaluation, data=SimpleNamespace(captions_per_image=5, every_caption=False)
    )
    job = SimpleNamespace(dataset=Dataset("mscoco", "0123", "here", "", {"test": split}), recipe=recipe)
    sheet = score_run_relevance(
        Evaluated(cast(Any, job), [], sims()), load_relevance("cxc", folder / "sits_test.csv"), None
    )
    _, foreign = json.loads(rematch(*SCORE, *CXC, *IDS, "--format", "json").good)
    (ours,) = json.loads(write_json([sheet]))
    assert ours["rows"] == foreign["rows"]
    line = sheet.signature
    assert line.startswith("relevance:cxc|labels:")
    assert f"|fingerprint:{split.fingerprint[:8]}|split:test|" in line
    assert "|rule:first5|folds:1|ties:lower_index|ensemble:no|precision:float32|" in line
