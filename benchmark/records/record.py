"""Run records: one JSON document a run, results/runs/<dataset>/<run>/<seed>.json, all that the tables are made of.

A record says what was trained on what, how it was scored and whether that is the paper's set-up. Its
canonical hash leaves out environment, latency and times: same machine, recipe and seed give the same hash.
It holds no user name, no host name and no absolute path. Ranks and top-10 lists lie beside it (sidecar.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from benchmark.errors import UserError, shown
from benchmark.files import plain, sha256_bytes, write_text
from benchmark.guarded import JSON_BYTES, DocumentError, parse_json, read_within
from benchmark.places import RUNS, listing, locate
from benchmark.recipe.faults import explain
from benchmark.recipe.schema import PaperRow
from benchmark.records.environment import Environment
from benchmark.records.parts import (
    DatasetFacts,
    Latency,
    Member,
    Part,
    ProtocolRecord,
    Sha256,
    TrainingSummary,
)
from benchmark.records.signature import Signature, unknown_origin
from benchmark.strict import LATER, Grown

SCHEMA_VERSION = 1
VOLATILE = ("canonical_hash", "environment", "latency", "wall_seconds")
"""Fields that the canonical hash leaves out."""


class RunRecord(Part, Grown):
    """One run, as results/runs/<dataset.name>/<run>/<seed>.json holds it."""

    schema_version: Literal[1]
    canonical_hash: str = ""
    run: str
    seed: int
    method: str
    """Name in the registry; an ensemble's members share it, or it is their names joined by `+`."""
    recipe_path: str
    recipe_digest: Sha256
    recipe: dict[str, Any]
    """The recipe as resolved: with the seed and the options that were in force."""
    paper_row: PaperRow | None
    """The paper's row that the run answers to; None: it answers to none."""
    comparable: bool
    departures: list[str]
    """The reasons why the numbers cannot be compared with the paper's; empty means the paper's set-up."""
    weights: Literal["trained", "official", "members", "elsewhere", "pretrained"]
    """`elsewhere`: only scores were given (elsewhere.py); `pretrained`: weights of the Hub as they are, zero-shot."""
    weights_sha256: Sha256 | None = None
    members: list[Member] = []
    dataset: DatasetFacts
    codec: str
    transform: Annotated[str | None, LATER] = None
    """The identity of a method's own image transform; None: the recipe says all."""
    split: str = "test"
    score_precision: Literal["float32", "float64"]
    version: str
    """The version of Rematch."""
    results: dict[str, ProtocolRecord] = Field(min_length=1)
    """The results by protocol name."""
    training: TrainingSummary | None = None
    block_plan: dict[str, Any]
    sidecar_sha256: Sha256
    notes: list[str] = []
    wall_seconds: dict[str, Annotated[float, Field(ge=0)]]
    latency: Latency | None = None
    environment: Environment

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.recipe_digest != recipe_digest(self.recipe):
            raise ValueError("recipe_digest does not belong to the recipe")
        if self.recipe.get("training", {}).get("seed", self.seed) != self.seed:
            raise ValueError(f"seed is {self.seed}, the recipe's is {self.recipe['training']['seed']}")
        if self.comparable == bool(self.departures):
            raise ValueError(f"comparable is {self.comparable} with {len(self.departures)} departures")
        if self.comparable and any(member.departures for member in self.members):
            raise ValueError("comparable, but a member departs from the paper's set-up")
        if (self.weights == "members") != (len(self.members) >= 2):
            raise ValueError(f"weights '{self.weights}' with {len(self.members)} members")
        prints = [self.dataset.fingerprint, *(facts.fingerprint for facts in self.dataset.splits.values())]
        unknown = prints.count("unknown")
        if unknown != (len(prints) if self.weights == "elsewhere" else 0):
            raise ValueError(
                f"weights '{self.weights}', and {unknown} of {len(prints)} fingerprints are unknown"
            )
        if self.weights == "elsewhere" and self.comparable:
            raise ValueError("comparable, but the scores are from elsewhere")
        if self.split not in self.dataset.splits:
            raise ValueError(
                f"split '{self.split}' is not one of the dataset's: {', '.join(self.dataset.splits)}"
            )
        document = self.model_dump(mode="json")
        for protocol, result in document["results"].items():
            if result["signature"] != signature_line(document, result):
                raise ValueError(f"the signature of {protocol} does not fit the rest of the record")
        found = absolute_paths(document)
        if found:
            raise ValueError(f"holds an absolute path: {shown(found[0])}")
        return self

    @property
    def variant(self) -> str:
        """The paper's name of the row that the run answers to; the run's own where it answers to none."""
        return self.run if self.paper_row is None else self.paper_row.variant

    @property
    def paper_method(self) -> str:
        """The method whose paper the run is held against, or would be."""
        return self.method if self.paper_row is None else self.paper_row.method

    @property
    def path(self) -> Path:
        """The place of the record, below the runs folder; the sidecar lies beside it as `.npz`."""
        return Path(self.dataset.name, self.run, f"{self.seed}.json")


