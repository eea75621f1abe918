"""Parity of dictionaries over word vectors, and of recall by identity: recorded numbers beside the production code's.

A dictionary file holds an ordered vocabulary, captions, and what two sets of rules make of them; a recall file holds
scores with an identity of each image and caption, any number of captions an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.data.text.vectors import Dictionary, WordVectorCodec, dictionary_words, splitter
from benchmark.errors import UserError
from benchmark.evaluation.metrics import direction_metrics
from benchmark.evaluation.ranking import Floats, rank
from benchmark.method import ParityCase

Array = np.ndarray[Any, Any]

PLACES = 32
RULES = {"flickr": (" \t", "- .,()"), "coco": ("- .,()", "- .,()?")}
"""The characters that separate words, for the dictionary and for reading captions (data.md 7.5)."""


def is_dictionary_file(content: Mapping[str, Any]) -> bool:
    """An ordered vocabulary with captions that official preprocessing turned into ids."""
    return {"vocabulary", "train_captions", "captions"} <= content.keys()


def dictionary_cases(content: Mapping[str, Any]) -> tuple[list[ParityCase], list[str]]:
    """Dictionaries, ids and lengths by both rules; also the names of fields that are not known."""
    cases = []
    for rule, (for_words, for_ids) in RULES.items():
        words = dictionary_words(content["vocabulary"], content["train_captions"], splitter(for_words))
        codec = WordVectorCodec(Dictionary(tuple(words), "golden"), PLACES, for_ids)
        ids, lengths = codec.encode(content["captions"])
        placed = np.zeros((len(ids), PLACES), dtype=np.int64)
        placed[:, : ids.shape[1]] = ids.numpy()
        for name, ours in (
            ("dictionary", np.array(words)),
            ("encoded", placed),
            ("lengths", lengths.numpy()),
        ):
            cases.append(ParityCase(f"{name}_{rule}", np.array(content[f"{name}_{rule}"]), ours, 0.0))
    known = {"vocabulary", "train_captions", "captions", *(case.name for case in cases)}
    return cases, sorted(content.keys() - known)


# --------------------------------------------------------------------------------- recall by identity


def is_recall_file(content: Mapping[str, Any]) -> bool:
    """Scores of images and captions that share identities, with recall by official code."""
    return {"inputs/similarity", "inputs/img_id", "inputs/txt_id", "outputs/i2t_r1_r5_r10"} <= content.keys()


def recall_cases(content: Mapping[str, Array]) -> list[ParityCase]:
    """Recall by the production ranks, ties to the lower index; the median and the mean precision are official only."""
    sims, images, captions = (content[f"inputs/{name}"] for name in ("similarity", "img_id", "txt_id"))
    rows = {int(identity): row for row, identity in enumerate(images)}
    if len(rows) != len(images):
        raise UserError("field 'inputs/img_id': an identity comes twice, expected one image of each")
    owner = np.array([rows[int(identity)] for identity in captions], dtype=np.int64)
    order = np.argsort(owner, kind="stable")
    ranks = rank(sims[:, order], owner[order])
    t2i = np.empty_like(ranks.t2i)
    t2i[order] = ranks.t2i
    products = content["inputs/img_emb"].astype(np.float64) @ content["inputs/txt_emb"].astype(np.float64).T
    cases = [ParityCase("products of embeddings", sims, products, 1e-5)]
    hits = owner == np.arange(len(images))[:, None]
    for direction, found, scores, correct in (("i2t", ranks.i2t, sims, hits), ("t2i", t2i, sims.T, hits.T)):
        recall = direction_metrics(found).recall
        ours = {
            "r1_r5_r10": np.array([recall[k] / 100 for k in (1, 5, 10)]),
            "medr": np.array(_median(found, scores.shape[1])),
            "map": np.array(_mean_precision(scores, correct)),
        }
        for name, value in ours.items():
            cases.append(
                ParityCase(f"outputs/{direction}_{name}", content[f"outputs/{direction}_{name}"], value, 1e-6)
            )
    return cases


def _median(ranks: Array, gallery: int) -> int:
    """The smallest k that more than half of the queries have a rank within; ranks count from 0."""
    shares = np.array([(ranks < k).mean() for k in range(1, gallery + 1)])
    return int(np.argmax(shares > 0.5)) + 1


def _mean_precision(scores: Floats, correct: Array) -> float:
    """Mean over queries of the area under precision and recall, by trapezia."""
    found = []
    for row, right in zip(scores, correct, strict=True):
        places = np.flatnonzero(right[np.argsort(-row, kind="stable")])  # from 0
        hits = np.arange(1, len(places) + 1)
        before = np.where(places > 0, (hits - 1) / np.maximum(places, 1), 1.0)
        found.append(float(((before + hits / (places + 1)) / 2).mean()))
    return float(np.mean(found))
