"""The test split's captions, to show what a query says: of data that are made by code or at hand."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.load import load_dataset
from benchmark.errors import UserError
from benchmark.records.sidecar import caption_ids_hash
from benchmark.reporting.diff.sides import Side


def caption_texts(side: Side, data_dir: Path | None) -> list[str]:
    """The captions (m,) of the split that a side was scored on.

    Raises UserError where they would have to be downloaded, and where they are not those of the run.
    """
    facts = side.records[0].dataset
    made_by_code = facts.source == "made by code"
    if not made_by_code and data_dir is None:
        raise UserError(f"--captions: {facts.name} is not made by code; name a local copy with --data-dir")
    dataset = load_dataset(
        facts.name,
        facts.options,
        splits=("test",),
        captions_per_image=facts.captions_each,
        data_dir=None if made_by_code else data_dir,
        unverified=True,  # whether they are the run's is checked below, which is stricter
        show_progress=False,
    )
    split = dataset.splits["test"].first_images(facts.splits["test"].images)
    if caption_ids_hash(split.caption_ids) != side.sidecars[0].caption_ids_sha256:
        raise UserError(f"--captions: these are not the captions that {side.name} was scored on")
    return split.captions
