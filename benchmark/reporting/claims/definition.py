"""The claims ledger, results/claims.yaml: the papers' headline claims as checks of committed results.

Here is the schema, and that every name in the file is one: a paper's, a study's, a variant's, a run's. What the
results say about the checks is in claims_judge.py, and claims_page.py writes it down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.errors import UserError, nearest
from benchmark.places import CLAIMS, PAPER, RECIPES, STUDIES, listing
from benchmark.recipe.faults import validated
from benchmark.recipe.files import read_document, run_name
from benchmark.records.paper import Paper, RelativeGain, ReportedProtocol, load_paper
from benchmark.records.study import read_part, read_results
from benchmark.records.timed_study import TimingResults, is_timing
from benchmark.strict import Strict

Protocol = Literal["scenes", "flickr30k", "mscoco-1k", "mscoco-5k"]
Metric = Literal["i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum", "mean_r1"]
Text = Annotated[str, Field(min_length=1)]


class StudyDifference(Strict):
    """Two variants of a study, seed by seed: `of` does better than `against`."""

    kind: Literal["study_difference"]
    study: str
    of: str
    against: str
    metric: Metric = "mean_r1"

    def check_names(self, known: Known, paper: str, where: str) -> None:  # noqa: ARG002
        """Raise UserError, beginning with `where`, for the first name that is none."""
        _one_of(self.study, known.studies, f"{where}.study'", "study")
        for side, name in (("of", self.of), ("against", self.against)):
            _one_of(name, known.studies[self.study], f"{where}.{side}'", "variant")


class RunDifference(Strict):
    """The same of the records of two runs under one protocol."""

    kind: Literal["run_difference"]
    protocol: Protocol
    of: str
    against: str
    metric: Metric = "rsum"

    def check_names(self, known: Known, paper: str, where: str) -> None:  # noqa: ARG002
        """Raise UserError, beginning with `where`, for the first name that is none."""
        for side, name in (("of", self.of), ("against", self.against)):
            known.check_run(name, self.protocol, f"{where}.{side}'")


class BaselineRow(Strict):
    """A row of results/paper/<method>.yaml."""

    method: str
    variant: str


class PaperGain(Strict):
    """A run's R@1 over a baseline's printed one, by the percentage that `relative_gain_claims` of the paper has."""

    kind: Literal["paper_gain"]
    dataset: Literal["flickr30k", "mscoco"]
    metric: Literal["i2t_r1", "t2i_r1"]
    run: str
    protocol: ReportedProtocol | None = None
    """The protocol; None: the paper's words leave open which."""
    baseline: BaselineRow | None = None
    """The row that the gain is over; None: not known."""

    def check_names(self, known: Known, paper: str, where: str) -> None:
        """Raise UserError, beginning with `where`, for the first name that is none."""
        known.check_run(self.run, self.dataset, f"{where}.run'")
        _named(f"{where}.dataset'", lambda: gain_claim(known.paper(paper), self))
        if self.baseline is not None:
            known.check_row(self.baseline, f"{where}.baseline.")


class LatencyRatio(Strict):
    """A contender of a latency study takes less time than another in the same round."""

    kind: Literal["latency_ratio"]
    study: str
    task: str
    of: str
    against: str
    saving: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Percent of the time that the paper says is saved; None: the claim is only that some is."""

    def check_names(self, known: Known, paper: str, where: str) -> None:  # noqa: ARG002
        """Raise UserError, beginning with `where`, for the first name that is none."""
        known.check_timing(self.study, self.task, {"of": self.of, "against": self.against}, where)


class Growth(Strict):
    """A contender's time grows as the size of its input to this power."""

    kind: Literal["growth"]
    study: str
    task: str
    contender: str
    exponent: Annotated[float, Field(gt=0)] = 1.0
    within: Annotated[float, Field(gt=0)] = 0.1
    """The exponent's interval must lie no further from it."""

    def check_names(self, known: Known, paper: str, where: str) -> None:  # noqa: ARG002
        """Raise UserError, beginning with `where`, for the first name that is none."""
        known.check_timing(self.study, self.task, {"contender": self.contender}, where)


class NoCheck(Strict):
    """No results could answer; says why."""

    kind: Literal["none"]
    why: Text

    def check_names(self, known: Known, paper: str, where: str) -> None:
        """Accept it: it uses no name."""


Check = Annotated[
    StudyDifference | RunDifference | PaperGain | LatencyRatio | Growth | NoCheck, Field(discriminator="kind")
]


class Claim(Strict):
    """One claim of one paper."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    paper: str
    """The name of the paper's file, results/paper/<paper>.yaml."""
    statement: Text
    """The claim in our words."""
    source: Text
    """The place in the paper."""
    certainty: Literal["confirmed", "second-hand", "uncertain"]
    """`confirmed`: read in the paper or its abstract; `second-hand`: read elsewhere; `uncertain`: partly inferred."""
    needs: Literal["all", "any"] = "all"
    """The rule for several checks: the claim holds if all hold, or if one does."""
    checks: list[Check] = Field(min_length=1)
    note: str = ""
    """A remark to bear in mind."""


