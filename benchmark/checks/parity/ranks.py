"""Parity cases that belong to no method: ranks and metrics of official code, and the WordPiece preprocessing.

Ours is the production path: `rank`, `top_k`, `direction_metrics`, `evaluate`, `ensemble`, and the codec of
`benchmark/data`. Where equal scores (or NaN, which sorts to the top) leave a query's rank open, official code
ends with whatever NumPy's sort does with them; that sort is done over again, so that those numbers are
compared exactly too (tests/golden/evaluation/README.md, "Ties and NaN").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.checks.parity.official_ranks import OfficialRanks
from benchmark.errors import UserError
from benchmark.evaluation.metrics import (
    DirectionMetrics,
    RetrievalMetrics,
    direction_metrics,
    mean_metrics,
)
from benchmark.evaluation.protocol import ensemble, evaluate
from benchmark.evaluation.ranking import Floats, Ints, rank
from benchmark.guarded import parse_json
from benchmark.method import ParityCase

Array = NDArray[Any]

TOLERANCES = {
    "ranks": 0.0,
    "top1": 0.0,
    "bounds": 0.0,
    "printed": 0.0,  # lines that differ
    "metrics": 1e-9,
    "rsum": 1e-9,
    "best_irtr": 1e-9,
    "rows": 1e-9,
    "mean": 1e-9,
    "text": 0.0,
}
"""The tolerances of tests/golden/evaluation/README.md: ranks exact, metrics 1e-9, ids exact."""

KS = {5: (1, 5, 10), 9: (1, 5, 10, 20, 50, 70, 100)}
"""K of the recalls by the number of recorded metrics; median and mean rank follow them."""


# ------------------------------------------------------------------------------- ranks, metrics


def is_rank_file(content: Mapping[str, Any]) -> bool:
    """A matrix `inputs/sims` with ranks that official code gave it."""
    pattern = re.compile(r"outputs/([^/]+/)?(i2t|t2i)/ranks")
    return "inputs/sims" in content and any(pattern.fullmatch(key) for key in content)


def rank_cases(content: Mapping[str, Array]) -> list[ParityCase]:
    """Every recorded number of a rank file beside ours.

    `outputs/other_sort` comes from a sort that depends on the CPU and cannot be had everywhere: its ranks
    must lie within the bounds that ties leave, and its metrics must be those of its ranks; with the mean
    rank among them, no single number can change unnoticed.
    """
    config = parse_json(str(content["config"])) if "config" in content else {}
    sims = _as_floats(content["inputs/sims"])
    n_images, n_captions = sims.shape
    each = int(config.get("captions_per_image", n_captions // n_images))
    if n_images * each != n_captions:
        raise UserError(f"inputs/sims: found shape {sims.shape}, expected ({n_images}, {n_images * each})")
    caption_image = np.repeat(np.arange(n_images), each)
    single = OfficialRanks.of(sims, caption_image)
    cases = _harness_cases(sims, caption_image, single)
    members = [sims, *(_as_floats(content[key]) for key in sorted(content) if key.startswith("inputs/sims_"))]
    together = mean = None
    if len(members) > 1:
        mean = ensemble(members)
        together = OfficialRanks.of(mean, caption_image)
    for key in content:
        parts = key.split("/")
        if parts[0] != "outputs" or len(parts) < 2 or parts[1].endswith("fold5"):
            continue
        source = together if parts[1] == "ensemble" and together else single
        actual = _recorded(parts[1:], content, source, sims)
        if actual is not None:
            cases.append(_case(key, content[key], actual))
    cases += _fold_cases("outputs/fold5/", content, sims, caption_image)
    if mean is not None:
        cases += _fold_cases("outputs/ensemble_fold5/", content, mean, caption_image)
    return cases


def _recorded(
    parts: list[str], content: Mapping[str, Array], official: OfficialRanks, sims: Floats
) -> Array | None:
    """Ours for `outputs/<parts>`; None where the quantity is not known."""
    match parts:
        case [*_, "i2t" | "t2i" as direction, "ranks"]:
            return official.ranks(direction)
        case [*_, "i2t" | "t2i" as direction, "top1"]:
            return official.top1(direction)
        case [*front, "i2t" | "t2i" as direction, "metrics"]:
            size = content["/".join(["outputs", *front, direction, "metrics"])].size
            return _metrics(official.ranks(direction), size)
        case ["rsum"]:
            return np.asarray(official.metrics().rsum)
        case ["best_irtr"]:
            return np.asarray(official.metrics().r1_sum)
        case [*_, "printed"]:
            return np.array(_summary_lines(fold_row(official.metrics())))
        case ["bounds", name] if match_ := re.fullmatch(r"(i2t|t2i)_rank_(optimistic|pessimistic)", name):
            return official.recorded_bounds(sims, match_[1], match_[2])
        case ["other_sort", "i2t_ranks" | "t2i_ranks" as name]:
            low, high = official.bounds(name[:3])
            return np.clip(content[f"outputs/other_sort/{name}"], low, high)
        case ["other_sort", "i2t_metrics" | "t2i_metrics" as name]:
            stored = content[f"outputs/other_sort/{name[:3]}_ranks"]
            return _metrics(stored, content[f"outputs/other_sort/{name}"].size)
    return None


def _harness_cases(sims: Floats, caption_image: Ints, official: OfficialRanks) -> list[ParityCase]:
    """Check the harness beyond the recorded numbers: it refuses NaN, and its tie rule stays in bounds."""
    if not np.isfinite(sims).all():
        try:
            rank(sims, caption_image)
            refused = 0
        except UserError:
            refused = 1
        return [ParityCase("scores that are not finite are refused", np.array(1), np.array(refused), 0.0)]
    ours = rank(sims, caption_image)
    cases = []
    for direction, ranks in (("i2t", ours.i2t), ("t2i", ours.t2i)):
        low, high = official.bounds(direction)
        name = f"lower_index {direction} ranks within the bounds of ties"
        cases.append(ParityCase(name, np.clip(ranks, low, high), ranks, TOLERANCES["ranks"]))
    return cases


def _fold_cases(
    prefix: str, content: Mapping[str, Array], sims: Floats, caption_image: Ints
) -> list[ParityCase]:
    """Ranks of every fold, the metrics of the folds, their mean, and the printed lines."""
    recorded = {key[len(prefix) :]: value for key, value in content.items() if key.startswith(prefix)}
    if not recorded:
        return []
    n_folds = 1 + max(int(key.split("/")[0]) for key in recorded if key[0].isdigit())
    size = len(sims) // n_folds
    official = []
    for fold in range(n_folds):
        mine = caption_image // size == fold
        block = sims[fold * size : (fold + 1) * size, mine]
        official.append(OfficialRanks.of(block, caption_image[mine] - fold * size))
    if any(fold.has_ties for fold in official):
        folds = [fold.metrics() for fold in official]
        mean = mean_metrics(folds)
    else:
        result = evaluate(sims, caption_image, "mscoco-1k", n_images=len(sims), resamples=2)
        folds, mean = result.folds, result.metrics
    rows = np.array([fold_row(fold) for fold in folds])  # (n_folds, 13)
    lines = [line for row in rows for line in _fold_lines(row)]
    averages = fold_row(mean)
    ours: dict[str, Array] = {
        "rows": rows,
        "mean": averages,
        "printed": np.array([*lines, "-" * 35, "Mean metrics: ", *_summary_lines(rows.mean(axis=0))]),
    }
    for fold, ranks in enumerate(official):
        ours |= {f"{fold}/{direction}_ranks": ranks.ranks(direction) for direction in ("i2t", "t2i")}
    return [_case(prefix + key, recorded[key], ours[key]) for key in recorded if key in ours]


def fold_row(metrics: RetrievalMetrics) -> Array:
    """(13,): i2t R@1, 5, 10, median, mean; the same of t2i; mean i2t recall, mean t2i recall, rsum."""
    i2t, t2i = metrics.i2t, metrics.t2i
    return np.array([*_five(i2t), *_five(t2i), i2t.recall_sum / 3, t2i.recall_sum / 3, metrics.rsum])


def _five(metrics: DirectionMetrics) -> list[float]:
    return [*(metrics.recall[k] for k in (1, 5, 10)), metrics.median_rank, metrics.mean_rank]


def _summary_lines(row: Array) -> list[str]:
    """Return the lines that official code logs for one row of 13 numbers, with one decimal."""
    text = [f"{value:.1f}" for value in row]
    return [
        f"rsum: {text[12]}",
        f"Average i2t Recall: {text[10]}",
        f"Image to text: {' '.join(text[:5])}",
        f"Average t2i Recall: {text[11]}",
        f"Text to image: {' '.join(text[5:10])}",
    ]


def _fold_lines(row: Array) -> list[str]:
    """Return the lines that official code logs for one fold."""
    text = [f"{value:.1f}" for value in row]
    return [
        f"Image to text: {', '.join(text[:5])}",
        f"Text to image: {', '.join(text[5:10])}",
        f"rsum: {text[12]} ar: {text[10]} ari: {text[11]}",
    ]


def _metrics(ranks: Ints, size: int) -> Array:
    """The recorded metrics of one direction; `size` of them."""
    if size not in KS:
        raise UserError(f"metrics: found {size} numbers, expected one of {sorted(KS)}")
    return np.array(direction_metrics(ranks, KS[size]).row())


def _case(key: str, recorded: Array, actual: Array) -> ParityCase:
    """Ours in the stored type: what was recorded in float32 cannot agree to 1e-9 in float64."""
    name = key.split("/")[-1]
    if name == "printed":
        return ParityCase(key, _lines(recorded), actual, TOLERANCES["printed"])
    kind = "bounds" if "/bounds/" in key else re.sub(r"^(i2t|t2i)_", "", name)
    if recorded.dtype == np.float32:
        actual = actual.astype(np.float32)
    return ParityCase(key, recorded, actual, TOLERANCES[kind])


def _lines(recorded: Array) -> Array:
    try:
        return np.array(parse_json(str(recorded)), dtype=str)
    except ValueError:
        return recorded.astype(str)


def _as_floats(sims: Array) -> Floats:
    return sims if sims.dtype in (np.float32, np.float64) else sims.astype(np.float64)


# ------------------------------------------------------------------------------------- captions


def is_text_file(content: Mapping[str, Any]) -> bool:
    """A WordPiece vocabulary with captions that official preprocessing encoded."""
    return {"vocab", "rows", "max_text_len"} <= content.keys()


ROW_FIELDS = {"caption", "tokens", "input_ids", "attention_mask", "token_type_ids", "length"}


def text_cases(content: Mapping[str, Any]) -> tuple[list[ParityCase], list[str]]:
    """Recorded ids, masks, lengths, pieces and batch order beside those of the production codec.

    Also returns the names of fields that are not known and so were not compared.
    """
    from benchmark.data.text.codec import WordPieceCodec

    vocabulary: Sequence[str] = content["vocab"]
    rows: Sequence[Mapping[str, Any]] = content["rows"]
    codec = WordPieceCodec(vocabulary, int(content["max_text_len"]), "golden")
    ids_tensor, lengths_tensor = codec.encode([row["caption"] for row in rows])
    ids, lengths = ids_tensor.numpy(), lengths_tensor.numpy()  # (n, L), (n,)
    mask = np.arange(ids.shape[1]) < lengths[:, None]
    pieces = [" ".join(codec.tokens(row["caption"])) for row in rows]
    order = np.argsort(-lengths, kind="stable")  # the order in which captions are scored
    ours: dict[str, tuple[Any, Array]] = {
        "input_ids": ([row["input_ids"] for row in rows], ids),
        "attention_mask": ([row["attention_mask"] for row in rows], mask.astype(np.int64)),
        "token_type_ids": ([row["token_type_ids"] for row in rows], np.zeros_like(ids)),  # none are passed on
        "length": ([row["length"] for row in rows], lengths),
        "tokens": ([" ".join(row["tokens"]) for row in rows], np.array(pieces)),
    }
    names = {"order": order, "lengths": lengths[order]}
    collate = content.get("collate", {})
    ours |= {f"collate/{key}": (collate[key], names[key]) for key in collate if key in names}
    unknown = sorted(content.keys() - {"vocab", "rows", "max_text_len", "collate"})
    unknown += [f"collate/{key}" for key in collate if key not in names]
    unknown += sorted({f"rows/{key}" for row in rows for key in row.keys() - ROW_FIELDS})
    return [
        ParityCase(name, np.array(expected), actual, TOLERANCES["text"])
        for name, (expected, actual) in ours.items()
    ], unknown
