"""Leaderboard rows: means over seeds, grouping by signature, and what the verdict is handed."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from benchmark.errors import UserError
from benchmark.files import sha256_bytes
from benchmark.places import PAPER
from benchmark.records.record import RunRecord
from benchmark.reporting.leaderboard.rows import Group, Row, leaderboard, row_title
from tests.paths import ROOT
from tests.reporting import factory

PAPERS = ROOT / PAPER
SGR = (76.6, 93.7, 96.6, 56.1, 80.9, 87.0)
"""SGR (repository), Flickr30K: rsum 490.9."""


def sgr(seed: int = 0, shift: float = 0.0, **changes: Any) -> RunRecord:
    """A run of SGR on Flickr30K whose six recalls are `shift` above the repository's."""
    values = {
        "run": "sgr",
        "method": "sgraf",
        "variant": "SGR (repository)",
        "protocols": ("flickr30k",),
        "recalls": [value + shift for value in SGR],
    }
    return factory.record(seed=seed, **(values | changes))


def board(*records: RunRecord) -> list[Group]:
    return leaderboard(records, PAPERS)


def only(*records: RunRecord) -> Row:
    """The single row that these records make."""
    ((row,),) = [group.rows for group in board(*records)]
    return row


# -------------------------------------------------------------------------------------------- rows


def test_a_row_is_the_mean_over_seeds() -> None:
    row = only(sgr(2, 0.3), sgr(0, -0.3), sgr(1, 0.15))
    assert row.seeds == [0, 1, 2]
    assert row.mean("i2t_r1") == pytest.approx(76.6 + 0.05)
    assert row.mean("rsum") == pytest.approx(490.9 + 6 * 0.05)
    assert row.spread("rsum") == pytest.approx(6 * statistics.stdev([-0.3, 0.15, 0.3]))
    assert row.paper_value == 490.9
    assert row.difference == pytest.approx(0.3)
    assert row.bounds("rsum") == pytest.approx((491.2 - 4, 491.2 + 4))
    assert row.test_noise == pytest.approx(4 / 1.959964)
    assert row.judgement.kind == "cannot tell"  # sd 1.87: three seeds give ± 9.3, over 6
    assert row.judgement.n == 3
    assert row.verdict == row.judgement.text == "cannot tell (481.9 to 500.5), 5 seeds would"


def test_one_seed_has_no_spread_and_no_verdict() -> None:
    row = only(sgr())
    assert row.spread("rsum") is None
    assert row.difference == pytest.approx(0)
    assert row.verdict == "too few seeds (1 of at least 3)"


def test_five_seeds_that_agree_reproduce_the_paper() -> None:
    row = only(*(sgr(seed, (seed - 2) / 10) for seed in range(5)))
    assert row.judgement.kind == "reproduced"
    assert row.judgement.difference == row.difference == pytest.approx(0)
    assert row.verdict == "reproduced (488.0 to 493.8)"


def test_below_the_paper() -> None:
    row = only(*(sgr(seed, -2 + seed / 100) for seed in range(3)))
    assert row.verdict == "below by 11.94"


def test_a_difference_within_the_bootstrap_interval_is_marked() -> None:
    """The factory's intervals of rsum are 4 points to either side."""
    near, far = (only(*(sgr(seed, shift + seed / 1000) for seed in range(3))) for shift in (-0.5, -0.8))
    assert near.verdict == "below by 2.99, within the test set's noise"
    assert far.verdict == "below by 4.79"


def test_the_noise_of_mean_r1_is_bounded_by_both_recalls() -> None:
    """Records hold no interval of it: those of the two R@1, 1 point to either side, are averaged."""
    row = only(*(mean_r1_run(seed, 0.8) for seed in range(3)))
    assert row.headline == "mean_r1"
    assert row.test_noise == pytest.approx(1 / 1.959964)
    assert row.verdict == "above by 0.90 (mean R@1), within the test set's noise"


