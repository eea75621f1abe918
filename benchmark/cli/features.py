"""`rematch data features` and `compare-features`: the detector's region features alone, and how close two sets are.

Heavy imports stand inside the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmark.cli.data import Name, Options, Splits, parse_options, split_names
from benchmark.cli.options import (
    DataDir,
    Device,
    Report,
    ShowProgress,
    SkipCorrupt,
    Unverified,
    bundled,
)
from benchmark.places import WORK

Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many images of each split.")]
ExportFolder = Annotated[
    Path | None,
    typer.Option("--export-scan", metavar="FOLDER", help="Also write them as SCAN's files, for other code."),
]
Mode = Annotated[
    Literal["caffe", "hub"],
    typer.Option(
        help="How boxes are chosen: as the original extractor does, or as the public port of its weights."
    ),
]
Precision = Annotated[
    Literal["float16", "float32"],
    typer.Option(help="The precision that features are kept in; the recipes have float16."),
]
Set = Annotated[
    Path,
    typer.Argument(help="A SCAN folder, .tsv files, a folder that the detector filled, or pictures."),
]


@bundled
def features(
    dataset: Name,
    *,
    split: Splits = None,
    limit: Limit = None,
    mode: Mode = "caffe",
    precision: Precision = "float16",
    export_scan: ExportFolder = None,
    device: Device = None,
    data_dir: DataDir = None,
    unverified: Unverified = False,
    skip_corrupt: SkipCorrupt = False,
    option: Options = None,
    progress: ShowProgress = True,
    report: Report,
) -> None:
    """Make region features of a dataset's pictures by the project's detector, once; runs find them.

    Each picture is looked at once, whatever reads it; after an interruption the same command goes on. An exported
    folder says whose features it holds, and runs from it are not comparable with a paper either.

    Examples:

      rematch data features flickr30k --limit 100 --device cuda

      rematch data features mscoco --option restval=true --export-scan coco_precomp
    """
    from benchmark.data.load import load_dataset
    from benchmark.data.published.catalogue import get_entry
    from benchmark.data.regions.detected import Detection
    from benchmark.data.regions.exported import check_target
    from benchmark.data.regions.exported import export_scan as write_export
    from benchmark.data.regions.grid import FeatureStore
    from benchmark.recipe.schema import DetectorRegions
    from benchmark.reporting.features import extraction_sheet
    from benchmark.run.resolve import pick_device

    get_entry(dataset)
    names = split_names(split)
    if export_scan is not None:
        check_target(export_scan, dataset)
    regions = DetectorRegions(source="detector", mode=mode, precision=precision)
    store = FeatureStore(WORK / "features", pick_device(device))
    few = {} if limit is None else dict.fromkeys(names, limit)
    loaded = load_dataset(
        dataset,
        parse_options(option),
        splits=names,
        first_images=few,
        data_dir=data_dir,
        unverified=unverified,
        skip_corrupt=skip_corrupt,
        regions=regions,
        store=store,
        show_progress=progress,
    )
    report.put(extraction_sheet(loaded, Detection(regions, store)))
    if export_scan is not None:
        written = write_export(loaded, export_scan, show_progress=progress)
        report.say(f"wrote {export_scan.as_posix()}: {', '.join(written)}")


@bundled
def compare_features(
    a: Set,
    b: Set,
    *,
    dataset: Annotated[
        str, typer.Option(help="The dataset of a SCAN folder whose ids no id_mapping.json explains.")
    ] = "",
    mode: Mode = "caffe",
    device: Device = None,
    progress: ShowProgress = True,
    report: Report,
) -> None:
    """Say how close two sets of region features are, image by image.

    Regions are matched by the overlap of their boxes where both sets tell them (.tsv files, the detector's), else
    greedily by their cosine (SCAN's). Of a folder of pictures the detector makes the features now.

    Examples:

      rematch data compare-features f30k_precomp .rematch/features/detector-0a1b2c3d --dataset flickr30k

      rematch data compare-features train2014_obj36.tsv pictures/ --format csv
    """
    from benchmark.data.published.catalogue import get_entry
    from benchmark.data.regions.compare import check_there, open_features
    from benchmark.data.regions.compare import compare_features as compare
    from benchmark.data.regions.detected import Detection
    from benchmark.data.regions.grid import FeatureStore
    from benchmark.recipe.schema import DetectorRegions
    from benchmark.reporting.features import comparison_sheet
    from benchmark.run.resolve import pick_device

    if dataset:
        get_entry(dataset)
    for path in (a, b):  # now, and not after pictures were looked at
        check_there(path)
    store = FeatureStore(WORK / "features", pick_device(device))

    def detect() -> Detection:
        return Detection(DetectorRegions(source="detector", mode=mode), store, show_progress=progress)

    one, two = (open_features(path, dataset, store.folder, detect, show_progress=progress) for path in (a, b))
    report.put(comparison_sheet(compare(one, two, show_progress=progress), report.for_program))
