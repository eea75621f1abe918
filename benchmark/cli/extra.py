"""Options of `rematch score` and `rematch evaluate` for extra metrics: more than one truth a query, and hubs.

A thin layer over benchmark/evaluation/extra/; heavy imports stand inside the functions. The sheets made here have
signatures of their own and go into no record and no table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.evaluation.extra.hubness import PostProcess
    from benchmark.evaluation.extra.postprocess import Banks, ProcessedResult
    from benchmark.evaluation.extra.relevance import Relevance
    from benchmark.evaluation.protocol import Protocol
    from benchmark.evaluation.ranking import Floats, Ints, TieRule
    from benchmark.reporting.sheet import Sheet
    from benchmark.run.evaluate import Evaluated

RelevanceName = Annotated[
    str | None,
    typer.Option(
        "--relevance", help="Also score with several right answers a query: cxc or eccv (MSCOCO 5K)."
    ),
]
RelevanceFile = Annotated[
    Path | None,
    typer.Option(help="CxC's sits_test.csv, or a folder of ECCV Caption's labels. Default: the package's."),
]
ImageIds = Annotated[
    Path | None, typer.Option(help="Ids (cocoid) of the rows: .npy, .json, or text with one a line.")
]
CaptionIds = Annotated[Path | None, typer.Option(help="Ids (sentid) of the columns, likewise.")]
PostProcessing = Annotated[
    str | None,
    typer.Option(
        "--postprocess",
        help="Also score against hubs, marked: inverted-softmax, qbnorm, dbnorm or nnn; qbnorm:b=20,k=1 sets numbers.",
    ),
]
BankFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--bank",
        metavar="ROLE=FILE",
        help="Scores of training items (.npy): images=FILE (bank images x test captions), captions=FILE (test images x "
        "bank captions); for dbnorm also gallery-captions=FILE and gallery-images=FILE. May be given several times.",
    ),
]
Transductive = Annotated[
    bool, typer.Option("--transductive", help="Take the test queries as the bank; the result says so.")
]


@dataclass(frozen=True)
class Labels:
    """A table of positives with the ids of a matrix's rows and columns."""

    relevance: Relevance
    image_ids: Sequence[int]
    caption_ids: Sequence[int]


def load_labels(
    name: str | None, file: Path | None, dataset: str | None, image_ids: Path | None, caption_ids: Path | None
) -> Labels | None:
    """Load the labels named by `--relevance` and its neighbours; None where none are asked for."""
    from benchmark.evaluation.extra.labels import read_ids

    relevance = load_table(name, file, dataset)
    if relevance is None:
        if image_ids is not None or caption_ids is not None:
            raise UserError("options '--image-ids' and '--caption-ids' are for --relevance")
        return None
    if image_ids is None or caption_ids is None:
        option = "--image-ids" if image_ids is None else "--caption-ids"
        raise UserError(f"option '{option}': --relevance needs the ids of the rows and of the columns")
    return Labels(relevance, read_ids(image_ids), read_ids(caption_ids))


def load_table(name: str | None, file: Path | None, dataset: str | None) -> Relevance | None:
    """Load the table of positives of that name; raises UserError where it is about another dataset."""
    from benchmark.evaluation.extra.labels import DATASET, TABLES, load_relevance

    if name is None and file is not None:
        raise UserError(f"option '--relevance-file': say what it is (--relevance {' or '.join(TABLES)})")
    if name is not None and dataset != DATASET:
        found = f"dataset '{dataset}'" if dataset else "no dataset"
        raise UserError(f"option '--relevance': the tables are about {DATASET}, found {found}")
    return None if name is None else load_relevance(name, file)


@dataclass(frozen=True)
class Hubs:
    """A method against hubs, and the banks that it takes."""

    method: PostProcess
    banks: Banks


def load_hubs(method: str | None, files: Sequence[str] | None, transductive: bool) -> Hubs | None:
    """Load the banks and the method named by `--postprocess` and its neighbours; None where none is asked for."""
    from benchmark.evaluation.extra.hubness import parse_postprocess
    from benchmark.evaluation.extra.postprocess import Banks, Role, parse_role
    from benchmark.evaluation.protocol import load_array

    if method is None:
        if files or transductive:
            raise UserError("options '--bank' and '--transductive' are for --postprocess")
        return None
    parsed = parse_postprocess(method)
    matrices: dict[Role, Floats] = {}
    for text in files or []:
        role, file = parse_role(text)
        if role in matrices:
            raise UserError(f"option '--bank': role '{role}' was given twice")
        matrices[role] = load_array(Path(file), mapped=True)
    banks = Banks(matrices, transductive)
    banks.directions(parsed)  # refuses to go on with none
    return Hubs(parsed, banks)


def score_relevance(sims: Floats, labels: Labels, tie_rule: TieRule) -> Sheet:
    """Score a foreign matrix under a table of positives."""
    from benchmark.evaluation.extra.labels import DATASET
    from benchmark.evaluation.extra.relevance import evaluate_relevance
    from benchmark.records.signature import relevance_line, unknown_origin
    from benchmark.reporting.scores import relevance_sheet

    result = evaluate_relevance(sims, labels.image_ids, labels.caption_ids, labels.relevance, tie_rule)
    base = unknown_origin(DATASET, result.n_images, result.n_captions, 1, tie_rule, sims.dtype.name)
    return relevance_sheet(result, relevance_line(result, base))


def score_processed(
    sims: Floats,
    owner: Ints,
    protocols: Sequence[Protocol],
    hubs: Hubs,
    tie_rule: TieRule,
) -> Sheet:
    """Score a foreign matrix under each protocol after post-processing."""
    from benchmark.evaluation.extra.postprocess import evaluate_processed
    from benchmark.reporting.scores import processed_sheet

    results = [evaluate_processed(sims, owner, item, hubs.method, hubs.banks, tie_rule) for item in protocols]
    return processed_sheet(results, [_processed_line(result, sims.dtype.name) for result in results])


def _processed_line(result: ProcessedResult, precision: str) -> str:
    from benchmark.records.signature import processed_line, unknown_origin

    protocol = result.protocol
    base = unknown_origin(
        protocol.dataset, result.n_images, result.n_captions, protocol.folds, result.tie_rule, precision
    )
    return processed_line(result, base)


def score_run_relevance(evaluated: Evaluated, relevance: Relevance, file: Path | None) -> Sheet:
    """Score a run's own test split under a table of positives."""
    from benchmark.evaluation.extra.labels import ids_of_run
    from benchmark.evaluation.extra.relevance import evaluate_relevance
    from benchmark.records.signature import relevance_line
    from benchmark.reporting.scores import relevance_sheet

    test = evaluated.job.dataset.splits["test"]
    folder = file if file is not None and file.is_dir() else None
    images, captions = ids_of_run(test.image_ids, test.caption_ids, test.caption_image.tolist(), folder)
    tie_rule = evaluated.job.recipe.evaluation.tie_rule
    result = evaluate_relevance(evaluated.sims, images, captions, relevance, tie_rule)
    return relevance_sheet(result, relevance_line(result, evaluated.signature()))