def mean_r1_run(seed: int, shift: float = 0.0) -> RunRecord:
    """A run of T-EMDE on MSCOCO 5K, for which the paper gives R@1 only: mean 48.5."""
    recalls = (56.7, 80.0, 90.7, 40.3, 70.0, 80.4)
    return factory.record(
        seed=seed,
        run="temde-saf",
        method="temde",
        variant="T-EMDE (SAF)",
        protocols=("mscoco-5k",),
        recalls=[value + shift + seed / 10 for value in recalls],
    )


def test_mean_r1_where_the_paper_has_no_rsum() -> None:
    row = only(*(mean_r1_run(seed) for seed in range(3)))
    assert row.headline == "mean_r1"
    assert row.paper_value == pytest.approx(48.5)
    assert row.difference == pytest.approx(0.1)
    assert row.verdict == "reproduced (mean R@1 48.1 to 49.1)"


def test_hat_has_no_paper_value() -> None:
    runs = [factory.record(seed=seed, protocols=("flickr30k",)) for seed in range(3)]
    row = only(*runs)
    assert (row.paper, row.difference, row.verdict) == (None, None, "paper value unknown")


def test_the_embedded_data_are_never_comparable() -> None:
    row = only(*(factory.record(seed=seed) for seed in range(3)))
    assert row.verdict == "not comparable: no paper reports scenes"
    stated = only(*(factory.record(seed=seed, departures=["tiny model"]) for seed in range(3)))
    assert stated.verdict == "not comparable: tiny model"


def test_no_difference_is_given_where_runs_are_not_comparable() -> None:
    row = only(*(sgr(seed, departures=["10 of 30 epochs"]) for seed in range(3)))
    assert row.paper_value == 490.9
    assert row.difference is None


def test_an_unknown_variant_is_an_error() -> None:
    with pytest.raises(
        UserError, match=r"^flickr30k/sgr/0\.json: .* no variant 'SGR \(papr\)'; did you mean"
    ):
        board(sgr(variant="SGR (papr)"))


# ------------------------------------------------------------------------------------------ groups


GRID = "regions of 'test': 6 x 6 cells through fixed random filters (identity 780cf7491c4d)"
GUIDES = "guides of 'test': a random projection (identity f8f345586923)"


def test_one_table_holds_what_was_scored_on_one_split_by_the_same_rules() -> None:
    pair = [sgr(run="saf"), sgr(run="sgr")]
    both: dict[str, Any] = {"weights": "members", "weights_sha256": None, "training": None}
    (found,) = board(
        *pair,
        sgr(run="short", departures=["fewer epochs"]),
        sgr(run="sgraf", members=[factory.member(record) for record in pair], **both),
        sgr(run="double", score_precision="float64"),
        sgr(run="regions", notes=[GRID], dataset=on_other_files()),
    )
    assert {row.name: (row.comparable, row.models, row.reads) for row in found.rows} == {
        "saf": (True, 1, "pixels"),
        "sgr": (True, 1, "pixels"),
        "short": (False, 1, "pixels"),
        "sgraf": (True, 2, "pixels"),
        "double": (True, 1, "pixels"),
        "regions": (True, 1, "regions"),
    }
    for field, stands in {"fingerprint": False, "ensemble": False, "precision": False, "ties": True}.items():
        assert (f"{field}:*" not in found.signature) == stands
    assert found.size == "test split of 1,000 images, 5,000 captions"


@pytest.mark.parametrize("change", ["ties", "options", "fingerprint", "size"])
def test_another_split_or_rule_is_another_table(change: str) -> None:
    smaller = factory.result("flickr30k") | {"images": 50, "captions": 250}
    facts = factory.parts(protocols=("flickr30k",))["dataset"]
    few = {"test": facts["splits"]["test"] | {"images": 50, "captions": 250}}
    changes: dict[str, dict[str, Any]] = {
        "ties": {"results": {"flickr30k": factory.result("flickr30k", tie_rule="pessimistic")}},
        "options": {"dataset": facts | {"options": {"seed": 7, "split": "flickr8k"}}},
        "fingerprint": {"dataset": on_other_files()},
        "size": {"results": {"flickr30k": smaller}, "dataset": facts | {"splits": few}},
    }
    found = board(sgr(run="a"), sgr(run="b"), sgr(run="other", **changes[change]))
    assert [[row.name for row in group.rows] for group in found] == [["a", "b"], ["other"]]


