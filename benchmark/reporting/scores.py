"""Scores as sheets: results under a protocol, under a table of several right answers, and after post-processing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.evaluation.extra.postprocess import ProcessedResult
from benchmark.evaluation.extra.relevance import RelevanceResult
from benchmark.evaluation.metrics import KS, PlaceMetrics
from benchmark.evaluation.protocol import ProtocolResult
from benchmark.reporting.sheet import Cell, Column, Sheet, make_sheet

HEAD = [Column("protocol", "protocol", "text"), Column("direction", "direction", "text")]
RECALLS = [Column(f"r{k}", f"R@{k}") for k in KS]
RANKS = [Column("median_rank", "median rank", spec="g"), Column("mean_rank", "mean rank", spec=".1f")]
BOUNDS = [Column(f"r{k}_{side}", hidden=True) for k in KS for side in ("low", "high")]
PLACES = [
    Column(key, heading, spec=".1f") for key, heading in (("mrr", "MRR"), ("map", "mAP"), ("ndcg", "nDCG"))
]
SIGNATURE = Column("signature", hidden=True)


def results_sheet(
    results: Sequence[ProtocolResult],
    title: str,
    signatures: Sequence[str] = (),
    places: Sequence[Mapping[str, PlaceMetrics]] = (),
    notes: Sequence[str] = (),
) -> Sheet:
    """Recalls of both directions with their 95 % intervals, ranks and rsum; a row a protocol and direction.

    places: also MRR, mAP and nDCG of each result. notes: said below the table.
    """
    ks = list(results[0].metrics.i2t.recall)
    columns_k = [Column(f"r{k}", f"R@{k}") for k in ks]
    bounds_k = [Column(f"r{k}_{side}", hidden=True) for k in ks for side in ("low", "high")]
    more = PLACES if places else []
    rsum = [Column("rsum", "rsum"), *(Column(f"rsum_{side}", hidden=True) for side in ("low", "high"))]
    tied = Column("tied", "tied", spec=".2%")
    columns = [*HEAD, *columns_k, *RANKS, *more, tied, *rsum, *bounds_k, SIGNATURE]
    rows: list[list[object]] = []
    for number, result in enumerate(results):
        name, bounds = result.protocol.name, result.intervals.bounds
        signature = signatures[number] if signatures else None
        for way in ("i2t", "t2i"):
            side, ties = getattr(result.metrics, way), getattr(result.ranks, f"ties_{way}")
            pairs = [bounds[f"{way}_r{k}"] for k in ks]
            recalls = [_between(side.recall[k], *pair) for k, pair in zip(ks, pairs, strict=True)]
            placed = [getattr(places[number][way], column.key) for column in more]
            found = [*recalls, side.median_rank, side.mean_rank, *placed, ties, None, None, None]
            rows.append([name, way, *found, *(bound for pair in pairs for bound in pair), signature])
        whole = [_between(result.metrics.rsum, *bounds["rsum"]), *bounds["rsum"]]
        blank = [None] * (len(ks) + len(RANKS) + len(more) + 1)
        rows.append([name, "both", *blank, *whole, *[None] * len(bounds_k), signature])
        rows += _chance_rows(result, ks, columns)
    below = ("intervals: 95 % bootstrap over images", *notes, *dict.fromkeys(signatures))
    return make_sheet(title, columns, rows, notes=below)


def _chance_rows(result: ProtocolResult, ks: Sequence[int], columns: Sequence[Column]) -> list[list[object]]:
    """The rows of what a random order scores; none where the protocol has no such level."""
    if result.chance is None:
        return []
    found: list[dict[str, object]] = [
        {"direction": f"{way}, chance"} | {f"r{k}": _level(result.chance[f"{way}_r{k}"]) for k in ks}
        for way in ("i2t", "t2i")
    ]
    found.append({"direction": "both, chance", "rsum": _level(result.chance["rsum"])})
    return [
        [{"protocol": result.protocol.name, **row}.get(column.key) for column in columns] for row in found
    ]


def _level(value: float) -> Cell:
    return Cell(f"{value:.1f}", value)


def _between(value: float, low: float, high: float) -> Cell:
    """A number with its interval."""
    return Cell(f"{value:.1f}", float(value), tail=f" [{low:.1f}, {high:.1f}]")


def relevance_sheet(result: RelevanceResult, signature: str) -> Sheet:
    """Metrics of both directions under a table of positives."""
    named = {**{f"r{k}": f"R@{k}" for k in KS}, "r_precision": "R-Precision", "map_at_r": "mAP@R"}
    numbers = [Column(key, heading, spec=".2f") for key, heading in named.items()]
    rows = []
    for name, side in (("i2t", result.i2t), ("t2i", result.t2i)):
        recalls = [side.recall[k] for k in KS]
        rows.append([name, side.queries, side.positives, *recalls, side.r_precision, side.map_at_r])
    return make_sheet(
        f"{result.relevance.name}: {result.relevance.source}",
        ["direction", "queries", "positives", *numbers],
        rows,
        notes=("more than one right answer a query; not to be mixed with the protocol's numbers",),
        signature=signature,
    )


def processed_sheet(results: Sequence[ProcessedResult], signatures: Sequence[str]) -> Sheet:
    """Recalls of post-processed scores, a row a protocol and direction."""
    first = results[0]
    bank = "the test queries themselves (transductive)" if first.transductive else "queries of a bank"
    rows = []
    for result, signature in zip(results, signatures, strict=True):
        for way, side in result.sides.items():
            pairs = [result.intervals[way][f"{way}_r{k}"] for k in KS]
            recalls = [_between(side.recall[k], *pair) for k, pair in zip(KS, pairs, strict=True)]
            found = [result.bank_sizes[way], *recalls, side.median_rank, side.mean_rank]
            bounds = [bound for pair in pairs for bound in pair]
            rows.append([result.protocol.name, way, *found, *bounds, signature])
    notes = (f"post-processed with {bank}; never to be mixed with plain numbers", *signatures)
    columns = [*HEAD, Column("bank", "bank"), *RECALLS, *RANKS, *BOUNDS, SIGNATURE]
    return make_sheet(f"post-processed: {first.method}", columns, rows, notes=notes)