# ------------------------------------------------------------------------------- making a record


def new_record(**parts: Any) -> RunRecord:
    """Make a record from the fields of RunRecord, parts as models or as dicts.

    Fills in schema_version, paper_row (the recipe's), recipe_digest, comparable (from `departures` and the
    members'), every result's signature and the canonical hash. Absolute paths in any text become
    `<path>/<last part>`.
    Raises pydantic's ValidationError where a field is missing, unknown or at odds with another.
    """
    document = tidy({name: _dumped(value) for name, value in parts.items()})
    for member in document.get("members", []):
        document["departures"] += [f"{member['run']}: {reason}" for reason in member["departures"]]
    document["departures"] = list(dict.fromkeys(document["departures"]))
    document["comparable"] = not document["departures"]
    document["recipe_digest"] = recipe_digest(document["recipe"])
    document["schema_version"] = SCHEMA_VERSION
    document.setdefault("paper_row", document["recipe"].get("paper_row"))
    for result in document["results"].values():
        result["signature"] = signature_line(document, result)
    record = RunRecord.model_validate(document)
    return record.model_copy(update={"canonical_hash": canonical_hash(record)})


def signature_line(document: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """The signature of one of a record's results, from the record's other fields."""
    members = document.get("members") or []
    dataset, trained = document["dataset"], document["weights"] == "trained"
    marks = [compiled_mark(document["recipe"])] if trained else [one.get("compiled") for one in members]
    if document["weights"] == "elsewhere":
        sizes = (result["images"], result["captions"], len(result["folds"]))
        settings = (result["tie_rule"], document["score_precision"], document["version"])
        return str(unknown_origin(dataset["name"], *sizes, *settings))
    split = document.get("split", "test")
    signature = Signature(
        dataset=dataset["name"],
        fingerprint=dataset["splits"][split]["fingerprint"][:8],
        split=split,
        images=result["images"],
        captions=result["captions"],
        rule=caption_rule(dataset["captions_per_image"], every=dataset.get("every_caption", False)),
        folds=len(result["folds"]),
        ties=result["tie_rule"],
        ensemble=str(len(members)) if members else "no",
        precision=document["score_precision"],
        version=document["version"],
        features=dataset.get("features"),
        compiled=next(filter(None, marks), None),
    )
    return str(signature)


def compiled_mark(recipe: Mapping[str, Any]) -> str | None:
    """The signature's word for weights of this recipe, where its training compiles; None elsewhere."""
    training = recipe.get("training")
    return "training" if isinstance(training, Mapping) and training.get("compile") else None


def caption_rule(captions_per_image: int, *, every: bool) -> str:
    """The rule by which captions of an image are taken, as signatures name it."""
    return "all" if every else f"first{captions_per_image}"


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """The sha256 of what a resolved recipe says about the numbers; runs that differ in the seed alone share it."""
    kept = binding(recipe)
    if isinstance(kept.get("training"), Mapping):
        kept["training"] = {name: value for name, value in kept["training"].items() if name != "seed"}
    return sha256_bytes(_canonical(kept))


def binding(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a resolved recipe that decides the numbers of a run.

    Left out: loader processes (they change speed only), and the prose and expectations.
    """
    prose = ("summary", "departures", "paper_row", "expected")
    kept = {name: value for name, value in recipe.items() if name not in prose}
    if isinstance(kept.get("training"), Mapping):
        kept["training"] = {name: value for name, value in kept["training"].items() if name != "workers"}
    return kept


def canonical_hash(record: RunRecord) -> str:
    """The sha256 of the record without environment, latency and times, floats exact."""
    document = record.model_dump(mode="json")
    return sha256_bytes(_canonical({name: value for name, value in document.items() if name not in VOLATILE}))


def _canonical(document: Any) -> bytes:
    """JSON with sorted keys and no spaces; Python writes floats with the fewest digits that read back the same."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def _dumped(value: Any) -> Any:
    """Models inside `value` as plain dicts."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: _dumped(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_dumped(item) for item in value]
    return value


# -------------------------------------------------------------------------------- no paths inside

ABSOLUTE = re.compile(r"file://\S+|(?<![\w.:/<>~-])~?/(?=[A-Za-z_.])[^\s'\",;:)\]]+|\b[A-Za-z]:\\\S+")


def tidy(value: Any) -> Any:
    """`value` as plain JSON types, with absolute paths in its texts cut to `<path>/<last part>`."""
    value = plain(value)
    if isinstance(value, dict):
        return {name: tidy(item) for name, item in value.items()}
    if isinstance(value, list):
        return [tidy(item) for item in value]
    if not isinstance(value, str):
        return value
    home = str(Path.home())
    if len(home) > 1:
        value = value.replace(home + "/", "/")
    return ABSOLUTE.sub(lambda match: "<path>/" + re.split(r"[/\\]", match[0].rstrip("/\\"))[-1], value)


def absolute_paths(document: Any) -> list[str]:
    """List the absolute paths in the texts of a document."""
    if isinstance(document, Mapping):
        return [found for item in document.values() for found in absolute_paths(item)]
    if isinstance(document, list):
        return [found for item in document for found in absolute_paths(item)]
    return ABSOLUTE.findall(document) if isinstance(document, str) else []


# -------------------------------------------------------------------------------------- on disk


def write_record(record: RunRecord, runs_dir: Path = RUNS) -> Path:
    """Write the record where it belongs, atomically; the sidecar is written first (sidecar.py)."""
    path = runs_dir / record.path
    text = json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")
    return path


def read_record(path: Path) -> RunRecord:
    """Read and check a record.

    Raises UserError, naming the file and the field, for a missing or half-written file, a document that is
    no run record, another schema version, a field at fault, and a record that was changed after the run.
    """
    name = path.as_posix()
    try:
        content = read_within(locate(path), JSON_BYTES)
    except FileNotFoundError:
        raise UserError(f"{name}: no such run record") from None
    except (OSError, DocumentError) as error:
        raise UserError(f"{name}: not a complete JSON document ({error}); delete it and run again") from None
    return parse_record(content, name)


def parse_record(content: bytes, name: str) -> RunRecord:
    """A record from a file's content, wherever that is from; errors as `read_record`, with this name."""
    try:
        document = parse_json(content, constant=_no_constant)
    except ValueError as error:
        raise UserError(f"{name}: not a complete JSON document ({error}); delete it and run again") from None
    if not isinstance(document, dict) or "schema_version" not in document:
        raise UserError(f"{name}: field 'schema_version' is missing: not a run record of Rematch")
    if document["schema_version"] != SCHEMA_VERSION:
        found = document["schema_version"]
        raise UserError(f"{name}: field 'schema_version': found {shown(found)}, expected {SCHEMA_VERSION}")
    try:
        record = RunRecord.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{name}: {_fault(error)}") from None
    if record.canonical_hash != canonical_hash(record):
        raise UserError(f"{name}: field 'canonical_hash' does not fit: the record was changed after the run")
    return record


def read_all(runs_dir: Path = RUNS, *, packaged: bool = False) -> list[RunRecord]:
    """All records below `runs_dir`, ordered by dataset, run and seed; [] where there are none.

    packaged: with those that only the distribution has (benchmark/places.py).
    Raises UserError for the first file that is no sound record or lies where it does not belong: a table
    must not leave a run out silently.
    """
    records = []
    for path in listing(runs_dir, "**/*.json") if packaged else sorted(runs_dir.rglob("*.json")):
        record = read_record(path)
        if path.relative_to(runs_dir) != record.path:
            raise UserError(f"{path.as_posix()}: holds the run {record.path.as_posix()}; move it there")
        records.append(record)
    return sorted(records, key=lambda record: (record.dataset.name, record.run, record.seed))


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number that a record may hold")


def _fault(error: ValidationError) -> str:
    """The first fault in one short line."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"]) or "document"
    if fault["type"] == "value_error":
        return f"field '{where}': {fault['ctx']['error']}"
    line = " ".join(explain(error, RunRecord).split())
    return line if len(line) <= 300 else f"{line[:297]}..."
