"""The same matrix gives the same R@K as other evaluators, where their definitions agree; where not, by how much.

CLIP_benchmark 1.6.2, MTEB 2.26, sentence-transformers 6.2, torchmetrics 1.9 and open_clip 3.3, whose versions are
pinned beside this file: `nox -s peers`. docs/peers.md says in words what is checked here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from clip_benchmark.metrics.zeroshot_retrieval import recall_at_k
from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores
from open_clip_train.train import get_clip_metrics
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from torchmetrics.retrieval import RetrievalHitRate, RetrievalRecall

from benchmark.evaluation.metrics import retrieval_metrics
from benchmark.evaluation.ranking import rank

Array = np.ndarray[Any, Any]
KS = (1, 5, 10)
IMAGES, EACH = 40, 5
OWNERS = np.repeat(np.arange(IMAGES), EACH)
UNEQUAL = np.repeat(np.arange(IMAGES), np.arange(IMAGES) % 7 + 1)
"""The image of each caption, where images have one to seven."""


def drawn(owners: Array, seed: int = 0) -> Array:
    """Scores without ties, in which the right pairs are somewhat higher."""
    draws = np.random.default_rng(seed)
    scores = draws.normal(size=(IMAGES, len(owners)))
    scores[owners, np.arange(len(owners))] += 1.5
    assert len(np.unique(scores)) == scores.size
    return scores


def ours(scores: Array, owners: Array, tie_rule: Any = "lower_index") -> dict[str, float]:
    """R@K of both directions by Rematch, as shares."""
    values = retrieval_metrics(rank(scores, owners, tie_rule)).values()
    return {f"{way}_r{k}": values[f"{way}_r{k}"] / 100 for way in ("i2t", "t2i") for k in KS}


def matches(owners: Array) -> Array:
    """(n_images, n_captions) True where a caption belongs to an image."""
    found: Array = np.arange(IMAGES)[:, None] == owners[None, :]
    return found


def by_direction(scores: Array, owners: Array) -> dict[str, tuple[Array, Array]]:
    """Scores and matches with a query a row, by direction."""
    return {"i2t": (scores, matches(owners)), "t2i": (scores.T, matches(owners).T)}


def of_clip_benchmark(scores: Array, owners: Array) -> dict[str, float]:
    found = {}
    for way, (rows, right) in by_direction(scores, owners).items():
        for k in KS:
            recall = recall_at_k(torch.from_numpy(rows.copy()), torch.from_numpy(right.copy()), k)
            found[f"{way}_r{k}"] = float((recall > 0).float().mean())
    return found


def ranked(
    scores: Array, owners: Array, way: str
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    """Results and judgements by names, as evaluators of text retrieval have them."""
    rows, right = by_direction(scores, owners)[way]
    results = {f"q{q}": {f"d{d:04}": float(s) for d, s in enumerate(row)} for q, row in enumerate(rows)}
    judged = {f"q{q}": {f"d{d:04}": 1 for d in np.flatnonzero(row)} for q, row in enumerate(right)}
    return results, judged


def of_mteb(scores: Array, owners: Array, metric: str = "hit_rate") -> dict[str, float]:
    found: dict[str, float] = {}
    for way in ("i2t", "t2i"):
        made = calculate_retrieval_scores(*ranked(scores, owners, way), KS)
        values = getattr(made, metric)
        name = {"hit_rate": "HitRate", "recall": "Recall"}[metric]
        found |= {f"{way}_r{k}": values[f"{name}@{k}"] for k in KS}
    return found


def of_sentence_transformers(scores: Array, owners: Array) -> dict[str, float]:
    found: dict[str, float] = {}
    for way in ("i2t", "t2i"):
        results, judged = ranked(scores, owners, way)
        evaluator = InformationRetrievalEvaluator(
            queries={name: name for name in results},
            corpus={name: name for name in results["q0"]},
            relevant_docs={name: set(right) for name, right in judged.items()},
            accuracy_at_k=list(KS),
            precision_recall_at_k=list(KS),
            show_progress_bar=False,
        )
        hits = [
            [{"corpus_id": d, "score": s} for d, s in results[query].items()]
            for query in evaluator.queries_ids
        ]
        made = evaluator.compute_metrics(hits)
        found |= {f"{way}_r{k}": made["accuracy@k"][k] for k in KS}
    return found


def of_torchmetrics(scores: Array, owners: Array, metric: type = RetrievalHitRate) -> dict[str, float]:
    found = {}
    for way, (rows, right) in by_direction(scores, owners).items():
        queries = torch.arange(len(rows)).repeat_interleave(rows.shape[1])
        given = torch.from_numpy(rows.reshape(-1)), torch.from_numpy(right.reshape(-1))
        for k in KS:
            found[f"{way}_r{k}"] = float(metric(top_k=k)(*given, indexes=queries))
    return found


AGREEING = {
    "CLIP_benchmark": of_clip_benchmark,
    "MTEB's hit rate": of_mteb,
    "sentence-transformers' accuracy": of_sentence_transformers,
    "torchmetrics' hit rate": of_torchmetrics,
}


@pytest.mark.parametrize("name", AGREEING)
@pytest.mark.parametrize("owners", [OWNERS, UNEQUAL], ids=["five captions", "one to seven"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_recalls_agree_without_ties(name: str, owners: Array, seed: int) -> None:
    scores = drawn(owners, seed)
    expected = ours(scores, owners)
    assert 0 < expected["i2t_r1"] < expected["t2i_r10"] < 1
    assert AGREEING[name](scores, owners) == pytest.approx(expected, abs=1e-5)


def test_recall_over_all_right_captions_is_another_number() -> None:
    """A perfect ranking from image to text: one of five captions is among the first one, which is a fifth of them."""
    perfect = matches(OWNERS) + np.random.default_rng(0).uniform(0, 0.1, (IMAGES, len(OWNERS)))
    assert ours(perfect, OWNERS)["i2t_r1"] == 1
    assert of_mteb(perfect, OWNERS, "recall")["i2t_r1"] == pytest.approx(0.2)
    assert of_torchmetrics(perfect, OWNERS, RetrievalRecall)["i2t_r1"] == pytest.approx(0.2)
    assert of_mteb(perfect, OWNERS, "recall")["t2i_r1"] == 1


def test_open_clips_own_evaluation_scores_the_diagonal() -> None:
    """It wants as many images as captions: with each image five times, other captions of an image count as wrong."""
    draws = np.random.default_rng(0)
    images = torch.nn.functional.normalize(torch.from_numpy(draws.normal(size=(IMAGES, 16))), dim=1)
    noise = torch.from_numpy(draws.normal(size=(len(OWNERS), 16)))
    captions = torch.nn.functional.normalize(images[OWNERS] + 0.3 * noise, dim=1)
    repeated = get_clip_metrics(images[OWNERS], captions, 1.0)
    found = ours((images @ captions.T).numpy(), OWNERS)
    assert repeated["image_to_text_R@1"] == pytest.approx(found["i2t_r1"] / EACH, abs=1e-9)
    one = get_clip_metrics(images, captions[::EACH], 1.0)
    single = ours((images @ captions[::EACH].T).numpy(), np.arange(IMAGES))
    for way, theirs in {"i2t": "image_to_text", "t2i": "text_to_image"}.items():
        for k in KS:
            assert one[f"{theirs}_R@{k}"] == pytest.approx(single[f"{way}_r{k}"], abs=1e-9)


def test_ties_are_broken_in_several_ways() -> None:
    """All scores equal. Ours counts gallery order, or the worst case; the others have an order of their own."""
    equal = np.ones((IMAGES, len(OWNERS)))
    lower, worst = ours(equal, OWNERS), ours(equal, OWNERS, "pessimistic")
    assert (lower["t2i_r1"], lower["i2t_r5"]) == (1 / IMAGES, 1 / IMAGES)
    assert max(worst.values()) == 0
    # by name: the lowest first, which is gallery order where names are numbers with zeros before them
    assert of_sentence_transformers(equal, OWNERS) == pytest.approx(lower)
    # by name, the highest first: trec_eval's rule, so that the last image and the last captions win
    backwards = ours(equal[::-1, ::-1], (IMAGES - 1 - OWNERS)[::-1])
    assert of_mteb(equal, OWNERS) == pytest.approx(backwards, abs=1e-5)
    # torch.topk and torch.sort promise no order: equal rows get one image, and by sorts all together any
    assert of_clip_benchmark(equal, OWNERS)["t2i_r1"] == pytest.approx(1 / IMAGES)
    assert 0 <= of_torchmetrics(equal, OWNERS)["t2i_r1"] < 5 / IMAGES


def test_a_duplicated_image_halves_what_its_captions_can_find() -> None:
    """Two pictures that are the same are two items: each has its own captions, and only those are right."""
    scores = drawn(OWNERS)
    scores[1] = scores[0] = matches(OWNERS)[:2].sum(0) * 10 + scores[0] / 100
    expected = ours(scores, OWNERS)
    theirs = of_sentence_transformers(scores, OWNERS)
    assert theirs == pytest.approx(expected)
    first, second = slice(0, EACH), slice(EACH, 2 * EACH)
    best = scores.argmax(0)
    assert (best[first] == 0).all()
    assert (best[second] == 0).all(), "the captions of the second find the first"
    worst = ours(scores, OWNERS, "pessimistic")
    assert worst["t2i_r1"] == pytest.approx(expected["t2i_r1"] - EACH / len(OWNERS))
