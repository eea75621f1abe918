"""The detector's published weights: fetched, held against their sha256 and their keys, converted once to safetensors.

The first download locks the repository's commit and the file's sha256 (`benchmark/data/published/revisions.py`).
Converted weights are named by the sha256 of the published file and by their own, so that a damaged file is noticed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from benchmark.data.published.remote import SourceRefusedError, drop_damaged, fetch_file
from benchmark.data.published.revisions import keep_file, read_revisions
from benchmark.data.regions.detector.published import COUNTER, manifest, sizes_of
from benchmark.errors import UserError, nearest
from benchmark.files import sha256_bytes, sha256_file, write_bytes
from benchmark.guarded import YAML_BYTES, DocumentError, read_within
from benchmark.places import WORK
from benchmark.torch_files.archive import LazyTensor
from benchmark.torch_files.legacy import open_checkpoint

REPOSITORY = "unc-nlp/frcnn-vg-finetuned"
FILE = "pytorch_model.bin"
CONFIG = "config.yaml"
SHA256 = "d3bf8ad74828a244a95d85e17a842cc0ac75419a53e4e81ee68386f192bb24c5"
"""Of the published file (data.md 3.2)."""

CACHE = WORK / "weights"
"""The folder of converted weights."""

OLDER = {".gamma": ".weight", ".beta": ".bias"}
"""Names that older files have for the weights of norms (data.md 3.3)."""


class Weights(NamedTuple):
    """Published tensors by their published names, and the configuration that lies beside them, "" where none does."""

    tensors: dict[str, Tensor]
    config: str


def expected_sha256() -> str:
    """Return the sha256 that the file of weights must have: the lock's, else the published one."""
    return read_revisions().hashes.get(f"{REPOSITORY}/{FILE}", SHA256)


def load_weights(path: Path | None = None, cache: Path = CACHE) -> Weights:
    """Return the weights from `cache`; where it lacks them, they are fetched, checked, and kept there.

    path: a local copy of the Hub's file, in place of fetching. Raises UserError where the weights are neither cached
    nor reachable, have another sha256 than expected, or do not fit the network.
    """
    sha256 = expected_sha256()
    if path is not None:
        check_sha256(path, sha256)
    kept = find_converted(sha256, cache)
    if kept is None:
        kept = convert(path, sha256, cache) if path is not None else fetch_and_convert(sha256, cache)
    with safe_open(kept, framework="pt", device="cpu") as file:
        return Weights({key: file.get_tensor(key) for key in file.keys()}, file.metadata()["config"])  # noqa: SIM118


def fetch_and_convert(sha256: str, cache: Path) -> Path:
    """Return the converted weights of the Hub's file, at the locked commit, else at the newest, which is locked."""
    source = fetch_file(REPOSITORY, FILE, read_revisions().commits.get(REPOSITORY, "main"))
    check_sha256(source, sha256)
    commit = source.parent.name
    with suppress(SourceRefusedError):  # it lies beside the weights from now on, where the repository has one
        fetch_file(REPOSITORY, CONFIG, commit)
    kept = convert(source, sha256, cache)
    keep_file(REPOSITORY, commit, FILE, sha256)
    return kept


def check_sha256(path: Path, expected: str) -> None:
    """Raise UserError, naming both, where a file has another sha256; one that the cache spoilt is taken out of it."""
    if not path.is_file():
        raise UserError(f"{path.as_posix()}: no such file, expected {FILE} of {REPOSITORY}")
    found = sha256_file(path)
    if found == expected:
        return
    if drop_damaged(path):
        raise UserError(
            f"{REPOSITORY}: {path.name} was damaged in the Hugging Face cache and is removed from it; run the same "
            "command again to fetch it"
        )
    says = "data.md 3.2" if expected == SHA256 else "the lock of revisions"
    raise UserError(
        f"{path.name}: found sha256 {found}, expected {expected} ({says}) of {FILE} of {REPOSITORY}; other weights "
        f"make other features: to use them all the same, put `{REPOSITORY}/{FILE}: <sha256>` under `hashes` of the lock"
    )


# -------------------------------------------------------------------------------------- conversion


def find_converted(sha256: str, cache: Path = CACHE) -> Path | None:
    """Return the converted weights of a published file; None: there are none. Damaged ones are said and removed."""
    for path in sorted(cache.glob(f"detector-{sha256[:16]}-*.safetensors")):
        if path.stem.endswith(sha256_file(path)[:32]):
            return path
        print(f"{path.name}: the converted weights are damaged; converting again", file=sys.stderr)
        path.unlink(missing_ok=True)
    return None


def convert(source: Path, sha256: str, cache: Path) -> Path:
    """Convert a published file into `cache`, with the configuration that lies beside it; return the new file.

    Raises UserError where the file does not fit the network, and where `cache` cannot be written to.
    """
    config = source.with_name(CONFIG)
    try:
        text = read_within(config, YAML_BYTES).decode("utf-8", "replace") if config.is_file() else ""
    except DocumentError as error:
        raise UserError(f"{CONFIG} beside {source.name}: {error}") from None
    content = safetensors_bytes(read_published(source), {"config": text})
    path = cache / f"detector-{sha256[:16]}-{sha256_bytes(content)[:32]}.safetensors"
    try:
        write_bytes(path, content)
    except OSError as error:
        raise UserError(
            f"{path.as_posix()}: cannot be written ({error.strerror}); make room and run again"
        ) from None
    return path


def read_published(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file of `torch.save`, as float32, without counters; nothing in it runs.

    Raises UserError, in one line, for a file that holds no state dict, one with keys missing, left over or of other
    shapes than the network's, and for numbers that are not finite.
    """
    archive = open_checkpoint(path)
    content = archive.content
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, LazyTensor) for key, value in content.items()
    ):
        found = (
            f"a {type(content).__name__}" if not isinstance(content, dict) else "other things than tensors"
        )
        raise UserError(f"{path.name}: found {found}, expected a state dict: tensors by name")
    tensors = {_current(key): archive.tensor(value) for key, value in content.items()}
    check_keys(tensors, path.name)
    return {key: tensor.float().contiguous() for key, tensor in tensors.items() if not key.endswith(COUNTER)}


def _current(key: str) -> str:
    return next((key.removesuffix(old) + new for old, new in OLDER.items() if key.endswith(old)), key)


def check_keys(tensors: Mapping[str, Tensor], name: str) -> None:
    """Raise UserError unless tensors are those of a detector, of the sizes that the tensors themselves show.

    Counters of batches may be absent: files from before PyTorch 0.4.1 have none, and nothing reads them.
    """
    try:
        wanted = manifest(sizes_of(tensors))
    except (KeyError, IndexError) as error:
        raise UserError(f"{name}: no detector of data.md 3.3: it lacks {error}") from None
    missing = [key for key in wanted if key not in tensors and not key.endswith(COUNTER)]
    left = [key for key in tensors if key not in wanted]
    if missing or left:
        first = f"no '{missing[0]}'{nearest(missing[0], left) if left else ''}" if missing else f"'{left[0]}'"
        raise UserError(
            f"{name}: found {first}, expected the {len(wanted)} keys of data.md 3.3: {len(missing)} are missing, "
            f"{len(left)} left over"
        )
    for key, tensor in tensors.items():
        if tuple(tensor.shape) != wanted[key]:
            raise UserError(f"{name}: '{key}': found shape {tuple(tensor.shape)}, expected {wanted[key]}")
        if not bool(tensor.isfinite().all()):
            raise UserError(f"{name}: '{key}' holds numbers that are not finite")