def test_options_of_the_training_split_part_no_table() -> None:
    facts = factory.parts(protocols=("flickr30k",))["dataset"]
    more = facts | {"options": {"seed": 7, "restval": True}}
    (found,) = board(sgr(run="a"), sgr(run="b", dataset=more))
    assert len(found.rows) == 2


def on_other_files() -> dict[str, Any]:
    """The data of the same split, read from other files."""
    facts: dict[str, Any] = factory.parts(protocols=("flickr30k",))["dataset"]
    test = facts["splits"]["test"] | {"fingerprint": sha256_bytes(b"other files")}
    return facts | {"splits": {"test": test}}


def test_input_is_that_of_the_split_that_was_scored() -> None:
    other = GRID.replace("test", "train")
    assert only(sgr(notes=[other])).features == "pixels"
    row = only(sgr(notes=[other.replace("6 x 6", "3 x 3"), GRID, GUIDES]))
    assert row.reads == "regions + guides"
    assert row.features == (
        "region features (6 x 6 cells through fixed random filters) and image vectors (a random projection)"
    )


@pytest.mark.parametrize(
    ("method", "recipe", "variant", "title"),
    [
        ("user", "recipes/user/scenes-cge.yaml", "USER (as cited by AAHR; ...)", "USER-CGE"),
        ("sgraf", "recipes/sgraf/flickr30k-saf.yaml", "SAF (paper)", "SAF"),
        ("dualpath", "recipes/dualpath/scenes.yaml", "ResNet-50 Stage II", "Dual-Path ResNet-50, stage II"),
        ("hat", "recipes/hat/mscoco-i2t.yaml", "HAT (i2t)", "HAT (i2t)"),
    ],
)
def test_rows_are_named_by_method_and_variant(method: str, recipe: str, variant: str, title: str) -> None:
    assert row_title(method, recipe, variant, PAPERS) == title


def test_each_protocol_of_a_run_has_its_group() -> None:
    record = factory.record(
        run="rcar-t2i", method="rcar", variant="RCAR (t2i)", protocols=("mscoco-1k", "mscoco-5k")
    )
    assert [group.protocol for group in board(record)] == ["mscoco-1k", "mscoco-5k"]
    values = {group.protocol: group.rows[0].paper_value for group in board(record)}
    assert values == {"mscoco-1k": 524.9, "mscoco-5k": 431.9}


@pytest.mark.parametrize("change", ["recipe", "departures", "weights", "codec"])
def test_runs_of_one_name_that_differ_are_not_averaged(change: str) -> None:
    other = factory.recipe("sgraf", "SGR (repository)", "flickr30k")
    other["training"] |= {"lr": 0.5, "seed": 1}
    changes: dict[str, dict[str, Any]] = {
        "recipe": {"recipe": other},
        "departures": {"departures": ["cut short"]},
        "weights": {"weights": "official", "training": None},
        "codec": {"codec": "words:1"},
    }
    rows = [row for group in board(sgr(0), sgr(1, **changes[change])) for row in group.rows]
    assert [len(row.records) for row in rows] == [1, 1]
    assert len({row.name for row in rows}) == 2
    assert all(row.name.startswith("sgr (") for row in rows)


def test_best_comes_first_whatever_the_order_of_the_records() -> None:
    records = [sgr(run="low", shift=-1), sgr(run="high", shift=1), sgr(run="middle")]
    assert [row.name for row in board(*records)[0].rows] == ["high", "middle", "low"]
    assert board(*records) == board(*reversed(records))


def test_latency_is_the_median_of_the_seeds_that_measured_it() -> None:
    row = only(sgr(0, latency=factory.latency(2.0)), sgr(1), sgr(2, latency=factory.latency(4.0)))
    assert row.query_ms == 3.0
    assert only(sgr(0)).query_ms is None
