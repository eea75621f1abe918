"""A run that is killed at any write, runs beside another, or finds a byte changed never leaves a wrong record."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmark.records.record import read_all
from benchmark.records.study import read_results
from benchmark.training.checkpoints import read_facts
from tests.run.killing import REPRODUCE, STUDIED, Ended, Server, make_toy_home, serving
from tests.tiny import contents

ONE = Path("recipes/toy/scenes-one.yaml")
RUN = ("reproduce", ONE.as_posix(), "--no-latency", "--no-progress", "--device", "cpu")
EVALUATE = ("evaluate", "--recipe", ONE.as_posix(), "--device", "cpu", "--no-progress")
CHECK = ("leaderboard", "--check")
WORK = Path(".rematch/scenes/toy-one/0")
MOMENTS = range(15)
"""Equal parts of the writes of a run, in each of which it is killed once."""
STUDY_MOMENTS = range(5)
STUDY_FILE = Path("results/studies/widths.json")
INTERRUPTED = 26
"""A write in the third of three epochs, after its log line."""


@dataclass(frozen=True)
class Whole:
    """What a run leaves that nothing disturbed."""

    home: Path
    said: Ended
    server: Server

    @property
    def hashes(self) -> dict[Path, str]:
        return hashes(self.home)


def hashes(home: Path) -> dict[Path, str]:
    """Canonical hash of every record."""
    return {record.path: record.canonical_hash for record in read_all(home / "results/runs")}


def lasting(home: Path) -> dict[str, str]:
    """Digests of the files that hold no times, and so are the same after every run."""
    return {
        name: digest
        for name, digest in contents(home).items()
        if name.endswith((".npz", ".npy", ".safetensors", "sims.json", "vocabulary.json"))
        or (name.startswith("results/tables/") and not name.endswith("records.sha256"))
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("said")) as running:
        warm = make_toy_home(tmp_path_factory.mktemp("warm") / "home")  # modules are imported, once for all
        for command in (REPRODUCE, STUDIED, EVALUATE, CHECK):
            running.run(warm, *command)
        yield running


def finished(folder: Path, server: Server, *command: str) -> Whole:
    home = make_toy_home(folder / "home")
    said = server.run(home, *command)
    assert (said.code, said.err) == (0, "")
    return Whole(home, said, server)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Whole:
    """Two toys, their ensemble, tables."""
    return finished(tmp_path_factory.mktemp("whole"), server, *REPRODUCE)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Whole:
    """One toy, tables."""
    return finished(tmp_path_factory.mktemp("single"), server, *RUN)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Whole:
    return finished(tmp_path_factory.mktemp("study"), server, *STUDIED)


def moment(number: int, of: range, writes: int) -> int:
    """A random write of the `number`-th part of them all."""
    first, last = (writes * part // len(of) for part in (number, number + 1))
    return random.Random(number).randrange(first, last)


def one_line(ended: Ended) -> str:
    """The error of a command that was refused."""
    assert ended.code == 2, ended
    (line,) = ended.err.splitlines()
    assert line.startswith("error: "), line
    return line.removeprefix("error: ")


# ---------------------------------------------------------------------------------------------- kills


@pytest.mark.parametrize("number", MOMENTS)
def test_a_run_killed_at_a_write_ends_as_one_that_was_not(
    whole: Whole, server: Server, tmp_path: Path, number: int
) -> None:
    home = make_toy_home(tmp_path / "home")
    at = moment(number, MOMENTS, whole.said.writes)
    assert server.run(home, *REPRODUCE, kill_before=at).code == -signal.SIGKILL
    resumed = server.run(home, *REPRODUCE, "--resume")
    assert (resumed.code, resumed.err) == (0, ""), at
    assert hashes(home) == whole.hashes, at
    assert lasting(home) == lasting(whole.home), at
    assert contents(home).keys() == contents(whole.home).keys(), at  # nothing lost, nothing left over


@pytest.mark.parametrize("number", STUDY_MOMENTS)
def test_a_study_killed_at_a_write_ends_as_one_that_was_not(
    study: Whole, server: Server, tmp_path: Path, number: int
) -> None:
    home = make_toy_home(tmp_path / "home")
    at = moment(number, STUDY_MOMENTS, study.said.writes)
    assert server.run(home, *STUDIED, kill_before=at).code == -signal.SIGKILL
    again = server.run(home, *STUDIED)
    assert (again.code, again.err) == (0, ""), at
    found, expected = (
        [run.model_copy(update={"seconds": 0.0}) for run in read_results(place / STUDY_FILE).runs]
        for place in (home, study.home)
    )
    assert found == expected, at
    assert contents(home).keys() == contents(study.home).keys(), at


@pytest.mark.parametrize("part", [0.3, 0.6])
def test_a_run_killed_between_writes(whole: Whole, server: Server, tmp_path: Path, part: float) -> None:
    """By the clock, which may also find it at its end."""
    home = make_toy_home(tmp_path / "home")
    assert server.run(home, *REPRODUCE, kill_after=part).code in (-signal.SIGKILL, 0)
    assert server.run(home, *REPRODUCE, "--resume").code == 0
    assert hashes(home) == whole.hashes
    assert contents(home).keys() == contents(whole.home).keys()


# ------------------------------------------------------------------------------------- two at once


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_two_at_once(whole: Whole, server: Server, tmp_path: Path, more: tuple[str, ...]) -> None:
    home = make_toy_home(tmp_path / "home")
    first = server.start(home, *REPRODUCE, pause_before=20)
    server.paused(first)  # in the middle of the first toy
    assert (home / WORK / "log.jsonl").is_file()
    before = contents(home)
    error = one_line(server.run(home, *REPRODUCE, *more))
    assert error == (
        f"{WORK.as_posix()}/lock: found another process at work on this run, expected none; "
        "wait until it has ended, then run again"
    )
    assert contents(home) == before
    os.kill(first, signal.SIGCONT)
    ended = server.wait(first)
    assert (ended.code, ended.err) == (0, "")
    assert hashes(home) == whole.hashes
    assert contents(home).keys() == contents(whole.home).keys()


def test_a_study_beside_itself(study: Whole, server: Server, tmp_path: Path) -> None:
    home = make_toy_home(tmp_path / "home")
    first = server.start(home, *STUDIED, pause_before=20)
    server.paused(first)
    assert one_line(server.run(home, *STUDIED)).startswith(
        ".rematch/studies/widths/wide/0.lock: found another"
    )
    os.kill(first, signal.SIGCONT)
    assert server.wait(first).code == 0
    assert contents(home).keys() == contents(study.home).keys()


def test_a_killed_process_leaves_no_lock(server: Server, tmp_path: Path) -> None:
    home = make_toy_home(tmp_path / "home")
    assert server.run(home, *RUN, kill_before=20).code == -signal.SIGKILL
    assert (home / WORK / "lock").is_file()  # a file that nobody holds
    assert server.run(home, *RUN, "--resume").code == 0


# ------------------------------------------------------------------------------------------ damage


def damaged(home: Path, target: Path, name: str, draw: int, bit: int = 1) -> Path:
    """A copy of a home, one bit of one file flipped."""
    shutil.copytree(home, target)
    content = bytearray((target / name).read_bytes())
    content[random.Random(f"{name} {draw}").randrange(len(content))] ^= bit
    (target / name).write_bytes(content)
    return target


def files_of(home: Path) -> list[str]:
    """What a run wrote; locks are empty."""
    written = [name for name in contents(home) if name.startswith((".rematch", "results"))]
    return [name for name in written if "/paper/" not in name and (home / name).stat().st_size]


def test_every_file_of_a_finished_run_with_a_flipped_bit(
    single: Whole, server: Server, tmp_path: Path
) -> None:
    said = server.run(single.home, *EVALUATE).out
    assert server.run(single.home, *CHECK).code == 0
    names = files_of(single.home)
    assert len(names) >= 13, names
    for number, name in enumerate(names):
        home = damaged(single.home, tmp_path / f"{number}", name, 0)
        before = contents(home / "results")
        checked, evaluated = server.run(home, *CHECK), server.run(home, *EVALUATE)
        assert contents(home / "results") == before, name
        assert (checked.code == 0) == name.startswith(".rematch"), (name, checked)
        assert "Traceback" not in checked.err, (name, checked)
        if evaluated.code:
            assert name.startswith(WORK.as_posix()), (name, evaluated)
            one_line(evaluated)
        else:
            assert evaluated.out == said, name
        unaffected_or_refused(server.run(home, *RUN, "--resume", "--no-tables"), home, single, before, name)


@pytest.mark.parametrize("name", ["tables/records.sha256", "tables/scenes.md", "runs/scenes/toy-one/0.json"])
def test_a_byte_that_is_no_text(single: Whole, server: Server, tmp_path: Path, name: str) -> None:
    home = damaged(single.home, tmp_path / "home", f"results/{name}", 0, bit=128)
    checked = server.run(home, *CHECK)
    assert checked.code in (1, 2)
    assert "Traceback" not in checked.err, checked


KINDS = ("checkpoint.pt", "best.safetensors", "log.jsonl", "vocabulary.json")


def test_every_file_of_an_interrupted_run_with_a_flipped_bit(
    single: Whole, server: Server, tmp_path: Path
) -> None:
    broken = make_toy_home(tmp_path / "broken")
    assert server.run(broken, *RUN, "--no-tables", kill_before=INTERRUPTED).code == -signal.SIGKILL
    names = [f"{WORK.as_posix()}/{kind}" for kind in KINDS]
    assert set(names) <= set(files_of(broken))
    said, refusals = server.run(broken, *EVALUATE), []
    assert said.code == 0, said
    for number, (name, draw) in enumerate((name, draw) for name in names for draw in range(2)):
        home = damaged(broken, tmp_path / f"{number}", name, draw)
        evaluated = server.run(home, *EVALUATE)
        assert evaluated.code == 2 or evaluated.out == said.out, (name, evaluated)
        resumed = server.run(home, *RUN, "--resume", "--no-tables")
        unaffected_or_refused(resumed, home, single, {}, name)
        refusals += [Path(name).name] if resumed.code else []
    assert set(refusals) == set(KINDS)


def unaffected_or_refused(ended: Ended, home: Path, whole: Whole, results: dict[str, str], name: str) -> None:
    """A command that ended with the record of the whole run, or in one line that leaves the results as they were."""
    if ended.code:
        line = one_line(ended)
        assert Path(name).name in line, (name, line)
        assert (contents(home / "results/runs") if not results else contents(home / "results")) == results, (
            name
        )
        return
    assert hashes(home) == whole.hashes, name
    kept = {key: value for key, value in lasting(whole.home).items() if not key.startswith("results/tables")}
    assert {key: value for key, value in lasting(home).items() if key in kept} == kept, name


# ---------------------------------------------------------------------------------------- set aside


def test_an_interrupted_training_is_spoken_of_and_never_lost(
    single: Whole, server: Server, tmp_path: Path
) -> None:
    home = make_toy_home(tmp_path / "home")
    assert server.run(home, *RUN, kill_before=INTERRUPTED).code == -signal.SIGKILL
    before = {name: (home / WORK / name).read_bytes() for name in KINDS}
    said = server.run(home, *RUN, kill_before=19)
    assert said.code == -signal.SIGKILL
    assert f"note: {WORK.as_posix()} held a training that was interrupted after 2 of 3 epochs" in said.out
    assert f"now in {WORK.as_posix()}/previous. To go on with it, stop this one, move these files" in said.out
    previous = home / WORK / "previous"
    assert {name: (previous / name).read_bytes() for name in KINDS} == before
    assert server.run(home, *RUN).code == 0  # the one that was killed after an epoch is shorter
    assert {name: (previous / name).read_bytes() for name in KINDS} == before
    assert read_facts(home / WORK / "previous-2/checkpoint.pt").epochs_done == 1
    assert hashes(home) == single.hashes
    for name in KINDS:  # the advice works
        shutil.copy(previous / name, home / WORK / name)
    assert server.run(home, *RUN, "--resume").code == 0
    assert hashes(home) == single.hashes
