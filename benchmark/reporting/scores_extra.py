"""Extra metrics as tables for a terminal, apart from the protocols' own (show.py)."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmark.evaluation.extra.postprocess import ProcessedResult
from benchmark.evaluation.extra.relevance import RelevanceResult
from benchmark.evaluation.metrics import KS


def relevance_table(result: RelevanceResult) -> Table:
    """Metrics of both directions under a table of positives."""
    table = Table(
        title=f"{result.relevance.name}: {result.relevance.source}",
        caption="more than one truth a query; not to be mixed with the protocol's numbers",
        title_justify="left",
    )
    names = ("direction", "queries", "positives", *(f"R@{k}" for k in KS), "R-Precision", "mAP@R")
    for name in names:
        table.add_column(name, justify="left" if name == "direction" else "right")
    for name, side in (("i2t", result.i2t), ("t2i", result.t2i)):
        values = (*(side.recall[k] for k in KS), side.r_precision, side.map_at_r)
        counts = f"{side.queries:,}", f"{side.positives:,}"
        table.add_row(name, *counts, *(f"{value:.2f}" for value in values))
    return table


def processed_table(results: Sequence[ProcessedResult]) -> Table:
    """Recalls of post-processed scores, a row a protocol and direction."""
    first = results[0]
    bank = "the test queries themselves (transductive)"
    if not first.transductive:
        bank = "queries of a bank"
    table = Table(
        title=f"post-processed: {first.method}",
        caption=f"post-processed with {bank}; never to be mixed with plain numbers",
        title_justify="left",
    )
    for name in ("protocol", "direction", "bank", *(f"R@{k}" for k in KS), "median rank", "mean rank"):
        table.add_column(name, justify="left" if name in ("protocol", "direction") else "right")
    for result in results:
        for name, side in result.sides.items():
            recalls = []
            for k in KS:
                low, high = result.intervals[name][f"{name}_r{k}"]
                recalls.append(f"{side.recall[k]:.1f} [{low:.1f}, {high:.1f}]")
            ranks = f"{side.median_rank:g}", f"{side.mean_rank:.1f}"
            table.add_row(result.protocol.name, name, f"{result.bank_sizes[name]:,}", *recalls, *ranks)
    return table
