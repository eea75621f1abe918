"""`rematch query`: a sentence or a picture against a run's test gallery.

A sentence is answered with images, a picture with captions, scored as the evaluation scores them. The gallery's codes
are kept in the work folder, by weights and data, so that a second query is quick. An ensemble answers with the mean of
its members' scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as tensor_bytes

from benchmark import __version__
from benchmark.batches import CaptionBatch, Codes, ImageBatch
from benchmark.data.batches import caption_batches, image_batches
from benchmark.data.images.decoding import BrokenPictureError, decode
from benchmark.data.load import with_computed
from benchmark.data.regions.grid import FeatureStore
from benchmark.data.splits import Images, Split
from benchmark.data.text.word_codec import KEPT
from benchmark.errors import UserError
from benchmark.evaluation.encoding import encode_captions, encode_images
from benchmark.evaluation.protocol import ensemble
from benchmark.evaluation.ranking import Floats, top_k
from benchmark.evaluation.scoring import score
from benchmark.files import replacing, sha256_bytes, sha256_file, sweep
from benchmark.inputs import Codec
from benchmark.memory import MEGABYTE
from benchmark.method import Baseline
from benchmark.places import locate
from benchmark.recipe.faults import about
from benchmark.recipe.schema import DataSettings
from benchmark.records.reference import reference_path
from benchmark.run.evaluate import check_words
from benchmark.run.job import DTYPES, Job, Settings, build_model, check_data, departures_of, prepare
from benchmark.run.runs import Run
from benchmark.training import check_trained, deterministic, load_weights, read_weights
from benchmark.training.checkpoints import check_state, read_notes, weight_bytes

QUERIES = "queries"
"""Folder of the gallery codes, in the work folder."""

PRETRAINED = "the Hub, as they are (zero-shot)"

Side = Literal["images", "captions"]


@dataclass(frozen=True)
class Hit:
    """One answer."""

    rank: int
    """The rank, from 1."""
    score: float
    row: int
    """The row in the gallery: an image's for a sentence, a caption's for a picture."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to a query, best first."""

    run: str
    dataset: str
    split: Split
    sentence: str | None
    picture: Image.Image | None
    asked: str
    """The sentence, or the name of the picture's file."""
    hits: list[Hit]
    weights: list[str]
    """The names of the weights that were taken, a line a model."""
    notes: list[str]
    departures: list[str]

    def caption_of(self, hit: Hit) -> tuple[str, str]:
        """Id and text of the answer to a picture, or of the first caption of the image that answers a sentence."""
        row = hit.row if self.picture is not None else self.split.rows_of_images()[hit.row][0]
        return self.split.caption_ids[row], self.split.captions[row]

    def image_of(self, hit: Hit) -> int:
        """Row of the image that is the answer, or that the caption belongs to."""
        return int(self.split.caption_image[hit.row]) if self.picture is not None else hit.row


def run_query(
    run: Run,
    settings: Settings,
    *,
    sentence: str | None = None,
    picture: Path | None = None,
    top: int = 5,
    checkpoint: Path | None = None,
) -> Answer:
    """Ask the run's model for the `top` best images of a sentence, or captions of a picture.

    Raises UserError for a sentence of unknown words only, a picture that cannot be read or cannot be made into what the
    model reads, and where there are no weights.
    """
    asked = _asked(sentence, picture, top)
    image = None if picture is None else read_picture(picture)
    if run.members and checkpoint is not None:
        raise UserError(
            f"{run.path.as_posix()}: an ensemble has several weights; --checkpoint is for a single model"
        )
    deterministic()
    found = [_ask(single, settings, sentence, image, checkpoint) for single in run.singles]
    first = found[0]
    scores = first.scores if len(found) == 1 else ensemble([one.scores for one in found])
    return Answer(
        run=run.name,
        dataset=first.job.dataset.name,
        split=first.job.dataset.splits["test"],
        sentence=sentence,
        picture=image,
        asked=asked,
        hits=_hits(scores, top),
        weights=[f"{one.job.run.name}: {one.weights}" for one in found],
        notes=list(dict.fromkeys(note for one in found for note in one.notes)),
        departures=list(dict.fromkeys(reason for one in found for reason in departures_of(one.job))),
    )


