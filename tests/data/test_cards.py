"""Cards are found in the current folder and in packages, and make datasets that the catalogue knows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmark.data import cards
from benchmark.data.cards import card_names, find_card
from benchmark.data.load import load_dataset
from benchmark.data.published.catalogue import dataset_names, find_entry, get_entry
from benchmark.errors import UserError
from benchmark.evaluation.protocol import choose_protocols, protocols_of
from tests.data.own.sources import bring_in, captions_folder

pytestmark = pytest.mark.usefixtures("work")


def test_a_card_is_an_entry_of_the_catalogue(tmp_path: Path) -> None:
    assert find_entry("mine") is None
    bring_in(captions_folder(tmp_path / "source", split=True))
    entry = get_entry("mine")
    assert (entry.embedded, entry.local, entry.counts) == (False, True, {"train": 8, "val": 2, "test": 2})
    assert card_names() == ["mine"]
    assert dataset_names()[-1] == "mine"
    assert [(item.name, item.folds, item.chance) for item in protocols_of("mine")] == [("mine", 1, True)]
    assert choose_protocols("mine", "whole") == protocols_of("mine")
    with pytest.raises(UserError, match="unknown dataset 'mime'; did you mean 'mine'"):
        get_entry("mime")


def test_whole_is_the_one_gallery_of_any_dataset() -> None:
    assert [item.name for item in choose_protocols("mscoco", "whole")] == ["mscoco-5k"]
    assert [item.name for item in choose_protocols("flickr30k", "whole")] == ["flickr30k"]
    assert [item.name for item in choose_protocols(None, "whole")] == ["own"]


def test_a_package_brings_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Path) -> None:
    """A real entry point of an installed distribution, the card's source lying beside it."""
    package = tmp_path / "package"
    captions_folder(package / "source", split=True)
    monkeypatch.chdir(package)
    bring_in("source", "shipped")
    (package / "shipped_data.py").write_text(
        "from pathlib import Path\nCARD = Path(__file__).parent / 'datasets' / 'shipped.yaml'\nWRONG = 3\n"
    )
    info = package / "shipped_data-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shipped-data\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rematch.datasets]\nshipped = shipped_data:CARD\nbroken = shipped_data:WRONG\n"
    )
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(str(package))
    cards._entry_points.cache_clear()
    try:
        assert card_names() == ["broken", "shipped"]
        loaded = load_dataset("shipped", captions_per_image=None, show_progress=False)
        assert len(loaded.splits["train"]) == 8
        with pytest.raises(UserError, match=r"entry point 'broken' of rematch.datasets: found int"):
            find_card("broken")
    finally:
        monkeypatch.undo()
        cards._entry_points.cache_clear()
        sys.modules.pop("shipped_data", None)
