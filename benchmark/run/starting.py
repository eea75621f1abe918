"""A recipe to start from on data of one's own: a method's recipe for `scenes` or Flickr30K, sized to the data.

`small` starts from the recipe of the embedded dataset (narrow layers, all from scratch, minutes), `full` from the
published set-up for Flickr30K. What is changed is listed in the recipe's departures.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmark.data.cards import Located
from benchmark.data.own.index import read_index
from benchmark.data.own.layouts import open_regions
from benchmark.data.published.catalogue import get_entry
from benchmark.errors import UserError, nearest
from benchmark.files import write_text
from benchmark.inputs import WordText
from benchmark.places import RECIPES, listing, shipped
from benchmark.recipe.faults import validated
from benchmark.recipe.files import load_recipe, read_document
from benchmark.recipe.schema import Recipe
from benchmark.registry import get_method
from benchmark.run.job import caption_counts, split_sizes

Size = Literal["small", "full"]
BASES: dict[Size, str] = {"small": "scenes", "full": "flickr30k"}
"""The dataset whose recipes a size starts from."""
ENOUGH = 20_000
"""Training captions from which a recipe starts from the published set-up."""
MOST_EPOCHS: dict[Size, int] = {"small": 10, "full": 3}
"""How many times the epochs of its base a recipe has at most, where its data are fewer."""
STEPS = 4
"""Steps an epoch at least, as far as batches of 2 allow."""
WIDTHS = {"random": 128, "efficientnet_lite0": 1280, "detector": 2048}
"""The width of region features by what makes them."""
FEATURES = ("detector", "grid", "scan", "efficientnet_lite0")

HEAD = """\
# {method} on {dataset}, written by `rematch recipe new` from {base}, sized to {train:,} training images with
# {captions:,} captions. Every number may be changed; docs/own-data.md explains the fields that matter most.
"""


@dataclass(frozen=True)
class Wanted:
    """A recipe as a user asks for it; None: chosen by method and data."""

    method: str
    dataset: str
    features: str | None = None
    variant: str | None = None
    size: str | None = None
    epochs: int | None = None
    force: bool = False


def write_recipe(wanted: Wanted, folder: Path = RECIPES) -> tuple[Path, list[str]]:
    """Write a recipe for an own dataset, or all those of an ensemble; returns its path and what to say of it.

    Raises UserError for an unknown method, dataset, variant or source of features, for one that the method cannot
    read, and for a recipe that is there already.
    """
    get_method(wanted.method)
    own = get_entry(wanted.dataset).own
    if own is None:
        raise UserError(
            f"option --dataset: found '{wanted.dataset}', whose recipes are there already (`rematch list recipes "
            f"{wanted.method} --dataset {wanted.dataset}`); expected a dataset of your own"
        )
    size = _size(wanted.size, own)
    base = choose_base(wanted, size)
    whole = read_document(base)
    members = [base.with_name(f"{stem}.yaml") for stem in whole.get("ensemble", ())]
    named = {path: folder / wanted.method / _named(path, wanted.dataset, size) for path in (*members, base)}
    for path in named.values():
        if path.exists() and not wanted.force:
            raise UserError(f"{path.as_posix()}: there already; --force takes its place")
    documents = {path: sized(wanted, own, path, size) for path in members or [base]}
    recipes = {path: validated(Recipe, document, named[path]) for path, document in documents.items()}
    if members:
        documents[base] = _together(wanted, base, [named[path].stem for path in members])
    for path, document in documents.items():
        body = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
        write_text(named[path], _head(wanted, path, own) + body)
    said = [
        f"{f'{named[path].as_posix()}: ' if members else ''}{_length(recipe)}"
        for path, recipe in recipes.items()
    ]
    departures = dict.fromkeys(line for document in documents.values() for line in document["departures"])
    return named[base], [*said, *(f"departure: {line}" for line in departures)]


def _named(base: Path, dataset: str, size: Size) -> str:
    """Return the name of the file of a recipe that starts from `base`."""
    variant = base.stem.removeprefix(BASES[size]).strip("-")
    return f"{'-'.join(filter(None, (dataset, variant)))}.yaml"


def _head(wanted: Wanted, base: Path, own: Located) -> str:
    train = own.card.counts["train"]
    return HEAD.format(
        method=wanted.method,
        dataset=wanted.dataset,
        base=(RECIPES / wanted.method / base.name).as_posix(),
        train=train.images,
        captions=train.captions,
    )


def _together(wanted: Wanted, base: Path, members: list[str]) -> dict[str, Any]:
    """Return the document of an ensemble; what departs stands in its members."""
    return {
        "summary": f"{wanted.method} on {wanted.dataset}, the mean of similarity matrices, from {base.stem}",
        "ensemble": members,
        "departures": _kept(read_document(base)),
    }


def _length(recipe: Recipe) -> str:
    steps, count = -(-_units(recipe) // recipe.training.batch_size), recipe.training.epochs
    return f"{count} epoch{'' if count == 1 else 's'} of {steps:,} steps, batches of {recipe.training.batch_size}"


def _kept(document: dict[str, Any]) -> list[str]:
    """Return the departures of a recipe that are not about its data."""
    return [line for line in document["departures"] if "scenes" not in line and "word vectors" not in line]


def _size(told: str | None, own: Located) -> Size:
    for size in BASES:
        if told == size:
            return size
    if told is not None:
        raise UserError(f"option --size: found '{told}'{nearest(told, BASES)}")
    return "full" if own.card.counts["train"].captions >= ENOUGH else "small"


def choose_base(wanted: Wanted, size: Size) -> Path:
    """Return the recipe to start from: of the variant that is named, else a single model that reads whole words.

    Raises UserError where the method has no such recipe.
    """
    dataset = BASES[size]
    folders = dict.fromkeys((RECIPES / wanted.method, shipped(RECIPES / wanted.method)))
    paths = {path.stem: path for folder in folders for path in listing(folder, f"{dataset}*.yaml")}
    variants = {
        stem.removeprefix(dataset).strip("-"): path
        for stem, path in paths.items()
        if stem.split("-")[0] == dataset
    }
    singles = {name: path for name, path in variants.items() if "ensemble" not in read_document(path)}
    if not singles:
        raise UserError(
            f"{wanted.method} has no recipe for {dataset} to start from; write one, or take the other --size"
        )
    if wanted.variant is None:
        return min(singles.values(), key=lambda path: (not _reads_words(path), path.stem))
    if wanted.variant not in variants:
        raise UserError(
            f"option --variant: {wanted.method} has no variant '{wanted.variant}' for {dataset}"
            f"{nearest(wanted.variant, variants)}"
        )
    return variants[wanted.variant]


def _reads_words(path: Path) -> bool:
    """Return True where a recipe's captions are read as whole words, which needs nothing from elsewhere."""
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    return isinstance(get_method(recipe.method).inputs(recipe.method_config()).text, WordText)


