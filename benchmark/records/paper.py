"""Reported numbers: the strict schema of results/paper/<method>.yaml, and how a recipe finds its row.

Numbers stand exactly as printed, each with its source. A variant that is known to exist but whose values
could not be read is an expected variant: its value is unknown, which is not an error. A variant that is
neither is a misspelt reference, and is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from benchmark.data.cards import card_names
from benchmark.errors import UserError, nearest
from benchmark.evaluation.protocol import PROTOCOLS
from benchmark.guarded import YAML_BYTES, DocumentError, parse_yaml, read_within
from benchmark.places import PAPER, listing, locate
from benchmark.recipe.faults import explain
from benchmark.recipe.schema import PaperRow
from benchmark.registry import method_names
from benchmark.strict import Strict

ELSEWHERE = "scores from elsewhere"
"""The method of records that `rematch score --record` writes; no paper is theirs."""
REPORTED = ("flickr30k", "mscoco-1k", "mscoco-5k", "cuhk-pedes")
"""Protocols that the papers here report; the embedded data is none, and own data are what a file's rows say."""


def _known_protocol(name: str) -> str:
    """Refuse a protocol that is neither reported nor known here, and that of data that are made here."""
    others = [*(other for other in PROTOCOLS if other != "scenes"), *card_names()]
    if name not in REPORTED and name not in others:
        raise ValueError(f"no protocol that a paper can report{nearest(name, {*REPORTED, *others})}")
    return name


ReportedProtocol = Annotated[str, AfterValidator(_known_protocol)]
"""A protocol that a paper reports: one of REPORTED, or one that a dataset here is evaluated under."""

Percent = Annotated[float, Field(ge=0, le=100)]


class ReportedDirection(Strict):
    """Recall at K in percent as printed; None: not reported."""

    r1: Percent | None
    r5: Percent | None
    r10: Percent | None
    median_rank: float | None = None


class ReportedRow(Strict):
    """One variant under one protocol."""

    variant: str
    dataset: ReportedProtocol
    i2t: ReportedDirection | None = None
    """The recalls of a direction; None: it is not reported."""
    t2i: ReportedDirection | None = None
    rsum: Annotated[float, Field(ge=0, le=600)] | None
    rsum_computed: bool = False
    """The paper prints no rsum; this is the sum of the printed recalls."""
    ensemble: bool = False
    kind: Literal["reported", "cited", "derived"] = "reported"
    """`cited`: read in another paper; `derived`: computed from statements, no row of a table."""
    source: str
    note: str | None = None

    def value(self, name: str) -> float | None:
        """`i2t_r1` ... `t2i_r10`, `rsum` or `mean_r1` (mean of the two R@1); None where not reported."""
        if name == "rsum":
            return self.rsum
        if name == "mean_r1":
            both = self.value("i2t_r1"), self.value("t2i_r1")
            return None if both[0] is None or both[1] is None else (both[0] + both[1]) / 2
        side, recall = name.split("_")
        direction: ReportedDirection | None = getattr(self, side)
        found: float | None = getattr(direction, recall) if direction is not None else None
        return found


class RelativeGain(Strict):
    """A claim over the best method before, in percent of its R@1."""

    dataset: Literal["flickr30k", "mscoco"]
    i2t_r1_percent: float
    t2i_r1_percent: float
    source: str
    note: str


class ReportedLatency(Strict):
    """A speed that the paper states, in its own unit."""

    variant: str
    dataset: ReportedProtocol | None
    value: float
    unit: str
    hardware: str | None
    source: str


class Paper(Strict):
    """Everything that is known of a paper's numbers."""

    method: str
    title: str
    year: int
    arxiv: str
    doi: str | None = None
    code: str | None
    code_commit: str | None = None
    code_licence: str | None = None
    status: Literal["missing", "partial", "complete"]
    """The completeness of the paper's rows; `missing`: none could be read."""
    notes: list[str]
    rows: list[ReportedRow]
    expected_variants: list[str]
    """Variants that are known to exist and whose values could not be read."""
    repositories: dict[str, str] = {}
    """Repositories of the Hub that hold the authors' weights, and the variant that each is."""
    names: dict[str, str] = {}
    """The rows' names in our tables, by the recipe's name without its dataset, or by the variant."""
    relative_gain_claims: list[RelativeGain]
    latency: list[ReportedLatency]

    @model_validator(mode="after")
    def _rows(self) -> Self:
        keys = [(row.variant, row.dataset) for row in self.rows]
        double = [key for number, key in enumerate(keys) if key in keys[:number]]
        if double:
            raise ValueError(f"variant {double[0][0]!r} stands twice for {double[0][1]}")
        for name, variant in self.repositories.items():
            if variant not in self.variants:
                raise ValueError(f"repositories: {name!r} is {variant!r}, which is no variant")
        if (self.status == "missing") != (not self.rows):
            raise ValueError(f"status '{self.status}' with {len(self.rows)} rows")
        return self

    @property
    def variants(self) -> list[str]:
        """All names a recipe may refer to."""
        return list(dict.fromkeys([*(row.variant for row in self.rows), *self.expected_variants]))


