"""The file of the claims ledger: the committed one is sound, and whatever a file can have wrong is one line."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import UserError
from benchmark.places import PAPER
from benchmark.records.paper import load_papers
from benchmark.reporting.claims.definition import load_claims
from benchmark.reporting.claims.judge import judge_claims
from benchmark.reporting.claims.page import claims_files
from tests.paths import ROOT
from tests.reporting.claims.ledger import GAIN, GROWTH, RATIO, RUNS, STUDY, claim, lay, ran, recorded, timed


def test_every_committed_claim_has_a_source_and_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = judge_claims()
    unread = {"clip"}  # nothing of it was read yet
    assert {judged.claim.paper for judged in found} == {
        path.stem for path in Path("results/paper").glob("*.yaml")
    } - unread
    for judged in found:
        assert judged.claim.source
        assert judged.totals
        for check in judged.checks:
            assert check.verdict != "cannot be tested here" or (check.why and check.cause), judged.claim.id
            assert check.verdict == "cannot be tested here" or None not in (check.n, check.low, check.high)
            if check.counted == "seeds" and check.verdict != "cannot be tested here":
                assert check.n is not None
                assert check.n >= 3


def test_gains_of_the_paper_wait_for_their_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    gains = {judged.claim.id: judged for judged in judge_claims() if judged.claim.id.startswith("hat-gain-")}
    labels = " ".join(check.label for judged in gains.values() for check in judged.checks)
    assert all(f" {percent} %" in labels for percent in ("7.6", "16.7", "4.4", "11.6"))
    assert {judged.verdict for judged in gains.values()} == {"cannot be tested here"}


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (
            claim(STUDY, paper="hatt"),
            "field 'claims.0.paper': found 'hatt', no such paper; did you mean 'hat'?",
        ),
        (
            claim({**STUDY, "study": "part"}),
            "field 'claims.0.checks.0.study': found 'part', no such study; did you mean 'parts'?",
        ),
        (
            claim({**STUDY, "study": "times"}),
            "field 'claims.0.checks.0.study': found 'times', no such study; valid: parts",
        ),
        (
            claim(RUNS, {**STUDY, "against": "witout"}),
            "field 'claims.0.checks.1.against': found 'witout', no such variant; did you mean 'without'?",
        ),
        (
            claim({**STUDY, "metric": "meanr1"}),
            "field 'claims.0.checks.0.study_difference.metric': found 'meanr1', input should be 'i2t_r1'",
        ),
        (
            claim({**STUDY, "agianst": "without"}),
            "field 'claims.0.checks.0.study_difference.agianst' is not known; did you mean 'against'?",
        ),
        (claim({**STUDY, "kind": "study"}), "field 'claims.0.checks.0': found {'kind': 'study'"),
        (
            claim({**RUNS, "against": "hat-t2"}),
            "field 'claims.0.checks.0.against': found 'hat-t2', no such recipe on scenes for run; "
            "did you mean 'hat-t2i'?",
        ),
        (
            claim({**RUNS, "protocol": "mscoco-5k"}),
            "field 'claims.0.checks.0.of': found 'hat-i2t', no such recipe on mscoco for run",
        ),
        (
            claim(GAIN, paper="sgraf"),
            "field 'claims.0.checks.0.dataset': no relative gain on 'flickr30k'",
        ),
        (
            claim({**GAIN, "baseline": {"method": "sgraf", "variant": "SAF (papr)"}}),
            "field 'claims.0.checks.0.baseline.variant': found 'SAF (papr)', no such variant; "
            "did you mean 'SAF (paper)'?",
        ),
        (
            claim({**RATIO, "study": "parts"}),
            "field 'claims.0.checks.0.study': found 'parts', no such study of latency; valid: times",
        ),
        (
            claim({**GROWTH, "task": "vector"}),
            "field 'claims.0.checks.0.task': found 'vector', no such task; did you mean 'vectors'?",
        ),
        (
            claim({**RATIO, "of": "nw"}),
            "field 'claims.0.checks.0.of': found 'nw', no such contender; did you mean 'new'?",
        ),
        (claim(STUDY, sorce="a"), "field 'claims.0.sorce' is not known; did you mean 'source'?"),
        (claim(STUDY, source=""), "field 'claims.0.source': found '', "),
        (claim(), "field 'claims.0.checks': found [], "),
    ],
)
def test_a_wrong_name_or_field_is_one_line(wrong: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    root = lay(tmp_path, wrong)
    both = {"host": [1.0], "new": [1.0]}
    timed(
        root,
        [{"task": "scoring", "size": None, "seconds": both}, {"task": "vectors", "size": 2, "seconds": both}],
    )
    with pytest.raises(UserError) as raised:
        load_claims(root)
    assert f"results/claims.yaml: {complaint}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_paper_has_each_id_once_and_the_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"claims\.yaml: field 'claims': found two with the id 'it-helps'"):
        load_claims(lay(tmp_path, claim(STUDY), claim(RUNS)))
    with pytest.raises(UserError, match=r"results/claims\.yaml: not readable"):
        load_claims(tmp_path / "nowhere")


# ------------------------------------------------------------------------------------------ page


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One claim that holds and one that waits."""
    root = lay(
        tmp_path, claim(STUDY, note="Beware."), claim(RUNS, GROWTH, id="more", statement="More | better")
    )
    ran(root, {"with": [15.0, 17.5, 15.5], "without": [10.0, 12.0, 11.0]})
    recorded(root, "hat-i2t", {0: 50.0})
    recorded(root, "hat-t2i", {0: 40.0}, variant="HAT (t2i)")
    return root


