"""MSCOCO's 36 GB of region features, as a sparse file, go through a process that stays small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

IMAGES = 123_287  # of data.md 2.2: 36.4 GB
SHAPE = (36, 2048)
MARKED = (0, 61_000, IMAGES - 1)

PASS = """
import json, sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np
from benchmark.inputs import InputSpec, RegionInput, WordPieceText
from benchmark.data.batches import image_batches
from benchmark.data.regions.scan import scan_split

split = scan_split("mscoco", "train", Path(sys.argv[1]))
fingerprint = split.fingerprint
regions = split.regions
marks = regions.regions([0, 61_000, len(split) - 1])[:, 35, 2047].tolist()
batch = len(regions.regions(range(0, len(split), 123)))  # 1,003 images in one piece: 296 MB
spec = InputSpec(RegionInput(36, 2048), WordPieceText(8))
start, rows = time.perf_counter(), 0
for found in image_batches(split.first_images(int(sys.argv[2])), spec, batch_size=128):
    rows += len(found.pixels)
seconds = time.perf_counter() - start
status = Path("/proc/self/status").read_text()
peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
print(json.dumps({"peak_kb": peak, "marks": marks, "rows": rows, "batch": batch, "rate": rows / seconds}))
"""


def sparse_features(path: Path) -> None:
    """Zeros that take no room, but for the last value of three images."""
    with path.open("wb") as handle:
        header = {"descr": "<f4", "fortran_order": False, "shape": (IMAGES, *SHAPE)}
        np.lib.format.write_array_header_1_0(handle, header)
        offset, row = handle.tell(), 4 * SHAPE[0] * SHAPE[1]
        for number, image in enumerate(MARKED, start=1):
            handle.seek(offset + (image + 1) * row - 4)
            handle.write(np.float32(number).tobytes())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from /proc")
def test_36_gb_of_features_in_a_gigabyte_and_a_half(tmp_path: Path) -> None:
    sparse_features(tmp_path / "train_ims.npy")
    assert (tmp_path / "train_ims.npy").stat().st_size > 36e9
    with (tmp_path / "train_caps.txt").open("w") as handle:
        handle.writelines(f"a caption of about the usual length, number {k}\n" for k in range(5 * IMAGES))
    with (tmp_path / "train_ids.txt").open("w") as handle:
        handle.writelines(f"{k}\n" for k in range(IMAGES))
    done = subprocess.run(
        [sys.executable, "-c", PASS, str(tmp_path), "7000"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    print(found)
    assert found["marks"] == [1.0, 2.0, 3.0]
    assert (found["rows"], found["batch"]) == (7000, 1003)
    assert found["peak_kb"] < 1.5e6
