"""Protocol results as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmark.evaluation.metrics import KS
from benchmark.evaluation.protocol import ProtocolResult


def results_table(results: Sequence[ProtocolResult], title: str) -> Table:
    """Recalls of both directions with their 95 % intervals, ranks and rsum; a row a protocol and direction."""
    table = Table(title=title, caption="intervals: 95 % bootstrap over images", title_justify="left")
    for name in ("protocol", "direction", *(f"R@{k}" for k in KS), "median rank", "mean rank", "tied"):
        table.add_column(name, justify="left" if name in ("protocol", "direction") else "right")
    for result in results:
        for name in ("i2t", "t2i"):
            side = getattr(result.metrics, name)
            recalls = []
            for k in KS:
                low, high = result.intervals.bounds[f"{name}_r{k}"]
                recalls.append(f"{side.recall[k]:.1f} [{low:.1f}, {high:.1f}]")
            ties = getattr(result.ranks, f"ties_{name}")
            ranks = (f"{side.median_rank:g}", f"{side.mean_rank:.1f}", f"{ties:.2%}")
            table.add_row(result.protocol.name, name, *recalls, *ranks)
        low, high = result.intervals.bounds["rsum"]
        table.add_row(result.protocol.name, "rsum", f"{result.metrics.rsum:.1f} [{low:.1f}, {high:.1f}]")
    return table
