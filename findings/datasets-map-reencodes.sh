#!/usr/bin/env bash
# datasets' map compresses JPEG pictures anew as soon as its function has looked at them.
#
# A function that only reads a picture's size, to add a column, leaves other pixels behind: what was decoded for it is
# written back as a JPEG of Pillow's default quality. Each further map loses more. Features made before and after differ,
# and a dataset that was pushed after such a step is not the published one, although its rows and columns are. filter,
# select and concatenate_datasets keep the bytes, and so does map with input_columns that leave the picture out.
#
# Seen on 2026-11-29, one picture of coloured squares, JPEG of quality 95, 4,624 bytes:
#   datasets 5.2.0, pillow 12.3.0   filter: 4,624 bytes, the same pixels; map: fewer bytes, other pixels; twice: others yet
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" >/dev/null
"$folder/env/bin/pip" install -q --disable-pip-version-check datasets==5.2.0 pillow==12.3.0 numpy 2>/dev/null
found=$(cd "$folder" && HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 "$folder/env/bin/python" -W ignore -c '
import io

import datasets
import numpy as np
from PIL import Image

datasets.disable_progress_bars()
squares = np.random.default_rng(0).integers(0, 256, (16, 16, 3))
file = io.BytesIO()
Image.fromarray(np.kron(squares, np.ones((8, 8, 1))).astype(np.uint8)).save(file, "JPEG", quality=95)
features = datasets.Features({"image": datasets.Image()})
rows = datasets.Dataset.from_dict({"image": [{"bytes": file.getvalue(), "path": None}]}, features=features)

def measure(row):
    return {"width": row["image"].size[0]}

def off(other):
    one, two = (np.asarray(found[0]["image"], dtype=int) for found in (rows, other))
    return np.abs(one - two).mean()

once = rows.map(measure)
print("filter keeps the pixels" if off(rows.filter(lambda row: row["image"].size[0] > 1)) == 0 else "filter does not", end="; ")
print("map changes them" if off(once) > 1 else "map does not", end="; ")
print("twice, more" if off(once.map(measure)) > 1.1 * off(once) else "twice, no more")' 2>/dev/null)
echo "datasets 5.2.0: $found"
[ "$found" = "filter keeps the pixels; map changes them; twice, more" ] || {
  echo "changed: expected that map changes pixels and filter does not" >&2
  exit 1
}
