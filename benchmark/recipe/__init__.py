"""Recipes: the strict schema of recipes/<method>/<dataset>-<variant>.yaml, and of the profiles over them.

Every number of a training run is in its recipe, none is in the code. A profile, recipes/<method>/profiles/<name>.yaml,
changes all recipes of its method, for example to a size that trains in seconds. A misspelt key, a wrong type
and a missing file are one-line errors that name the file, the field and the nearest valid name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_serializer, model_validator

from benchmark.baseline import Strict, get_method
from benchmark.errors import UserError, nearest
from benchmark.recipe.training import Training

RECIPES = Path("recipes")
PROFILES = "profiles"
"""Folder beside a method's recipes."""

SplitName = Literal["train", "val", "test"]


class PaperRow(Strict):
    """The row of results/paper/<method>.yaml that this recipe answers to; the dataset is the protocol's name."""

    method: str
    variant: str


class Expected(Strict):
    """What this recipe should score, and how far off it may be."""

    protocol: str
    metric: Literal["i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum", "mean_r1"]
    value: float
    tolerance: float
    source: str


class FirstImages(Strict):
    """How many images of each split are used, the first ones in the dataset's order; None: all."""

    train: int | None = Field(default=None, ge=1)
    val: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)

    def counts(self) -> dict[SplitName, int]:
        """The splits that are cut down, and to how many images."""
        names: tuple[SplitName, ...] = ("train", "val", "test")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class StoredRegions(Strict):
    """Features in the folder that `--data-dir` names: SCAN's arrays, or bottom-up-attention TSV files."""

    source: Literal["scan", "tsv"]


class GridRegions(Strict):
    """6 x 6 cells of each picture through a fixed extractor: a stand-in, never comparable with a paper."""

    source: Literal["grid"]
    backbone: str = "random"
    """`random`: fixed random filters, 128 wide, made for scenes; else a timm model, with its weights from the Hub."""


RegionSettings = Annotated[StoredRegions | GridRegions, Field(discriminator="source")]


class FileGuides(Strict):
    """`<part>_clip.npy` beside SCAN's features: float32, a row for each image, or each repeated for its captions."""

    source: Literal["file"]


class CLIPGuides(Strict):
    """Image vectors of a CLIP from the Hub, computed once from the pictures and cached (user.md 3.5)."""

    source: Literal["clip"]
    model: str = "openai/clip-vit-base-patch32"
    """Hub repository. UNCERTAIN: 512 numbers are those of ViT-B/32 and of ViT-B/16 (openai/clip-vit-base-patch16); the
    former is the one that CLIP's own examples load."""
    revision: str = "main"
    """Of that repository; the sha256 of the weights is part of the data's fingerprint in any case."""


class RandomGuides(Strict):
    """A fixed random projection of each picture: a stand-in, never comparable with a paper."""

    source: Literal["random"]


GuideSettings = Annotated[FileGuides | CLIPGuides | RandomGuides, Field(discriminator="source")]


