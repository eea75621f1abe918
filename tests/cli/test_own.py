"""Own data on the command line: the page of the docs as a new user would go through it, and what is refused."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from benchmark.places import CLONE
from benchmark.records.record import read_record
from tests.data.own.sources import captions_folder
from tests.paths import ROOT
from tests.tiny import contents, rematch

PAGE = ROOT / "docs/own-data.md"


def blocks(kind: str) -> list[str]:
    """The blocks of the page of one kind."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder after the commands of the page, and what each of them said."""
    folder = tmp_path_factory.mktemp("own")
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(blocks("python")[0], "own-data.md", "exec"), {})
        for line in blocks("bash")[0].splitlines():
            command = shlex.split(line)[1:]
            quick = ["--no-latency", "--no-progress", "--device", "cpu"] if command[0] == "reproduce" else []
            said.append(rematch(*command, *quick).good)
    return folder, said


def test_five_commands_lead_from_pictures_to_answers(walked: tuple[Path, list[str]]) -> None:
    folder, said = walked
    commands = blocks("bash")[0].splitlines()
    assert len(commands) == 5
    for here, after in zip(said, commands[1:], strict=False):
        (told,) = [line.removeprefix("next: ") for line in here.splitlines() if line.startswith("next: ")]
        if "query" not in after:
            assert after.startswith(told)
        else:
            assert told.split('"')[0] == after.split('"')[0]
    page = (folder / "answer.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 5
    assert (folder / "results/report.html").is_file()


def test_the_record_has_all_captions_and_the_level_of_chance(walked: tuple[Path, list[str]]) -> None:
    record = read_record(walked[0] / "results/runs/shapes/sgraf-saf/0.json")
    test = record.dataset.splits["test"]
    assert (test.images, record.dataset.every_caption, record.paper_row) == (6, True, None)
    assert test.captions != 5 * test.images
    assert "|rule:all|" in record.results["shapes"].signature
    assert record.results["shapes"].chance is not None
    assert record.results["shapes"].chance["t2i_r1"] == pytest.approx(100 / 6)
    assert not record.comparable
    assert "the dataset shapes, which is its owner's" in record.departures


def test_the_table_stands_by_itself(walked: tuple[Path, list[str]]) -> None:
    text = (walked[0] / "results/tables/shapes.md").read_text(encoding="utf-8")
    assert "An own dataset: comparable with no paper" in text
    assert re.search(r"^\| +\| chance ", text, flags=re.MULTILINE)
    assert "smoke test" not in text
    assert "paper's row" not in text


def test_the_name_works_in_the_other_commands(
    walked: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(walked[0])
    assert "shapes, pictures with a table of captions" in rematch("list", "datasets").good
    assert "pictures shared with 'test'" in rematch("data", "verify", "shapes").good
    assert rematch("data", "show", "shapes", "--count", 2).good.strip().endswith("shapes-test.html")
    plan = rematch("reproduce", "sgraf", "shapes", "--dry-run").good
    assert "48" in plan
    evaluated = rematch(
        "evaluate", "--recipe", "recipes/sgraf/shapes-saf.yaml", "--no-progress", "--save-sims", "sims.npy"
    ).good
    assert "i2t, chance" in evaluated
    scored = rematch("score", "sims.npy", "--dataset", "shapes", "--format", "json").good
    lines = {row["direction"]: row for row in json.loads(scored)[0]["rows"]}
    record = read_record(Path("results/runs/shapes/sgraf-saf/0.json"))
    assert lines["i2t"]["r1"] == pytest.approx(record.results["shapes"].metrics.i2t.r1)
    assert lines["both, chance"]["rsum"] == pytest.approx(record.results["shapes"].chance["rsum"])  # type: ignore[index]
    whole = rematch(
        "score", "sims.npy", "--dataset", "shapes", "--protocol", "whole", "--format", "json"
    ).good
    assert whole == scored


def test_scores_of_another_size_are_refused(
    walked: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(walked[0])
    np.save("other.npy", np.zeros((5, 9)))
    before = contents()
    error = rematch("score", "other.npy", "--dataset", "shapes").error
    assert "9" in error
    assert (
        "leave it out"
        in rematch("score", "other.npy", "--dataset", "shapes", "--captions-per-image", 5).error
    )
    assert contents() == before


def test_a_folder_is_named_from_elsewhere_and_the_next_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions_folder(tmp_path / "source")
    monkeypatch.chdir(tmp_path)
    said = rematch("-C", "work", "data", "import", "mine", "../source").good
    assert "next: rematch -C work recipe new sgraf --dataset mine" in said
    assert (tmp_path / "work/datasets/mine.yaml").is_file()
    monkeypatch.chdir(tmp_path)
    assert rematch("-C", "nowhere", "list").error == "option -C: nowhere: no such folder"


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (("--test", "0"), "option --test: found 0, expected a share of the images, above 0 and below 1"),
        (
            ("--val", "0.6", "--test", "0.5"),
            "options --val and --test: found 0.6 and 0.5, which leave nothing",
        ),
    ],
)
def test_shares_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in rematch("data", "import", "mine", "source", *shares).error
    assert not contents()


@pytest.mark.parametrize(
    "command",
    [("data", "import", "mine", "source"), ("recipe", "new", "sgraf", "--dataset", "mine")],
)
def test_a_clone_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    captions_folder(tmp_path / "source")
    monkeypatch.chdir(tmp_path)
    CLONE.parent.mkdir()
    CLONE.write_text("")
    before = contents()
    error = rematch(*command).error
    assert "this folder is a clone of Rematch, and own data would change it" in error
    assert f"`rematch -C FOLDER {' '.join(command)}`" in error
    assert contents() == before


def test_runs_on_own_data_do_not_write_into_a_clone(
    walked: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    shutil.copytree(walked[0], tmp_path / "clone", ignore=shutil.ignore_patterns(".rematch"))
    monkeypatch.chdir(tmp_path / "clone")
    CLONE.parent.mkdir()
    CLONE.write_text("")
    before = contents()
    recipe = "recipes/sgraf/shapes-saf.yaml"
    assert "is a clone of Rematch" in rematch("reproduce", recipe, "--device", "cpu").error
    assert contents() == before
