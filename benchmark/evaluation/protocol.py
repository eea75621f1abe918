"""Protocols: which images make a gallery, and how a similarity matrix becomes the published numbers.

flickr30k is the 1,000-image test set; mscoco-5k the whole MSCOCO test set; mscoco-1k the mean over its five
folds of 1,000 consecutive images in Karpathy order (data.md 1.5, tests/golden/evaluation/README.md); flickr8k is a
small real test set, and scenes the embedded one, of any size. A test set that is cut down keeps its protocols,
with smaller galleries. A new protocol is one more line of the table. An own dataset is evaluated under `whole`: all of
its test images, any number of captions each, with what chance would score beside; in tables it has the dataset's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.cards import card_names, find_card
from benchmark.errors import UserError, cut, nearest
from benchmark.evaluation.bootstrap import Intervals, bootstrap
from benchmark.evaluation.chance import chance_level
from benchmark.evaluation.metrics import (
    KS,
    PlaceMetrics,
    RetrievalMetrics,
    mean_metrics,
    place_metrics,
    retrieval_metrics,
)
from benchmark.evaluation.ranking import (
    Floats,
    Ints,
    Ranks,
    TieRule,
    captions_of,
    check_matrix,
    positions,
)
from benchmark.evaluation.strips import Strip, rank_any


@dataclass(frozen=True)
class Protocol:
    """A test set and its folds."""

    name: str
    dataset: str
    n_images: int | None
    """Images of the test set; None: any number."""
    folds: int
    """Equal blocks of consecutive images, each with its own captions as gallery; 1: the whole."""
    summary: str
    chance: bool = False
    """True where the level of chance stands beside the recalls."""


WHOLE = "whole"
"""The name of the one protocol of any dataset that has all test images in one gallery."""

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("scenes", "scenes", None, 1, "embedded test set, any size"),
        Protocol("flickr30k", "flickr30k", 1000, 1, "1K test"),
        Protocol("flickr8k", "flickr8k", 1000, 1, "1K test; no paper here reports it"),
        Protocol("mscoco-1k", "mscoco", 5000, 5, "mean of five folds of 1,000 images"),
        Protocol("mscoco-5k", "mscoco", 5000, 1, "all 5,000 test images"),
    )
}


OWN = Protocol("own", "own", None, 1, "own sizes, of no dataset that is known here", chance=True)
"""The protocol of scores that belong to no dataset; no table has it."""


def find_protocol(name: str) -> Protocol | None:
    """The protocol of that name, an own dataset's included; None where there is none."""
    return PROTOCOLS.get(name) or _whole(name)


def get_protocol(name: str) -> Protocol:
    """The protocol of that name; raises UserError that names the nearest one."""
    found = find_protocol(name)
    if found is None:
        raise UserError(f"unknown protocol '{name}'{nearest(name, [*PROTOCOLS, *card_names()])}")
    return found


def protocols_of(dataset: str) -> list[Protocol]:
    """The protocols that a dataset's test set is evaluated under; raises UserError for an unknown dataset."""
    found = [protocol for protocol in PROTOCOLS.values() if protocol.dataset == dataset]
    own = None if found else _whole(dataset)
    if own is not None:
        return [own]
    if not found:
        known = {*(protocol.dataset for protocol in PROTOCOLS.values()), *card_names()}
        raise UserError(f"unknown dataset '{dataset}'{nearest(dataset, known)}")
    return found


def _whole(dataset: str) -> Protocol | None:
    """The protocol of an own dataset; None where no card has the name."""
    if find_card(dataset) is None:
        return None
    return Protocol(dataset, dataset, None, 1, "the whole test set of an own dataset, any size", chance=True)


@dataclass(frozen=True)
class ProtocolResult:
    """Everything that a protocol says about a similarity matrix."""

    protocol: Protocol
    n_images: int
    n_captions: int
    metrics: RetrievalMetrics
    """Means over the folds."""
    folds: list[RetrievalMetrics]
    """Metrics of each fold; one entry where there are no folds."""
    intervals: Intervals
    ranks: Ranks
    """Every query's rank in its own fold's gallery, in the order of the matrix; ties: shares over all queries."""
    chance: dict[str, float] | None = None
    """The scores of a random order, by metric, where the protocol has it beside."""


