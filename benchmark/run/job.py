"""A job: a recipe with its method, data and codec at hand. What `reproduce` and its neighbours all begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch

from benchmark.data.batches import PairLoader, train_batches
from benchmark.data.inputs import check_input
from benchmark.data.load import check_vocabulary, load_dataset, make_codec
from benchmark.data.published.catalogue import entry_under, get_entry
from benchmark.data.regions.grid import FeatureStore
from benchmark.data.splits import Dataset, SplitName
from benchmark.data.text.word_codec import KEPT
from benchmark.evaluation.protocol import check_test_size, protocols_of
from benchmark.inputs import Codec, InputSpec
from benchmark.method import Baseline, DataFacts, Method
from benchmark.places import RUNS, WORK
from benchmark.recipe.faults import about, check_fields
from benchmark.recipe.schema import DataSettings, Recipe
from benchmark.recipe.training import Training
from benchmark.records.paper import ReportedProtocol
from benchmark.records.record import recipe_digest
from benchmark.registry import get_method
from benchmark.run.runs import Run
from benchmark.training import seed_initialisation

DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""Precisions of codes and scores by their names in recipes."""

RECONSTRUCTION = "reconstruction: no authors' code is known"
"""The first departure of a method that is one: tables have room for the first."""


@dataclass(frozen=True)
class Settings:
    """Where a run happens and on what; the record keeps whatever of it can change a number."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    no_gpu: str | None = None
    """Why the processor is what is left over, where no device was named; None: the device is wanted."""
    data_dir: Path | None = None
    """Local data in place of the Hub."""
    unverified: bool = False
    """Take data that are not the published split, as a departure, instead of refusing them."""
    skip_corrupt: bool = False
    vocabulary: Path | None = None
    """A word vocabulary or dictionary of the authors'; None: that beside the checkpoint, or one that is built."""
    word_vectors: Path | None = None
    """A local file of word vectors; None: the Hub's."""
    work: Path = WORK
    runs: Path = RUNS
    resume: bool = False
    latency: bool = True
    show_progress: bool = True
    log: Callable[[str], None] | None = None
    """Takes a line after each epoch of a training, for want of a progress bar; None: nothing is said."""

    def folder(self, dataset: str, run: str, seed: int) -> Path:
        """The work folder of a run."""
        return self.work / dataset / run / str(seed)

    def record(self, dataset: str, run: str, seed: int) -> Path:
        """Where the record of a run lies."""
        return self.runs / dataset / run / f"{seed}.json"


@dataclass(frozen=True)
class Job:
    """The run of a single model with its method and data at hand."""

    run: Run
    method: Method
    config: Any
    spec: InputSpec
    dataset: Dataset
    settings: Settings

    @cached_property
    def codec(self) -> Codec:
        """Captions to ids; made when asked for, since an ensemble needs none. Raises UserError as `make_codec`."""
        settings = self.settings
        kept = self.folder / KEPT
        return make_codec(self.spec.text, self.dataset, settings.vocabulary, kept, settings.word_vectors)

    @property
    def recipe(self) -> Recipe:
        return self.run.single

    @property
    def seed(self) -> int:
        return self.run.seed

    @property
    def folder(self) -> Path:
        """The work folder of this run."""
        return self.settings.folder(self.dataset.name, self.run.name, self.seed)

    @property
    def training(self) -> Training:
        """The recipe's training with the run's seed."""
        return self.recipe.training.model_copy(update={"seed": self.seed})

    def keep_vocabulary(self, resumes: bool) -> None:
        """Lay what the codec keeps beside the checkpoint of the training that begins now, or goes on."""
        self.codec.keep(self.folder, resume=resumes)

    def batches(self, epoch: int) -> PairLoader:
        """The training batches of one epoch."""
        return train_batches(
            self.dataset.splits["train"],
            self.spec,
            self.codec,
            seed=self.seed,
            epoch=epoch,
            batch_size=self.recipe.training.batch_size,
            workers=self.recipe.training.workers,
            device=self.settings.device,
        )

    def resolved(self) -> dict[str, Any]:
        """The recipe with the seed and every default of the method spelled out."""
        document = self.recipe.model_dump(mode="json")
        document["training"]["seed"] = self.seed
        document["model"] = self.config.model_dump(mode="json")
        document["data"]["options"] = dict(self.dataset.options)
        return document | self.run.named_profile()

    @property
    def digest(self) -> str:
        """Of the resolved recipe; runs that differ in the seed alone share it."""
        return recipe_digest(self.resolved())


