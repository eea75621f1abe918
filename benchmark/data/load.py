"""`load_dataset`: one door to every dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.baseline import TextInput
from benchmark.data.captions import Codec, codec_for
from benchmark.data.catalog import get_entry
from benchmark.data.scenes import VERSION, ScenesOptions, scenes_split
from benchmark.data.splits import Dataset, Split, SplitName
from benchmark.errors import UserError
from benchmark.recipe import check_fields

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


def load_dataset(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    splits: Sequence[SplitName] = SPLITS,
    captions_per_image: int = 5,
    validation_images: int | None = None,
    data_dir: Path | None = None,
) -> Dataset:
    """Load some splits of a dataset, each image with its first `captions_per_image` captions.

    `validation_images` keeps the first so many images of `val`; `data_dir` is a local folder with the parquet
    files of a Hub dataset. Raises UserError for an unknown dataset or option, and for data that cannot be had.
    """
    entry = get_entry(name)
    chosen = check_fields("data.options", dict(options or {}), entry.options)
    if captions_per_image < 1:
        raise UserError(f"field 'data.captions_per_image': found {captions_per_image}, expected 1 or more")
    if validation_images is not None and validation_images < 1:
        raise UserError(f"field 'data.validation_images': found {validation_images}, expected 1 or more")
    loaded: dict[SplitName, Split] = {}
    notes: list[str] = []
    if isinstance(chosen, ScenesOptions):
        if captions_per_image > 5:
            raise UserError(
                f"field 'data.captions_per_image': found {captions_per_image}, scenes has 5 an image"
            )
        if data_dir is not None:
            raise UserError(f"data folder {data_dir.as_posix()}: scenes is made by code and reads no folder")
        loaded = {split: scenes_split(chosen, split, captions_per_image) for split in splits}
        revision, source = VERSION, "made by code"
    else:
        from benchmark.data.hub import hub_split  # `datasets` takes a second to import

        revisions = []
        for split in splits:
            values = chosen.model_dump()
            loaded[split], found, more = hub_split(entry, split, values, captions_per_image, data_dir)
            revisions.append(found)
            notes += more
        revision = ", ".join(dict.fromkeys(revisions))
        source = "local parquet files" if data_dir is not None else "Hugging Face Hub"
    if validation_images is not None and "val" in loaded:
        loaded["val"] = loaded["val"].first_images(validation_images)
    return Dataset(name, revision, source, entry.license, loaded, chosen.model_dump(), notes)


def make_codec(spec: TextInput, dataset: Dataset) -> Codec:
    """The codec that a method's text input and a dataset call for.

    Raises UserError where its vocabulary is neither cached nor reachable.
    """
    return codec_for(spec, dataset.name)
