"""A small repository with a claims ledger: papers, names of recipes, studies and records, as a test wants them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmark.files import sha256_bytes, write_text
from benchmark.records.parts import METRICS
from benchmark.records.record import write_record
from benchmark.records.sidecar import pack, write_sidecar
from benchmark.records.study import StudyResults, write_part
from benchmark.records.timed_study import TimingResults
from benchmark.reporting.claims.checks import JudgedCheck
from benchmark.reporting.claims.judge import JudgedClaim, judge_claims
from tests.paths import ROOT
from tests.reporting.factory import SIZES, parts, record, sidecar

STUDY = {"kind": "study_difference", "study": "parts", "of": "with", "against": "without"}
RUNS = {"kind": "run_difference", "protocol": "scenes", "of": "hat-i2t", "against": "hat-t2i"}
GAIN = {"kind": "paper_gain", "dataset": "flickr30k", "metric": "i2t_r1", "run": "hat-i2t"}
RATIO = {"kind": "latency_ratio", "study": "times", "task": "scoring", "of": "new", "against": "host"}
GROWTH = {"kind": "growth", "study": "times", "task": "vectors", "contender": "new"}

Values = Mapping[str, Sequence[float]]
"""The metric of each seed by variant."""


def claim(*checks: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A claim of HAT's paper."""
    return {
        "id": "it-helps",
        "paper": "hat",
        "statement": "It helps",
        "source": "Table 9",
        "certainty": "confirmed",
        "checks": [dict(check) for check in checks],
        **changes,
    }


def lay(root: Path, *claims: Mapping[str, Any]) -> Path:
    """The ledger, HAT's and SGRAF's papers, and files that are recipes by their names."""
    ledger = yaml.safe_dump({"claims": [dict(item) for item in claims]}, sort_keys=False)
    write_text(root / "results/claims.yaml", ledger)
    for paper in ("hat", "sgraf"):
        target = root / "results/paper" / f"{paper}.yaml"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "results/paper" / target.name, target)
    for name in ("scenes-i2t", "scenes-t2i", "flickr30k-i2t", "flickr30k-t2i"):
        write_text(root / f"recipes/hat/{name}.yaml", "summary: a recipe\n")
    define(root, "parts", {"variants": {"with": {}, "without": {}}})
    define(root, "times", {"kind": "latency"})
    return root


def define(root: Path, study: str, document: Mapping[str, Any]) -> None:
    """The definition of a study, as far as the ledger looks into it."""
    write_text(root / f"recipes/hat/studies/{study}.yaml", yaml.safe_dump(dict(document)))


def ran(root: Path, values: Values, study: str = "parts") -> None:
    """Results of a study; every metric of a run is its one value."""
    digests = {name: sha256_bytes(name.encode()) for name in values}
    facts = [
        {"name": name, "summary": name, "recipe": "a.yaml", "changes": {}, "digest": digest, "departures": []}
        for name, digest in digests.items()
    ]
    runs = [
        {
            "variant": name,
            "seed": seed,
            "digest": digests[name],
            "version": "0.1.0",
            "fingerprint": "0" * 64,
            "metrics": dict.fromkeys(METRICS, value),
            "best_epoch": 0,
            "seconds": 1.0,
        }
        for name, seeds in values.items()
        for seed, value in enumerate(seeds)
    ]
    document = {
        "study": study,
        "summary": "a study",
        "budget_seconds": 60.0,
        "variants": facts,
        "comparisons": [],
        "environments": [parts()["environment"]],
        "runs": runs,
    }
    write_part(StudyResults.model_validate(document), root / f"results/studies/{study}.json")


def timed(root: Path, groups: Sequence[Mapping[str, Any]], study: str = "times") -> None:
    """Results of a study of latency."""
    document = {
        "kind": "latency",
        "study": study,
        "summary": "times",
        "reading": [],
        "version": "0.1.0",
        "warm_up": 0,
        "environment": parts()["environment"],
        "groups": [dict(group) for group in groups],
    }
    write_part(TimingResults.model_validate(document), root / f"results/studies/{study}.json")


def recorded(
    root: Path, run: str, recalls: Mapping[int, float], protocol: str = "scenes", **changes: Any
) -> None:
    """Records with sidecars of a run, one a seed: all six recalls are the seed's number."""
    for seed, recall in recalls.items():
        beside = sidecar(seed, SIZES[protocol][0], (protocol,))
        packed = pack(beside)
        fields = {"recalls": [recall] * 6, "sidecar_sha256": sha256_bytes(packed), **changes}
        made = record(run=run, seed=seed, protocols=(protocol,), **fields)
        write_sidecar(packed, made, root / "results/runs")
        write_record(made, root / "results/runs")


def judged(root: Path) -> JudgedClaim:
    """The first claim."""
    return judge_claims(root)[0]


def only(root: Path) -> JudgedCheck:
    """The one check of the first claim."""
    (check,) = judged(root).checks
    return check
