"""Verdicts of the claims ledger: each of them, both sides, each reason, and the sum of several checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from scipy import stats

from benchmark.reporting.claims.judge import judge_claims
from tests.reporting.claims.ledger import (
    GAIN,
    GROWTH,
    RATIO,
    RUNS,
    STUDY,
    claim,
    define,
    judged,
    lay,
    only,
    ran,
    recorded,
    timed,
)

OPEN = "cannot be tested here"
WITHOUT = [10.0, 12.0, 11.0]


def scored(root: Path, difference: Sequence[float]) -> Path:
    """The study `parts` with these differences over seeds."""
    ran(root, {"with": [a + b for a, b in zip(WITHOUT, difference, strict=False)], "without": WITHOUT})
    return root


@pytest.mark.parametrize(
    ("difference", "verdict"), [([5.0, 5.5, 4.5], "holds"), ([-5.0, -5.5, -4.5], "does not hold")]
)
def test_a_difference_clear_of_zero_is_told_on_either_side(
    difference: list[float], verdict: str, tmp_path: Path
) -> None:
    check = only(scored(lay(tmp_path, claim(STUDY)), difference))
    expected = stats.ttest_1samp(difference, 0.0)
    interval = expected.confidence_interval(0.95)
    assert (check.verdict, check.why) == (verdict, "")
    assert (check.place, check.setting, check.n) == ("scenes", "analogue", 3)
    assert (check.estimate, check.low, check.high) == pytest.approx(
        (sum(difference) / 3, interval.low, interval.high)
    )
    assert check.p == pytest.approx(expected.pvalue)
    assert judged(tmp_path).text == f"{verdict} on scenes (an analogue)"


def test_an_interval_around_zero_says_how_many_seeds_would_tell(tmp_path: Path) -> None:
    check = only(scored(lay(tmp_path, claim(STUDY)), [4.0, -1.0, 3.0]))
    mean, sd = 2.0, 7.0**0.5
    enough = next(
        n
        for n in range(2, 1000)
        if stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, mean * n**0.5 / sd)
        + stats.nct.cdf(-stats.t.ppf(0.975, n - 1), n - 1, mean * n**0.5 / sd)
        >= 0.8
    )
    assert check.verdict == OPEN
    told = f"about {enough} seeds would tell a difference this large, this way or the other"
    assert check.why == f"the interval includes 0; {told}"


def test_a_difference_next_to_nothing_is_told_by_no_number_of_seeds(tmp_path: Path) -> None:
    check = only(scored(lay(tmp_path, claim(STUDY)), [4.0, -4.0, 0.01]))
    assert "no number of seeds up to 1,000" in check.why


def test_two_seeds_never_tell(tmp_path: Path) -> None:
    check = only(scored(lay(tmp_path, claim(STUDY)), [50.0, 50.0]))
    assert (check.verdict, check.why) == (OPEN, "too few seeds (2 of at least 3)")
    assert (check.n, check.estimate, check.low) == (2, 50.0, None)


def test_only_seeds_that_both_have_count(tmp_path: Path) -> None:
    ran(lay(tmp_path, claim(STUDY)), {"with": [15.0, 17.0, 16.0, 99.0], "without": WITHOUT})
    assert only(tmp_path).estimate == 5.0


@pytest.mark.parametrize("check", [STUDY, RATIO, GROWTH], ids=lambda check: str(check["kind"]))
def test_a_study_that_is_still_to_be_made_is_no_error(check: dict[str, str], tmp_path: Path) -> None:
    found = only(lay(tmp_path, claim(check)))
    assert (found.verdict, found.why) == (OPEN, f"no results of study {check['study']}")


def test_a_claim_without_a_check_says_why(tmp_path: Path) -> None:
    found = judged(lay(tmp_path, claim({"kind": "none", "why": "nobody measured it"})))
    assert found.verdict == OPEN
    assert found.totals[0].why == "nobody measured it"


# ------------------------------------------------------------------------------------ correction


def test_p_values_of_a_paper_are_adjusted_together_and_papers_apart(tmp_path: Path) -> None:
    """0.0033 alone holds; among 20 it does not, unless they are another paper's."""
    crowd = [{**STUDY, "of": "noise"} for _ in range(19)]
    for paper, verdict, family in (("hat", OPEN, 20), ("sgraf", "holds", 1)):
        claims = claim(STUDY), claim(*crowd, id="crowd", paper=paper)
        root = lay(tmp_path / paper, *claims)
        define(root, "parts", {"variants": {"with": {}, "without": {}, "noise": {}}})
        ran(root, {"with": [15.0, 17.5, 15.5], "without": WITHOUT, "noise": [11.0, 11.0, 11.5]})
        check = only(root)
        assert check.p is not None
        assert check.p < 0.05
        assert check.low is not None
        assert check.low > 0
        assert (check.verdict, check.family) == (verdict, family)
        assert check.holm == pytest.approx(min(1.0, family * check.p))
        assert ("but one of 20 such checks may be so by chance" in check.why) == (verdict == OPEN)


