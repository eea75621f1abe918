"""Repositories of models on the Hub: the files beside the weights, and the weights, at a pinned commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from benchmark.errors import UserError
from benchmark.guarded import DocumentError, read_json

TIMEOUT = 10.0
"""Seconds to wait for the Hub's first answer."""

TEXTS = (".json", ".txt", ".model", ".jinja")
"""Kinds of file that say how a model is built and how pictures and captions are read."""

READERS = ("config.json", "tokenizer_config.json")
"""With a preprocessor's file: where these are in the cache, the Hub is not asked again for what lies beside weights."""

SINGLE = ("model.safetensors", "pytorch_model.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""The files of weights that transformers reads, and the lists of those in several files; safetensors come first."""


def fetch_description(name: str, revision: str | None) -> Path:
    """Return the folder of a repository's small files: configuration, preprocessor, tokenizer, and no weights."""

    def whole(folder: Path) -> bool:
        pictures = any(folder.glob("*processor_config.json"))
        return pictures and all((folder / file).is_file() for file in READERS)

    def wanted(files: Iterable[str]) -> list[str]:
        return [file for file in files if "/" not in file and file.endswith(TEXTS)]

    return fetch(name, revision, whole, wanted, partial=True)


def fetch_weights(name: str, revision: str | None) -> Path:
    """Return the folder of a repository with its weights in it."""

    def wanted(files: Iterable[str]) -> list[str]:
        there = set(files)
        for file, index in zip(SINGLE, INDEXES, strict=True):
            if file in there:
                return [file]
            if index in there:
                stem, _, suffix = file.rpartition(".")
                return [index, *(one for one in there if one.startswith(f"{stem}-") and one.endswith(suffix))]
        raise UserError(f"{name}: found no {' or '.join(SINGLE)}, expected weights that transformers reads")

    return fetch(name, revision, has_weights, wanted)


def has_weights(folder: Path) -> bool:
    """Return True where a folder has all files of a model's weights."""
    for index in INDEXES:
        if (folder / index).is_file():
            try:
                parts = read_json(folder / index)["weight_map"].values()
            except (DocumentError, KeyError, TypeError, AttributeError):
                return False  # it is fetched again
            return all((folder / part).is_file() for part in parts)
    return any((folder / file).is_file() for file in SINGLE)


def fetch(
    name: str,
    revision: str | None,
    whole: Callable[[Path], bool],
    wanted: Callable[[Iterable[str]], list[str]],
    *,
    partial: bool = False,
) -> Path:
    """Return the cached folder of a commit with some of its files, fetched from the Hub where they are not there.

    whole: whether a cached folder has them all. partial: without the Hub, a folder that may lack some will do. Raises
    UserError, in one line, where the files are neither cached nor to be had.
    """
    cached = cached_folder(name, revision)
    if cached is not None and whole(cached):
        return cached
    try:
        listed = HfApi().model_info(name, revision=revision, timeout=TIMEOUT)
        files = wanted(item.rfilename for item in listed.siblings or [])
        return Path(snapshot_download(name, revision=listed.sha, allow_patterns=files, etag_timeout=TIMEOUT))
    except UserError:
        raise
    except Exception as error:  # whatever the network, the Hub or its client raises is no fault of ours
        if cached is not None and partial:
            return cached
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        at = "" if revision is None else f" at {revision[:12]}"
        raise UserError(
            f"model '{name}'{at} (field model.name) is not in the cache and cannot be fetched from the Hub: {reason}"
        ) from None


def cached_folder(name: str, revision: str | None) -> Path | None:
    """Return the folder of a commit in the cache, whatever it has; None where the cache has nothing of it."""
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # the library has several errors for it
        return None


def unreadable(name: str, what: str, error: object) -> UserError:
    """Return the error of files that a library cannot read."""
    reason = " ".join(str(error).split())[:200]
    return UserError(f"model '{name}' (field model.name): its {what} cannot be read: {reason}")
