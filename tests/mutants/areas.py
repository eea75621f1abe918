"""What is mutated, area by area, and the tests that guard each module: they alone are asked about its mutants."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from tests.mutants.changes import Mutant, find_mutants
from tests.paths import ROOT

COUNT = 300
SEED = 0


@dataclass(frozen=True)
class Module:
    """A module, its tests, and the functions and classes that count; none named: all."""

    path: str
    tests: tuple[str, ...]
    only: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As it is imported."""
        return self.path.removesuffix(".py").replace("/", ".")

    def mutants(self) -> list[Mutant]:
        """All of its mutants."""
        return find_mutants(self.path, (ROOT / self.path).read_text(encoding="utf-8"), self.only)


def _mirrored(package: str, *names: str, **elsewhere: tuple[str, ...]) -> tuple[Module, ...]:
    """Modules of a package with the tests of their names; `elsewhere`: tests that have other names."""
    base = package.removeprefix("benchmark/")
    own = [Module(f"{package}/{name}.py", (f"tests/{base}/test_{name}.py",)) for name in names]
    return (*own, *(Module(f"{package}/{name}.py", tests) for name, tests in elsewhere.items()))


PLACES = "tests/evaluation/test_places.py"
TEXT = "tests/data/text"
WRITERS = "tests/reporting"
AREAS: Mapping[str, tuple[Module, ...]] = {
    **{
        name: (Module(f"benchmark/evaluation/{name}.py", (f"tests/evaluation/test_{name}.py", PLACES)),)
        for name in ("ranking", "metrics", "protocol")
    },
    "statistics": (
        *_mirrored("benchmark/evaluation", "bootstrap"),
        *_mirrored(
            "benchmark/statistics",
            *(
                "bootstrap_difference",
                "holm",
                "permutation",
                "queries",
                "seed_differences",
                "seeds",
                "verdict",
            ),
            power=("tests/statistics/test_seeds.py", "tests/statistics/test_verdict.py"),
        ),
    ),
    "text codecs": _mirrored(
        "benchmark/data/text",
        *("augmentation", "codec", "vectors", "vocabulary", "word_codec", "words"),
        dictionary_files=(f"{TEXT}/test_vectors.py",),
        sentences=(f"{TEXT}/test_words.py",),
        vector_files=(f"{TEXT}/test_vectors.py",),
    ),
    "losses": (
        Module("benchmark/method.py", ("tests/baselines/layers/test_losses.py",), ("TripletLoss",)),
        Module("baselines/dualpath/losses.py", ("tests/baselines/dualpath/test_model.py",)),
        Module(
            "baselines/user/model.py",
            ("tests/baselines/user/test_model.py",),
            ("UserLoss", "batch_loss", "queue_loss", "negative_term", "positive_term"),
        ),
        Module("baselines/layers/momentum.py", ("tests/baselines/layers/test_momentum.py",)),
        Module("baselines/layers/queues.py", ("tests/baselines/user/test_model.py",)),
    ),
    "data verification": (
        *_mirrored("benchmark/data/published", "verification"),
        *_mirrored("benchmark/data/regions", "verification"),
    ),
    "writers": _mirrored(
        "benchmark/reporting/writers",
        *("csv", "html", "latex", "markdown", "terminal"),
        formats=(f"{WRITERS}/test_sheet.py",),
        json=(f"{WRITERS}/test_sheet.py",),
    ),
}


@dataclass(frozen=True)
class Sampled:
    """A mutant of the sample."""

    area: str
    module: Module
    mutant: Mutant


def draw(count: int = COUNT, seed: int = SEED) -> list[Sampled]:
    """A sample with the same number from each area, as far as an area has so many.

    Mutants come in the order of a hash of the seed, their module, line and change: the same sources give the same
    sample, and a few changed lines nearly the same one.
    """
    pools = {
        area: [Sampled(area, module, mutant) for module in modules for mutant in module.mutants()]
        for area, modules in AREAS.items()
    }
    chosen: list[Sampled] = []
    for left, pool in zip(range(len(pools), 0, -1), sorted(pools.values(), key=len), strict=True):
        size = (count - len(chosen)) // left  # what a small area lacks goes to the larger ones
        chosen += sorted(pool, key=lambda item: _rank(item.mutant, seed))[:size]
    places = {module.path: number for number, module in enumerate(m for ms in AREAS.values() for m in ms)}
    return sorted(chosen, key=lambda item: (places[item.module.path], item.mutant.line, item.mutant.new))


def _rank(mutant: Mutant, seed: int) -> str:
    line = mutant.source.splitlines()[mutant.line - 1]
    return hashlib.sha256(f"{seed} {mutant.path} {line} {mutant.old} {mutant.new}".encode()).hexdigest()