# ------------------------------------------------------------------------------------------ sums


@pytest.mark.parametrize(
    ("needs", "sides", "verdict"),
    [
        ("all", ["up", "up"], "holds"),
        ("all", ["up", "flat"], OPEN),
        ("all", ["up", "flat", "down"], "does not hold"),
        ("any", ["flat", "up", "down"], "holds"),
        ("any", ["flat", "down"], OPEN),
        ("any", ["down", "down"], "does not hold"),
    ],
)
def test_several_checks_have_a_verdict_each_and_a_sum(
    needs: str, sides: list[str], verdict: str, tmp_path: Path
) -> None:
    root = lay(tmp_path, claim(*({**STUDY, "of": side} for side in sides), needs=needs))
    names = {
        "up": [60.0, 62.2, 61.1],
        "down": [1.0, 3.1, 2.2],
        "flat": [10.0, 12.5, 10.5],
        "without": WITHOUT,
    }
    define(root, "parts", {"variants": {name: {} for name in names}})
    ran(root, names)
    found = judged(root)
    each = {"up": "holds", "down": "does not hold", "flat": OPEN}
    assert [check.verdict for check in found.checks] == [each[side] for side in sides]
    assert found.verdict == verdict
    assert f"of {len(sides)} checks, " in found.totals[0].why


def test_places_are_not_mixed_and_the_papers_own_comes_first(tmp_path: Path) -> None:
    """What is told on the paper's data is the verdict; scenes says something else, by itself."""
    root = lay(tmp_path, claim(STUDY, {**RUNS, "protocol": "flickr30k"}))
    scored(root, [5.0, 5.5, 4.5])
    assert judged(root).text == "holds on scenes (an analogue)"
    recorded(root, "hat-i2t", {0: 50.0, 1: 51.0, 2: 52.0}, "flickr30k")
    recorded(root, "hat-t2i", {0: 60.0, 1: 61.5, 2: 61.5}, "flickr30k", variant="HAT (t2i)")
    found = judged(root)
    assert [(total.place, total.verdict) for total in found.totals] == [
        ("scenes", "holds"),
        ("flickr30k", "does not hold"),
    ]
    assert found.text == "does not hold on flickr30k"


# ------------------------------------------------------------------------------------------ runs


def test_runs_of_three_seeds_are_held_against_each_other_seed_by_seed(tmp_path: Path) -> None:
    root = lay(tmp_path, claim({**RUNS, "metric": "mean_r1"}))
    recorded(root, "hat-i2t", {0: 50.0, 1: 51.0, 2: 52.0, 7: 99.0}, departures=["scenes"])
    recorded(root, "hat-t2i", {2: 41.0, 1: 41.5, 0: 40.0}, variant="HAT (t2i)", departures=["scenes"])
    check = only(root)
    assert (check.verdict, check.setting, check.n) == ("holds", "analogue", 3)
    assert check.estimate == pytest.approx((10 + 9.5 + 11) / 3)
    assert check.images is not None
    assert check.images.test.n == 400