def evaluate(
    sims: Floats | Strip,
    caption_image: Ints,
    protocol: Protocol | str,
    tie_rule: TieRule = "lower_index",
    *,
    n_images: int | None = None,
    ks: Sequence[int] = KS,
    resamples: int = 1000,
    seed: int = 0,
) -> ProtocolResult:
    """Ranks, metrics, folds and intervals of a matrix under a protocol.

    sims: (n_images, n_captions) float32 or float64, images in protocol order, or a process's strip of them, where all
    processes get the result; caption_image: (n_captions,).
    n_images: the count to expect in place of the protocol's own (a cut-down test set, a golden file).
    Raises UserError where the matrix does not fit the protocol, the map does not fit the matrix, or a score
    is not finite.
    """
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    if not isinstance(sims, Strip):
        check_matrix(sims)
    _check_size(len(sims), protocol, n_images)
    own = captions_of(caption_image, *sims.shape)
    if protocol.folds == 1:
        ranked = [(rank_any(sims, caption_image, tie_rule), caption_image)]
        ranks = ranked[0][0]
    else:
        columns = _fold_columns(own, protocol.folds)
        ranked = _rank_folds(sims, caption_image, columns, tie_rule)
        ranks = _join(ranked, columns, tie_rule)
    folds = [retrieval_metrics(fold, ks) for fold, _ in ranked]
    metrics = folds[0] if len(folds) == 1 else mean_metrics(folds)
    intervals = bootstrap(ranked, resamples=resamples, seed=seed, ks=ks)
    n_rows, n_columns = sims.shape
    level = chance_level(caption_image, n_rows, ks) if protocol.chance else None
    return ProtocolResult(protocol, n_rows, n_columns, metrics, folds, intervals, ranks, level)


def evaluate_places(sims: Floats, caption_image: Ints, result: ProtocolResult) -> dict[str, PlaceMetrics]:
    """MRR, mAP and nDCG of the matrix that `result` was made of, by direction; means over its folds."""
    own = captions_of(caption_image, *sims.shape)
    size = len(own) // result.protocol.folds
    found: dict[str, list[PlaceMetrics]] = {"i2t": [], "t2i": []}
    for fold, columns in enumerate(_fold_columns(own, result.protocol.folds)):
        images = range(fold * size, (fold + 1) * size)
        local = [np.searchsorted(columns, own[image]) for image in images]
        rows = (np.ascontiguousarray(sims[image, columns]) for image in images)
        placed = [positions(row, mine, result.ranks.tie_rule) for row, mine in zip(rows, local, strict=True)]
        query = np.repeat(np.arange(size), [len(mine) for mine in local])
        found["i2t"].append(place_metrics(np.concatenate(placed), query))
        found["t2i"].append(place_metrics(result.ranks.t2i[columns], np.arange(len(columns))))
    return {way: _mean_places(folds) for way, folds in found.items()}


def _mean_places(folds: Sequence[PlaceMetrics]) -> PlaceMetrics:
    return PlaceMetrics(*np.mean([(fold.mrr, fold.map, fold.ndcg) for fold in folds], axis=0).tolist())


def check_test_size(dataset: str, n_images: int) -> None:
    """Raise UserError where so many test images cannot be cut into the folds of one of the dataset's protocols."""
    for protocol in protocols_of(dataset):
        _check_size(n_images, protocol, n_images)


def _check_size(found: int, protocol: Protocol, told: int | None) -> None:
    expected = protocol.n_images if told is None else told
    if expected is not None and found != expected:
        raise UserError(
            f"protocol {protocol.name}: found scores of {found} images, expected {expected} ({protocol.summary})"
        )
    if found % protocol.folds:
        raise UserError(
            f"protocol {protocol.name}: {found} images cannot be cut into {protocol.folds} equal folds; keep a "
            f"multiple of {protocol.folds} of them (field 'data.first_images.test' of a recipe or profile)"
        )


def _fold_columns(own: list[Ints], folds: int) -> list[Ints]:
    """Caption rows of each fold of consecutive images, ascending."""
    size = len(own) // folds
    return [np.sort(np.concatenate(own[f * size : (f + 1) * size])) for f in range(folds)]


