"""results/tables/README.md: what was made of the records, and how to read it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from benchmark.reporting.leaderboard.content import MARK
from benchmark.reporting.leaderboard.words import TESTS

FORMATS = {"md": "Markdown", "html": "HTML", "tex": "LaTeX", "csv": "CSV", "json": "JSON", "svg": "plot"}
READING = f"""\
Everything here is made from the run records in `results/runs/` and the studies' results by `rematch leaderboard`, the
same byte for byte each time. `records.sha256` holds the checksum of every record, sidecar and study:
`sha256sum -c results/tables/records.sha256`, at the top of the repository, says which was changed since.

## How to read the tables

- **n** counts seeds. Recalls and rsum are in percent, means over the seeds; **± sd** is the seeds' standard deviation
  (n/a: one seed has none).
- **95 % interval**: bootstrap interval of rsum over test images, bounds averaged over the seeds.
- **query ms**: median time to score one caption against the images of the test split.
- Best values of a table are bold, second ones underlined; equal numbers share a place. **≈** marks an rsum that tests
  do not tell apart from the best (level 5 %, Holm-corrected over all pairs of the table): {TESTS}.
- One table holds what was scored on the same test split by the same rules (captions, folds, ties, version). What a
  method reads, the precision of its scores and the number of averaged models are columns; a `*` in the signature
  below a table stands for a field in which its rows differ. Rows whose sources name the images otherwise are not tested
  against each other.
- *The papers' set-up*: faithful runs, trained and scored as the paper says; below each run the paper's row,
  **difference** is ours less the paper's, and the verdict compares the two: `reproduced` - the paper's number lies
  where one further seed of ours would (95 % prediction interval, cut off at 0 and 600), and that is narrower than
  ± 6 rsum; `cannot tell` - it lies there, but the interval is wider; `below`, `above` - it lies outside; `too few
  seeds` - fewer than three, whatever the difference; `paper value unknown` - it could not be read.
- **departures** counts what sets a run apart from its paper; the list below the table names them by run.
- A row of a paper that waits for a run has the paper's numbers, and the command that runs it. **needs** is the time
  and memory of its training, an estimate that is committed (`results/estimates.json`; docs/commands.md says how).
- In the CSV files a text that a spreadsheet would compute, as it begins with `=`, `+`, `-`, `@`, a tab or a carriage
  return, has an apostrophe in front; numbers are as they are.
- A paper's row is *cited* where it was read in another paper, *derived* where it is computed from statements.
"""


def index(files: Collection[PurePosixPath]) -> str:
    """The page about `files`, paths below results/ of everything else that is generated."""
    parts = [f"<!-- {MARK} -->\n# What the records say"]
    protocols = sorted(path.stem for path in files if path.suffix == ".tex")
    parts.append("\n".join(_line(f"tables/{name}", files) for name in protocols))
    others = []
    if PurePosixPath("tables/claims.md") in files:
        others.append(f"{_line('tables/claims', files)}: what the papers say in words, and whether it holds")
    if PurePosixPath("report.html") in files:
        others.append("- [report](../report.html): everything on one page, with curves and pictures")
    studies = sorted({path.stem for path in files if path.parent.name == "studies"})
    others += [f"{_line(f'studies/{name}', files)}: a study" for name in studies]
    parts += ["\n".join(others)] if others else []
    return "\n\n".join([*parts, READING])


def _line(name: str, files: Collection[PurePosixPath]) -> str:
    """A list item with a link to each format of a file."""
    stem = PurePosixPath(name)
    target = stem.name if stem.parent.name == "tables" else f"../{name}"
    first, *rest = (kind for kind in FORMATS if stem.with_suffix(f".{kind}") in files)
    more = ", ".join(f"[{FORMATS[kind]}]({target}.{kind})" for kind in rest)
    return f"- [{stem.name}]({target}.{first})" + (f" ({more})" if more else "")
