"""The smallest HAT recipes that go through the whole story, and the command in this process.

40 training images, one epoch of seven steps, 16 test images: a second or two a model.
"""

from __future__ import annotations

import contextlib
import copy
import io
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark import cli
from benchmark.cli.options import console
from benchmark.files import sha256_file
from benchmark.places import STUDIES
from benchmark.records.record import RunRecord, read_record
from benchmark.reporting.studies.runs import render
from tests.paths import ROOT

I2T, T2I, BOTH = (Path(f"recipes/hat/scenes-{variant}.yaml") for variant in ("i2t", "t2i", "ensemble"))

Change = Callable[[dict[str, Any]], None]
"""Something done to a recipe's document."""


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a user's mistake ends with; asserts that nothing else was said there."""
        assert self.code == 2, (self.code, self.out, self.err)
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0].removeprefix("error: ")

    @property
    def good(self) -> str:
        """What was printed by a command that ended well."""
        assert self.code == 0, (self.code, self.out, self.err)
        return self.out


def stale_study_tables(folder: Path = STUDIES) -> list[Path]:
    """Tables of studies that lie there otherwise than they would be made."""
    made = render(folder)
    return [
        path for path, text in made.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def rematch(*arguments: object) -> Outcome:
    """`rematch ...` in this process and folder; an exception that is no user error comes through."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rematch", *map(str, arguments)])
        patch.setattr(console, "width", 200)  # no table is cropped, whatever the terminal
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Outcome(code, out.getvalue(), err.getvalue())


def reproduce(*arguments: object) -> Outcome:
    """`rematch reproduce` without the parts that take time."""
    return rematch("reproduce", *arguments, "--no-latency", "--no-progress", "--device", "cpu")


def tiny_recipe(direction: str = "i2t") -> dict[str, Any]:
    """A recipe's document."""
    model: dict[str, Any] = {
        "direction": direction,
        "hidden": 16,
        "image_size": 64,
        "train_transform": "plain",
        "test_transform": "resize",
        "max_text_length": 16,
        "text_layers": [1, 1, 1],
        "swin": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window": 2},
        "bert": {"layers": 1, "hidden": 16, "heads": 1, "intermediate": 16, "max_position": 16},
    }
    return {
        "summary": "a tiny HAT",
        "method": "hat",
        "departures": ["a model for tests"],
        "paper_row": {"method": "hat", "variant": f"HAT ({direction})"},
        "data": {"name": "scenes", "options": {"n_train": 40, "n_val": 8, "n_test": 16}},
        "model": model,
        "pretrained": False,
        "training": {
            "batch_size": 32,
            "optimizer": {"name": "adam", "lr": 0.001},
            "schedule": {"name": "cosine", "warmup_steps": 2},
            "stages": [{"epochs": 1, "loss": {"margin": 0.2}}],
        },
    }


ENSEMBLE: dict[str, Any] = {
    "summary": "both directions",
    "ensemble": ["scenes-i2t", "scenes-t2i"],
    "departures": [],
    "paper_row": {"method": "hat", "variant": "HAT (i2t + t2i)"},
}


def write_recipe(path: Path, document: dict[str, Any]) -> Path:
    """Write a recipe's document as YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def change_recipe(path: Path, change: Change) -> None:
    """Read a recipe, change it, write it."""
    document = copy.deepcopy(yaml.safe_load(path.read_text(encoding="utf-8")))
    change(document)
    write_recipe(path, document)


def put(keys: str, value: Any) -> Change:
    """Set the field at the dotted path `keys`."""

    def change(document: dict[str, Any]) -> None:
        *path, last = keys.split(".")
        place: Any = document
        for key in path:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        place[last] = value

    return change


def make_home(folder: Path) -> Path:
    """A working folder: tiny recipes for scenes, the real ones for the rest, the papers' numbers."""
    shutil.copytree(ROOT / "results" / "paper", folder / "results" / "paper")
    for path in sorted((ROOT / "recipes" / "hat").glob("*.yaml")):
        if not path.name.startswith("scenes"):
            target = folder / "recipes" / "hat" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    write_recipe(folder / I2T, tiny_recipe("i2t"))
    write_recipe(folder / T2I, tiny_recipe("t2i"))
    write_recipe(folder / BOTH, ENSEMBLE)
    return folder


def record_of(run: str, seed: int = 0, folder: Path = Path()) -> RunRecord:
    """The record of a run on scenes."""
    return read_record(folder / "results/runs/scenes" / run / f"{seed}.json")


def contents(folder: Path = Path()) -> dict[str, str]:
    """Every file below `folder` with the digest of its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def cut_in_half(path: Path) -> None:
    """Damage a file as a full disk or a broken download does."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def refused(*arguments: object) -> str:
    """The error of a command that must leave every file as it was."""
    before = contents()
    error = rematch(*arguments).error
    assert contents() == before
    return error
