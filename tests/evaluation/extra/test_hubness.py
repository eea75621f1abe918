"""Post-processing against hubs: naive loops, large numbers, and what a result says of itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.evaluation.extra import hubness
from benchmark.evaluation.extra.hubness import (
    best_means,
    db_norm,
    inverted_softmax,
    log_sums,
    nnn,
    parse_postprocess,
    popular,
    qb_norm,
)
from benchmark.evaluation.extra.postprocess import Banks, evaluate_processed, parse_role
from benchmark.evaluation.metrics import recall_at_k
from benchmark.evaluation.protocol import Protocol, evaluate
from benchmark.evaluation.ranking import rank

Matrix = np.ndarray[Any, Any]
ONE = Protocol("scenes", "scenes", None, 1, "")
FOLDS = Protocol("mscoco-1k", "mscoco", 6, 3, "")


def scores(n: int, g: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((n, g)).astype(np.float32)


def naive_softmax(sims: Matrix, bank: Matrix, b: float) -> list[list[float]]:
    """exp(b s) over its sum in the bank, term by term."""
    return [
        [
            math.exp(b * float(s)) / sum(math.exp(b * float(other)) for other in bank[:, item])
            for item, s in enumerate(row)
        ]
        for row in sims
    ]


@pytest.fixture(params=[3, 128])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks smaller than the matrices, and larger."""
    monkeypatch.setattr(hubness, "ROWS", request.param)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("b", [0.5, 20.0])
def test_inverted_softmax_is_the_naive_one(b: float) -> None:
    sims, bank = scores(7, 9), scores(11, 9, seed=1)
    np.testing.assert_allclose(
        np.exp(inverted_softmax(sims, bank, b)), naive_softmax(sims, bank, b), rtol=1e-10
    )


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("k", [1, 2])
def test_qb_norm_touches_only_queries_that_a_hub_answers(k: int) -> None:
    sims, bank = scores(12, 9), scores(5, 9, seed=1)
    found, plain = qb_norm(sims, bank, 2.0, k), naive_softmax(sims, bank, 2.0)
    hubs = {item for row in bank for item in sorted(range(9), key=lambda i: (-row[i], i))[:k]}
    touched = 0
    for query, row in enumerate(sims):
        if int(np.argmax(row)) in hubs:
            np.testing.assert_allclose(np.exp(found[query]), plain[query], rtol=1e-10)
            touched += 1
        else:
            assert found[query].tolist() == row.astype(float).tolist()
    assert 0 < touched < 12


@pytest.mark.usefixtures("rows")
def test_db_norm_is_the_product_of_two_softmaxes() -> None:
    sims, bank, gallery = scores(7, 9), scores(11, 9, seed=1), scores(4, 9, seed=2)
    product = np.array(naive_softmax(sims, bank, 0.7)) * np.array(naive_softmax(sims, gallery, 3.0))
    np.testing.assert_allclose(np.exp(db_norm(sims, bank, gallery, 0.7, 3.0)), product, rtol=1e-10)


@pytest.mark.usefixtures("rows")
def test_nnn_takes_the_mean_of_the_k_best_from_each_item() -> None:
    sims, bank = scores(7, 9), scores(11, 9, seed=1)
    expected = [
        [float(s) - 0.75 * sum(sorted(map(float, bank[:, item]))[-3:]) / 3 for item, s in enumerate(row)]
        for row in sims
    ]
    np.testing.assert_allclose(nnn(sims, bank, 0.75, 3), expected, rtol=1e-12)
    with pytest.raises(UserError, match="k = 12, but the bank has 11 queries"):
        nnn(sims, bank, 0.75, 12)


@pytest.mark.usefixtures("rows")
def test_what_a_bank_says_of_items() -> None:
    bank = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [3.0, 0.0, 3.0], [0.0, 5.0, 4.0]])
    assert popular(bank, 1).tolist() == [True, True, False], "of equal scores the first counts"
    assert popular(bank, 2).tolist() == [True, True, True]
    assert best_means(bank, 2).tolist() == [2.0, 3.5, 3.5]


def test_large_numbers_neither_overflow_nor_tie() -> None:
    sims = np.array([[900.0, 901.0, -900.0]])
    bank = np.array([[950.0, 950.0, 0.0], [-950.0, 0.0, 0.0]])
    found = inverted_softmax(sims, bank, 20.0)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, 20 * (sims - np.array([950.0, 950.0, math.log(2) / 20])))
    assert np.isfinite(log_sums(np.full((3, 2), -1e30), 20.0)).all()


