"""An exported run from Python: `benchmark.load_run("exported/sgraf-saf").query("a small red circle")`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download

from benchmark.data.text.word_codec import KEPT
from benchmark.errors import UserError
from benchmark.records.record import RunRecord, read_record
from benchmark.run.evaluate import Evaluated, evaluate_weights
from benchmark.run.job import Settings
from benchmark.run.resolve import pick_device
from benchmark.run.runs import Run, read_run
from benchmark.share.export.folder import MODEL, NEEDED, RECIPE, RECORD
from benchmark.share.query.answer import Answer, run_query


@dataclass(frozen=True)
class ExportedRun:
    """A run as `rematch export` wrote it."""

    folder: Path
    run: Run
    record: RunRecord
    settings: Settings

    def query(self, sentence: str | None = None, *, picture: Path | None = None, top: int = 5) -> Answer:
        """Ask the test gallery: the best images of a sentence, or the best captions of a picture's file.

        Raises UserError as `rematch query` does.
        """
        return run_query(
            self.run,
            self.settings,
            sentence=sentence,
            picture=picture,
            top=top,
            checkpoint=self.folder / MODEL,
        )

    def evaluate(self) -> Evaluated:
        """Score the test split anew, under every protocol of its dataset."""
        return evaluate_weights(self.run, self.settings, self.folder / MODEL, None, None, None)


def load_run(source: Path | str, *, device: str | None = None, data_dir: Path | None = None) -> ExportedRun:
    """Load an exported run from its folder, or from a repository of the Hub, OWNER/NAME or OWNER/NAME@REVISION.

    data_dir: local data in place of the Hub's. Raises UserError for a folder that is no export of a run.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _fetched(str(source))
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder.as_posix()}: lacks {', '.join(missing)}, expected a folder of `rematch export`"
        )
    settings = Settings(pick_device(device), data_dir=data_dir, latency=False, show_progress=False)
    return ExportedRun(
        folder, read_run(folder / RECIPE, data_dir=data_dir), read_record(folder / RECORD), settings
    )


def _fetched(name: str) -> Path:
    """Return the folder of a repository of the Hub; raises UserError where there is neither folder nor repository."""
    repo, _, revision = name.partition("@")
    if repo.count("/") != 1:
        raise UserError(f"{name}: no such folder, and no repository of the Hub (OWNER/NAME)")
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=[*NEEDED, KEPT]))
    except Exception as error:  # whatever the network, the Hub or its client raises
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(f"{name}: no such folder, and the Hub has no such repository: {reason}") from None