def load_paper(method: str, folder: Path = PAPER) -> Paper:
    """Read results/paper/<method>.yaml; raises UserError (file, field, nearest name) for any fault."""
    path = folder / f"{method}.yaml"
    name = path.as_posix()
    if not locate(path).is_file():
        known = [item.stem for item in listing(folder, "*.yaml")]
        raise UserError(f"{name}: no paper numbers for method '{method}'{nearest(method, known)}")
    try:
        paper = _parsed(read_within(locate(path), YAML_BYTES))
    except ValidationError as error:
        fault = error.errors()[0]
        if fault["type"] == "value_error" and not fault["loc"]:
            raise UserError(f"{name}: {fault['ctx']['error']}") from None
        raise UserError(f"{name}: {explain(error, Paper)}") from None
    except DocumentError as error:
        raise UserError(f"{name}: not valid YAML: {error}") from None
    if paper.method != method:
        raise UserError(
            f"{name}: field 'method': found '{paper.method}', expected '{method}' as in the file's name"
        )
    return paper


@cache
def _parsed(content: bytes) -> Paper:
    """The paper in a file's content, kept: the tables and the page ask for the same few files over a hundred times."""
    return Paper.model_validate(parse_yaml(content))


def load_papers(folder: Path = PAPER) -> Iterator[Paper]:
    """All papers, by method name."""
    for path in listing(folder, "*.yaml"):
        yield load_paper(path.stem, folder)


def reported_protocols(folder: Path = PAPER) -> list[str]:
    """All protocols that papers report: REPORTED, and those of further rows in the papers' files."""
    rows = [row.dataset for paper in load_papers(folder) for row in paper.rows]
    return list(dict.fromkeys([*REPORTED, *rows]))


def find_paper(method: str, folder: Path = PAPER) -> Paper | None:
    """The paper of a method; None where a method that is registered has no file, and for scores from elsewhere.

    Raises UserError with the nearest name for any other method, and for a fault of the file.
    """
    optional = method == ELSEWHERE or method in method_names()
    if optional and not locate(folder / f"{method}.yaml").is_file():
        return None
    return load_paper(method, folder)


def resolve(row: PaperRow | None, folder: Path = PAPER) -> Paper | None:
    """The paper that a recipe's `paper_row` points into; None without one, and where its method has no file.

    Raises UserError as `find_paper`, and where the variant is neither in its rows nor among its expected variants.
    """
    paper = None if row is None else find_paper(row.method, folder)
    if row is not None and paper is not None and row.variant not in paper.variants:
        where = (folder / f"{row.method}.yaml").as_posix()
        raise UserError(
            f"field 'paper_row.variant': {where} has no variant '{row.variant}'{nearest(row.variant, paper.variants)}"
        )
    return paper


def paper_row_of(repository: str, method: str, folder: Path = PAPER) -> PaperRow:
    """The row of the paper whose weights a repository of the Hub holds; of no paper, a row of the method's own."""
    for paper in load_papers(folder):
        if repository in paper.repositories:
            return PaperRow(method=paper.method, variant=paper.repositories[repository])
    return PaperRow(method=method, variant=f"{repository}, zero-shot")


def find_row(method: str, variant: str, protocol: str, folder: Path = PAPER) -> ReportedRow | None:
    """The reported row of a variant under a protocol; None where its values are unknown.

    Raises UserError as `resolve` does.
    """
    paper = resolve(PaperRow(method=method, variant=variant), folder)
    rows = [] if paper is None else paper.rows
    found = [row for row in rows if (row.variant, row.dataset) == (variant, protocol)]
    return found[0] if found else None
