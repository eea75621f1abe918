#!/usr/bin/env bash
# datasets' imagefolder takes words in file names for splits, and leaves out the pictures without one.
#
# A folder of pictures with metadata.csv becomes a dataset of captions by load_dataset("imagefolder", data_dir=...). If
# the name of one picture holds a word such as train, test, eval, val or dev, set off by a mark, a space or a digit, the
# files are sorted into splits by these words. Pictures with no such word are in none, although the table has a row for
# each; nothing is said. A crash-test-dummy.jpg among 10,000 pictures leaves a dataset of one picture, a test split.
#
# Seen on 2026-11-29, seven pictures with seven rows, four of them with such a word:
#   datasets 5.2.0   test 2, train 1, validation 1: three pictures are in no split
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" >/dev/null
"$folder/env/bin/pip" install -q --disable-pip-version-check datasets==5.2.0 pillow==12.3.0 2>/dev/null
mkdir "$folder/pictures"
found=$(cd "$folder" && HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 "$folder/env/bin/python" -W ignore -c '
from pathlib import Path

import datasets
from PIL import Image

datasets.disable_progress_bars()
names = ["beach", "crash-test-dummy", "dev board", "dog", "eval-form", "steam train", "valley"]
for name in names:
    Image.new("RGB", (8, 8)).save(f"pictures/{name}.png")
rows = "".join(f"{name}.png,a caption\n" for name in names)
Path("pictures/metadata.csv").write_text(f"file_name,text\n{rows}")
found = datasets.load_dataset("imagefolder", data_dir="pictures")
print(", ".join(f"{split} {len(rows)}" for split, rows in sorted(found.items())))' 2>/dev/null)
echo "datasets 5.2.0, seven pictures: $found"
[ "$found" = "test 2, train 1, validation 1" ] || {
  echo "changed: expected test 2, train 1, validation 1" >&2
  exit 1
}
