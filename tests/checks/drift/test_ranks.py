"""Drift's second level: ranks that rounding can move are told from ranks that moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmark.checks.drift import check as check_module
from benchmark.checks.drift import update
from benchmark.checks.drift.ranks import compare_ranks, rank_bounds, read_ranks, retrieved, write_ranks
from benchmark.data.splits import NoPictures, Split
from benchmark.errors import UserError
from benchmark.evaluation.ranking import rank
from benchmark.files import sha256_file
from benchmark.run.job import Job, Settings, prepare
from benchmark.run.runs import Run
from tests.checks.drift.test_check import FOLDER, change_reference, check
from tests.tiny import contents, rematch

TOLERANCE = 1e-4
MAP = np.repeat(np.arange(6), 3)


def split() -> Split:
    names = [f"p{row}" for row in range(6)]
    return Split("test", names, names, ["a"] * 18, [str(n) for n in range(18)], MAP, NoPictures(6))


def matrix(seed: int = 0) -> np.ndarray:
    """Scores on a grid finer than the tolerance: many pairs are as good as tied."""
    return np.random.default_rng(seed).integers(0, 40, (6, 18)) * 4e-5


def test_every_rounding_within_the_tolerance_stays_within_the_bounds() -> None:
    sims = matrix()
    i2t, t2i = rank_bounds(sims, MAP, TOLERANCE)
    seen = [np.full((2, size), np.nan) for size in (6, 18)]
    for seed in range(400):
        noise = np.random.default_rng(seed).uniform(-TOLERANCE, TOLERANCE, sims.shape)
        found = rank(sims + noise, MAP)
        assert not i2t.outside(found.i2t).any()
        assert not t2i.outside(found.t2i).any()
        for place, ranks in enumerate((found.i2t, found.t2i)):
            seen[place][0] = np.fmin(seen[place][0], ranks)
            seen[place][1] = np.fmax(seen[place][1], ranks)
    assert (seen[1][0] < seen[1][1]).any()  # the noise does move ranks
    assert (t2i.low <= seen[1][0]).all()


def test_bounds_by_hand() -> None:
    sims = np.array([[0.5, 0.6, 0.2], [0.50015, 0.1, 0.3]])  # captions 0 and 1 of image 0, 2 of image 1
    i2t, t2i = rank_bounds(sims, np.array([0, 0, 1]), TOLERANCE)
    assert (i2t.low.tolist(), i2t.high.tolist()) == ([0, 1], [0, 1])
    assert (t2i.low.tolist(), t2i.high.tolist()) == ([0, 0, 0], [1, 0, 0])  # 0.50015 may be below 0.5
    exact_i2t, exact_t2i = rank_bounds(sims, np.array([0, 0, 1]), 0.0)
    found = rank(sims, np.array([0, 0, 1]))
    for bounds, ranks in ((exact_i2t, found.i2t), (exact_t2i, found.t2i)):
        np.testing.assert_array_equal(bounds.low, ranks)
        np.testing.assert_array_equal(bounds.high, ranks)


@pytest.mark.parametrize("apart", [1.9, 2.1])
def test_two_tolerances_apart_is_where_an_order_is_sure(apart: float) -> None:
    sims = np.array([[0.5, 0.0], [0.5 + apart * TOLERANCE, 1.0]])  # caption 0 of image 0, 1 of image 1
    _, t2i = rank_bounds(sims, np.array([0, 1]), TOLERANCE)
    assert (t2i.low.tolist(), t2i.high.tolist()) == ([int(apart > 2), 0], [1, 0])
    _, t2i = rank_bounds(np.array([[0.5, 0.0], [0.5 - apart * TOLERANCE, 1.0]]), np.array([0, 1]), TOLERANCE)
    assert (t2i.low.tolist(), t2i.high.tolist()) == ([0, 0], [int(apart < 2), 0])


def test_rounding_is_counted_and_does_not_fail() -> None:
    sims = matrix()
    noise = np.random.default_rng(3).uniform(-TOLERANCE, TOLERANCE, sims.shape)
    before = retrieved(sims + noise, split(), "lower_index")
    finding, changes = compare_ranks("run", before, sims, split(), TOLERANCE, "lower_index")
    assert finding.ok
    assert finding.found == 0
    assert "more by rounding; rsum's sign-flip p" in finding.note
    assert changes.most == ()


def test_a_moved_rank_fails_and_is_named() -> None:
    sims = np.eye(6)[:, MAP] + matrix()  # every query's true item first, by far
    before = retrieved(sims, split(), "lower_index")
    changed = sims.copy()
    changed[4, 0] = 5.0  # caption 0 of image 0 now finds image 4 first, and so image 4 finds that caption
    finding, changes = compare_ranks("run", before, changed, split(), TOLERANCE, "lower_index")
    assert not finding.ok
    assert finding.found == 2
    named = [(c.direction, c.image_id, c.caption_number) for c in changes.most]
    assert named == [
        ("i2t", "p4", None),
        ("t2i", "p0", 1),
    ]
    assert [(c.old_rank, c.new_rank) for c in changes.most] == [(1, 2), (1, 2)]
    assert changes.most[0].new_first == "p0 #1"
    assert (changes.most[1].old_first, changes.most[1].new_first) == ("p0", "p4")


def test_ranks_are_read_as_written(tmp_path: Path) -> None:
    found = retrieved(matrix(), split(), "lower_index")
    path = tmp_path / "r.npz"
    digest = write_ranks(found, path)
    assert digest == sha256_file(path) == write_ranks(found, tmp_path / "again.npz")
    back = read_ranks(path, digest)
    for a, b in ((found.ranks.i2t, back.ranks.i2t), (found.ranks.t2i, back.ranks.t2i)):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found.i2t_first, back.i2t_first)
    np.testing.assert_array_equal(found.t2i_first, back.t2i_first)
    with pytest.raises(UserError, match=r"r\.json: has no ranks yet; `rematch drift --update-ranks`"):
        read_ranks(path, None)


def test_ranks_of_another_split_are_refused() -> None:
    few = retrieved(
        matrix()[:3, :9], Split("test", ["a"] * 3, [], [], [], MAP[:9], NoPictures(3)), "lower_index"
    )
    with pytest.raises(UserError, match="another test split"):
        compare_ranks("run", few, matrix(), split(), TOLERANCE, "lower_index")


# -------------------------------------------------------------------------------------- the command


def test_ranks_are_added_to_a_reference_that_has_none(single: Path) -> None:
    before = contents()
    path = FOLDER / "hat-i2t.npz"
    path.unlink()
    change_reference(lambda document: document["rescored"].pop("ranks_sha256"))
    assert (
        check().error == f"{FOLDER.as_posix()}/hat-i2t.json: has no ranks yet; `rematch drift --update-ranks`"
    )
    said = rematch("drift", "--update-ranks", "--no-progress").good
    assert said == f"wrote {FOLDER.as_posix()}/hat-i2t.json\n"
    assert contents() == before, single  # nothing was trained, nothing else is there
    assert check().code == 0


def test_ranks_of_other_scores_are_not_added(single: Path) -> None:
    change_reference(lambda document: document["rescored"]["metrics"].update(t2i_r5=99.5))
    before = contents()
    error = rematch("drift", "--update-ranks", "hat", "--no-progress").error
    assert "hat-i2t.json: scores have left their tolerance (t2i_r5); see `rematch drift`" in error
    assert contents() == before, single


def test_changed_ranks_are_caught_and_named(single: Path) -> None:
    """A perturbed rank, with a fitting checksum: as if another query had been found then."""
    path = FOLDER / "hat-i2t.npz"
    document = json.loads((FOLDER / "hat-i2t.json").read_text())
    ranks = read_ranks(path, document["rescored"]["ranks_sha256"])
    ranks.ranks.t2i[7] = (ranks.ranks.t2i[7] + 8) % 16
    digest = write_ranks(ranks, path)
    assert "not the ranks of the reference" in check().error
    change_reference(lambda document: document["rescored"].update(ranks_sha256=digest))
    outcome = check("--format", "markdown", "--output", "drift.md")
    assert outcome.code == 1, single
    (line,) = [line for line in outcome.out.splitlines() if " drift " in line]
    assert "ranks that moved" in line
    markdown = Path("drift.md").read_text()
    assert "### drift: 1 of 1 runs\n\nhat-i2t: queries" in markdown
    assert "hat-i2t: queries that changed most" in markdown
    assert "#3 |" in markdown  # caption 7 is its image's third
    assert check("--format", "json").code == 1
    found = json.loads(check("--format", "json").out)
    assert (found["ok"], found["drifted"]) == (False, {"hat-i2t": ["queries"]})
    assert found["queries"]["hat-i2t"]["most"][0]["row"] == 7


def test_damaged_ranks_are_one_line(single: Path) -> None:
    shutil.copy(FOLDER / "hat-i2t.json", FOLDER / "hat-i2t.npz")
    assert "not the ranks of the reference" in check().error, single


@pytest.mark.parametrize("option", ["--update", "--update-ranks"])
def test_no_progress_reaches_the_data(
    referenced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """Computing region features shows a bar of its own."""
    shutil.copytree(referenced, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    seen: list[bool] = []

    def noted(run: Run, settings: Settings) -> Job:
        seen.append(settings.show_progress)
        return prepare(run, settings)

    for module in (check_module, update):
        monkeypatch.setattr(module, "prepare", noted)
    assert rematch("drift", option, "--no-progress").code == 0
    assert seen == [False, False]