def _rank_folds(
    sims: Floats | Strip, caption_image: Ints, columns: list[Ints], tie_rule: TieRule
) -> list[tuple[Ranks, Ints]]:
    """Ranks of each fold: its images against its captions only; with the map counted within the fold."""
    size = len(sims) // len(columns)
    ranked = []
    for fold, captions in enumerate(columns):
        first, last = int(captions[0]), int(captions[-1]) + 1
        rows, chosen = slice(fold * size, (fold + 1) * size), slice(first, last)
        part = chosen if last - first == len(captions) else captions
        block = sims.block(rows, part) if isinstance(sims, Strip) else sims[rows][:, part]
        local = caption_image[captions] - fold * size
        try:
            ranked.append((rank_any(block, local, tie_rule), local))
        except UserError as error:
            raise UserError(
                f"fold {fold} (images {fold * size} and on, captions {first} and on): {error}"
            ) from None
    return ranked


def _join(ranked: list[tuple[Ranks, Ints]], columns: list[Ints], tie_rule: TieRule) -> Ranks:
    """Ranks of all folds in the order of the matrix; folds are of equal size in images, not always in captions."""
    t2i = np.empty(sum(map(len, columns)), np.int64)
    for (ranks, _), captions in zip(ranked, columns, strict=True):
        t2i[captions] = ranks.t2i
    folds = [ranks for ranks, _ in ranked]
    ties_t2i = sum(ranks.ties_t2i * len(ranks.t2i) for ranks in folds) / len(t2i)
    ties_i2t = sum(ranks.ties_i2t for ranks in folds) / len(folds)
    return Ranks(np.concatenate([ranks.i2t for ranks in folds]), t2i, ties_i2t, ties_t2i, tie_rule)


def ensemble(matrices: Sequence[Floats]) -> Floats:
    """The arithmetic mean of similarity matrices of the same test set: (n_images, n_captions).

    In float64, so that rounding makes no ties that the members do not have. Raises UserError unless there
    are at least two matrices of one shape.
    """
    if len(matrices) < 2:
        raise UserError(f"ensemble: found {len(matrices)} matrix, expected at least two")
    for number, sims in enumerate(matrices):
        check_matrix(sims)
        if sims.shape != matrices[0].shape:
            raise UserError(
                f"ensemble: matrix {number} has shape {sims.shape}, expected {matrices[0].shape} as the first"
            )
    mean: Floats = np.zeros(matrices[0].shape)
    for sims in matrices:
        mean += sims
    mean /= len(matrices)
    return mean


# ------------------------------------------------------------------------------- foreign matrices


def score_matrix(
    path: Path,
    dataset: str | None,
    *,
    protocol: str | None = None,
    caption_map: Path | None = None,
    captions_per_image: int = 5,
    tie_rule: TieRule = "lower_index",
    n_images: int | None = None,
    ks: Sequence[int] = KS,
    resamples: int = 1000,
    seed: int = 0,
) -> list[ProtocolResult]:
    """Evaluate a matrix from elsewhere, `rematch score`: a .npy file (n_images, n_captions), higher is better.

    caption_map: a .npy file of integers (n_captions,), the row of each caption's image; without it, the first
    `captions_per_image` captions belong to the first image, and so on; an own dataset's index has its map. Without
    `protocol`, all protocols of the dataset; without a dataset, the sizes are the matrix's own. The file is mapped, not
    loaded. Raises UserError for an unreadable file, a shape that does not fit (a transposed matrix is told apart), NaN
    and infinite scores.
    """
    chosen = choose_protocols(dataset, protocol)
    expected = n_images if n_images is not None else chosen[0].n_images
    sims, caption_image = read_matrix(path, dataset, caption_map, expected, captions_per_image)
    try:
        options: dict[str, Any] = {"n_images": n_images, "ks": ks, "resamples": resamples, "seed": seed}
        return [evaluate(sims, caption_image, item, tie_rule, **options) for item in chosen]
    except UserError as error:
        raise UserError(f"{path.as_posix()}: {error}") from None


def choose_protocols(dataset: str | None, protocol: str | None = None) -> list[Protocol]:
    """The protocols of a dataset, or the named one of them; without a dataset, that of own sizes.

    `whole` names the one with all test images in one gallery, whatever it is called. Raises UserError for unknown
    names, and for a protocol that is not the dataset's.
    """
    if dataset is None:
        if protocol not in (None, WHOLE):
            assert protocol is not None
            raise UserError(
                f"protocol '{protocol}' is about dataset '{get_protocol(protocol).dataset}': name it too"
            )
        return [OWN]
    chosen = protocols_of(dataset)
    if protocol is None:
        return chosen
    if protocol == WHOLE:
        return [item for item in chosen if item.folds == 1]
    if get_protocol(protocol) not in chosen:
        names = ", ".join(item.name for item in chosen)
        raise UserError(f"protocol '{protocol}' is not one of dataset '{dataset}'; valid: {names}")
    return [get_protocol(protocol)]


