"""Many synthetic records made of the committed ones, to see what hundreds of runs cost.

`python -m tests.reporting.many FOLDER 300` fills FOLDER and says how much processor time `rematch leaderboard` takes
there, and how large its page is. The time is that of one process, its own and the system's: it means something on a
busy machine too.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.files import sha256_bytes
from benchmark.places import RECIPES, RESULTS, RUNS
from benchmark.records.record import RunRecord, new_record, read_all, write_record
from benchmark.records.sidecar import Ints, pack, read_sidecar, write_sidecar
from tests.paths import ROOT

SHARE = 0.2
"""Of the queries of a copy, which trade ranks with each other: the metrics stay, the best and the worst do not."""


COMMITTED = len(list((ROOT / RUNS).rglob("*.json")))
"""The number of committed records."""


def fill(root: Path, count: int) -> None:
    """Make a checkout of `count` records: the committed ones, and copies of them under other names."""
    for name in ("paper", "studies", "reference"):
        shutil.copytree(ROOT / RESULTS / name, root / RESULTS / name)
    shutil.copyfile(ROOT / RESULTS / "claims.yaml", root / RESULTS / "claims.yaml")
    shutil.copytree(ROOT / RECIPES, root / RECIPES)
    records = read_all(ROOT / RUNS)
    for number in range(count):
        add(root, records[number % len(records)], number // len(records))


def add(root: Path, record: RunRecord, copy: int) -> None:
    """Write a record and its sidecar; copy 0 is as it is."""
    sidecar = read_sidecar(record, ROOT / RUNS)
    rng = np.random.default_rng([copy, record.seed])

    def traded(ranks: Ints) -> Ints:
        some = np.flatnonzero(rng.random(len(ranks)) < (SHARE if copy else 0.0))
        ranks = ranks.copy()
        ranks[some] = ranks[rng.permutation(some)]
        return ranks

    ranks = {name: (traded(i2t), traded(t2i)) for name, (i2t, t2i) in sidecar.ranks.items()}
    packed = pack(replace(sidecar, ranks=ranks))
    run = f"{record.run}-{copy}" if copy else record.run
    parts = record.model_dump(mode="json") | {"run": run, "sidecar_sha256": sha256_bytes(packed)}
    made = new_record(**parts)
    write_sidecar(packed, made, root / RUNS)
    write_record(made, root / RUNS)


def main(folder: str, count: str) -> None:
    """Fill a folder and run the command there."""
    root = Path(folder)
    fill(root, int(count))
    subprocess.run([sys.executable, "-m", "benchmark", "leaderboard"], cwd=root, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    size = (root / RESULTS / "report.html").stat().st_size
    print(f"{count} records: {used.ru_utime + used.ru_stime:.1f} s of CPU, a page of {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