# ------------------------------------------------------------------------------------- sizing


def sized(wanted: Wanted, own: Located, path: Path, size: Size) -> dict[str, Any]:
    """Return the document of the recipe at `path`, changed for an own dataset."""
    base = load_recipe(path)
    assert isinstance(base, Recipe)
    document = deepcopy(read_document(path))
    card = own.card
    departures = [f"the dataset {card.name}, which is its owner's"]
    kept = _kept(document)
    for name in ("paper_row", "expected"):
        document.pop(name, None)
    document["data"] = {
        "name": card.name,
        **card.all_captions,
        **({"guides": document["data"]["guides"]} if "guides" in document["data"] else {}),
    }
    departures += _set_features(document, wanted, own, base)
    document["summary"] = f"{base.method} on {card.name}, from {path.stem}"
    departures += _set_training(document, base, own, size, wanted.epochs)
    batches = f"batches of {base.training.batch_size}", f"batches of {document['training']['batch_size']}"
    document["departures"] = [*departures, *(line.replace(*batches) for line in kept)]
    order = ("summary", "method", "departures", "data", "model", "pretrained", "training", "evaluation")
    return {name: document[name] for name in order if name in document}


def _set_features(document: dict[str, Any], wanted: Wanted, own: Located, base: Recipe) -> list[str]:
    """Set the source and the width of region features; returns the departures that they are."""
    model, features = document["model"], wanted.features
    if "region_dim" not in get_method(base.method).config.model_fields:
        if features not in (None, "pixels") or own.card.layout == "features":
            found = f"'{features}'" if features else "a dataset of features"
            raise UserError(f"option --features: found {found}, {base.method} reads pixels; leave it out")
        return []
    stored = own.card.layout == "features"
    features = features or ("scan" if stored else "grid")
    if stored != (features == "scan"):
        holds = "features and no pictures: expected scan" if stored else "pictures and no features"
        raise UserError(f"option --features: found '{features}', {own.card.name} has {holds}")
    source, width = _source(features, own)
    document["data"]["regions"] = source
    model["region_dim"] = width
    if features == "scan":
        model["regions"] = _stored_shape(own)[0]
        return [f"region features of {own.card.name}'s owner"]
    return []  # the data say so themselves


