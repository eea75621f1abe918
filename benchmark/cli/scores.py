"""`rematch score`: a similarity matrix from elsewhere under the common protocol.

Heavy imports stand inside the functions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.evaluation.protocol import ProtocolResult
    from benchmark.evaluation.ranking import Floats, Ints
    from benchmark.reporting.sheet import Sheet

CaptionMap = Annotated[Path | None, typer.Option(help="A .npy file: the image row of each caption.")]
CaptionsEach = Annotated[
    int | None, typer.Option(min=1, help="So many captions an image, one image after the other. Default: 5.")
]
MoreK = Annotated[
    list[int] | None, typer.Option("--k", min=1, help="One more K of R@K; may be given several times.")
]
Against = Annotated[
    str | None, typer.Option(help="Also test against a run whose ranks lie here: RUN or DATASET/RUN/SEED.")
]
RecordName = Annotated[
    str | None, typer.Option(help="Also write a record, NAME or NAME/SEED: into the tables, marked there.")
]


@bundled
def score(
    matrix: Annotated[
        Path, typer.Argument(help="A .npy file: images in rows, captions in columns, higher is better.")
    ],
    dataset: ScoredDataset = None,
    *,
    protocol: Annotated[
        str | None, typer.Option(help="One protocol of the dataset. Default: all of them.")
    ] = None,
    caption_map: CaptionMap = None,
    captions_per_image: CaptionsEach = None,
    k: MoreK = None,
    against: Against = None,
    record: RecordName = None,
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

      rematch score sims.npy --dataset mscoco --format csv --output scores.csv

      rematch score sims.npy --captions-per-image 1 --k 50     (own sizes)

      rematch score sims.npy --dataset scenes --against rcar-i2t --record my-model

      rematch score sims.npy --dataset mscoco --relevance cxc --relevance-file sits_test.csv --image-ids images.txt
      --caption-ids captions.txt

      rematch score sims.npy --dataset flickr30k --postprocess qbnorm --bank captions=train.npy
    """
    from benchmark.evaluation.metrics import KS
    from benchmark.evaluation.protocol import read_matrix, score_matrix

    own = is_own(dataset)
    each = check_sizes(dataset, captions_per_image, caption_map, own=own)
    labels = load_labels(relevance, relevance_file, dataset, image_ids, caption_ids)
    hubs = load_hubs(postprocess, bank, transductive)
    options: dict[str, Any] = {"captions_per_image": each, "tie_rule": ties, "ks": [*KS, *(k or [])]}
    results = score_matrix(matrix, dataset, protocol=protocol, caption_map=caption_map, **options)
    sims, owner = read_matrix(matrix, dataset, caption_map, captions_per_image=each)
    assumed = f"no --caption-map: captions {each}i to {each}i + {each - 1} were taken for those of image i"
    notes = [assumed] if caption_map is None and captions_per_image is None and not own else []
    sheets = plain_sheets(matrix.name, sims, owner, results, against, notes)
    if labels is not None:
        sheets.append(score_relevance(sims, labels, ties))
    if hubs is not None:
        sheets.append(score_processed(sims, owner, [result.protocol for result in results], hubs, ties))
    said = None if record is None else write_scores(record, matrix, sims, owner, results)
    report.put(*sheets)
    if said is not None:
        report.say(said)


def write_scores(name: str, matrix: Path, sims: Floats, owner: Ints, results: list[ProtocolResult]) -> str:
    """Write the record of scores from elsewhere; returns what to say of it."""
    from benchmark.data.own.place import check_place
    from benchmark.records.elsewhere import record_scores

    if is_own(results[0].protocol.dataset):
        check_place(f"score {matrix.as_posix()}")
    path = record_scores(name, matrix, sims, owner, results)
    return f"wrote {path.as_posix()}; `rematch leaderboard` puts it into the tables"


def is_own(dataset: str | None) -> bool:
    """Return True for an own dataset, whose index says which captions are whose."""
    from benchmark.data.cards import find_card

    return dataset is not None and find_card(dataset) is not None


def check_sizes(
    dataset: str | None, captions_per_image: int | None, caption_map: Path | None, *, own: bool = False
) -> int:
    """Return the captions an image; raises UserError where nothing, or too much, says whose captions these are."""
    if dataset is None and captions_per_image is None and caption_map is None:
        sizes = "for own sizes --captions-per-image or --caption-map"
        raise UserError(f"option '--dataset': not given; say whose scores these are, or {sizes}")
    if captions_per_image is not None and own:
        raise UserError(f"option '--captions-per-image': {dataset} has an index that says it; leave it out")
    if captions_per_image is not None and caption_map is not None:
        raise UserError("options '--captions-per-image' and '--caption-map': give one of them")
    return captions_per_image or 5


def plain_sheets(
    name: str,
    sims: Floats,
    owner: Ints,
    results: list[ProtocolResult],
    against: str | None,
    notes: list[str],
) -> list[Sheet]:
    """Metrics under each protocol, and the paired tests against a run where one is named."""
    from benchmark.evaluation.protocol import evaluate_places
    from benchmark.records.signature import foreign_signature
    from benchmark.reporting.against import against_sheet
    from benchmark.reporting.scores import results_sheet

    signatures = [str(foreign_signature(result, sims.dtype.name)) for result in results]
    places = [evaluate_places(sims, owner, result) for result in results]
    sheets = [results_sheet(results, name, signatures, places, notes)]
    return sheets if against is None else [*sheets, against_sheet(name, results, owner, against)]
