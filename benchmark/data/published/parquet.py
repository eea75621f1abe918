"""Parquet files -> one memory-mapped Arrow table, in bounded memory.

The `parquet` builder of `datasets` keeps the cache, but not its reader: that one buffers whole files ahead and takes a
row group in one piece, which comes to 3 GB for a file of 3 GB, and to 8 GB where its row groups are of 1.5 GB. Ours
reads a few rows at a time: 0.4 GB, and 1.4 GB.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
from datasets import DownloadMode
from datasets.builder import Key
from datasets.packaged_modules.parquet.parquet import Parquet
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # it is in their __init__

from benchmark.data.checksums import KEPT, check_source, compare_checksums, take_checksums

ROWS = 64
"""Rows that are held in memory at a time: some ten megabytes of pictures."""

BUFFER = 2**20
"""Bytes that are read from a column at a time."""


class _Builder(Parquet):  # type: ignore[misc]  # `datasets` has no types
    """The library's builder with a reader that holds a few rows instead of a file."""

    def _generate_tables(
        self, files: Sequence[str], row_groups_list: Sequence[Sequence[int] | None]
    ) -> Iterator[tuple[Key, Any]]:
        for number, (path, groups) in enumerate(zip(files, row_groups_list, strict=True)):
            with pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as reader:
                wanted = range(reader.num_row_groups) if groups is None else groups
                batches = reader.iter_batches(ROWS, row_groups=list(wanted), columns=self.config.columns)
                for index, batch in enumerate(batches):
                    yield Key(number, index), self._cast_table(pyarrow.Table.from_batches([batch]))


def prepare_table(files: Sequence[Path], columns: Sequence[str], cache_dir: Path | None = None) -> Any:
    """Return some columns of the files, one after the other, as a memory-mapped `datasets.Dataset`; made once.

    The copy in the cache is known by the files' paths and times (data.md 4.3). Raises what the builder raises:
    `datasets.exceptions.DatasetGenerationError` for damaged files, OSError for a full disk; DamagedError for a file
    that the Hub announced otherwise, and UserError for a copy that is not as it was prepared.
    """
    builder = _Builder(
        cache_dir=cache_dir and str(cache_dir),
        data_files={"rows": [glob.escape(path.as_posix()) for path in files]},
        columns=list(columns),
    )
    folder = Path(builder.cache_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(f"{folder}.checksums.lock"):  # another process waits until they are taken
        if (folder / KEPT).is_file():
            compare_checksums(folder)
            builder.download_and_prepare()
        else:  # new, or of unknown content: a copy without checksums may be anything
            sources = {path.as_posix(): check_source(path) for path in files}
            builder.download_and_prepare(download_mode=DownloadMode.FORCE_REDOWNLOAD)
            take_checksums(folder, sources)
    pyarrow.default_memory_pool().release_unused()  # what the last row group took
    return builder.as_dataset("rows")
