"""`python -m tests.mutants`: ask the tests about a seeded sample of mutants, and keep the list in docs/mutants.md.

Outcomes are kept as they come, in .rematch/mutants.jsonl, and a further call goes on where the last one stopped. A
mutant is asked about again where its module changed, and one that survived also where the tests did.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.mutants.areas import AREAS, COUNT, SEED, Sampled, draw
from tests.mutants.runner import Runner
from tests.paths import ROOT

KEPT = Path(".rematch/mutants.jsonl")
PAGE = Path("docs/mutants.md")
LEAST = 90.0
"""Percent of the mutants that the tests have to catch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 where enough mutants are caught, 1 where too few are, 3 where some have no outcome yet."""
    parser = argparse.ArgumentParser(prog="nox -s mutants --", description=__doc__.splitlines()[0])
    parser.add_argument("areas", nargs="*", help=f"only these: {', '.join(AREAS)}; default: all")
    parser.add_argument(
        "--minutes", type=float, default=60, help="stop after so many; a further call goes on"
    )
    parser.add_argument("--fresh", action="store_true", help="forget the outcomes that are kept")
    options = parser.parse_args(arguments)
    if unknown := [area for area in options.areas if area not in AREAS]:
        parser.error(f"no area '{unknown[0]}'; there are {', '.join(AREAS)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.fresh:
        KEPT.unlink(missing_ok=True)
    sample = draw()
    outcomes = _read()
    wanted = [item for item in sample if not options.areas or item.area in options.areas]
    _ask([item for item in wanted if _outcome(item, outcomes) is None], outcomes, options.minutes)
    return _report(sample, [_outcome(item, outcomes) for item in sample])


def _ask(wanted: Sequence[Sampled], outcomes: dict[str, Any], minutes: float) -> None:
    """Find out, keep and print the outcome of each mutant, until the time is over."""
    runner, end = Runner(), time.monotonic() + 60 * minutes
    KEPT.parent.mkdir(exist_ok=True)
    for number, item in enumerate(wanted, start=1):
        if time.monotonic() > end:
            return
        runner.prepare(item.module)
        begin = time.monotonic()
        outcome = runner.ask(item.module, item.mutant.source)
        found = {"key": _key(item), "outcome": outcome, "tests": _tests(item)}
        outcomes[found["key"]] = found
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        seconds = time.monotonic() - begin
        print(
            f"{number}/{len(wanted)} {outcome} {item.mutant.place} {item.mutant.change} {seconds:.1f} s",
            flush=True,
        )


def _key(item: Sampled) -> str:
    return hashlib.sha256(f"{item.mutant.path}\0{item.mutant.source}".encode()).hexdigest()


def _tests(item: Sampled) -> str:
    """Digest of the tests that are asked."""
    return hashlib.sha256(b"\0".join((ROOT / path).read_bytes() for path in item.module.tests)).hexdigest()


def _read() -> dict[str, Any]:
    lines = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.is_file() else []
    return {found["key"]: found for found in map(json.loads, lines)}


def _outcome(item: Sampled, outcomes: Mapping[str, Any]) -> str | None:
    """The outcome that is kept; None: there is none that still holds."""
    found = outcomes.get(_key(item))
    if found is None or (found["outcome"] == "survived" and found["tests"] != _tests(item)):
        return None
    return str(found["outcome"])


def _report(sample: Sequence[Sampled], outcomes: Sequence[str | None]) -> int:
    """Print the rate and what survived, and write the page, which says how many have no outcome yet."""
    from tests.mutants.page import judge, write_page  # imports modules that may be changed before

    judged = judge(sample, outcomes)
    print(judged.summary)
    PAGE.write_text(write_page(judged, COUNT, SEED), encoding="utf-8")
    if None in outcomes:
        return 3
    return 0 if judged.rate >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