def _source(features: str, own: Located) -> tuple[dict[str, Any], int]:
    if features == "detector":
        return {"source": "detector", "precision": "float16"}, WIDTHS["detector"]
    if features == "scan":
        return {"source": "scan"}, _stored_shape(own)[1]
    backbone = "random" if features == "grid" else features
    return {"source": "grid", "backbone": backbone}, WIDTHS.get(backbone) or _timm_width(backbone)


def _stored_shape(own: Located) -> tuple[int, int]:
    """Return the shape of an own dataset's stored features (n_regions, width)."""
    return open_regions(own, read_index(own)["test"]).shape


def _timm_width(name: str) -> int:
    import timm  # it takes seconds to import

    if name not in timm.list_models():
        raise UserError(f"option --features: unknown source '{name}'{nearest(name, FEATURES)}")
    return int(timm.create_model(name, pretrained=False, num_classes=0).num_features)


def _set_training(
    document: dict[str, Any], base: Recipe, own: Located, size: Size, epochs: int | None
) -> list[str]:
    """Size batches, epochs and schedules to the data; returns the departures that they are."""
    training = document["training"]
    counts = own.card.counts["train"]
    unit = get_method(base.method).inputs(base.method_config()).unit
    units = counts.captions if unit == "caption" else counts.images
    batch = _batch(base, units, counts.images, counts.captions)
    training["batch_size"] = batch
    ours, theirs = max(1, units // batch), max(1, _units(base) // base.training.batch_size)
    factor = min(max(theirs / ours, 1.0), float(MOST_EPOCHS[size]))
    if epochs is not None:
        factor = epochs / base.training.epochs
    stages = [{**stage, "epochs": round(stage["epochs"] * factor)} for stage in training["stages"]]
    training["stages"] = _exactly([stage for stage in stages if stage["epochs"]] or stages[:1], epochs)
    total = sum(stage["epochs"] for stage in training["stages"])
    training["schedule"] = _stretched(training["schedule"], factor, ours * total)
    for stage in training["stages"]:
        if "schedule" in stage:
            stage["schedule"] = _stretched(stage["schedule"], factor, ours * stage["epochs"])
    training["validate_from_epoch"] = min(training.get("validate_from_epoch", 0), total - 1)
    training["workers"] = 0 if size == "small" else training.get("workers", 0)
    told = (
        [f"batches of {batch} in place of {base.training.batch_size}"]
        if batch < base.training.batch_size
        else []
    )
    if total != base.training.epochs:
        told.append(f"{total} epoch{'' if total == 1 else 's'} in place of {base.training.epochs}")
    return told


def _exactly(stages: list[dict[str, Any]], epochs: int | None) -> list[dict[str, Any]]:
    """Return the stages with so many epochs in all, the last of them longer or shorter."""
    if epochs is None:
        return [{**stage, "epochs": max(1, stage["epochs"])} for stage in stages]
    kept: list[dict[str, Any]] = []
    left = epochs
    for stage in stages:
        count = min(max(1, stage["epochs"]), left)
        if count:
            kept.append({**stage, "epochs": count})
        left -= count
    kept[-1]["epochs"] += left
    return kept


def _batch(base: Recipe, units: int, images: int, captions: int) -> int:
    """Return the largest power of two that leaves STEPS steps an epoch and a last batch of sound size."""
    spec = get_method(base.method).inputs(base.method_config())
    batch = base.training.batch_size
    while batch > 2 and batch * STEPS > units:
        batch = 2 ** ((batch - 1).bit_length() - 1)
    for found in range(batch, 1, -1):
        try:
            spec.check_epoch(images, captions, found)
            get_method(base.method).check_batch(base.method_config(), found)
        except UserError:
            continue
        return found
    return batch


def _units(recipe: Recipe) -> int:
    """Return the samples of an epoch: captions, or images."""
    unit = get_method(recipe.method).inputs(recipe.method_config()).unit
    return caption_counts(recipe)["train"] if unit == "caption" else split_sizes(recipe)["train"]


def _stretched(schedule: Any, factor: float, steps: int) -> Any:
    """Return a schedule for so many times the epochs, and `steps` steps in all."""
    if not isinstance(schedule, dict):
        return schedule
    found = dict(schedule)
    if "warmup_steps" in found:
        found["warmup_steps"] = min(found["warmup_steps"], steps // 10)
    if "every" in found:
        found["every"] = max(1, round(found["every"] * factor))
    if "at" in found:
        found["at"] = _rising([max(1, round(epoch * factor)) for epoch in found["at"]])
    return found


def _rising(epochs: Sequence[int]) -> list[int]:
    """Return the epochs, each later than the one before."""
    found: list[int] = []
    for epoch in epochs:
        found.append(max(epoch, found[-1] + 1 if found else 1))
    return found
