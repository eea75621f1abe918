"""More than one truth a query: metrics against naive loops, the published counts, and the package's own functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.evaluation.extra.cxc import read_cxc
from benchmark.evaluation.extra.eccv import karpathy_captions, labels_folder, read_shipped
from benchmark.evaluation.extra.labels import ids_of_run, load_relevance, read_ids
from benchmark.evaluation.extra.relevance import (
    Relevance,
    average_precision_at_r,
    evaluate_relevance,
    from_pairs,
    number_of,
    r_precision,
)
from benchmark.evaluation.metrics import recall_at_k
from benchmark.evaluation.ranking import positions, rank, top_k

Rule = Literal["lower_index", "pessimistic"]
RULES: tuple[Rule, Rule] = ("lower_index", "pessimistic")


def naive_order(scores: Sequence[float], positives: set[int], rule: Rule) -> list[int]:
    """Gallery rows, best first."""
    if rule == "lower_index":
        return sorted(range(len(scores)), key=lambda item: (-scores[item], item))
    return sorted(range(len(scores)), key=lambda item: (-scores[item], item in positives, item))


def naive_metrics(scores: Sequence[float], positives: set[int], rule: Rule) -> dict[str, float]:
    """R@1, R@5, R-Precision and AP@R of one query, straight from their definitions."""
    order = naive_order(scores, positives, rule)
    count = len(positives)
    right = [item in positives for item in order]
    average = 0.0
    for place in range(1, count + 1):
        if right[place - 1]:
            average += sum(right[:place]) / place
    return {
        "r1": float(right[0]),
        "r5": float(any(right[:5])),
        "rp": sum(right[:count]) / count,
        "map": average / count,
    }


def some_scores(images: int, captions: int, seed: int, tied: bool) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((images, captions)).astype(np.float32)
    return np.round(values, 0) if tied else values


def random_table(rng: np.random.Generator, images: list[int], captions: list[int]) -> Relevance:
    """Some queries of each direction, one to six positives each; the two directions are independent."""

    def side(queries: list[int], gallery: list[int]) -> dict[int, tuple[int, ...]]:
        chosen = rng.permutation(queries)[: len(queries) // 2 + 1].tolist()
        return {q: tuple(rng.permutation(gallery)[: rng.integers(1, 7)].tolist()) for q in chosen}

    return Relevance("cxc", "made up", side(images, captions), side(captions, images))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_those_of_a_naive_loop(rule: Rule, tied: bool, seed: int) -> None:
    sims = some_scores(12, 40, seed, tied)
    rng = np.random.default_rng(seed)
    images, captions = rng.permutation(500)[:12].tolist(), rng.permutation(900)[:40].tolist()
    table = random_table(rng, images, captions)
    found = evaluate_relevance(sims, images, captions, table, rule, ks=(1, 5))
    for direction, queries, gallery, matrix in (
        ("i2t", images, captions, sims),
        ("t2i", captions, images, sims.T),
    ):
        positives: dict[int, tuple[int, ...]] = getattr(table, direction)
        each = [
            naive_metrics(matrix[queries.index(q)].tolist(), {gallery.index(item) for item in items}, rule)
            for q, items in positives.items()
        ]
        mean = {name: 100 * np.mean([values[name] for values in each]) for name in each[0]}
        side = getattr(found, direction)
        assert (side.queries, side.positives) == (len(positives), sum(map(len, positives.values())))
        assert side.recall[1] == pytest.approx(mean["r1"], abs=1e-9)
        assert side.recall[5] == pytest.approx(mean["r5"], abs=1e-9)
        assert side.r_precision == pytest.approx(mean["rp"], abs=1e-9)
        assert side.map_at_r == pytest.approx(mean["map"], abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_with_an_images_own_captions_recall_is_the_protocols(rule: Rule) -> None:
    sims = some_scores(20, 100, 3, tied=True)
    caption_image = np.repeat(np.arange(20), 5)
    table = from_pairs("cxc", "own", [(int(caption_image[j]), j) for j in range(100)])
    found = evaluate_relevance(sims, range(20), range(100), table, rule)
    ranks = rank(sims, caption_image, rule)
    assert found.i2t.recall == {k: recall_at_k(ranks.i2t, k) for k in (1, 5, 10)}
    assert found.t2i.recall == {k: recall_at_k(ranks.t2i, k) for k in (1, 5, 10)}


def test_known_answers() -> None:
    places = positions(np.array([0.9, 0.1, 0.8, 0.7, 0.6]), np.array([0, 3, 4]))
    assert places.tolist() == [0, 2, 3]
    assert r_precision(places, 3) == pytest.approx(2 / 3)
    assert average_precision_at_r(places, 3) == pytest.approx((1 + 2 / 3) / 3)
    assert r_precision(places, 4) == pytest.approx(3 / 4), "one that is not in the gallery is missed"
    assert average_precision_at_r(places, 4) == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)
    assert positions(np.array([1.0, 1.0, 1.0]), np.array([1]), "pessimistic").tolist() == [2]
    assert positions(np.array([1.0, 1.0, 1.0]), np.array([1])).tolist() == [1]
    assert positions(np.array([1.0, 1.0, 1.0]), np.array([0, 2]), "pessimistic").tolist() == [1, 2]


def test_scores_that_differ_in_their_last_bits_stay_apart() -> None:
    sims = np.array([[1.0, np.nextafter(1.0, 2.0)]])
    table = from_pairs("cxc", "own", [(0, 0)])
    assert evaluate_relevance(sims, [0], [0, 1], table).i2t.recall[1] == 0
    swapped = evaluate_relevance(sims.astype(">f8"), [0], [0, 1], table)
    assert swapped.i2t.recall[1] == 0


@pytest.mark.parametrize(
    ("images", "captions", "message"),
    [
        ([0, 1], [0, 1, 2], "image ids: found 2, expected 1"),
        ([0], [0, 1], "caption ids: found 2, expected 3"),
        ([0], [0, 1, 1], "caption ids: rows 1 and 2 both have id 1"),
        ([7], [0, 1, 2], "1 of 1 i2t queries are not among the ids scored, the first is 0"),
        ([0], [5, 6, 7], "1 of 1 i2t positives are not among the ids scored"),
    ],
)
def test_ids_that_do_not_fit(images: list[int], captions: list[int], message: str) -> None:
    table = from_pairs("cxc", "own", [(0, 0)])
    with pytest.raises(UserError, match="ids") as caught:
        evaluate_relevance(np.zeros((1, 3)), images, captions, table)
    assert message in str(caught.value)


def test_a_positive_outside_the_gallery_is_never_found() -> None:
    table = Relevance("eccv", "made up", {0: (9, 1), 1: (9,)}, {0: (0,)}, outside=frozenset({9}))
    sims = np.array([[0.0, 1.0, 0.5], [3.0, 2.0, 1.0]])
    found = evaluate_relevance(sims, [0, 1], [0, 1, 2], table, ks=(1, 3))
    assert (found.i2t.recall, found.i2t.r_precision, found.i2t.map_at_r) == ({1: 50, 3: 50}, 25, 25)
    there = evaluate_relevance(sims, [0, 1], [0, 1, 9], table, ks=(1, 3))
    assert (there.i2t.recall, there.i2t.r_precision) == ({1: 50, 3: 100}, 50), "a gallery may have it"


def test_scores_that_are_not_finite() -> None:
    with pytest.raises(UserError, match="found nan at image 0, caption 1"):
        evaluate_relevance(np.array([[0.0, np.nan]]), [0], [0, 1], from_pairs("cxc", "own", [(0, 0)]))


# -------------------------------------------------------------------------------------------- CxC

SITS = """caption,image,agg_score,sampling_method
COCO_val2014:sentid:11,COCO_val2014_000000000001.jpg,5.0,original
COCO_val2014:sentid:12,COCO_val2014_000000000001.jpg,2.99,original
COCO_val2014:sentid:21,COCO_val2014_000000000002.jpg,3.0,original
COCO_val2014:sentid:11,COCO_val2014_000000000002.jpg,3.25,c2i_intrasim
COCO_val2014:sentid:11,COCO_val2014_000000000002.jpg,3.25,c2i_original
"""


def test_pairs_from_three_on_count_and_others_drop_out(tmp_path: Path) -> None:
    path = tmp_path / "sits_test.csv"
    path.write_text(SITS, encoding="utf-8")
    table = read_cxc(path)
    assert table.i2t == {1: (11,), 2: (21, 11)}
    assert table.t2i == {11: (1, 2), 21: (2,)}, "caption 12 keeps no positive and is no query"
    assert table.source == "sits file, agg_score >= 3.0"
    lines = SITS.splitlines()
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    assert read_cxc(path).digest == table.digest
    assert read_cxc(path, threshold=3.1).t2i == {11: (1, 2)} or read_cxc(path, threshold=3.1).t2i == {
        11: (2, 1)
    }
    assert read_cxc(path, threshold=3.1).digest != table.digest
    assert load_relevance("cxc", path).digest == table.digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SITS.replace("caption,image", "image1,image2"), "column 'caption' is missing: found image1, image2"),
        (
            SITS.replace(",5.0,", ",5.1,"),
            "line 2: field 'agg_score': found '5.1', expected a number from 0 to 5",
        ),
        (SITS.replace(",5.0,", ",,"), "line 2: field 'agg_score': found ''"),
        (SITS.replace("sentid:12", "sentid:"), "line 3: field 'caption': found 'COCO_val2014:sentid:'"),
        (SITS.splitlines()[0], "found no pair with agg_score >= 3"),
        ("", "column 'caption' is missing: found none"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sits_test.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_cxc(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tables_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown relevance 'cxx'; did you mean 'cxc'"):
        load_relevance("cxx")
    with pytest.raises(UserError, match=r"none\.csv: no such file, expected CxC"):
        load_relevance("cxc", tmp_path / "none.csv")
    with pytest.raises(UserError, match="expected the folder of ECCV Caption's label files"):
        load_relevance("eccv", tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"eccv_image_to_caption\.json: no such file"):
        load_relevance("eccv", tmp_path)


def test_ids_from_files(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.array([3, 1]))
    (tmp_path / "ids.txt").write_text("COCO_val2014_000000000003.jpg\n1\n", encoding="utf-8")
    (tmp_path / "ids.json").write_text('[3, "COCO_val2014:sentid:1"]', encoding="utf-8")
    assert [read_ids(tmp_path / f"ids.{suffix}") for suffix in ("npy", "txt", "json")] == [[3, 1]] * 3
    assert number_of("COCO_val2014_000000391895.jpg") == 391895
    assert number_of("dog") is None
    (tmp_path / "bad.txt").write_text("1\ndog\n", encoding="utf-8")
    with pytest.raises(UserError, match="item 1: found 'dog', expected an id"):
        read_ids(tmp_path / "bad.txt")
    (tmp_path / "bad.txt").write_text("7\n-5\n", encoding="utf-8")
    with pytest.raises(UserError, match="item 1: found '-5', expected an id"):
        read_ids(tmp_path / "bad.txt")
    (tmp_path / "bad.json").write_text('{"a": 1}', encoding="utf-8")
    with pytest.raises(UserError, match="found dict, expected a list of ids"):
        read_ids(tmp_path / "bad.json")
    np.save(tmp_path / "bad.npy", np.array([0.5]))
    with pytest.raises(UserError, match=r"item 0: found 0\.5, expected an id"):
        read_ids(tmp_path / "bad.npy")
    with pytest.raises(UserError, match="no such file of ids"):
        read_ids(tmp_path / "none.txt")


# ----------------------------------------------------------------- ECCV Caption, as the package has it


@pytest.fixture(scope="module")
def labels() -> Path:
    pytest.importorskip("eccv_caption")
    return labels_folder()


def test_the_published_counts(labels: Path) -> None:
    eccv, cxc = (read_shipped(name, labels) for name in ("eccv", "cxc"))
    own = karpathy_captions(labels)[1]

    def counts(table: dict[int, tuple[int, ...]] | Any) -> tuple[int, int]:
        return len(table), sum(map(len, table.values()))

    assert counts(eccv.t2i) == (1332, 11_279)
    assert counts(eccv.i2t) == (1261, 22_550)
    assert {min(map(len, eccv.t2i.values())), max(map(len, eccv.t2i.values()))} == {1, 19}
    assert {min(map(len, eccv.i2t.values())), max(map(len, eccv.i2t.values()))} == {6, 48}
    assert counts(cxc.t2i) == (25_000 - 28, 35_585)
    assert counts(cxc.i2t) == (5000, 35_585)
    kept = sum(own[caption][0] in images for caption, images in cxc.t2i.items())
    assert kept == 24_971
    assert not cxc.outside
    assert eccv.outside == {144675, 467259}
    turned = {(image, caption) for image, captions in cxc.i2t.items() for caption in captions}
    assert turned == {(image, caption) for caption, images in cxc.t2i.items() for image in images}


def test_scan_folders_find_their_caption_ids(labels: Path) -> None:
    captions, own = karpathy_captions(labels)
    assert captions[:5].tolist() == [770337, 771687, 772707, 776154, 781998]
    image_ids = [str(own[caption][0]) for caption in captions[::5].tolist()]
    numbered = [f"{image}#{k}" for image in image_ids for k in range(5)]
    rows = np.repeat(np.arange(5000), 5).tolist()
    assert ids_of_run(image_ids, numbered, rows, labels) == ([int(i) for i in image_ids], captions.tolist())
    with pytest.raises(UserError, match="are not those of Karpathy's test split in order"):
        ids_of_run(image_ids[::-1], numbered, rows, labels)
    with pytest.raises(UserError, match="are not those of Karpathy's test split in order"):
        ids_of_run(image_ids[:2], numbered[:10], rows[:10], labels)
    assert ids_of_run(["5"], ["7", "8"], [0, 0], None) == ([5], [7, 8])


def test_metrics_are_the_packages_own_on_random_rankings(labels: Path) -> None:
    theirs = pytest.importorskip("eccv_caption").Metrics()
    captions, own = karpathy_captions(labels)
    images = [own[caption][0] for caption in captions[::5].tolist()]
    rng = np.random.default_rng(0)
    sims = rng.random((5000, 25_000), dtype=np.float32)
    sims[np.repeat(np.arange(5000), 5), np.arange(25_000)] += 0.5  # some of it is right
    eccv, cxc = load_relevance("eccv"), load_relevance("cxc")
    best = top_k(sims, 50)  # which is all that these metrics look at
    i2t = {image: captions[best.i2t[row]].tolist() for row, image in enumerate(images)}
    ids = np.array(images)
    t2i = {int(caption): ids[best.t2i[row]].tolist() for row, caption in enumerate(captions)}
    metrics = theirs.compute_all_metrics(
        i2t,
        t2i,
        target_metrics=("cxc_recalls", "eccv_r1", "eccv_map_at_r", "eccv_rprecision"),
        Ks=(1, 5, 10),
        verbose=False,
    )
    found = {"eccv": evaluate_relevance(sims, images, captions.tolist(), eccv)}
    found["cxc"] = evaluate_relevance(sims, images, captions.tolist(), cxc)
    for direction in ("i2t", "t2i"):
        for k in (1, 5, 10):
            assert 100 * metrics[f"cxc_r{k}"][direction] == pytest.approx(
                getattr(found["cxc"], direction).recall[k], abs=1e-9
            )
        side = getattr(found["eccv"], direction)
        assert 100 * metrics["eccv_r1"][direction] == pytest.approx(side.recall[1], abs=1e-9)
        assert 100 * metrics["eccv_map_at_r"][direction] == pytest.approx(side.map_at_r, abs=1e-9)
        assert 100 * metrics["eccv_rprecision"][direction] == pytest.approx(side.r_precision, abs=1e-9)
    assert 0 < found["eccv"].t2i.map_at_r < 100
