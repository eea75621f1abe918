"""Parquet files as one memory-mapped table: the `parquet` builder of `datasets`, told which files, never which folder.

A folder's own cache key forgets its path and contents (data.md 4.3); that of named files has their paths and times.
`datasets` is imported inside the functions: a machine that only tries a GPU need not have it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from benchmark.data.checksums import DamagedError
from benchmark.data.published.adapters import Adapter, recognise
from benchmark.errors import UserError


def column_names(path: Path) -> list[str]:
    """Return columns of a parquet file, from its footer alone; raises DamagedError for a file that has none."""
    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError) as error:
        raise DamagedError(path, _reason(error)) from None


def read_table(files: Sequence[Path], cache_dir: Path | None = None) -> tuple[Any, Adapter]:
    """Return the files' rows as a `datasets.Dataset` with the columns that are needed, pictures not decoded.

    Raises OtherColumnsError where no adapter reads them, DamagedError, and UserError for a full disk.
    """
    import datasets

    from benchmark.data.published.parquet import prepare_table

    found = column_names(files[0])
    adapter = recognise(found, files[0].name)
    columns = [*adapter.columns(), *([adapter.part] if adapter.part in found else [])]
    try:
        table = prepare_table(files, columns, cache_dir)
    except datasets.exceptions.DatasetGenerationError as error:
        raise DamagedError(_first_damaged(files, columns), _reason(error)) from None
    except OSError as error:
        raise UserError(
            f"cannot prepare {files[0].name} for reading: {_reason(error)}; the pictures take their size again on "
            "the disk of HF_HOME (or HF_DATASETS_CACHE)"
        ) from None
    if adapter.image is not None:
        table = table.cast_column(adapter.image, datasets.Image(decode=False))
    return table, adapter


def _first_damaged(files: Sequence[Path], columns: Sequence[str]) -> Path:
    """Return the first file that cannot be read by itself: the builder does not say which it was."""
    for path in files:
        try:
            reader = pyarrow.parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False)
            for _ in reader.iter_batches(batch_size=64, columns=list(columns)):
                pass
        except (pyarrow.ArrowException, OSError):
            return path
    return files[0]


def _reason(error: BaseException) -> str:
    return " ".join(str(error.__cause__ or error).split())[:200]


@contextmanager
def progress_bars(show: bool) -> Iterator[None]:
    """Let the libraries show their bars on a terminal, or not at all, and put them back as they were."""
    import datasets

    before = (are_progress_bars_disabled(), not datasets.is_progress_bar_enabled())
    show = show and sys.stderr.isatty()  # a log or a pipe wants none
    _set_bars(hub=show, tables=show)
    try:
        yield
    finally:
        _set_bars(hub=not before[0], tables=not before[1])


def _set_bars(*, hub: bool, tables: bool) -> None:
    import datasets

    (enable_progress_bars if hub else disable_progress_bars)()
    (datasets.enable_progress_bars if tables else datasets.disable_progress_bars)()