def read_matrix(
    path: Path,
    dataset: str | None,
    caption_map: Path | None = None,
    n_images: int | None = None,
    captions_per_image: int = 5,
) -> tuple[Floats, Ints]:
    """A matrix and its caption-to-image map, as `score_matrix` reads them; n_images: the count to expect."""
    sims = load_array(path, mapped=True)
    given = _own_map(dataset) if caption_map is None else load_array(caption_map)
    try:
        check_matrix(sims)
        if given is None:
            if sims.shape[0] == sims.shape[1] == 5 * (len(sims) // 5) and _repeats(sims):
                raise UserError(
                    f"found scores of shape {sims.shape}, every row five times, as of images repeated for their "
                    "captions; take every fifth (scores[::5])"
                )
            return sims, captions_each(sims.shape, captions_per_image, n_images, dataset)
        _check_transposed(sims.shape, given.shape[0] if given.ndim else None, n_images)
    except UserError as error:
        raise UserError(f"{path.as_posix()}: {error}") from None
    return sims, given


def _own_map(dataset: str | None) -> Ints | None:
    """The map of an own dataset's test captions, as its index has it; None for any other dataset."""
    own = None if dataset is None else find_card(dataset)
    if own is None:
        return None
    from benchmark.data.own.index import caption_map  # what reads tables comes along, which takes a second

    return caption_map(own)


def load_array(path: Path, mapped: bool = False) -> Floats:
    """The array of a .npy file, mapped into memory where asked for; raises UserError for any other file."""
    if not path.is_file():
        known = [item.as_posix() for item in path.parent.glob("*.npy")] if path.parent.is_dir() else []
        raise UserError(f"{path.as_posix()}: no such file{nearest(path.as_posix(), known)}")
    with path.open("rb") as handle:
        found = _kind_of(handle.read(64))
    if found is not None:
        raise UserError(
            f"{path.as_posix()}: not a readable .npy file: found {found}; save the one array with numpy.save"
        )
    try:
        array: Floats = np.load(path, mmap_mode="r", allow_pickle=False)
        if min(array.shape, default=0) < 0:
            raise ValueError(f"a shape of {array.shape}")
        return array if mapped else np.array(array)
    except Exception as error:  # a header of nonsense makes numpy raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path.as_posix()}: not a readable .npy file: {cut(reason)}; save it again with numpy.save"
        ) from None


def _kind_of(head: bytes) -> str | None:
    """Return what a file begins like, where that is no .npy file."""
    if head.startswith(b"\x93NUMPY"):
        return None
    if head.startswith(b"PK"):
        return "an archive, as numpy.savez and torch.save write it"
    if head[8:10] == b'{"':
        return "a safetensors file"
    if head.startswith(b"\x80"):
        return "a pickle, as torch.save wrote it before version 1.6"
    if head and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "text, such as a .csv file"
    return "no .npy file" if head else "an empty file"


def captions_each(
    shape: tuple[int, ...], each: int = 5, expected: int | None = None, dataset: str | None = None
) -> Ints:
    """The map of `each` captions an image, one image after the other, where the shape allows it."""
    if each < 1:
        raise UserError(f"captions an image: found {each}, expected 1 at least")
    n_images, n_captions = shape
    _check_transposed(shape, each * n_captions, n_captions)
    if n_captions != each * n_images:
        wanted = f"({expected}, {each * expected})" if expected else f"(n, {each}n)"
        raise UserError(
            f"found scores of shape {shape}, expected {wanted} for {dataset or OWN.summary}; "
            "with another number of captions an image, give a caption map"
        )
    return np.repeat(np.arange(n_images), each)


def _repeats(sims: Floats) -> bool:
    """Return True if the first, the middle and the last five rows are each the same row."""
    starts = {0, len(sims) // 10 * 5, len(sims) - 5}
    return all(bool((sims[start : start + 5] == sims[start]).all()) for start in starts)


def _check_transposed(shape: tuple[int, ...], n_captions: int | None, n_images: int | None) -> None:
    if shape[0] == n_captions and shape[1] != n_captions and n_images in (None, shape[1]):
        raise UserError(
            f"found scores of shape {shape}, captions in rows; expected images in rows: transpose it (scores.T)"
        )
