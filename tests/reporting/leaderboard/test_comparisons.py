"""Pairs of runs: values from sidecars by hand, several seeds, folds, ties with the best, what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmark.errors import UserError
from benchmark.evaluation.metrics import retrieval_metrics
from benchmark.evaluation.ranking import Ranks
from benchmark.files import sha256_bytes
from benchmark.places import RUNS
from benchmark.records.record import RunRecord, read_all, write_record
from benchmark.records.sidecar import Sidecar, pack, write_sidecar
from benchmark.reporting.leaderboard.comparisons import compare_runs, image_means, pairwise, tied_with_best
from benchmark.reporting.leaderboard.rows import Row, leaderboard
from benchmark.statistics.bootstrap_difference import paired_bootstrap
from benchmark.statistics.holm import holm
from benchmark.statistics.permutation import sign_flip
from tests.paths import ROOT
from tests.reporting import factory
from tests.reporting.leaderboard.test_rows import PAPERS

IMAGES = 40


def sidecar(quality: float, seed: int = 0, protocol: str = "scenes") -> Sidecar:
    """Ranks of 0 with the given chance, else up to 11."""
    rng = np.random.default_rng(seed)

    def some(n: int) -> NDArray[np.int64]:
        return np.where(rng.random(n) < quality, 0, rng.integers(0, 12, n)).astype(np.int64)

    ranks = {protocol: (some(IMAGES), some(5 * IMAGES))}
    return replace(factory.sidecar(0, IMAGES, (protocol,)), ranks=ranks)


def save(runs: Path, content: Sidecar, run: str, **changes: Any) -> RunRecord:
    """A record on disk, its metrics those of the sidecar's ranks."""
    ((protocol, (i2t, t2i)),) = content.ranks.items()
    found = retrieval_metrics(Ranks(i2t.astype(np.int64), t2i.astype(np.int64), 0.0, 0.0)).values()
    recalls = [found[f"{side}_r{k}"] for side in ("i2t", "t2i") for k in (1, 5, 10)]
    packed = pack(content)
    more = {"recalls": recalls, "sidecar_sha256": sha256_bytes(packed), "protocols": (protocol,)} | changes
    record = factory.record(run=run, **more)
    write_sidecar(packed, record, runs)
    write_record(record, runs)
    return record


def rows(*records: RunRecord) -> dict[str, Row]:
    return {row.name: row for group in leaderboard(records, PAPERS) for row in group.rows}


def test_the_difference_is_taken_image_by_image(tmp_path: Path) -> None:
    good, bad = sidecar(0.7, 1), sidecar(0.4, 2)
    found = rows(save(tmp_path, good, "good"), save(tmp_path, bad, "bad"))
    expected = []
    for image in range(IMAGES):
        sums = []
        for i2t, t2i in (good.ranks["scenes"], bad.ranks["scenes"]):
            captions = range(5 * image, 5 * image + 5)
            sums.append(
                sum(100.0 * (i2t[image] < k) + sum(20.0 * (t2i[j] < k) for j in captions) for k in (1, 5, 10))
            )
        expected.append(sums[0] - sums[1])
    comparison = compare_runs(found["good"], found["bad"], "rsum", tmp_path)
    assert comparison.test == sign_flip(np.array(expected))
    assert comparison.interval == paired_bootstrap(np.array(expected))
    difference = found["good"].mean("rsum") - found["bad"].mean("rsum")
    assert comparison.test.difference == pytest.approx(difference)
    assert (comparison.a, comparison.b, comparison.seeds) == ("good", "bad", (1, 1))
    turned = compare_runs(found["bad"], found["good"], "rsum", tmp_path)
    assert turned.test.difference == -comparison.test.difference
    assert turned.test.p_value == comparison.test.p_value