def files(root: Path) -> dict[str, str]:
    return claims_files(judge_claims(root), {paper.method: paper for paper in load_papers(root / PAPER)})


def test_the_page_has_the_rule_an_overview_and_every_check(root: Path) -> None:
    page = files(root)["claims.md"]
    assert page.index("**One rule for all.**") < page.index("## Overview")
    assert "*Scenes is an analogue, not a reproduction*" in page
    row = next(line for line in page.splitlines() if "[It helps](#it-helps)" in line)
    assert "**holds** on scenes (an analogue)" in row
    assert '<a id="it-helps"></a>\n\n### It helps' in page
    assert "- Source: Table 9 (read there)." in page
    assert "- On scenes (analogue, not a reproduction): holds." in page
    assert "- Note: Beware." in page
    check = next(line for line in page.splitlines() if "with - without, mean R@1" in line)
    cells = [cell.strip() for cell in check.strip("|").split("|")]
    assert cells[:5] == [
        "[parts](../studies/parts.md): with - without, mean R@1",
        "scenes",
        "3 seeds",
        "+5.00 points",
        "+3.76 to +6.24",
    ]
    assert cells[5:] == ["0.0033", "0.0033 of 1", "holds"]
    assert "[More \\| better](#more)" in page, "a bar in a cell ends it"
    assert "1 seed " in page
    assert "cannot be tested here: too few seeds (1 of at least 3)" in page
    assert "no results of study times" in page


def test_the_comma_separated_table_has_a_line_a_check(root: Path) -> None:
    rows = list(csv.DictReader(files(root)["claims.csv"].splitlines()))
    assert [(row["claim"], row["kind"], row["verdict"]) for row in rows] == [
        ("it-helps", "study_difference", "holds"),
        ("more", "run_difference", "cannot be tested here"),
        ("more", "growth", "cannot be tested here"),
    ]
    assert (rows[0]["n"], rows[0]["estimate"], rows[0]["setting"]) == ("3", "5.0000", "analogue")
    assert (rows[2]["n"], rows[2]["estimate"]) == ("", "")


def test_the_files_are_the_same_each_time(root: Path) -> None:
    assert files(root) == files(root)