def _asked(sentence: str | None, picture: Path | None, top: int) -> str:
    if (sentence is None) == (picture is None):
        raise UserError("query: give a sentence, or a picture (--image FILE); one of them")
    if top < 1:
        raise UserError(f"option '--top': found {top}, expected 1 or more")
    if sentence is not None and not sentence.strip():
        raise UserError("query: the sentence is empty")
    return sentence if picture is None else picture.name  # type: ignore[return-value]  # one of them is there


def read_picture(path: Path) -> Image.Image:
    """A picture file as RGB; raises UserError, in one line, where it cannot be read."""
    try:
        return decode(path.read_bytes(), path.as_posix())
    except BrokenPictureError as error:
        raise UserError(f"{path.as_posix()}: cannot be decoded ({error.reason})") from None
    except OSError as error:
        raise UserError(f"{path.as_posix()}: {error.strerror or error}") from None


def _hits(scores: Floats, top: int) -> list[Hit]:
    """The best items by `scores`: (n_images, 1) for a sentence, (1, n_captions) for a picture."""
    best = top_k(scores, top)
    if scores.shape[1] == 1:
        rows, values = best.t2i[0], best.t2i_scores[0]
    else:
        rows, values = best.i2t[0], best.i2t_scores[0]
    return [
        Hit(rank, float(value), int(row))
        for rank, (row, value) in enumerate(zip(rows, values, strict=True), 1)
    ]


# ---------------------------------------------------------------------------------------- one model


@dataclass(frozen=True, eq=False)
class _Asked:
    """The scores of one model."""

    job: Job
    scores: Floats
    weights: str
    notes: list[str]


def _ask(
    run: Run,
    settings: Settings,
    sentence: str | None,
    picture: Image.Image | None,
    checkpoint: Path | None,
) -> _Asked:
    recipe = run.single
    if settings.vocabulary is None and checkpoint is not None and (checkpoint.parent / KEPT).is_file():
        settings = replace(settings, vocabulary=checkpoint.parent / KEPT)
    if picture is not None:
        _check_picture_input(run.path, recipe.data)
    with about(run.path):
        check_data(recipe.data)
    untrained = not recipe.training.stages and checkpoint is None
    weights = None if untrained else find_weights(run, settings, checkpoint)  # before data are loaded
    job = prepare(run, settings, splits=("test",))
    notes = [] if sentence is None else word_notes(job.codec, sentence)
    model = build_model(job, pretrained=untrained)
    if weights is None:
        said, digest = PRETRAINED, sha256_bytes(weight_bytes(model))
    else:
        said, digest = weights.said, sha256_file(weights.path)
        notes += load_found(job, model, weights)
    dtype = DTYPES[recipe.evaluation.precision]
    if sentence is not None:
        ids, lengths = job.codec.encode([sentence])
        caption = CaptionBatch(ids, lengths, torch.zeros(1, dtype=torch.long))
        captions = encode_captions(model, [caption], 1, settings.device, dtype)
        images = gallery_codes(job, model, digest, "images")
    else:
        assert picture is not None
        images = encode_images(model, picture_batches(job, picture), 1, settings.device, dtype)
        captions = gallery_codes(job, model, digest, "captions")
    memory = recipe.evaluation.memory_mb * MEGABYTE
    sims, _ = score(model, images, captions, memory_bytes=memory, device=settings.device)
    return _Asked(job, sims, said, notes)


def load_found(job: Job, model: Baseline, weights: Weights) -> list[str]:
    """Put weights into the model; returns what is to be said of them. Raises UserError where they do not fit."""
    check_words(job, model, weights.path)
    trained_with = weights.load_into(model).get("recipe_digest")
    if trained_with in (None, job.digest):
        return []
    return [f"{weights.path.as_posix()} were not trained with this recipe as it is now"]


@dataclass(frozen=True)
class Weights:
    """Weights to ask."""

    path: Path
    said: str
    """The name of the weights, in words."""
    halved: bool = False
    """Stored in half precision, as committed references are."""

    def load_into(self, model: Baseline) -> dict[str, Any]:
        """Put them into the model; returns the file's notes. Raises UserError as `load_weights`."""
        if not self.halved:
            return load_weights(self.path, model)
        state, notes = read_weights(self.path)
        wanted = model.state_dict()
        state = {
            name: value.to(wanted[name].dtype) if name in wanted else value for name, value in state.items()
        }
        check_state(self.path, state, model)
        model.load_state_dict(state)
        return notes


