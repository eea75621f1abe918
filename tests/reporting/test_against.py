"""Scores from elsewhere: recorded, in the tables, and tested against a run, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.evaluation.protocol import ProtocolResult, evaluate
from benchmark.places import RUNS
from benchmark.records.elsewhere import record_scores
from benchmark.records.record import RunRecord, new_record, read_all, read_record, write_record
from benchmark.records.sidecar import read_sidecar
from benchmark.records.signature import foreign_signature
from benchmark.reporting.against import against_sheet, compare_named, compare_scores
from benchmark.reporting.generated import generated_files
from benchmark.reporting.leaderboard.rows import leaderboard
from tests.evaluation.naive import naive_ranks
from tests.reporting.factory import record
from tests.tiny import rematch

IMAGES = 12
OWNER = np.repeat(np.arange(IMAGES), 5)


def matrix(seed: int, signal: float = 1.0) -> np.ndarray[Any, Any]:
    sims = np.random.default_rng(seed).standard_normal((IMAGES, 5 * IMAGES)).astype(np.float32)
    sims[OWNER, np.arange(5 * IMAGES)] += signal
    return sims


def result_of(sims: np.ndarray[Any, Any]) -> ProtocolResult:
    return evaluate(sims, OWNER, "scenes", resamples=20)


def put(name: str, sims: np.ndarray[Any, Any]) -> RunRecord:
    np.save("sims.npy", sims)
    return read_record(record_scores(name, Path("sims.npy"), sims, OWNER, [result_of(sims)]))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def naive_rsum(sims: np.ndarray[Any, Any]) -> list[float]:
    """Each image's share in rsum."""
    i2t, t2i = naive_ranks(sims, OWNER, "lower_index")
    shares = []
    for image in range(IMAGES):
        own = [t2i[j] for j in range(5 * IMAGES) if OWNER[j] == image]
        hits = [100 * (i2t[image] < k) + 100 * sum(rank < k for rank in own) / 5 for k in (1, 5, 10)]
        shares.append(sum(hits))
    return shares


def test_a_record_says_where_the_scores_are_from() -> None:
    found, sims = put("mine/3", matrix(0)), matrix(0)
    assert (found.path, found.weights, found.comparable) == (Path("scenes/mine/3.json"), "elsewhere", False)
    assert found.results["scenes"].signature == str(foreign_signature(result_of(sims), "float32"))
    assert read_all() == [found]
    ranks = read_sidecar(found).ranks["scenes"]
    assert [side.tolist() for side in ranks] == list(naive_ranks(sims, OWNER, "lower_index"))
    (group,) = leaderboard([found, put("mine/4", matrix(1))])
    assert [row.seeds for row in group.rows] == [[3, 4]]
    assert (group.rows[0].comparable, group.rows[0].reads) == (False, "unknown")
    assert "scores from elsewhere" in group.rows[0].departures[0]
    assert put("mine/3", matrix(1)).canonical_hash != found.canonical_hash  # an earlier one is replaced


def test_tables_and_page_have_it_marked() -> None:
    put("my-model", matrix(0))
    files = {path.name: content.decode() for path, content in generated_files().items()}
    assert "my-model" in files["scenes.md"]
    for name in ("scenes.md", "scenes.csv", "report.html"):
        assert "scores from elsewhere" in files[name].lower(), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "trained"}, "weights 'trained', and 2 of 2 fingerprints are unknown"),
        ({"departures": []}, "comparable, but the scores are from elsewhere"),
    ],
)
def test_such_a_record_cannot_pass_for_a_run(changes: dict[str, Any], message: str) -> None:
    made = put("mine", matrix(0)).model_dump(mode="json")
    derived = ("schema_version", "canonical_hash", "recipe_digest", "comparable")
    parts = {name: value for name, value in made.items() if name not in derived} | changes
    with pytest.raises(ValueError, match=message):
        new_record(**parts)


