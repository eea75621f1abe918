"""Rematch from Python: `import benchmark`, then `benchmark.evaluate(...)` and the other functions here (docs/api.md).

    scored = benchmark.evaluate(scores, 5)                      # five captions an image
    scored.values()["rsum"], scored.values()["t2i_map"]
    benchmark.compare(benchmark.evaluate(scores, 5, "scenes"), "rcar-i2t").p

Each is what a command does, without the terminal. What a caller can get wrong raises `benchmark.UserError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.data.load import load_dataset
from benchmark.data.splits import Split, SplitName
from benchmark.errors import UserError
from benchmark.evaluation.metrics import KS, PlaceMetrics
from benchmark.evaluation.protocol import OWN, ProtocolResult, captions_each, evaluate_places
from benchmark.evaluation.protocol import evaluate as evaluate_protocol
from benchmark.evaluation.ranking import Floats, Ints, TieRule, check_matrix
from benchmark.records.frame import frame
from benchmark.records.record import RunRecord
from benchmark.reporting.against import compare_named, compare_scores
from benchmark.reporting.leaderboard.comparisons import RunComparison

if TYPE_CHECKING:
    from benchmark.run.job import Settings
    from benchmark.share.exported import ExportedRun

__all__ = ["Evaluation", "UserError", "compare", "evaluate", "frame", "load_run", "load_split", "reproduce"]


@dataclass(frozen=True)
class Evaluation:
    """A similarity matrix under a protocol."""

    result: ProtocolResult
    """Ranks, metrics, folds and intervals."""
    caption_image: Ints
    """(n_captions,) the image row of each caption."""
    places: Mapping[str, PlaceMetrics]
    """MRR, mAP and nDCG by direction."""
    name: str = "scores"

    def values(self) -> dict[str, float]:
        """Every metric by name: `i2t_r1` ... `t2i_ndcg`, `rsum`; recalls, MRR, mAP and nDCG in percent."""
        more = {
            f"{way}_{name}": value for way, side in self.places.items() for name, value in vars(side).items()
        }
        return self.result.metrics.values() | more

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals over images, by the names of recalls and `rsum`."""
        return dict(self.result.intervals.bounds)


def evaluate(
    scores: Floats,
    caption_image: Ints | int = 5,
    protocol: str | None = None,
    *,
    tie_rule: TieRule = "lower_index",
    ks: Sequence[int] = KS,
    name: str = "scores",
) -> Evaluation:
    """Metrics of a similarity matrix, as `rematch score` gives them.

    scores: (n_images, n_captions) float32 or float64, higher is better. caption_image: (n_captions,) the image row of
    each caption, or how many captions every image has, one after the other. protocol: scenes, flickr30k, flickr8k,
    mscoco-1k or mscoco-5k, which fix the sizes and folds; None: own sizes. ks: more K of R@K. Raises UserError where
    sizes do not fit and where a score is not finite.
    """
    check_matrix(scores)
    owner = (
        captions_each(scores.shape, caption_image)
        if isinstance(caption_image, int)
        else np.asarray(caption_image)
    )
    result = evaluate_protocol(scores, owner, protocol or OWN, tie_rule, ks=ks)
    return Evaluation(result, owner, evaluate_places(scores, owner, result), name)


def compare(a: Evaluation | str, b: str, metric: str = "rsum", protocol: str | None = None) -> RunComparison:
    """Test `a` less `b` over the same images: sign-flip test, bootstrap interval, and over seeds where both have three.

    a: the name of a run (`rcar-i2t`, `scenes/rcar-i2t/0`), or what `evaluate` returned for a protocol that `b` has;
    b: the name of a run. metric: `i2t_r1`, ..., `rsum` or `mean_r1`. protocol: of two runs, by default the first of
    `a`. Raises UserError where the two are not of the same images in the same way.
    """
    if isinstance(a, str):
        return compare_named(a, b, metric, protocol)
    known = a.result.protocol.name
    if protocol not in (None, known):
        raise UserError(f"protocol: found '{protocol}', expected '{known}' as the scores were evaluated")
    return compare_scores(a.name, a.result, a.caption_image, b, metric)


def load_split(
    dataset: str,
    split: SplitName = "test",
    *,
    data_dir: Path | None = None,
    captions_per_image: int | None = 5,
    first_images: int | None = None,
    show_progress: bool = False,
) -> Split:
    """Load a split of a dataset, verified: captions, ids, `caption_image`, and images by row.

    data_dir: a local copy in place of the Hub's. first_images: only so many. Raises UserError for an unknown dataset
    and for data that are not the published split.
    """
    few = {} if first_images is None else {split: first_images}
    loaded = load_dataset(
        dataset,
        splits=[split],
        data_dir=data_dir,
        captions_per_image=captions_per_image,
        first_images=few,
        show_progress=show_progress,
    )
    return loaded.splits[split]


def load_run(source: Path | str, *, device: str | None = None, data_dir: Path | None = None) -> ExportedRun:
    """Load what `rematch export` wrote, a folder or a repository of the Hub: `load_run(folder).query("a red circle")`.

    data_dir: local data in place of the Hub's. Raises UserError for a folder that is no export of a run.
    """
    from benchmark.share.exported import load_run as load

    return load(source, device=device, data_dir=data_dir)


def reproduce(
    target: str,
    dataset: str | None = None,
    *,
    seeds: Sequence[int] | None = None,
    profile: str | None = None,
    device: str | None = None,
    settings: Settings | None = None,
) -> list[RunRecord]:
    """Train and evaluate recipes as `rematch reproduce` does, and return the run records; no table is written.

    target: a method, `all` or a recipe's path. dataset: default scenes without a GPU, else flickr30k. seeds: default
    each recipe's. settings: folders, local data, resume and so on; `device` goes before theirs.
    """
    from benchmark.run.job import Settings
    from benchmark.run.reproduce import reproduce as make_run
    from benchmark.run.resolve import (
        check_folders,
        check_runs,
        check_wanted,
        choose_dataset,
        find_runs,
        left_over,
        pick_device,
    )

    if settings is None:
        picked = pick_device(device)
        settings = Settings(picked, left_over(device, picked), show_progress=False)
    elif device is not None:
        settings = replace(settings, device=pick_device(device), no_gpu=None)
    if dataset is None and not Path(target).suffix:
        dataset = choose_dataset(settings.device)
    runs = find_runs(target, dataset, profile, data_dir=settings.data_dir)
    check_runs(runs)
    check_wanted(runs, settings)
    check_folders(runs, settings.data_dir)
    return [
        make_run(run.with_seed(seed), settings) for run in runs for seed in dict.fromkeys(seeds or [run.seed])
    ]