def test_seeds_enter_by_their_mean(tmp_path: Path) -> None:
    contents = [sidecar(0.6, seed) for seed in (1, 2, 3)]
    many = [save(tmp_path, content, "many", seed=seed) for seed, content in enumerate(contents)]
    found = rows(*many, save(tmp_path, sidecar(0.5, 9), "one"))
    values, _ = image_means(many, "scenes", "i2t_r1", tmp_path)
    hits = [[100.0 * (content.ranks["scenes"][0][i] == 0) for content in contents] for i in range(IMAGES)]
    assert values == pytest.approx([sum(row) / 3 for row in hits])
    comparison = compare_runs(found["many"], found["one"], "t2i_r5", tmp_path)
    assert comparison.seeds == (3, 1)
    difference = found["many"].mean("t2i_r5") - found["one"].mean("t2i_r5")
    assert comparison.test.difference == pytest.approx(difference)


def test_a_difference_must_hold_over_seeds_too(tmp_path: Path) -> None:
    """Clear on the images, but the seeds of either row vary more than the rows differ."""
    qualities = {"a": (0.95, 0.8, 0.5), "b": (0.8, 0.6, 0.4)}
    records = [
        save(tmp_path, sidecar(q, seed), name, seed=seed)
        for name, some in qualities.items()
        for seed, q in enumerate(some)
    ]
    found = rows(*records)
    comparison = compare_runs(found["a"], found["b"], "rsum", tmp_path)
    expected = stats.ttest_ind(found["a"].values("rsum"), found["b"].values("rsum"), equal_var=False)
    assert comparison.test.p_value < 0.01
    assert comparison.seeds_p == comparison.p == pytest.approx(expected.pvalue)
    ((*_, p, seeds_p),) = pairwise(list(found.values()), "rsum", tmp_path)
    assert p == seeds_p == comparison.p > 0.05
    assert tied_with_best(list(found.values()), "rsum", tmp_path) == {"b"}
    two = rows(*(record for record in records if record.seed < 2))
    assert compare_runs(two["a"], two["b"], "rsum", tmp_path).seeds_p is None
    assert tied_with_best(list(two.values()), "rsum", tmp_path) == frozenset()


def test_all_pairs_are_corrected_together(tmp_path: Path) -> None:
    names = {"a": 0.85, "b": 0.82, "c": 0.45, "d": 0.4}
    records = [save(tmp_path, sidecar(q, seed), name) for seed, (name, q) in enumerate(names.items())]
    (group,) = leaderboard(records, PAPERS)
    pairs = pairwise(group, "rsum", tmp_path)
    assert [pair[:2] for pair in pairs] == list(combinations([row.name for row in group.rows], 2))
    assert [pair.p for pair in pairs] == holm([pair.test.p_value for pair in pairs])
    assert pairwise(group.rows, "rsum", tmp_path) == pairs
    best = group.rows[0].name
    assert {best, *tied_with_best(group, "rsum", tmp_path)} == {"a", "b"}
    assert tied_with_best(group.rows[:1], "rsum", tmp_path) == frozenset()


def test_twins_are_tied_and_the_best_may_stand_anywhere(tmp_path: Path) -> None:
    twin = sidecar(0.8, 1)
    found = rows(
        save(tmp_path, sidecar(0.2, 2), "low"),
        save(tmp_path, twin, "first"),
        save(tmp_path, twin, "second"),
    )
    ordered = [found[name] for name in ("low", "second", "first")]
    assert tied_with_best(ordered, "rsum", tmp_path) == {"first"}
    assert tied_with_best(ordered, "t2i_r1", tmp_path) == {"first"}


def test_many_rows_leave_room_for_the_correction(tmp_path: Path) -> None:
    """12 rows are 66 pairs: 200 flips for each, so that the smallest adjusted p is 0.005."""
    records = [save(tmp_path, sidecar(0.1 + 0.07 * i, i), f"r{i:02}") for i in range(12)]
    pairs = pairwise(list(rows(*records).values()), "rsum", tmp_path)
    assert min(pair.p for pair in pairs) == pytest.approx(66 / 13_201)


