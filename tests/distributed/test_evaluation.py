"""Evaluation by several processes: the scores, ranks and best items of one, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.batches import CaptionBatch, ImageBatch
from benchmark.distributed.processes import processes
from benchmark.distributed.shares import divide_evenly
from benchmark.errors import UserError
from benchmark.evaluation.encoding import encode_captions
from benchmark.evaluation.protocol import Protocol, evaluate
from benchmark.evaluation.ranking import Floats, Ranks, TieRule, TopK, rank, top_k
from benchmark.evaluation.scoring import score_batches, score_together
from benchmark.evaluation.strips import Strip, rank_any, top_k_any, whole_matrix
from tests.baselines.small import RECIPES, small
from tests.distributed.gang import run_together

CPU = torch.device("cpu")
IMAGES, BATCH = 23, 4
FOLDED = Protocol("folded", "own", None, 4, "four folds, for tests")


def scores(n_images: int = 24, ties: bool = True) -> tuple[Floats, np.ndarray[Any, Any]]:
    """Scores with many ties, and captions of images in no order, one to four each."""
    draw = np.random.default_rng(0)
    owner = np.concatenate([np.repeat(np.arange(n_images), 2), draw.integers(n_images, size=n_images)])
    owner = draw.permutation(owner)
    sims = draw.standard_normal((n_images, len(owner)))
    return (np.round(sims, 1) if ties else sims), owner


def strip_of(sims: Floats, counts: Sequence[int]) -> Strip:
    now = processes()
    first = sum(counts[: now.rank])
    return Strip(sims[first : first + counts[now.rank]], first, len(sims), now)


def rank_strips(counts: Sequence[int], rule: TieRule) -> tuple[Ranks, TopK, Floats, Any]:
    sims, owner = scores()
    strip = strip_of(sims, counts)
    folded = evaluate(strip, owner, FOLDED, rule, resamples=10)
    return rank_any(strip, owner, rule), top_k_any(strip, 5), whole_matrix(strip), folded


def same(one: Any, other: Any) -> bool:
    """Whether two records of arrays agree in every bit."""
    return all(
        np.array_equal(value, vars(other)[name])
        if isinstance(value, np.ndarray)
        else value == vars(other)[name]
        for name, value in vars(one).items()
    )


@pytest.mark.parametrize("rule", ["lower_index", "pessimistic"])
@pytest.mark.parametrize("counts", [(12, 12), (8, 9, 7), (0, 23, 1), (24, 0)])
def test_ranks_of_strips_are_those_of_the_matrix(counts: tuple[int, ...], rule: TieRule) -> None:
    sims, owner = scores()
    expected = evaluate(sims, owner, FOLDED, rule, resamples=10)
    for number, (ranks, best, whole, folded) in enumerate(
        run_together(len(counts), rank_strips, counts, rule)
    ):
        assert same(ranks, rank(sims, owner, rule))
        assert same(best, top_k(sims, 5))
        assert same(folded.ranks, expected.ranks)
        assert folded.metrics == expected.metrics
        assert folded.intervals == expected.intervals
        assert number or np.array_equal(whole, sims)


def rank_a_nan(counts: Sequence[int]) -> str:
    sims, owner = scores()
    sims[20, 3] = np.nan
    with pytest.raises(UserError) as caught:
        rank_any(strip_of(sims, counts), owner)
    return str(caught.value)


def test_all_processes_name_a_score_that_is_not_finite() -> None:
    assert set(run_together(2, rank_a_nan, (12, 12))) == {
        "scores: found nan at image 20, caption 3, expected finite numbers"
    }


@dataclass(frozen=True)
class Scored:
    """The scores of a small model, in the first process; the rows that this one scored; its share of batches."""

    sims: Floats
    rows: int
    plan: dict[str, Any]
    kept: int
    loaded: int


def score_small(name: str, memory_bytes: int) -> Scored:
    """Score the images and captions of a small model as one process or several do."""
    torch.set_num_threads(1)
    path = next(path for path in RECIPES if f"{path.parent.name}/{path.stem}" == name)
    subject = small(path, pairs=IMAGES)
    model, batch, now = subject.model().eval(), subject.batch(), processes()
    loaded = []

    def images(wanted: Callable[[int, Sequence[int]], bool]) -> Iterator[ImageBatch]:
        for number, start in enumerate(range(0, IMAGES, BATCH)):
            rows = slice(start, min(start + BATCH, IMAGES))
            if wanted(number, range(rows.start, rows.stop)):
                loaded.append(number)
                yield batch.images.of(rows)

    def captions() -> Iterator[CaptionBatch]:
        yield from (batch.captions.of(slice(start, start + 5)) for start in range(0, IMAGES, 5))

    codes = encode_captions(model, captions(), IMAGES, CPU)
    more: dict[str, Any] = {"memory_bytes": memory_bytes, "device": CPU, "keep_bytes": 10**9}
    if now.alone:
        sims, plan, kept = score_batches(model, images(lambda *_: True), IMAGES, codes, **more)
        return Scored(sims, IMAGES, plan.summary(), len(kept), len(loaded))
    strip, plan, kept = score_together(model, images, IMAGES, codes, now=now, **more)
    some = len(kept) if kept.tensors else 0
    return Scored(strip.whole(), len(strip.values), plan.summary(), some, len(set(loaded)))


@pytest.mark.parametrize("memory", [2**17, 2**30])
@pytest.mark.parametrize("name", ["hat/scenes-t2i", "vse_infty/scenes-bigru", "rcar/scenes-i2t"])
def test_scores_are_those_of_one_process(name: str, memory: int) -> None:
    one = score_small(name, memory)
    for size in (2, 3):
        found = run_together(size, score_small, name, memory)
        assert np.array_equal(found[0].sims, one.sims)
        assert sum(scored.rows for scored in found) == IMAGES
        assert all(scored.plan == one.plan for scored in found)
        blocks = one.plan["image_blocks"]
        if blocks >= size:  # several have some, and load no more than they need
            assert [scored.rows > 0 for scored in found] == [
                count > 0 for count in divide_evenly(blocks, size)
            ]
            assert all(scored.loaded < one.loaded for scored in found)


def test_a_small_budget_makes_several_blocks() -> None:
    assert score_small("hat/scenes-t2i", 2**17).plan["image_blocks"] > 3