class Ledger(Strict):
    """The file."""

    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        ids = [claim.id for claim in self.claims]
        double = next((name for place, name in enumerate(ids) if name in ids[:place]), None)
        if double:
            raise UserError(f"field 'claims': found two with the id '{double}', expected each once")
        return self


def load_claims(root: Path = Path()) -> list[Claim]:
    """Read results/claims.yaml below `root`, in its order.

    Raises UserError, in one line with file, field and nearest name, for whatever the file can have wrong:
    fields, and names of papers, studies, variants, runs, tasks and contenders.
    """
    path = root / CLAIMS
    try:
        document = read_document(path)
    except OSError as error:
        raise UserError(f"{path.as_posix()}: not readable ({error.strerror})") from None
    ledger = validated(Ledger, document, path)
    known = Known.below(root)
    for number, claim in enumerate(ledger.claims):
        known.check_claim(claim, f"{path.as_posix()}: field 'claims.{number}")
    return ledger.claims


def gain_claim(paper: Paper, check: PaperGain) -> RelativeGain:
    """The paper's own figures for a dataset; raises UserError where it has none."""
    found = [gain for gain in paper.relative_gain_claims if gain.dataset == check.dataset]
    if not found:
        known = [gain.dataset for gain in paper.relative_gain_claims]
        raise UserError(f"no relative gain on '{check.dataset}'{nearest(check.dataset, known)}")
    return found[0]


@dataclass(frozen=True)
class Known:
    """Names that a claim may use."""

    root: Path
    studies: Mapping[str, frozenset[str]]
    """Variants by study, as defined or as run."""
    latency: Mapping[str, TimingResults | None]
    """Studies of latency; None: not run yet."""
    runs: frozenset[tuple[str, str]]
    """Dataset and run of every recipe."""

    @classmethod
    def below(cls, root: Path) -> Known:
        """Read the definitions of studies, their results and the recipes' names."""
        studies: dict[str, frozenset[str]] = {}
        latency: dict[str, TimingResults | None] = {}
        for path in listing(root / RECIPES, "*/studies/*.yaml"):
            document = read_document(path)
            if document.get("kind") == "latency":
                latency[path.stem] = None
            else:
                studies[path.stem] = frozenset(document.get("variants") or {})
        for path in sorted((root / STUDIES).glob("*.json")):
            if is_timing(path):
                latency[path.stem] = read_part(path, TimingResults)
            else:
                names = frozenset(variant.name for variant in read_results(path).variants)
                studies[path.stem] = studies.get(path.stem, frozenset()) | names
        recipes = listing(root / RECIPES, "*/*.yaml")
        named = {(path.stem.split("-")[0], path) for path in recipes}
        return cls(root, studies, latency, frozenset((data, run_name(path, data)) for data, path in named))

    def check_claim(self, claim: Claim, where: str) -> None:
        """Raise UserError, beginning with `where`, for the first name that is none."""
        papers = [path.stem for path in listing(self.root / PAPER, "*.yaml")]
        _one_of(claim.paper, papers, f"{where}.paper'", "paper")
        for number, check in enumerate(claim.checks):
            check.check_names(self, claim.paper, f"{where}.checks.{number}")

    def check_run(self, name: str, protocol: str, where: str) -> None:
        """Raise UserError where no recipe on the protocol's dataset has the name."""
        dataset = protocol.split("-")[0]
        _one_of(
            name, [run for data, run in self.runs if data == dataset], where, f"recipe on {dataset} for run"
        )

    def check_row(self, row: BaselineRow, where: str) -> None:
        """Raise UserError where no paper has the row."""
        papers = [path.stem for path in listing(self.root / PAPER, "*.yaml")]
        _one_of(row.method, papers, f"{where}method'", "paper")
        _one_of(row.variant, self.paper(row.method).variants, f"{where}variant'", "variant")

    def paper(self, method: str) -> Paper:
        """Return the numbers of a method's paper."""
        return load_paper(method, self.root / PAPER)

    def check_timing(self, study: str, task: str, contenders: Mapping[str, str], where: str) -> None:
        """Raise UserError where no study of latency has the task, or the task the contenders."""
        _one_of(study, self.latency, f"{where}.study'", "study of latency")
        results = self.latency[study]
        if results is None:  # its tasks are not known before it has run
            return
        tasks = results.by_task()
        _one_of(task, tasks, f"{where}.task'", "task")
        for field, name in contenders.items():
            _one_of(name, tasks[task][0].seconds, f"{where}.{field}'", "contender")


def _one_of(name: str, known: Iterable[str], where: str, what: str) -> None:
    names = list(known)
    if name not in names:
        raise UserError(f"{where}: found '{name}', no such {what}{nearest(name, names)}")


def _named(where: str, check: Callable[[], object]) -> None:
    try:
        check()
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
