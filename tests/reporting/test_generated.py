"""Generated files: written whole, the same byte for byte anywhere, stale ones named, left-over ones removed."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.files import sha256_bytes
from benchmark.places import RUNS, STUDIES, TABLES
from benchmark.records.checksums import LIST, changed_inputs, checksum_list
from benchmark.records.paper import load_papers
from benchmark.records.record import RunRecord, new_record, write_record
from benchmark.records.sidecar import pack, write_sidecar
from benchmark.reporting import generated
from benchmark.reporting.generated import check_generated, generated_files, write_generated
from tests.paths import ROOT
from tests.reporting import factory
from tests.reporting.leaderboard.test_rows import PAPERS, sgr
from tests.reporting.writers.samples import RECORDS

FORMATS = ("md", "html", "tex", "csv", "json")
PROTOCOLS = ("flickr30k", "mscoco-1k", "mscoco-5k", "cuhk-pedes", "scenes")


def save(record: RunRecord, root: Path) -> None:
    """Write the record with a sidecar of its own."""
    packed = pack(factory.sidecar(record.seed, protocols=list(record.results)))
    whole = new_record(**record.model_dump(mode="json") | {"sidecar_sha256": sha256_bytes(packed)})
    write_sidecar(packed, whole, root / RUNS)
    write_record(whole, root / RUNS)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Records of two protocols, with their sidecars, and the papers' numbers."""
    papers = tmp_path / "results/paper"
    papers.mkdir(parents=True)
    for path in PAPERS.glob("*.yaml"):
        (papers / path.name).write_bytes(path.read_bytes())
    for record in RECORDS:
        save(record, tmp_path)
    return tmp_path


def names(paths: list[Path], home: Path) -> set[str]:
    return {path.relative_to(home).as_posix() for path in paths}


def contents(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home / TABLES).iterdir()}


def test_everything_is_written_and_twice_the_same(home: Path) -> None:
    written = write_generated(home)
    expected = {f"results/tables/{name}.{kind}" for name in PROTOCOLS for kind in FORMATS}
    expected |= {"results/tables/README.md", "results/report.html", LIST.as_posix()}
    assert names(written.files, home) == names(written.changed, home) == expected
    before = contents(home)
    assert check_generated(home) == []
    assert write_generated(home).changed == []
    for path in written.files:
        path.unlink()
    write_generated(home)
    assert contents(home) == before
    assert all(b"\r" not in content and content.endswith(b"\n") for content in before.values())


def test_stale_and_missing_files_are_named(home: Path) -> None:
    write_generated(home)
    (home / TABLES / "scenes.csv").write_text("edited")
    (home / TABLES / "flickr30k.tex").unlink()
    stale = {"results/tables/scenes.csv", "results/tables/flickr30k.tex"}
    assert names(check_generated(home), home) == stale
    assert names(write_generated(home).changed, home) == stale
    save(sgr(3), home)
    assert names(check_generated(home), home) == {
        *(f"results/tables/flickr30k.{kind}" for kind in FORMATS),
        LIST.as_posix(),
        "results/report.html",
    }


def test_files_without_runs_go_and_other_files_stay(home: Path) -> None:
    write_generated(home)
    (home / TABLES / "mine.md").write_text("notes")
    (home / RUNS / "scenes/hat-i2t/0.json").unlink()
    gone = {f"results/tables/scenes.{kind}" for kind in FORMATS}
    assert gone <= names(check_generated(home), home)
    assert gone <= names(write_generated(home).changed, home)
    left = {f"results/tables/{name}" for name in contents(home)}
    assert not gone & left
    assert "results/tables/mine.md" in left
    assert check_generated(home) == []


def test_no_runs_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run records; make some with `rematch reproduce hat`"):
        write_generated(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["record", "sidecar"])
def test_a_faulty_record_leaves_all_files_as_they_are(home: Path, fault: str) -> None:
    write_generated(home)
    before = contents(home)
    path = home / RUNS / "flickr30k/sgr" / {"record": "9.json", "sidecar": "0.npz"}[fault]
    path.write_text('{"schema_version": 1')
    with pytest.raises(UserError, match=f"sgr/{path.name}"):
        write_generated(home)
    assert contents(home) == before


