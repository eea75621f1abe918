"""Runs of recipes that leave the source of region features open: SCAN's where they are at hand, else the detector's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import Tensor

from benchmark.data.regions.detector import Detector
from benchmark.data.regions.detector.boxes import Bounds
from benchmark.data.regions.detector.detector import Seen
from benchmark.data.regions.detector.network import Architecture
from benchmark.data.regions.exported import MARK, Mark
from benchmark.errors import UserError
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import DETECTED, AutoRegions, DetectorRegions, Recipe
from benchmark.records.record import RunRecord, read_record
from benchmark.records.signature import differences, parse
from benchmark.run import extraction, plan, probe
from benchmark.run.names import find_run
from benchmark.run.runs import read_run
from benchmark.statistics.verdict import judge
from tests.data.region_files import scan_part
from tests.data.regions.fake_detector import WIDTH, put_in_place
from tests.hub.repositories import write_parquet
from tests.hub.rows import flickr8k_rows
from tests.paths import ROOT
from tests.recipe.scan_runs import CHANGES, make_scan_home, shrink
from tests.tiny import rematch

SAF = "sgraf/flickr30k-saf"
RECIPE = Path(f"recipes/{SAF}.yaml")
OPEN = [
    path
    for path in sorted((ROOT / "recipes").glob("*/*.yaml"))
    if isinstance(recipe := load_recipe(path), Recipe) and isinstance(recipe.data.regions, AutoRegions)
]
SHORT = {**CHANGES["sgraf"], "training.stages": [{"epochs": 1, "loss": {"hardest": False}}]}
PLAIN = ("--no-latency", "--no-tables", "--no-progress", "--device", "cpu")


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with SCAN's arrays in `precomp`."""
    scan_part(tmp_path / "precomp", "test", 3)
    monkeypatch.chdir(tmp_path)
    return Path("precomp")


def record_at(folder: Path, run: str) -> RunRecord:
    return read_record(folder / f"results/runs/flickr30k/{run}/0.json")


# --------------------------------------------------------------------------------- what `auto` means


def test_every_full_size_recipe_of_the_five_methods_is_open() -> None:
    assert len(OPEN) == 32
    assert {path.parent.name for path in OPEN} == {"rcar", "sgraf", "temde", "user", "vse_infty"}


