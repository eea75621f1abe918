"""Records of scores from elsewhere, `rematch score --record NAME`: into the tables, and marked there.

Such a record has a run's form. What Rematch cannot vouch for stands as unknown: model, training, data, captions' rule.
Its recipe is its name alone, so that seeds of one name are one row; a note has the file's sha256; its signature is that
of no run that was made here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark import __version__
from benchmark.errors import UserError
from benchmark.evaluation.protocol import ProtocolResult
from benchmark.evaluation.ranking import Floats, Ints, top_k
from benchmark.files import sha256_bytes, sha256_file
from benchmark.places import RUNS
from benchmark.records.collect import protocol_part
from benchmark.records.environment import collect
from benchmark.records.paper import ELSEWHERE
from benchmark.records.record import RunRecord, new_record, read_record, write_record
from benchmark.records.sidecar import Sidecar, caption_ids_hash, pack, write_sidecar

NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)(?:/(\d+))?")
UNKNOWN = "unknown"
REASON = f"{ELSEWHERE}: model, training and data are not known to Rematch"


def record_scores(
    name: str,
    source: Path,
    sims: Floats,
    caption_image: Ints,
    results: Sequence[ProtocolResult],
    runs: Path = RUNS,
) -> Path:
    """Write the record and the sidecar of a matrix under the protocols of one dataset; returns the record's path.

    name: RUN or RUN/SEED. source: the file of the matrix. Raises UserError for a name that is none, for scores that
    belong to no dataset, and where a run that was made here has the name; an earlier record of scores is replaced.
    """
    found = NAME.fullmatch(name)
    if found is None:
        expected = "a name such as my-model, or my-model/1 for a seed"
        raise UserError(f"option '--record': found '{name}', expected {expected}")
    dataset = results[0].protocol.dataset
    if dataset == "own":
        raise UserError(
            "option '--record': tables are of known test sets: say whose scores they are (--dataset)"
        )
    run, seed = found[1], int(found[2] or 0)
    there = runs / dataset / run
    for path in sorted(there.glob("*.json")):
        if read_record(path).weights != "elsewhere":
            raise UserError(
                f"option '--record': {path.as_posix()} is a run that was made here; take another name"
            )
    packed = pack(_sidecar(sims, caption_image, results))
    record = _record(run, seed, source, sims, caption_image, results, sha256_bytes(packed))
    write_sidecar(packed, record, runs)
    return write_record(record, runs)


def _sidecar(sims: Floats, caption_image: Ints, results: Sequence[ProtocolResult]) -> Sidecar:
    """Ranks and best items, with rows and columns by their numbers: their ids are not known."""
    best = top_k(sims, 10)
    return Sidecar(
        ranks={result.protocol.name: (result.ranks.i2t, result.ranks.t2i) for result in results},
        i2t_top=best.i2t,
        i2t_scores=best.i2t_scores.astype(np.float32),
        t2i_top=best.t2i,
        t2i_scores=best.t2i_scores.astype(np.float32),
        image_ids=[f"row {row}" for row in range(sims.shape[0])],
        caption_ids_sha256=caption_ids_hash(f"column {column}" for column in range(sims.shape[1])),
        caption_image=caption_image,
        log="[]",
    )


def _record(
    run: str,
    seed: int,
    source: Path,
    sims: Floats,
    caption_image: Ints,
    results: Sequence[ProtocolResult],
    sidecar_sha256: str,
) -> RunRecord:
    n_images, n_captions = sims.shape
    size = {"images": n_images, "captions": n_captions, "fingerprint": UNKNOWN}
    precision = str(sims.dtype.newbyteorder("="))
    return new_record(
        run=run,
        seed=seed,
        method=ELSEWHERE,
        recipe_path=source.name,
        recipe={"scores": run},
        paper_row={"method": ELSEWHERE, "variant": run},
        departures=[REASON],
        weights="elsewhere",
        dataset={
            "name": results[0].protocol.dataset,
            "revision": None,
            "source": ELSEWHERE,
            "fingerprint": UNKNOWN,
            "splits": {UNKNOWN: size},
            "options": {},
            "captions_per_image": int(np.bincount(caption_image).max()),
        },
        codec=UNKNOWN,
        split=UNKNOWN,
        score_precision=precision,
        version=__version__,
        results={result.protocol.name: protocol_part(result) for result in results},
        block_plan={},
        sidecar_sha256=sidecar_sha256,
        notes=[f"scores read from {source.name}, sha256 {sha256_file(source)}"],
        wall_seconds={},
        environment=collect("cpu", precision),
    )