def test_folds_of_the_protocol_are_kept(tmp_path: Path) -> None:
    """Equal captions in each fold: the mean over the images is the mean of the folds."""
    record = save(tmp_path, sidecar(0.6, 3, "mscoco-1k"), "sgr", method="sgraf", variant="SGR (repository)")
    values, _ = image_means([record], "mscoco-1k", "t2i_r1", tmp_path)
    assert values.mean() == pytest.approx(record.results["mscoco-1k"].metrics.value("t2i_r1"))


def test_ensembles_and_precisions_may_meet(tmp_path: Path) -> None:
    single, double = save(tmp_path, sidecar(0.5, 1), "single"), sidecar(0.6, 2)
    members = [factory.member(single), factory.member(single)]
    pair = save(
        tmp_path,
        double,
        "pair",
        members=members,
        weights="members",
        weights_sha256=None,
        training=None,
        score_precision="float64",
    )
    found = rows(single, pair)
    assert compare_runs(found["pair"], found["single"], "rsum", tmp_path).test.n == IMAGES


def test_other_images_or_rules_may_not(tmp_path: Path) -> None:
    base = save(tmp_path, sidecar(0.5, 1), "base")
    strict = save(
        tmp_path,
        sidecar(0.5, 2),
        "strict",
        results={"scenes": factory.result("scenes", tie_rule="pessimistic")},
        version="9.9",
    )
    found = rows(base, strict)
    expected = "differ in ties: lower_index and pessimistic; version: 0.1.0 and 9.9"
    with pytest.raises(UserError, match=f"^base and strict cannot be compared, their signatures {expected}$"):
        compare_runs(found["base"], found["strict"], "rsum", tmp_path)


def test_one_run_under_two_protocols_is_no_pair(tmp_path: Path) -> None:
    """Both rows have the run's name."""
    whole, folds = sidecar(0.5, 1, "mscoco-5k"), sidecar(0.6, 2, "mscoco-1k")
    both = replace(whole, ranks={**whole.ranks, **folds.ranks})
    packed = pack(both)
    record = factory.record(
        run="sgr",
        method="sgraf",
        variant="SGR (repository)",
        protocols=("mscoco-1k", "mscoco-5k"),
        sidecar_sha256=sha256_bytes(packed),
    )
    write_sidecar(packed, record, tmp_path)
    found = [row for group in leaderboard([record], PAPERS) for row in group.rows]
    assert [row.name for row in found] == ["sgr", "sgr"]
    with pytest.raises(UserError, match=r"signatures differ in folds: 5 and 1$"):
        pairwise(found, "rsum", tmp_path)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"image_ids": [f"other-{i}" for i in range(IMAGES)]}, "images"),
        ({"caption_ids_sha256": "0" * 64}, "captions"),
        ({"caption_image": np.repeat(np.arange(IMAGES), 5)[::-1]}, "caption-to-image map"),
    ],
)
def test_sidecars_of_other_queries_are_refused(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    other = replace(sidecar(0.5, 2), **change)
    found = rows(save(tmp_path, sidecar(0.5, 1), "base"), save(tmp_path, other, "other"))
    with pytest.raises(
        UserError, match=f"^base and other cannot be compared: their sidecars differ in {field}$"
    ):
        compare_runs(found["base"], found["other"], "rsum", tmp_path)


def test_a_missing_sidecar_is_named(tmp_path: Path) -> None:
    found = rows(save(tmp_path, sidecar(0.5), "base"), factory.record(run="gone"))
    with pytest.raises(UserError, match=r"gone/0\.npz: the sidecar of .* is missing"):
        compare_runs(found["base"], found["gone"], "rsum", tmp_path)


def test_the_committed_sidecars_give_the_committed_metrics() -> None:
    records = read_all(ROOT / RUNS)
    assert records
    for record in records:
        for protocol, result in record.results.items():
            for metric in ("rsum", "mean_r1", "t2i_r5"):
                values, _ = image_means([record], protocol, metric, ROOT / RUNS)
                assert values.mean() == pytest.approx(result.metrics.value(metric), abs=1e-9)
