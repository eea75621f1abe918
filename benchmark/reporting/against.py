"""Scores and named runs against each other: paired tests over the images, from the ranks that are committed.

What leaderboard/comparisons.py says of the tests holds here. Scores from elsewhere bring no ids: that their rows and
columns are the protocol's, in its order, is for whoever made them to know; sizes, map and tie rule are checked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.errors import UserError, nearest
from benchmark.evaluation.protocol import ProtocolResult
from benchmark.evaluation.ranking import Ints
from benchmark.reporting.diff.sides import Side, load_side
from benchmark.reporting.leaderboard.comparisons import (
    RunComparison,
    Sample,
    image_differences,
    judge_difference,
    mean_values,
    seeds_p,
)
from benchmark.reporting.sheet import Column, Sheet, make_sheet
from benchmark.statistics.holm import holm
from benchmark.statistics.queries import Values, image_values

TESTED = ("rsum", "i2t_r1", "t2i_r1")
"""The metrics that `rematch score --against` tests."""


def compare_scores(
    name: str, result: ProtocolResult, caption_image: Ints, run: str, metric: str = "rsum"
) -> RunComparison:
    """Scores from elsewhere less a named run (`rcar-i2t`, `scenes/rcar-i2t/0`), image by image.

    Raises UserError for an unknown run, one that has no results under the protocol, and other sizes, captions of
    another map, or another tie rule.
    """
    side, protocol = load_side(run), result.protocol.name
    theirs = _values(side, protocol, metric)
    record, known = side.records[0].results[protocol], side.sidecars[0].caption_image
    found = (result.n_images, result.n_captions, result.ranks.tie_rule)
    expected = (record.images, record.captions, record.tie_rule)
    if found != expected:
        shown = [
            f"{images} images, {captions} captions, ties {ties}"
            for images, captions, ties in (found, expected)
        ]
        raise UserError(
            f"{name} and {run} cannot be compared under {protocol}: found {shown[0]}, expected {shown[1]}"
        )
    if not np.array_equal(caption_image, known):
        row = int(np.flatnonzero(caption_image != known)[0])
        raise UserError(
            f"{name} and {run} cannot be compared: caption {row} belongs to image {caption_image[row]}, expected "
            f"{known[row]} as in the run's sidecar"
        )
    ours = image_values(result.ranks, caption_image, metric, folds=result.protocol.folds)
    return judge_difference((name, run), ours - theirs, metric, (1, len(side.records)), None)


def compare_named(a: str, b: str, metric: str = "rsum", protocol: str | None = None) -> RunComparison:
    """One named run less another, under a protocol (default: the first of `a`).

    Raises UserError as `compare_scores`, and where the two were not scored on the same images in the same way.
    """
    sides = load_side(a), load_side(b)
    protocol = protocol or next(iter(sides[0].records[0].results))
    one, other = (_sample(side, protocol, metric) for side in sides)
    first, second = (_by_seed(side, protocol, metric) for side in sides)
    seeds, over_seeds = (len(first), len(second)), seeds_p(first, second)
    return judge_difference((a, b), image_differences(one, other), metric, seeds, over_seeds)


def _sample(side: Side, protocol: str, metric: str) -> Sample:
    values = _values(side, protocol, metric)
    return Sample(side.name, side.records[0], protocol, side.sidecars[0], values)


def _values(side: Side, protocol: str, metric: str) -> Values:
    """Each image's share in the metric (n_images,), mean over the seeds."""
    known = side.records[0].results
    if protocol not in known:
        raise UserError(
            f"run '{side.name}': no results under protocol '{protocol}'{nearest(protocol, known)}"
        )
    return mean_values(side.records, side.sidecars, protocol, metric)


def _by_seed(side: Side, protocol: str, metric: str) -> list[float]:
    return [record.results[protocol].metrics.value(metric) for record in side.records]


def against_sheet(
    name: str,
    results: Sequence[ProtocolResult],
    caption_image: Ints,
    run: str,
    metrics: Sequence[str] = TESTED,
) -> Sheet:
    """A row a protocol and metric: the difference with its interval, and the test's p-value, Holm-adjusted over all."""
    pairs = [(result, metric) for result in results for metric in metrics]
    found = [compare_scores(name, result, caption_image, run, metric) for result, metric in pairs]
    adjusted = holm([item.p for item in found])
    rows = [
        [
            result.protocol.name,
            metric,
            item.test.difference,
            item.interval.low,
            item.interval.high,
            p,
            item.seeds[1],
        ]
        for (result, metric), item, p in zip(pairs, found, adjusted, strict=True)
    ]
    columns = [
        Column("protocol", "protocol", "text"),
        Column("metric", "metric", "text"),
        Column("difference", "difference", spec="+.2f"),
        Column("low", "95 % from", spec="+.2f"),
        Column("high", "to", spec="+.2f"),
        Column("p", "p", spec=".4f"),
        Column("seeds", f"seeds of {run}"),
    ]
    notes = (
        f"paired over images: sign-flip test, Holm-adjusted over {len(rows)}; bootstrap interval",
        f"taken as given: rows and columns are the test set's, in the order of {run}; its ids cannot be checked",
    )
    return make_sheet(f"{name} less {run}", columns, rows, notes=notes)
