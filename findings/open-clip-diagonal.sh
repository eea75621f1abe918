#!/usr/bin/env bash
# open_clip's R@1 is 0.2 for a model that is perfect on five captions an image.
#
# The metrics of its training loop take row i and column i of the matrix for the one right pair. With Flickr30K or MSCOCO
# as pairs, an image stands there five times, and its other four captions, and the copies of the image, count as wrong.
# The number is right for one caption an image, and not to be held against a protocol of five.
#
# Seen on 2026-11-29, 50 images, each five times with a caption of the same vector:
#   open_clip_torch 3.3.0   image to text R@1 0.2, text to image R@1 0.2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m venv "$folder/env" >/dev/null
if "$python" -c "import torch" 2>/dev/null; then # this Python has torch: only the rest is installed beside it
  "$folder/env/bin/pip" install -q --disable-pip-version-check --no-deps --target "$folder/site" open-clip-torch==3.3.0 ftfy==6.3.1 wcwidth 2>/dev/null
else
  "$folder/env/bin/pip" install -q --disable-pip-version-check open-clip-torch==3.3.0 numpy 2>/dev/null
  python="$folder/env/bin/python"
fi
export PYTHONPATH="$folder/site${PYTHONPATH:+:$PYTHONPATH}"
found=$("$python" -W ignore -c '
import torch
from open_clip_train.train import get_clip_metrics

vectors = torch.eye(50).repeat_interleave(5, 0)
found = get_clip_metrics(vectors, vectors.clone(), torch.tensor(100.0))
for way in ("image_to_text", "text_to_image"):
    recall = found[f"{way}_R@1"]
    print(way, f"R@1 {float(recall):.1f}", end=" ")')
echo "open_clip_torch 3.3.0: $found"
[ "$found" = "image_to_text R@1 0.2 text_to_image R@1 0.2 " ] || {
  echo "changed: expected 0.2 both ways" >&2
  exit 1
}