def test_single_runs_are_tested_over_images_and_not_told(tmp_path: Path) -> None:
    root = lay(tmp_path, claim(RUNS))
    recorded(root, "hat-i2t", {0: 50.0})
    recorded(root, "hat-t2i", {0: 40.0}, variant="HAT (t2i)")
    check = only(root)
    assert check.verdict == OPEN
    assert check.why.startswith("too few seeds (1 of at least 3); over the images alone, +0.00 (")
    assert "n 400, sign-flip p 1.0000)" in check.why, "both have the same ranks"
    assert (check.estimate, check.p) == (60.0, None)


def test_runs_that_are_not_there_or_of_other_seeds_are_no_error(tmp_path: Path) -> None:
    root = lay(tmp_path, claim(RUNS))
    assert only(root).why == "no run record of hat-i2t on scenes"
    recorded(root, "hat-i2t", {0: 50.0})
    assert only(root).why == "no run record of hat-t2i on scenes"
    recorded(root, "hat-t2i", {1: 40.0}, variant="HAT (t2i)")
    assert only(root).why == "the two runs have no seed in common"


def test_runs_that_were_scored_differently_are_not_compared(tmp_path: Path) -> None:
    root = lay(tmp_path, claim(RUNS))
    recorded(root, "hat-i2t", {0: 50.0})
    recorded(root, "hat-t2i", {0: 40.0}, variant="HAT (t2i)", version="0.2.0")
    assert only(root).why == "the runs' signatures differ in version"


def test_records_of_two_recipes_under_one_name_are_not_mixed(tmp_path: Path) -> None:
    root = lay(tmp_path, claim(RUNS))
    recorded(root, "hat-i2t", {0: 50.0})
    recorded(root, "hat-i2t", {1: 50.0}, codec="words:cd34")
    assert only(root).why == "the records of hat-i2t on scenes are of 2 recipes"


def test_runs_on_the_papers_data_in_another_set_up_are_not_the_papers(tmp_path: Path) -> None:
    root = lay(tmp_path, claim({**RUNS, "protocol": "flickr30k"}))
    recorded(root, "hat-i2t", {0: 50.0, 1: 51.0, 2: 52.0}, "flickr30k", departures=["half the size"])
    recorded(root, "hat-t2i", {0: 40.0, 1: 41.5, 2: 41.0}, "flickr30k", variant="HAT (t2i)")
    assert judged(root).text == "holds on flickr30k (not the paper's set-up)"


# ------------------------------------------------------------------------------- gains of a paper

HOST = {"protocol": "flickr30k", "baseline": {"method": "sgraf", "variant": "SAF (paper)"}}
PRINTED = 73.7
"""SAF's i2t R@1 on Flickr30K; HAT claims 4.4 % more than some baseline."""


def test_a_gain_over_an_unknown_baseline_waits_for_it(tmp_path: Path) -> None:
    check = only(lay(tmp_path, claim(GAIN)))
    assert check.verdict == OPEN
    assert check.why == "the baseline is not known (the abstract does not say which baseline is meant)"
    mscoco = {**GAIN, "dataset": "mscoco", "baseline": HOST["baseline"]}
    (tmp_path / "recipes/hat/mscoco-i2t.yaml").write_text("summary: a recipe\n")
    assert only(lay(tmp_path, claim(mscoco))).why.startswith(
        "the protocol is not known (the abstract does not say"
    )


@pytest.mark.parametrize(
    ("gains", "verdict", "why"),
    [
        ([4.0, 5.0, 4.5], OPEN, "the interval includes 4.4, and less"),
        ([9.0, 9.5, 9.2], "holds", ""),
        ([2.0, 2.5, 2.2], "does not hold", "the interval ends short of 4.4"),
        ([-4.0, -5.0, -4.5], "does not hold", "the interval ends short of 4.4"),
        ([1.0, 6.0, 9.0], OPEN, "the interval includes 4.4, and less"),
        ([4.4, 4.5], OPEN, "too few seeds (2 of at least 3)"),
    ],
)
def test_a_gain_is_held_against_the_size_that_the_paper_states(
    gains: list[float], verdict: str, why: str, tmp_path: Path
) -> None:
    root = lay(tmp_path, claim({**GAIN, **HOST}))
    recorded(root, "hat-i2t", {n: PRINTED * (1 + gain / 100) for n, gain in enumerate(gains)}, "flickr30k")
    check = only(root)
    assert (check.verdict, check.why) == (verdict, why)
    assert check.estimate == pytest.approx(sum(gains) / len(gains))