def test_transposed_views_and_other_byte_orders_give_the_same() -> None:
    sims, bank = scores(7, 9), scores(11, 9, seed=1)
    plain = inverted_softmax(sims, bank)
    assert np.array_equal(inverted_softmax(np.asfortranarray(sims), bank.T.copy().T), plain)
    assert np.array_equal(inverted_softmax(sims.astype(">f4"), bank.astype(">f4")), plain)


BAD = scores(11, 9)
BAD[4, 2] = np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: inverted_softmax(s, scores(3, 8)), "bank: found scores of 8 gallery items, expected 9"),
        (lambda s: inverted_softmax(s, BAD), "found inf at image 4, caption 2"),
        (lambda s: inverted_softmax(s, s, -1), "field 'b': found -1, expected a number above 0"),
        (lambda s: qb_norm(s, s, 20, 1.5), "field 'k': found 1.5, expected a whole number"),
        (lambda s: nnn(s, s, 0.5, 0), "field 'k': found 0, expected a whole number"),
        (lambda s: qb_norm(s, s, 20, float("nan")), "field 'k': found nan, expected a whole number"),
        (lambda s: qb_norm(s, s, 20, float("inf")), "field 'k': found inf, expected a whole number"),
        (lambda s: db_norm(s, s, scores(3, 8)), "bank: found scores of 8 gallery items"),
    ],
)
def test_what_does_not_fit_is_one_line(call: Callable[[Matrix], Matrix], message: str) -> None:
    with pytest.raises(UserError) as caught:
        call(scores(7, 9))
    assert message in str(caught.value)


# ------------------------------------------------------------------------------------------ by name