def test_a_difference_is_that_of_the_images() -> None:
    put("theirs/0", matrix(1, 2.0))
    put("theirs/1", matrix(2, 2.0))
    found = compare_scores("mine", result_of(matrix(0)), OWNER, "theirs")
    seeds = [naive_rsum(matrix(seed, 2.0)) for seed in (1, 2)]
    ours = naive_rsum(matrix(0))
    expected = [own - (a + b) / 2 for own, a, b in zip(ours, *seeds, strict=True)]
    assert found.test.difference == pytest.approx(sum(expected) / IMAGES)
    assert (found.seeds, found.test.n) == ((1, 2), IMAGES)
    assert found.interval.low <= found.test.difference <= found.interval.high
    named = compare_named("scenes/theirs/0", "scenes/theirs/1")
    assert named.test.difference == pytest.approx(np.mean(seeds[0]) - np.mean(seeds[1]))
    sheet = against_sheet("mine", [result_of(matrix(0))], OWNER, "theirs")
    assert len(sheet.rows) == 3
    with pytest.raises(UserError, match=r"theirs.*no results under protocol 'flickr30k'"):
        compare_named("scenes/theirs/0", "scenes/theirs/1", protocol="flickr30k")


def test_what_cannot_be_compared_is_refused() -> None:
    put("theirs", matrix(1))
    scattered = np.random.default_rng(0).permutation(OWNER)
    other = evaluate(matrix(0), scattered, "scenes", resamples=2)
    with pytest.raises(UserError, match=r"caption \d+ belongs to image \d+, expected \d+"):
        compare_scores("mine", other, scattered, "theirs")
    small = evaluate(matrix(0)[:6, :30], OWNER[:30], "scenes", resamples=2)
    with pytest.raises(UserError, match=r"found 6 images, 30 captions, .* expected 12 images, 60 captions"):
        compare_scores("mine", small, OWNER[:30], "theirs")
    strict = evaluate(matrix(0), OWNER, "scenes", "pessimistic", resamples=2)
    with pytest.raises(UserError, match=r"ties pessimistic, expected .*ties lower_index"):
        compare_scores("mine", strict, OWNER, "theirs")
    with pytest.raises(UserError, match=r"thiers.*did you mean 'theirs'"):
        compare_scores("mine", result_of(matrix(0)), OWNER, "thiers")


def test_the_command() -> None:
    put("theirs", matrix(1))
    command = ("score", "sims.npy", "--dataset", "scenes")
    said = rematch(*command, "--against", "theirs", "--record", "mine", "--k", 20).good
    assert {"R@20", "MRR", "mAP", "nDCG"} <= set(said.replace("┃", " ").split())
    assert "sims.npy less theirs" in said
    mine, theirs = (
        read_record(RUNS / f"scenes/{run}/0.json").results["scenes"] for run in ("mine", "theirs")
    )
    assert mine.metrics == theirs.metrics
    np.save("own.npy", matrix(0)[:4, :12])
    for sizes in (("--captions-per-image", 3), ("--caption-map", "map.npy")):
        np.save("map.npy", np.arange(12) // 3)
        assert "dataset:own" in rematch("score", "own.npy", *sizes).good


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "option '--dataset'"),
        (
            ("--captions-per-image", 5, "--caption-map", "map.npy"),
            "'--captions-per-image' and '--caption-map'",
        ),
        (("--captions-per-image", 5, "--record", "mine"), "option '--record': tables are of known test sets"),
        (("--captions-per-image", 5, "--protocol", "scenes"), "protocol 'scenes' is about dataset 'scenes'"),
        (("--dataset", "scenes", "--record", "../x"), "option '--record': found '../x'"),
        (("--dataset", "scenes", "--record", "hat-i2t"), "results/runs/scenes/hat-i2t/0.json is a run"),
        (("--captions-per-image", 5, "--relevance", "cxc"), "found no dataset"),
    ],
)
def test_bad_options_are_one_line(options: tuple[object, ...], named: str) -> None:
    np.save("sims.npy", matrix(0))
    write_record(record(run="hat-i2t"))
    before = sorted(path for path in Path().rglob("*.json"))
    assert named in rematch("score", "sims.npy", *options).error
    assert sorted(path for path in Path().rglob("*.json")) == before
