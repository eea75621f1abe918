"""The work folder of a training: its files, whether they are those that were written, and earlier trainings set aside.

A training that would be overwritten moves to `previous/`, or to `previous-2/` and so on where a longer one lies there
already. A process that is killed while it moves the files leaves them in `leaving/`; the next one moves on.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmark.data.text.word_codec import KEPT
from benchmark.errors import UserError, shown
from benchmark.files import sha256_file, sweep
from benchmark.training.checkpoints import CheckpointFacts, read_facts, read_notes
from benchmark.training.log import ANEW


@dataclass(frozen=True)
class WorkFolder:
    """The files of one training."""

    root: Path

    @property
    def checkpoint(self) -> Path:
        return self.root / "checkpoint.pt"

    @property
    def best(self) -> Path:
        return self.root / "best.safetensors"

    @property
    def log(self) -> Path:
        return self.root / "log.jsonl"

    @property
    def vocabulary(self) -> Path:
        """The path of the vocabulary of a method that reads words."""
        return self.root / KEPT

    @property
    def files(self) -> list[Path]:
        """The checkpoint first: while files are moved, the folder never looks like a training to go on with."""
        return [self.checkpoint, self.best, self.log, self.vocabulary]

    def prepare(self, resume: bool) -> str | None:
        """Make the folder and sweep it; without `resume`, or with nothing to resume, set the old files aside.

        Returns a note where that was an interrupted training, else None.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        sweep(self.root, *(file.name for file in self.files))
        return None if resume and self.checkpoint.is_file() else self._set_aside()

    def _set_aside(self) -> str | None:
        """Move the files of a training to the first place that holds no longer one."""
        leaving = WorkFolder(self.root / "leaving")
        here = [file for file in self.files if file.is_file()]
        if not leaving.root.is_dir():
            if not (self.checkpoint.is_file() or self.best.is_file()):  # killed before the first checkpoint
                for file in here:
                    file.unlink()
                return None
            leaving.root.mkdir()
        for file in here:
            file.replace(leaving.root / file.name)
        place = next(place for place in self._places() if place.gives_way_to(leaving))
        said = leaving.interruption(self.root, place.root)
        if place.root.is_dir():
            for file in place.files:
                file.unlink(missing_ok=True)
            place.root.rmdir()
        leaving.root.rename(place.root)
        return said

    def _places(self) -> list[WorkFolder]:
        """Folders for earlier trainings, the last of which is free."""
        places: list[WorkFolder] = []
        for number in count(1):
            name = "previous" if number == 1 else f"previous-{number}"
            places.append(WorkFolder(self.root / name))
            if not places[-1].root.exists():
                break
        return places

    def gives_way_to(self, other: WorkFolder) -> bool:
        """Return True if this folder may be overwritten: it holds no longer training than `other`, and nothing else."""
        if not self.root.exists():
            return True
        if not self.root.is_dir() or set(self.root.iterdir()) - set(self.files):
            return False
        return self.epochs_done() <= other.epochs_done()

    def facts(self) -> CheckpointFacts | None:
        """Return the facts of the checkpoint; None where there is none that can be read."""
        try:
            return read_facts(self.checkpoint)
        except UserError:
            return None

    def epochs_done(self) -> int:
        """Return the epochs that the checkpoint records; without one, the most that weights and log mention."""
        facts = self.facts()
        if facts is not None:
            return facts.epochs_done
        done = [0]
        if self.log.is_file():
            done.append(self.log.read_bytes().count(b"\n"))
        if self.best.is_file():
            with suppress(UserError, KeyError, TypeError, ValueError):  # damaged, or no weights of a training
                done.append(int(read_notes(self.best)["epoch"]) + 1)
        return max(done)

    def interruption(self, origin: Path, place: Path) -> str | None:
        """Describe an interrupted training that moves from `origin` to `place`; None: it was finished."""
        facts, done = self.facts(), self.epochs_done()
        there = f"it is now in {place.as_posix()}"
        if facts is None:
            return (
                f"note: {origin.as_posix()} held {done} epochs of a training that cannot be resumed; {there}"
            )
        if facts.epochs_done == facts.epochs:
            return None
        return (
            f"note: {origin.as_posix()} held a training that was interrupted after {facts.epochs_done} of "
            f"{facts.epochs} epochs; {there}. To go on with it, stop this one, move these files back to "
            f"{origin.as_posix()} and run again with --resume"
        )


# --------------------------------------------------------------------- are they what was written


def check_best(path: Path, facts: CheckpointFacts, *, also_before: bool = False) -> bool:
    """Return True if `path` holds the best weights of the checkpoint; False: a kill came before they were written.

    also_before: take those of the epoch before, as long as the new ones are not written. Raises UserError where the
    file is lost, damaged, or of another epoch, recipe or training.
    """
    back = f"put the file back, or {ANEW}"
    if facts.best_sha256 is None:
        return True
    if not path.is_file():
        if facts.best_is_last:
            return False
        raise UserError(f"{path.as_posix()}: expected the weights of epoch {facts.best_epoch}; {back}")
    notes, found = read_notes(path), sha256_file(path)
    if found == facts.best_sha256:
        wanted = {"epoch": facts.best_epoch, "recipe_digest": facts.recipe_digest}
        for name, value in wanted.items():
            if notes.get(name) != value:
                raise UserError(
                    f"{path.as_posix()}: note '{name}': found {shown(notes.get(name))}, expected {value!r}; {back}"
                )
        return True
    if facts.best_is_last and found == facts.best_before_sha256:
        return also_before
    raise UserError(
        f"{path.as_posix()}: found sha256 {found[:12]}, expected {facts.best_sha256[:12]}, the weights of epoch "
        f"{facts.best_epoch}: damaged, or of another training; {back}"
    )


def check_vocabulary(path: Path, facts: CheckpointFacts) -> None:
    """Raise UserError unless `path` holds the vocabulary that the checkpoint's training began with."""
    if facts.vocabulary_sha256 is None:
        return
    found = sha256_file(path) if path.is_file() else "no such file"
    if found != facts.vocabulary_sha256:
        said = found if found == "no such file" else f"sha256 {found[:12]}"
        raise UserError(
            f"{path.as_posix()}: found {said}, expected {facts.vocabulary_sha256[:12]}, the words that the training "
            f"began with; put the file back, or {ANEW}"
        )


def check_trained(root: Path) -> str | None:
    """Compare the best weights of a work folder, and the vocabulary beside them, with the checkpoint's checksums.

    Returns a note where no checkpoint can vouch for them, else None. Raises UserError where they differ.
    """
    folder = WorkFolder(root)
    if not folder.best.is_file():
        raise UserError(f"{folder.best.as_posix()}: no such weights file")
    read_notes(folder.best)
    if not folder.checkpoint.is_file():
        return (
            f"note: {folder.best.as_posix()}: no checkpoint lies beside them, so their checksum is not known"
        )
    facts = read_facts(folder.checkpoint)
    try:
        sound = check_best(folder.best, facts, also_before=True)
    except UserError:
        facts = read_facts(folder.checkpoint)  # a training that is going on wrote both in between
        sound = check_best(folder.best, facts, also_before=True)
    if not sound:
        raise UserError(f"{folder.best.as_posix()}: no such weights file")
    if folder.vocabulary.is_file():  # where it is needed and gone, the codec says so
        check_vocabulary(folder.vocabulary, facts)
    return None
