#!/usr/bin/env bash
# CLIP_benchmark scores in bfloat16 on a CPU unless told otherwise, and one caption in ten ties with its own image.
#
# zeroshot_retrieval.evaluate takes amp=True by default. The embeddings are then bfloat16 and so is the matrix of scores,
# with three significant digits: of 5,000 captions many score the same, and recalls depend on the order of ties and
# differ from those of the same weights in float32.
#
# Seen on 2026-11-29, 1,000 images with five captions each, random vectors (torch 2.14.1, CPU), R@1 i2t and t2i:
#   clip_benchmark 1.6.2   amp=True 89.90 60.52; amp=False 90.00 60.56
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m venv "$folder/env" >/dev/null
if "$python" -c "import torch" 2>/dev/null; then # this Python has torch: only the rest is installed beside it
  "$folder/env/bin/pip" install -q --disable-pip-version-check --no-deps --target "$folder/site" clip-benchmark==1.6.2 tqdm 2>/dev/null
else
  "$folder/env/bin/pip" install -q --disable-pip-version-check clip-benchmark==1.6.2 numpy 2>/dev/null
  python="$folder/env/bin/python"
fi
export PYTHONPATH="$folder/site${PYTHONPATH:+:$PYTHONPATH}"
found=$("$python" -W ignore -c '
import torch
from clip_benchmark.metrics.zeroshot_retrieval import evaluate

torch.manual_seed(0)
torch.set_num_threads(1)
images = torch.randn(1000, 256)
captions = images.repeat_interleave(5, 0) + 4.5 * torch.randn(5000, 256)
layer = torch.nn.Linear(256, 256, bias=False)
torch.nn.init.eye_(layer.weight)

class Model:
    encode_image = encode_text = staticmethod(layer)

starts = range(0, 1000, 100)
batches = [(images[i : i + 100], [list(captions[5 * j : 5 * j + 5]) for j in range(i, i + 100)]) for i in starts]
rows = []
for options in ({}, {"amp": False}):
    found = evaluate(Model, batches, torch.stack, "cpu", recall_k_list=[1], **options)
    rows.append([100 * found[f"{way}_retrieval_recall@1"] for way in ("text", "image")])
print("by default {:.2f} {:.2f}; amp=False {:.2f} {:.2f};".format(*rows[0], *rows[1]), end=" ")
print("the same" if rows[0] == rows[1] else "they differ")' 2>/dev/null)
echo "clip_benchmark 1.6.2: $found"
[ "${found##*; }" = "they differ" ] || {
  echo "changed: expected other recalls with amp=False" >&2
  exit 1
}