class DataSettings(Strict):
    """Which dataset, and the choices a paper makes about it."""

    name: str
    """`scenes`, `flickr30k`, `mscoco` or `flickr8k` (`rematch list` shows all)."""
    options: dict[str, int | float | str | bool] = {}
    """Options of that dataset: sizes and seed of `scenes`; `restval` of `mscoco`."""
    captions_per_image: int = Field(default=5, ge=1)
    """The first so many captions of an image are used (papers: 5)."""
    first_images: FirstImages = FirstImages()
    """`{val: 1000}`: the first 1,000 validation images. A run on fewer training or test images is not comparable."""
    regions: RegionSettings | None = None
    """Where region features come from, for methods that read them."""
    guides: GuideSettings | None = None
    """Where a vector of each whole image comes from, for methods that read one beside its regions."""

    @model_serializer(mode="wrap")
    def _as_before(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Without guides where there are none: they came after the first records were made."""
        document = dump(self)
        return {key: value for key, value in document.items() if key != "guides" or value is not None}


class Evaluation(Strict):
    """How the test split is scored."""

    precision: Literal["float32", "float64"] = "float32"
    """Of codes and scores; the encoders run in float32."""
    batch_size: int = Field(default=128, ge=1)
    memory_mb: int = Field(default=512, ge=16)
    """Budget for a block of pairs."""
    tie_rule: Literal["lower_index", "pessimistic"] = "lower_index"


class Recipe(Strict):
    """A single model: what it is trained on, how, and what it should reach."""

    summary: str
    method: str
    departures: list[str]
    """How this differs from the paper's set-up; empty means faithful. Shown wherever the numbers appear."""
    paper_row: PaperRow
    data: DataSettings
    model: dict[str, Any]
    """Checked against the method's own schema."""
    pretrained: bool
    """Start the parts that the method names from their published weights."""
    training: Training
    evaluation: Evaluation = Evaluation()
    expected: list[Expected] = []

    @model_validator(mode="after")
    def _method_fields(self) -> Self:
        method = get_method(self.method)
        check_fields("model", self.model, method.config)
        for number, stage in enumerate(self.training.stages):
            check_fields(f"training.stages.{number}.loss", stage.loss, method.loss)
        method.check_batch(self.method_config(), self.training.batch_size)
        return self

    def method_config(self) -> Strict:
        """The method's own configuration, as an object of its type."""
        return get_method(self.method).config.model_validate(self.model)


class EnsembleRecipe(Strict):
    """Several trained models, scored by the mean of their similarity matrices."""

    summary: str
    ensemble: list[str] = Field(min_length=2)
    """Recipe names in the same folder, without `.yaml`."""
    departures: list[str]
    paper_row: PaperRow
    expected: list[Expected] = []


def check_fields(where: str, values: dict[str, Any], schema: type[BaseModel]) -> BaseModel:
    """Validate `values`, raising UserError lines whose field names begin with `where`."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, schema, prefix=where)) from None


def explain(error: ValidationError, schema: type[BaseModel], prefix: str = "") -> str:
    """Put the first fault of a pydantic error in one line: field, what was found, what was expected.

    An unknown field comes before a missing one: a misspelt name is both, and only the first says what to do.
    """
    faults = error.errors()
    fault = next((item for item in faults if item["type"] == "extra_forbidden"), faults[0])
    path = [str(part) for part in fault["loc"]]
    field = ".".join([prefix, *path] if prefix else path) or "document"
    if fault["type"] == "extra_forbidden":
        return f"field '{field}' is not known{nearest(path[-1], _field_names(schema, path[:-1]))}"
    if fault["type"] == "missing":
        return f"field '{field}' is missing"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"field '{field}': found {fault['input']!r}, {fault['msg'][0].lower()}{fault['msg'][1:]}{more}"


def _field_names(schema: Any, path: list[str]) -> list[str]:
    """Valid names at `path` inside a schema; list positions and union tags are passed over."""
    candidates: list[Any] = [schema]
    for part in [*path, None]:
        models = []
        while candidates:
            item = candidates.pop()
            if isinstance(item, type) and issubclass(item, BaseModel):
                models.append(item)
            else:
                candidates.extend(get_args(item))
        if part is None or not models:
            return sorted({name for model in models for name in model.model_fields})
        found = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        candidates = list(found) if found else list(models)
    return []


class Profile(Strict):
    """Changes to every recipe of a method: the same method on the same data, in another size.

    Mappings are merged into the recipe's field by field; lists, and mappings that have a `name`, take the place
    of the recipe's. What the recipe expects to score is dropped.
    """

    summary: str
    departures: list[str] = Field(min_length=1)
    """How the runs differ from the recipes'; such a run is never comparable with the paper."""
    data: dict[str, Any] = {}
    model: dict[str, Any] = {}
    pretrained: bool | None = None
    training: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}

    @model_validator(mode="after")
    def _same_dataset(self) -> Self:
        if "name" in self.data:
            raise UserError(
                f"field 'data.name': found {self.data['name']!r}; a profile leaves the dataset as it is"
            )
        return self

    def changes(self) -> dict[str, Any]:
        """The part of a recipe's document that it gives."""
        return self.model_dump(exclude={"summary", "departures"}, exclude_unset=True)


