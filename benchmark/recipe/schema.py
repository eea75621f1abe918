"""The strict schema of recipes/<method>/<dataset>-<variant>.yaml: every number of a training run is in its recipe."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from benchmark.errors import UserError
from benchmark.recipe.faults import check_fields
from benchmark.recipe.training import UNTRAINED, Training
from benchmark.registry import get_method
from benchmark.strict import LATER, Grown, Strict

SplitName = Literal["train", "val", "test"]


class PaperRow(Strict):
    """The row of results/paper/<method>.yaml that this recipe answers to; the dataset is the protocol's name."""

    method: str
    variant: str


class Expected(Strict):
    """A score that this recipe should reach, and how far off it may be."""

    protocol: str
    metric: Literal["i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum", "mean_r1"]
    value: float
    tolerance: float
    source: str

    def holds(self, found: float) -> bool:
        """Return True where a score is within the tolerance."""
        return abs(found - self.value) <= self.tolerance


class FirstImages(Strict):
    """The number of images of each split that are used, the first ones in the dataset's order; None: all."""

    train: int | None = Field(default=None, ge=1)
    val: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)

    def counts(self) -> dict[SplitName, int]:
        """Return the splits that are cut down, and to how many images."""
        names: tuple[SplitName, ...] = ("train", "val", "test")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class StoredRegions(Strict):
    """Features in the folder that `--data-dir` names: SCAN's arrays, or bottom-up-attention TSV files."""

    source: Literal["scan", "tsv"]
    in_folder: ClassVar[Literal[True]] = True
    """True where features are read from that folder, and not made of pictures."""


class GridRegions(Strict):
    """6 x 6 cells of each picture through a fixed extractor: a stand-in, never comparable with a paper."""

    source: Literal["grid"]
    in_folder: ClassVar[Literal[False]] = False
    backbone: str = "random"
    """`random`: fixed random filters, 128 wide, made for scenes; `efficientnet_lite0`: 1,280 wide, with weights from a
    package (the extra `lite`); else a timm model, with its weights from the Hub."""


DETECTED = "features from the project's detector"
"""The words for them in records and tables."""


class DetectorFields(Strict):
    """The ways in which the project's own detector can make region features of pictures."""

    in_folder: ClassVar[Literal[False]] = False
    mode: Literal["caffe", "hub"] = "caffe"
    """`caffe`: boxes are chosen as the original does (data.md 3.1); `hub`: as the public port does (data.md 3.3)."""
    precision: Literal["float16", "float32"] = "float32"
    """The precision that the features are kept in; float16 takes half the disk."""
    short_side: int | None = Field(default=None, ge=32)
    """The shorter side of a picture in pixels; None: the mode's."""
    longest_side: int | None = Field(default=None, ge=32)
    """The most pixels of the longer side; None: the mode's."""
    proposals: int = Field(default=300, ge=36)
    """The boxes of a picture that the 36 are chosen from."""


class DetectorRegions(DetectorFields):
    """Features that the project's own detector makes of the pictures, once, and keeps: no paper's."""

    source: Literal["detector"]


class AutoRegions(DetectorFields):
    """SCAN's features where `--data-dir` names a folder of them, else the detector's, as the other fields say.

    A command finds out as it starts: no run and no record has this source.
    """

    source: Literal["auto"]

    def detector(self) -> DetectorRegions:
        """Return the settings of the detector."""
        return DetectorRegions.model_validate({**self.model_dump(), "source": "detector"})


RegionSettings = Annotated[
    StoredRegions | GridRegions | DetectorRegions | AutoRegions, Field(discriminator="source")
]


class FileGuides(Strict):
    """`<part>_clip.npy` beside SCAN's features: float32, a row for each image, or each repeated for its captions."""

    source: Literal["file"]
    in_folder: ClassVar[Literal[True]] = True
    """True where vectors are read from that folder, and not made of pictures."""
    model: ClassVar[None] = None
    """The repository of weights that make the vectors; None: none do."""


