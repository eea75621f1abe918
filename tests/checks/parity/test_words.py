"""Parity of whole words: the recorded file passes, and one changed entry anywhere fails."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.checks.parity import words as parity_words
from benchmark.checks.parity.report import run_parity
from benchmark.data.text.words import OWN, Tokeniser
from benchmark.errors import UserError
from benchmark.places import GOLDEN

TEXT = GOLDEN / "rcar" / "text.json"
CONTENT = json.loads(TEXT.read_text(encoding="utf-8"))


def failed(path: Path, content: Any) -> set[str]:
    path.write_text(json.dumps(content), encoding="utf-8")
    return {row.quantity for row in run_parity("evaluation", [path]).failed}


def test_the_recorded_file_passes() -> None:
    report = run_parity("evaluation", [TEXT])
    assert report.ok
    assert report.compared > 4000


@pytest.mark.parametrize(
    ("change", "quantity"),
    [
        (lambda text: text["cases"][3]["tokens"].append("."), "cases/tokens"),
        (lambda text: text["cases"][7]["ids_coco"].__setitem__(2, 9), "cases/ids_coco"),
        (lambda text: text["cases"][7]["ids_f30k"].pop(), "cases/ids_f30k lengths"),
        (lambda text: text["vocab"]["f30k"]["subset"].update(dog=4429), "cases/ids_f30k"),
        (lambda text: text["vocab"]["coco"].update(mask=11352), "vocab/coco"),
        (lambda text: text["vocab"]["coco"].update(unk=4), "vocab/coco"),
        (lambda text: text["word_drop"][5]["ids"].__setitem__(1, 9), "word_drop/ids"),
        (lambda text: text["word_drop"][5].update(python_random_seed=77), "word_drop/next_random_after"),
        (lambda text: text["word_drop"][5].update(next_random_after=0.5), "word_drop/next_random_after"),
        (lambda text: text["cases"][0].update(other=1), "cases/other"),
        (lambda text: text["vocab"]["coco"].update(other=1), "vocab/other"),
        (lambda text: text["word_drop"][0].update(other=1), "word_drop/other"),
        (lambda text: text.update(other=1), "other"),
    ],
)
def test_a_changed_entry_fails(tmp_path: Path, change: Callable[[Any], None], quantity: str) -> None:
    content = copy.deepcopy(CONTENT)
    change(content)
    assert quantity in failed(tmp_path / "any.json", content)


def test_a_subset_with_an_id_twice_is_one_line(tmp_path: Path) -> None:
    for wrong in (4430, 3, 8481):  # of "dog", of <unk>, behind the last
        content = copy.deepcopy(CONTENT)
        content["vocab"]["f30k"]["subset"]["cat"] = wrong
        with pytest.raises(UserError, match=rf"any\.json: field 'vocab\.f30k\.subset\.\w+': found {wrong}"):
            failed(tmp_path / "any.json", content)


def test_the_tokeniser_in_use_is_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity_words, "tokeniser", lambda: Tokeniser("NLTK 9", lambda text: text.split()))
    report = run_parity("evaluation", [TEXT])
    assert not report.ok
    assert {row.quantity for row in report.failed} >= {"cases/tokens by NLTK 9", "word_drop/ids by NLTK 9"}
    assert not [row for row in report.failed if not row.quantity.endswith(" by NLTK 9")]
    monkeypatch.setattr(parity_words, "tokeniser", lambda: OWN)
    assert run_parity("evaluation", [TEXT]).ok
