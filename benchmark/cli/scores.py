"""`rematch score`: a similarity matrix from elsewhere under the common protocol.

Heavy imports stand inside the command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.extra import (
    BankFiles,
    CaptionIds,
    ImageIds,
    PostProcessing,
    RelevanceFile,
    RelevanceName,
    Transductive,
    load_hubs,
    load_labels,
    score_processed,
    score_relevance,
)
from benchmark.cli.options import Report, ScoredDataset, TieRule, bundled


@bundled
def score(
    matrix: Annotated[
        Path, typer.Argument(help="A .npy file: images in rows, captions in columns, higher is better.")
    ],
    dataset: ScoredDataset,
    *,
    protocol: Annotated[
        str | None, typer.Option(help="One protocol of the dataset. Default: all of them.")
    ] = None,
    caption_map: Annotated[
        Path | None, typer.Option(help="A .npy file: the image row of each caption.")
    ] = None,
    ties: Annotated[TieRule, typer.Option(help="How equal scores are ranked.")] = "lower_index",
    relevance: RelevanceName = None,
    relevance_file: RelevanceFile = None,
    image_ids: ImageIds = None,
    caption_ids: CaptionIds = None,
    postprocess: PostProcessing = None,
    bank: BankFiles = None,
    transductive: Transductive = False,
    report: Report,
) -> None:
    """Give a similarity matrix from elsewhere the same metrics and intervals.

    Examples:

      rematch score sims.npy --dataset mscoco

      rematch score sims.npy --dataset mscoco --format csv --output scores.csv

      rematch score sims.npy --dataset mscoco --relevance cxc --relevance-file sits_test.csv --image-ids images.txt
      --caption-ids captions.txt

      rematch score sims.npy --dataset flickr30k --postprocess qbnorm --bank captions=train.npy
    """
    from benchmark.evaluation.protocol import read_matrix, score_matrix
    from benchmark.records.signature import foreign_signature
    from benchmark.reporting.scores import results_sheet

    labels = load_labels(relevance, relevance_file, dataset, image_ids, caption_ids)
    hubs = load_hubs(postprocess, bank, transductive)
    results = score_matrix(matrix, dataset, protocol=protocol, caption_map=caption_map, tie_rule=ties)
    sims, owner = read_matrix(matrix, dataset, caption_map)
    signatures = [str(foreign_signature(result, str(sims.dtype))) for result in results]
    sheets = [results_sheet(results, matrix.name, signatures)]
    if labels is not None:
        sheets.append(score_relevance(sims, labels, ties))
    if hubs is not None:
        sheets.append(score_processed(sims, owner, dataset, protocol, hubs, ties))
    report.put(*sheets)
