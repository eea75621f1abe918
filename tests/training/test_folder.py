"""Earlier trainings that are set aside: nothing is lost wherever a kill comes, and nothing longer is overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.errors import UserError
from benchmark.training import WorkFolder, check_trained
from benchmark.training.checkpoints import EARLIER, FORMAT, read_facts
from tests.toy import toy_model
from tests.training.helpers import fresh, run, state_of, toy_training

SHORT, LONG = (toy_training(stages=[{"epochs": epochs}]) for epochs in (1, 3))
FILES = ("checkpoint.pt", "best.safetensors", "log.jsonl")


class Killed(BaseException):
    """Stands for the kill."""


def kept(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}


@pytest.fixture
def die_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function: the `number`-th change of a name on disk from now on is not made."""

    def arm(number: int) -> None:
        left = [number]
        for name in ("replace", "rename", "unlink", "rmdir", "mkdir"):
            original = getattr(Path, name)

            def counted(self: Path, *arguments: Any, _made: Any = original, **named: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return _made(self, *arguments, **named)

            monkeypatch.setattr(Path, name, counted)

    return arm


@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.parametrize("number", range(12))
def test_a_kill_while_files_are_set_aside_loses_nothing(
    tmp_path: Path, die_at: Any, monkeypatch: pytest.MonkeyPatch, number: int, resumes: bool
) -> None:
    """Over a shorter training that lies in previous/ already."""
    fresh(SHORT, tmp_path)
    WorkFolder(tmp_path).prepare(resume=False)
    fresh(LONG, tmp_path)
    before = kept(tmp_path)
    assert len(before) == 3
    die_at(number)
    killed = False
    try:
        WorkFolder(tmp_path).prepare(resume=False)
    except Killed:
        killed = True
    monkeypatch.undo()
    assert killed == (number < 11)  # or the range above reaches no end
    if resumes and (tmp_path / "checkpoint.pt").is_file():
        assert kept(tmp_path) == before  # not begun: it goes on
        return
    WorkFolder(tmp_path).prepare(resume=resumes)
    assert kept(tmp_path / "previous") == before
    assert [item.name for item in tmp_path.iterdir()] == ["previous"]


def test_a_longer_training_is_not_overwritten(tmp_path: Path) -> None:
    fresh(LONG, tmp_path)
    longer = kept(tmp_path)
    fresh(SHORT, tmp_path)
    shorter = kept(tmp_path)
    for _ in range(3):  # ever the same one: it takes its own place
        fresh(SHORT, tmp_path)
    assert kept(tmp_path / "previous") == longer
    assert kept(tmp_path / "previous-2").keys() == shorter.keys()
    assert sorted(item.name for item in tmp_path.iterdir() if item.is_dir()) == ["previous", "previous-2"]


def test_a_folder_with_other_things_is_not_overwritten(tmp_path: Path) -> None:
    fresh(SHORT, tmp_path)
    (tmp_path / "previous").mkdir()
    (tmp_path / "previous/notes.txt").write_text("mine")
    fresh(LONG, tmp_path)
    assert [item.name for item in (tmp_path / "previous").iterdir()] == ["notes.txt"]
    assert len(kept(tmp_path / "previous-2")) == 3


def test_weights_whose_checkpoint_is_gone_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh(LONG, tmp_path)
    (tmp_path / "checkpoint.pt").unlink()
    before = kept(tmp_path)
    fresh(SHORT, tmp_path)
    assert kept(tmp_path / "previous") == before
    assert "held 3 epochs of a training that cannot be resumed" in capsys.readouterr().out


def test_a_finished_training_is_set_aside_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh(SHORT, tmp_path)
    fresh(SHORT, tmp_path)
    assert capsys.readouterr().out == ""


# -------------------------------------------------------------------------- what a checkpoint says

AT_ODDS: dict[str, tuple[Any, str]] = {
    "epochs_done": (4, "field 'epochs_done': found 4, expected at most 3"),
    "step": (11, "field 'step': found 11, expected 12"),
    "epochs": (5, "field 'epochs': found 5, expected 3"),
    "best_epoch": (3, "field 'best_epoch': found 3 after 3 epochs"),
    "best_sha256": (None, "field 'best_sha256': expected one where there is a best epoch"),
    "best_value": (float("nan"), "field 'best_value': found nan"),
    "log_bytes": (1.5, "field 'log_bytes': found 1.5"),
    "log_sha256": ("0" * 63, "field 'log_sha256': found '000"),
    "recipe": ("{", "field 'recipe': found no JSON document"),
    "optimizer": ([], "field 'optimizer': found list, expected a mapping"),
    "model": (None, "field 'model': found NoneType, expected a mapping"),
}


@pytest.mark.parametrize("field", AT_ODDS)
def test_a_checkpoint_at_odds_with_itself_is_refused(tmp_path: Path, field: str) -> None:
    fresh(LONG, tmp_path)
    path = tmp_path / "checkpoint.pt"
    value, message = AT_ODDS[field]
    torch.save(state_of(path) | {field: value}, path)
    before = kept(tmp_path)
    with pytest.raises(UserError) as caught:
        run(toy_model(), LONG, tmp_path, resume=True)
    assert str(caught.value).startswith(f"{path.as_posix()}: {message}")
    assert str(caught.value).endswith("; train anew without --resume")
    assert kept(tmp_path) == before


def test_a_checkpoint_of_an_earlier_format_says_so(tmp_path: Path) -> None:
    fresh(SHORT, tmp_path)
    path = tmp_path / "checkpoint.pt"
    torch.save(state_of(path) | {"format": EARLIER}, path)
    with pytest.raises(
        UserError, match=rf"found {EARLIER}, which has no checksums, expected {FORMAT}; train"
    ):
        run(toy_model(), SHORT, tmp_path, resume=True)


def test_a_checkpoint_of_another_seed_is_refused(tmp_path: Path) -> None:
    """Seeds share a digest."""
    fresh(SHORT, tmp_path)
    recipe = {"method": "toy", "training": {"seed": 1, "batch_size": 12}}
    with pytest.raises(UserError, match=r"another recipe \(training\.seed: 0, now 1\)"):
        run(toy_model(), SHORT, tmp_path, resume=True, recipe=recipe)


# ------------------------------------------------------------------------------------ best weights


def test_weights_of_another_training_are_refused(tmp_path: Path) -> None:
    fresh(LONG, tmp_path / "one")
    model = toy_model(seed=5)
    run(model, LONG, tmp_path / "two")
    foreign = (tmp_path / "two/best.safetensors").read_bytes()
    (tmp_path / "one/best.safetensors").write_bytes(foreign)
    for attempt in (
        lambda: run(toy_model(), LONG, tmp_path / "one", resume=True),
        lambda: check_trained(tmp_path / "one"),
    ):
        with pytest.raises(UserError, match=r"best\.safetensors: found sha256 \w{12}, expected \w{12}"):
            attempt()


def test_weights_that_change_during_a_training_are_not_scored(tmp_path: Path) -> None:
    run(toy_model(seed=5), LONG, tmp_path / "two")
    foreign = (tmp_path / "two/best.safetensors").read_bytes()

    def meddle(entry: dict[str, Any]) -> None:
        if entry["epoch"] == 2:
            (tmp_path / "one/best.safetensors").write_bytes(foreign)

    with pytest.raises(UserError, match=r"best\.safetensors: found other weights than this training wrote"):
        run(toy_model(), LONG, tmp_path / "one", on_epoch=meddle)


def test_a_log_that_changes_during_a_training_is_no_result(tmp_path: Path) -> None:
    def meddle(entry: dict[str, Any]) -> None:
        if entry["epoch"] == 1:
            with (tmp_path / "log.jsonl").open("a") as handle:
                handle.write('{"epoch":9}\n')

    with pytest.raises(UserError, match=r"log\.jsonl: found sha256 \w{12}, .* another program changed it"):
        run(toy_model(), LONG, tmp_path, on_epoch=meddle)


def test_weights_without_a_checkpoint_are_remarked_on(tmp_path: Path) -> None:
    fresh(SHORT, tmp_path)
    assert check_trained(tmp_path) is None
    assert read_facts(tmp_path / "checkpoint.pt").epochs_done == 1
    (tmp_path / "checkpoint.pt").unlink()
    assert "no checkpoint lies beside them" in str(check_trained(tmp_path))