def load_recipe(path: Path, profile: str | None = None) -> Recipe | EnsembleRecipe:
    """Read and check a recipe file, with the changes of a profile where one is named.

    An ensemble stays as it is but for its expectations: a profile is about its members. Raises UserError
    (file, field, found, expected, nearest valid name) for anything a user can get wrong.
    """
    if not path.is_file():
        known = [item.as_posix() for item in RECIPES.glob("*/*.yaml")]
        raise UserError(f"{path.as_posix()}: no such recipe{nearest(path.as_posix(), known)}")
    document = read_document(path)
    recipe = _checked(path, document)
    if isinstance(recipe, EnsembleRecipe):
        for member in recipe.ensemble:
            if not (path.parent / f"{member}.yaml").is_file():
                known = [item.stem for item in path.parent.glob("*.yaml")]
                raise UserError(
                    f"{path.as_posix()}: field 'ensemble': no recipe '{member}'{nearest(member, known)}"
                )
    return recipe if profile is None else _with_profile(path, document, profile)


def profile_names(folder: Path) -> list[str]:
    """Names of the profiles of the recipes in `folder`."""
    return sorted(path.stem for path in (folder / PROFILES).glob("*.yaml"))


def load_profile(folder: Path, name: str) -> Profile:
    """Read and check the profile `name` of the recipes in `folder`; raises UserError as `load_recipe` does."""
    known = profile_names(folder)
    if name not in known:
        there = nearest(name, known) or "; it has none"
        raise UserError(f"unknown profile '{name}' in {(folder / PROFILES).as_posix()}/{there}")
    path = folder / PROFILES / f"{name}.yaml"
    return validated(Profile, read_document(path), path)


def merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with `changes`, as Profile says."""
    result = dict(document)
    for key, value in changes.items():
        former = result.get(key)
        if isinstance(value, Mapping) and isinstance(former, Mapping) and "name" not in value:
            value = merged(former, value)
        result[key] = value
    return result


def _with_profile(path: Path, document: dict[str, Any], name: str) -> Recipe | EnsembleRecipe:
    profile = load_profile(path.parent, name)
    namesake = path.with_name(f"{path.stem}-{name}.yaml")
    if namesake.is_file():  # both would write the same run record
        raise UserError(
            f"{path.as_posix()}: profile '{name}' gives runs the name of {namesake.name}'s; rename it"
        )
    document = {**document, "expected": [], "summary": f"{document['summary']}; {profile.summary}"}
    if "ensemble" not in document:
        document = merged(document, profile.changes())
        reasons = [f"profile {name}: {reason}" for reason in profile.departures]
        document["departures"] = [*reasons, *document["departures"]]
    return _checked(path.parent / PROFILES / f"{name}.yaml", document)  # the recipe itself is sound


def read_document(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; raises UserError for any other."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path.as_posix()}: not valid YAML: {reason}") from None
    if not isinstance(document, dict):
        raise UserError(
            f"{path.as_posix()}: found {type(document).__name__}, expected a mapping of recipe fields"
        )
    return document


def _checked(path: Path, document: dict[str, Any]) -> Recipe | EnsembleRecipe:
    single = "ensemble" not in document and document.keys() & {"method", "model", "data", "training"}
    return validated(Recipe, document, path) if single else validated(EnsembleRecipe, document, path)


Model = TypeVar("Model", bound=BaseModel)


def validated(schema: type[Model], document: dict[str, Any], path: Path) -> Model:
    """The document as `schema` has it; errors name `path`."""
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{path.as_posix()}: {explain(error, schema)}") from None
    except UserError as error:
        raise UserError(f"{path.as_posix()}: {error}") from None


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Name the recipe in errors about its fields that only show with the data or the model at hand."""
    try:
        yield
    except UserError as error:
        if not str(error).startswith(("field ", "unknown dataset ")):
            raise
        raise UserError(f"{path.as_posix()}: {error}") from None


def run_name(path: Path, recipe_dataset: str, profile: str | None = None) -> str:
    """`recipes/hat/scenes-i2t.yaml` -> `hat-i2t`: method, variant, profile; the dataset is the folder of the run."""
    variant = path.stem.removeprefix(recipe_dataset).strip("-")
    return "-".join(part for part in (path.parent.name, variant, profile) if part)