def test_methods_by_name() -> None:
    assert str(parse_postprocess("qbnorm")) == "qbnorm(b=20,k=1)"
    assert str(parse_postprocess("qbnorm:k=3,b=0.5")) == "qbnorm(b=0.5,k=3)"
    assert str(parse_postprocess("dbnorm")) == "dbnorm(b1=0.502513,b2=3)"
    assert str(parse_postprocess("nnn:a=0.75,k=128")) == "nnn(a=0.75,k=128)"
    sims, bank = scores(7, 9), scores(11, 9, seed=1)
    named = parse_postprocess("qbnorm:k=3,b=0.5").apply(sims, bank)
    assert np.array_equal(named, qb_norm(sims, bank, 0.5, 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qbnrm", "unknown post-processing 'qbnrm'; did you mean 'qbnorm'?"),
        ("qbnorm:c=1", "post-processing qbnorm: number 'c' is not known"),
        ("qbnorm:b=x", "post-processing qbnorm: 'b': found 'x', expected a number"),
        ("nnn:a=1", "post-processing nnn has no default for 'k': name it (nnn:a=...,k=...)"),
    ],
)
def test_methods_that_are_none(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_postprocess(text)
    assert message in str(caught.value)


def test_roles() -> None:
    assert parse_role("captions=a=b.npy") == ("captions", "a=b.npy")
    with pytest.raises(UserError, match="unknown role 'caption'; did you mean 'captions'"):
        parse_role("caption=a.npy")
    with pytest.raises(UserError, match=r"found 'a\.npy', expected ROLE=FILE"):
        parse_role("a.npy")


# ---------------------------------------------------------------------------------------- protocols


def test_each_direction_is_ranked_on_its_own_matrix() -> None:
    sims, owner = scores(8, 24), np.repeat(np.arange(8), 3)
    images, captions = scores(10, 24, seed=1), scores(8, 30, seed=2)
    method = parse_postprocess("inverted-softmax:b=2")
    found = evaluate_processed(sims, owner, ONE, method, Banks({"images": images, "captions": captions}))
    i2t = rank(np.array(naive_softmax(sims, images, 2.0)), owner).i2t
    t2i = rank(np.array(naive_softmax(sims.T, captions.T, 2.0)).T.copy(), owner).t2i
    for k in (1, 5, 10):
        assert found.sides["i2t"].recall[k] == recall_at_k(i2t, k)
        assert found.sides["t2i"].recall[k] == recall_at_k(t2i, k)
    assert found.bank_sizes == {"i2t": 10, "t2i": 30}
    assert not found.transductive
    low, high = found.intervals["i2t"]["i2t_r1"]
    assert low <= found.sides["i2t"].recall[1] <= high


def test_a_direction_without_a_bank_has_no_result() -> None:
    sims, owner = scores(8, 24), np.repeat(np.arange(8), 3)
    found = evaluate_processed(
        sims, owner, ONE, parse_postprocess("qbnorm"), Banks({"captions": scores(8, 30, seed=2)})
    )
    assert found.sides.keys() == {"t2i"}
    both: Banks = Banks({"images": scores(4, 24, seed=3), "gallery-images": scores(5, 8, seed=4)})
    with pytest.raises(UserError, match="dbnorm needs a bank"):
        evaluate_processed(sims, owner, ONE, parse_postprocess("dbnorm"), both)
    with pytest.raises(UserError, match="qbnorm needs a bank: --bank ROLE=FILE with role 'images'"):
        evaluate_processed(sims, owner, ONE, parse_postprocess("qbnorm"), Banks())


def test_db_norm_takes_both_banks_of_a_direction() -> None:
    sims, owner = scores(8, 24), np.repeat(np.arange(8), 3)
    bank, gallery = scores(8, 30, seed=1), scores(5, 8, seed=2)
    method = parse_postprocess("dbnorm")
    found = evaluate_processed(sims, owner, ONE, method, Banks({"captions": bank, "gallery-images": gallery}))
    expected = db_norm(sims.T, bank.T, gallery)
    assert found.sides["t2i"].recall[1] == recall_at_k(rank(expected.T.copy(), owner).t2i, 1)


@pytest.mark.parametrize("name", ["inverted-softmax", "qbnorm:k=2", "nnn:a=0.5,k=2"])
def test_each_fold_is_processed_on_its_own(name: str) -> None:
    owner = np.repeat(np.arange(6), [1, 2, 1, 3, 2, 1])
    sims, captions, images = scores(6, 10), scores(6, 7, seed=1), scores(5, 10, seed=2)
    method = parse_postprocess(name)
    banks = Banks({"captions": captions, "images": images})
    found = evaluate_processed(sims, owner, FOLDS, method, banks)
    recalls: dict[str, list[float]] = {"i2t": [], "t2i": []}
    for fold in range(3):
        rows, columns = slice(2 * fold, 2 * fold + 2), np.flatnonzero(owner // 2 == fold)
        block, local = sims[rows, columns[0] : columns[-1] + 1], owner[columns] - 2 * fold
        i2t = method.apply(block, images[:, columns])
        t2i = method.apply(block.T, captions[rows].T).T.copy()
        recalls["i2t"].append(recall_at_k(rank(i2t, local).i2t, 1))
        recalls["t2i"].append(recall_at_k(rank(t2i, local).t2i, 1))
    for direction, values in recalls.items():
        side = {"i2t": found.sides["i2t"], "t2i": found.sides["t2i"]}[direction]
        assert side.recall[1] == pytest.approx(np.mean(values))


def test_a_hub_is_put_in_its_place() -> None:
    sims = np.eye(20) + 0.01 * scores(20, 20)
    sims[7] += 2.0  # image 7 answers every caption
    bank = 0.3 * scores(20, 50, seed=1)
    bank[7] += 2.0
    plain = evaluate(sims, np.arange(20), ONE).metrics.t2i.recall[1]
    for name in ("inverted-softmax", "qbnorm", "nnn:a=1,k=10"):
        found = evaluate_processed(
            sims, np.arange(20), ONE, parse_postprocess(name), Banks({"captions": bank})
        )
        assert plain == 5
        assert found.sides["t2i"].recall[1] == 100, name


def test_a_bank_of_test_queries_has_to_be_owned_up_to() -> None:
    sims, owner = scores(8, 24), np.repeat(np.arange(8), 3)
    bank = np.concatenate([scores(8, 5, seed=1), sims[:, 3:4]], axis=1)
    method = parse_postprocess("inverted-softmax")
    with pytest.raises(UserError, match="its caption 5 has the scores of test caption 3"):
        evaluate_processed(sims, owner, ONE, method, Banks({"captions": bank}))
    with pytest.raises(UserError, match="its image 0 has the scores of test image 0"):
        evaluate_processed(sims, owner, ONE, method, Banks({"images": sims}))
    said = evaluate_processed(sims, owner, ONE, method, Banks({"captions": bank}, transductive=True))
    assert said.transductive
    own = evaluate_processed(sims, owner, ONE, method, Banks(transductive=True))
    expected = inverted_softmax(sims.T, sims.T).T.copy()
    assert own.sides["t2i"].recall[5] == recall_at_k(rank(expected, owner).t2i, 5)
    assert own.sides.keys() == {"i2t", "t2i"}
    assert own.bank_sizes == {"i2t": 8, "t2i": 24}


def test_banks_of_another_shape() -> None:
    sims, owner = scores(8, 24), np.repeat(np.arange(8), 3)
    with pytest.raises(
        UserError, match=r"bank 'captions': found shape \(24, 8\), expected test images x bank"
    ):
        evaluate_processed(sims, owner, ONE, parse_postprocess("qbnorm"), Banks({"captions": scores(24, 8)}))
    with pytest.raises(UserError, match="bank 'images': scores: found type int64"):
        evaluate_processed(
            sims, owner, ONE, parse_postprocess("qbnorm"), Banks({"images": np.zeros((3, 24), np.int64)})
        )
