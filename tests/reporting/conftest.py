"""A few of the committed documents with what is made of them, shared by the tests of a worker."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmark.places import RUNS
from benchmark.records.checksums import LIST
from tests.paths import ROOT
from tests.reporting.documents import chosen_documents
from tests.tiny import rematch


@pytest.fixture(scope="session")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chosen documents, the claims and what is made of them; leave it as it was."""
    home = tmp_path_factory.mktemp("chosen")
    for folder in ("recipes", "results/paper"):  # claims name recipes
        shutil.copytree(ROOT / folder, home / folder)
    for path in [Path("results/claims.yaml"), *chosen_documents()]:
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, home / path)
        if path.is_relative_to(RUNS):
            shutil.copy((ROOT / path).with_suffix(".npz"), (home / path).with_suffix(".npz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert rematch("leaderboard").code == 0
        said = rematch("leaderboard", "--check").good
        made = [*Path("results/tables").iterdir(), Path("results/report.html")]
        made += [path for path in Path("results/studies").iterdir() if path.suffix != ".json"]
        records = f"{len(LIST.read_text().splitlines())} records, sidecars and studies"
        assert f"checked: {records}, as {LIST.as_posix()} has them; {len(made)} files made of them" in said
    return home