class CLIPGuides(Strict):
    """Image vectors of a CLIP from the Hub, computed once from the pictures and cached (data.md 7.8)."""

    source: Literal["clip"]
    in_folder: ClassVar[Literal[False]] = False
    model: str = "openai/clip-vit-base-patch32"
    """Hub repository. UNCERTAIN: 512 numbers are those of ViT-B/32 and of ViT-B/16 (openai/clip-vit-base-patch16); the
    former is the one that CLIP's own examples load."""
    revision: str = "main"
    """The revision of that repository; the sha256 of the weights is part of the data's fingerprint in any case."""


class RandomGuides(Strict):
    """A fixed random projection of each picture: a stand-in, never comparable with a paper."""

    source: Literal["random"]
    in_folder: ClassVar[Literal[False]] = False
    model: ClassVar[None] = None


GuideSettings = Annotated[FileGuides | CLIPGuides | RandomGuides, Field(discriminator="source")]


class DataSettings(Grown):
    """The dataset, and the choices that a paper makes about it."""

    name: str
    """`scenes`, `flickr30k`, `mscoco`, `flickr8k` or one of your own (`rematch list` shows all)."""
    options: dict[str, int | float | str | bool] = {}
    """Options of that dataset: sizes and seed of `scenes`; `restval` of `mscoco`."""
    captions_per_image: int = Field(default=5, ge=1, le=1000)
    """The first so many captions of an image are used (papers: 5)."""
    every_caption: Annotated[bool, LATER] = False
    """True: all captions of an image are used, however many it has, as own datasets have them."""
    first_images: FirstImages = FirstImages()
    """`{val: 1000}`: the first 1,000 validation images. A run on fewer training or test images is not comparable."""
    regions: Annotated[RegionSettings | None, LATER] = None
    """The source of region features, for methods that read them."""
    guides: Annotated[GuideSettings | None, LATER] = None
    """The source of a vector of each whole image, for methods that read one beside its regions."""

    @property
    def captions_each(self) -> int | None:
        """The number of captions of an image that are used; None: all that it has."""
        return None if self.every_caption else self.captions_per_image

    @property
    def regions_in_folder(self) -> bool:
        """True where region features lie in the folder that `--data-dir` names."""
        return self.regions is not None and self.regions.in_folder

    @property
    def features_in_folder(self) -> bool:
        """True where region features or guides lie in that folder, and none can be made of another picture."""
        return self.regions_in_folder or (self.guides is not None and self.guides.in_folder)


class Evaluation(Strict):
    """The settings by which the test split is scored."""

    precision: Literal["float32", "float64"] = "float32"
    """The precision of codes and scores; the encoders run in float32."""
    batch_size: int = Field(default=128, ge=1, le=1_000_000)
    memory_mb: int = Field(default=512, ge=16, le=2**24)
    """The budget for a block of pairs, in MiB."""
    tie_rule: Literal["lower_index", "pessimistic"] = "lower_index"


class Recipe(Strict):
    """A single model: its data, its training, and the scores that it should reach."""

    summary: str
    method: str
    departures: list[str]
    """The differences from the paper's set-up, shown wherever the numbers appear; empty means faithful."""
    paper_row: PaperRow | None = None
    """The row of a paper's table; None: no paper reports it, as of own data."""
    data: DataSettings
    model: dict[str, Any]
    """The method's own settings, checked against its schema."""
    pretrained: bool
    """True where the parts that the method names start from their published weights."""
    training: Training
    evaluation: Evaluation = Evaluation()
    expected: list[Expected] = []

    @model_validator(mode="after")
    def _method_fields(self) -> Self:
        method = get_method(self.method)
        check_fields("model", self.model, method.config)
        for number, stage in enumerate(self.training.stages):
            check_fields(f"training.stages.{number}.loss", stage.loss, method.loss)
        if self.training.stages:
            method.check_batch(self.method_config(), self.training.batch_size)
        elif not self.pretrained:
            raise UserError(
                f"field 'training': found '{UNTRAINED}' with pretrained: false, expected weights from somewhere"
            )
        return self

    def method_config(self) -> Strict:
        """Return the method's own configuration, as an object of its type."""
        return get_method(self.method).config.model_validate(self.model)


class EnsembleRecipe(Strict):
    """Several trained models, scored by the mean of their similarity matrices."""

    summary: str
    ensemble: list[str] = Field(min_length=2)
    """Recipe names in the same folder, without `.yaml`."""
    departures: list[str]
    paper_row: PaperRow | None = None
    expected: list[Expected] = []
