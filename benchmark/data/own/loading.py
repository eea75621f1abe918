"""An own dataset as splits: by its card and index, the pictures from where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.data.cards import Located
from benchmark.data.own.checks import check_own
from benchmark.data.own.index import read_index
from benchmark.data.own.items import Item
from benchmark.data.own.layouts import LAYOUTS, open_images, open_regions
from benchmark.data.published.verification import Check
from benchmark.data.splits import Dataset, Split, SplitName, flatten_captions
from benchmark.errors import UserError
from benchmark.recipe.schema import GuideSettings, RegionSettings, StoredRegions


def own_dataset(
    own: Located,
    splits: Sequence[SplitName],
    captions_per_image: int | None,
    data_dir: Path | None = None,
) -> Dataset:
    """Return some splits of an own dataset, not verified yet.

    captions_per_image: the first so many of each image, fewer where it has fewer; None: all. data_dir: where the
    source is now. Raises UserError where card, index or source are not there.
    """
    card, index = own.card, read_index(own)
    loaded = {name: _split(own, name, index[name], captions_per_image, data_dir) for name in splits}
    repository = f", {card.source}" if card.layout == "hub" else ""
    return Dataset(
        card.name,
        f"{card.layout} {card.fingerprint[:12]}",
        f"own data: {LAYOUTS[card.layout].title}{repository}",
        card.licence,
        loaded,
        notes=[f"left out: {line}" for line in card.left_out],
    )


def _split(
    own: Located, name: SplitName, items: Sequence[Item], captions: int | None, data_dir: Path | None
) -> Split:
    ids = [item.id for item in items]
    texts = [item.captions[:captions] for item in items]
    caption_ids = [
        [f"{item.id}#{k}" for k in range(len(five))] for item, five in zip(items, texts, strict=True)
    ]
    flat, flat_ids, caption_image = flatten_captions(ids, texts, caption_ids)
    regions = open_regions(own, items, data_dir) if own.card.layout == "features" else None
    images = open_images(own, items, data_dir)
    files = [item.file for item in items]
    return Split(name, ids, files, flat, flat_ids, caption_image, images, regions, ids_decide=False)


def check_sources(own: Located, regions: RegionSettings | None, guides: GuideSettings | None) -> None:
    """Raise UserError where a recipe wants vectors that an own dataset of this layout has not."""
    features = own.card.layout == "features"
    stored = isinstance(regions, StoredRegions)
    if features and not stored:
        found = "no such field" if regions is None else f"'{regions.source}'"
        raise UserError(
            f"field 'data.regions.source': found {found}; {own.card.name} has features and no pictures, expected scan"
        )
    if stored and not features:
        raise UserError(
            f"field 'data.regions.source': found 'scan' or 'tsv'; {own.card.name} has pictures and no features, "
            "expected detector or grid"
        )
    if guides is not None and (guides.in_folder or features):
        raise UserError(
            f"field 'data.guides.source': found '{guides.source}'; vectors of whole images are made of pictures of own "
            "data, expected clip or random"
        )


def features_folder(own: Located | None, data_dir: Path | None) -> Path | None:
    """Return the folder in which `regions: {source: auto}` looks for stored features; None: nowhere."""
    if own is None or own.card.layout != "features":
        return None if own is not None else data_dir
    return own.place(data_dir)


def own_checks(own: Located, dataset: Dataset) -> list[Check]:
    """Return every check of an own dataset, its features' included."""
    from benchmark.data.regions.verification import check_features

    return [*check_own(own, dataset.splits), *check_features(dataset.splits)]