def test_a_gain_needs_runs_in_the_papers_set_up_and_a_printed_value(tmp_path: Path) -> None:
    root = lay(tmp_path, claim({**GAIN, **HOST}))
    assert only(root).why == "no run record of hat-i2t on flickr30k"
    recorded(root, "hat-i2t", {0: 80.0, 1: 80.0, 2: 81.0}, "flickr30k", departures=["half the size"])
    assert only(root).why == "not the paper's set-up: half the size"
    unread = {"protocol": "flickr30k", "baseline": {"method": "hat", "variant": "HAT (t2i)"}}
    assert (
        only(lay(tmp_path, claim({**GAIN, **unread}))).why == "HAT (t2i)'s i2t R@1 on flickr30k is not known"
    )


# --------------------------------------------------------------------------------------- latency


def scoring(new: Sequence[float]) -> dict[str, object]:
    return {"task": "scoring", "size": None, "seconds": {"host": [1.0] * len(new), "new": list(new)}}


@pytest.mark.parametrize(
    ("new", "saving", "verdict"),
    [
        ([0.90, 0.91, 0.89], None, "holds"),
        ([1.10, 1.11, 1.12], None, "does not hold"),
        ([0.9, 1.1, 1.0], None, OPEN),
        ([0.79, 0.81, 0.80], 20, OPEN),
        ([0.69, 0.71, 0.70], 20, "holds"),
        ([0.90, 0.91, 0.89], 20, "does not hold"),
        ([0.5, 1.5, 0.7], 20, OPEN),
    ],
)
def test_latency_is_told_by_ratios_round_by_round(
    new: list[float], saving: float | None, verdict: str, tmp_path: Path
) -> None:
    root = lay(tmp_path, claim({**RATIO, "saving": saving}))
    timed(root, [scoring(new)])
    check = only(root)
    assert check.verdict == verdict
    assert check.estimate == pytest.approx(100 * (1 - sorted(new)[1]))
    assert (check.n, check.counted, check.p, check.setting) == (3, "rounds", None, "timing")


@pytest.mark.parametrize(
    ("power", "noise", "verdict"),
    [(1.0, 0.0, "holds"), (2.0, 0.0, "does not hold"), (0.5, 0.0, "does not hold"), (1.1, 0.05, OPEN)],
)
def test_growth_is_told_by_the_exponents_interval(
    power: float, noise: float, verdict: str, tmp_path: Path
) -> None:
    root = lay(tmp_path, claim(GROWTH))
    groups = [
        {
            "task": "vectors",
            "size": size,
            "seconds": {"new": [size**power * (1 + sign * noise) for sign in (-1, 0, 1)]},
        }
        for size in (2, 4, 8)
    ]
    timed(root, groups)
    check = only(root)
    assert check.verdict == verdict
    assert check.estimate == pytest.approx(power)


def test_one_size_says_nothing_about_growth(tmp_path: Path) -> None:
    root = lay(tmp_path, claim(GROWTH))
    timed(root, [{"task": "vectors", "size": 2, "seconds": {"new": [1.0, 1.0]}}])
    assert only(root).why == "the task was timed at one size only"


def test_claims_stay_in_their_order(tmp_path: Path) -> None:
    root = lay(tmp_path, claim(STUDY, id="b"), claim(RUNS, id="c", paper="sgraf"), claim(GROWTH, id="a"))
    assert [found.claim.id for found in judge_claims(root)] == ["b", "c", "a"]