@pytest.mark.parametrize("path", OPEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_without_scans_folder_the_detector_makes_the_features_and_the_run_says_so(
    scan: Path, path: Path
) -> None:
    found = read_run(path)
    assert found.single.data.model_dump()["regions"]["source"] == "detector"
    assert DETECTED in found.single.summary
    assert not {"published", "released", "bottom-up"} & set(
        found.single.summary.replace("-attention", "").split()
    )
    assert found.name.endswith("-detector")
    stored = read_run(path, data_dir=scan)
    assert stored.single.data.model_dump()["regions"] == {"source": "scan"}
    plain = load_recipe(path)
    assert stored.single.summary == plain.summary
    assert found.name == f"{stored.name}-detector"
    same = plain.model_copy(update={"data": stored.single.data})
    assert stored.single == same


def test_an_ensemble_is_called_like_its_members(scan: Path) -> None:
    path = ROOT / "recipes/rcar/flickr30k-ensemble.yaml"
    found, stored = read_run(path), read_run(path, data_dir=scan)
    assert (found.name, stored.name) == ("rcar-ensemble-detector", "rcar-ensemble")
    assert found.recipe.summary.endswith(f"; {DETECTED}")
    assert stored.recipe == load_recipe(path)


@pytest.mark.parametrize("kind", ["ims.npy", "caps.txt"])
def test_half_a_scan_folder_is_one(scan: Path, kind: str) -> None:
    (scan / f"test_{kind}").unlink()
    assert not read_run(OPEN[0], data_dir=scan).detected


def test_any_other_folder_is_one_of_pictures(tmp_path: Path) -> None:
    write_parquet("AnyModal/flickr30k", flickr8k_rows({"train": 1, "val": 1, "test": 1}), tmp_path)
    assert read_run(OPEN[0], data_dir=tmp_path).detected


# ----------------------------------------------------------------------- SCAN's folder, as it always was


def train(folder: Path, *arguments: str, **changes: object) -> RunRecord:
    """The record of a short training in a folder, on the data that the arguments name."""
    shrink(folder, SAF, {**SHORT, **changes})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        said = rematch("reproduce", RECIPE, *PLAIN, *arguments, "--unverified")
    assert said.code == 0, said.err
    return record_at(folder, "sgraf-saf-detector" if "pictures" in arguments else "sgraf-saf")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after a run on SCAN's features, and one on the detector's of pictures in a folder."""
    folder = make_scan_home(tmp_path_factory.mktemp("both"), "test")
    train(folder, "--data-dir", "precomp")
    rows = flickr8k_rows({"train": 30, "val": 4, "test": 6})
    write_parquet("AnyModal/flickr30k", rows, folder / "pictures")
    (folder / "one.jpg").write_bytes(rows[0].image)
    with pytest.MonkeyPatch.context() as patch:
        put_in_place(patch)
        train(folder, "--data-dir", "pictures", **{"model.region_dim": WIDTH})
    return folder


@pytest.fixture
def there(both: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, as the current one."""
    put_in_place(monkeypatch)
    monkeypatch.chdir(both)
    return both


def test_a_run_on_scans_folder_is_that_of_a_recipe_that_says_scan(tmp_path: Path, both: Path) -> None:
    one = record_at(both, "sgraf-saf")
    told = {"data.regions": {"source": "scan"}}
    other = train(make_scan_home(tmp_path, "test"), "--data-dir", "precomp", **told)
    assert one.recipe["data"]["regions"] == {"source": "scan"}
    assert one.recipe_digest == other.recipe_digest
    assert one.canonical_hash == other.canonical_hash
    assert one.departures == other.departures
    assert one.results["flickr30k"].signature == other.results["flickr30k"].signature
    assert "features" not in one.model_dump(mode="json")["dataset"]
    assert not [text for text in one.departures if DETECTED in text]


# ------------------------------------------------------------------------ the detector's, side by side


def test_neither_run_takes_the_place_of_the_other_nor_is_compared_with_it(there: Path) -> None:
    stored, found = record_at(there, "sgraf-saf"), record_at(there, "sgraf-saf-detector")
    assert stored.recipe["data"]["regions"] == {"source": "scan"}
    assert found.recipe["data"]["regions"]["source"] == "detector"
    assert found.recipe_digest != stored.recipe_digest
    lines = [parse(record.results["flickr30k"].signature) for record in (stored, found)]
    assert "features" in differences(*lines)
    (note,) = [note for note in found.notes if note.startswith(f"{DETECTED}: ")]
    assert "36 of 300 proposals at 600/1000" in note
    verdict = judge(
        [400.0] * 5, 400.0, test_noise=1.0, departures=found.departures[1:]
    )  # but for `unverified`
    assert verdict.kind == "not comparable"
    assert judge([400.0, 400.1, 400.2], 400.0, test_noise=1.0, departures=[]).kind == "reproduced"


def test_a_run_is_found_with_the_features_that_it_read(there: Path) -> None:
    assert not find_run("sgraf-saf", data_dir=Path("precomp")).detected
    assert find_run("sgraf-saf-detector", data_dir=Path("pictures")).name == "sgraf-saf-detector"
    with pytest.raises(UserError, match="it read SCAN's region features; name their folder with --data-dir"):
        find_run("sgraf-saf")
    with pytest.raises(
        UserError, match="it read the project's detector's region features; leave out --data-dir"
    ):
        find_run("sgraf-saf-detector", data_dir=Path("precomp"))
    assert there.is_dir()


def test_a_new_picture_can_be_asked_about(there: Path) -> None:
    where = ("--data-dir", "pictures", "--unverified", "--device", "cpu", "--no-progress")
    said = rematch("query", "sgraf-saf-detector", "--image", "one.jpg", "--top", "2", *where).good
    assert "2 of 30 captions of flickr30k test" in said
    assert len(list((there / ".rematch/features").glob("detector-*/*.safetensors"))) == 3  # none of the query


# ------------------------------------------------------------------------------------ exported folders


def test_runs_from_an_exported_folder_are_the_detectors(scan: Path) -> None:
    shutil.copytree(scan, "exported")
    mark = Mark(
        dataset="flickr30k", features="detector-caffe-0a1b2c3d", departures=[f"{DETECTED} (caffe mode)"]
    )
    Path("exported", MARK).write_text(json.dumps(mark.model_dump()))
    found = read_run(OPEN[0], data_dir=Path("exported"))
    assert found.detected
    assert found.single.data.model_dump()["regions"] == {"source": "scan"}
    assert DETECTED in found.single.summary
    assert found.name.endswith("-detector")
    Path("exported", MARK).write_text('{"dataset": 1}')
    with pytest.raises(UserError, match=r"exported/rematch\.json: not the mark of an export"):
        read_run(OPEN[0], data_dir=Path("exported"))


# ------------------------------------------------------------------------------------------ estimates


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that takes two seconds, without the full-size network."""
    monkeypatch.setattr(extraction, "time_picture", lambda _: extraction.TimedPicture(2.0, 1_500_000_000))
    growth = probe.CostGrowth(0, 0.5, 0), probe.CostGrowth(0, 1000, 0)
    monkeypatch.setattr(plan, "probe", lambda *_, **__: growth)


@pytest.mark.usefixtures("timed")
def test_a_dry_run_tells_what_the_extraction_takes(scan: Path) -> None:
    shrink(Path(), SAF, CHANGES["sgraf"])
    said = rematch("reproduce", RECIPE, "--dry-run", "--device", "cpu", "--format", "csv").good
    assert "unc-nlp/frcnn-vg-finetuned: about 0.26 GB to download, the detector's weights" in said
    assert f"{DETECTED}, of 31,000 pictures, once: about 17.2 hours on one CPU thread" in said
    assert "memory up to 1.5 GB in all, 4.6 GB on disk" in said  # 31,000 * 36 * 2048 * 2
    stored = rematch("reproduce", RECIPE, "--dry-run", "--device", "cpu", "--data-dir", scan).good
    assert DETECTED not in stored
    assert "nothing: the features are in the folder that --data-dir names" in stored


def test_the_network_that_is_timed_looks_at_as_many_boxes_as_the_real_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look, counts = Detector.look, list[int]()

    def counted(self: Detector, pixels: Tensor, bounds: Bounds) -> Iterator[Seen]:
        for seen in look(self, pixels, bounds):
            assert bool(seen.pooled.isfinite().all())
            counts.append(len(seen.proposals))
            yield seen

    monkeypatch.setattr(Detector, "look", counted)
    narrow = Architecture(stem=4, inner=2, outer=4, blocks=(1, 1, 1, 1), hidden=4, classes=20)
    found = extraction.time_picture(DetectorRegions(source="detector"), narrow)
    assert counts == [300]
    assert found.seconds > 0
    assert found.memory_bytes > 1e7