def check_data(data: DataSettings) -> None:
    """Raise UserError for an unknown dataset or option, and a test split that no protocol takes; nothing is loaded."""
    entry = get_entry(data.name)
    check_fields("data.options", data.options, entry.options)
    test = data.first_images.test
    if test is not None:
        check_test_size(data.name, min(test, entry.counts["test"]))


def prepare(run: Run, settings: Settings, splits: tuple[SplitName, ...] = ("train", "val", "test")) -> Job:
    """Load what the run of a single model needs of its data; the model is not built yet.

    Raises UserError for an ensemble, for data that cannot be had or are not the published ones, and for a test split
    that does not fit the protocols.
    """
    recipe = run.single
    method, config = get_method(recipe.method), recipe.method_config()
    spec = method.inputs(config)
    data = recipe.data
    check_vocabulary(spec.text, settings.vocabulary)
    with about(run.path):
        dataset = load_dataset(
            data.name,
            data.options,
            splits=splits,
            captions_per_image=data.captions_per_image,
            first_images=data.first_images.counts(),
            data_dir=settings.data_dir,
            unverified=settings.unverified,
            skip_corrupt=settings.skip_corrupt,
            regions=data.regions,
            guides=data.guides,
            store=FeatureStore(settings.work / "features", settings.device),
            show_progress=settings.show_progress,
        )
        for split in dataset.splits.values():
            check_input(split, spec)
        if "train" in splits:
            train = dataset.splits["train"]
            spec.check_epoch(len(train), len(train.captions), recipe.training.batch_size)
        if "test" in splits:  # now, and not after hours of training
            check_test_size(data.name, len(dataset.splits["test"]))
    return Job(run, method, config, spec, dataset, settings)


def build_model(job: Job, *, pretrained: bool) -> Baseline:
    """The recipe's model, its random parts drawn from the seed, on the device."""
    seed_initialisation(job.seed)
    train_split = job.dataset.splits.get("train")
    facts = DataFacts(
        vocab_size=job.codec.vocab_size,
        pad_id=job.codec.pad_id,
        n_train_images=len(train_split) if train_split is not None else split_sizes(job.recipe)["train"],
        pretrained=pretrained,
        word_vectors=job.codec.word_vectors,
    )
    model = job.method.build(job.config, facts)
    model.to(job.settings.device)
    return model


def split_sizes(recipe: Recipe) -> Mapping[SplitName, int]:
    """Images of each split, from the catalog, the recipe's options and its first images; nothing is loaded."""
    entry = get_entry(recipe.data.name)
    options = check_fields("data.options", recipe.data.options, entry.options)
    sizes = options.counts(entry_under(entry, options.model_dump()).counts)
    kept = recipe.data.first_images.counts()
    return {name: min(size, kept.get(name, size)) for name, size in sizes.items()}


def check_last_batch(recipe: Recipe) -> None:
    """Raise UserError where an epoch over as many images as the catalog has ends in a batch that is too small."""
    spec, images = get_method(recipe.method).inputs(recipe.method_config()), split_sizes(recipe)["train"]
    spec.check_epoch(images, images * recipe.data.captions_per_image, recipe.training.batch_size)


def reconstruction(method: Method) -> list[str]:
    """The departure of a method that is a reconstruction; [] of others."""
    return [RECONSTRUCTION] if method.reconstruction else []


def precision_departure(job: Job) -> list[str]:
    """The departure of a training in half precision that is not its authors'; [] of others."""
    ours, theirs = job.recipe.training.precision, job.method.half_precision
    if ours in ("float32", theirs):
        return []
    return [f"trained in {ours}, the published code in {theirs or 'float32'}"]


def departures_of(job: Job) -> list[str]:
    """Why the numbers cannot be held against the paper's: the data before the recipe, since tables have room for one.

    Fewer training or test images are a reason, and so are data that no paper reports. That a method is a
    reconstruction comes before all.
    """
    cut = {name: count for name, count in job.recipe.data.first_images.counts().items() if name != "val"}
    fewer = [f"only the first {count:,} {name} images" for name, count in cut.items()]
    words = job.codec.departures(job.dataset.name) if job.dataset.vocabulary is None else []
    found = [*reconstruction(job.method), *job.dataset.departures, *job.recipe.departures, *fewer, *words]
    names = [protocol.name for protocol in protocols_of(job.dataset.name)]
    if not found and not set(names) & set(get_args(ReportedProtocol)):
        found.append(f"no paper reports {job.dataset.name}")
    return found