def find_weights(run: Run, settings: Settings, checkpoint: Path | None) -> Weights:
    """Weights to ask: those named, the last training's, or the committed reference.

    Raises UserError where there are none, or a file that is not whole.
    """
    if checkpoint is not None:
        read_notes(checkpoint)
        return Weights(checkpoint, checkpoint.as_posix())
    folder = settings.folder(run.dataset, run.name, run.seed)
    trained = folder / "best.safetensors"
    if trained.is_file():
        check_trained(folder)
        return Weights(trained, f"the last training, seed {run.seed}")
    committed = reference_path(run.dataset, run.name).with_suffix(".safetensors")
    if locate(committed).is_file():
        said = f"the committed reference, {committed.as_posix()} (no training of this recipe lies here)"
        return Weights(locate(committed), said, halved=True)
    raise UserError(
        f"{trained.as_posix()}: no such weights; train them (rematch reproduce {run.path.as_posix()}), or name "
        "some (--checkpoint)"
    )


def word_notes(codec: Codec, sentence: str) -> list[str]:
    """Say which words the vocabulary lacks; raises UserError where it has none of them."""
    words = codec.known_words(sentence)
    unknown = [word for word, known in words if not known]
    if len(unknown) == len(words):
        raise UserError(
            f"query: none of the words is in the vocabulary of the run ({', '.join(unknown) or 'no words'})"
        )
    return [f"not in the vocabulary: {', '.join(dict.fromkeys(unknown))}"] if unknown else []


# ---------------------------------------------------------------------------------------- pictures


def _check_picture_input(path: Path, data: DataSettings) -> None:
    if data.features_in_folder:
        raise UserError(
            f"{path.as_posix()}: the model reads features that a detector found, and those of a new picture cannot be "
            "made here; query it with a sentence, or a recipe that reads pixels or `regions: {source: grid}`"
        )


@dataclass(frozen=True)
class _OnePicture(Images):
    """A gallery of one."""

    picture: Image.Image

    def __len__(self) -> int:
        return 1

    def __getitem__(self, row: int, /) -> Image.Image:
        return self.picture

    def select(self, rows: object) -> _OnePicture:  # noqa: ARG002  # there is one
        return self

    def identity(self) -> bytes:
        return self.picture.tobytes()


def picture_batches(job: Job, picture: Image.Image) -> list[ImageBatch]:
    """Return the picture as the model reads the test split's: pixels, or features by the recipe's extractors."""
    split = Split("test", ["query"], ["query"], [], [], np.zeros(0, np.int64), _OnePicture(picture))
    dataset, data = replace(job.dataset, splits={"test": split}), job.recipe.data
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # features of a query are not kept
        store = FeatureStore(Path(folder), job.settings.device)
        dataset = with_computed(dataset, data.regions, data.guides, store, show_progress=False)
        return list(image_batches(dataset.splits["test"], job.spec, batch_size=1))


# ----------------------------------------------------------------------------------------- gallery


def gallery_codes(job: Job, model: Baseline, weights_sha256: str, side: Side) -> Codes:
    """Codes of one side of the test split: from the work folder, else made and kept there.

    They hang on the weights, the data, the recipe and the words; a file that was damaged is made again.
    """
    split, how = job.dataset.splits["test"], job.recipe.evaluation
    own = f"{job.codec.identity} {job.spec.image.identity}"
    key = f"{__version__} {weights_sha256} {split.fingerprint} {job.digest} {own} {side}"
    stem = f"{job.run.name}-{side}-{sha256_bytes(key.encode())[:16]}"
    folder = job.settings.work / QUERIES / job.dataset.name
    sweep(folder, f"{stem}-*.safetensors")
    for path in folder.glob(f"{stem}-*.safetensors"):
        content = path.read_bytes()
        if path.stem == f"{stem}-{sha256_bytes(content)[:16]}":
            try:
                return Codes(read_tensors(content))
            except SafetensorError:
                pass
        path.unlink()
    device, dtype, size = job.settings.device, DTYPES[how.precision], how.batch_size
    show = job.settings.show_progress
    if side == "images":
        codes = encode_images(
            model, image_batches(split, job.spec, batch_size=size), len(split), device, dtype, show
        )
    else:
        batches = caption_batches(split, job.spec, job.codec, batch_size=size)
        codes = encode_captions(model, batches, len(split.captions), device, dtype, show)
    content = tensor_bytes({name: tensor.contiguous() for name, tensor in codes.tensors.items()})
    with replacing(folder / f"{stem}-{sha256_bytes(content)[:16]}.safetensors") as handle:
        handle.write(content)
    return codes
