#!/usr/bin/env bash
# MTEB's recall_at_1 of a perfect image-to-text ranking is 0.2; the field's R@1 is its hit_rate_at_1.
#
# Its recall is the share of the right captions that were found, five for an image, so that one place can hold a fifth of
# them. Its results list both; papers of the field mean the share of images with any own
# caption in the first k. Text to image, with one right answer, the two are the same.
#
# Seen on 2026-11-29, 10 images with five captions each, all in their right places:
#   mteb 2.26.24   recall at 1: 0.2, hit rate at 1: 1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m venv "$folder/env" >/dev/null
if "$python" -c "import torch" 2>/dev/null; then # this Python has torch: only the rest is installed beside it
  "$folder/env/bin/pip" install -q --disable-pip-version-check --no-deps --target "$folder/site" mteb==2.26.24 scikit-learn joblib threadpoolctl sentence-transformers pytrec-eval-terrier==0.5.11 polars polars-runtime-32 narwhals cloudpickle requests urllib3 charset-normalizer certifi idna 2>/dev/null
else
  "$folder/env/bin/pip" install -q --disable-pip-version-check mteb==2.26.24 2>/dev/null
  python="$folder/env/bin/python"
fi
export PYTHONPATH="$folder/site${PYTHONPATH:+:$PYTHONPATH}"
found=$("$python" -W ignore -c '
from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

results = {f"i{i}": {f"c{j}": -float(abs(i - j // 5)) for j in range(50)} for i in range(10)}
right = {f"i{i}": {f"c{5 * i + j}": 1 for j in range(5)} for i in range(10)}
found = calculate_retrieval_scores(results, right, [1])
recall, hits = found.recall["Recall@1"], found.hit_rate["HitRate@1"]
print(f"recall at 1: {recall:.1f}, hit rate at 1: {hits:.1f}")')
echo "mteb 2.26.24: $found"
[ "$found" = "recall at 1: 0.2, hit rate at 1: 1.0" ] || {
  echo "changed: expected 0.2 and 1.0" >&2
  exit 1
}