def test_the_checksums_are_those_of_sha256sum(home: Path) -> None:
    for line in checksum_list(home).splitlines():
        digest, name = line.split("  ")
        assert sha256_bytes((home / name).read_bytes()) == digest
    assert {line.split("  ")[1] for line in checksum_list(home).splitlines()} == {
        path.relative_to(home).as_posix() for path in (home / RUNS).rglob("*.*") if path.is_file()
    }


def test_changed_new_and_missing_records_are_named(home: Path) -> None:
    assert changed_inputs(home) == []  # nothing was written yet
    write_generated(home)
    assert changed_inputs(home) == []
    folder = home / RUNS / "flickr30k"
    (folder / "sgr/0.json").write_text((folder / "sgr/0.json").read_text() + " ")
    (folder / "sgr/1.npz").unlink()
    save(sgr(7), home)
    found = {path.relative_to(folder).as_posix() for path in changed_inputs(home)}
    assert found == {"sgr/0.json", "sgr/1.npz", "sgr/7.json", "sgr/7.npz"}


ELSEWHERE = """
import sys
from pathlib import Path
from benchmark.files import sha256_bytes
from benchmark.reporting.generated import generated_files
root = Path(sys.argv[1])
for path, content in generated_files(root).items():
    print(sha256_bytes(content), path.relative_to(root).as_posix())
"""


def test_the_same_bytes_with_other_hashes_locale_and_folder(chosen: Path, tmp_path: Path) -> None:
    changed = {"PYTHONHASHSEED": "1", "LC_ALL": "C", "LANG": "C", "TZ": "Pacific/Auckland", "COLUMNS": "40"}
    environment = {**os.environ, **changed, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", ELSEWHERE, str(chosen)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {name: digest for digest, name in (line.split(" ", 1) for line in done.stdout.splitlines())}
    made = {*(chosen / TABLES).iterdir(), chosen / "results/report.html", *(chosen / STUDIES).glob("*.[!j]*")}
    assert found == {path.relative_to(chosen).as_posix(): sha256_bytes(path.read_bytes()) for path in made}


def test_the_committed_files_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything generated, tables and all; `rematch leaderboard` makes it so."""
    committed = generated_files(ROOT)
    assert committed
    for path, content in committed.items():
        assert path.is_file(), f"{path.relative_to(ROOT)} is missing; run `rematch leaderboard`"
        assert path.read_bytes() == content, (
            f"{path.relative_to(ROOT)} is out of date; run `rematch leaderboard`"
        )
    monkeypatch.setattr(generated, "generated_files", lambda _root: committed)  # which takes seconds
    assert check_generated(ROOT) == []


@pytest.mark.parametrize("protocol", ["flickr30k", "mscoco-1k", "mscoco-5k"])
def test_the_committed_tables_list_every_row_of_the_papers(protocol: str) -> None:
    """With its number and the command to run it, or that no recipe does; in every format by its name."""
    tables = {kind: (ROOT / TABLES / f"{protocol}.{kind}").read_text(encoding="utf-8") for kind in FORMATS}
    rows = {(row["method"], row["variant"]): row for row in csv.DictReader(tables["csv"].splitlines())}
    reported = [(paper.method, row) for paper in load_papers(PAPERS) for row in paper.rows]
    mine = [(method, row) for method, row in reported if row.dataset == protocol]
    assert len(mine) > 20
    for method, paper in mine:
        row = rows[method, paper.variant]
        assert row["i2t_r1_paper"] == (
            "" if paper.value("i2t_r1") is None else f"{paper.value('i2t_r1'):.4f}"
        )
        waits = row["n_seeds"] == "0"
        assert (
            not waits
            or row["command"].startswith("nox -s reproduce-")
            or row["verdict"] == "no recipe of it here"
        )
        assert row["command"] in tables["md"]
        for kind in ("md", "html", "tex", "json"):
            assert row["title"] in tables[kind]
