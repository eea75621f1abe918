"""The committed paper numbers: consistent with themselves, found by recipes, strict about misspelt names."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.places import PAPER
from benchmark.recipe.schema import PaperRow
from benchmark.records.paper import ReportedRow, find_row, load_paper, load_papers, resolve
from tests.paths import ROOT

FOLDER = ROOT / PAPER
PAPERS = list(load_papers(FOLDER))
ROWS = [
    pytest.param(row, id=f"{paper.method}-{row.variant}-{row.dataset}")
    for paper in PAPERS
    for row in paper.rows
]
RECALLS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10")


def test_every_method_is_there() -> None:
    counts = {paper.method: len(paper.rows) for paper in PAPERS}
    assert counts == {
        "clip": 0,
        "dualpath": 14,
        "hat": 0,
        "rcar": 9,
        "sgraf": 18,
        "temde": 9,
        "user": 4,
        "vse_infty": 27,
    }


@pytest.mark.parametrize("row", ROWS)
def test_rsum_is_the_sum_of_the_recalls(row: ReportedRow) -> None:
    values = [row.value(name) for name in RECALLS]
    if None in values:
        assert row.rsum is None
        return
    assert row.rsum == pytest.approx(sum(value for value in values if value is not None), abs=0.15)


@pytest.mark.parametrize("row", ROWS)
def test_recalls_rise_with_k(row: ReportedRow) -> None:
    for side in (row.i2t, row.t2i):
        if side is not None:
            given = [value for value in (side.r1, side.r5, side.r10) if value is not None]
            assert given
            assert given == sorted(given)
    assert row.i2t is not None or row.t2i is not None
    assert row.source


@pytest.mark.parametrize("row", ROWS)
def test_5k_is_harder_than_1k(row: ReportedRow) -> None:
    if row.dataset == "mscoco-5k":
        paper = next(paper for paper in PAPERS if row in paper.rows)
        for other in paper.rows:
            if (other.variant, other.dataset) == (row.variant, "mscoco-1k"):
                for name in RECALLS:
                    hard, easy = row.value(name), other.value(name)
                    assert hard is None or (easy is not None and hard < easy)


@pytest.mark.parametrize(
    ("method", "variant", "protocol", "recalls", "rsum"),
    [
        ("rcar", "RCAR (ALL)", "mscoco-5k", (61.3, 86.1, 92.6, 44.3, 73.2, 83.2), 440.7),
        ("sgraf", "SGR (repository)", "flickr30k", (76.6, 93.7, 96.6, 56.1, 80.9, 87.0), 490.9),
        ("sgraf", "SAF (paper)", "mscoco-1k", (76.1, 95.4, 98.3, 61.8, 89.4, 95.3), 516.3),
        ("temde", "T-EMDE (SAF)", "mscoco-5k", (56.7, None, 90.7, 40.3, None, 80.4), None),
        ("dualpath", "ResNet-152 Stage II", "flickr30k", (55.6, 81.9, 89.5, 39.1, 69.2, 80.9), 416.2),
        ("dualpath", "ResNet-50 Stage II", "cuhk-pedes", (None, None, None, 44.40, 66.26, 75.07), None),
        (
            "user",
            "USER (as cited by AAHR; variant not stated, probably CLIP-guided)",
            "flickr30k",
            (86.3, 97.6, 99.4, 69.5, 91.0, 94.4),
            538.1,
        ),
        (
            "vse_infty",
            "VSE-infinity, BUTD region + BERT-base",
            "mscoco-1k",
            (79.7, 96.4, 98.9, 64.8, 91.4, 96.3),
            527.5,
        ),
    ],
)
def test_numbers_as_printed(
    method: str, variant: str, protocol: str, recalls: tuple[float | None, ...], rsum: float | None
) -> None:
    row = find_row(method, variant, protocol, FOLDER)
    assert row is not None
    assert tuple(row.value(name) for name in RECALLS) == recalls
    assert row.rsum == rsum


def test_ensembles_and_second_hand_rows_are_marked() -> None:
    marked = {row.variant for paper in PAPERS for row in paper.rows if row.ensemble}
    assert {"RCAR (ALL)", "SGRAF (paper)", "T-EMDE (SGRAF ensemble)"} <= marked
    assert not marked & {"RCAR (i2t)", "SAF (paper)", "T-EMDE (SGR)"}
    kinds = {row.kind for row in load_paper("user", FOLDER).rows}
    assert kinds == {"cited", "derived"}


@pytest.mark.parametrize("variant", ["HAT (i2t)", "HAT (t2i)", "HAT (i2t + t2i)"])
@pytest.mark.parametrize("protocol", ["flickr30k", "mscoco-1k", "mscoco-5k", "scenes"])
def test_hat_rows_are_expected_but_unknown(variant: str, protocol: str) -> None:
    assert find_row("hat", variant, protocol, FOLDER) is None
    claims = {claim.dataset: claim.t2i_r1_percent for claim in load_paper("hat", FOLDER).relative_gain_claims}
    assert claims == {"mscoco": 16.7, "flickr30k": 11.6}


def test_mean_of_r1() -> None:
    row = find_row("temde", "T-EMDE (SAF)", "mscoco-5k", FOLDER)
    assert row is not None
    assert row.value("mean_r1") == pytest.approx((56.7 + 40.3) / 2)
    one_way = find_row("dualpath", "VGG-16 Stage I", "cuhk-pedes", FOLDER)
    assert one_way is not None
    assert one_way.value("mean_r1") is None


def test_a_misspelt_reference_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no variant 'HAT \(i2tt\)'; did you mean 'HAT \(i2t\)'\?"):
        resolve(PaperRow(method="hat", variant="HAT (i2tt)"), FOLDER)
    with pytest.raises(UserError, match=r"no paper numbers for method 'rcarr'; did you mean 'rcar'\?"):
        resolve(PaperRow(method="rcarr", variant="x"), FOLDER)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("arxiv:", "arxivv:", "field 'arxivv' is not known; did you mean 'arxiv'?"),
        ("r1: 79.7", "r1: 797", "field 'rows.0.i2t.r1': found 797"),
        ("dataset: mscoco-1k", "dataset: scenes", "found 'scenes'"),
        ("method: rcar", "method: hat", "field 'method': found 'hat', expected 'rcar'"),
        ("dataset: mscoco-1k", "dataset: flickr30k", "variant 'RCAR (t2i)' stands twice for flickr30k"),
        ("status: partial", "status: missing", "status 'missing' with 9 rows"),
        ("rows:", "rows: {", "not valid YAML"),
    ],
)
def test_a_faulty_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (FOLDER / "rcar.yaml").read_text()
    assert old in text
    (tmp_path / "rcar.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as error:
        load_paper("rcar", tmp_path)
    assert str(error.value).startswith(f"{(tmp_path / 'rcar.yaml').as_posix()}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
